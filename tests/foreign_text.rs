//! Foreign text on every screen: names with escape sequences, directional marks and megabytes never reach a terminal unchanged.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::fs;

use common::Place;
use imbalance::shown::is_obeyed;

/// Labels with colours, a bell, a change of direction and a spreadsheet formula.
const LABELS: [&str; 3] = ["\u{1b}[31mred\u{7}\u{9b}2J", "\u{202e}turned\u{2066}", "=1+1"];

fn place() -> Place {
    let place = Place::new(
        "name = \"small\"\n[data]\nkind = \"features\"\nfeatures = \"x.npy\"\nlabels = \"labels.csv\"\n[model]\narch = \"linear\"\n\
         [train]\nepochs = 2\nreference = false\n[grid]\npos_weight = [\"none\", \"neg_over_pos\"]\nsampler = [\"shuffle\", \"class_aware\"]\nthreshold = [0.5, \"max_f1\"]\n",
    );
    let values: Vec<f32> = (0..360_u16).map(|at| f32::from(at * 37 % 101) / 50.0 - 1.0).collect();
    archive::write_matrix(&place.path("x.npy"), 3, &values).unwrap();
    let rows: String =
        (0..120).map(|row| format!("{row},{},{},{}\n", row % 2, u8::from(row % 3 == 0), u8::from(row % 5 == 0))).collect();
    fs::write(place.path("labels.csv"), format!("id,{}\n{rows}", LABELS.join(","))).unwrap();
    place
}

/// The output of a command, without anything that a terminal would interpret.
fn said(place: &Place, arguments: &[&str]) -> String {
    let output = place.run(arguments);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let odd = text.chars().find(|&letter| is_obeyed(letter) && letter != '\n');
    assert_eq!(odd, None, "{arguments:?}: {text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

#[test]
fn no_screen_obeys_a_label() {
    let place = place();
    for arguments in [
        &["data", "sweep.toml"][..],
        &["data", "sweep.toml", "--format", "json"],
        &["plan", "sweep.toml"],
        &["run", "sweep.toml"],
        &["report"],
        &["report", "--format", "markdown"],
        &["report", "--format", "json"],
        &["explain"],
        &["explain", "--format", "markdown"],
        &["explain", "--format", "json"],
        &["compare", "pos_weight=none", "pos_weight=neg_over_pos"],
        &["status"],
    ] {
        let text = said(&place, arguments);
        assert!(!text.contains("error: "), "{arguments:?}: {text}");
    }
    // JSON keeps the names as they are, whatever their letters look like.
    let labels = serde_json::json!(LABELS);
    assert_eq!(place.json(&["data", "sweep.toml"])["data"][0]["labels"], labels);
    assert_eq!(place.json(&["run", "sweep.toml"])["leaderboard"]["data"][0]["labels"], labels);
    for arguments in [&["report"][..], &["report", "--curves"]] {
        assert_eq!(place.json(arguments)["data"][0]["labels"], labels, "{arguments:?}");
    }
    let run = place.json(&["report"])["rows"][0]["runs"][0].as_str().unwrap().to_owned();
    for arguments in [
        &["explain"][..],
        &["plan", "sweep.toml"],
        &["status"],
        &["compare", "pos_weight=none", "pos_weight=neg_over_pos"],
        &["show", &run],
    ] {
        place.json(arguments);
    }
    let explained = place.json(&["explain"]);
    let named: Vec<&str> =
        explained["settings"][0]["labels"].as_array().unwrap().iter().map(|label| label["label"].as_str().unwrap()).collect();
    assert!(LABELS.iter().all(|label| named.contains(label)), "{named:?}");
    let csv = said(&place, &["report", "--format", "csv"]);
    assert!(csv.contains(",'=1+1,") && !csv.contains(",=1+1"), "{csv}");
    let first = csv.lines().nth(1).unwrap().to_owned();
    assert!(first.starts_with("small,"), "{first}");
}

#[test]
fn errors_are_short_and_obeyed_by_nobody() {
    let place = place();
    let csv = fs::read_to_string(place.path("labels.csv")).unwrap();
    let with = |cell: &str| fs::write(place.path("labels.csv"), csv.replacen("\n0,0,", &format!("\n0,{cell},"), 1)).unwrap();
    for cell in ["\u{1b}]0;title\u{7}", "\u{9b}2J", "\u{202e}", "nul\0"] {
        with(cell);
        assert!(said(&place, &["data", "sweep.toml"]).contains("labels.csv:2: "));
    }
    with(&"y".repeat(900_000));
    assert!(said(&place, &["data", "sweep.toml"]).len() < 400);
    let long = format!("a.b={}", "z".repeat(100_000));
    for set in ["\u{1b}[31m=1", "train.\u{202e}=1", "train.epochs=\u{1b}[2J", "name=\u{202e}x", &long] {
        let text = said(&place, &["plan", "sweep.toml", "--set", set]);
        assert!(text.contains("error: ") && text.len() < 2000, "{set}: {}", text.len());
    }
    fs::write(place.path("bad.toml"), format!("\"\u{202e}{}\" = 1\n", "k".repeat(100_000))).unwrap();
    assert!(said(&place, &["plan", "bad.toml"]).len() < 1000);
    fs::write(place.path("value.toml"), format!("[train]\nepochs = \"{}\"\n[grid]\nloss = \"{0}\"\n", "v".repeat(100_000)))
        .unwrap();
    assert!(said(&place, &["plan", "value.toml"]).len() < 2000);
    let odd = "\u{1b}[31m\u{202e}.toml";
    fs::write(place.path(odd), "nonsense").unwrap();
    assert!(said(&place, &["plan", odd]).contains("\\u{1b}[31m\\u{202e}.toml"));
    assert!(said(&place, &["report", "\u{1b}[2J", "--db", "\u{9b}.db"]).contains("error: "));
}

/// Paths of images are foreign as well, and so are the errors of a damaged image.
#[test]
fn paths_of_images_are_shown_not_obeyed() {
    let place = Place::new("[data]\nkind = \"images\"\nroot = \".\"\nlabels = \"labels.csv\"\n");
    fs::write(place.path("labels.csv"), "image,A\n\u{1b}[2J.png,1\n\u{202e}gnp.png,0\n").unwrap();
    let text = said(&place, &["data", "sweep.toml"]);
    assert!(text.contains("line 2: \\u{1b}[2J.png: there is no such file"), "{text}");
    fs::write(place.path("\u{1b}[2J.png"), "no picture").unwrap();
    fs::write(place.path("\u{9b}extra.png"), "no picture").unwrap();
    let text = said(&place, &["data", "sweep.toml"]);
    assert!(text.contains("text, not a picture") && text.contains("\\u{9b}extra.png"), "{text}");
}
