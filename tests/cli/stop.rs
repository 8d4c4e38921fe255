//! Interrupts: the first one leaves a sweep that can be resumed.

use std::io::{BufRead, BufReader, Read};
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

/// Real workers, in epochs of many minutes: whatever ends within one has not waited for it.
#[test]
fn the_second_interrupt_ends_a_sweep_at_once_and_leaves_no_worker() {
    let grid = GRID.replace("samples = 200\nimage_size = 16", "samples = 4000\nimage_size = 96");
    let place = Place::new(&grid.replace("[train]", "[model]\nhidden = [96, 96]\n[train]"));
    let mut child = started(&place, &["--per-device", "2"], "");
    interrupt(&child);
    // Two signals at once would be one.
    let mut first = String::new();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    while !first.contains("stopping after the current epoch") {
        assert!(lines.read_line(&mut first).unwrap() > 0, "{first}");
    }
    let start = std::time::Instant::now();
    interrupt(&child);
    let said = Said::new(&child.wait_with_output().unwrap());
    assert!(start.elapsed().as_secs() < 60, "it took {:?}", start.elapsed());
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!((said.code, said.out.as_str()), (Some(130), ""), "{rest}");
    assert!(rest.contains("stopping at once"), "{rest}");
    assert_eq!(place.processes(), []);
    let status = place.sweep(&["status", "--format", "json"]).json();
    assert_eq!((&status["sweep"]["state"], &status["runs"]["queued"]), (&"interrupted".into(), &10.into()));
}
