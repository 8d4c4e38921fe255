//! How often what is said is right, with exact intervals.

use std::collections::BTreeMap;

use imbalance::metric::certainty::special::incomplete_beta;
use serde::Serialize;

use super::population::bisect;
use super::said::{ArmSaid, Said, Word};

/// How often something was said.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rate {
    pub hits: usize,
    pub of: usize,
    pub rate: f64,
    /// The exact 95 % interval (Clopper and Pearson 1934). Where a sweep has several comparisons, which share its baseline and rows, of the
    /// number of independent comparisons that the spread between sweeps allows for (Korn and Graubard 1998).
    pub low: f64,
    pub high: f64,
}

impl Rate {
    /// From (hits, comparisons) of each sweep; `None` without comparisons.
    pub fn of(sweeps: &[(usize, usize)]) -> Option<Self> {
        let sweeps: Vec<(usize, usize)> = sweeps.iter().copied().filter(|(_, of)| *of > 0).collect();
        let (hits, of) = sweeps.iter().fold((0, 0), |(hits, of), sweep| (hits + sweep.0, of + sweep.1));
        if of == 0 {
            return None;
        }
        let rate = hits as f64 / of as f64;
        let n = sweeps.len() as f64;
        // Variance of the rate by its spread over sweeps, as a multiple of that of independent comparisons.
        let spread: f64 = sweeps.iter().map(|&(hits, of)| (hits as f64 - rate * of as f64).powi(2)).sum();
        let binomial = rate * (1.0 - rate) * of as f64;
        let multiple = if binomial > 0.0 { spread / binomial } else { f64::INFINITY };
        let independent = (of as f64 / multiple).clamp(n, of as f64);
        let (low, high) = exact(rate * independent, independent);
        Some(Self { hits, of, rate, low, high })
    }
}

/// The exact 95 % interval of a share: `hits` of `n`, which need not be whole.
pub fn exact(hits: f64, n: f64) -> (f64, f64) {
    let quantile = |p: f64, a: f64, b: f64| bisect(0.0, 1.0, |x| incomplete_beta(x, a, b) - p);
    let low = if hits <= 0.0 { 0.0 } else { quantile(0.025, hits, n - hits + 1.0) };
    let high = if hits >= n { 1.0 } else { quantile(0.975, hits + 1.0, n - hits) };
    (low, high)
}

/// Rates by name; those that the program says nothing about are missing.
pub type Rates = BTreeMap<&'static str, Rate>;

/// Reads verdicts of an arm, each with the labels that it is about.
type Parts = fn(&ArmSaid) -> Vec<(Vec<usize>, Option<Word>)>;
/// Reads a verdict of an arm.
type Read = fn(&ArmSaid) -> Option<Word>;

const VERDICTS: [(Read, [&str; 3], [&str; 3]); 4] = [
    (|arm| arm.ranking, ["claim", "any", "same"], ["right", "wrong", "said_same"]),
    (|arm| arm.val_ranking, ["val_claim", "val_any", "val_same"], ["val_right", "val_wrong", "val_said_same"]),
    (|arm| arm.tuned, ["f1_claim", "f1_any", "f1_same"], ["f1_right", "f1_wrong", "f1_said_same"]),
    (
        |arm| arm.student,
        ["student_claim", "student_any", "student_same"],
        ["student_right", "student_wrong", "student_said_same"],
    ),
];

/// Counts what is said of sweeps in which arm `at` (1 is the first beside the baseline) differs by `effect(at, None)` in macro AP and by
/// `effect(at, Some(label))` in that label's: claims where nothing differs; right and wrong ones where something does.
pub fn rates(said: &[Said], effect: &dyn Fn(usize, Option<usize>) -> f64) -> Rates {
    let mut rates = Rates::new();
    let mut put = |name: &'static str, sweeps: Vec<(usize, usize)>| {
        rates.extend(Rate::of(&sweeps).map(|rate| (name, rate)));
    };
    for (read, nothing, something) in VERDICTS {
        let words = |sweep: &Said, differs: bool| -> Vec<(Word, f64)> {
            let arms = sweep.arms.iter().enumerate().map(|(at, arm)| (read(arm), effect(at + 1, None)));
            arms.filter(|(_, effect)| (*effect != 0.0) == differs).filter_map(|(word, effect)| Some((word?, effect))).collect()
        };
        three(said, &words, nothing, something, &mut put);
    }
    // Of AP and of F1 of labels, and of AP of groups of labels.
    let parts: [(Parts, [&'static str; 3], [&'static str; 3]); 3] = [
        (|arm| each(&arm.labels), ["label_claim", "label_any", "label_same"], ["label_right", "label_wrong", "label_said_same"]),
        (
            |arm| each(&arm.label_f1),
            ["label_f1_claim", "label_f1_any", "label_f1_same"],
            ["label_f1_right", "label_f1_wrong", "label_f1_said_same"],
        ),
        (|arm| arm.groups.clone(), ["group_claim", "group_any", "group_same"], ["group_right", "group_wrong", "group_said_same"]),
    ];
    for (parts, nothing, something) in parts {
        let words = |sweep: &Said, differs: bool| -> Vec<(Word, f64)> {
            let mut words = Vec::new();
            for (at, arm) in sweep.arms.iter().enumerate() {
                for (labels, word) in parts(arm) {
                    let effects = labels.iter().map(|&label| effect(at + 1, Some(label)));
                    let effect = effects.sum::<f64>() / labels.len().max(1) as f64;
                    words.extend(word.filter(|_| (effect != 0.0) == differs).map(|word| (word, effect)));
                }
            }
            words
        };
        three(said, &words, nothing, something, &mut put);
    }
    for (rule, names) in [("ranks_better", ["train_with", "train_with_right"]), ("more_seeds", ["may", "may_right"])] {
        let right = |sweep: &Said| {
            let arm = if rule == "ranks_better" { sweep.recommended } else { sweep.candidate };
            sweep.rule == rule && arm.is_some_and(|arm| effect(arm, None) > 0.0)
        };
        let share = |hit: &dyn Fn(&Said) -> bool| said.iter().map(|sweep| (usize::from(hit(sweep)), 1)).collect();
        put(names[0], share(&|sweep| sweep.rule == rule && !right(sweep)));
        put(names[1], share(&right));
    }
    rates
}

/// Verdicts of a sweep on differences that are none, or on those that are some, each with the true difference.
type Words<'a> = dyn Fn(&Said, bool) -> Vec<(Word, f64)> + 'a;

/// Labels one by one.
fn each(words: &[Option<Word>]) -> Vec<(Vec<usize>, Option<Word>)> {
    words.iter().enumerate().map(|(at, word)| (vec![at], *word)).collect()
}

/// Claims, sweeps with any, and "the same" where nothing differs; the right and the wrong word, and "the same", where something does.
fn three(
    said: &[Said],
    words: &Words<'_>,
    nothing: [&'static str; 3],
    something: [&'static str; 3],
    put: &mut dyn FnMut(&'static str, Vec<(usize, usize)>),
) {
    let count = |differs: bool, hit: &dyn Fn(Word, f64) -> bool| -> Vec<(usize, usize)> {
        let of = |sweep: &Said| {
            let words = words(sweep, differs);
            (words.iter().filter(|(word, effect)| hit(*word, *effect)).count(), words.len())
        };
        said.iter().map(of).collect()
    };
    let claims = count(false, &|word, _| word.claims());
    put(nothing[1], claims.iter().map(|&(hits, of)| (hits.min(1), of.min(1))).collect());
    put(nothing[0], claims);
    put(nothing[2], count(false, &|word, _| word == Word::Same));
    let points = |word: Word, effect: f64| (word == Word::Better && effect > 0.0) || (word == Word::Worse && effect < 0.0);
    put(something[0], count(true, &points));
    put(something[1], count(true, &|word, effect| word.claims() && !points(word, effect)));
    put(something[2], count(true, &|word, _| word == Word::Same));
}
