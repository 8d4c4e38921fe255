//! A comparison for people.

use super::super::difference::probability;
use super::super::short_values::ShortValues;
use super::super::table::draw;
use super::super::text_grid::{Grid, Head, NONE, number, percent, several, shorten, wrap};
use super::Comparison;
use super::groups::{Family, GroupComparison, Line};
use super::runs::{Measure, PairedValue, RunComparison, SplitComparison};

/// The comparison as text, tables of at most `width` columns.
#[must_use]
pub fn render(comparison: &Comparison, width: u16) -> String {
    match comparison {
        Comparison::Runs(runs) => two_runs(runs, width),
        Comparison::Groups(groups) => groups_of_runs(groups, width),
    }
}

/// `+0.012`; what rounds to nothing has no sign.
#[must_use]
pub fn signed(value: f64) -> String {
    if value.abs() < 0.0005 { "0.000".to_owned() } else { format!("{value:+.3}") }
}

/// `[-0.002, +0.008]`.
#[must_use]
pub fn interval(bounds: Option<(f64, f64)>) -> String {
    bounds.map_or_else(|| NONE.to_owned(), |(low, high)| format!("[{}, {}]", signed(low), signed(high)))
}

/// `macro_f1 at max_f1`.
fn measured(metric: &str, policy: Option<&String>, lower_is_better: bool) -> String {
    let better = if lower_is_better { " (lower is better)" } else { "" };
    policy.map_or_else(|| format!("{metric}{better}"), |policy| format!("{metric} at {policy}{better}"))
}

fn two_runs(runs: &RunComparison, width: u16) -> String {
    let short = |run: &str| run.get(..8).unwrap_or(run).to_owned();
    let (first, second) = (short(&runs.first.run), short(&runs.second.run));
    let mut text = format!("{first}  {}\n{second}  {}\n", runs.first.name, runs.second.name);
    let differ = runs.differ.iter().map(|[key, a, b]| {
        let values = ShortValues::of(&[a.clone(), b.clone()].into());
        format!("{key} ({} | {})", shorten(&values.get(a), 80), shorten(&values.get(b), 80))
    });
    let differ: Vec<String> = differ.collect();
    text += &lines(&format!("they differ in {}", differ.join(", ")), width);
    for split in &runs.splits {
        let groups = split.groups.map_or_else(String::new, |groups| format!(" in {groups} groups"));
        text += &format!(
            "\n{}, {} rows{groups}\n{}\n",
            split.split.name(),
            split.rows,
            split_table(runs, split, [&first, &second], width)
        );
    }
    text.push('\n');
    text += &lines(
        &format!(
            "change: {second} minus {first}, with an interval of {:.0} % from {} resamples of the rows, the same for both runs, thresholds held fixed",
            100.0 * runs.level,
            runs.replicates
        ),
        width,
    );
    let better = format!(
        "better: share of the resamples in which {second} is better; two runs say nothing about other seeds, compare groups for that"
    );
    text + &lines(&better, width) + &notes(&runs.notes, width)
}

fn split_table(runs: &RunComparison, split: &SplitComparison, names: [&str; 2], width: u16) -> String {
    let heads = ["metric", names[0], names[1], "change", "interval", "better"];
    let heads = heads.iter().enumerate().map(|(at, head)| Head::new(*head, at > 0)).collect();
    let mut grid = Grid { heads, rows: Vec::new() };
    let value = |value: Option<f64>| value.map_or_else(|| NONE.to_owned(), number);
    let cells = |name: String, paired: &PairedValue, better: String| {
        let change = paired.difference.map_or_else(|| NONE.to_owned(), signed);
        vec![name, value(paired.first), value(paired.second), change, interval(paired.low.zip(paired.high)), better]
    };
    for measure in &split.measures {
        let Measure { metric, policy, lower_is_better, all, second_better, labels, .. } = measure;
        grid.rows.push(cells(measured(metric, policy.as_ref(), *lower_is_better), all, percent(*second_better)));
        for (label, paired) in most_changed(&runs.labels, labels) {
            grid.rows.push(cells(format!("\u{a0}\u{a0}{}", shorten(label, 30)), paired, String::new()));
        }
    }
    let left_out: usize = split.measures.iter().map(|measure| measure.left_out).max().unwrap_or(0);
    let mut drawn = draw(&grid, &[], false, Some(width));
    if runs.labels.len() > LABELS {
        drawn +=
            &format!("\nof {} labels the {LABELS} that changed most in each metric; --format json has all", runs.labels.len());
    }
    if left_out == 0 {
        return drawn;
    }
    format!("{drawn}\n{left_out} times a label had no positive in a resample and was left out of that mean")
}

/// Labels of a metric that a table shows.
const LABELS: usize = 10;

/// All labels if they are few; otherwise those with the largest differences, in the order of the data.
fn most_changed<'a>(names: &'a [String], values: &'a [PairedValue]) -> Vec<(&'a String, &'a PairedValue)> {
    let mut all: Vec<(usize, (&String, &PairedValue))> = names.iter().zip(values).enumerate().collect();
    if all.len() > LABELS {
        let change = |value: &PairedValue| value.difference.map_or(0.0, f64::abs);
        all.sort_by(|a, b| change(b.1.1).total_cmp(&change(a.1.1)));
        all.truncate(LABELS);
        all.sort_by_key(|(at, _)| *at);
    }
    all.into_iter().map(|(_, pair)| pair).collect()
}

fn groups_of_runs(groups: &GroupComparison, width: u16) -> String {
    let pairs: Vec<String> = groups.groups.iter().map(|side| format!("{} ({} pairs)", side.group, side.pairs.len())).collect();
    let mut text = lines(&format!("{}: {} against {}; best epoch", groups.sweep, pairs.join(", "), groups.first), width);
    for split in [super::Split::Val, super::Split::Test] {
        let families: Vec<&Family> = groups.families.iter().filter(|family| family.split == split).collect();
        if !families.is_empty() {
            text += &format!("\n{}\n{}\n", split.name(), draw(&families_grid(groups, &families), &[], false, Some(width)));
        }
    }
    text.push('\n');
    text += &lines(
        &format!(
            "change: the group minus {}, mean over pairs of equal seed and other axes, with an interval of {:.0} % for other seeds on the same rows \
             ({} together), and its p-value; `sweep explain` has intervals that hold for other rows, too",
            groups.first,
            100.0 * groups.level,
            several(groups.groups.len(), "comparison")
        ),
        width,
    );
    text += &lines(&format!("n: independent seeds or splits; differences up to {} mean nothing in practice", groups.rope), width);
    text + &notes(&groups.notes, width)
}

/// One line per metric; with several groups, one line per group below the metric.
fn families_grid(groups: &GroupComparison, families: &[&Family]) -> Grid {
    let heads = ["metric", "first", "group", "change", "interval", "sd", "n", "p"];
    let heads: Vec<Head> = heads.iter().enumerate().map(|(at, head)| Head::new(*head, at > 0)).collect();
    let mut rows = Vec::new();
    for family in families {
        let metric = measured(family.metric, family.policy.as_ref(), family.lower_is_better);
        let several = groups.groups.len() > 1;
        if several {
            rows.push(std::iter::once(metric.clone()).chain((1..heads.len()).map(|_| String::new())).collect());
        }
        for line in &family.lines {
            let name = if several { format!("\u{a0}\u{a0}{}", shorten(&line.group, 44)) } else { metric.clone() };
            rows.push(std::iter::once(name).chain(numbers(line)).collect());
        }
    }
    Grid { heads, rows }
}

fn numbers(line: &Line) -> Vec<String> {
    let optional = |value: Option<f64>, text: fn(f64) -> String| value.map_or_else(|| NONE.to_owned(), text);
    let found = line.difference.as_ref();
    vec![
        optional(line.first_mean, number),
        optional(line.mean, number),
        optional(found.map(|found| found.mean), signed),
        interval(found.and_then(|found| found.low.zip(found.high))),
        optional(found.and_then(|found| found.sd), number),
        found.map_or(0, |found| found.runs).to_string(),
        optional(found.and_then(|found| found.p), probability),
    ]
}

fn notes(notes: &[String], width: u16) -> String {
    notes.iter().map(|note| lines(&format!("note: {note}"), width)).collect()
}

/// Text of at most `width` columns, each line ended.
fn lines(text: &str, width: u16) -> String {
    wrap(text, width.min(120).into()).into_iter().map(|line| line + "\n").collect()
}
