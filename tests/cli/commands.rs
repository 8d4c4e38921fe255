//! Each command when it succeeds.

use crate::common::Place;
use crate::{GRID, Said, first_run};

#[test]
fn a_sweep_is_planned_run_looked_at_and_never_trained_twice() {
    let place = Place::new(GRID);
    let plan = place.sweep(&["plan", "sweep.toml", "--format", "json"]).json();
    assert_eq!((&plan["product"], &plan["points"]), (&24.into(), &20.into()));
    assert_eq!((&plan["distinct"], &plan["to_train"], &plan["recorded"]), (&10.into(), &10.into(), &0.into()));
    assert_eq!(plan["excluded"][0]["points"], 4);
    assert_eq!(plan["merged"][0]["points"], 10);
    assert!(plan["estimate"]["seconds"].as_f64().unwrap() > 0.0, "{plan}");
    assert_eq!(plan["runs"].as_array().unwrap().len(), 10);
    assert!(!place.path("sweep.db").exists(), "a plan makes no database");

    let run = place.fake(&[]).json();
    assert_eq!(run["sweep"]["state"], "done");
    assert_eq!((&run["runs"]["total"], &run["runs"]["trained"], &run["runs"]["recorded"]), (&10.into(), &10.into(), &0.into()));
    assert_eq!((&run["runs"]["failed"], &run["runs"]["left"]), (&0.into(), &0.into()));
    assert!(!run["leaderboard"]["rows"].as_array().unwrap().is_empty(), "{run}");

    let again = place.fake(&[]).json();
    assert_eq!((&again["runs"]["trained"], &again["runs"]["recorded"]), (&0.into(), &10.into()));
    let resumed = place.sweep(&["resume", "--on", "fake", "--format", "json"]).json();
    assert_eq!((&resumed["runs"]["trained"], &resumed["runs"]["recorded"]), (&0.into(), &10.into()));

    let status = place.sweep(&["status", "small", "--format", "json"]).json();
    assert_eq!((&status["sweep"]["state"], &status["runs"]["succeeded"]), (&"done".into(), &10.into()));
    let plan = place.sweep(&["run", "sweep.toml", "--dry-run", "--format", "json"]).json();
    assert_eq!((&plan["to_train"], &plan["recorded"], &plan["estimate"]), (&0.into(), &10.into(), &serde_json::Value::Null));
}

#[test]
fn a_wider_grid_trains_only_what_is_new_also_under_another_name_and_from_another_folder() {
    let place = Place::new(GRID);
    place.fake(&[]).json();
    let wider = place.fake(&["--set", "grid.seed=[0,1,2]", "--set", "name=wider"]).json();
    assert_eq!(
        (&wider["runs"]["total"], &wider["runs"]["trained"], &wider["runs"]["recorded"]),
        (&15.into(), &5.into(), &10.into())
    );
    let moved = Place::new(GRID);
    let db = place.path("sweep.db");
    let same = moved.fake(&["--db", db.to_str().unwrap()]).json();
    assert_eq!(same["runs"]["trained"], 0);
    let named = place.sweep(&["status", "wider", "--format", "json"]).json();
    assert_eq!((&named["sweep"]["name"], &named["runs"]["total"]), (&"wider".into(), &15.into()));
}

#[test]
fn a_plan_reads_well() {
    let place = Place::new(GRID);
    let said = place.sweep(&["plan", "sweep.toml"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    for words in [
        "= loss 2 x pos_weight 3 x threshold 2 x seed 2",
        "loss = \"focal\", pos_weight = \"sqrt\"",
        "`threshold` does not train: every run is evaluated under each policy",
        "10 to train, 0 recorded already",
        "200 rows (140 train, 30 val, 30 test), 2 labels",
        "from the size of cnn",
    ] {
        assert!(said.out.split_whitespace().collect::<Vec<_>>().join(" ").contains(words), "`{words}` is missing:\n{}", said.out);
    }
    assert!(said.out.lines().all(|line| line.chars().count() <= 100), "{}", said.out);
    let elsewhere = place.sweep(&["plan", "sweep.toml", "--set", "workers.devices=\"cuda:7\""]);
    assert_eq!(elsewhere.code, Some(0), "a plan needs no device: {}", elsewhere.err);
    assert!(elsewhere.out.contains("not on this machine"), "{}", elsewhere.out);
}

#[test]
fn data_shows_the_diagnosis_and_the_limits_of_the_letters() {
    let place = Place::new(GRID);
    let said = place.sweep(&["data", "sweep.toml", "--all", "--set", "grid.pos_weight=[{ kind = \"power\", exponent = 0.25 }]"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    for words in [
        "positives",
        "IRLbl",
        "MeanIR",
        "SCUMBLE",
        "labelsets",
        "P(column | row)",
        "neg_over_pos",
        "power(exponent=0.25)",
        "best possible",
    ] {
        assert!(said.out.contains(words), "`{words}` is missing:\n{}", said.out);
    }
    let set = &place.sweep(&["data", "sweep.toml", "--format", "json"]).json()["data"][0];
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let (rows, positives) = (number(&set["splits"]["train"]["rows"]), number(&set["splits"]["train"]["positives"][0]));
    let weights = set["weights"].as_array().unwrap();
    let weights = weights.iter().find(|weights| weights["pos_weight"] == "neg_over_pos").unwrap();
    assert!((number(&weights["weights"][0]) - (rows - positives) / positives).abs() < 1e-12, "{weights}");
    assert!((number(&weights["half"][0]) - positives / rows).abs() < 1e-12, "F2: at neg/pos a score of 0.5 means the prevalence");
    let diagnosis = &set["diagnosis"];
    assert_eq!(diagnosis["together"][0][1], diagnosis["together"][1][0]);
    assert_eq!(diagnosis["together"][0][0], diagnosis["positives"][0]);
    assert!(number(&set["limits"][0]["ap"]) > 0.2, "{set}");
    let several = place.sweep(&["data", "sweep.toml", "--format", "json", "--set", "grid.data.signal=[1.0,2.0]"]).json();
    assert_eq!(several["data"].as_array().unwrap().len(), 2);
}

#[test]
fn values_can_be_set_from_the_command_line_and_a_resume_remembers_them() {
    let place = Place::new(GRID);
    let set = ["--set", "train.epochs=1", "--set", "grid.seed=7", "--set", "workers.per_device=3"];
    let run = place.fake(&set).json();
    assert_eq!(run["runs"]["total"], 5);
    let shown = place.sweep(&["show", first_run(&run), "--format", "json"]).json();
    assert!(shown.to_string().contains("\"epochs\":1"), "{shown}");
    let resumed = place.sweep(&["resume", "--on", "fake"]);
    assert_eq!(resumed.code, Some(0), "{}", resumed.err);
    assert!(!resumed.err.contains("warning"), "{}", resumed.err);
}

#[test]
fn quiet_is_quiet_and_the_environment_names_the_database() {
    let place = Place::new(GRID);
    let mut command = place.command(&["run", "sweep.toml", "--on", "fake", "--quiet"]);
    let said = Said::new(&command.env("SWEEP_DB", "elsewhere.db").output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert!(said.out.contains("macro_f1"), "{}", said.out);
    assert!(place.path("elsewhere.db").exists() && place.path("elsewhere.runs").exists() && !place.path("sweep.db").exists());
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let place = Place::new(GRID);
    place.fake(&[]).json();
    for arguments in [&["data", "sweep.toml"][..], &["plan", "sweep.toml"], &["status"], &["completions", "bash"], &["report"]] {
        let mut child = place.command(arguments);
        let mut child = child.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let said = Said::new(&child.wait_with_output().unwrap());
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn completions_are_made_for_every_shell() {
    let place = Place::new("");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = place.sweep(&["completions", shell]);
        assert_eq!(said.code, Some(0));
        assert!(said.out.contains("resume") && said.out.contains("max-failures"), "{shell}: {}", said.out);
    }
}

/// The sweep files that come with the program are valid.
#[test]
fn the_sweeps_of_this_repository_plan() {
    let place = Place::new("");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps");
    for (name, runs, policies) in [("letters", 24, 3), ("question", 30, 3)] {
        let file = root.join(format!("{name}.toml"));
        let plan = place.sweep(&["plan", file.to_str().unwrap(), "--format", "json"]).json();
        assert_eq!((&plan["name"], &plan["distinct"]), (&name.into(), &runs.into()));
        assert_eq!(plan["policies"].as_array().unwrap().len(), policies);
        // Each strategy has three seeds: without them a difference may be luck.
        assert_eq!(plan["axes"].as_array().unwrap().iter().find(|axis| axis["axis"] == "seed").unwrap()["values"], 3);
    }
}

/// The question's file with its own folder of images, as its comments say.
#[test]
fn the_question_is_ready_for_a_folder_of_images() {
    let text = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps/question.toml")).unwrap();
    let letters = ["kind = \"letters\"", "samples", "image_size = 32", "signal", "label_rates"];
    let lines = text.lines().filter(|line| !letters.iter().any(|key| line.starts_with(key)));
    let images = ["# kind", "# root", "# labels", "# image_size", "# flip"];
    let lines = lines.map(|line| if images.iter().any(|key| line.starts_with(key)) { &line[2..] } else { line });
    let place = Place::new(&lines.collect::<Vec<_>>().join("\n"));
    place.sweep(&["plan", "sweep.toml"]).fails(4, &["photos/labels.csv: cannot read the labels"]);
}
