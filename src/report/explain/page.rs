//! An explanation on a page: the answer, the strategies that matter, what each axis did, the rare labels, the gravest warnings. The
//! rest is in [`super::blocks`]. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::super::compare::table::signed;
use super::super::lint::listed;
use super::super::question::Split;
use super::super::text_grid::{NONE, clauses, number, percent, several, shorten};
use super::blocks::{Block, about, candidates, grid, value, word};
use super::groups::Groups;
use super::summarise::is_like;
use super::view::{Arm, Change, Explanation, Setting, Verdict};
use super::words::{effect, point};
use imbalance::metric::certainty::Crossed;
use imbalance::shown::shown as shown_name;

/// Rows of the table of labels, of an axis, and warnings, at most.
const LABELS: usize = 12;
const FEWER_LABELS: usize = 4;
const VALUES: usize = 3;
const WARNINGS: usize = 2;
/// Lines of a page, at most.
pub const LINES: usize = 60;
/// Other settings that get a line.
const SETTINGS: usize = 8;
/// Strategies beyond which their axes are summed up.
const MANY: usize = 6;
/// Characters of a warning, where there is room and where there is not.
const WARNING: usize = 280;
const SHORT_WARNING: usize = 150;
/// Characters of a strategy in a table.
const NAME: usize = 26;
/// Positives from which a label stands for the rare ones in the table of strategies.
const ENOUGH: usize = 20;

/// What a page goes without, one after the other, until it has few enough lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Brevity {
    Nothing,
    /// The ends of long warnings, and labels that did not move.
    Ends,
    /// One warning and one note.
    Warnings,
    /// The change under each candidate of `train.tune`, and half of the labels.
    Details,
    /// The sums over axes.
    Axes,
}

impl Brevity {
    /// From the longest page to the shortest.
    pub const ALL: [Self; 5] = [Self::Nothing, Self::Ends, Self::Warnings, Self::Details, Self::Axes];
}

/// What of an explanation is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Strategies with all of these.
    pub only: Vec<(Part, String)>,
    /// Strategies that get a row.
    pub top: usize,
    /// Everything instead of a page.
    pub all: bool,
}

impl Default for Shown {
    fn default() -> Self {
        Self { only: Vec::new(), top: 6, all: false }
    }
}

/// A part of a strategy, an axis of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Loss,
    PosWeight,
    Sampler,
}

impl Part {
    /// All parts, in the order of a strategy's name.
    pub const ALL: [Self; 3] = [Self::Loss, Self::PosWeight, Self::Sampler];

    /// Its key in the grid.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::PosWeight => "pos_weight",
            Self::Sampler => "sampler",
        }
    }

    fn of(self, arm: &Arm) -> &str {
        match self {
            Self::Loss => &arm.loss,
            Self::PosWeight => &arm.pos_weight,
            Self::Sampler => &arm.sampler,
        }
    }

    /// Whether a strategy has `wanted`: `asl` means any parameters.
    fn is(self, arm: &Arm, wanted: &str) -> bool {
        let own = self.of(arm);
        own == wanted || own.split('(').next() == Some(wanted)
    }
}

/// The explanation with the strategies that are asked for; the baseline stays, and so does every verdict.
#[must_use]
pub fn only<'e>(explanation: &'e Explanation, shown: &Shown) -> Cow<'e, Explanation> {
    if shown.only.is_empty() {
        return Cow::Borrowed(explanation);
    }
    let mut cut = explanation.clone();
    let asked = |arm: &Arm| arm.baseline || shown.only.iter().all(|(part, wanted)| part.is(arm, wanted));
    cut.settings.iter_mut().for_each(|setting| setting.arms.retain(asked));
    let names: Vec<&String> = cut.settings.iter().flat_map(|setting| &setting.arms).map(|arm| &arm.arm).collect();
    cut.warnings.retain(|lint| lint.about.is_empty() || lint.about.iter().any(|name| names.contains(&name)));
    Cow::Owned(cut)
}

/// The page.
#[must_use]
pub fn blocks(explanation: &Explanation, shown: &Shown, brevity: Brevity) -> Vec<Block> {
    let Explanation { sweep, runs, settings, .. } = explanation;
    let mut blocks = vec![Block::Title(format!(
        "{sweep}: what the strategies changed, and why; best epoch (by val macro_ap), {} of {} runs recorded",
        runs.recorded, runs.total
    ))];
    let first = chosen(settings);
    if let Some(first) = first {
        if settings.len() > 1 {
            blocks.extend(others(settings, first));
        }
        blocks.extend(of_setting(&settings[first], &explanation.groups, shown, brevity));
    }
    let warnings = &explanation.warnings;
    let most = if brevity >= Brevity::Warnings { 1 } else { WARNINGS };
    let length = if brevity >= Brevity::Ends { SHORT_WARNING } else { WARNING };
    if !warnings.is_empty() {
        blocks.push(Block::Heading("Warnings".to_owned()));
        blocks.extend(
            warnings.iter().take(most).map(|lint| Block::Item(shorten(&about(lint), 40), clauses(&lint.sentence, length))),
        );
    }
    let notes = explanation.notes.iter().take(most).map(|note| Block::Text(format!("note: {}", clauses(note, length))));
    blocks.extend(notes);
    let hidden = warnings.len().saturating_sub(most) + explanation.notes.len().saturating_sub(most);
    let more = if hidden > 0 { format!(", {}", several(hidden, "more warning")) } else { String::new() };
    let rope = explanation.rope.ap;
    blocks.push(Block::Heading("How to read it".to_owned()));
    blocks.push(Block::Text(format!(
        "[..]: where a change would lie with other seeds and other rows, {:.0}% sure for all of them together. the same: at most {rope}, \
         and {} is not in it; else better or worse: 0 is not in it; cannot tell: neither. --all: a paragraph per strategy, every table{more}; \
         --only loss=NAME; docs/certainty.md.",
        100.0 * explanation.level,
        2.0 * rope
    )));
    blocks
}

/// The setting to believe: that whose best strategy ranks best on val.
fn chosen(settings: &[Setting]) -> Option<usize> {
    let ap = |setting: &Setting| {
        setting.arms.iter().filter_map(|arm| arm.val_ap.value).map(|value| value.mean).fold(f64::NEG_INFINITY, f64::max)
    };
    (0..settings.len()).rev().max_by(|&a, &b| ap(&settings[a]).total_cmp(&ap(&settings[b])))
}

/// A line for each setting that is not shown in detail.
fn others(settings: &[Setting], first: usize) -> Vec<Block> {
    let best = |setting: &Setting| {
        let defined = setting.arms.iter().filter_map(|arm| Some((arm.val_ap.value?.mean, &arm.arm)));
        defined.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(ap, arm)| (ap, arm.clone()))
    };
    let mut order: Vec<usize> = (0..settings.len()).collect();
    order.sort_by(|&a, &b| {
        best(&settings[b]).map_or(0.0, |best| best.0).total_cmp(&best(&settings[a]).map_or(0.0, |best| best.0))
    });
    let rows = order.iter().take(SETTINGS).map(|&at| {
        let setting = &settings[at];
        let count = |verdict| setting.arms.iter().filter(|arm| arm.ranking == Some(verdict)).count();
        let words = [
            (Verdict::Better, "better"),
            (Verdict::Same, "the same"),
            (Verdict::Worse, "worse"),
            (Verdict::Unknown, "cannot tell"),
        ];
        let words: Vec<String> = words
            .iter()
            .map(|(verdict, word)| (count(*verdict), word))
            .filter(|(n, _)| *n > 0)
            .map(|(n, word)| format!("{n} {word}"))
            .collect();
        let (ap, arm) = best(setting).map_or((NONE.to_owned(), String::new()), |(ap, arm)| (number(ap), shorten(&arm, 30)));
        vec![shorten(&setting.setting, 40), ap, arm, words.join(", ")]
    });
    let rows = rows.collect();
    let mut blocks = vec![
        Block::Text(format!(
            "{} differ in more than the strategy; below is the one whose best strategy ranks best on val: {}.",
            several(settings.len(), "setting"),
            settings[first].setting
        )),
        Block::Table(grid(&["setting", "best val AP", "by", "against its own baseline"], rows)),
    ];
    if settings.len() > SETTINGS {
        blocks.push(Block::Text(format!("and {} more", settings.len() - SETTINGS)));
    }
    blocks
}

fn of_setting(setting: &Setting, groups: &Groups, shown: &Shown, brevity: Brevity) -> Vec<Block> {
    let mut blocks = vec![Block::Heading("What to do".to_owned())];
    blocks.extend(setting.outdone.iter().map(|words| Block::Text(format!("{words}."))));
    blocks.extend(setting.recommendation.sentences.iter().cloned().map(Block::Text));
    if setting.arms.is_empty() {
        return blocks;
    }
    let (rows, split) = if setting.judged == Split::Test { (setting.rows.test, "test") } else { (setting.rows.val, "val") };
    blocks.push(Block::Heading(match &setting.baseline {
        Some(baseline) if !baseline.exact => {
            format!("Strategies on {rows} {split} rows, against {} (there is no plain bce)", baseline.arm)
        }
        Some(baseline) => format!("Strategies on {rows} {split} rows, against {}", baseline.arm),
        None => {
            format!("Strategies on {rows} {split} rows; there is no plain bce and nothing near it, so there are no differences")
        }
    }));
    blocks.extend(strategies(setting, shown));
    if setting.arms.len() > MANY && brevity < Brevity::Axes {
        blocks.extend(axes(setting));
    }
    if let Some(tuned) = &setting.candidates {
        blocks.push(Block::Heading(format!("Under each {}", tuned.keys.join(" and "))));
        blocks.extend(tuned.sentences.iter().cloned().map(Block::Text));
        if tuned.arms.len() <= MANY && brevity < Brevity::Details {
            blocks.push(Block::Table(candidates(tuned)));
        }
    }
    blocks.extend(labels(
        setting,
        groups,
        match brevity {
            Brevity::Nothing => LABELS,
            Brevity::Ends | Brevity::Warnings => FEWER_LABELS,
            Brevity::Details | Brevity::Axes => FEWER_LABELS / 2,
        },
    ));
    if !setting.missing.is_empty() {
        blocks.push(Block::Text(format!("no result yet: {}", listed(&setting.missing))));
    }
    blocks
}

/// Strategies of equal numbers, which are one row: the first, and the names of the others.
fn ties(setting: &Setting) -> Vec<(&Arm, Vec<&str>)> {
    let mut rows: Vec<(&Arm, Vec<&str>)> = Vec::new();
    for arm in &setting.arms {
        match rows.iter_mut().find(|(first, _)| is_like(first, arm)) {
            Some((_, names)) => names.push(&arm.arm),
            None => rows.push((arm, Vec::new())),
        }
    }
    rows
}

/// The strategies that matter: the baseline, those that are told from it, the best and the worst on val.
fn strategies(setting: &Setting, shown: &Shown) -> Vec<Block> {
    let mut rows = ties(setting);
    let ap = |arm: &Arm| arm.val_ap.value.map_or(f64::NEG_INFINITY, |value| value.mean);
    rows.sort_by(|a, b| b.0.baseline.cmp(&a.0.baseline).then(ap(b.0).total_cmp(&ap(a.0))));
    // A line that says that one is hidden takes the place of that one.
    let hidden = match rows.len().saturating_sub(shown.top + 1) {
        1 => 0,
        more => more,
    };
    if hidden > 0 {
        // The worst ones have a third of the rows.
        let worst = shown.top / 3;
        rows.drain(1 + shown.top - worst..rows.len() - worst);
    }
    let rare = |least: usize| setting.rarest_first().into_iter().find(|&at| setting.labels[at].positives >= least);
    let rarest = rare(ENOUGH).or_else(|| rare(1));
    let of_rarest = rarest.map(|_| ["p at 0.5", "above"]).into_iter().flatten();
    let heads: Vec<&str> = ["strategy", "AP, change", "ranks", "F1", "max_f1"].into_iter().chain(of_rarest).collect();
    let row = |(arm, equal): &(&Arm, Vec<&str>)| {
        let found = arm.ap.difference.as_ref();
        let change = found.map_or_else(|| value(&arm.ap), change_of);
        let point = rarest.map(|at| {
            let label = &arm.labels[at];
            let about = if label.eta.is_some() { "" } else { "~" };
            [format!("{about}{}", point(label.decision_point())), percent(label.predicted_rate)]
        });
        let equal = if equal.is_empty() { String::new() } else { format!(" (= {})", equal.join(", ")) };
        let word = word(arm.ranking, arm.baseline).to_owned();
        let cells = [shorten(&format!("{}{equal}", arm.arm), NAME), change, word, value(&arm.f1_half), value(&arm.f1_tuned)];
        cells.into_iter().chain(point.into_iter().flatten()).collect()
    };
    let mut blocks = vec![Block::Table(grid(&heads, rows.iter().map(row).collect()))];
    let mut said = vec![format!("{} each; macro F1 at 0.5 and at the thresholds of max_f1, fitted on val", runs(setting))];
    if hidden > 0 {
        said.push(format!("{hidden} strategies between these left out (--top)"));
    }
    if let Some(at) = rarest {
        said.push(format!(
            "p at 0.5: the probability of {name} at which its score is 0.5 (~ as measured); above: rows with a score of {name} above 0.5 ({} \
             have {name})",
            percent(setting.labels[at].prevalence),
            name = shown_name(&setting.labels[at].label)
        ));
    }
    blocks.push(Block::Text(said.join("; ")));
    blocks
}

/// A difference with its interval, where it has one.
fn change_of(found: &Crossed) -> String {
    if found.low.is_some() { effect(found) } else { signed(found.mean) }
}

/// `9 seeds`, or `7 to 9 seeds` where some are missing.
fn runs(setting: &Setting) -> String {
    let counts = setting.arms.iter().map(|arm| arm.runs.len());
    let (least, most) = (counts.clone().min().unwrap_or(0), counts.max().unwrap_or(0));
    if least == most { several(most, "run") } else { format!("{least} to {}", several(most, "run")) }
}

/// What each value of each axis did, over all strategies that have it.
fn axes(setting: &Setting) -> Vec<Block> {
    let mut rows = Vec::new();
    for part in Part::ALL {
        let mut values: BTreeMap<&str, Vec<&Arm>> = BTreeMap::new();
        setting.arms.iter().filter(|arm| !arm.baseline).for_each(|arm| values.entry(part.of(arm)).or_default().push(arm));
        if values.len() < 2 {
            continue;
        }
        let mean = |arms: &[&Arm], of: fn(&Arm) -> &Change| {
            let found: Vec<f64> = arms.iter().filter_map(|arm| of(arm).difference.map(|found| found.mean)).collect();
            if found.is_empty() { f64::NAN } else { found.iter().sum::<f64>() / found.len() as f64 }
        };
        let mut order: Vec<(&str, Vec<&Arm>)> = values.into_iter().collect();
        order.sort_by(|a, b| mean(&b.1, |arm| &arm.ap).total_cmp(&mean(&a.1, |arm| &arm.ap)));
        let hidden = order.len().saturating_sub(VALUES);
        if hidden > 0 {
            order.drain(VALUES - 2..order.len() - 2);
        }
        for (at, (text, arms)) in order.iter().enumerate() {
            let count = |verdict| arms.iter().filter(|arm| arm.ranking == Some(verdict)).count();
            let counts =
                [Verdict::Better, Verdict::Same, Verdict::Worse, Verdict::Unknown].map(|verdict| count(verdict).to_string());
            let key = if at == 0 { part.name() } else { "" };
            let gap = if hidden > 0 && at == VALUES - 2 { format!(" ({hidden} between)") } else { String::new() };
            let cells = [key.to_owned(), format!("{}{gap}", shorten(text, 24)), arms.len().to_string()];
            let changes =
                [mean(arms, |arm| &arm.ap), mean(arms, |arm| &arm.f1_half), mean(arms, |arm| &arm.f1_tuned)].map(signed);
            rows.push(cells.into_iter().chain(changes).chain([counts.join(" / ")]).collect());
        }
    }
    if rows.is_empty() {
        return Vec::new();
    }
    let heads = ["axis", "value", "n", "AP", "F1 at 0.5", "max_f1", "better/same/worse/?"];
    vec![
        Block::Heading("By axis: mean change from the baseline over the strategies that have the value".to_owned()),
        Block::Table(grid(&heads, rows)),
    ]
}

/// The rarest labels and those that moved, each with the strategy that changes it most; and the groups of labels.
fn labels(setting: &Setting, groups: &Groups, most_labels: usize) -> Vec<Block> {
    let others: Vec<&Arm> = setting.arms.iter().filter(|arm| arm.ap.difference.is_some()).collect();
    if others.is_empty() {
        return Vec::new();
    }
    let told = |verdict: Option<Verdict>| matches!(verdict, Some(Verdict::Better | Verdict::Worse));
    let judged = |at: usize| others.iter().any(|arm| arm.labels[at].ap_verdict.is_some());
    let moves = |at: usize| others.iter().any(|arm| told(arm.labels[at].ap_verdict) || told(arm.labels[at].f1_verdict));
    // Of a label without positives nothing can be said; the warnings count them.
    let order: Vec<usize> = setting.rarest_first().into_iter().filter(|&at| setting.labels[at].positives > 0).collect();
    // Those that moved before the others, the rarest of each.
    let mut some: Vec<usize> = order.iter().copied().filter(|&at| moves(at)).take(most_labels.div_ceil(2)).collect();
    for enough in [true, false] {
        let more = order.iter().copied().filter(|at| !some.contains(at) && judged(*at) == enough);
        some.extend(more.take(most_labels - some.len()).collect::<Vec<_>>());
    }
    let some: Vec<usize> = order.into_iter().filter(|at| some.contains(at)).collect();
    let row = |&at: &usize| {
        let label = &setting.labels[at];
        let size = |arm: &Arm| {
            let change = arm.labels[at].ap_difference.map_or(0.0, |found| found.mean.abs());
            (told(arm.labels[at].ap_verdict), change)
        };
        let most = others.iter().max_by(|a, b| size(a).0.cmp(&size(b).0).then(size(a).1.total_cmp(&size(b).1)));
        let baseline = setting.arms.iter().find(|arm| arm.baseline).and_then(|arm| arm.labels[at].ap);
        let (arm, change, said) = match most.and_then(|arm| Some((arm, arm.labels[at].ap_difference?))) {
            Some((arm, found)) => {
                let own = &arm.labels[at];
                let (change, said) = match own.ap_verdict {
                    None => (signed(found.mean), "too few positives"),
                    verdict => (change_of(&found), word(verdict, false)),
                };
                (shorten(&arm.arm, 32), change, said.to_owned())
            }
            None => (String::new(), NONE.to_owned(), String::new()),
        };
        vec![
            shorten(&label.label, 16),
            format!("{} ({})", percent(label.prevalence), label.positives),
            baseline.map_or_else(|| NONE.to_owned(), number),
            arm,
            change,
            said,
        ]
    };
    let heads = ["label", "rows", "AP", "largest change by", "change", "ranks"];
    let mut blocks = vec![
        Block::Heading(match setting.labels.len() {
            all if all > some.len() => format!("Labels: the rarest of {all}, and those that moved"),
            _ => "Labels, the rarest first".to_owned(),
        }),
        Block::Table(grid(&heads, some.iter().map(row).collect())),
    ];
    for at in 0..others.first().map_or(0, |arm| arm.groups.len()) {
        let size = |arm: &Arm| arm.groups[at].ap.difference.map_or(0.0, |found| found.mean.abs());
        let Some(most) = others.iter().max_by(|a, b| size(a).total_cmp(&size(b))) else { continue };
        let group = &most.groups[at];
        let Some(found) = group.ap.difference else { continue };
        let change = change_of(&found);
        blocks.push(Block::Text(format!(
            "{} ({}, {}): the largest change of its mean AP is {change} by {} ({})",
            group.group.name(),
            several(group.labels, "label"),
            groups.words(group.group),
            shorten(&most.arm, 40),
            word(group.verdict, false)
        )));
    }
    blocks
}
