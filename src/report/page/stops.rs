//! The thresholds at which the sliders of the page stop. Counts at these are exact: those of `sweep report --threshold T`.

/// Hundredths from 0 to 1, and finer ones near the ends, where the scores of rare labels (and of frequent ones) lie.
#[must_use]
pub fn stops() -> Vec<f64> {
    const FINE: [u32; 9] = [1, 2, 3, 4, 5, 6, 7, 8, 9];
    let thousandths = FINE.into_iter().chain((10..=990).step_by(10)).chain(FINE.map(|step| 990 + step));
    let mut stops: Vec<f64> = [0.0].into_iter().chain(thousandths.map(|step| f64::from(step) / 1000.0)).collect();
    stops.push(1.0);
    stops
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_rise_and_are_what_is_typed() {
        let stops = stops();
        assert!(stops.is_sorted_by(|a, b| a < b));
        assert_eq!((stops.len(), stops[0], stops[stops.len() - 1]), (119, 0.0, 1.0));
        // As `--threshold` reads them.
        for (typed, wanted) in [("0.5", 0.5), ("0.07", 0.07), ("0.003", 0.003), ("0.999", 0.999)] {
            assert!(stops.contains(&wanted) && typed.parse::<f64>() == Ok(wanted));
        }
    }
}
