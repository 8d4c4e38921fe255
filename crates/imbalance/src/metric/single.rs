//! Numbers of float64 as float32 without a loss of their order, and what has lost it.

use super::{Curve, Step};
use crate::LabelMatrix;

/// `map(value)` of every value in float32, where `map` rises and all numbers are finite: rounded to nearest, unless values that differ
/// would become equal or change places, where the higher one goes on to the next float32. So the result is equal or greater exactly
/// where the values are. What is beyond float32 becomes its largest numbers. One sort: O(n log n).
#[must_use]
pub fn in_order(values: &[f64], map: impl Fn(f64) -> f64) -> Vec<f32> {
    let mut rising: Vec<f64> = values.iter().map(|value| value + 0.0).collect();
    rising.sort_unstable_by(f64::total_cmp);
    rising.dedup();
    let mut single: Vec<f32> = Vec::with_capacity(rising.len());
    let mut least = f32::MIN;
    for &value in &rising {
        // + 0.0: no -0, which would be equal to 0.
        let own = (map(value) as f32 + 0.0).max(least);
        single.push(own);
        least = own.next_up();
    }
    let mut most = f32::MAX;
    for own in single.iter_mut().rev() {
        *own = own.min(most);
        most = own.next_down();
    }
    let place = |value: &f64| rising.partition_point(|other| other < value);
    values.iter().map(|value| single[place(value)]).collect()
}

/// Known cells above `least` that a positive and a negative row of their label share, all of which `scores` (`[rows, labels]`
/// row-major, finite) leave in no order. Above 0.9999, where float32 probabilities of different logits become equal, AP and AUC are
/// then those of rounded scores.
#[must_use]
pub fn merged(scores: &[f32], truth: &LabelMatrix, least: f32) -> u64 {
    let of_label = |label: usize| {
        let (mut before, mut merged) = (Step { score: 0.0, predicted: 0, tp: 0 }, 0);
        for step in Curve::of(scores, truth, label).steps.iter().take_while(|step| step.score > least) {
            let (rows, positives) = (step.predicted - before.predicted, step.tp - before.tp);
            merged += if positives > 0 && positives < rows { rows } else { 0 };
            before = *step;
        }
        merged
    };
    (0..truth.names.len()).map(of_label).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_differs_stays_apart_and_what_float32_holds_stays_itself() {
        assert_eq!(in_order(&[], |x| x), [0f32; 0]);
        assert_eq!(in_order(&[3.5, -2.0, 3.5, 0.0, -0.0, -1e30], |x| x), [3.5, -2.0, 3.5, 0.0, 0.0, -1e30]);
        let close = [30.0, 30.0 + 1e-12, 30.0 - 1e-12];
        assert_eq!(in_order(&close, |x| x), [30f32.next_up(), 30f32.next_up().next_up(), 30.0]);
        let huge = [1e300, 1e39, -1e39, -1e300, f64::from(f32::MAX), f64::MAX];
        let most = f32::MAX;
        let [one, two, three] = [most.next_down(), most.next_down().next_down(), most.next_down().next_down().next_down()];
        assert_eq!(in_order(&huge, |x| x), [one, two, -most.next_down(), -most, three, most]);
        let tiny = [1e-60, 0.0, -1e-60, 2e-60];
        let [a, zero, b, c] = in_order(&tiny, |x| x)[..] else { panic!() };
        assert!(b < zero && zero < a && a < c && c < 1e-43);
    }

    #[test]
    fn cells_are_merged_where_both_classes_share_a_high_score() {
        let truth = LabelMatrix { names: ["a", "b"].map(str::to_owned).into(), values: vec![1, 0, 0, 0, 1, 1, 0, 1] };
        let scores = [1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.99, 0.5];
        assert_eq!((merged(&scores, &truth, 0.9999), merged(&scores, &truth, 0.4)), (3, 3), "b has the negatives at 1");
        let scores = [1.0, 0.5, 0.99999, 0.5, 1.0, 0.5, 0.99, 0.5];
        assert_eq!((merged(&scores, &truth, 0.9999), merged(&scores, &truth, 0.4)), (0, 4));
    }

    /// Values that the map rounds to one number, or in the wrong order, keep their own.
    #[test]
    fn the_order_is_that_of_the_values_not_of_the_map() {
        let p = [1.0 - f64::EPSILON, 0.1, 1.0, 0.1f64.next_up(), 1.0 - 2.0 * f64::EPSILON];
        let z = in_order(&p, crate::metric::calibration::logit_f64);
        assert!(z[1] < z[3] && z[3] < z[4] && z[4] < z[0] && z[0] < z[2], "{z:?}");
        assert!((z[1] + 9f32.ln()).abs() < 1e-6 && (z[2] - 37.43).abs() < 0.01);
        let level = in_order(&[2.0, 1.0, 2.0], |_| 5.0);
        assert_eq!(level, [5f32.next_up(), 5.0, 5f32.next_up()]);
    }

    proptest! {
        #[test]
        fn order_and_ties_are_those_of_the_values(
            values in prop::collection::vec(prop_oneof![-40f64..40.0, (0u8..9).prop_map(|step| 17.0 + f64::from(step) * 1e-9), any::<f64>().prop_filter("finite", |x| x.is_finite())], 0..60)
        ) {
            let single = in_order(&values, |x| x);
            for (a, x) in values.iter().zip(&single) {
                prop_assert!(x.is_finite());
                for (b, y) in values.iter().zip(&single) {
                    prop_assert_eq!(a.partial_cmp(b), x.partial_cmp(y));
                }
            }
        }

        /// Numbers that float32 holds are left alone.
        #[test]
        fn float32_passes(values in prop::collection::vec(any::<f32>().prop_filter("finite", |x| x.is_finite()), 0..60)) {
            let wide: Vec<f64> = values.iter().map(|&x| x.into()).collect();
            prop_assert_eq!(in_order(&wide, |x| x), values);
        }
    }
}
