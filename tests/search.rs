//! `[search]` through the real program, on made-up results: what is trained and what is not, the same after any interruption.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use common::Place;
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Row};

/// Twelve strategies at most, two seeds each, of nine evaluations.
const GRID: &str = r#"
name = "searched"
[data]
kind = "letters"
samples = 300
image_size = 16
[model]
arch = "cnn"
hidden = [4]
[train]
epochs = 9
[grid]
loss = ["bce", "focal", "asl", "poly1", "class_balanced", "soft_f1"]
pos_weight = ["none", "sqrt"]
seed = [0, 1]
"#;
const ASHA: &str = "[search]\nkind = \"asha\"\nmin = 1\nreduction = 3\n";

const EPOCH: &str = "SWEEP_FAKE_EPOCH_SECONDS";

fn place(search: &str) -> Place {
    Place::new(&format!("{GRID}{search}"))
}

fn train(place: &Place, arguments: &[&str], seconds: &str) -> (i32, String) {
    let output = place.command(&[arguments, &["--on", "fake"]].concat()).env(EPOCH, seconds).output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn trained(place: &Place, arguments: &[&str], seconds: &str) -> String {
    let (code, words) = train(place, arguments, seconds);
    assert_eq!(code, 0, "{words}");
    words
}

fn ask(place: &Place, question: &'static str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(place.path("sweep.db")).read_only(true);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let rows = sqlx::query(question).fetch_all(&mut connection).await.unwrap();
        rows.iter().map(|row| row.try_get(0).unwrap()).collect()
    })
}

const DECISIONS: &str = "SELECT json_array(r.fingerprint, d.rung, d.evaluations, d.value, d.cut, d.place, d.among, d.goes_on)
    FROM search_decisions d JOIN runs r ON r.id = d.run ORDER BY 1";
const STATES: &str = "SELECT json_array(r.fingerprint, r.state, w.left_out, (SELECT outcome FROM attempts WHERE run = r.id ORDER BY attempt DESC LIMIT 1))
    FROM sweep_runs w JOIN runs r ON r.id = w.run ORDER BY 1";
/// What complete runs have, and the others up to the rung where they were stopped.
const RESULTS: &str = "SELECT json_array(r.fingerprint, k.epoch, k.split, k.macro_ap) FROM runs r JOIN rankings k ON k.run = r.id
    WHERE r.state = 'succeeded' OR k.epoch < (SELECT max(evaluations) FROM search_decisions WHERE run = r.id) ORDER BY 1";
const TWICE: &str =
    "SELECT r.fingerprint FROM runs r JOIN attempts a ON a.run = r.id GROUP BY r.id HAVING sum(a.outcome = 'ok') > 1";

fn whole(place: &Place) -> [Vec<String>; 3] {
    assert_eq!(ask(place, TWICE), [""; 0], "no run succeeds twice");
    [ask(place, DECISIONS), ask(place, STATES), ask(place, RESULTS)]
}

#[test]
fn hopeless_strategies_are_stopped_and_the_others_get_every_seed() {
    let place = place(ASHA);
    let words = trained(&place, &["run", "sweep.toml"], "0.02");
    assert!(words.contains("stopped early") && words.contains("left out by the search"), "{words}");
    let [decisions, states, _] = whole(&place);
    assert!(decisions.len() > 12, "{decisions:?}");
    let count = |what: &str| states.iter().filter(|state| state.contains(what)).count() as u64;
    let status = place.json(&["status"]);
    let runs = &status["runs"];
    assert_eq!(runs["stopped_early"], count("stopped_early"));
    assert!(runs["left_out"].as_u64().unwrap() > 0 && count("stopped_early") > 0, "{runs}");
    assert_eq!((&runs["queued"], &runs["failed"], &status["sweep"]["state"]), (&0.into(), &0.into(), &"done".into()));
    let all: u64 = ["succeeded", "stopped_early", "left_out"].iter().map(|key| runs[*key].as_u64().unwrap()).sum();
    assert_eq!(all, runs["total"].as_u64().unwrap());
    // Who came through has both seeds, plain bce too.
    let halves = ask(
        &place,
        "SELECT w.loss || w.pos_weight FROM sweep_runs w JOIN runs r ON r.id = w.run JOIN sweep_runs f ON f.sweep = w.sweep
             AND f.loss = w.loss AND f.pos_weight = w.pos_weight JOIN search_decisions d ON d.run = f.run
         WHERE w.sweep = 1 GROUP BY 1 HAVING min(d.goes_on) = 1 AND sum(r.state <> 'succeeded') > 0",
    );
    assert_eq!(halves, [""; 0]);
    let plain = ask(
        &place,
        "SELECT r.state FROM sweep_runs w JOIN runs r ON r.id = w.run WHERE w.loss = 'bce' AND w.pos_weight = 'none'",
    );
    assert_eq!(plain, ["succeeded", "succeeded"]);

    let report = place.json(&["report"]);
    let notes = report["notes"].to_string();
    assert!(notes.contains("were stopped early by the search and are compared with nothing"), "{notes}");
    let recorded: BTreeSet<String> = ask(&place, "SELECT fingerprint FROM runs WHERE state = 'succeeded'").into_iter().collect();
    for run in report["rows"].as_array().unwrap().iter().flat_map(|row| row["runs"].as_array().unwrap()) {
        assert!(recorded.contains(run.as_str().unwrap()), "{run} is not complete");
    }
    let text = String::from_utf8(place.succeed(&["report", "--stopped"]).stdout).unwrap();
    for words in ["successive halving on val macro AP", "below by", "the closest call", "rises late"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let stopped = place.json(&["report", "--stopped"]);
    assert_eq!(stopped["stopped"].as_array().unwrap().len(), report["search"]["stopped"].as_array().unwrap().len());
    // What the search does not train is not "to train", but it is for the whole grid.
    let over = count("stopped_early") + runs["left_out"].as_u64().unwrap();
    let plan = place.json(&["plan", "sweep.toml"]);
    assert_eq!((&plan["to_train"], &plan["passed_over"]), (&0.into(), &over.into()));
    let plan = place.json(&["plan", "sweep.toml", "--set", "search.kind=grid"]);
    assert_eq!((&plan["to_train"], &plan["passed_over"]), (&over.into(), &0.into()));
    let plan = place.json(&["plan", "sweep.toml", "--set", "search.reduction=4"]);
    assert_eq!((&plan["to_train"], &plan["passed_over"]), (&over.into(), &0.into()), "another search decides for itself");
    // Nothing is left to do, however often it is asked for.
    for arguments in [&["resume"][..], &["resume", "--failed"], &["run", "sweep.toml"]] {
        let words = trained(&place, arguments, "0");
        assert!(words.contains("nothing to train"), "{arguments:?}: {words}");
        assert_eq!([&ask(&place, DECISIONS), &ask(&place, STATES)], [&decisions, &states]);
    }
}

#[test]
fn a_search_that_is_killed_goes_on_as_if_nothing_had_been() {
    let undisturbed = place(ASHA);
    trained(&undisturbed, &["run", "sweep.toml", "--devices", "cpu"], "0.02");
    let expected = whole(&undisturbed);
    for workers in ["1", "3"] {
        let place = place(ASHA);
        let mut kills = 0;
        let mut arguments = vec!["run", "sweep.toml"];
        for wait in [150, 200, 120, 250, 180] {
            let command = [&arguments[..], &["--devices", "cpu", "--per-device", workers, "--on", "fake"]].concat();
            let mut child = place.command(&command).env(EPOCH, "0.06").stderr(std::process::Stdio::null()).spawn().unwrap();
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(wait) && child.try_wait().unwrap().is_none() {
                thread::sleep(Duration::from_millis(10));
            }
            kills += usize::from(child.try_wait().unwrap().is_none());
            let _ = child.kill();
            child.wait().unwrap();
            if place.path("sweep.db").exists() {
                arguments = vec!["resume"];
            }
        }
        assert!(kills > 0);
        trained(&place, &["run", "sweep.toml", "--devices", "cpu"], "0.02");
        let found = whole(&place);
        assert_eq!(found[0], expected[0], "the decisions, with {workers} workers");
        let complete = |states: &[String]| states.iter().filter(|state| state.contains("succeeded")).cloned().collect::<Vec<_>>();
        // A run that has ended before it heard that it is to stop is complete.
        let missing: Vec<String> = complete(&expected[1]).into_iter().filter(|state| !found[1].contains(state)).collect();
        assert_eq!(missing, [""; 0]);
        assert!(expected[2].iter().all(|row| found[2].contains(row)), "the rows");
    }
}

#[test]
fn the_whole_grid_can_be_trained_afterwards() {
    let place = place(ASHA);
    trained(&place, &["run", "sweep.toml"], "0.02");
    let first = ask(&place, "SELECT fingerprint FROM runs WHERE state = 'succeeded' ORDER BY 1");
    let epochs = "SELECT count(*) || '' FROM epochs";
    let words = trained(&place, &["run", "sweep.toml", "--set", "search.kind=grid"], "0");
    let recorded = format!(", {} recorded, ", first.len());
    assert!(words.contains(&recorded), "{words}");
    assert_eq!(ask(&place, TWICE), [""; 0]);
    let status = place.json(&["status"])["runs"].clone();
    assert_eq!((&status["succeeded"], &status["stopped_early"], &status["left_out"]), (&status["total"], &0.into(), &0.into()));
    assert_eq!(ask(&place, "SELECT fingerprint FROM runs r WHERE (SELECT count(*) FROM epochs WHERE run = r.id) <> 9"), [""; 0]);
    assert!(!place.json(&["report"])["notes"].to_string().contains("stopped early"));
    let output = place.run(&["report", "--stopped"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("has no [search]"));
    // And searched again: every decision follows from what is recorded.
    let before = ask(&place, epochs);
    let words = trained(&place, &["run", "sweep.toml"], "0");
    assert!(words.contains("nothing to train"), "{words}");
    assert_eq!(ask(&place, epochs), before);
    assert!(ask(&place, DECISIONS).len() > 12);
}

#[test]
fn a_random_sample_has_whole_strategies() {
    let place = place("[search]\nkind = \"random\"\nbudget = 7\nseed = 3\n");
    let plan = place.json(&["plan", "sweep.toml"]);
    assert_eq!((&plan["search"]["drawn"], &plan["distinct"]), (&3.into(), &6.into()), "{}", plan["search"]);
    let text = String::from_utf8(place.succeed(&["run", "sweep.toml", "--dry-run"]).stdout).unwrap();
    assert!(text.contains("random: 3 of ") && text.contains("budget of 7 runs"), "{text}");
    trained(&place, &["run", "sweep.toml"], "0");
    let strategies = ask(&place, "SELECT loss || pos_weight || count(*) FROM sweep_runs GROUP BY loss, pos_weight");
    assert_eq!(strategies.len(), 3);
    assert!(strategies.iter().all(|strategy| strategy.ends_with('2')), "{strategies:?}");
    let again = place.json(&["plan", "sweep.toml"]);
    assert_eq!(again["recorded"], 6, "the same sample");
    let other = place.json(&["plan", "sweep.toml", "--set", "search.seed=4"]);
    assert!(other["recorded"].as_u64().unwrap() < 6, "another one");
    let notes = place.json(&["report"])["notes"].to_string();
    assert!(notes.contains("the search has drawn 3 of "), "{notes}");
    // The same runs in the whole grid are not trained again.
    let words = trained(&place, &["run", "sweep.toml", "--set", "search.kind=grid"], "0");
    assert!(words.contains("6 recorded"), "{words}");
}

#[test]
fn a_budget_in_time_ends_a_search() {
    let place = place("[search]\nkind = \"random\"\nbudget = \"1s\"\n");
    let words = trained(&place, &["run", "sweep.toml", "--devices", "cpu"], "0.05");
    assert!(words.contains("the time of the search is over"), "{words}");
    let status = place.json(&["status"])["runs"].clone();
    let (succeeded, left_out) = (status["succeeded"].as_u64().unwrap(), status["left_out"].as_u64().unwrap());
    assert!((1..8).contains(&succeeded) && left_out > 10 && status["queued"] == 0, "{status}");
    let notes = place.json(&["report"])["notes"].to_string();
    assert!(notes.contains("did not begin before the time of the search was over"), "{notes}");
    let words = trained(&place, &["resume"], "0");
    assert!(words.contains("nothing to train"), "{words}");
    // More time trains more.
    trained(&place, &["run", "sweep.toml", "--set", "search.budget=1000h"], "0");
    assert_eq!(place.json(&["status"])["runs"]["left_out"], Value::from(0));
}

#[test]
fn what_cannot_be_searched_is_refused_with_its_place() {
    for (search, words) in [
        ("kind = \"ahsa\"", "`search.kind` cannot be \"ahsa\"; allowed: grid, random, asha; did you mean `asha`?"),
        ("kind = \"random\"", "`search.budget` is missing"),
        ("kind = \"random\"\nbudget = 0", "`search.budget` must be a number of runs of at least 1, or a time"),
        ("kind = \"random\"\nbudget = \"soon\"", "`search.budget` must be a number of runs of at least 1, or a time"),
        ("kind = \"random\"\nbudget = 1", "`search.budget` has no room for a single strategy: 1 run, and a strategy has 2"),
        ("kind = \"random\"\nbudget = 4\nreduction = 2", "`search.reduction`: means nothing to kind = \"random\""),
        ("kind = \"asha\"\nreduction = 1", "`search.reduction` must be an integer from 2"),
        ("kind = \"asha\"\nmin = 0", "`search.min` must be an integer from 1"),
        ("kind = \"asha\"\nmetric = \"macro_f1\"", "`search.metric` cannot be \"macro_f1\", which needs a threshold"),
        ("kind = \"asha\"\nmetric = \"macro_app\"", "did you mean `macro_ap`?"),
        ("kind = \"asha\"\nbugdet = 4", "did you mean `budget`?"),
        ("budget = 4", "`search.budget`: needs `search.kind"),
    ] {
        let place = place(&format!("[search]\n{search}\n"));
        let output = place.run(&["plan", "sweep.toml"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{search}: {said}");
        assert!(said.contains(words) && said.contains("sweep.toml:"), "{search}: {said}");
    }
    let tuned = place(ASHA);
    let output = tuned.run(&["plan", "sweep.toml", "--set", "train.tune={ \"train.learning_rate\" = [1e-3, 1e-2] }"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("move the tuned keys into [grid]"), "{said}");
}
