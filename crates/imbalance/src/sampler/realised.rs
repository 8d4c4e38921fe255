//! What a sampler really showed the network.

use super::Draw;
use crate::{LabelMatrix, UNKNOWN};

/// Statistics of an epoch's draws.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Realised {
    /// Rows that the epoch shows.
    pub draws: usize,
    /// Share of the draws that carry each label, of those that know it.
    pub prevalence: Vec<f64>,
    /// Mean over the labels of the absolute difference between that and the prevalence in train.
    pub shift: f64,
    /// Share of the draws that had been drawn before in the epoch, as the same input (synthetic inputs are new).
    pub duplicates: f64,
    /// Share of the train rows that were not drawn.
    pub never_drawn: f64,
    /// Share of the draws with a synthetic input or changed labels.
    pub made_up: f64,
}

/// Statistics of `draws` of rows of `train`; zeros where there are no draws.
#[must_use]
pub fn realised(draws: &[Draw], train: &LabelMatrix) -> Realised {
    let mut positives = vec![0u64; train.names.len()];
    let mut known = vec![0u64; train.names.len()];
    let mut seen = vec![false; train.rows()];
    let (mut again, mut made_up) = (0, 0);
    for draw in draws {
        if draw.blend.is_none() {
            again += usize::from(std::mem::replace(&mut seen[draw.row as usize], true));
        }
        made_up += usize::from(draw.blend.is_some() || draw.labels.is_some());
        for ((positives, known), &value) in positives.iter_mut().zip(&mut known).zip(draw.targets(train)) {
            *positives += u64::from(value == 1);
            *known += u64::from(value != UNKNOWN);
        }
    }
    let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let prevalence: Vec<f64> = positives.iter().zip(known).map(|(&count, known)| share(count as usize, known as usize)).collect();
    let counts = train.counts();
    let shift = prevalence.iter().enumerate().map(|(label, now)| (now - counts.prevalence(label)).abs()).sum::<f64>();
    Realised {
        draws: draws.len(),
        shift: shift / prevalence.len().max(1) as f64,
        prevalence,
        duplicates: share(again, draws.len()),
        never_drawn: share(seen.iter().filter(|seen| !**seen).count(), seen.len()),
        made_up: share(made_up, draws.len()),
    }
}
