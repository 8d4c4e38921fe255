//! The decisions of least cost, where a false negative costs `fn` and a false positive `fp`.
//!
//! By `validation`: per label, the cut of the validation scores whose decisions cost least there, whatever the loss did to the
//! scale of the scores. By `probability`: the threshold `fp / (fp + fn)` itself, which is the decision of least expected cost if
//! and only if the scores are calibrated probabilities (bce without weights; docs/strategies.md#policy-traps).

use super::cut::{best, tp};
use super::{Entry, FOLDS, Fit, Rule, each_label};
use crate::{Absent, Param, Takes};

const COST: Takes = Takes::Number { min: 1e-6, max: 1e6 };

pub(super) const ENTRY: Entry<Fit> = Entry {
    kind: "cost",
    summary: "per label, the threshold whose decisions cost least",
    params: &[
        Param { name: "fn", help: "what a false negative costs", takes: COST, absent: Absent::Number(1.0) },
        Param { name: "fp", help: "what a false positive costs", takes: COST, absent: Absent::Number(1.0) },
        Param {
            name: "by",
            help: "the cost on validation, or fp / (fp + fn) for calibrated scores",
            takes: Takes::Word(&["validation", "probability"]),
            absent: Absent::Word("validation"),
        },
        FOLDS,
    ],
    build: |choice, scores, truth| {
        let (miss, alarm) = (choice.get("fn"), choice.get("fp"));
        if choice.word("by") == "probability" {
            return Rule::Thresholds(vec![(alarm / (alarm + miss)) as f32; truth.names.len()]);
        }
        each_label(choice, scores, truth, |curve, _| {
            let cost = |groups: usize| {
                let hits = tp(curve, groups);
                alarm * (curve.predicted(groups) - hits) as f64 + miss * (curve.positives - hits) as f64
            };
            curve.threshold(best(0..=curve.steps.len(), |a, b| cost(b).total_cmp(&cost(a))).unwrap_or(0))
        })
    },
};
