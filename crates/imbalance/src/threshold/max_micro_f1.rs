//! One threshold for all labels: the cut of all known validation cells with the largest micro-F1. The optimum of micro-F1 on calibrated
//! scores is one common threshold, half of the F1 reached (docs/strategies.md#best-threshold); labels on scales of their own
//! (weighted losses) need one each.

use super::cut::largest_f;
use super::{Entry, FOLDS, Fit, Rule, UNFITTED, folds, mean_of_parts};
use crate::metric::{Curve, is_known};

pub(super) const ENTRY: Entry<Fit> = Entry {
    kind: "max_micro_f1",
    summary: "one threshold for all labels, with the largest micro-F1 on validation",
    params: &[FOLDS],
    build: |choice, scores, truth| {
        let labels = truth.names.len();
        let whole = Curve::of_all(scores, truth);
        let threshold = match folds(choice, truth.rows()) {
            None => fit(&whole),
            // Rows are dealt in turn, each with the cells of all labels.
            Some(folds) => {
                let cells = scores.iter().zip(&truth.values).enumerate();
                let cells = cells.map(|(cell, (&score, &y))| (cell / labels % folds, (score, y)));
                let cells: Vec<_> = cells.filter(|(_, cell)| is_known(cell)).collect();
                mean_of_parts(&whole, folds, &cells, fit)
            }
        };
        Rule::Thresholds(vec![threshold; labels])
    },
};

fn fit(curve: &Curve) -> f32 {
    largest_f(curve, 1.0).map_or(UNFITTED, |(groups, _)| curve.threshold(groups))
}
