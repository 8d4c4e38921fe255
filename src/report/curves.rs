//! The learning curve of each row: val macro AP, evaluation by evaluation.

use std::collections::HashMap;

use super::summary::Summary;
use store::{Reader, StoreError, SweepId};

/// One run: undefined where no label has a positive.
type Curve = Vec<Option<f64>>;

/// Reads the curves of the rows' runs. Baselines have none, nor have reference runs: their epochs are strengths.
///
/// # Errors
/// See [`StoreError`].
pub async fn attach(reader: &mut Reader, sweep: SweepId, summary: &mut Summary) -> Result<(), StoreError> {
    let mut curves: HashMap<String, Curve> = HashMap::new();
    let strategies = || summary.rows.iter().filter(|row| row.is_strategy());
    let mut runs: Vec<String> = strategies().flat_map(|row| row.runs.iter().cloned()).collect();
    runs.sort_unstable();
    runs.dedup();
    if runs.is_empty() {
        return Ok(());
    }
    for point in reader.curves(sweep, &runs).await? {
        curves.entry(point.run).or_default().push(point.macro_ap);
    }
    for row in summary.rows.iter_mut().filter(|row| row.is_strategy()) {
        let of_runs: Vec<&Curve> = row.runs.iter().filter_map(|run| curves.get(run)).collect();
        row.curve = mean(&of_runs);
    }
    Ok(())
}

/// The mean of the curves. One that has ended keeps its last value: where the better run ends first, the mean must not fall.
fn mean(curves: &[&Curve]) -> Curve {
    let length = curves.iter().map(|curve| curve.len()).max().unwrap_or(0);
    let at = |place: usize| {
        let values: Vec<f64> = curves.iter().filter_map(|curve| *curve.get(place).or(curve.last())?).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    (0..length).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::mean;

    #[test]
    fn a_run_that_has_ended_keeps_its_last_value() {
        let (long, short) = (vec![Some(0.25), Some(0.5), Some(0.75)], vec![Some(0.75), Some(1.0)]);
        assert_eq!(mean(&[&long, &short]), [Some(0.5), Some(0.75), Some(0.875)]);
        assert_eq!(mean(&[&vec![None, Some(0.5)], &vec![None, None]]), [None, Some(0.5)]);
        assert_eq!(mean(&[]), []);
        assert_eq!(mean(&[&vec![]]), []);
    }
}
