//! Interrupts: the first one leaves a sweep that can be resumed.

use std::process::{Child, Stdio};

use crate::common::Place;
use crate::{GRID, Said, wait_for};

/// A sweep whose epochs take a while; it has begun.
fn started(place: &Place, arguments: &[&str], seconds: &str) -> Child {
    let mut command = place.command(&[&["run", "sweep.toml"], arguments].concat());
    let child = command.env("SWEEP_FAKE_EPOCH_SECONDS", seconds).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(|| {
        let status = place.run(&["status", "--format", "json"]);
        let value: Option<serde_json::Value> = serde_json::from_slice(&status.stdout).ok();
        value.is_some_and(|value| value["runs"]["running"].as_i64() > Some(0))
    });
    child
}

fn interrupt(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

#[test]
fn an_interrupted_sweep_says_so_and_is_resumed_from_the_database_alone() {
    let place = Place::new(GRID);
    let child = started(&place, &["--on", "fake", "--format", "json"], "0.2");
    interrupt(&child);
    let said = Said::new(&child.wait_with_output().unwrap());
    assert_eq!(said.code, Some(130), "{}", said.err);
    assert!(
        said.err.contains("stopping after the current epoch") && said.err.contains("`sweep resume` continues"),
        "{}",
        said.err
    );
    let value = said.json();
    assert_eq!(value["sweep"]["state"], "interrupted");
    let left = value["runs"]["left"].as_i64().unwrap();
    assert!(left > 0, "{value}");
    std::fs::remove_file(place.path("sweep.toml")).unwrap();
    let resumed = place.sweep(&["resume", "--on", "fake", "--format", "json"]).json();
    assert_eq!((&resumed["sweep"]["state"], &resumed["runs"]["left"]), (&"done".into(), &0.into()));
    assert_eq!(resumed["runs"]["trained"], left);
}

#[test]
fn an_interrupted_sweep_shows_no_leaderboard_to_people() {
    let place = Place::new(GRID);
    let child = started(&place, &["--on", "fake"], "0.2");
    interrupt(&child);
    let said = Said::new(&child.wait_with_output().unwrap());
    assert_eq!((said.code, said.out.as_str()), (Some(130), ""), "{}", said.err);
}

/// Real workers, in an epoch that takes far longer than this test may.
#[test]
fn the_second_interrupt_ends_a_sweep_at_once_and_leaves_no_worker() {
    let place = Place::new(&GRID.replace("samples = 200\nimage_size = 16", "samples = 4000\nimage_size = 96"));
    let child = started(&place, &["--per-device", "2"], "");
    interrupt(&child);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let start = std::time::Instant::now();
    interrupt(&child);
    let said = Said::new(&child.wait_with_output().unwrap());
    assert!(start.elapsed().as_secs() < 5, "it took {:?}", start.elapsed());
    assert_eq!((said.code, said.out.as_str()), (Some(130), ""), "{}", said.err);
    assert!(said.err.contains("stopping after the current epoch") && said.err.contains("stopping at once"), "{}", said.err);
    assert_eq!(place.processes(), []);
    let status = place.sweep(&["status", "--format", "json"]).json();
    assert_eq!((&status["sweep"]["state"], &status["runs"]["queued"]), (&"interrupted".into(), &10.into()));
}
