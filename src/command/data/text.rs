//! The text of `sweep data`.

use super::{Drawing, Set, Splits, Weights};
use crate::command::output::{Facts, TextTable, WIDTH, counted, fit, matrix, thousands};
use data::Skipped;
use imbalance::LabelCounts;
use imbalance::diagnosis::{Diagnosis, Pair, Pairs, Pattern};
use imbalance::oracle::Oracle;
use imbalance::sampler::Realised;

/// Most labels in a table; JSON has all.
const LABELS: usize = 40;
/// Most labels as columns of a table of formulas; more become rows.
const ACROSS: usize = 8;
/// Skipped images that are listed; JSON has all.
const SKIPPED: usize = 20;

/// The whole text about one data set.
pub fn render(set: &Set) -> String {
    let mut parts = vec![heading(set), positives(set), facts(set).to_string()];
    parts.extend(company(set));
    parts.push(weights(set));
    parts.push(samplers(set));
    parts.extend(set.limits.as_deref().map(best_possible));
    parts.extend(left_out(&set.skipped));
    parts.join("\n")
}

fn heading(set: &Set) -> String {
    let (rows, labels) = (counted(set.diagnosis.rows, "row"), counted(set.labels.len(), "label"));
    format!("{}: {rows}, {labels}, {}\n", super::source(&set.config), super::input(set.input))
}

/// The labels that tables show.
fn shown(set: &Set) -> Vec<String> {
    set.labels.iter().take(LABELS).map(|label| fit(label)).collect()
}

/// Positives and prevalence of every label in every split.
fn positives(set: &Set) -> String {
    let Splits { train, val, test } = &set.splits;
    let all = LabelCounts { rows: set.diagnosis.rows, positives: set.diagnosis.positives.clone() };
    let splits = [train, val, test, &all];
    let mut grid = TextTable::new(1, ["positives", "train", "val", "test", "all", "IRLbl", "neg/pos"]);
    let rows = splits.map(|counts| counted(counts.rows, "row"));
    grid.row([String::new()].into_iter().chain(rows).chain([String::new(), String::new()]));
    for (label, name) in shown(set).into_iter().enumerate() {
        let cells = splits.map(|counts| {
            let positives = counts.positives[label];
            format!("{} {:>6}", thousands(positives), percent(positives as f64 / counts.rows.max(1) as f64))
        });
        let ratios = [set.diagnosis.imbalance.irlbl[label], set.diagnosis.imr[label]].map(ratio);
        grid.row([name].into_iter().chain(cells).chain(ratios));
    }
    let more = set.labels.len().saturating_sub(LABELS);
    format!("{grid}{}", and_more(more, "label"))
}

fn facts(set: &Set) -> Facts {
    let Diagnosis { rows, imbalance, cardinality, density, labelsets, company, scumble, pairs, .. } = &set.diagnosis;
    let mut facts = Facts::default();
    let imbalanced = imbalance.mean_ir.is_some_and(|mean| mean > 1.5) && imbalance.cvir.is_some_and(|cv| cv > 0.2);
    let verdict = if imbalanced { "imbalanced" } else { "not imbalanced" };
    facts.add("MeanIR", number(imbalance.mean_ir), "mean of IRLbl = most positives of a label / those of this one");
    let words = format!("deviation of IRLbl / MeanIR; {verdict} by Charte's rule of thumb: MeanIR > 1.5 and CVIR > 0.2");
    facts.add("CVIR", number(imbalance.cvir), words);
    let words = "how much rare and frequent labels share rows, from 0 to 1: resampling rows for the one also moves the other";
    facts.add("SCUMBLE", number(Some(*scumble)), words);
    facts.add("cardinality", number(Some(*cardinality)), format!("labels per row; density {density:.3} = cardinality / labels"));
    let most = percent(labelsets.most_frequent as f64 / (*rows).max(1) as f64);
    let alone = thousands(labelsets.singletons);
    let words = format!("combinations of labels: {alone} on one row only, the most frequent on {most} of the rows");
    facts.add("labelsets", thousands(labelsets.distinct), words);
    let words = |expected| format!("of the rows, {} if the labels were independent", percent(expected));
    facts.add("no label", percent(company.none), words(company.none_if_independent));
    facts.add("several", percent(company.several), words(company.several_if_independent));
    if pairs.counted > 0 {
        let off = pairs.seldom + pairs.often;
        let of = |pair: &Pair| {
            let [one, other] = pair.labels.map(|label| fit(&set.labels[label]));
            format!("{one} and {other} {} ({:.1})", thousands(pair.rows), pair.expected)
        };
        let named = [("seldom", pairs.seldom, &pairs.seldom_pairs), ("often", pairs.often, &pairs.often_pairs)];
        let named = named.map(|(word, count, pairs)| match count {
            0 => String::new(),
            _ => format!("; {word} ({count}): {}", pairs.iter().map(of).collect::<Vec<_>>().join(", ")),
        });
        let share = format!("{off} of {}", thousands(pairs.counted));
        let words = "pairs of labels share rows less than half or more than twice as often as chance would have it";
        facts.add("pairs", share, format!("{words}{}", named.concat()));
    }
    facts.add("so", "", meaning(company.pattern, pairs));
    facts
}

/// The possible kinds of a data set with a cardinality near 1.
fn meaning(pattern: Pattern, pairs: &Pairs) -> &'static str {
    match pattern {
        Pattern::AsIfIndependent if pairs.seldom + pairs.often > 0 => {
            "in total the labels share rows about as chance would have it, but pairs of them do not: resampling rows for a label moves \
             those that come with it or keep away from it"
        }
        Pattern::NearExclusive => {
            "the labels nearly exclude each other: a row mostly carries one of them, and resampling rows for one hardly touches the others"
        }
        Pattern::Avoiding => "the labels avoid each other: fewer rows carry several than chance would give",
        Pattern::AsIfIndependent => {
            "the labels share rows about as chance would have it: they do not exclude each other, and resampling rows for one \
             brings the others along at their own rates"
        }
        Pattern::Gathering => {
            "the labels gather on the same rows: resampling rows for a rare one brings frequent ones along more than chance would"
        }
        Pattern::Single => "one label: nothing to share",
    }
}

/// Which labels share rows: counts, then conditional shares.
fn company(set: &Set) -> Option<String> {
    let names = shown(set);
    if names.len() < 2 {
        return None;
    }
    // Numbers above the columns where names would be too wide.
    let wide = names.iter().map(|name| name.chars().count().max(5) + 2).sum::<usize>() > WIDTH - 30;
    let numbered = |(at, name): (usize, &String)| format!("{:>2} {name}", at + 1);
    let columns: Vec<String> = if wide { (1..=names.len()).map(|at| at.to_string()).collect() } else { names.clone() };
    let rows: Vec<String> = if wide { names.iter().enumerate().map(numbered).collect() } else { names };
    let Diagnosis { together, given, .. } = &set.diagnosis;
    let together = matrix("rows with both", &rows, &columns, |i, j| thousands(together[i][j]));
    let given = matrix("P(column | row), %", &rows, &columns, |i, j| match given[i][j] {
        _ if i == j => "·".to_owned(),
        Some(share) if wide => format!("{:.0}", 100.0 * share),
        Some(share) => format!("{:.1}", 100.0 * share),
        None => "-".to_owned(),
    });
    Some(format!("{together}\n{given}"))
}

fn weights(set: &Set) -> String {
    let weights = by_formula(set, "pos_weight (from train)", |weights| &weights.weights);
    let half = by_formula(set, "0.5 then stands for", |weights| &weights.half);
    let note = "The probability of a label at which BCE, trained with that weight, gives it a score of 0.5.\n";
    format!("{weights}\n{half}{note}")
}

/// Formulas and labels, the fewer of them as columns.
fn by_formula(set: &Set, corner: &str, values: fn(&Weights) -> &[f64]) -> String {
    let labels = shown(set);
    // Names of formulas may differ anywhere, so they are not cut; a vector is as long as the number of labels.
    let name = |name: &String| if name.starts_with('[') { fit(name) } else { name.clone() };
    let formulas: Vec<String> = set.weights.iter().map(|weights| name(&weights.pos_weight)).collect();
    let cell = |formula: usize, label: usize| ratio(values(&set.weights[formula]).get(label).copied());
    if labels.len() <= ACROSS {
        matrix(corner, &formulas, &labels, cell)
    } else {
        matrix(corner, &labels, &formulas, |label, formula| cell(formula, label))
    }
}

/// The draws of each sampler: the labels that it is meant for, and their companions.
fn samplers(set: &Set) -> String {
    let labels = shown(set);
    let train = |label: usize| set.splits.train.positives[label] as f64 / set.splits.train.rows.max(1) as f64;
    let names: Vec<String> =
        std::iter::once("(train)".to_owned()).chain(set.samplers.iter().map(|drawing| fit(&drawing.sampler))).collect();
    let cell = |sampler: usize, label: usize| match sampler.checked_sub(1) {
        None => percent(train(label)),
        Some(sampler) => percent(set.samplers[sampler].drawn.prevalence[label]),
    };
    let corner = "prevalence shown by";
    let prevalences = if labels.len() <= ACROSS {
        matrix(corner, &names, &labels, cell)
    } else {
        matrix(corner, &labels, &names, |label, sampler| cell(sampler, label))
    };
    let mut grid = TextTable::new(1, ["an epoch of", "rows", "drawn again", "never drawn", "made up"]);
    for Drawing { sampler, drawn } in &set.samplers {
        let Realised { draws, duplicates, never_drawn, made_up, .. } = drawn;
        let shares = [*duplicates, *never_drawn, *made_up].map(percent);
        grid.row([fit(sampler), thousands(*draws)].into_iter().chain(shares));
    }
    let note = "Rows are drawn whole, so drawing more rows of one label moves all of its companions too.\n";
    format!("{prevalences}\n{grid}{note}")
}

/// The closed-form limits of `letters`.
fn best_possible(limits: &[Oracle]) -> String {
    let header = ["best possible", "AP", "AUC", "F1", "at threshold", "predicted", "F1 at 0.5", "predicted"];
    let mut grid = TextTable::new(1, header);
    let four = |value: f64| format!("{value:.4}");
    for Oracle { label, ap, auc, best, half, .. } in limits {
        let [ap, auc, f1, threshold, half_f1] = [*ap, *auc, best.f1, best.threshold, half.f1].map(four);
        let [at_best, at_half] = [best.predicted_rate, half.predicted_rate].map(percent);
        grid.row([fit(label), ap, auc, f1, threshold, at_best, half_f1, at_half]);
    }
    let mean = |value: fn(&Oracle) -> f64| four(limits.iter().map(value).sum::<f64>() / limits.len().max(1) as f64);
    let (ap, auc) = (mean(|oracle| oracle.ap), mean(|oracle| oracle.auc));
    let (f1, half_f1) = (mean(|oracle| oracle.best.f1), mean(|oracle| oracle.half.f1));
    let none = String::new;
    grid.row(["macro".to_owned(), ap, auc, f1, none(), none(), half_f1, none()]);
    let note =
        "In closed form: no scores reach more on average, whatever the loss; F1 at 0.5 is that of perfectly calibrated ones.\n";
    format!("{grid}{note}")
}

fn left_out(skipped: &[Skipped]) -> Option<String> {
    if skipped.is_empty() {
        return None;
    }
    let mut text = format!("{} left out (data.on_bad_image = \"skip\"):\n", counted(skipped.len(), "image"));
    for Skipped { id, reason } in skipped.iter().take(SKIPPED) {
        text.push_str(&format!("  {id}: {reason}\n"));
    }
    Some(text + &and_more(skipped.len().saturating_sub(SKIPPED), "image"))
}

/// A note on the entries that only JSON has; empty for a complete list.
fn and_more(left: usize, what: &str) -> String {
    if left > 0 { format!("and {}; --format json has all\n", counted(left, &format!("more {what}"))) } else { String::new() }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

/// Four significant digits of a number of any size.
fn ratio(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value >= 1000.0 => thousands(value.round() as usize),
        Some(value) if value >= 100.0 => format!("{value:.1}"),
        Some(value) if value >= 10.0 => format!("{value:.2}"),
        Some(value) if value >= 1.0 => format!("{value:.3}"),
        Some(value) => format!("{value:.4}"),
    }
}
