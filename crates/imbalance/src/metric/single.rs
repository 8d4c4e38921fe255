//! Numbers of float64 as float32 without a loss of their order.

/// `values` (finite) in float32: each rounded to nearest, unless two that differ would become equal or change places, where the later
/// ones go on to the next float32. Equal values stay equal, `values[i] < values[j]` holds exactly where it does of the result, and
/// what is beyond float32 becomes its largest values. One sort: O(n log n).
#[must_use]
pub fn in_order(values: &[f64]) -> Vec<f32> {
    let mut rising: Vec<f64> = values.iter().map(|value| value + 0.0).collect();
    rising.sort_unstable_by(f64::total_cmp);
    rising.dedup();
    let mut single: Vec<f32> = Vec::with_capacity(rising.len());
    let mut least = f32::MIN;
    for &value in &rising {
        // + 0.0: no -0, which would be equal to 0.
        let own = (value as f32 + 0.0).max(least);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_differs_stays_apart_and_what_float32_holds_stays_itself() {
        assert_eq!(in_order(&[]), [0f32; 0]);
        assert_eq!(in_order(&[3.5, -2.0, 3.5, 0.0, -0.0, -1e30]), [3.5, -2.0, 3.5, 0.0, 0.0, -1e30]);
        let close = [30.0, 30.0 + 1e-12, 30.0 - 1e-12];
        assert_eq!(in_order(&close), [30f32.next_up(), 30f32.next_up().next_up(), 30.0]);
        let huge = [1e300, 1e39, -1e39, -1e300, f64::from(f32::MAX), f64::MAX];
        let most = f32::MAX;
        let [one, two, three] = [most.next_down(), most.next_down().next_down(), most.next_down().next_down().next_down()];
        assert_eq!(in_order(&huge), [one, two, -most.next_down(), -most, three, most]);
        let tiny = [1e-60, 0.0, -1e-60, 2e-60];
        let [a, zero, b, c] = in_order(&tiny)[..] else { panic!() };
        assert!(b < zero && zero < a && a < c && c < 1e-43);
    }

    proptest! {
        #[test]
        fn order_and_ties_are_those_of_the_values(
            values in prop::collection::vec(prop_oneof![-40f64..40.0, (0u8..9).prop_map(|step| 17.0 + f64::from(step) * 1e-9), any::<f64>().prop_filter("finite", |x| x.is_finite())], 0..60)
        ) {
            let single = in_order(&values);
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
            prop_assert_eq!(in_order(&wide), values);
        }
    }
}
