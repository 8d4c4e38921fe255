//! The corrected resampled t-test (Nadeau & Bengio, "Inference for the generalization error", 2003): splits of one data set share
//! training rows, so their differences vary less than independent ones would.

use super::paired::moments;
use super::special::student_two_sided;

/// A t-test of a mean difference.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct StudentTest {
    pub mean: f64,
    pub t: f64,
    /// Degrees of freedom.
    pub df: f64,
    /// Two-sided.
    pub p: f64,
}

/// Tests the mean of `differences`, one per split, with `test_share` = test rows / train rows (1/9 for tenfold cross-validation; 0 for
/// independent data sets, which gives Student's plain test): t = mean / √((1/n + `test_share`) s²). `None` with fewer than two splits.
#[must_use]
pub fn corrected_t(differences: &[f64], test_share: f64) -> Option<StudentTest> {
    let (mean, sd) = moments(differences)?;
    let sd = sd?;
    let n = differences.len() as f64;
    let t = if mean == 0.0 { 0.0 } else { mean / ((1.0 / n + test_share).sqrt() * sd) };
    Some(StudentTest { mean, t, df: n - 1.0, p: student_two_sided(t, n - 1.0) })
}
