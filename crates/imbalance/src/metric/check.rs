//! The precondition of every metric: finite scores, one per cell.

use crate::LabelMatrix;

/// Scores that are not finite, or do not fit the truth.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct ScoreError(pub String);

/// Checks scores that come from elsewhere (`[rows, labels]` row-major): one per cell, all finite. Rows are counted from 1.
///
/// # Errors
/// The first score that is not a finite number, by row and label; or a number of scores other than that of cells.
pub fn check_scores(scores: &[f32], truth: &LabelMatrix) -> Result<(), ScoreError> {
    let (labels, cells) = (truth.names.len(), truth.values.len());
    if scores.len() != cells {
        let message = format!("{} scores do not fit {} rows of {labels} labels, which need {cells}", scores.len(), truth.rows());
        return Err(ScoreError(message));
    }
    match scores.iter().position(|score| !score.is_finite()) {
        None => Ok(()),
        Some(cell) => {
            let (row, label, score) = (cell / labels + 1, &truth.names[cell % labels], scores[cell]);
            Err(ScoreError(format!("the score of label {label} in row {row} is {score}: scores must be finite numbers")))
        }
    }
}
