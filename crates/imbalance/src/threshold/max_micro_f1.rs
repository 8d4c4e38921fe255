//! One threshold for all labels: the cut of all validation cells with the largest micro-F1. The optimum of micro-F1 on calibrated
//! scores is one common threshold, half of the F1 reached (docs/strategies.md#best-threshold); labels on scales of their own
//! (weighted losses) need one each.

use super::cut::largest_f;
use super::{Entry, FOLDS, Fit, Rule, UNFITTED, each_label};
use crate::LabelMatrix;
use crate::metric::Decide;

pub(super) const ENTRY: Entry<Fit> = Entry {
    kind: "max_micro_f1",
    summary: "one threshold for all labels, with the largest micro-F1 on validation",
    params: &[FOLDS],
    build: |choice, scores, truth| {
        // Every cell as a row of one label; folds are dealt by cells.
        let cells = LabelMatrix { names: vec!["all labels".to_owned()].into(), values: truth.values.clone() };
        let fitted = each_label(choice, scores, &cells, |curve| {
            largest_f(curve, 1.0).map_or(UNFITTED, |(groups, _)| curve.threshold(groups))
        });
        let threshold = fitted.thresholds(1)[0];
        Rule::Thresholds(vec![threshold; truth.names.len()])
    },
};
