//! Reliability: scores in bins, beside how often the label was there (binary reliability of P(y = 1), not of the larger class).

/// Rows whose scores fall into one bin.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Bin {
    pub rows: u64,
    /// Share of positives.
    pub rate: f64,
    /// Mean score.
    pub score: f64,
}

/// Bins of equal width over [0, 1]: `[b/bins, (b+1)/bins)`, the last one closed. Empty bins are kept, with zeros.
#[must_use]
pub fn equal_width(cells: &[(f32, u8)], bins: usize) -> Vec<Bin> {
    collect(cells, bins, |score| place(score, bins))
}

/// The bin of [`equal_width`] that a score is in.
pub(super) fn place(score: f64, bins: usize) -> usize {
    let edge = |bin: usize| bin as f64 / bins as f64;
    let bin = ((score * bins as f64) as usize).min(bins - 1);
    // The product may round across an edge.
    if bin > 0 && score < edge(bin) {
        bin - 1
    } else if bin + 1 < bins && score >= edge(bin + 1) {
        bin + 1
    } else {
        bin
    }
}

/// Bins of (nearly) equal numbers of rows: the edges are quantiles of the scores, an edge belongs to the bin below it (scikit-learn
/// `calibration_curve(strategy="quantile")`). Equal scores stay together, so that many ties make bins empty.
#[must_use]
pub fn equal_mass(cells: &[(f32, u8)], bins: usize) -> Vec<Bin> {
    let mut scores: Vec<f32> = cells.iter().map(|cell| cell.0).collect();
    scores.sort_unstable_by(f32::total_cmp);
    let last = scores.len().saturating_sub(1);
    let quantile = |bin: usize| {
        let (below, rest) = (bin * last / bins, bin * last % bins);
        let (low, high) = (f64::from(scores[below]), f64::from(scores[(below + 1).min(last)]));
        low + (high - low) * (rest as f64 / bins as f64)
    };
    let edges: Vec<f64> = if cells.is_empty() { Vec::new() } else { (1..bins).map(quantile).collect() };
    collect(cells, bins, |score| edges.partition_point(|&edge| edge < score))
}

fn collect(cells: &[(f32, u8)], bins: usize, place: impl Fn(f64) -> usize) -> Vec<Bin> {
    let mut found = vec![Bin::default(); bins];
    for &(score, y) in cells {
        let bin = &mut found[place(score.into())];
        bin.rows += 1;
        bin.rate += f64::from(y);
        bin.score += f64::from(score);
    }
    for bin in found.iter_mut().filter(|bin| bin.rows > 0) {
        bin.rate /= bin.rows as f64;
        bin.score /= bin.rows as f64;
    }
    found
}

/// Expected calibration error: Σ rows in bin / rows × |mean score - share of positives| (Naeini et al., AAAI 2015). 0 without rows.
#[must_use]
pub fn expected_error(bins: &[Bin]) -> f64 {
    let rows: u64 = bins.iter().map(|bin| bin.rows).sum();
    let error: f64 = bins.iter().map(|bin| bin.rows as f64 * (bin.score - bin.rate).abs()).sum();
    if rows == 0 { 0.0 } else { error / rows as f64 }
}
