//! Differences between two strategies, paired by seed and split.

use super::special::student_quantile;

/// The effect: a difference over seeds, before any test.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Paired {
    /// Pairs.
    pub runs: usize,
    pub mean: f64,
    /// Standard deviation over pairs (n - 1); `None` with fewer than two.
    pub sd: Option<f64>,
    /// Student's interval of the mean; `None` with fewer than two pairs.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// Pairs in which the first was better, and worse.
    pub better: usize,
    pub worse: usize,
}

impl Paired {
    /// Summarises `differences`, one per pair, with an interval of coverage `level`; `None` without pairs.
    #[must_use]
    pub fn of(differences: &[f64], level: f64) -> Option<Self> {
        let (mean, sd) = moments(differences)?;
        let runs = differences.len();
        let reach = sd.map(|sd| student_quantile(0.5 + 0.5 * level, runs as f64 - 1.0) * sd / (runs as f64).sqrt());
        Some(Self {
            runs,
            mean,
            sd,
            low: reach.map(|reach| mean - reach),
            high: reach.map(|reach| mean + reach),
            better: differences.iter().filter(|&&difference| difference > 0.0).count(),
            worse: differences.iter().filter(|&&difference| difference < 0.0).count(),
        })
    }
}

/// Mean, and standard deviation (n - 1) of two values or more; `None` without values.
pub(super) fn moments(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares = || values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (!values.is_empty()).then(|| (mean, (values.len() > 1).then(|| (squares() / (n - 1.0)).sqrt())))
}
