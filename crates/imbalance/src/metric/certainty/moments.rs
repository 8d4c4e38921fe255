//! Mean and standard deviation.

/// Mean, and standard deviation (n - 1) of two values or more; `None` without values.
pub(super) fn moments(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares = || values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (!values.is_empty()).then(|| (mean, (values.len() > 1).then(|| (squares() / (n - 1.0)).sqrt())))
}
