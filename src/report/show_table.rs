//! One run for people.

use serde_json::{Map, Value};

use super::labels::{check, places as chosen_places};
use super::question::{LabelChoice, Split};
use super::show::{EpochLine, LabelLine, Shown};
use super::show_curves::Canvas;
use super::show_probabilities;
use super::show_rows::RowMetrics;
use super::splits::{undefined, unknown};
use super::table::{Weight, draw};
use super::text_grid::{Grid, Head, NONE, number, percent, shorten, text, wrap};
use crate::error::Error;
use imbalance::sampler::Realised;
use plan::{InputShape, RunConfig, Source};
use store::{AttemptRow, time_in_words};

/// Width of a line of the configuration.
const WIDTH: usize = 110;
/// Most characters of a label's name.
const NAME: usize = 26;
/// Lines of the table of epochs, about.
const EPOCHS: usize = 25;
/// Where the values of the configuration begin.
const INDENT: usize = 12;

/// Configuration, labels, attempts, epochs and the labels' metrics; `style`: bold text; `choice`: the labels of the tables; `canvas`: for
/// pictures.
///
/// # Errors
/// A label that the run does not have.
pub fn render(shown: &Shown, style: bool, choice: &LabelChoice, canvas: Option<Canvas>) -> Result<String, Error> {
    let run = &shown.run;
    let places = places(shown, choice)?;
    let of = |labels: usize| if places.len() < labels { some(places.len(), labels, choice) } else { String::new() };
    let mut parts = vec![head(shown)];
    let drawn = shown.drawn.as_ref().map_or_else(String::new, |drawn| format!("\n{}", sampled(drawn)));
    parts.push(draw(&weights(shown, &places), &[], style, None) + &of(run.facts.labels.len()) + &drawn);
    if !imported(&run.config) {
        parts.push(attempts(&shown.attempts, style));
    }
    parts.push(canvas.map_or_else(String::new, |canvas| canvas.curves(&shown.epochs)) + &epochs(shown, style));
    for split in [Split::Val, Split::Test] {
        let (undefined, unknown, split) = (undefined(&run.facts, split), unknown(&run.facts, split), split.name());
        let said = |words: Option<String>| words.map_or_else(String::new, |words| wrap(&words, WIDTH).join("\n") + "\n");
        let undefined = said(undefined) + &said(unknown);
        for (policy, rows) in shown.labels.get(split).into_iter().flatten() {
            let result = shown.results.iter().find(|row| row.best_epoch && row.split == split && row.policy == *policy);
            let named = |&place: &usize| rows.iter().find(|line| line.row.label == run.facts.labels[place]);
            let some: Vec<&LabelLine> = places.iter().filter_map(named).collect();
            let averages = ["macro_f1", "micro_f1", "macro_ap", "macro_auc", "hamming_loss", "subset_accuracy"];
            let averages = averages.iter().filter_map(|name| Some((name, result?.metrics.get(name)?)));
            let averages: Vec<String> = averages.map(|(name, value)| format!("{name} {}", number(value))).collect();
            let epoch = run.best_epoch.map_or_else(String::new, |epoch| format!(" (epoch {epoch})"));
            let over_rows = shown.rows.get(split).map_or_else(String::new, |rows| over_rows(rows, policy));
            parts.push(format!(
                "{split}, best epoch{epoch}, threshold {policy}\n{}\n{over_rows}{undefined}{}{}",
                averages.join(", "),
                draw(&canvas.map_or_else(|| labels(&some), |canvas| canvas.with_bars(labels(&some), &some)), &[], style, None),
                of(rows.len())
            ));
        }
    }
    // Test judges; val does where there is no test.
    parts.extend(shown.probabilities.last().map(|split| show_probabilities::render(split, style)));
    let lost = shown
        .scores_lost
        .as_ref()
        .map(|why| wrap(&format!("nothing about probabilities: the kept scores cannot be read ({why})"), 120).join("\n"));
    parts.extend(lost);
    if shown.labels.is_empty() {
        parts.push("no result yet".to_owned());
    }
    parts.retain(|part| !part.is_empty());
    Ok(parts.join("\n\n") + "\n")
}

/// The places of the labels that the tables show, the rarest first; the worst are those of the first policy on val.
fn places(shown: &Shown, choice: &LabelChoice) -> Result<Vec<usize>, Error> {
    let facts = &shown.run.facts;
    check(choice, std::iter::once(&facts.labels[..]))?;
    // The train rows of imported scores are unknown.
    let positives = if facts.train.rows > 0 { &facts.train.positives } else { &facts.val.positives };
    let rows = shown.labels.get("val").and_then(|policies| policies.values().next());
    let f1 =
        |label: &String| rows.and_then(|rows| rows.iter().find(|line| line.row.label == *label)).map_or(0.0, |line| line.row.f1);
    Ok(chosen_places(choice, &facts.labels, positives, || facts.labels.iter().map(f1).collect()))
}

/// A line below a table of some labels.
fn some(shown: usize, all: usize, choice: &LabelChoice) -> String {
    match choice {
        LabelChoice::Rare => {
            format!(
                "\nof {all} labels the {0} rarest, and the {0} others with the lowest F1 on val (--labels all, --labels NAME,NAME)",
                shown / 2
            )
        }
        _ => format!("\n{shown} of {all} labels (--labels all)"),
    }
}

fn head(shown: &Shown) -> String {
    let run = &shown.run;
    let mut lines = vec![format!("run {}  {}", run.fingerprint, run.state)];
    let mut line = |name: &str, value: &str| lines.push(wrapped(name, value));
    line("sweeps", &run.sweeps.join(", "));
    let time = |time: Option<f64>| time.map(time_in_words);
    let times =
        [("asked for", Some(time_in_words(run.created_at))), ("begun", time(run.started_at)), ("ended", time(run.finished_at))];
    let times: Vec<String> = times.into_iter().filter_map(|(what, time)| Some(format!("{what} {}", time?))).collect();
    line("times", &times.join(", "));
    line("version", &run.version);
    if let Some(strength) = shown.strength {
        line("strength", &format!("C = {strength:.3e}, chosen by val macro AP among {}", shown.epochs.len()));
    }
    for (name, value) in config(&run.config) {
        line(&name, &value);
    }
    lines.join("\n")
}

/// Whether the scores came from elsewhere.
fn imported(config: &RunConfig) -> bool {
    matches!(config.data.source, Source::Imported { .. })
}

/// The configuration as (section, values).
fn config(config: &RunConfig) -> Vec<(String, String)> {
    let Ok(Value::Object(sections)) = serde_json::to_value(config) else { return Vec::new() };
    // The training of imported scores is unknown.
    let order: &[&str] =
        if imported(config) { &["data"] } else { &["loss", "pos_weight", "sampler", "seed", "data", "model", "train"] };
    let section = |name: &&str| {
        let value = sections.get(*name)?;
        let words = match value {
            Value::Object(keys) if !keys.contains_key("params") && keys.len() > 1 => {
                let mut words = Vec::new();
                flatten("", keys, &mut words);
                words.join(", ")
            }
            value => word(value),
        };
        Some(((*name).to_owned(), words))
    };
    order.iter().filter_map(section).collect()
}

/// `split.train 0.7`, `optimizer adam(beta1=0.9)`; what is off is left out.
fn flatten(prefix: &str, keys: &Map<String, Value>, words: &mut Vec<String>) {
    // The kind comes first, the rest in alphabetical order.
    let (kind, rest): (Vec<_>, Vec<_>) = keys.iter().partition(|(key, _)| ["kind", "arch"].contains(&key.as_str()));
    for (key, value) in kind.into_iter().chain(rest) {
        match value {
            Value::Null => {}
            Value::Array(values) if values.is_empty() => {}
            Value::Object(inner) if !inner.contains_key("kind") => flatten(&format!("{prefix}{key}."), inner, words),
            value => words.push(format!("{prefix}{key} {}", word(value))),
        }
    }
}

/// A choice as it is named, pairs as `name=value`, anything else as it is.
fn word(value: &Value) -> String {
    if let Value::Array(values) = value {
        let item = |value: &Value| match value.as_array().map(Vec::as_slice) {
            Some([name @ Value::String(_), value]) => format!("{}={}", text(Some(name)), text(Some(value))),
            _ => text(Some(value)),
        };
        return format!("[{}]", values.iter().map(item).collect::<Vec<_>>().join(" "));
    }
    match serde_json::from_value::<imbalance::Choice>(value.clone()) {
        Ok(choice) if value.is_object() => choice.to_string(),
        _ => text(Some(value)),
    }
}

/// `name` and its value on lines that fit, broken after commas.
fn wrapped(name: &str, value: &str) -> String {
    let mut lines = vec![format!("{name:<INDENT$}")];
    for (at, piece) in value.split_inclusive(", ").enumerate() {
        let last = lines.last_mut();
        let full = last.as_ref().is_some_and(|line| line.chars().count() + piece.trim_end().chars().count() > WIDTH);
        match last {
            Some(line) if at == 0 || !full => line.push_str(piece),
            _ => lines.push(format!("{:INDENT$}{piece}", "")),
        }
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

/// `shown: 2,800 rows in the first epoch; ...`, below the prevalences.
fn sampled(drawn: &Realised) -> String {
    let Realised { draws, duplicates, never_drawn, made_up, shift, .. } = drawn;
    let made_up = if *made_up > 0.0 { format!(", {} of them made up", percent(*made_up)) } else { String::new() };
    format!(
        "shown: what the sampler drew in the first epoch, {draws} rows{made_up}; {} had been drawn before, {} of the train rows were not drawn;\n       \
         prevalences moved by {} on average",
        percent(*duplicates),
        percent(*never_drawn),
        number(*shift)
    )
}

/// The weight of each label beside what it is made from.
fn weights(shown: &Shown, places: &[usize]) -> Grid {
    let (facts, weights) = (&shown.run.facts, &shown.run.pos_weight);
    let titles = ["pos_weight", "train positives", "train", "shown", "val", "test"];
    let heads = [Head::new("label", false)].into_iter().chain(titles.map(|title| Head::new(title, true))).collect();
    let drawn = shown.drawn.as_ref();
    let line = |&at: &usize| {
        // A split without rows is unknown.
        let positives = |counts: &imbalance::LabelCounts| counts.positives.get(at).copied().filter(|_| counts.rows > 0);
        let rate = |counts: &imbalance::LabelCounts| {
            positives(counts).map_or_else(|| NONE.to_owned(), |_| percent(counts.prevalence(at)))
        };
        vec![
            shorten(&facts.labels[at], NAME),
            weights.get(at).map_or_else(|| NONE.to_owned(), |weight| format!("{weight:.4}")),
            positives(&facts.train).map_or_else(|| NONE.to_owned(), |n| n.to_string()),
            rate(&facts.train),
            drawn.and_then(|drawn| drawn.prevalence.get(at)).map_or_else(|| NONE.to_owned(), |&share| percent(share)),
            rate(&facts.val),
            rate(&facts.test),
        ]
    };
    Grid { heads, rows: places.iter().map(line).collect() }
}

fn attempts(attempts: &[AttemptRow], style: bool) -> String {
    if attempts.is_empty() {
        return "no attempt yet".to_owned();
    }
    let titles = [
        ("attempt", true),
        ("device", false),
        ("worker", false),
        ("begun", false),
        ("seconds", true),
        ("outcome", false),
        ("why", false),
    ];
    let heads = titles.map(|(title, right)| Head::new(title, right)).to_vec();
    let line = |attempt: &AttemptRow| {
        let from = attempt.from_epoch.map_or_else(String::new, |epoch| format!(" (from epoch {epoch})"));
        let host = attempt.host.as_deref().filter(|host| !host.is_empty()).map_or_else(String::new, |host| format!("@{host}"));
        vec![
            attempt.attempt.to_string(),
            attempt.device.clone(),
            format!("{}{host}", attempt.worker.as_deref().unwrap_or(NONE)),
            format!("{}{from}", time_in_words(attempt.started_at)),
            attempt.finished_at.map_or_else(|| NONE.to_owned(), |end| format!("{:.1}", (end - attempt.started_at).max(0.0))),
            attempt.outcome.clone().unwrap_or_else(|| "running".to_owned()),
            shorten(&attempt.why, 60),
        ]
    };
    let mut text = draw(&Grid { heads, rows: attempts.iter().map(line).collect() }, &[], style, None);
    for attempt in attempts.iter().filter(|attempt| !attempt.log.trim().is_empty()) {
        text += &format!("\n\nthe end of the log of attempt {}:", attempt.attempt);
        for line in attempt.log.trim_end().lines() {
            text += &format!("\n    {}", shorten(line, 400));
        }
    }
    text
}

/// The epochs of a run; those of a reference run are strengths.
fn epochs(shown: &Shown, style: bool) -> String {
    if shown.epochs.is_empty() {
        return String::new();
    }
    // Of many epochs every second, third ..., the best and the last.
    let (all, step) = (shown.epochs.len(), shown.epochs.len().div_ceil(EPOCHS));
    let kept = shown.epochs.iter().enumerate().filter(|(at, line)| at.is_multiple_of(step) || line.best || at + 1 == all);
    let epochs: Vec<&EpochLine> = kept.map(|(_, line)| line).collect();
    let config = &shown.run.config;
    let reference = config.reference().is_some();
    let rate = if reference { "C" } else { "learning rate" };
    let speed = if matches!(shown.run.facts.input, InputShape::Image { .. }) { "images/s" } else { "rows/s" };
    let titles = ["epoch", "train loss", "val loss", rate, "seconds", speed, "val macro_ap", ""];
    let heads = titles.map(|title| Head::new(title, !title.is_empty())).to_vec();
    let line = |line: &&EpochLine| {
        let value =
            |value: Option<f64>, digits: usize| value.map_or_else(|| NONE.to_owned(), |value| format!("{value:.digits$}"));
        let epoch = &line.epoch;
        vec![
            epoch.epoch.to_string(),
            value(epoch.train_loss, 4),
            value(epoch.val_loss, 4),
            if reference {
                usize::try_from(epoch.epoch).ok().and_then(|epoch| config.strength(epoch))
            } else {
                epoch.learning_rate
            }
            .map_or_else(|| NONE.to_owned(), |rate| format!("{rate:.3e}")),
            value(epoch.seconds, 2),
            value(epoch.images_per_s, 0),
            value(line.macro_ap, 4),
            if line.best { "best" } else { "" }.to_owned(),
        ]
    };
    let weights: Vec<Weight> = epochs.iter().map(|line| if line.best { Weight::Bold } else { Weight::Plain }).collect();
    let table = draw(&Grid { heads, rows: epochs.iter().map(line).collect() }, &weights, style, None);
    let some = epochs.len();
    if some < all { format!("{table}\n{some} of {all} epochs (--format json has all)") } else { table }
}

/// The means over rows, as two lines.
fn over_rows(rows: &RowMetrics, policy: &str) -> String {
    let optional = |value: Option<f64>| value.map_or_else(|| NONE.to_owned(), number);
    let rates = rows.policies.get(policy).map_or_else(String::new, |rates| {
        let values = [rates.samples_precision, rates.samples_recall, rates.samples_f1, rates.samples_jaccard].map(optional);
        let [precision, recall, f1, jaccard] = values;
        format!("over rows: precision {precision}, recall {recall}, f1 {f1}, jaccard {jaccard}\n")
    });
    let [ap, lrap] = [rows.samples_ap, Some(rows.label_ranking_average_precision)].map(optional);
    let [coverage, loss] = [rows.coverage_error, rows.ranking_loss].map(number);
    format!("{rates}ranking of each row's labels: ap {ap}, lrap {lrap}, coverage error {coverage}, ranking loss {loss}\n")
}

fn labels(rows: &[&LabelLine]) -> Grid {
    let titles =
        ["ap", "auc", "precision", "recall", "f1", "bal acc", "mcc", "threshold", "prevalence", "predicted", "tp/fp/fn/tn"];
    let heads = [Head::new("label", false)].into_iter().chain(titles.map(|title| Head::new(title, true))).collect();
    let line = |line: &&LabelLine| {
        let row = &line.row;
        let optional = |value: Option<f64>| value.map_or_else(|| NONE.to_owned(), number);
        let counts = [row.tp, row.fp, row.fn_, row.tn].map(|count| count.to_string()).join("/");
        let ranking = [optional(row.ap), optional(row.auc)];
        let rates = [Some(row.precision), Some(row.recall), Some(row.f1), line.balanced_accuracy, line.mcc].map(optional);
        // Above 1 no score is predicted.
        let threshold = if row.threshold > 1.0 { "never".to_owned() } else { number(row.threshold) };
        let rest = [threshold, percent(row.prevalence), percent(row.predicted_rate), counts];
        [shorten(&row.label, NAME)].into_iter().chain(ranking).chain(rates).chain(rest).collect()
    };
    Grid { heads, rows: rows.iter().map(line).collect() }
}
