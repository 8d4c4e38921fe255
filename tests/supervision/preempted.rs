//! Preemption: SIGTERM, however often and to whom, costs time and nothing else. `attempts = 1`, so that one counted attempt would fail
//! the run.

use rustix::process::Signal;

use crate::common::Place;
use crate::{ended, signal, wait_for};

/// Four runs of some seconds each.
const LONG: &str = r#"
name = "long"
[data]
kind = "letters"
samples = 1200
image_size = 24
[model]
arch = "cnn"
hidden = [8, 16]
[train]
epochs = 5
batch_size = 16
[grid]
loss = ["bce", "focal"]
threshold = [0.5, "max_f1"]
seed = [0, 1]
[workers]
attempts = 1
per_device = 2
"#;

fn undisturbed() -> Vec<String> {
    let place = Place::new(LONG);
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    place.rows()
}

/// Whether any run is being trained.
fn training(place: &Place) -> bool {
    place.status()["runs"]["running"].as_i64() > Some(0)
}

/// Ends each worker that comes up, `times` in all, at growing intervals so that something gets done.
fn preempt(place: &Place, times: u64, kind: Signal) {
    for time in 0..times {
        wait_for("a training", || training(place) && !place.workers().is_empty());
        std::thread::sleep(std::time::Duration::from_millis(150 * time));
        place.workers().into_iter().for_each(|worker| signal(worker, kind));
    }
}

#[test]
fn workers_that_are_ended_by_sigterm_cost_no_attempt() {
    let wanted = undisturbed();
    let place = Place::new(LONG);
    let mut controller = place.start(&["run", "sweep.toml", "--quiet"]);
    preempt(&place, 5, Signal::TERM);
    assert_eq!(ended(&mut controller), Some(0), "{}", place.status());
    assert!(place.rows() == wanted, "the disturbed sweep differs");
    assert_eq!(place.processes(), []);
}

/// Three times in one sweep, controller and workers in either order, or the workers by SIGKILL in the same moment.
#[test]
fn sigterm_to_every_process_three_times_then_resume_gives_the_same_bits() {
    let wanted = undisturbed();
    let place = Place::new(LONG);
    for time in 0..3 {
        let arguments: &[&str] = if time == 0 { &["run", "sweep.toml", "--quiet"] } else { &["resume", "--quiet"] };
        let mut controller = place.start(arguments);
        wait_for("a training", || training(&place) && !place.workers().is_empty());
        let workers = place.workers();
        match time {
            0 => {
                workers.iter().for_each(|&worker| signal(worker, Signal::TERM));
                signal(controller.id(), Signal::TERM);
            }
            1 => {
                signal(controller.id(), Signal::TERM);
                workers.iter().for_each(|&worker| signal(worker, Signal::TERM));
            }
            _ => {
                workers.iter().for_each(|&worker| signal(worker, Signal::KILL));
                signal(controller.id(), Signal::TERM);
            }
        }
        assert_eq!(ended(&mut controller), Some(130), "time {time}: {}", place.status());
        assert_eq!(place.processes(), [], "time {time}");
        assert_eq!(place.status()["runs"]["failed"], 0, "time {time}: {}", place.status());
    }
    place.succeed(&["resume", "--quiet"]);
    assert!(place.rows() == wanted, "the resumed sweep differs");
}

/// Before anything trains the program ends at once, with the exit code of an interrupt.
#[test]
fn a_signal_while_data_is_prepared_ends_the_program_at_once_as_interrupted() {
    let place = Place::new(&LONG.replace("samples = 1200\nimage_size = 24", "samples = 40000\nimage_size = 128"));
    let mut controller = place.start(&["run", "sweep.toml", "--quiet"]);
    wait_for("the preparing", || place.path("sweep.cache").exists());
    signal(controller.id(), Signal::TERM);
    assert_eq!(ended(&mut controller), Some(130));
}
