//! kill -9 at any moment: nothing that was finished is lost, nothing is recorded twice, and a resumed sweep equals an
//! undisturbed one to the last bit. `SWEEP_CHAOS=10` kills ten times instead of three.

use std::time::{Duration, Instant};

use imbalance::rng::Rng;

use crate::common::{Place, SWEEP};
use crate::{kill, times};

/// An undisturbed sweep and how long it took.
fn undisturbed() -> (Vec<String>, Duration) {
    let place = Place::new(SWEEP);
    let start = Instant::now();
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    (place.rows(), start.elapsed())
}

fn settled(place: &Place) {
    let start = Instant::now();
    while !place.processes().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(60), "left behind: {:?}", place.processes());
        std::thread::sleep(Duration::from_millis(20));
    }
    let journals: Vec<_> = std::fs::read_dir(place.path("sweep.runs/journals")).unwrap().flatten().map(|e| e.path()).collect();
    assert!(journals.is_empty(), "{journals:?}");
}

#[test]
fn a_killed_controller_costs_nothing() {
    let (wanted, whole) = undisturbed();
    let place = Place::new(SWEEP);
    let mut rng = Rng::new(std::process::id().into(), "chaos", &[]);
    for time in 0..times() {
        let mut controller = place.start(&["run", "sweep.toml", "--quiet"]);
        std::thread::sleep(whole.mul_f64(0.05 + 0.9 * rng.uniform() / times() as f64));
        controller.kill().unwrap();
        controller.wait().unwrap();
        println!("killed {time}");
    }
    let resumed = place.run(&["resume", "--quiet"]);
    if !resumed.status.success() {
        // Every kill came before the sweep was recorded.
        let words = String::from_utf8_lossy(&resumed.stderr).into_owned();
        assert!(words.contains("no such database") || words.contains("has no sweep") || words.contains("is empty"), "{words}");
        place.succeed(&["run", "sweep.toml", "--quiet"]);
    }
    assert!(place.rows() == wanted, "the resumed sweep differs");
    settled(&place);
}

#[test]
fn a_killed_worker_costs_one_attempt() {
    let (wanted, whole) = undisturbed();
    let place = Place::new(SWEEP);
    let mut controller = place.start(&["run", "sweep.toml", "--quiet", "--per-device", "2"]);
    let mut rng = Rng::new(std::process::id().into(), "chaos", &[1]);
    let mut killed = 0;
    while killed < times() && controller.try_wait().unwrap().is_none() {
        std::thread::sleep(whole.mul_f64(rng.uniform() / times() as f64));
        let workers: Vec<_> = place.processes().into_iter().filter(|(_, line)| line.contains(" worker ")).collect();
        if !workers.is_empty() {
            kill(workers[rng.below(workers.len() as u64) as usize].0);
            killed += 1;
        }
    }
    assert!(controller.wait().unwrap().success());
    assert!(killed > 0);
    assert!(place.rows() == wanted, "the disturbed sweep differs");
    settled(&place);
}

/// The first Ctrl-C ends each run after its epoch and leaves a sweep that can be resumed.
#[test]
fn an_interrupted_sweep_is_resumed() {
    let (wanted, whole) = undisturbed();
    let place = Place::new(SWEEP);
    let mut controller = place.start(&["run", "sweep.toml", "--quiet"]);
    std::thread::sleep(whole / 2);
    let pid = rustix::process::Pid::from_raw(controller.id() as i32).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
    let code = controller.wait().unwrap().code();
    assert!(matches!(code, Some(130 | 0)), "{code:?}");
    settled(&place);
    place.succeed(&["resume", "--quiet"]);
    assert!(place.rows() == wanted, "the resumed sweep differs");
}

/// Evaluations after 10 steps, at most 9 of them; a run ends two after its best one.
const AUTO: [&str; 5] =
    ["train.epochs=auto", "train.schedule=constant", "train.eval_every=10", "train.patience=20", "train.max_steps=90"];

/// The number of workers and threads does not change results.
#[test]
fn any_number_of_workers_gives_the_same_rows() {
    // A number of epochs, and runs that end on their own.
    let auto: Vec<&str> = AUTO.iter().flat_map(|change| ["--set", change]).collect();
    for length in [&[][..], &auto] {
        let rows = |workers: &str| {
            let place = Place::new(SWEEP);
            place.succeed(&[&["run", "sweep.toml", "--quiet", "--per-device", workers], length].concat());
            place.rows()
        };
        let one = rows("1");
        assert!(one.len() > 8 * 3 * 9 * 2, "{} rows", one.len());
        for workers in ["2", "4"] {
            assert!(rows(workers) == one, "{workers} workers {length:?}");
        }
    }
}
