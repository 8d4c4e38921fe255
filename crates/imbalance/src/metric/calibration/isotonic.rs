//! Isotonic regression: the best rising function from scores to probabilities, fitted on validation by pooling adjacent violators
//! (Ayer et al. 1955; Zadrozny & Elkan, KDD 2002).

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
        let mut rising = cells.to_vec();
        rising.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        Self::of_sorted(&rising)
    }

    /// [`Self::fit`] to cells in rising order of scores.
    pub(super) fn of_sorted(cells: &[(f32, u8)]) -> Option<Self> {
        let mut pools: Vec<Pool> = Vec::new();
        for equal in cells.chunk_by(|a, b| a.0 == b.0) {
            let positives = equal.iter().map(|cell| u64::from(cell.1)).sum();
            let mut pool = Pool { low: equal[0].0, high: equal[0].0, rows: equal.len() as u64, positives };
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
