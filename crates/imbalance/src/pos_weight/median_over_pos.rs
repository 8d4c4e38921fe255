//! The median label's positives over the label's own (median frequency balancing; Eigen and Fergus, ICCV 2015): below 1 for labels more
//! frequent than the median, whose positives it discourages.

use super::{Entry, Formula, each_label};

pub(super) const ENTRY: Entry<Formula> = Entry {
    kind: "median_over_pos",
    summary: "median of the labels' positives / positives of the label",
    params: &[],
    build: |choice, counts| {
        let mut sorted = counts.positives.clone();
        sorted.sort_unstable();
        let middle = |at: usize| sorted.get(at).copied().unwrap_or(0) as f64;
        let median = f64::midpoint(middle(sorted.len().saturating_sub(1) / 2), middle(sorted.len() / 2));
        each_label(&choice.kind, counts, |positives, _| median / positives)
    },
};
