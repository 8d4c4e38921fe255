//! F1 made differentiable: sigmoidF1 (Benedict et al., TMLR 2022), Dice, Tversky and focal Tversky (Abraham and Khan, ISBI 2019).
//!
//! With `s = sigmoid(slope (z + offset))` and, per label, sums over the batch `tp = sum s y`, `fp = sum s (1-y)`, `fn = sum (1-s)
//! y`: `T = (tp + smooth) / (tp + fp_weight fp + fn_weight fn + smooth)`, `L = mean over labels of (1-T)^power`. The defaults are
//! F1 itself; Dice with its usual 1 is smooth = 0.5; Tversky is fp_weight 0.3, fn_weight 0.7, smooth 1; focal Tversky adds power
//! 0.75. The official sigmoidF1 code applies its sigmoid to probabilities; here it is applied to the logits, as its authors do
//! since.
//!
//! Reduction: mean over labels, not over cells, since every label's term is a ratio of sums over the batch. It depends on the
//! batch size: use batches that hold some positives of every label (sampler `balanced_batch`). A label without positives in the
//! batch has T = 0 at any score, and no gradient (with smooth > 0 one that pushes all its scores down); absent = "skip" leaves it
//! out of the mean. A cell's slope depends on its batch, so there is no LINK, and it reads no pos_weight: `fn_weight` has that
//! effect.

use super::pointwise::sigmoid;
use super::{Batch, Entry, Loss, LossBuild, StrategyError};
use crate::{Absent, Param, Takes};

const fn number(name: &'static str, help: &'static str, min: f64, max: f64, default: f64) -> Param {
    Param { name, help, takes: Takes::Number { min, max }, absent: Absent::Number(default) }
}

pub(super) const ENTRY: Entry<LossBuild> = Entry {
    kind: "soft_f1",
    summary: "1 - F1 of the batch, made differentiable; also Dice, Tversky and focal Tversky (reads no pos_weight)",
    params: &[
        number("fp_weight", "weight of false positives: 0.5 is F1, 0.3 the usual Tversky", 0.0, 100.0, 0.5),
        number("fn_weight", "weight of false negatives: 0.5 is F1, 0.7 the usual Tversky", 0.0, 100.0, 0.5),
        number("smooth", "added to numerator and denominator: 0.5 is the usual Dice, 1 the usual Tversky", 0.0, 1e6, 0.0),
        number("power", "power of 1 - T: 0.75 is the usual focal Tversky", 0.1, 10.0, 1.0),
        number("slope", "beta of sigmoidF1: steepness of the sigmoid", 0.01, 100.0, 1.0),
        number("offset", "eta of sigmoidF1: added to the logit", -100.0, 100.0, 0.0),
        Param {
            name: "absent",
            help: "labels without positives in the batch: in the mean, or left out of it",
            takes: Takes::Word(&["count", "skip"]),
            absent: Absent::Word("count"),
        },
    ],
    build: LossBuild {
        reads_pos_weight: false,
        equal: |_| None,
        balances: |_| true,
        numerics: 0,
        make: |choice, _| {
            let (false_positive, false_negative) = (choice.get("fp_weight"), choice.get("fn_weight"));
            if false_positive + false_negative == 0.0 {
                return Err(StrategyError::Unfit(
                    "loss soft_f1: fp_weight and fn_weight are both 0, so every score is perfect".to_owned(),
                ));
            }
            Ok(Box::new(SoftF1 {
                false_positive,
                false_negative,
                smooth: choice.get("smooth"),
                power: choice.get("power"),
                slope: choice.get("slope"),
                offset: choice.get("offset"),
                skip: choice.word("absent") == "skip",
            }))
        },
    },
};

/// Half of the 1e-16 that the reference adds to `2 tp + fp + fn`, so that 0/0 is 0.
const TINY: f64 = 5e-17;

#[derive(Debug)]
struct SoftF1 {
    false_positive: f64,
    false_negative: f64,
    smooth: f64,
    power: f64,
    slope: f64,
    offset: f64,
    skip: bool,
}

/// One label's sums over a batch.
#[derive(Clone, Copy, Default)]
struct Sums {
    tp: f64,
    fp: f64,
    fn_: f64,
    positives: usize,
}

impl SoftF1 {
    /// s and 1-s of a logit.
    fn soft(&self, z: f32) -> (f64, f64) {
        let u = self.slope * (f64::from(z) + self.offset);
        (sigmoid(u), sigmoid(-u))
    }

    /// The label's loss, and its derivative by s of a positive and of a negative cell.
    fn label(&self, sums: Sums) -> (f64, [f64; 2]) {
        let Sums { tp, fp, fn_, .. } = sums;
        let wrong = self.false_positive * fp + self.false_negative * fn_ + TINY;
        let (hit, all) = (tp + self.smooth, tp + self.smooth + wrong);
        let miss = wrong / all;
        let outer = -self.power * miss.powf(self.power - 1.0) / all / all;
        (miss.powf(self.power), [outer * (all - hit * (1.0 - self.false_negative)), -outer * hit * self.false_positive])
    }
}

impl Loss for SoftF1 {
    fn evaluate(&self, batch: Batch<'_>, gradient: &mut [f32]) -> f64 {
        let Batch { labels, logits, targets, .. } = batch;
        let mut sums = vec![Sums::default(); labels];
        for (cell, (&z, &y)) in logits.iter().zip(targets).enumerate() {
            let (sums, (soft, rest)) = (&mut sums[cell % labels], self.soft(z));
            match y {
                0 => sums.fp += soft,
                1 => (sums.tp, sums.fn_, sums.positives) = (sums.tp + soft, sums.fn_ + rest, sums.positives + 1),
                _ => {}
            }
        }
        let counts = |sums: &Sums| !self.skip || sums.positives > 0;
        let share = 1.0 / sums.iter().filter(|sums| counts(sums)).count().max(1) as f64;
        let terms: Vec<(f64, [f64; 2])> =
            sums.iter().map(|sums| if counts(sums) { self.label(*sums) } else { (0.0, [0.0; 2]) }).collect();
        for (cell, ((slope, &z), &y)) in gradient.iter_mut().zip(logits).zip(targets).enumerate() {
            let (soft, rest) = self.soft(z);
            let by_soft = match y {
                0 => terms[cell % labels].1[1],
                1 => terms[cell % labels].1[0],
                _ => 0.0,
            };
            *slope = (by_soft * self.slope * soft * rest * share) as f32;
        }
        terms.iter().map(|(value, _)| value).sum::<f64>() * share
    }

    fn implied_probability(&self, _: usize, _: f64) -> Option<f64> {
        None
    }
}
