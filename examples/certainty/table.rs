//! Counts as Markdown and JSON.

use std::fmt::Write;

use serde::Serialize;

use super::worlds::count::{Rate, Rates};
use super::worlds::said::Said;
use super::worlds::world::Cell;

/// What was counted in one cell.
#[derive(Debug, Serialize)]
pub struct Counted {
    pub world: String,
    pub arms: usize,
    pub seeds: usize,
    pub rows: usize,
    pub sweeps: usize,
    /// The largest true difference of macro AP; 0 where nothing differs.
    pub effect: f64,
    /// Mean over comparisons of the standard deviation of pairs of equal seed.
    pub pair_sd: Option<f64>,
    pub rates: Rates,
}

impl Counted {
    pub fn new(cell: &Cell, said: &[Said], effect: f64, rates: Rates) -> Self {
        let deviations: Vec<f64> = said.iter().flat_map(|said| &said.arms).filter_map(|arm| arm.deviation).collect();
        let pair_sd = (!deviations.is_empty()).then(|| deviations.iter().sum::<f64>() / deviations.len() as f64);
        let Cell { world, arms, seeds, rows } = cell.clone();
        Self { world, arms, seeds, rows, sweeps: said.len(), effect, pair_sd, rates }
    }
}

/// A column: heading, nominal rate, name of the rate, whether with its interval.
type Column = (&'static str, &'static str, &'static str, bool);

const NOTHING: [Column; 13] = [
    ("claim / comparison", "≤ .05", "claim", true),
    ("any in a sweep", "≤ .10", "any", true),
    ("on val: any", "≤ .10", "val_any", true),
    ("tuned F1 / comparison", "≤ .05", "f1_claim", false),
    ("any", "≤ .10", "f1_any", true),
    ("AP of a label: any", "≤ .05", "label_any", true),
    ("F1 of a label: any", "≤ .05", "label_f1_any", false),
    ("AP of a group: any", "≤ .05", "group_any", false),
    ("\"the same\"", "", "same", false),
    ("\"Train with\"", "≤ .01", "train_with", true),
    ("\"may rank better\"", "", "may", false),
    ("Student", ".05", "student_claim", false),
    ("Student any", "", "student_any", false),
];

const SOMETHING: [Column; 11] = [
    ("seen, right sign", "", "right", true),
    ("wrong sign", "≤ .025", "wrong", true),
    ("\"the same\"", "≤ .05", "said_same", true),
    ("on val: right", "", "val_right", false),
    ("tuned F1: right", "", "f1_right", false),
    ("wrong", "≤ .025", "f1_wrong", false),
    ("AP of a label: right", "", "label_right", true),
    ("wrong", "≤ .025", "label_wrong", false),
    ("others: any", "≤ .05", "label_any", false),
    ("\"Train with\" it", "", "train_with_right", true),
    ("\"may\" it", "", "may_right", false),
];

/// `.050`, `1`, `0`.
fn share(value: f64) -> String {
    match format!("{value:.3}").as_str() {
        "0.000" => "0".to_owned(),
        "1.000" => "1".to_owned(),
        text => text.trim_start_matches('0').to_owned(),
    }
}

fn cell(rate: Option<&Rate>, interval: bool) -> String {
    let Some(rate) = rate else { return "–".to_owned() };
    let bounds = if interval { format!(" [{}, {}]", share(rate.low), share(rate.high)) } else { String::new() };
    format!("{}{bounds}", share(rate.rate))
}

/// Two tables: cells in which nothing differs, and those in which something does.
pub fn markdown(all: &[Counted]) -> String {
    let mut text = String::new();
    let parts: [(&str, &[Column], bool); 2] = [("nothing differs", &NOTHING, false), ("a difference exists", &SOMETHING, true)];
    for (title, columns, differs) in parts {
        let rows: Vec<&Counted> = all.iter().filter(|counted| (counted.effect != 0.0) == differs).collect();
        if rows.is_empty() {
            continue;
        }
        let headings: Vec<&str> = columns.iter().map(|column| column.0).collect();
        let nominal: Vec<&str> = columns.iter().map(|column| column.1).collect();
        let (own, empty) = if differs { (" true AP |", " |") } else { (" sd of pairs |", " |") };
        let _ = writeln!(text, "| {title} | strategies x seeds | rows | N |{own} {} |", headings.join(" | "));
        let _ = writeln!(text, "|---|---|---:|---:|---:|{}", "---:|".repeat(columns.len()));
        let _ = writeln!(text, "| *nominal* | | | |{empty} {} |", nominal.join(" | "));
        for counted in rows {
            let number = if differs {
                format!("{:+.4}", counted.effect)
            } else {
                counted.pair_sd.map_or_else(|| "–".to_owned(), |sd| format!("{sd:.4}"))
            };
            let cells: Vec<String> =
                columns.iter().map(|(_, _, name, interval)| cell(counted.rates.get(name), *interval)).collect();
            let Counted { world, arms, seeds, rows, sweeps, .. } = counted;
            let _ = writeln!(text, "| {world} | {arms} x {seeds} | {rows} | {sweeps} | {number} | {} |", cells.join(" | "));
        }
        text.push('\n');
    }
    text
}
