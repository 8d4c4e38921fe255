//! Data that cannot be used: exit code 4 before anything trains, the file and line, what would be right.

use crate::common::Place;
use crate::{Said, first_run};

/// 40 grey images of 10 x 12 pixels whose labels have awkward names.
fn photos() -> Place {
    let place = Place::new(
        "[data]\nkind = \"images\"\nroot = \"photos\"\nlabels = \"labels.csv\"\nimage_size = 16\n[grid]\nseed = [0, 1]\n\
         pos_weight = [\"none\", \"neg_over_pos\"]\n",
    );
    std::fs::create_dir(place.path("photos")).unwrap();
    let mut csv = format!("image,{NAMES}\n");
    for row in 0..40u8 {
        image::GrayImage::from_pixel(10, 12, image::Luma([row * 5])).save(place.path(&format!("photos/{row}.png"))).unwrap();
        let label = |period: u8| u8::from(row % period == 0);
        csv.push_str(&format!("{row}.png,{},{},{},{}\n", label(2), label(3), label(5), 1 - label(4)));
    }
    place.write("labels.csv", csv);
    place
}

const NAMES: &str = "\"Pleural, Thickening\",N/A,\"the \"\"big\"\" one\",Brown Creeper-a/b";

/// 40 rows of three features.
fn features() -> Place {
    let place = Place::new(
        "[data]\nkind = \"features\"\nfeatures = \"x.npy\"\nlabels = \"labels.csv\"\n[model]\narch = \"linear\"\n[train]\nreference = false\n",
    );
    let values: Vec<f32> = (0..120u8).map(f32::from).collect();
    place.write("x.npy", npy(&values, 3));
    let rows: String = (0..40).map(|row| format!("{row},{},{}\n", row % 2, row / 2 % 2)).collect();
    place.write("labels.csv", format!("id,a,b\n{rows}"));
    place
}

/// A float32 matrix as `numpy.save` writes it.
pub fn npy(values: &[f32], width: usize) -> Vec<u8> {
    let rows = values.len() / width;
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    let padded = format!("{header:<117}\n");
    bytes.extend(u16::try_from(padded.len()).unwrap().to_le_bytes());
    bytes.extend(padded.bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// The output of `run` with a changed CSV.
fn with_csv(place: &Place, from: &str, to: &str) -> Said {
    let csv = std::fs::read_to_string(place.path("labels.csv")).unwrap();
    assert!(csv.contains(from), "{from}");
    place.write("labels.csv", csv.replacen(from, to, 1));
    let said = place.fake(&[]);
    place.write("labels.csv", csv);
    said
}

#[test]
fn label_names_of_any_kind_work_everywhere() {
    let place = photos();
    let data = place.sweep(&["data", "sweep.toml"]);
    assert_eq!(data.code, Some(0), "{}", data.err);
    let run = place.fake(&[]).json();
    assert_eq!(run["runs"]["trained"], 4);
    let show = place.sweep(&["show", first_run(&run)]);
    let report = place.sweep(&["report", "--format", "csv"]);
    for name in ["Pleural, Thickening", "N/A", "the \"big\" one", "Brown Creeper-a/b"] {
        assert!(data.out.contains(name), "{name}: {}", data.out);
        assert!(show.out.contains(name), "{name}: {}", show.out);
        let quoted = name.replace('"', "\"\"");
        assert!(report.out.contains(&quoted), "{name}: {}", report.out);
    }
}

#[test]
fn a_csv_that_is_wrong_is_placed() {
    let place = photos();
    with_csv(&place, NAMES, "a,b,a,c").fails(4, &["labels.csv:1", "columns 2 and 4 are both named `a`"]);
    with_csv(&place, "1.png,0,0", "1.png,0,2").fails(4, &["labels.csv:3", "column `N/A`: `2` must be 0 or 1"]);
    with_csv(&place, "1.png,0,0", "1.png,0,").fails(4, &["labels.csv:3", "an empty cell must be 0 or 1"]);
    with_csv(&place, "1.png,0,0", "1.png,0,0,1").fails(4, &["labels.csv:3", "6 fields instead of the header's 5"]);
    place.write("labels.csv", "image\n1.png\n");
    place.fake(&[]).fails(4, &["labels.csv:1", "no label column"]);
    place.write("labels.csv", "");
    place.fake(&[]).fails(4, &["labels.csv", "empty"]);
    std::fs::remove_file(place.path("labels.csv")).unwrap();
    place.fake(&[]).fails(4, &["labels.csv", "cannot read the labels"]);
    let typo = ["--set", "data.ignore_columns=[\"N/B\"]"];
    let place = photos();
    place.fake(&typo).fails(4, &["labels.csv:1", "`N/B`", "data.ignore_columns", "did you mean `N/A`?"]);
    place.fake(&["--set", "data.ignore_columns=[\"N/A\"]"]).json();
}

#[test]
fn bad_images_stop_with_all_of_them_listed_or_are_left_out() {
    let place = photos();
    place.write("photos/2.png", b"");
    place.write("photos/4.png", b"no picture at all");
    let whole = std::fs::read(place.path("photos/6.png")).unwrap();
    place.write("photos/6.png", &whole[..whole.len() - 20]);
    std::fs::remove_file(place.path("photos/8.png")).unwrap();
    image::GrayImage::new(2000, 2000).save(place.path("photos/10.png")).unwrap();
    place.fake(&["--set", "data.max_pixels=1000000"]).fails(
        4,
        &[
            "5 of 40 images cannot be used",
            "line 4: 2.png: ",
            "line 6: 4.png: ",
            "line 8: 6.png: ",
            "line 10: 8.png: there is no such file",
            "line 12: 10.png: ",
            "data.on_bad_image = \"skip\"",
        ],
    );
    let skip = ["--set", "data.max_pixels=1000000", "--set", "data.on_bad_image=skip"];
    let run = place.fake(&skip);
    assert!(run.err.contains("5 of 40 images are left out"), "{}", run.err);
    assert_eq!(run.json()["runs"]["trained"], 4);
    let data = place.sweep(&[&["data", "sweep.toml", "--format", "json"], &skip[..]].concat()).json();
    assert_eq!(data["data"][0]["skipped"].as_array().unwrap().len(), 5);
    assert_eq!(data["data"][0]["diagnosis"]["rows"], 35);
    let text = place.sweep(&[&["data", "sweep.toml"], &skip[..]].concat()).out;
    assert!(text.contains("5 images left out") && text.contains("8.png: there is no such file"), "{text}");
}

#[test]
fn many_bad_images_are_twenty_and_a_count() {
    let place = photos();
    for row in 0..25 {
        place.write(&format!("photos/{row}.png"), b"");
    }
    let said = place.fake(&[]);
    said.fails(4, &["25 of 40 images", "and 5 more"]);
    assert_eq!(said.err.matches(".png: ").count(), 20, "{}", said.err);
}

#[test]
fn images_without_a_row_are_told_and_not_used() {
    let place = photos();
    let csv = std::fs::read_to_string(place.path("labels.csv")).unwrap();
    place.write("labels.csv", csv.lines().filter(|line| !line.starts_with("39.png")).collect::<Vec<_>>().join("\n"));
    let said = place.fake(&[]);
    assert!(said.err.contains("warning: ") && said.err.contains("39.png"), "{}", said.err);
    said.json();
}

#[test]
fn labels_and_splits_that_teach_nothing_are_refused() {
    let place = features();
    let csv = |label: fn(u32) -> u32, split: fn(u32) -> &'static str| {
        let rows: String = (0..40).map(|row| format!("{row},{},{},{}\n", split(row), row % 2, label(row))).collect();
        place.write("labels.csv", format!("id,split,a,b\n{rows}"));
        place.fake(&[])
    };
    let thirds: fn(u32) -> &'static str = |row| ["train", "train", "val", "test"][row as usize / 10];
    csv(|row| row / 2 % 2, thirds).json();
    csv(|row| u32::from(row >= 30), thirds).fails(4, &["labels.csv", "`b`", "no row of the train split (20 rows)"]);
    csv(|row| u32::from(row < 30), thirds).fails(4, &["labels.csv", "`b`", "every row of the train split"]);
    csv(|row| row / 2 % 2, |row| if row < 20 { "val" } else { "test" }).fails(4, &["labels.csv", "no row is in the train split"]);
    // A split that the column lacks is carved out of train.
    csv(|row| row / 2 % 2, |row| if row < 20 { "train" } else { "test" }).json();
    csv(|row| row / 2 % 2, |_| "dev").fails(4, &["labels.csv:2", "`dev` must be train, val"]);
}

#[test]
fn a_group_is_never_torn_apart() {
    let place = features();
    let rows: String = (0..40).map(|row| format!("{row},p{},{},{}\n", row / 4, row % 2, row / 2 % 2)).collect();
    place.write("labels.csv", format!("id,patient,a,b\n{rows}"));
    let group = ["--set", "data.group_column=patient"];
    place.fake(&group).json();
    let split = |row: u32| if row < 38 { "train" } else { "test" };
    let rows: String = (0..40).map(|row| format!("{row},p{},{},{},{}\n", row / 4, split(row), row % 2, row / 2 % 2)).collect();
    place.write("labels.csv", format!("id,patient,split,a,b\n{rows}"));
    place.fake(&group).fails(4, &["labels.csv", "rows of the group `p9` into both train and test"]);
}

#[test]
fn features_that_do_not_fit_are_refused() {
    let place = features();
    place.fake(&[]).json();
    place.write("x.npy", npy(&[1.0; 60], 3));
    place.fake(&[]).fails(4, &["x.npy", "20 rows of features, but the labels have 40 rows"]);
    let mut values = [1.0; 120];
    values[7] = f32::NAN;
    place.write("x.npy", npy(&values, 3));
    place.fake(&[]).fails(4, &["x.npy", "row 2, column 1", "NaN"]);
    place.write("x.npy", b"not numpy");
    place.fake(&[]).fails(4, &["x.npy", ".npy"]);
    place.write("x.npy", &npy(&values, 3)[..200]);
    place.fake(&[]).fails(4, &["x.npy"]);
}

/// Values so large that every score is infinite: that run fails, the others go on.
#[test]
fn a_loss_that_is_no_number_fails_its_run_and_the_sweep_goes_on() {
    let place = features();
    let values: Vec<f32> = (0..120u8).map(|value| f32::from(value) * 2e36).collect();
    place.write("x.npy", npy(&values, 3));
    let set = ["grid.data.standardize=[true, false]", "grid.seed=[0,1]", "train.epochs=2", "train.optimizer=sgd"]
        .map(|set| ["--set", set]);
    let set = set.concat();
    let run = |more: &[&str]| place.sweep(&[&["run", "sweep.toml", "--format", "json"], &set[..], more].concat());
    let said = run(&[]);
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert!(said.err.contains("2 of 4 runs failed") && said.err.contains("sweep resume --failed"), "{}", said.err);
    let value = said.json();
    assert_eq!(
        (&value["sweep"]["state"], &value["runs"]["trained"], &value["runs"]["failed"]),
        (&"failed".into(), &2.into(), &2.into())
    );
    assert!(value["failures"].as_array().unwrap().iter().all(|failure| failure["outcome"] == "diverged"), "{value}");
    let status = place.sweep(&["status"]);
    assert_eq!(status.code, Some(0));
    assert!(status.out.contains("diverged"), "{}", status.out);
    let again = run(&[]);
    assert_eq!((again.code, &again.json()["runs"]["trained"]), (Some(3), &0.into()), "a diverged run is not tried again");
    let plan = place.sweep(&[&["plan", "sweep.toml"], &set[..]].concat()).out;
    assert!(plan.contains("2 failed before"), "{plan}");
    let retried = place.sweep(&["resume", "--failed", "--max-failures", "1", "--per-device", "1", "--format", "json"]);
    assert_eq!(retried.code, Some(3), "{}", retried.err);
    assert!(retried.err.contains("--max-failures"), "{}", retried.err);
    let runs = &retried.json()["runs"];
    assert_eq!((&runs["trained"], &runs["failed"]), (&0.into(), &2.into()));
}

/// Numbers that overflow make every run of a bundle diverge, each reported by the worker itself: heartbeats with NaN can be read.
#[test]
fn runs_that_diverge_together_say_so_at_once() {
    let place = Place::new(
        "[data]\nkind = \"features\"\nfeatures = \"x.npy\"\nlabels = \"labels.csv\"\nstandardize = false\n[model]\narch = \"linear\"\n\
         [train]\nreference = false\nepochs = 1\nbatch_size = 1\noptimizer = \"sgd\"\nlearning_rate = 0.1\n[grid]\npos_weight = [\"none\", \"sqrt\"]\n",
    );
    // So many steps take more than a second, after which a heartbeat follows the first one.
    let (rows, width) = (60_000, 8);
    let values: Vec<f32> = (0..rows * width).map(|at| 1e30 * ((at * 7 % 17) as f32 - 8.0)).collect();
    place.write("x.npy", npy(&values, width));
    let lines: String = (0..rows).map(|row| format!("{row},{},{}\n", u8::from(row % 3 == 0), u8::from(row % 5 == 0))).collect();
    place.write("labels.csv", format!("id,a,b\n{lines}"));
    let output = place.command(&["run", "sweep.toml"]).env("SWEEP_HUNG_SECONDS", "20").output().unwrap();
    let said = Said::new(&output);
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert_eq!(said.err.matches(": diverged: the loss is").count(), 2, "{}", said.err);
    assert!(!said.err.contains("hung") && !said.err.contains("crashed"), "{}", said.err);
}
