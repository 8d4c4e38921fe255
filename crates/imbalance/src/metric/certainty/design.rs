//! Many comparisons: Holm's correction, and what a design can detect at all.

/// Holm's adjusted p-values (1979), in the order given: valid under any dependence, never weaker than Bonferroni.
/// `p~_(i) = max over j <= i of min(1, (m - j + 1) p_(j))`.
#[must_use]
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut held = 0.0f64;
    for (rank, &place) in order.iter().enumerate() {
        held = held.max(((p.len() - rank) as f64 * p[place]).min(1.0));
        adjusted[place] = held;
    }
    adjusted
}

/// A family of paired comparisons: how many pairs each, how many comparisons, and the error rate over all of them.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Design {
    /// Pairs (seeds) of each comparison.
    pub runs: usize,
    pub contrasts: usize,
    /// Such as 0.05.
    pub alpha: f64,
}

impl Design {
    /// The smallest two-sided p-value that n pairs can give, all of them pointing one way: 2^(1 - n), for the sign-flip and the
    /// signed-rank test alike.
    #[must_use]
    pub fn smallest_p(&self) -> f64 {
        smallest_p(self.runs)
    }

    /// Whether any outcome at all would be significant after Holm. If not, the design cannot reject, which is not the same as "no
    /// difference".
    #[must_use]
    pub fn can_reject(&self) -> bool {
        self.contrasts as f64 * self.smallest_p() <= self.alpha
    }

    /// The fewest pairs with which the strongest comparison could be significant.
    #[must_use]
    pub fn runs_needed(&self) -> usize {
        // Beyond 1,100 pairs 2^(1 - n) is 0.
        (1..1100).find(|&runs| self.contrasts as f64 * smallest_p(runs) <= self.alpha).unwrap_or(1100)
    }
}

fn smallest_p(runs: usize) -> f64 {
    (1.0 - runs as f64).exp2().min(1.0)
}
