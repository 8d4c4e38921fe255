//! The text of `sweep data`.

use super::{Drawing, Set, Shifts, Splits, Weights};
use crate::command::load::reading;
use crate::command::output::{self, Facts, TextTable, WIDTH, counted, fit, matrix, thousands};
use crate::report::LabelChoice;
use data::Skipped;
use imbalance::LabelCounts;
use imbalance::diagnosis::{Diagnosis, Pair, Pairs, Pattern};
use imbalance::oracle::Oracle;
use imbalance::sampler::Realised;

/// Most rows of a table of labels, the commonest among them; `--labels all` shows all.
const LABELS: usize = 20;
const COMMONEST: usize = 6;
/// The same for the tables of weights and samplers.
const FEWER: usize = 12;
/// Most labels as columns of a table of formulas, or as rows and columns of those that share rows.
const ACROSS: usize = 8;
/// Skipped images that are listed; JSON has all.
const SKIPPED: usize = 20;
/// Pairs of labels of each kind that a sentence names.
const PAIRS: usize = 3;

/// One data set, and how much of it is shown.
struct View<'a> {
    set: &'a Set,
    /// The labels of the tables, the rarest first.
    labels: Vec<usize>,
    all: bool,
}

/// The whole text about one data set; `all`: every pair of labels, formula and sampler; `choice`: the labels of the tables.
pub fn render(set: &Set, all: bool, choice: &LabelChoice) -> String {
    let view = View { set, labels: some(set, choice, LABELS), all };
    let mut parts = vec![heading(set)];
    parts.extend(set.refused.as_ref().map(output::refused));
    parts.extend([positives(&view), facts(set).to_string()]);
    parts.extend(company(&view));
    let view = View { labels: some(set, choice, FEWER), ..view };
    parts.push(weights(&view));
    parts.push(samplers(&view));
    parts.extend(set.limits.as_deref().map(|limits| best_possible(&view, limits)));
    parts.extend(left_out(&set.skipped));
    parts.join("\n")
}

/// The labels of a choice, the rarest first: of more than [`LABELS`] at most `most`, the rarest and the commonest.
fn some(set: &Set, choice: &LabelChoice, most: usize) -> Vec<usize> {
    let mut labels = choice.find(&set.labels).map_or_else(|| (0..set.labels.len()).collect(), |(named, _)| named);
    labels.sort_by_key(|&label| set.diagnosis.positives[label]);
    if *choice == LabelChoice::Rare && labels.len() > LABELS {
        let common = COMMONEST * most / LABELS;
        labels.drain(most - common..labels.len() - common);
    }
    labels
}

fn heading(set: &Set) -> String {
    let (rows, labels) = (counted(set.diagnosis.rows, "row"), counted(set.labels.len(), "label"));
    let mut facts = Facts::default();
    if let Some(read) = reading(&set.config.source, set.layout.as_ref()) {
        facts.add("read", "", read);
    }
    format!("{}: {rows}, {labels}, {}\n{facts}", super::source(&set.config), super::input(set.input))
}

impl View<'_> {
    /// The names of the labels of the tables.
    fn names(&self) -> Vec<String> {
        self.labels.iter().map(|&label| fit(&self.set.labels[label])).collect()
    }

    /// The weights or the samplers of the tables: those of the grid, unless all are shown.
    fn some<'s, T>(&self, strategies: &'s [T], in_grid: fn(&T) -> bool) -> Vec<&'s T> {
        strategies.iter().filter(|strategy| self.all || in_grid(strategy)).collect()
    }
}

/// Positives and prevalence of every label in every split.
fn positives(view: &View) -> String {
    let set = view.set;
    let Splits { train, val, test } = &set.splits;
    let Diagnosis { rows, positives, unknown, .. } = &set.diagnosis;
    let all = LabelCounts::new(*rows, positives.clone()).with_unknown(unknown.clone());
    let Shifts { val: in_val, test: in_test } = &set.shifts;
    let splits = [(train, &[][..]), (val, in_val), (test, in_test), (&all, &[])];
    let any = !in_val.is_empty() || !in_test.is_empty();
    let title = if view.labels.len() > 1 { "positives, rarest first" } else { "positives" };
    let partly = !unknown.is_empty();
    let heads = [title, "train", "val", "test", "all", "IRLbl", "neg/pos"].into_iter().chain(partly.then_some("unknown"));
    let mut grid = TextTable::new(1, heads);
    let rows = splits.map(|(counts, _)| counted(counts.rows, "row") + if any { " " } else { "" });
    grid.row([String::new()].into_iter().chain(rows).chain(vec![String::new(); 2 + usize::from(partly)]));
    for (name, &label) in view.names().into_iter().zip(&view.labels) {
        let cells = splits.map(|(counts, shifts)| {
            let positives = counts.positives[label];
            let share = if counts.known(label) > 0 { percent(counts.prevalence(label)) } else { "-".to_owned() };
            let mark = match shifts.iter().any(|shift| shift.label == label) {
                true => "*",
                false if any => " ",
                false => "",
            };
            format!("{} {share:>6}{mark}", thousands(positives)).replace(' ', "\u{a0}")
        });
        let ratios = [set.diagnosis.imbalance.irlbl[label], set.diagnosis.imr[label]].map(ratio);
        let unknown = partly.then(|| percent((all.rows - all.known(label)) as f64 / all.rows as f64));
        grid.row([name].into_iter().chain(cells).chain(ratios).chain(unknown));
    }
    let grid = grid.to_string().replace('\u{a0}', " ");
    let mark = if any {
        "* another prevalence than in train, by more than chance (Fisher's exact test, 1 % for all labels together)\n"
    } else {
        ""
    };
    format!("{grid}{}{mark}", and_more(set.labels.len() - view.labels.len(), "label", "--labels all"))
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
            _ => format!("; {word} ({count}): {}", pairs.iter().take(PAIRS).map(of).collect::<Vec<_>>().join(", ")),
        });
        let share = format!("{off} of {}", thousands(pairs.counted));
        let words = "pairs of labels share rows less than half or more than twice as often as chance would have it";
        facts.add("pairs", share, format!("{words}{}", named.concat()));
    }
    facts.add("so", "", meaning(company.pattern, pairs));
    for (at, lint) in set.warnings.iter().enumerate() {
        facts.add(if at == 0 { "warnings" } else { "" }, "", &lint.sentence);
    }
    facts
}

/// The possible kinds of a data set with a cardinality near 1.
fn meaning(pattern: Pattern, pairs: &Pairs) -> &'static str {
    match pattern {
        Pattern::AsIfIndependent if pairs.seldom + pairs.often > 0 => {
            "pairs of labels come together, or keep apart, more than chance would have it: resampling rows for a label also moves those \
             that come with it or keep away from it"
        }
        Pattern::AsIfIndependent if pairs.counted == 0 => {
            "too few rows to tell which labels share rows more or less often than by chance"
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

/// Which labels share rows: of few labels all, counts and then conditional shares; of many the most extreme pairs.
fn company(view: &View) -> Option<String> {
    let names = view.names();
    if names.len() < 2 {
        return None;
    }
    let Diagnosis { together, given, pairs, .. } = &view.set.diagnosis;
    if view.set.labels.len() > ACROSS && !view.all {
        return extremes(view.set, pairs);
    }
    let labels: Vec<usize> = view.labels.iter().copied().filter(|&label| label < together.len()).collect();
    // Numbers above the columns where names would be too wide.
    let wide = names.iter().map(|name| name.chars().count().max(5) + 2).sum::<usize>() > WIDTH - 30;
    let numbered = |(at, name): (usize, &String)| format!("{:>2} {name}", at + 1);
    let columns: Vec<String> = if wide { (1..=names.len()).map(|at| at.to_string()).collect() } else { names.clone() };
    let rows: Vec<String> = if wide { names.iter().enumerate().map(numbered).collect() } else { names };
    let (rows, columns) = (&rows[..labels.len()], &columns[..labels.len()]);
    let both = matrix("rows with both", rows, columns, |i, j| thousands(together[labels[i]][labels[j]]));
    let given = matrix("P(column | row), %", rows, columns, |i, j| match given[labels[i]][labels[j]] {
        _ if i == j => "·".to_owned(),
        Some(share) if wide => format!("{:.0}", 100.0 * share),
        Some(share) => format!("{:.1}", 100.0 * share),
        None => "-".to_owned(),
    });
    Some(format!("{both}\n{given}"))
}

/// The pairs of labels that share rows most and least often, against chance.
fn extremes(set: &Set, pairs: &Pairs) -> Option<String> {
    if pairs.seldom + pairs.often == 0 {
        return None;
    }
    let mut grid = TextTable::new(2, ["labels that share rows", "", "rows with both", "by chance", "lift"]);
    for Pair { labels, rows, expected, lift } in pairs.often_pairs.iter().chain(&pairs.seldom_pairs) {
        let [one, other] = labels.map(|label| fit(&set.labels[label]));
        grid.row([one, other, thousands(*rows), format!("{expected:.1}"), format!("{lift:.2}")]);
    }
    let more = (pairs.seldom + pairs.often).saturating_sub(pairs.seldom_pairs.len() + pairs.often_pairs.len());
    let note = "Lift: rows with both / rows that chance would give; pairs above 2 and below 1/2, the most extreme first.\n";
    Some(format!("{grid}{}{note}", and_more(more, "pair", "--all has the whole matrix, --format json")))
}

fn weights(view: &View) -> String {
    let some = view.some(&view.set.weights, |weights| weights.in_grid);
    let numbers = |weights: &&Weights| weights.weights.iter().flatten().any(|&weight| (weight - 1.0).abs() > 1e-9);
    if !view.all && !some.iter().any(numbers) {
        return "pos_weight: the grid has none; --all shows what each formula would give\n".to_owned();
    }
    // Of many labels one table has both numbers.
    let tables = if view.labels.len() > ACROSS {
        by_formula(view, &some, "pos_weight (0.5 stands for)", |weights, label| {
            match (weights.weights[label], weights.half[label]) {
                (Some(weight), Some(half)) => format!("{} ({half:.4})", ratio(Some(weight))),
                _ => ratio(None),
            }
        })
    } else {
        let weights = by_formula(view, &some, "pos_weight (from train)", |weights, label| ratio(weights.weights[label]));
        let half = by_formula(view, &some, "0.5 then stands for", |weights, label| ratio(weights.half[label]));
        format!("{weights}\n{half}")
    };
    let note = if view.labels.len() > ACROSS {
        "Weights from train; in parentheses the probability at which BCE with that weight scores a label 0.5.\n"
    } else {
        "The probability of a label at which BCE, trained with that weight, gives it a score of 0.5.\n"
    };
    let undefined = if view.labels.iter().any(|&label| some.iter().any(|weights| weights.weights[label].is_none())) {
        "-: undefined, because the train rows have one class of the label; the others are as if it were left out.\n"
    } else {
        ""
    };
    format!("{tables}{note}{undefined}")
}

/// Formulas and labels, the fewer of them as columns.
fn by_formula(view: &View, some: &[&Weights], corner: &str, cell: fn(&Weights, usize) -> String) -> String {
    let labels = view.names();
    // Names of formulas may differ anywhere, so they are not cut; a vector is as long as the number of labels.
    let name = |name: &String| if name.starts_with('[') { fit(name) } else { name.clone() };
    let formulas: Vec<String> = some.iter().map(|weights| name(&weights.pos_weight)).collect();
    let cell = |formula: usize, label: usize| cell(some[formula], view.labels[label]);
    if labels.len() <= ACROSS {
        matrix(corner, &formulas, &labels, cell)
    } else {
        matrix(corner, &labels, &formulas, |label, formula| cell(formula, label))
    }
}

/// The draws of each sampler: the labels that it is meant for, and their companions.
fn samplers(view: &View) -> String {
    let some = view.some(&view.set.samplers, |drawing| drawing.in_grid);
    if !view.all && some.iter().all(|drawing| drawing.sampler == "shuffle") {
        return "sampler: the grid has shuffle only; --all shows what each sampler would draw\n".to_owned();
    }
    let labels = view.names();
    let counts = &view.set.splits.train;
    let train = |label: usize| counts.prevalence(view.labels[label]);
    let names: Vec<String> =
        std::iter::once("(train)".to_owned()).chain(some.iter().map(|drawing| fit(&drawing.sampler))).collect();
    let cell = |sampler: usize, label: usize| match sampler.checked_sub(1) {
        None => percent(train(label)),
        Some(sampler) => percent(some[sampler].drawn.prevalence[view.labels[label]]),
    };
    let corner = "prevalence shown by";
    let prevalences = if labels.len() <= ACROSS {
        matrix(corner, &names, &labels, cell)
    } else {
        matrix(corner, &labels, &names, |label, sampler| cell(sampler, label))
    };
    let mut grid = TextTable::new(1, ["an epoch of", "rows", "drawn again", "never drawn", "made up"]);
    for Drawing { sampler, drawn, .. } in some {
        let Realised { draws, duplicates, never_drawn, made_up, .. } = drawn;
        let shares = [*duplicates, *never_drawn, *made_up].map(percent);
        grid.row([fit(sampler), thousands(*draws)].into_iter().chain(shares));
    }
    let note = "Rows are drawn whole, so drawing more rows of one label moves all of its companions too.\n";
    format!("{prevalences}\n{grid}{note}")
}

/// The closed-form limits of `letters`.
fn best_possible(view: &View, limits: &[Oracle]) -> String {
    let header = ["best possible", "AP", "AUC", "F1", "at threshold", "predicted", "F1 at 0.5", "predicted"];
    let mut grid = TextTable::new(1, header);
    let four = |value: f64| format!("{value:.4}");
    for Oracle { label, ap, auc, best, half, .. } in view.labels.iter().map(|&label| &limits[label]) {
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
    Some(text + &and_more(skipped.len().saturating_sub(SKIPPED), "image", "--format json"))
}

/// A note on the entries that are left out, and what shows them; empty for a complete list.
fn and_more(left: usize, what: &str, where_: &str) -> String {
    if left > 0 { format!("and {} ({where_})\n", counted(left, &format!("more {what}"))) } else { String::new() }
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
