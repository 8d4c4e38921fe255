//! Stopping by the page.

use serde_json::json;

use super::client::the_sweep;
use super::{Killed, Place, Served, file, wait_for};

#[test]
fn the_page_stops_a_run_and_then_the_sweep() {
    let place = Place::new(&file("stopped", 2000, 1));
    let mut running = Killed(place.pretend(0.05, &["--quiet"]).stdout(std::process::Stdio::null()).spawn().unwrap());
    let served = place.serve(&[]);
    let listening = place.path("sweep.runs/control/listening.json");
    wait_for("the controller", || listening.exists().then_some(()));
    // The first run, as the database names it.
    let status = || place.json(&["status"]);
    let first = wait_for("a run", || status()["running"][0]["run"].as_str().map(str::to_owned));
    let answer = wait_for("an answer", || Some(served.stop(&json!({"run": first[..8]}))).filter(|answer| answer.status == 202));
    assert!(answer.json()["asked"].as_str().unwrap().starts_with("process "), "{}", answer.text());
    wait_for("its end", || (status()["runs"]["stopped_early"] == 1).then_some(()));
    let over = served.stop(&json!({ "run": first }));
    assert!(over.status == 409 && over.json()["why"].as_str().unwrap().contains("not under way"), "{}", over.text());
    assert_eq!(served.stop(&json!({"run": "ffffffff"})).status, 404);
    assert_eq!(served.stop(&the_sweep()).status, 202);
    assert_eq!(wait_for("the end of the sweep", || running.0.try_wait().unwrap()).code(), Some(130));
    assert_eq!(status()["sweep"]["state"], "interrupted");
    assert_eq!(status()["runs"]["queued"], 2, "the others can be resumed");
    assert!(!place.path("sweep.runs/control").exists());
    let late = served.stop(&the_sweep());
    assert_eq!(late.status, 409);
    assert_eq!(late.json()["command"], "sweep status stopped", "{}", late.text());
}

#[test]
fn a_page_cannot_stop_another_sweep() {
    let place = Place::new(&file("old", 1, 1));
    place.pretended();
    std::fs::write(place.path("sweep.toml"), file("new", 2000, 1)).unwrap();
    let _running = Killed(place.pretend(0.05, &["--quiet"]).stdout(std::process::Stdio::null()).spawn().unwrap());
    wait_for("the controller", || place.path("sweep.runs/control/listening.json").exists().then_some(()));
    let served = place.serve(&["old"]);
    let answer = served.stop(&the_sweep());
    assert!(answer.status == 409 && answer.json()["why"].as_str().unwrap().contains("trains another sweep"), "{}", answer.text());
    let served = place.serve(&["new"]);
    assert_eq!(served.stop(&the_sweep()).status, 202);
}

#[test]
fn without_a_controller_the_answer_is_a_command() {
    let place = Place::new(&file("idle", 1, 1));
    let served = place.serve(&["--db", "it's.db"]);
    let nothing = served.stop(&the_sweep());
    assert_eq!(nothing.status, 409);
    assert_eq!(nothing.json()["command"], r"sweep run FILE --db 'it'\''s.db'", "{}", nothing.text());
    let output = place.pretend(0.0, &["--db", "it's.db"]).output().unwrap();
    assert!(output.status.success());
    let answer = wait_for("the page", || Some(served.stop(&the_sweep())).filter(|answer| answer.text().contains("nobody")));
    assert_eq!(answer.status, 409);
    assert_eq!(answer.json()["command"], r"sweep status idle --db 'it'\''s.db'");
    for body in [json!({}), json!({"sweep": false}), json!({"sweep": true, "run": "x"}), json!([1]), json!({"all": true})] {
        assert_eq!(served.stop(&body).status, 400, "{body}");
    }
    assert_eq!(served.stop(&json!({"run": "x".repeat(10_000)})).status, 413);
}

#[test]
fn a_page_stops_the_process_that_serves_it() {
    let place = Place::new(&file("inside", 2000, 1));
    let mut served = Served::start(place.pretend(0.05, &["--serve", "--port", "0"]));
    let answer = wait_for("an answer", || Some(served.stop(&the_sweep())).filter(|answer| answer.status == 202));
    assert!(answer.json()["asked"].as_str().unwrap().contains("sweep run"), "{}", answer.text());
    assert_eq!(served.ended(), Some(130), "{}", served.said());
}
