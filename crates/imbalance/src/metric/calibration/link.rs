//! The loss's own inverse: LINK turns a logit into the probability that a perfectly trained model means by it, without any data
//! (docs/strategies.md#link; Charoenphakdee et al., CVPR 2021, for focal loss).

use super::logit;

/// `scores` (`[rows, labels]` row-major float32 probabilities, the sigmoid of logits) as the probabilities they stand for, where
/// `eta(label, z)` is the loss's LINK (`crate::loss::Loss::implied_probability`). `None` if the loss has none, be it for one
/// cell.
///
/// A loss that is flat over some scores (ASL below its clip) maps all of them to one probability.
#[must_use]
pub fn invert_link(scores: &[f32], labels: usize, eta: impl Fn(usize, f64) -> Option<f64>) -> Option<Vec<f32>> {
    let cells = scores.iter().enumerate();
    cells.map(|(cell, &score)| eta(cell % labels.max(1), logit(score)).map(|eta| eta as f32)).collect()
}
