//! Reference runs from the sweep file to every screen: trained once, shown beside the strategies, compared only by name.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::fs;

use common::Place;
use imbalance::rng::Rng;
use serde_json::Value;
use sqlx::{Connection as _, Row as _};

/// Two strategies that learn nothing in one epoch at this learning rate.
const SWEEP: &str = r#"
name = "small"
[data]
kind = "features"
features = "x.npy"
labels = "labels.csv"
[model]
arch = "linear"
[train]
epochs = 1
learning_rate = 1e-6
[grid]
pos_weight = ["none", "sqrt"]
threshold = [0.5, "max_f1"]
"#;

/// 400 rows of eight features, of which two labels depend on a sum each.
fn place() -> Place {
    let place = Place::new(SWEEP);
    let (mut rng, mut csv, mut values) = (Rng::new(3, "features", &[]), "id,A,B\n".to_owned(), Vec::new());
    for row in 0..400 {
        let x: Vec<f64> = (0..8).map(|_| rng.normal()).collect();
        let of = |sum: f64| u8::from(sum > 0.6);
        csv += &format!("{row},{},{}\n", of(x[0] + x[1] + 0.7 * rng.normal()), of(x[2] - x[3] + 0.7 * rng.normal()));
        values.extend(x.iter().map(|&x| x as f32));
    }
    archive::write_matrix(&place.path("x.npy"), 8, &values).unwrap();
    fs::write(place.path("labels.csv"), csv).unwrap();
    place
}

fn said(place: &Place, arguments: &[&str]) -> String {
    String::from_utf8(place.succeed(arguments).stdout).unwrap()
}

/// The rows of a report, those of the strategies and those of the references.
fn rows(report: &Value) -> (Vec<&Value>, Vec<&Value>) {
    let rows = report["rows"].as_array().unwrap().iter().filter(|row| row["baseline"] == false);
    rows.partition(|row| row["reference"].is_null())
}

#[test]
fn references_are_planned_once_per_data_and_can_be_left_out() {
    let place = place();
    let plan = place.json(&["plan", "sweep.toml"]);
    assert_eq!((&plan["points"], &plan["distinct"], &plan["references"]), (&4.into(), &4.into(), &2.into()));
    let text = said(&place, &["plan", "sweep.toml"]);
    assert!(text.contains("+2") && text.contains("(train.reference = false leaves them out)"), "{text}");
    let set = |change: &str| place.json(&["plan", "sweep.toml", "--set", change]);
    let names = |plan: &Value| -> Vec<String> {
        plan["runs"].as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect()
    };
    let without = set("train.reference=false");
    assert_eq!((&without["distinct"], &without["references"]), (&2.into(), &0.into()));
    assert_eq!(names(&without), names(&plan)[..2], "the runs of the grid keep their names");
    // A pair for each data configuration, whatever else the grid varies.
    let both = set("grid.data.standardize=[true, false]");
    assert_eq!((&both["distinct"], &both["references"]), (&8.into(), &4.into()));
    assert_eq!(both["runs"].as_array().unwrap().last().unwrap()["params"]["data.standardize"], false);
    assert_eq!(set("grid.model.arch=[\"linear\", \"mlp\"]")["references"], 2);
    assert_eq!(set("grid.seed=[0, 1, 2]")["references"], 2);
    // Networks on images from scratch have none.
    fs::write(place.path("letters.toml"), "[data]\nkind = \"letters\"\nsamples = 100\nimage_size = 16\n").unwrap();
    assert_eq!(place.json(&["plan", "letters.toml"])["references"], 0);
    let wrong = place.run(&["plan", "sweep.toml", "--set", "grid.train.reference=[true, false]"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn references_stand_beside_the_strategies() {
    let place = place();
    let run = place.json(&["run", "sweep.toml"]);
    assert_eq!((&run["runs"]["total"], &run["runs"]["trained"]), (&4.into(), &4.into()));
    assert_eq!(place.json(&["run", "sweep.toml"])["runs"]["trained"], 0, "they are found again");
    assert_eq!(place.json(&["status"])["runs"]["succeeded"], 4);

    let report = place.json(&["report"]);
    let (strategies, references) = rows(&report);
    assert_eq!((strategies.len(), references.len(), &report["strategies"]), (4, 4, &4.into()));
    let mut ranks: Vec<u64> = strategies.iter().map(|row| row["rank"].as_u64().unwrap()).collect();
    ranks.dedup();
    assert_eq!(ranks[0], 1, "no reference has taken it");
    assert!(references.iter().all(|row| row["labels"].as_array().unwrap().len() == 2));
    let ap = |row: &Value| row["metrics"]["macro_ap"]["mean"].as_f64().unwrap();
    let best = references.iter().map(|row| ap(row)).fold(0.0, f64::max);
    assert!(strategies.iter().all(|row| ap(row) < best) && best > 0.8, "{best}");
    let notes = report["notes"].to_string();
    assert!(
        notes.contains("a logistic regression on the same features, has macro AP") && !notes.contains("not converged"),
        "{notes}"
    );

    // With --top each reference has one row; at any epoch it is the strength that val has chosen; under any policy it is there.
    assert_eq!(rows(&place.json(&["report", "--top", "1"])).1.len(), 2);
    for more in
        [["--epoch", "last"], ["--epoch", "0"], ["--threshold", "prior_match"], ["--split", "test"], ["--group-by", "sampler"]]
    {
        let report = place.json(&[&["report"][..], &more].concat());
        let (_, others) = rows(&report);
        let aps = |rows: &[&Value]| rows.iter().map(|row| row["val"]["mean"].as_f64().unwrap()).collect::<Vec<_>>();
        match more[0] {
            "--epoch" | "--group-by" | "--split" => assert_eq!(aps(&others), aps(&references), "{more:?}"),
            _ => assert_eq!(others.len(), 2, "{more:?}"),
        }
    }
    let table = said(&place, &["report"]);
    let line = table.lines().find(|line| line.contains(" logistic ")).unwrap();
    assert!(line.trim_start().starts_with('('), "{line}");
    assert!(table.lines().any(|line| line.starts_with("  #  loss ")) && !table.contains("every row: loss"), "{table}");
    let csv = said(&place, &["report", "--format", "csv"]);
    assert!(csv.lines().next().unwrap().contains(",predicted_rate,reference"), "{csv}");
    assert_eq!(csv.lines().filter(|line| line.contains(",logistic_balanced,none,")).count(), 4, "{csv}");
    assert!(said(&place, &["report", "--format", "markdown"]).contains("| logistic_balanced |"));

    // Explained and compared are strategies.
    let explained = place.json(&["explain"]);
    let setting = &explained["settings"][0];
    assert_eq!((explained["settings"].as_array().unwrap().len(), setting["arms"].as_array().unwrap().len()), (1, 2));
    assert!(setting["outdone"].as_str().unwrap().contains("more than every strategy here"), "{setting}");
    assert!(said(&place, &["explain"]).contains("more than every strategy here"));
    let weights = place.json(&["compare", "pos_weight=none", "pos_weight=sqrt"]);
    assert!(!weights["notes"].to_string().contains("partner") && weights["groups"][0]["pairs"].as_array().unwrap().len() == 1);
    let named = place.json(&["compare", "loss=bce,pos_weight=none", "loss=logistic"]);
    assert_eq!(named["groups"][0]["pairs"].as_array().unwrap().len(), 1);

    // One of them.
    let name = references[0]["runs"][0].as_str().unwrap();
    let shown = place.json(&["show", name]);
    let best = shown["best_epoch"].as_u64().unwrap() as usize;
    assert_eq!(shown["strength"].as_f64(), Some(plan::STRENGTHS[best]));
    let text = said(&place, &["show", name]);
    assert!(text.contains("strength    C = ") && text.contains("val macro_ap"), "{text}");
    let log = fs::read_to_string(place.path(&format!("sweep.runs/{name}/log.txt"))).unwrap();
    let chosen = format!("chosen by val macro AP: C = {}", plan::STRENGTHS[best]);
    assert!(log.contains(&chosen) && log.contains("epoch 1, C = 0.0001: loss"), "{log}");
}

#[tokio::test]
async fn queries_that_pick_a_winner_leave_them_out() {
    let place = place();
    place.succeed(&["run", "sweep.toml"]);
    let mut db = sqlx::SqliteConnection::connect(&format!("sqlite:{}?mode=ro", place.path("sweep.db").display())).await.unwrap();
    let all = "SELECT count(DISTINCT run) FROM leaderboard WHERE loss LIKE 'logistic%'";
    assert_eq!(sqlx::query(all).fetch_one(&mut db).await.unwrap().get::<i64, _>(0), 2);
    for (file, wanted) in [("best_per_label", 2), ("ranked_on_test", 2), ("epochs_of_one_run", 1)] {
        let query = fs::read_to_string(format!("{}/reports/{file}.sql", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let rows = sqlx::query(sqlx::AssertSqlSafe(query)).fetch_all(&mut db).await.unwrap();
        assert_eq!(rows.len(), wanted, "{file}");
        if file != "epochs_of_one_run" {
            assert!(rows.iter().all(|row| row.get::<String, _>("loss") == "bce"), "{file}");
        }
    }
}
