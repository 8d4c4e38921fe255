//! The scores of one run as probabilities, for people: the rarest and the worst labels.

use super::probabilities::{LabelProbabilities, SplitProbabilities};
use super::table::draw;
use super::text_grid::{Grid, Head, NONE, number, shorten};
use imbalance::metric::calibration::{BINS, Fault, Judgement};

/// Labels that are shown: the rarest, then the worst.
const RAREST: usize = 2;
const WORST: usize = 2;
/// Most characters of a label's name above its column of the reliability table.
const NAME: usize = 19;

/// One split: proper scores, calibration and judgement, then reliability.
#[must_use]
pub fn render(split: &SplitProbabilities, style: bool) -> String {
    let shown = shown(&split.labels);
    let left = split.labels.len() - shown.len();
    let judged = |of: fn(&Judgement) -> bool| split.labels.iter().filter(|label| of(&label.calibration.judgement)).count();
    let counts = [
        (judged(|judged| *judged == Judgement::Probabilities), "probabilities"),
        (judged(|judged| matches!(judged, Judgement::Not(_))), "not"),
        (judged(|judged| *judged == Judgement::Unsure), "not known to be"),
        (judged(|judged| *judged == Judgement::TooFew), "with fewer than 20 positives or negatives"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let at = if split.at_train { ", gap and ECE as at the prevalences of train" } else { "" };
    let rest = if left > 0 { format!("; the {left} others are in --format json") } else { String::new() };
    format!(
        "scores as probabilities on {}, best epoch{at}\nmean over labels: Brier {}, NLL {}, ECE {}; of {} labels {}{rest}\n{}\n\n\
         score → share of positives (rows), by score\n{}",
        split.split,
        number(split.brier),
        number(split.nll),
        number(split.ece),
        split.labels.len(),
        counts.collect::<Vec<_>>().join(", "),
        draw(&table(&shown), &[], style, None),
        draw(&reliability(&shown), &[], style, None),
    )
}

/// The rarest labels and those of the rest with the largest errors; labels without either class last.
fn shown(labels: &[LabelProbabilities]) -> Vec<&LabelProbabilities> {
    let mut order: Vec<&LabelProbabilities> = labels.iter().collect();
    order.sort_by_key(|label| (label.calibration.judgement == Judgement::TooFew, label.calibration.positives));
    let rest = order.split_off(RAREST.min(order.len()));
    let mut worst = rest;
    worst.sort_by(|a, b| b.calibration.ece.total_cmp(&a.calibration.ece));
    order.extend(worst.into_iter().take(WORST));
    order
}

fn table(labels: &[&LabelProbabilities]) -> Grid {
    let titles = ["positives", "Brier", "NLL", "ECE", "by chance", "gap", "slope", "95 %"];
    let mut heads: Vec<Head> =
        [Head::new("label", false)].into_iter().chain(titles.map(|title| Head::new(title, true))).collect();
    heads.push(Head::new("probabilities", false));
    let line = |label: &&LabelProbabilities| {
        let found = &label.calibration;
        let (slope, interval) = found.line.map_or_else(
            || [NONE; 2].map(str::to_owned).into(),
            |line| (format!("{:.2}", line.slope), format!("[{:.2}, {:.2}]", line.low, line.high)),
        );
        vec![
            shorten(&label.label, 26),
            found.positives.to_string(),
            number(label.brier),
            number(label.nll),
            number(found.ece),
            found.chance.map_or_else(|| NONE.to_owned(), |chance| number(chance.ece)),
            format!("{:+.3}", found.gap),
            slope,
            interval,
            word(found.judgement).to_owned(),
        ]
    };
    Grid { heads, rows: labels.iter().map(line).collect() }
}

/// The judgement in a cell.
fn word(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Probabilities => "yes",
        Judgement::Not(Fault::Gap) => "no: gap",
        Judgement::Not(Fault::Slope) => "no: slope",
        Judgement::Not(Fault::Ece) => "no: ECE",
        Judgement::Unsure => "not known",
        Judgement::TooFew => "too few rows",
    }
}

/// A column per label, a line per bin that has rows.
fn reliability(labels: &[&LabelProbabilities]) -> Grid {
    let names = labels.iter().map(|label| Head::new(shorten(&label.label, NAME), true));
    let line = |bin: usize| {
        let found: Vec<_> = labels.iter().map(|label| label.reliability.get(bin).copied().unwrap_or_default()).collect();
        let cells = found.iter().map(|bin| match bin.rows {
            0 => NONE.to_owned(),
            rows => format!("{} → {} ({rows})", number(bin.score), number(bin.rate)),
        });
        let edge = |bin: usize| format!("{:.2}", bin as f64 / BINS as f64);
        let name = format!("{} – {}", edge(bin), edge(bin + 1));
        found.iter().any(|bin| bin.rows > 0).then(|| std::iter::once(name).chain(cells).collect())
    };
    Grid { heads: std::iter::once(Head::new("score", false)).chain(names).collect(), rows: (0..BINS).filter_map(line).collect() }
}

#[cfg(test)]
mod tests {
    use super::super::explain::testing::{evidence, facts};
    use super::*;
    use imbalance::loss::sigmoid;

    /// Scores of A that are spread three times too far, and those of D that are right.
    #[test]
    fn overconfident_scores_with_a_right_mean_are_told_apart() {
        let splits = SplitProbabilities::of_run(
            &evidence(1, |label, u, _| sigmoid(if label == 0 { 3.0 * u + 3.15 } else { u })),
            &facts(),
        );
        assert_eq!(splits.iter().map(|split| split.split).collect::<Vec<_>>(), ["val", "test"]);
        let text = render(&splits[1], false);
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(line("A").contains("no: slope") && line("D").contains("yes"), "{text}");
        assert!(text.contains("of 2 labels 1 probabilities, 1 not\n") && text.contains("0.00 – 0.07"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
        let json = serde_json::to_value(&splits[1].labels[0]).unwrap();
        assert_eq!(
            (json["verdict"].as_str(), json["why"].as_str(), json["reliability"].as_array().unwrap().len()),
            (Some("not"), Some("slope"), BINS)
        );
        assert!(
            json["line"]["low"].as_f64().unwrap() < json["line"]["slope"].as_f64().unwrap()
                && json["gap"].as_f64().unwrap().abs() < 0.05
        );
    }

    #[test]
    fn the_rarest_and_the_worst_labels_are_shown() {
        let one = SplitProbabilities::of_run(&evidence(1, |_, u, _| sigmoid(u)), &facts()).remove(0).labels.remove(0);
        let of = |name: &str, positives: u64, ece: f64| {
            let mut label = LabelProbabilities { label: name.to_owned(), ..one.clone() };
            (label.calibration.positives, label.calibration.ece) = (positives, ece);
            label
        };
        let mut labels: Vec<_> = (0..8).map(|at| of(&format!("l{at}"), 100 + at, 0.01 * (at % 5) as f64)).collect();
        labels.push(of("none", 0, 0.0));
        labels[8].calibration.judgement = Judgement::TooFew;
        let names: Vec<_> = shown(&labels).iter().map(|label| label.label.as_str()).collect();
        assert_eq!(names, ["l0", "l1", "l4", "l3"]);
    }
}
