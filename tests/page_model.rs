//! The page without a browser: its model against the schema and a snapshot, what it admits, and what it does without run files.
//!
//! `UPDATE_SNAPSHOT=1 cargo test --test page_model` writes the snapshot again.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::fs;
use std::path::Path;

use common::Place;
use serde_json::{Value, json};

fn page(place: &Place, arguments: &[&str]) -> (String, Value) {
    place.succeed(&[&["report", "--format", "html", "--output", "report.html", "--quiet"], arguments].concat());
    let html = fs::read_to_string(place.path("report.html")).unwrap();
    let (_, rest) = html.split_once("<script type=\"application/json\" id=\"model\">").unwrap();
    let model = serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap();
    (html, model)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Made-up results are the same everywhere; what depends on the machine and the day is taken out.
#[test]
fn the_model_is_that_of_the_snapshot_and_of_the_schema() {
    let place = Place::new(common::SWEEP);
    place.succeed(&["run", "sweep.toml", "--on", "fake", "--devices", "cpu", "--quiet"]);
    let (_, mut model) = page(&place, &["--no-images"]);
    let schema: Value = serde_json::from_str(&fs::read_to_string(root().join("docs/page.schema.json")).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(&model).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:?}");
    model["provenance"] = json!({ "text": model["provenance"]["text"], "views": model["provenance"]["views"] });
    let path = root().join("tests/fixtures/page-model.json");
    let text = serde_json::to_string_pretty(&model).unwrap() + "\n";
    if std::env::var_os("UPDATE_SNAPSHOT").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let kept: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap_or_default()).unwrap_or_default();
    for (name, value) in model.as_object().unwrap() {
        assert_eq!(value, &kept[name], "`{name}` is not that of tests/fixtures/page-model.json");
    }
}

/// The page admits nothing but its own two scripts, and names no address that it would fetch.
#[test]
fn the_policy_admits_the_scripts_of_the_page_and_nothing_else() {
    let place = Place::new(common::SWEEP);
    place.succeed(&["run", "sweep.toml", "--on", "fake", "--devices", "cpu", "--quiet"]);
    let (html, _) = page(&place, &[]);
    let (_, policy) = html.split_once("http-equiv=\"Content-Security-Policy\" content=\"").unwrap();
    let policy = policy.split_once('"').unwrap().0.replace("&#x27;", "'");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert_eq!(policy.matches("sha256-").count(), 2);
    assert!(!policy.contains("connect-src") && !policy.contains("unsafe-eval"), "{policy}");
    let scripts = policy.split("script-src").nth(1).unwrap();
    assert!(!scripts.contains("unsafe"), "{scripts}");
    // Outside of the library's text there is no address but those of names and licences.
    let own: String = html.split("<script>").next().unwrap().to_owned();
    assert!(!own.contains("src=\"http") && !own.contains("href=\"http") && !own.contains("url(http"), "an address");
    assert_eq!(html.matches("<script").count(), 3);
}

/// Without run files the tables are complete, and the page says what is missing.
#[test]
fn without_run_files_the_tables_stand() {
    let place = Place::new(common::SWEEP);
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    let (_, whole) = page(&place, &[]);
    assert!(whole["strategies"][0]["runs"][0]["scores"] == json!(true) && whole["missing"] == json!([]), "{}", whole["missing"]);
    fs::rename(place.path("sweep.runs"), place.path("elsewhere")).unwrap();
    let (html, model) = page(&place, &[]);
    for name in ["rows", "data", "learning", "axes", "samplers"] {
        assert_eq!(model[name], whole[name], "{name}");
    }
    assert_eq!(model["strategies"][0]["runs"][0]["scores"], json!(false));
    let missing: Vec<&str> = model["missing"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    for words in ["sliders, curves and reliability of 8 runs", "the verdict", "pictures of the worst mistakes"] {
        assert!(missing.iter().any(|line| line.starts_with(words)), "{words}: {missing:?}");
    }
    assert!(html.contains("Not on this page"));
}

#[test]
fn flags_that_do_not_fit_are_refused() {
    let place = Place::new(common::SWEEP);
    place.succeed(&["run", "sweep.toml", "--on", "fake", "--devices", "cpu", "--quiet"]);
    for (arguments, words) in [
        (&["report", "--no-images"][..], "--no-images is for --format html"),
        (&["report", "--curves"], "--curves is for --format json"),
        (&["report", "--format", "html", "--split", "test", "--output", "x.html"], "has val and test on one page"),
    ] {
        let output = place.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(words), "{arguments:?}: {said}");
    }
    assert!(!place.path("x.html").exists());
    let curves = place.json(&["report", "--curves"]);
    assert_eq!((curves["schema_version"].as_u64(), curves["curves"].as_array().unwrap().len()), (Some(1), 8 * 3));
}

/// What `explain` has computed is there for the page; another result of a run makes it old.
#[test]
fn a_verdict_that_explain_has_made_is_kept() {
    let place = Place::new(common::SWEEP);
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    let kept = place.path("sweep.runs/verdict-1.json");
    assert!(!kept.exists(), "a quick one is computed each time");
    place.succeed(&["explain", "--replicates", "100"]);
    assert!(!kept.exists(), "other options, another verdict");
    place.succeed(&["explain"]);
    let verdict: Value = serde_json::from_str(&fs::read_to_string(&kept).unwrap()).unwrap();
    let (_, model) = page(&place, &["--no-images"]);
    let first = |verdict: &Value| verdict["settings"][0]["sentences"][0].clone();
    assert_eq!(first(&verdict["verdict"]), first(&model["verdict"]));
}
