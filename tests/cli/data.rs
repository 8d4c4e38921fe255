//! What `data`, `plan` and `report` say of the data itself: labels that are rare, absent or shifted, and what `run` refuses.

use crate::bad_data::npy;
use crate::common::Place;

/// A set of features whose row `row` carries `label` where `carries(row, label)`, with the split column if there is one.
fn twin(rows: usize, labels: usize, carries: impl Fn(usize, usize) -> bool, split: Option<fn(usize) -> &'static str>) -> Place {
    let place = Place::new(
        "[data]\nkind = \"features\"\nfeatures = \"x.npy\"\nlabels = \"labels.csv\"\n[model]\narch = \"linear\"\n[train]\nepochs = 2\n\
         [grid]\npos_weight = [\"none\", \"neg_over_pos\"]\nsampler = [\"shuffle\", \"class_aware\"]\nthreshold = [0.5, \"max_f1\"]\n",
    );
    let number = |row: usize, column: usize| f32::from(carries(row, column % labels)) + (row * (column + 7) % 13) as f32 / 9.0;
    let values: Vec<f32> = (0..rows).flat_map(|row| (0..4).map(move |column| (row, column))).map(|(r, c)| number(r, c)).collect();
    place.write("x.npy", npy(&values, 4));
    let names: String = (0..labels).map(|label| format!(",l{label}")).collect();
    let cells = |row: usize| (0..labels).map(|label| format!(",{}", u8::from(carries(row, label)))).collect::<String>();
    let part = |row: usize| split.map_or_else(String::new, |split| format!(",{}", split(row)));
    let lines: String = (0..rows).map(|row| format!("{row}{}{}\n", part(row), cells(row))).collect();
    place.write("labels.csv", format!("id{}{names}\n{lines}", if split.is_some() { ",split" } else { "" }));
    place
}

/// `of` every `period` rows, the first of them `from`.
fn every(row: usize, from: usize, period: usize) -> bool {
    row % period == from % period
}

#[test]
fn sparse_labels_reach_every_split_by_either_method() {
    // Three or more positives of every label, many rows with several labels.
    let place = twin(300, 45, |row, label| every(row, label * 7, 40 + 3 * (label % 16)), None);
    for set in ["data.split.method=iterative", "data.split.method=random", "data.split.seed=5"] {
        let data = &place.sweep(&["data", "sweep.toml", "--format", "json", "--set", set]).json()["data"][0];
        for split in ["train", "val", "test"] {
            let positives = data["splits"][split]["positives"].as_array().unwrap();
            assert!(positives.len() == 45 && positives.iter().all(|n| n.as_u64() > Some(0)), "{set}, {split}: {positives:?}");
        }
        assert_eq!((&data["splits"]["train"]["rows"], &data["splits"]["val"]["rows"]), (&210.into(), &45.into()), "{set}");
    }
}

#[test]
fn many_labels_fit_a_screen() {
    let place = twin(600, 159, |row, label| every(row, label * 11, 9 + 2 * label) || label < 2 && every(row, 0, 3), None);
    let said = place.sweep(&["data", "sweep.toml"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(lines.len() <= 120, "{} lines", lines.len());
    assert!(lines.iter().all(|line| line.chars().count() <= 105), "{}", said.out);
    assert!(said.out.contains("and 139 more labels (--labels all)"), "{}", said.out);
    assert!(said.out.contains("l0 ") && said.out.contains("lift") && !said.out.contains("P(column | row)"), "{}", said.out);
    // The rarest and the commonest labels, and the weights and samplers of the grid only.
    assert!(said.out.contains("\nl126 ") && said.out.contains("\nl1 ") && !said.out.contains("\nl20 "), "{}", said.out);
    assert!(said.out.contains("neg_over_pos") && !said.out.contains("inverse_share") && !said.out.contains("repeat_factor"));
    let all = place.sweep(&["data", "sweep.toml", "--all"]).out;
    for words in ["\nl20 ", "inverse_share", "repeat_factor", "P(column | row)"] {
        assert!(all.contains(words), "{words}");
    }
    let labels = place.sweep(&["data", "sweep.toml", "--labels", "all"]).out;
    assert!(labels.contains("\nl20 ") && !labels.contains("inverse_share"));
    let named = place.sweep(&["data", "sweep.toml", "--labels", "l20,l30"]).out;
    assert!(named.contains("\nl20 ") && named.contains("\nl30 ") && !named.contains("\nl158 "), "{named}");
    place.sweep(&["data", "sweep.toml", "--labels", "l20,l3000"]).fails(2, &["--labels has no `l3000` (did you mean `l"]);
    let json = place.sweep(&["data", "sweep.toml", "--format", "json"]).json();
    let weights = json["data"][0]["weights"].as_array().unwrap();
    let in_grid = weights.iter().filter(|weights| weights["in_grid"] == true).count();
    assert!(weights.len() > 10 && in_grid == 2, "{in_grid} of {}", weights.len());
    assert_eq!(weights[0]["weights"].as_array().unwrap().len(), 159);
}

#[test]
fn what_run_refuses_is_described_with_the_line_that_helps() {
    // l1 is never there, l2 in every row, l3 in test only.
    let split: fn(usize) -> &'static str = |row| ["train", "train", "train", "val", "test"][row / 20];
    let carries = |row: usize, label: usize| match label {
        0 => every(row, 0, 3),
        1 => false,
        2 => true,
        3 => row >= 80 && every(row, 0, 4),
        _ => every(row, 0, 5),
    };
    let place = twin(100, 5, carries, Some(split));
    let line = "\nignore_columns = [\"l1\", \"l2\", \"l3\"]\n";
    for command in ["data", "plan"] {
        let said = place.sweep(&[command, "sweep.toml"]);
        assert_eq!(said.code, Some(0), "{command}: {}", said.err);
        assert!(said.out.contains("`sweep run` refuses the data (labels.csv): no row of the train split (60"), "{}", said.out);
        assert!(said.out.contains(line), "{}", said.out);
        assert!(said.out.contains("val has no positive of 2 of 5 labels: l1 (0 in all), l3 (5 in all)"), "{}", said.out);
    }
    let json = place.sweep(&["data", "sweep.toml", "--format", "json"]).json();
    let set = &json["data"][0];
    assert_eq!(set["refused"]["ignore_columns"], serde_json::json!(["l1", "l2", "l3"]));
    let weights = set["weights"].as_array().unwrap().iter().find(|weights| weights["pos_weight"] == "neg_over_pos").unwrap();
    assert!(weights["weights"][0].is_number() && weights["weights"][1].is_null(), "{weights}");
    let plan = place.sweep(&["plan", "sweep.toml", "--format", "json"]).json();
    assert_eq!((&plan["distinct"], plan["refused"].as_array().unwrap().len()), (&6.into(), 1), "two of them are reference runs");
    assert!(plan["runs"][2]["weights"].is_null() && plan["runs"][0]["weights"][0] == 1.0, "{}", plan["runs"]);
    let run = place.fake(&[]);
    run.fails(
        4,
        &["labels.csv: no row of the train split (60 rows)", "`l1`, `l3`", "every row of the train split", line.trim_start()],
    );
    assert!(!run.err.contains("to train"), "{}", run.err);
    // The line is pasted; one that is there already is kept in it.
    place.fake(&["--set", "data.ignore_columns=[\"l1\",\"l2\",\"l3\"]"]).json();
    let longer = "ignore_columns = [\"l4\", \"l1\", \"l2\", \"l3\"]";
    place.fake(&["--set", "data.ignore_columns=[\"l4\"]"]).fails(4, &[longer, "in place of the present"]);
}

#[test]
fn a_split_without_rows_is_described() {
    for (rows, words) in [(2, "no row is in the test split"), (1, "no row is in the val split: 1 row in all")] {
        let place = twin(rows, 2, |row, label| row == label, None);
        for command in ["data", "plan"] {
            let said = place.sweep(&[command, "sweep.toml"]);
            assert_eq!(said.code, Some(0), "{command}: {}", said.err);
            assert!(said.out.contains(words), "{command}: {}", said.out);
        }
        place.fake(&[]).fails(4, &[words]);
    }
    let place = twin(30, 2, |row, label| every(row, label, 3), Some(|row| if row < 20 { "val" } else { "test" }));
    for command in ["data", "plan"] {
        let said = place.sweep(&[command, "sweep.toml"]);
        assert!(said.code == Some(0) && said.out.contains("no row is in the train split"), "{command}: {}{}", said.out, said.err);
    }
}

/// A label that is on 60 % of the train rows and on a fifth of the test rows, one without a positive in test.
#[test]
fn shifted_and_absent_labels_are_said_under_the_table_and_not_of_a_strategy() {
    let split: fn(usize) -> &'static str = |row| ["train", "val", "train", "test"][row / 200];
    let carries = |row: usize, label: usize| match label {
        0 if row >= 600 => every(row, 0, 5),
        0 => row % 5 < 3,
        1 => row < 600 && every(row, 0, 7),
        _ => every(row, 0, 4),
    };
    let place = twin(800, 3, carries, Some(split));
    let shift = "prevalences differ between train and test by more than chance: l0 (60.0% to 20.0%)";
    let data = place.sweep(&["data", "sweep.toml"]);
    assert!(data.out.contains("20.0 %*") && data.out.contains("* another prevalence than in train"), "{}", data.out);
    let unwrapped = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(unwrapped(&data.out).contains(shift), "{}", data.out);
    assert!(unwrapped(&place.sweep(&["plan", "sweep.toml"]).out).contains(shift));
    let run = place.sweep(&["run", "sweep.toml", "--format", "json"]);
    run.json();
    let absent = "test has no positive of 1 of 3 labels (l1): macro F1, precision and recall count them as 0 (macro F1 is 0.667 at most), macro \
                  AP and AUC are means over the other 2";
    let report = unwrapped(&place.sweep(&["report", "--split", "test"]).out);
    assert!(report.contains(shift) && report.contains(absent), "{report}");
    // Beside every mean that they enter, and as a field.
    let json = place.sweep(&["report", "--format", "json"]).json();
    let field = serde_json::json!({ "val": [], "test": ["l1"] });
    assert_eq!(json["data"][0]["without_positives"], field);
    assert_eq!(place.sweep(&["data", "sweep.toml", "--format", "json"]).json()["data"][0]["without_positives"], field);
    let runs: Vec<&str> = json["rows"].as_array().unwrap().iter().filter_map(|row| row["runs"][0].as_str()).collect();
    let (one, other) = (runs[0], *runs.iter().find(|run| **run != runs[0]).unwrap());
    let show = unwrapped(&place.sweep(&["show", one]).out);
    assert!(show.contains(absent) && !show.contains("val has no positive"), "{show}");
    assert_eq!(place.sweep(&["show", one, "--format", "json"]).json()["without_positives"], field);
    let compare = unwrapped(&place.sweep(&["compare", one, other, "--replicates", "20"]).out);
    assert!(compare.contains(absent), "{compare}");
    let compare = place.sweep(&["compare", one, other, "--replicates", "20", "--format", "json"]).json();
    assert_eq!(compare["without_positives"], field);
    let val = unwrapped(&place.sweep(&["report"]).out);
    assert!(!val.contains("no positive") && !val.contains("prevalences differ"), "{val}");
    let explain = place.sweep(&["explain", "--format", "json"]).json();
    let baseline = &explain["settings"][0]["arms"][0];
    let label = &baseline["labels"][0];
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    assert!((number(&label["train_prevalence"]) - 0.6).abs() < 1e-9 && (number(&label["prevalence"]) - 0.2).abs() < 1e-9);
    assert!(number(&label["gap"]).abs() < 0.3, "40 points of it were the split's: {label}");
    assert!(unwrapped(&place.sweep(&["explain", "--all"]).out).contains(shift));
}

/// 159 labels, an optimizer with parameters as an axis, and positive weights that no optimizer notices on labels of one frequency.
#[test]
fn screens_of_many_labels_and_long_values_are_read() {
    let place = twin(400, 159, |row, label| every(row, label * 7, 6 + label / 2), None);
    let grid = "threshold = [0.5, \"max_f1\"]\nseed = [0, 1]\n\"train.optimizer\" = [\"adam\", { kind = \"sgd\", momentum = 0.9, weight_decay = 1e-4 }, \
                { kind = \"sgd\", momentum = 0.9, weight_decay = 1e-5 }]\n";
    let text = std::fs::read_to_string(place.path("sweep.toml")).unwrap();
    place.write("sweep.toml", text.replace("threshold = [0.5, \"max_f1\"]\n", grid));
    let plan = place.sweep(&["plan", "sweep.toml"]).out;
    assert!(plan.contains("train.optimizer=sgd(weight_decay=1e-5)") && plan.contains("sgd: momentum=0.9"), "{plan}");
    assert!(plan.lines().all(|line| line.chars().count() <= 110) && !plan.contains("\"kind\""), "{plan}");
    let run = place.sweep(&["run", "sweep.toml", "--on", "fake"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let report = place.sweep(&["report"]).out;
    for (name, screen) in [("run", &run.out), ("report", &report)] {
        let labels: Vec<&str> = screen.lines().filter(|line| line.starts_with("   l")).collect();
        let blocks = labels.len() / 20;
        assert!(labels.len() == 20 * blocks && (1..=3).contains(&blocks), "{name}: {screen}");
        assert!(
            screen.contains("of 159 labels the 10 rarest with positives, and the 10 others with the lowest F1"),
            "{name}: {screen}"
        );
        let rates: Vec<f64> = labels[..20]
            .iter()
            .map(|line| line.split_whitespace().rev().nth(1).unwrap().trim_end_matches('%').parse().unwrap())
            .collect();
        assert!(rates.is_sorted(), "rarest first: {rates:?}");
        assert!(screen.contains("sgd(weight_decay=1e-4)") && screen.contains("every sgd: momentum=0.9"), "{name}: {screen}");
        assert!(screen.lines().all(|line| line.chars().count() <= 120), "{name}: {screen}");
        // Its row of the leaderboard, and no table of its labels.
        let trivial = screen.lines().filter(|line| line.trim_start().starts_with('(') && line.contains("all-positive"));
        assert!(trivial.count() <= 1, "{name}: {screen}");
    }
    let one = place.sweep(&["report", "--labels", "l7,l158", "--top", "1"]).out;
    assert_eq!(one.lines().filter(|line| line.starts_with("   l")).count(), 2, "{one}");
    let csv = place.sweep(&["report", "--format", "csv"]).out;
    let chosen = place.sweep(&["report", "--format", "csv", "--labels", "l7,l158"]).out;
    assert_eq!((csv.lines().count() - 1) * 2, (chosen.lines().count() - 1) * 159, "CSV has all unless it is told");
    place.sweep(&["report", "--labels", "l700"]).fails(2, &["--labels has no `l700`"]);
    let json = place.sweep(&["report", "--format", "json"]).json();
    let show = place.sweep(&["show", json["rows"][0]["runs"][0].as_str().unwrap()]).out;
    assert_eq!(
        show.lines().filter(|line| line.starts_with('l') && !line.starts_with("label") && !line.starts_with("loss")).count(),
        100,
        "{show}"
    );
    assert!(show.contains("of 159 labels the 10 rarest") && show.contains("rows/s"), "{show}");
    let all = place.sweep(&["show", json["rows"][0]["runs"][0].as_str().unwrap(), "--labels", "all"]).out;
    assert!(all.lines().count() > 5 * 159, "{all}");
}
