//! Files as people have them, through the real program: CheXpert's unknown cells, NIH's lists, `sweep init` on messy folders. The
//! files are made here.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::Place;
use imbalance::rng::Rng;
use serde_json::Value;

/// A small picture whose channels say which labels it has.
fn picture(path: &Path, labels: [bool; 3], rng: &mut Rng) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = image::RgbImage::from_fn(16, 16, |_, _| {
        let channel = |on: bool, noise: u64| (if on { 120 } else { 20 }) + (noise % 60) as u8;
        image::Rgb([channel(labels[0], rng.below(60)), channel(labels[1], rng.below(60)), channel(labels[2], rng.below(60))])
    });
    image.save(path).unwrap();
}

/// CheXpert's own layout: patients, sex, age, views; 1.0, 0.0, blanks and -1.0. Returns the truth of each row by its path.
fn chexpert(place: &Place) -> BTreeMap<String, [Option<u8>; 3]> {
    let (mut rng, mut truth) = (Rng::new(7, "chexpert", &[]), BTreeMap::new());
    let mut csv = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Edema,Pleural Effusion\n".to_owned();
    for row in 0..240usize {
        let real = [rng.below(4) == 0, rng.below(3) == 0, rng.below(2) == 0];
        let path = format!("patient{:05}/study{}/view1_frontal.jpg", row / 2, row % 2);
        picture(&place.path("train").join(&path), real, &mut rng);
        // No Finding is 1 or blank, never 0; the others are told for two rows of three.
        let mut cells = [if real[0] { "1.0" } else { "" }; 3];
        let mut known = [Some(u8::from(real[0])); 3];
        for label in 1..3 {
            (cells[label], known[label]) = match (rng.below(6), real[label]) {
                (0, _) => ("-1.0", None),
                (_, true) => ("1.0", Some(1)),
                (1, false) => ("", Some(0)),
                (_, false) => ("0.0", Some(0)),
            };
        }
        csv += &format!(
            "{path},{},{},Frontal,{},{}\n",
            ["Male", "Female"][row % 2],
            20 + row % 60,
            ["AP", "PA", ""][row % 3],
            cells.join(",")
        );
        truth.insert(path, known);
    }
    fs::write(place.path("train.csv"), csv).unwrap();
    truth
}

const CHEXPERT: &str = r#"
name = "chexpert"
[data]
kind = "images"
root = "train"
labels = "train.csv"
image_size = 16
ignore_columns = ["Sex", "Age", "Frontal/Lateral", "AP/PA"]
negative = [""]
[model]
arch = "cnn"
hidden = [8]
[train]
epochs = 8
learning_rate = 0.01
reference = false
[grid]
"data.unknown" = ["ignore", "negative", "positive"]
pos_weight = ["none", "neg_over_pos"]
threshold = [0.5, "max_f1"]
seed = [0, 1, 2]
"#;

/// Label, split and policy → (tp, fp, fn, tn) and AP.
type Recorded = BTreeMap<(String, String, String), ([u64; 4], Option<f64>)>;

fn recorded(place: &Place, run: &str) -> Recorded {
    let shown = place.json(&["show", run]);
    let mut found = BTreeMap::new();
    for (split, policies) in shown["labels"].as_object().unwrap() {
        for (policy, rows) in policies.as_object().unwrap() {
            for row in rows.as_array().unwrap() {
                let count = |key: &str| row[key].as_u64().unwrap_or_else(|| panic!("{key} of {row}"));
                let counts = [count("tp"), count("fp"), count("fn"), count("tn")];
                found.insert(
                    (row["label"].as_str().unwrap().to_owned(), split.clone(), policy.clone()),
                    (counts, row["ap"].as_f64()),
                );
            }
        }
    }
    found
}

/// Average precision by its definition: at every distinct score, the recall gained times the precision there.
fn average_precision(cells: &[(f64, u8)]) -> Option<f64> {
    let positives = cells.iter().filter(|(_, y)| *y == 1).count();
    let mut scores: Vec<f64> = cells.iter().map(|(score, _)| *score).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    scores.dedup();
    let mut sum = 0.0;
    for score in scores {
        let above = cells.iter().filter(|(other, _)| *other >= score);
        let tp = above.clone().filter(|(_, y)| *y == 1).count() as f64;
        let gained = cells.iter().filter(|(other, y)| *other == score && *y == 1).count() as f64;
        sum += gained / positives as f64 * tp / above.count() as f64;
    }
    (positives > 0).then_some(sum)
}

/// U-Ignore, U-Zeros and U-Ones as an axis: refused without a decision, then planned, trained, reported and explained; what is recorded
/// of each strategy is what the known cells give, cut out by hand.
#[test]
fn chexpert_from_its_own_csv_to_the_verdict() {
    let place = Place::new(CHEXPERT);
    let truth = chexpert(&place);
    let refused = place.run(&[
        "data",
        "sweep.toml",
        "--set",
        "data.unknown=error",
        "--set",
        "data.negative=[]",
        "--set",
        "data.ignore_columns=[]",
        "--quiet",
    ]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{said}");
    for part in [
        "train.csv:2: column `Sex`: `Male` must be 0 or 1",
        "`Age`: numbers from 20 to 79",
        "of -1: nothing says whether they are 0 or 1",
        "ignore_columns = [\"Sex\", \"Age\", \"Frontal/Lateral\", \"AP/PA\"]",
        "unknown = \"ignore\"",
    ] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
    let data = place.succeed(&["data", "sweep.toml", "--set", "data.unknown=ignore"]);
    let text = String::from_utf8_lossy(&data.stdout).into_owned();
    assert!(text.contains("240 rows; row: `Path`; 3 labels: `No Finding`, `Edema`, `Pleural Effusion`;"), "{text}");
    assert!(text.contains("unknown cells; not used: `Sex`, `Age`"), "{text}");
    assert!(text.contains("known"), "how many rows know a label: {text}");

    place.succeed(&["init", "train", "train.csv", "--output", "init.toml"]);
    let file = fs::read_to_string(place.path("init.toml")).unwrap();
    for part in ["negative = [\"\"]", "unknown = \"ignore\"", "\"Age\",", "root = \"train\""] {
        assert!(file.contains(part), "{part} is not in: {file}");
    }
    assert!(place.json(&["plan", "init.toml"])["warnings"].to_string().contains("known rows of val: "), "every screen says it");

    let plan = place.json(&["plan", "sweep.toml"]);
    assert_eq!(plan["distinct"], 18, "{plan}");
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    let mut runs = 0;
    for run in plan["runs"].as_array().unwrap() {
        let name = run["run"].as_str().unwrap();
        let csv = place.path("predictions.csv");
        place.succeed(&["export", name, "--predictions", csv.to_str().unwrap(), "--force", "--quiet"]);
        let text = fs::read_to_string(&csv).unwrap();
        let mut lines = csv_lines(&text);
        let header = lines.remove(0);
        let labels = ["No Finding", "Edema", "Pleural Effusion"];
        let column = |what: &str| header.iter().position(|cell| cell == what).unwrap_or_else(|| panic!("{what} in {header:?}"));
        let recorded = recorded(&place, name);
        for split in ["val", "test"] {
            for (label, label_name) in labels.into_iter().enumerate() {
                let score = column(&format!("score.{label_name}"));
                let rows = lines.iter().filter(|line| line[column("split")] == split);
                let known: Vec<(f64, u8)> =
                    rows.filter_map(|line| Some((line[score].parse().unwrap(), truth[&line[column("id")]][label]?))).collect();
                let count = |predicted: bool, y: u8| {
                    known.iter().filter(|(score, truth)| (*score >= 0.5) == predicted && *truth == y).count() as u64
                };
                let (counts, ap) = recorded[&(label_name.to_owned(), split.to_owned(), "0.5".to_owned())];
                assert_eq!(
                    counts,
                    [count(true, 1), count(true, 0), count(false, 1), count(false, 0)],
                    "{name} {split} {label_name}"
                );
                let (ap, expected) = (ap.unwrap(), average_precision(&known).unwrap());
                assert!((ap - expected).abs() < 1e-9, "{name} {split} {label_name}: {ap} and {expected}");
                runs += 1;
            }
        }
    }
    assert_eq!(runs, 18 * 6);
    let report = String::from_utf8(place.succeed(&["report"]).stdout).unwrap();
    assert!(
        report.contains("known rows of val: ")
            && report.contains("unknown")
            && report.contains("ignore")
            && report.contains("positive"),
        "{report}"
    );
    let explained = String::from_utf8(place.succeed(&["explain"]).stdout).unwrap();
    assert!(explained.contains("Edema") && explained.contains("known rows of"), "{explained}");
    let shown = String::from_utf8(place.succeed(&["show", plan["runs"][0]["run"].as_str().unwrap()]).stdout).unwrap();
    assert!(shown.contains("known rows of val: "), "{shown}");
}

fn csv_lines(text: &str) -> Vec<Vec<String>> {
    text.lines().map(|line| line.split(',').map(|cell| cell.trim_matches('"').to_owned()).collect()).collect()
}

/// Without a grid of them, `negative` is the file with zeros written in place of what is unknown: the same run.
#[test]
fn unknown_cells_taken_for_zeros_are_zeros() {
    let place = Place::new(&CHEXPERT.replace("\"data.unknown\" = [\"ignore\", \"negative\", \"positive\"]\n", ""));
    chexpert(&place);
    let names = |arguments: &[&str]| {
        let plan = place.json(&[&["plan", "sweep.toml"], arguments].concat());
        plan["runs"].as_array().unwrap().iter().map(|run| run["run"].clone()).collect::<Vec<Value>>()
    };
    let csv = fs::read_to_string(place.path("train.csv")).unwrap();
    for (word, cell) in [("negative", "0.0"), ("positive", "1")] {
        let taken = names(&["--set", &format!("data.unknown={word}")]);
        fs::write(place.path("by-hand.csv"), csv.replace("-1.0", cell)).unwrap();
        assert_eq!(taken, names(&["--set", "data.labels=by-hand.csv"]), "{word}");
        // A label of its own may be taken otherwise.
        let one = names(&["--set", &format!("data.unknown={{ Edema = \"{word}\", \"*\" = \"{word}\" }}")]);
        assert_eq!(one, taken);
    }
    let typo = place.run(&["data", "sweep.toml", "--set", "data.unknown={ Edma = \"ignore\", \"*\" = \"ignore\" }"]);
    assert!(
        String::from_utf8_lossy(&typo.stderr).contains("`data.unknown` names `Edma`, which is no label; did you mean `Edema`?")
    );
}

/// The scores of a model with unknown cells in the truth: every number equals that of the known rows alone, label by label.
#[test]
fn imported_scores_are_judged_on_the_known_cells() {
    let place = Place::new("");
    let mut rng = Rng::new(11, "imported", &[]);
    let labels = ["a", "b", "c"];
    let npy = |name: &str, width: usize, values: &[f32]| {
        let mut bytes = Vec::new();
        {
            use npyz::WriterBuilder;
            let shape = [(values.len() / width) as u64, width as u64];
            let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut bytes).begin_nd().unwrap();
            writer.extend(values.iter().copied()).unwrap();
            writer.finish().unwrap();
        }
        fs::write(place.path(name), bytes).unwrap();
    };
    let (mut scores, mut csv) = (Vec::new(), "id,a,b,c\n".to_owned());
    let mut of_label: Vec<(Vec<f32>, String)> = labels.iter().map(|label| (Vec::new(), format!("id,{label}\n"))).collect();
    for row in 0..400 {
        csv += &format!("r{row}");
        for (cut, cut_csv) in &mut of_label {
            let y = u8::from(rng.below(4) == 0);
            let score = ((f64::from(y) * 0.3 + rng.uniform() * 0.7) * 50.0).round() as f32 / 50.0;
            scores.push(score);
            let unknown = rng.below(3) == 0;
            csv += &if unknown { [",", ",nan", ",-1"][rng.below(3) as usize].to_owned() } else { format!(",{y}") };
            if !unknown {
                cut.push(score);
                *cut_csv += &format!("r{row},{y}\n");
            }
        }
        csv += "\n";
    }
    npy("all.npy", 3, &scores);
    fs::write(place.path("all.csv"), csv).unwrap();
    let refused = place.run(&["import", "--scores", "all.npy", "--labels", "all.csv", "--name", "all", "--quiet"]);
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("--unknown ignore"),
        "{}",
        String::from_utf8_lossy(&refused.stderr)
    );
    let import = |name: &str| {
        let view = place.json(&[
            "import",
            "--scores",
            &format!("{name}.npy"),
            "--labels",
            &format!("{name}.csv"),
            "--name",
            name,
            "--unknown",
            "ignore",
            "--quiet",
        ]);
        recorded(&place, view["run"].as_str().unwrap())
    };
    let all = import("all");
    for (label, (cut, cut_csv)) in labels.into_iter().zip(&of_label) {
        npy(&format!("{label}.npy"), 1, cut);
        fs::write(place.path(&format!("{label}.csv")), cut_csv).unwrap();
        let alone = import(label);
        assert_eq!(alone.len(), 3, "three policies");
        for (key, expected) in alone {
            assert_eq!(all[&key], expected, "{key:?}");
        }
    }
}

/// NIH's layout: a column of names separated by `|`, one of which says that there is none.
fn nih(place: &Place) -> Vec<(String, Vec<&'static str>)> {
    let names = ["Mass", "Edema", "Hernia"];
    let (mut rng, mut rows) = (Rng::new(5, "nih", &[]), Vec::new());
    let mut csv = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n".to_owned();
    for row in 0..180usize {
        let real = [rng.below(3) == 0, rng.below(4) == 0, rng.below(5) == 0];
        let found: Vec<&'static str> = names.into_iter().zip(real).filter(|(_, is)| *is).map(|(name, _)| name).collect();
        let file = format!("{row:08}_000.png");
        picture(&place.path("images").join(&file), real, &mut rng);
        let list = if found.is_empty() { "No Finding".to_owned() } else { found.join("|") };
        csv += &format!(
            "{file},{list},{},{},{:03}Y,{},{}\n",
            row % 5,
            1 + row / 3,
            20 + row % 70,
            ["M", "F"][row % 2],
            ["PA", "AP"][row % 3 / 2]
        );
        rows.push((file, found));
    }
    fs::write(place.path("Data_Entry.csv"), csv).unwrap();
    rows
}

/// `init` reads the lists, keeps patients together and writes a file that `plan` and `run` take.
#[test]
fn nih_from_init_to_the_verdict() {
    let place = Place::new("");
    let rows = nih(&place);
    let said = place.succeed(&["init", "images", "Data_Entry.csv", "--output", "nih.toml"]);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    for part in ["wrote nih.toml", "`Finding Labels`: list, lists of 4 names", "`No Finding` is no label", "`Patient ID`: group"]
    {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    let file = fs::read_to_string(place.path("nih.toml")).unwrap();
    for part in [
        "group_column = \"Patient ID\"",
        "label_lists = { \"Finding Labels\" = \"|\" }",
        "no_label = \"No Finding\"",
        "\"Patient Age\"",
    ] {
        assert!(file.contains(part), "{part} is not in: {file}");
    }
    assert_eq!(
        place.run(&["init", "images", "Data_Entry.csv", "--output", "nih.toml"]).status.code(),
        Some(2),
        "nothing is written over"
    );
    let data = place.json(&["data", "nih.toml"]);
    let set = &data["data"][0];
    assert_eq!(set["labels"], serde_json::json!(["Edema", "Hernia", "Mass"]), "in alphabetical order");
    for (at, name) in ["Edema", "Hernia", "Mass"].into_iter().enumerate() {
        let expected = rows.iter().filter(|(_, found)| found.contains(&name)).count();
        assert_eq!(set["diagnosis"]["positives"][at], expected, "{name}");
    }
    assert_eq!(set["layout"]["groups"], 60);
    assert!(place.json(&["plan", "nih.toml"])["distinct"].as_u64().unwrap() > 1);
    let small = [
        "--set",
        "model.hidden=[8]",
        "--set",
        "train.epochs=2",
        "--set",
        "grid.seed=[0,1]",
        "--set",
        "data.image_size=16",
        "--quiet",
    ];
    place.succeed(&[&["run", "nih.toml"][..], &small].concat());
    assert!(!place.succeed(&["report"]).stdout.is_empty());
    assert!(String::from_utf8_lossy(&place.succeed(&["explain"]).stdout).contains("Hernia"));
}

/// Folders as they come: every one gets a file that `plan` takes.
#[test]
fn init_understands_messy_folders() {
    let rows = |header: &str, end: &str, row: &dyn Fn(usize) -> String| {
        (0..60).fold(format!("{header}{end}"), |csv, at| csv + &row(at) + end)
    };
    let label = |at: usize, of: usize| usize::from((at * 7).is_multiple_of(of));
    let utf16 = |text: &str| [b"\xFF\xFE".to_vec(), text.encode_utf16().flat_map(u16::to_le_bytes).collect()].concat();
    let cases: Vec<(&str, Vec<u8>, Vec<&str>, &str)> = vec![
        (
            "semicolons and CRLF",
            rows("image;A;B", "\r\n", &|at| format!("{at}.png;{};{}", label(at, 3), label(at, 4))).into_bytes(),
            vec!["A", "B"],
            "separated by `;`",
        ),
        (
            "UTF-16 with tabs",
            utf16(&rows("image\tA\tB", "\r\n", &|at| format!("{at}.png\t{}\t{}", label(at, 3), label(at, 4)))),
            vec!["A", "B"],
            "UTF-16",
        ),
        (
            "an index of pandas",
            rows(",image,A,B", "\n", &|at| format!("{at},{at}.png,{},{}.0", label(at, 3), label(at, 4))).into_bytes(),
            vec!["A", "B"],
            "row: `image`",
        ),
        (
            "is_valid of fastai",
            rows("fname,is_valid,A", "\n", &|at| {
                format!("{at}.png,{},{}", if at % 4 == 0 { "True" } else { "False" }, label(at, 3))
            })
            .into_bytes(),
            vec!["A"],
            "1 is val",
        ),
        (
            "train, val, test by another name",
            rows("image,subset,A", "\n", &|at| format!("{at}.png,{},{}", ["train", "val", "test"][at % 3], label(at, 5)))
                .into_bytes(),
            vec!["A"],
            "split: `subset`",
        ),
        (
            "yes and no",
            rows("image,A,B", "\n", &|at| format!("{at}.png,{},{}", ["no", "yes"][label(at, 3)], ["no", "yes"][label(at, 4)]))
                .into_bytes(),
            vec!["A", "B"],
            "",
        ),
        (
            "a class in words",
            rows("image,class", "\n", &|at| format!("{at}.png,{}", ["cat", "dog", "bird"][at % 3])).into_bytes(),
            vec!["bird", "cat", "dog"],
            "lists in `class`",
        ),
        (
            "lists as Python writes them",
            rows("image,tags,width", "\n", &|at| format!("{at}.png,\"{}\",{}", ["['x', 'y']", "['y']", "[]"][at % 3], 600 + at))
                .into_bytes(),
            vec!["x", "y"],
            "lists in `tags`",
        ),
        (
            "patients, ages and notes",
            rows("patient,image,age,A,note", "\n", &|at| {
                format!("p{},{at}.png,{},{},note {at} {}", at / 3, 20 + at, label(at, 3), "x".repeat(at))
            })
            .into_bytes(),
            vec!["A"],
            "groups: `patient`",
        ),
        (
            "blanks, crosses and cleared cells",
            rows("image,A,B,", "\n", &|at| format!("{at}.png,{},{},", ["", "x"][label(at, 3)], ["", "x"][label(at, 4)]))
                .into_bytes(),
            vec!["A", "B"],
            "",
        ),
    ];
    for (name, csv, labels, said) in cases {
        let place = Place::new("");
        let mut rng = Rng::new(1, "messy", &[]);
        for at in 0..60 {
            picture(&place.path("photos").join(format!("{at}.png")), [false, at % 2 == 0, at % 3 == 0], &mut rng);
        }
        // What systems leave in folders is no picture.
        fs::write(place.path("photos/._1.png"), "resource fork").unwrap();
        fs::write(place.path("photos/labels.csv"), csv).unwrap();
        let view = place.json(&["init", "photos", "--output", "messy.toml"]);
        assert_eq!(view["open"], serde_json::json!([]), "{name}: {view}");
        assert!(view["seen"].to_string().contains(said), "{name}: {view}");
        let plan = place.run(&["plan", "messy.toml", "--format", "json"]);
        let file = fs::read_to_string(place.path("messy.toml")).unwrap();
        assert!(plan.status.success(), "{name}: {}\n{file}", String::from_utf8_lossy(&plan.stderr));
        let data = place.json(&["data", "messy.toml"]);
        assert_eq!(data["data"][0]["labels"], serde_json::json!(labels), "{name}: {file}");
    }
}
