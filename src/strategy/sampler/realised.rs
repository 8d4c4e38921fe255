//! What a sampler really showed the network.

use crate::data::LabelMatrix;

/// What an epoch's draws came to.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Realised {
    /// Share of the draws that carry each label.
    pub prevalence: Vec<f64>,
    /// Share of the draws that had been drawn before in the epoch.
    pub duplicates: f64,
    /// Share of the train rows that were not drawn.
    pub never_drawn: f64,
}

/// What `indices` into the rows of `train` come to; zeros where there are no draws.
#[must_use]
pub fn realised(indices: &[u32], train: &LabelMatrix) -> Realised {
    let mut positives = vec![0u64; train.names.len()];
    let mut seen = vec![false; train.rows()];
    for &index in indices {
        seen[index as usize] = true;
        for (count, &value) in positives.iter_mut().zip(train.row(index as usize)) {
            *count += u64::from(value);
        }
    }
    let distinct = seen.iter().filter(|seen| **seen).count();
    let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    Realised {
        prevalence: positives.into_iter().map(|count| share(count as usize, indices.len())).collect(),
        duplicates: share(indices.len() - distinct, indices.len()),
        never_drawn: share(seen.len() - distinct, seen.len()),
    }
}
