//! Isotonic regression: the best rising function from scores to probabilities, fitted on validation by pooling adjacent violators
//! (Ayer et al. 1955; Zadrozny & Elkan, KDD 2002).

use crate::metric::curve::{sorted, steps};

/// One label's map from scores to probabilities: linear between knots, constant outside them.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Isotonic {
    /// (score, probability), both rising; the ends of each constant piece.
    pub knots: Vec<(f32, f64)>,
}

/// Rows pooled into one constant piece.
#[derive(Clone, Copy)]
struct Pool {
    low: f32,
    high: f32,
    positives: u64,
    rows: u64,
}

impl Pool {
    /// The larger mean, compared exactly; equal ones are pooled too.
    fn violates(&self, above: &Self) -> bool {
        u128::from(self.positives) * u128::from(above.rows) >= u128::from(above.positives) * u128::from(self.rows)
    }
}

impl Isotonic {
    /// Fits to (score, 0/1 truth) of validation (scikit-learn `IsotonicRegression(out_of_bounds="clip")`). Rows of equal score are
    /// one. `None` without rows.
    #[must_use]
    pub fn fit(cells: &[(f32, u8)]) -> Option<Self> {
        let (mut order, mut groups) = (Vec::new(), Vec::new());
        sorted(cells.iter().copied(), &mut order);
        steps(&order, &mut groups);
        let mut pools: Vec<Pool> = Vec::new();
        for (place, step) in groups.iter().enumerate().rev() {
            let above = if place == 0 { (0, 0) } else { (groups[place - 1].predicted, groups[place - 1].tp) };
            let mut pool =
                Pool { low: step.score, high: step.score, rows: step.predicted - above.0, positives: step.tp - above.1 };
            while let Some(below) = pools.pop_if(|below| below.violates(&pool)) {
                pool = Pool { low: below.low, rows: pool.rows + below.rows, positives: pool.positives + below.positives, ..pool };
            }
            pools.push(pool);
        }
        let ends = |pool: &Pool| {
            let mean = pool.positives as f64 / pool.rows as f64;
            std::iter::once((pool.low, mean)).chain((pool.high > pool.low).then_some((pool.high, mean)))
        };
        (!pools.is_empty()).then(|| Self { knots: pools.iter().flat_map(ends).collect() })
    }

    /// The calibrated probability.
    #[must_use]
    pub fn apply(&self, score: f32) -> f64 {
        let above = self.knots.partition_point(|knot| knot.0 < score);
        match (above.checked_sub(1).map(|below| self.knots[below]), self.knots.get(above)) {
            (Some((x0, y0)), Some(&(x1, y1))) => {
                let share = (f64::from(score) - f64::from(x0)) / (f64::from(x1) - f64::from(x0));
                y0 + share * (y1 - y0)
            }
            (None, Some(&(_, y))) | (Some((_, y)), None) => y,
            (None, None) => f64::NAN,
        }
    }
}
