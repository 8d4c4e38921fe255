//! SCutFBR.1 (Yang, SIGIR 2001; Fan and Lin, "A study on threshold selection for multi-label classification", 2007): SCut on F1, but a
//! label whose best F1 on validation is below `fbr` gets the highest validation score as its threshold. Few positives give a best F1
//! that is luck, often at a low cut that predicts the label everywhere; this predicts it hardly ever.

use super::cut::largest_f;
use super::{Entry, FOLDS, Fit, UNFITTED, each_label};
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<Fit> = Entry {
    kind: "scutfbr",
    summary: "max_f1, but labels whose best F1 is below `fbr` are hardly ever predicted (SCutFBR.1)",
    params: &[
        Param {
            name: "fbr",
            help: "F1 below which a label is given up (Fan and Lin 2007 try 0.1 to 0.8)",
            takes: Takes::Number { min: 0.0, max: 1.0 },
            absent: Absent::Number(0.1),
        },
        FOLDS,
    ],
    build: |choice, scores, truth| {
        each_label(choice, scores, truth, |curve, _| match largest_f(curve, 1.0) {
            Some((groups, f)) if f >= choice.get("fbr") => curve.threshold(groups),
            _ => curve.steps.first().map_or(UNFITTED, |step| step.score),
        })
    },
};
