//! Calibration as it would be at another prevalence. Where a split has more or fewer positives than the rows that a model was trained
//! on (label shift), its mean score is off there however well it was trained. Rows are therefore weighed by class, positives by
//! pi / pi_s and negatives by (1 - pi) / (1 - pi_s), with pi_s the prevalence of the split: exact where the inputs of each class are
//! distributed as in train (Saerens, Latinne and Decaestecker, Neural Computation 14, 2002).

use super::reliability::{Bin, equal_width, expected_error};

/// Mean score minus `prevalence`, were that the prevalence of `cells` (score, truth). With one class only, the mean of its scores minus
/// `prevalence`: for a rare label without positives a good approximation.
#[must_use]
pub fn gap_at(cells: &[(f32, u8)], prevalence: f64) -> f64 {
    let mean = |class: Option<u8>| {
        let of_class = cells.iter().filter(|cell| class.is_none_or(|class| cell.1 == class));
        let (sum, rows) = of_class.fold((0.0, 0usize), |(sum, rows), cell| (sum + f64::from(cell.0), rows + 1));
        (rows > 0).then(|| sum / rows as f64)
    };
    let weighed =
        mean(Some(1)).zip(mean(Some(0))).map(|(positive, negative)| prevalence * positive + (1.0 - prevalence) * negative);
    weighed.or_else(|| mean(None)).map_or(0.0, |mean| mean - prevalence)
}

/// Expected calibration error over so many bins of equal width, were `prevalence` that of `cells`; as they are with one class only.
#[must_use]
pub fn expected_error_at(cells: &[(f32, u8)], bins: usize, prevalence: f64) -> f64 {
    let of_class = |class: u8| -> Vec<(f32, u8)> { cells.iter().copied().filter(|cell| cell.1 == class).collect() };
    let (positive, negative) = (of_class(1), of_class(0));
    if positive.is_empty() || negative.is_empty() {
        return expected_error(&equal_width(cells, bins));
    }
    // Weights whose sums over the rows are the prevalence and the rest.
    let (one, other) = (prevalence / positive.len() as f64, (1.0 - prevalence) / negative.len() as f64);
    let off = |(positive, negative): (&Bin, &Bin)| {
        let (of_one, of_other) = (one * positive.rows as f64, other * negative.rows as f64);
        (of_one * positive.score + of_other * negative.score - of_one).abs()
    };
    equal_width(&positive, bins).iter().zip(&equal_width(&negative, bins)).map(off).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::sigmoid;
    use crate::rng::Rng;

    fn cells(rows: usize) -> Vec<(f32, u8)> {
        let mut rng = Rng::new(0, "test prevalence", &[]);
        let cell = |_| {
            let p = sigmoid(1.5 * rng.normal() - 1.0);
            (p as f32, u8::from(rng.uniform() < p))
        };
        (0..rows).map(cell).collect()
    }

    fn prevalence(cells: &[(f32, u8)]) -> f64 {
        cells.iter().map(|cell| f64::from(cell.1)).sum::<f64>() / cells.len() as f64
    }

    #[test]
    fn at_its_own_prevalence_nothing_changes() {
        let cells = cells(2000);
        let mean = cells.iter().map(|cell| f64::from(cell.0)).sum::<f64>() / cells.len() as f64;
        let own = prevalence(&cells);
        assert!((gap_at(&cells, own) - (mean - own)).abs() < 1e-12);
        assert!((expected_error_at(&cells, 15, own) - expected_error(&equal_width(&cells, 15))).abs() < 1e-12);
    }

    /// Half of the negatives are lost: as measured the scores are far too low, and at the old prevalence they are right.
    #[test]
    fn a_shift_is_taken_out() {
        let all = cells(40_000);
        let mut odd = false;
        let shifted = all.iter().copied().filter(|cell| {
            odd ^= cell.1 == 0;
            cell.1 == 1 || odd
        });
        let shifted: Vec<(f32, u8)> = shifted.collect();
        assert!(prevalence(&shifted) - prevalence(&all) > 0.1);
        let (raw, own) = (expected_error(&equal_width(&shifted, 15)), prevalence(&shifted));
        assert!(raw > 0.1 && gap_at(&shifted, own) < -0.05, "{raw}");
        let before = prevalence(&all);
        assert!(gap_at(&shifted, before).abs() < 0.01, "{}", gap_at(&shifted, before));
        assert!(expected_error_at(&shifted, 15, before) < 0.02);
    }

    #[test]
    fn one_class_is_taken_as_it_is() {
        let cells = [(0.25, 0), (0.75, 0)];
        assert!((gap_at(&cells, 0.1) - 0.4).abs() < 1e-12);
        assert!((expected_error_at(&cells, 15, 0.1) - 0.5).abs() < 1e-12);
        assert_eq!((gap_at(&[], 0.0), expected_error_at(&[], 15, 0.1)), (0.0, 0.0));
    }
}
