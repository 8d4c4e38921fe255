//! Several strategies over several data sets: Friedman's test with Iman and Davenport's correction, and Nemenyi's critical difference
//! (Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 2006).

use super::special::{chi_squared_tail, fisher_tail};

/// What the ranks over data sets say.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Friedman {
    /// Mean rank of each strategy; 1 is best.
    pub ranks: Vec<f64>,
    /// Friedman's statistic with tie correction, and its p (`scipy.stats.friedmanchisquare`).
    pub chi_squared: f64,
    pub p: f64,
    /// Iman and Davenport's p: less conservative.
    pub p_iman_davenport: f64,
    /// Mean ranks further apart than this differ at 0.05 (Nemenyi); `None` beyond 20 strategies.
    pub critical_difference: Option<f64>,
}

/// Studentised range at 0.05 with infinite degrees of freedom, over √2, for 2 to 20 strategies (`scipy.stats.studentized_range`).
const NEMENYI: [f64; 19] = [
    1.959_964, 2.343_701, 2.569_032, 2.727_774, 2.849_705, 2.948_320, 3.030_878, 3.101_730, 3.163_684, 3.218_654, 3.268_004,
    3.312_739, 3.353_618, 3.391_230, 3.426_041, 3.458_425, 3.488_685, 3.517_073, 3.543_799,
];

/// Compares strategies by `scores[data set][strategy]`, higher being better, ties sharing their middle rank. `None` with fewer than
/// two data sets or strategies, or if every data set ties all strategies.
#[must_use]
pub fn friedman(scores: &[Vec<f64>]) -> Option<Friedman> {
    let (n, k) = (scores.len(), scores.first()?.len());
    if n < 2 || k < 2 {
        return None;
    }
    debug_assert!(scores.iter().all(|row| row.len() == k), "one score per strategy");
    let mut ranks = vec![0.0; k];
    let mut ties = 0.0;
    for row in scores {
        for (rank, score) in ranks.iter_mut().zip(row) {
            let better = row.iter().filter(|other| *other > score).count() as f64;
            let tied = row.iter().filter(|other| *other == score).count() as f64;
            *rank += better + 0.5 * (tied + 1.0);
            // Σ over groups of t³ - t, dealt out over their members.
            ties += tied * tied - 1.0;
        }
    }
    let (n, k) = (n as f64, k as f64);
    let squares: f64 = ranks.iter().map(|sum| sum * sum).sum();
    let correction = 1.0 - ties / (n * k * (k * k - 1.0));
    if correction <= 0.0 {
        return None;
    }
    let chi_squared = (12.0 / (n * k * (k + 1.0)) * squares - 3.0 * n * (k + 1.0)) / correction;
    let room = n * (k - 1.0) - chi_squared;
    let p_iman_davenport =
        if room > 0.0 { fisher_tail((n - 1.0) * chi_squared / room, k - 1.0, (k - 1.0) * (n - 1.0)) } else { 0.0 };
    Some(Friedman {
        ranks: ranks.iter().map(|sum| sum / n).collect(),
        chi_squared,
        p: chi_squared_tail(chi_squared, k - 1.0),
        p_iman_davenport,
        critical_difference: NEMENYI.get(k as usize - 2).map(|q| q * (k * (k + 1.0) / (6.0 * n)).sqrt()),
    })
}
