//! All of an explanation as blocks of text and tables, which each format renders in its own way. The answer comes first, then what
//! each strategy did, then the numbers, then warnings, then how to read them. Pure.

use super::super::compare::table::{interval, signed};
use super::super::difference::probability;
use super::super::lint::{Lint, listed};
use super::super::question::Split;
use super::super::text_grid::{Grid, Head, NONE, number, percent, shorten};
use super::choice::{ArmCandidates, Candidates};
use super::measure::Repair;
use super::view::{Arm, Change, Explanation, Setting, Verdict};
use super::words::point;

/// Labels that get a column; the others are in the JSON form.
const LABELS: usize = 6;
/// Characters of a strategy's name.
const NAME: usize = 44;

/// A piece of an explanation.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    Title(String),
    Heading(String),
    Text(String),
    /// A term and its description.
    Item(String, String),
    Table(Grid),
}

/// All of an explanation.
#[must_use]
pub fn blocks(explanation: &Explanation) -> Vec<Block> {
    let Explanation { sweep, runs, settings, .. } = explanation;
    let mut blocks = vec![Block::Title(format!(
        "{sweep}: what the strategies changed, and why; best epoch (by val macro_ap), {} of {} runs recorded",
        runs.recorded, runs.total
    ))];
    for setting in settings {
        blocks.extend(of_setting(setting));
    }
    if !explanation.warnings.is_empty() {
        blocks.push(Block::Heading("Warnings".to_owned()));
        blocks.extend(explanation.warnings.iter().map(|lint| Block::Item(about(lint), lint.sentence.clone())));
    }
    if settings.iter().any(|setting| !setting.arms.is_empty()) {
        blocks.push(Block::Heading("How to read this".to_owned()));
        blocks.extend(legend(explanation).into_iter().map(Block::Text));
    }
    blocks.extend(explanation.notes.iter().map(|note| Block::Text(format!("note: {note}"))));
    blocks
}

pub(super) fn about(lint: &Lint) -> String {
    if lint.about.is_empty() { "all".to_owned() } else { listed(&lint.about) }
}

fn of_setting(setting: &Setting) -> Vec<Block> {
    let mut blocks = Vec::new();
    if !setting.setting.is_empty() {
        blocks.push(Block::Title(setting.setting.clone()));
    }
    blocks.push(Block::Heading("What to do".to_owned()));
    blocks.extend(setting.outdone.iter().map(|words| Block::Text(format!("{words}."))));
    blocks.extend(setting.recommendation.sentences.iter().cloned().map(Block::Text));
    if setting.arms.is_empty() {
        return blocks;
    }
    blocks.push(Block::Heading(match &setting.baseline {
        Some(baseline) => format!("What each strategy did, against {}", baseline.arm),
        None => "Each strategy by itself".to_owned(),
    }));
    match &setting.baseline {
        Some(baseline) if !baseline.exact => blocks.push(Block::Text(format!(
            "The sweep has no plain bce (pos_weight none, sampler shuffle): {} is the nearest to it.",
            baseline.arm
        ))),
        None => blocks.push(Block::Text(
            "The sweep has no plain bce (pos_weight none, sampler shuffle) and nothing near it: there are no differences."
                .to_owned(),
        )),
        _ => {}
    }
    blocks.extend(setting.arms.iter().map(|arm| Block::Item(arm.arm.clone(), arm.sentence.clone())));
    if let Some(tuned) = &setting.candidates {
        let from = setting
            .baseline
            .as_ref()
            .map_or_else(String::new, |baseline| format!(" (difference from {} under the same)", baseline.arm));
        blocks.push(Block::Heading(format!(
            "Under each {}: macro AP on val{from}; * is what the strategy got",
            tuned.keys.join(" and ")
        )));
        blocks.extend(tuned.sentences.iter().cloned().map(Block::Text));
        blocks.push(Block::Table(candidates(tuned)));
    }
    blocks.push(Block::Heading({
        let (rows, split) = if setting.judged == Split::Test { (setting.rows.test, "test") } else { (setting.rows.val, "val") };
        format!("Ranking on {rows} {split} rows: average precision, mean over labels")
    }));
    blocks.push(Block::Table(effects(setting)));
    let left_out: usize = setting.arms.iter().map(|arm| arm.left_out).sum();
    if left_out > 0 {
        let words = format!("{left_out} times a label had no positive in a resample and was left out of that mean");
        blocks.push(Block::Text(words));
    }
    blocks.push(Block::Heading(format!(
        "Decisions: macro F1 on {}, where predicting every label for every row gives {}; and how much tuning flatters val",
        setting.judged.name(),
        number(setting.all_positive)
    )));
    blocks.push(Block::Table(decisions(setting)));
    blocks.push(Block::Heading("What a score of 0.5 stands for / share of rows predicted at 0.5".to_owned()));
    blocks.push(Block::Table(points(setting)));
    if setting.labels.len() > LABELS {
        blocks.push(Block::Text(format!("the {LABELS} rarest of {} labels; --format json has all", setting.labels.len())));
    }
    blocks.push(Block::Heading(format!("Scores as probabilities: calibration on {}", setting.judged.name())));
    blocks.push(Block::Table(calibrations(setting)));
    if !setting.missing.is_empty() {
        blocks.push(Block::Text(format!("no result yet: {}", setting.missing.join("; "))));
    }
    blocks
}

fn name(arm: &Arm) -> String {
    shorten(&arm.arm, NAME)
}

pub(super) fn value(change: &Change) -> String {
    change.value.map_or_else(|| NONE.to_owned(), |value| number(value.mean))
}

fn changed(change: &Change) -> String {
    change.difference.as_ref().map_or_else(String::new, |difference| signed(difference.mean))
}

fn effects(setting: &Setting) -> Grid {
    let heads = ["strategy", "seeds", "AP", "change", "interval", "ranks", "p"];
    let row = |arm: &Arm| {
        let found = arm.ap.difference.as_ref();
        let bounds = found.and_then(|found| found.low.zip(found.high)).map_or_else(String::new, |bounds| interval(Some(bounds)));
        let p = found.and_then(|found| found.p).map_or_else(String::new, probability);
        vec![name(arm), seeds(arm), value(&arm.ap), changed(&arm.ap), bounds, word(arm.ranking, arm.baseline).to_owned(), p]
    };
    grid(&heads, setting.arms.iter().map(row).collect())
}

/// `3`, or `2/3` where not all are recorded.
fn seeds(arm: &Arm) -> String {
    if arm.runs.len() == arm.of { arm.of.to_string() } else { format!("{}/{}", arm.runs.len(), arm.of) }
}

/// A verdict in a table.
pub(super) fn word(verdict: Option<Verdict>, baseline: bool) -> &'static str {
    match verdict {
        None if baseline => "baseline",
        None => "",
        Some(Verdict::Better) => "better",
        Some(Verdict::Same) => "the same",
        Some(Verdict::Worse) => "worse",
        Some(Verdict::Unknown) => "cannot tell",
        Some(Verdict::Withheld) => "not converged",
    }
}

pub(super) fn candidates(tuned: &Candidates) -> Grid {
    let heads: Vec<&str> =
        ["strategy"].into_iter().chain(tuned.values.iter().map(String::as_str)).chain(["cost of choosing"]).collect();
    let row = |arm: &ArmCandidates| {
        let cell = |(at, ap): (usize, &Option<f64>)| {
            let star = if at == arm.chosen { " *" } else { "" };
            let change = arm.change[at].map_or_else(String::new, |change| format!(" ({})", signed(change)));
            ap.map_or_else(|| NONE.to_owned(), |ap| format!("{}{change}{star}", number(ap)))
        };
        let cells = arm.val_ap.iter().enumerate().map(cell);
        [shorten(&arm.arm, NAME)].into_iter().chain(cells).chain([number(arm.cost)]).collect()
    };
    grid(&heads, tuned.arms.iter().map(row).collect())
}

fn decisions(setting: &Setting) -> Grid {
    let heads = ["strategy", "F1 at 0.5", "change", "F1 tuned", "change", "val F1 tuned", "held out", "optimism"];
    let row = |arm: &Arm| {
        vec![
            name(arm),
            value(&arm.f1_half),
            changed(&arm.f1_half),
            value(&arm.f1_tuned),
            changed(&arm.f1_tuned),
            number(arm.val_f1_held_out + arm.optimism),
            number(arm.val_f1_held_out),
            signed(arm.optimism),
        ]
    };
    grid(&heads, setting.arms.iter().map(row).collect())
}

/// The rarest labels, in the order of the data.
fn shown(setting: &Setting) -> Vec<usize> {
    let mut all = setting.rarest_first();
    all.truncate(LABELS);
    all.sort_unstable();
    all
}

fn points(setting: &Setting) -> Grid {
    let shown = shown(setting);
    let head = |&at: &usize| format!("{} ({})", shorten(&setting.labels[at].label, 16), percent(setting.labels[at].prevalence));
    let heads: Vec<String> = std::iter::once("strategy".to_owned()).chain(shown.iter().map(head)).collect();
    let row = |arm: &Arm| {
        let cell = |&at: &usize| {
            let label = &arm.labels[at];
            let about = if label.eta.is_some() { "" } else { "~" };
            format!("{about}{} / {}", point(label.decision_point()), percent(label.predicted_rate))
        };
        std::iter::once(name(arm)).chain(shown.iter().map(cell)).collect()
    };
    grid(&heads.iter().map(String::as_str).collect::<Vec<_>>(), setting.arms.iter().map(row).collect())
}

fn calibrations(setting: &Setting) -> Grid {
    let heads = ["strategy", "ECE", "largest gap", "on", "repaired by", "ECE then"];
    let row = |arm: &Arm| {
        let calibration = &arm.calibration;
        let by = match calibration.repaired_by {
            Repair::Link => "formula",
            Repair::Platt => "Platt",
            Repair::Isotonic => "isotonic",
            Repair::None => "nothing",
        };
        vec![
            name(arm),
            number(calibration.ece),
            signed(calibration.worst_gap),
            arm.labels.get(calibration.worst_label).map_or_else(String::new, |label| shorten(&label.label, 16)),
            by.to_owned(),
            number(calibration.repaired_ece),
        ]
    };
    grid(&heads, setting.arms.iter().map(row).collect())
}

pub(super) fn grid(heads: &[&str], rows: Vec<Vec<String>>) -> Grid {
    Grid { heads: heads.iter().enumerate().map(|(at, head)| Head::new(*head, at > 0)).collect(), rows }
}

fn legend(explanation: &Explanation) -> Vec<String> {
    let rope = explanation.rope;
    vec![
        "Ranking (AP) asks whether rows with a label get higher scores than rows without; no threshold can change it. F1 asks about decisions, \
         and a threshold changes them without any training."
            .to_owned(),
        "Decision point: how likely a label has to be before its score reaches 0.5. Plain bce has 0.5; a weight w moves it to 1 / (1 + w). \
         `~`: measured on val, for a loss or sampler without a formula."
            .to_owned(),
        "Calibration is measured as if every label were as frequent as in train (rows weighed by class), so that a split with other \
         prevalences is not taken for the strategy's doing."
            .to_owned(),
        format!(
            "Intervals hold for other trainings (seeds) and other rows at once ({} resamples), and for all comparisons of a metric together \
             ({:.0} %); p is corrected alike. Differences up to {} AP and {} F1 mean nothing in practice; the same: no more than twice that, \
             by the interval.",
            explanation.replicates,
            100.0 * explanation.level,
            rope.ap,
            rope.f1
        ),
        "F1 tuned: thresholds with the largest F1 on val, applied to test as they are. Held out: val in ten parts, each under thresholds of the \
         other nine. ECE: mean distance between a score and how often the label is really there."
            .to_owned(),
        "Strategies are chosen on val; test is only quoted. docs/certainty.md has how often each word is wrong.".to_owned(),
    ]
}
