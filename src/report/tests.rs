//! Summaries of hand-made evaluations.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::load::{Loaded, Part, Run};
use super::question::{Question, Split, columns};
use super::score::{LabelScore, Labels, Score, place};
use super::summary::{Row, Spread, Summary};
use super::{Blocks, Form, baseline::ALL_POSITIVE, equal, labels, rank, render};
use imbalance::LabelCounts;
use imbalance::sampler::Realised;
use plan::DataFacts;
use plan::InputShape;
use store::{METRICS, SweepRow, SweepRun};

/// Two labels: a tenth and a half of 100 val rows, two and five tenths of 50 test rows.
fn facts() -> DataFacts {
    let counts = |rows: usize, positives: [usize; 2]| LabelCounts::new(rows, positives.to_vec());
    DataFacts {
        content: "c0ffee0123".to_owned(),
        labels: vec!["rare".to_owned(), "a|b, \"c\"".to_owned()],
        input: InputShape::Features { width: 3 },
        train: counts(500, [50, 250]),
        val: counts(100, [10, 50]),
        test: counts(50, [10, 25]),
        folder: "".into(),
    }
}

fn empty() -> Loaded {
    let sweep = SweepRow {
        id: 1,
        name: "hand".to_owned(),
        title: "hand".to_owned(),
        state: "done".to_owned(),
        file: String::new(),
        text: String::new(),
        changes: None,
        points: 0,
        created_at: 0.0,
        begun_at: 0.0,
        finished_at: None,
        version: String::new(),
        host: String::new(),
    };
    let policies = vec!["0.5".to_owned(), "max_f1".to_owned()];
    Loaded {
        sweep,
        policies,
        data: vec![facts()],
        runs: vec![],
        passed_over: vec![],
        tuned: vec![],
        keys: vec![],
        val: vec![],
        test: vec![],
        drawn: HashMap::new(),
        search: None,
        lost: vec![],
        not_held_out: vec![],
        ungrouped: None,
        rounded: super::kept_scores::Rounded::default(),
    }
}

/// Adds a run of each seed; `macro_f1` on val under policy 0, one per seed.
fn add(loaded: &mut Loaded, loss: &str, pos_weight: &str, macro_f1: &[f64]) {
    for (seed, &value) in macro_f1.iter().enumerate() {
        let run = add_run(loaded, loss, pos_weight, seed as i64, "succeeded");
        loaded.val.push(score(run, 0, value, 0.5));
    }
}

fn add_run(loaded: &mut Loaded, loss: &str, pos_weight: &str, seed: i64, state: &str) -> usize {
    let row = SweepRun {
        run: format!("{:032x}", loaded.runs.len() + 0xab00_0000),
        state: state.to_owned(),
        stopped_early: false,
        left_out: false,
        data: 1,
        epochs: 4,
        best_epoch: Some(3),
        loss: loss.to_owned(),
        pos_weight: pos_weight.to_owned(),
        gamma: (loss == "focal").then_some(2.0),
        sampler: "shuffle".to_owned(),
        seed,
        params: "{}".to_owned(),
        format: plan::FORMAT,
        steps: None,
        rise: None,
        val_ap: None,
    };
    loaded.runs.push(Run { row, params: Map::new(), data: 0 });
    loaded.runs.len() - 1
}

fn score(run: usize, policy: usize, macro_f1: f64, macro_ap: f64) -> Score {
    let mut values = [None; METRICS.len()];
    values[place("macro_f1")] = Some(macro_f1);
    values[place("macro_ap")] = Some(macro_ap);
    values[place("hamming_loss")] = Some(1.0 - macro_f1);
    Score { run, policy, values, held_out: None, predicted_rate: Some(0.3), labels: Labels::Recorded(0) }
}

fn ranked(loaded: &Loaded, question: &Question) -> Summary {
    rank::rank(loaded, question, &columns(&question.group_by, &loaded.keys).unwrap())
}

/// (rank, loss or policy of the baseline, pos_weight) of each row.
fn order(summary: &Summary) -> Vec<(Option<usize>, String)> {
    let name = |row: &Row| match row.strategy.get("loss") {
        _ if row.baseline => ALL_POSITIVE.to_owned(),
        Some(Value::String(loss)) => {
            format!("{loss} {}", row.strategy["pos_weight"].as_str().unwrap_or_default()).trim_end().to_owned()
        }
        _ => row.policy.clone(),
    };
    summary.rows.iter().map(|row| (row.rank, name(row))).collect()
}

fn names(expected: &[(usize, &str)]) -> Vec<(Option<usize>, String)> {
    expected.iter().map(|(rank, name)| (Some(*rank), (*name).to_owned())).collect()
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-12
}

#[test]
fn rows_are_means_over_seeds_best_first() {
    let mut loaded = empty();
    add(&mut loaded, "bce", "none", &[0.70, 0.72, 0.74]);
    add(&mut loaded, "bce", "sqrt", &[0.80]);
    add(&mut loaded, "focal", "none", &[0.60, 0.90]);
    let summary = ranked(&loaded, &Question::default());
    // all-positive: F1 of 10 in 100 is 2/11, of 50 in 100 is 2/3
    assert_eq!(order(&summary), names(&[(1, "bce sqrt"), (2, "focal none"), (3, "bce none"), (4, ALL_POSITIVE)]));
    let spread = |row: usize| summary.rows[row].metrics["macro_f1"];
    assert_eq!(spread(0), Spread { mean: 0.8, sd: None, n: 1 });
    assert!(close(spread(1).mean, 0.75) && close(spread(1).sd.unwrap(), 0.15 * 2f64.sqrt()));
    assert!(close(spread(2).mean, 0.72) && close(spread(2).sd.unwrap(), 0.02) && spread(2).n == 3);
    assert_eq!((summary.rows[2].n, summary.rows[2].of, summary.strategies), (3, 3, 3));
    assert!(close(spread(3).mean, (2.0 / 11.0 + 2.0 / 3.0) / 2.0));
    assert_eq!(summary.rows[1].strategy["gamma"], json!(2.0));
    assert_eq!(summary.rows[2].strategy["gamma"], Value::Null);
}

#[test]
fn less_is_better_where_it_is() {
    let mut loaded = empty();
    add(&mut loaded, "bce", "none", &[0.70]);
    add(&mut loaded, "bce", "sqrt", &[0.90]);
    let summary = ranked(&loaded, &Question { metric: "hamming_loss", ..Question::default() });
    // all-positive errs on 90 + 50 of 200 cells
    assert_eq!(order(&summary), names(&[(1, "bce sqrt"), (2, "bce none"), (3, ALL_POSITIVE)]));
    assert!(close(summary.rows[2].metrics["hamming_loss"].mean, 0.7));
}

/// A policy that looks best on the rows of its fit, and is not on others, does not rank first, whichever split is shown.
#[test]
fn fitted_policies_rank_by_rows_that_they_were_not_fitted_on() {
    let mut loaded = empty();
    for (loss, flattered, held_out) in [("bce", 0.9, Some(0.4)), ("focal", 0.8, Some(0.6)), ("asl", 0.7, None)] {
        let run = add_run(&mut loaded, loss, "none", 0, "succeeded");
        loaded.val.push(Score { held_out: Some(0.45), ..score(run, 0, 0.45, 0.5) });
        loaded.val.push(Score { held_out, ..score(run, 1, flattered, 0.5) });
        loaded.test.extend([score(run, 0, 0.45, 0.5), score(run, 1, 0.5, 0.5)]);
    }
    for split in [Split::Val, Split::Test] {
        let summary = ranked(&loaded, &Question { split, ..Question::default() });
        let found: Vec<_> =
            summary.rows.iter().map(|row| (row.rank, row.strategy.get("loss").cloned(), row.policy.clone())).collect();
        let row = |rank, loss: &str, policy: &str| (Some(rank), Some(Value::from(loss)), policy.to_owned());
        let wanted = [row(1, "asl", "max_f1"), row(2, "focal", "max_f1"), row(3, "bce", "0.5")];
        assert_eq!(found[..3], wanted, "asl has no other value than that of its fit");
        // all-positive has 0.424
        let all_positive = (Some(6), None, ALL_POSITIVE.to_owned());
        assert_eq!(found[5..], [all_positive, row(6, "bce", "max_f1")], "what is fitted does not beat it by its fit");
        let of = |loss: &str| {
            summary.rows.iter().find(|row| row.strategy.get("loss") == Some(&loss.into()) && row.policy == "max_f1").unwrap()
        };
        assert_eq!((of("bce").val.unwrap().mean, of("bce").held_out.unwrap().mean), (0.9, 0.4));
        assert_eq!(of("asl").held_out, None);
        let notes = summary.notes.join("; ");
        assert!(
            notes.contains("rank by macro_f1 held out") && notes.contains("1 of 3 evaluations of fitted policies"),
            "{notes}"
        );
        let table = render(&summary, Form::Markdown).unwrap();
        assert!(table.contains(if split == Split::Val { "held out |" } else { "on val |" }), "{table}");
        assert!(table.contains("0.400"), "{table}");
    }
    // Nothing is fitted for a metric of rankings.
    for score in &mut loaded.val {
        score.held_out = score.values[place("macro_ap")];
    }
    let summary = ranked(&loaded, &Question { metric: "macro_ap", ..Question::default() });
    assert!(!summary.notes.join("; ").contains("held out"), "{:?}", summary.notes);
}

#[test]
fn equal_rows_share_a_rank_and_stand_by_macro_ap() {
    let mut loaded = empty();
    add(&mut loaded, "bce", "none", &[0.1, 0.2, 0.3]);
    add(&mut loaded, "bce", "sqrt", &[0.3, 0.1, 0.2]);
    add(&mut loaded, "focal", "none", &[0.05]);
    add(&mut loaded, "focal", "sqrt", &[0.9]);
    for score in &mut loaded.val[3..6] {
        score.values[place("macro_ap")] = Some(0.6);
    }
    let summary = ranked(&loaded, &Question::default());
    assert_eq!(
        order(&summary),
        names(&[(1, "focal sqrt"), (2, ALL_POSITIVE), (2, "bce sqrt"), (2, "bce none"), (4, "focal none")])
    );
}

#[test]
fn the_baseline_has_its_place_and_stays_when_rows_are_cut() {
    let mut loaded = empty();
    add(&mut loaded, "a", "none", &[0.9]);
    add(&mut loaded, "b", "none", &[0.5]);
    add(&mut loaded, "c", "none", &[0.3]);
    let base = (2.0 / 11.0 + 2.0 / 3.0) / 2.0;
    add(&mut loaded, "d", "none", &[base]);
    let all = ranked(&loaded, &Question::default());
    assert_eq!(order(&all), names(&[(1, "a none"), (2, "b none"), (3, "d none"), (3, ALL_POSITIVE), (4, "c none")]));
    let cut = ranked(&loaded, &Question { top: Some(1), ..Question::default() });
    assert_eq!(order(&cut), names(&[(1, "a none"), (3, ALL_POSITIVE)]));
    assert_eq!(cut.strategies, 4);
    let baseline = &cut.rows[1];
    assert!(close(baseline.metrics["macro_ap"].mean, 0.3) && close(baseline.metrics["macro_auc"].mean, 0.5));
    assert!(close(baseline.metrics["macro_recall"].mean, 1.0) && close(baseline.metrics["macro_precision"].mean, 0.3));
    assert!(close(baseline.metrics["micro_f1"].mean, 120.0 / 260.0));
    assert!(close(baseline.predicted_rate.unwrap().mean, 1.0));
    assert!(!baseline.metrics.contains_key("samples_f1"), "counts cannot tell it");
    let lines: Vec<(f64, f64)> = baseline.labels.iter().map(|line| (line.prevalence, line.recall)).collect();
    assert_eq!(lines, [(0.1, 1.0), (0.5, 1.0)]);
    // where it has no value it comes last, without a rank
    for score in &mut loaded.val {
        score.values[place("samples_f1")] = Some(0.01);
    }
    let samples = ranked(&loaded, &Question { metric: "samples_f1", ..Question::default() });
    assert_eq!(order(&samples).last().unwrap(), &(None, ALL_POSITIVE.to_owned()));
}

#[test]
fn nothing_is_chosen_on_test() {
    let mut loaded = empty();
    add(&mut loaded, "bce", "none", &[0.8, 0.8]);
    add(&mut loaded, "bce", "sqrt", &[0.6, 0.6]);
    add(&mut loaded, "focal", "none", &[0.6, 0.6]);
    // better on test, worse on val; and of two that are equal on val, the planned order stays
    loaded.test = vec![score(0, 0, 0.1, 0.1), score(1, 0, 0.2, 0.1), score(2, 0, 0.9, 0.1), score(4, 0, 0.95, 0.9)];
    let test = ranked(&loaded, &Question { split: Split::Test, ..Question::default() });
    let val = ranked(&loaded, &Question::default());
    assert_eq!(order(&test), order(&val));
    assert_eq!(order(&test), names(&[(1, "bce none"), (2, "bce sqrt"), (2, "focal none"), (4, ALL_POSITIVE)]));
    assert!(close(test.rows[0].metrics["macro_f1"].mean, 0.15) && close(test.rows[0].val.unwrap().mean, 0.8));
    assert_eq!((test.rows[1].n, test.rows[1].of), (1, 2));
    // the baseline is shown as it is on test: 10 and 25 of 50
    assert!(close(test.rows[3].metrics["macro_f1"].mean, (1.0 / 3.0 + 2.0 / 3.0) / 2.0) && close(test.data[0].prevalence, 0.35));
    assert!(test.notes[0].contains("nothing is chosen on test"), "{:?}", test.notes);
}

#[test]
fn failed_seeds_are_told() {
    let mut loaded = empty();
    add(&mut loaded, "bce", "none", &[0.8, 0.9]);
    add_run(&mut loaded, "bce", "none", 2, "failed");
    add_run(&mut loaded, "focal", "none", 0, "failed");
    add_run(&mut loaded, "focal", "none", 1, "queued");
    let summary = ranked(&loaded, &Question::default());
    assert_eq!((summary.rows[0].n, summary.rows[0].of), (2, 3));
    assert_eq!((summary.runs.total, summary.runs.recorded, summary.runs.failed, summary.runs.left), (5, 2, 2, 1));
    let absent = &summary.without_results[0];
    assert_eq!((&absent.strategy["loss"], absent.failed, absent.left), (&json!("focal"), 1, 1));
    let text = render(&summary, Form::Table { style: false, width: 110, blocks: None }).unwrap();
    assert!(text.contains("2/3") && text.contains("no result: focal, none, gamma 2, shuffle (1 failed, 1 to be done)"), "{text}");
}

#[test]
fn other_columns_make_other_rows_but_a_policy_always_does() {
    let mut loaded = empty();
    add(&mut loaded, "bce", "none", &[0.7, 0.8]);
    add(&mut loaded, "bce", "sqrt", &[0.9]);
    for run in 0..3 {
        loaded.val.push(score(run, 1, 0.5, 0.5));
    }
    let by = |names: &[&str]| {
        let group_by = names.iter().map(ToString::to_string).collect();
        let summary = ranked(&loaded, &Question { group_by, ..Question::default() });
        summary
            .rows
            .iter()
            .filter(|row| !row.baseline)
            .map(|row| (row.policy.clone(), row.n, row.strategy.len()))
            .collect::<Vec<_>>()
    };
    assert_eq!(by(&["loss"]), [("0.5".to_owned(), 3, 1), ("max_f1".to_owned(), 3, 1)]);
    assert_eq!(by(&["policy"]), [("0.5".to_owned(), 3, 0), ("max_f1".to_owned(), 3, 0)]);
    assert_eq!(by(&["pos_weight", "seed"]).len(), 6);
}

#[test]
fn data_sets_are_never_averaged() {
    let mut loaded = empty();
    add(&mut loaded, "bce", "none", &[0.7, 0.8]);
    loaded.runs[1].data = 1;
    loaded.runs[1].row.seed = 0;
    // the same rows and labels in another size: one ranking, two rows, told apart
    loaded.data.push(DataFacts { content: "decaf".to_owned(), ..facts() });
    let summary = ranked(&loaded, &Question::default());
    assert_eq!(order(&summary), names(&[(1, "bce none"), (2, "bce none"), (3, ALL_POSITIVE)]));
    assert_eq!((&summary.rows[0].strategy["prepared"], &summary.rows[1].strategy["prepared"]), (&json!(2), &json!(1)));
    assert_eq!(summary.data[0].content, ["c0ffee0123", "decaf"]);
    // other labels: another ranking with a baseline of its own
    loaded.data[1].labels[0] = "other".to_owned();
    let summary = ranked(&loaded, &Question::default());
    assert_eq!(order(&summary), names(&[(1, "bce none"), (2, ALL_POSITIVE), (1, "bce none"), (2, ALL_POSITIVE)]));
    assert_eq!(summary.rows.iter().map(|row| row.data).collect::<Vec<_>>(), [0, 0, 1, 1]);
    let text = render(&summary, Form::Table { style: false, width: 110, blocks: None }).unwrap();
    assert!(text.contains("data set 2 (decaf): 100 val rows, 2 labels") && text.contains("compare within one"), "{text}");
}

/// One strategy of two runs with its labels.
fn described() -> Summary {
    let mut loaded = empty();
    add(&mut loaded, "bce", "[10.79,2.446]", &[0.7, 0.8]);
    let mut summary = ranked(&loaded, &Question::default());
    let label = |ap, threshold, f1| LabelScore { ap, threshold, precision: f1, recall: f1, f1, predicted_rate: 0.25 };
    let parts = vec![
        Part { evaluations: 1, labels: vec![label(Some(0.25), 0.125, 0.5), label(None, 0.5, 0.0)] },
        Part { evaluations: 3, labels: vec![label(Some(0.75), 0.25, 1.0), label(None, 0.5, 0.5)] },
    ];
    labels::describe(&mut summary, &HashMap::from([(0, parts)]));
    summary
}

#[test]
fn labels_are_means_over_runs() {
    let summary = described();
    let [rare, other] = &summary.rows[0].labels[..] else { panic!() };
    assert_eq!((rare.ap, rare.threshold, rare.f1, rare.prevalence), (Some(0.625), 0.21875, 0.875, 0.1));
    assert_eq!((other.ap, other.f1, other.predicted_rate), (None, 0.375, 0.25));
}

#[test]
fn csv_is_long_and_quotes_what_it_must() {
    let text = render(&described(), Form::Csv).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let heads = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 4, "two rows of two labels");
    let cell = |row: usize, name: &str| rows[row].get(heads.iter().position(|head| head == name).unwrap()).unwrap();
    assert_eq!((cell(0, "pos_weight"), cell(0, "policy"), cell(0, "n"), cell(0, "gamma")), ("[10.79,2.446]", "0.5", "2", ""));
    assert_eq!((cell(1, "label"), cell(1, "ap"), cell(1, "f1"), cell(1, "metric")), ("a|b, \"c\"", "", "0.375", "macro_f1"));
    assert_eq!((cell(2, "policy"), cell(2, "loss"), cell(2, "recall")), (ALL_POSITIVE, "", "1"));
    let mean: f64 = cell(0, "mean").parse().unwrap();
    assert!(close(mean, 0.75));
}

#[test]
fn every_format_says_when_there_is_nothing() {
    let mut loaded = empty();
    add_run(&mut loaded, "bce", "none", 0, "queued");
    let summary = ranked(&loaded, &Question::default());
    assert_eq!((summary.rows.len(), summary.without_results.len()), (0, 1));
    for form in [Form::Table { style: false, width: 100, blocks: None }, Form::Markdown, Form::Json] {
        let text = render(&summary, form).unwrap();
        assert!(text.contains("no results yet"), "{text}");
    }
    assert_eq!(render(&summary, Form::Csv).unwrap().lines().count(), 1);
    let json: Value = serde_json::from_str(&render(&summary, Form::Json).unwrap()).unwrap();
    assert_eq!(json["rows"], json!([]));
}

#[test]
fn the_table_fits_and_escapes_only_on_request() {
    let mut loaded = empty();
    for (at, weight) in ["none", "neg_over_pos", "inverse_share", "power(exponent=0.5)"].into_iter().enumerate() {
        add(&mut loaded, "class_balanced(beta=0.9999,of=focal)", weight, &[0.5 + at as f64 / 100.0, 0.6]);
        add(&mut loaded, "focal", weight, &[0.4 + at as f64 / 100.0, 0.6]);
    }
    let summary = ranked(&loaded, &Question::default());
    for width in [100, 120] {
        let text = render(&summary, Form::Table { style: false, width, blocks: None }).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= usize::from(width)), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{a0}'), "{text}");
        assert_eq!(text.lines().filter(|line| line.contains(" ± ")).count(), 9, "one line per row and the footnote: {text}");
    }
    let narrow = render(&summary, Form::Table { style: false, width: 92, blocks: None }).unwrap();
    assert!(narrow.contains("\nprevalence 30.0%, mean over labels\n") && narrow.contains("predicted"), "{narrow}");
    assert!(render(&summary, Form::Table { style: true, width: 120, blocks: None }).unwrap().contains('\u{1b}'));
}

/// Columns of pictures come where there is room, bars last, and the prevalence gives way to them; where there is none, the table is the
/// one without pictures.
#[test]
fn pictures_stand_beside_the_numbers_where_there_is_room() {
    let mut loaded = empty();
    add(&mut loaded, "bce", "none", &[0.8, 0.9]);
    add(&mut loaded, "focal", "none", &[0.5, 0.6]);
    let mut summary = ranked(&loaded, &Question::default());
    for row in summary.rows.iter_mut().filter(|row| row.is_strategy()) {
        let best = if row.strategy["loss"] == "bce" { 0.5 } else { 0.31 };
        row.curve = vec![Some(0.1), Some(0.2), None, Some(best)];
    }
    let drawn = |width: u16, blocks| render(&summary, Form::Table { style: false, width, blocks }).unwrap();
    let text = drawn(140, Some(Blocks::Unicode));
    let row = |text: &str, name: &str| text.lines().find(|line| line.contains(name)).unwrap().to_owned();
    // From 0.424 of all-positive to 0.85 + 0.071.
    assert!(row(&text, "macro_f1  ").contains("macro_f1  0.424–0.921        macro_ap  0.100–0.500 "), "{text}");
    assert!(row(&text, "bce").contains("0.850 ± 0.071  ████████▋░░░"), "{text}");
    assert!(row(&text, "bce").contains("▁▃ █"), "{text}");
    assert!(row(&text, "focal").contains("0.550 ± 0.071  █▍░░░") && row(&text, "focal").contains("▁▃ ▅"), "{text}");
    assert!(!row(&text, "all-positive").contains(['█', '▁']), "{text}");
    assert!(text.contains("bars: what ranks, on a scale from all-positive to the highest"), "{text}");
    assert!(text.contains("curves: val macro_ap at every evaluation"), "{text}");
    let ascii = drawn(140, Some(Blocks::Ascii));
    assert!(row(&ascii, "bce").contains("#########---") && row(&ascii, "bce").contains(".- @"), "{ascii}");
    assert!(row(&ascii, "macro_f1  ").contains("0.424-0.921"), "{ascii}");
    for width in 40..140 {
        let (with, without) = (drawn(width, Some(Blocks::Unicode)), drawn(width, None));
        let widest = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(widest(&with) <= widest(&without).max(width.into()), "{width}: {with}");
        match (with.contains("bars: "), with.contains("curves: ")) {
            (false, false) => assert_eq!(with, without),
            (bars, curves) => {
                assert!(curves && with.contains("▁▃ █") && with.contains("████████▋░░░") == bars, "{width}: {with}")
            }
        }
        if with.contains("curves: ") {
            for number in ["0.850 ± 0.071", "30.0%", "all-positive", "macro_ap", "prevalence"] {
                assert!(with.contains(number), "{width}: {number}: {with}");
            }
        }
    }
    let count = |words: &str| (40..140).filter(|&width| drawn(width, Some(Blocks::Unicode)).contains(words)).count();
    assert!(count("bars: ") > 30 && count("curves: ") >= count("bars: ") + 10, "{} {}", count("bars: "), count("curves: "));
    // Test ranks nothing: its bars show its own values.
    loaded.test = loaded.val.iter().map(|score| Score { held_out: None, ..score.clone() }).collect();
    let question = Question { split: Split::Test, ..Question::default() };
    let text =
        render(&ranked(&loaded, &question), Form::Table { style: false, width: 140, blocks: Some(Blocks::Unicode) }).unwrap();
    assert!(text.contains("bars: macro_f1 on test, on a scale") && row(&text, "bce").contains("± 0.071  █"), "{text}");
    // Where less is better, all-positive is no floor.
    let question = Question { metric: "hamming_loss", ..Question::default() };
    let summary = ranked(&loaded, &question);
    let text = render(&summary, Form::Table { style: false, width: 140, blocks: Some(Blocks::Unicode) }).unwrap();
    assert!(text.contains("from the lowest to the highest") && text.contains("; shorter is better"), "{text}");
    assert!(!text.contains("curves: "), "none were read: {text}");
}

#[test]
fn markdown_cells_stay_cells() {
    let text = render(&described(), Form::Markdown).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    let pipes = |line: &str| line.replace("\\|", "").matches('|').count();
    assert_eq!(pipes(lines[0]), pipes(lines[2]), "{text}");
    assert!(text.contains("| a\\|b, \"c\" |") && text.contains("macro_f1"), "{text}");
}

fn realised(draws: usize, prevalence: [f64; 2]) -> Realised {
    Realised { draws, prevalence: prevalence.to_vec(), shift: 0.2, duplicates: 0.4, never_drawn: 0.3, made_up: 0.0 }
}

#[test]
fn what_samplers_showed_is_told_once_a_sampler() {
    let mut loaded = empty();
    add(&mut loaded, "bce", "none", &[0.7, 0.7]);
    add(&mut loaded, "bce", "sqrt", &[0.8]);
    for (run, drawn) in [(0, realised(500, [0.1, 0.5])), (1, realised(500, [0.1, 0.5])), (2, realised(500, [0.1, 0.5]))] {
        loaded.drawn.insert(run, drawn);
    }
    let summary = ranked(&loaded, &Question::default());
    assert_eq!((summary.samplers.len(), summary.samplers[0].runs), (1, 3));
    let table = render(&summary, Form::Table { style: false, width: 120, blocks: None }).unwrap();
    assert!(!table.contains("samplers showed"), "shuffles are not worth a table:\n{table}");
    for (seed, prevalence) in [[0.3, 0.5], [0.4, 0.7]].into_iter().enumerate() {
        let run = add_run(&mut loaded, "bce", "none", seed as i64, "succeeded");
        loaded.runs[run].row.sampler = "class_aware".to_owned();
        loaded.val.push(score(run, 0, 0.6, 0.5));
        loaded.drawn.insert(run, realised(600, prevalence));
    }
    let summary = ranked(&loaded, &Question::default());
    let line = &summary.samplers[1];
    assert_eq!((line.sampler.as_str(), line.runs, line.rows), ("class_aware", 2, 500));
    assert!(close(line.prevalence[0], 0.35) && close(line.prevalence[1], 0.6) && close(line.draws, 600.0));
    assert_eq!(line.train_prevalence, [0.1, 0.5]);
    let table = render(&summary, Form::Table { style: false, width: 120, blocks: None }).unwrap();
    let row = table.lines().find(|line| line.trim_start().starts_with("class_aware ") && line.contains("600")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells, ["class_aware", "600", "35.0%", "60.0%", "0.200", "40.0%", "30.0%", "0.0%"], "{table}");
    assert!(render(&summary, Form::Markdown).unwrap().contains("| class_aware | 600 | 35.0% | 60.0% |"));
    assert!(render(&summary, Form::Json).unwrap().contains("\"never_drawn\": 0.3"));
}

#[test]
fn strategies_with_the_same_counts_are_one_row_of_a_table() {
    let mut loaded = empty();
    add(&mut loaded, "bce", "none", &[0.7004, 0.7004]);
    add(&mut loaded, "class_balanced", "none", &[0.7004, 0.7004]);
    add(&mut loaded, "bce", "sqrt", &[0.70041, 0.70041]);
    let question = Question::default();
    let mut summary = ranked(&loaded, &question);
    let groups = equal::candidates(&summary);
    assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [3], "equal to the digits shown");
    let line = |recall: f64| LabelScore { ap: Some(0.5), threshold: 0.5, precision: 0.5, recall, f1: 0.5, predicted_rate: 0.3 };
    let part = |recall: f64| vec![Part { evaluations: 2, labels: vec![line(recall), line(0.4)] }];
    // The one with the weight differs by a single row.
    let weighted = |row: &Row| row.strategy["pos_weight"] == "sqrt";
    let parts: HashMap<usize, Vec<Part>> =
        groups[0].iter().map(|&place| (place, part(if weighted(&summary.rows[place]) { 0.5 } else { 0.4 }))).collect();
    equal::mark(&mut summary, &groups, &parts);
    let at = |loss: &str| {
        summary.rows.iter().position(|row| row.strategy.get("loss") == Some(&json!(loss)) && !weighted(row)).unwrap()
    };
    let (first, second) = (at("bce"), at("class_balanced"));
    assert_eq!((&summary.rows[first].equal_to[..], &summary.rows[second].equal_to[..]), (&[second][..], &[first][..]));
    assert!(summary.rows.iter().filter(|row| row.is_strategy() && weighted(row)).all(|row| row.equal_to.is_empty()));
    let text = render(&summary, Form::Table { style: false, width: 100, blocks: None }).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let row = lines.iter().position(|line| line.trim_start().starts_with("=  ")).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(lines[row].split_whitespace().collect::<Vec<_>>()[..2], ["=", "class_balanced"], "{text}");
    assert!(lines[row - 1].contains("bce") && lines[row - 1].contains("0.700") && !lines[row].contains("0.700"), "{text}");
    assert!(text.contains("=: the same counts for every label"), "{text}");
    let json: Value = serde_json::from_str(&render(&summary, Form::Json).unwrap()).unwrap();
    assert_eq!(json["rows"][second]["equal_to"], json!([first]), "both rows stay in JSON");
}

#[test]
fn a_narrow_screen_keeps_names_readable() {
    let mut loaded = empty();
    loaded.keys = vec!["train.learning_rate".to_owned(), "train.optimizer".to_owned()];
    for (loss, decay) in [("class_balanced(beta=0.9999,by=label)", 1e-4), ("bce", 1e-5), ("focal_seed(alpha=0.25)", 1e-5)] {
        let run = add_run(&mut loaded, loss, "neg_over_pos", 0, "succeeded");
        loaded.runs[run]
            .params
            .insert("train.optimizer".to_owned(), json!({ "kind": "sgd", "momentum": 0.9, "weight_decay": decay }));
        loaded.runs[run].params.insert("train.learning_rate".to_owned(), json!(decay));
        loaded.val.extend([score(run, 0, 0.6, 0.5), score(run, 1, 0.61, 0.5)]);
    }
    let summary = ranked(&loaded, &Question::default());
    for width in [80, 100, 120] {
        let text = render(&summary, Form::Table { style: false, width, blocks: None }).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= usize::from(width)), "{width}: {text}");
        for words in ["sgd(weight_decay=1e-4)", "sgd(weight_decay=1e-5)", "beta=0.9999", "focal_seed", "max_f1", "learning_rate"]
        {
            assert!(text.contains(words), "{width}, {words}: {text}");
        }
        assert!(text.contains("every sgd: momentum=0.9"), "{text}");
    }
}

#[test]
fn the_labels_of_a_table_are_the_rarest_and_the_worst() {
    let positives: Vec<usize> = (0..30).map(|label| 100 - label).chain([0]).collect();
    let f1: Vec<f64> = (0..31).map(|label| if label % 2 == 0 { 0.9 } else { 0.1 + f64::from(label) / 1000.0 }).collect();
    let chosen = labels::rare(&positives, &f1);
    // The ten rarest that have positives, then ten others by their F1, ordered by prevalence.
    assert_eq!(chosen[..10], [29, 28, 27, 26, 25, 24, 23, 22, 21, 20]);
    assert_eq!(chosen[10..], [19, 17, 15, 13, 11, 9, 7, 5, 3, 1]);
    assert_eq!(labels::rare(&[3, 1, 2], &[]), [1, 2, 0], "all where they are few");
}

#[test]
fn a_report_explains_itself_where_that_takes_a_second_or_two() {
    let folder = tempfile::tempdir().unwrap();
    let db = folder.path().join("x.db");
    let mut loaded = empty();
    add(&mut loaded, "bce", "none", &[0.5; 100]);
    let kept = archive::runs_folder(&db).join(&loaded.runs[7].row.run);
    std::fs::create_dir_all(&kept).unwrap();
    assert!(!super::explain::is_quick(&db, &loaded), "no kept scores");
    std::fs::write(kept.join("truth-test.npy"), "").unwrap();
    assert!(super::explain::is_quick(&db, &loaded));
    // Two labels of 150 rows are nothing, but each run has its files.
    add(&mut loaded, "focal", "none", &[0.5; 900]);
    assert!(!super::explain::is_quick(&db, &loaded), "too many runs");
    loaded.runs.truncate(100);
    loaded.data[0].test = LabelCounts::new(7_500, vec![10, 25]);
    assert!(!super::explain::is_quick(&db, &loaded), "too many rows");
}
