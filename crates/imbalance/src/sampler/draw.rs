//! One draw of an epoch: a row, as it is or changed.

use crate::LabelMatrix;
use crate::rng::Rng;

/// One draw of an epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Draw {
    /// The row whose input is shown.
    pub row: u32,
    /// Targets in the place of the row's own labels, one per label: 0, 1 or [`crate::UNKNOWN`].
    pub labels: Option<Box<[u8]>>,
    /// The row's input is mixed with another row's.
    pub blend: Option<Blend>,
}

/// A point between two rows (SMOTE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blend {
    pub partner: u32,
    /// Seed of the places between the two.
    pub key: u64,
}

impl Draw {
    /// The row as it is.
    #[must_use]
    pub fn plain(row: u32) -> Self {
        Self { row, labels: None, blend: None }
    }

    /// The targets of the draw, one per label.
    #[must_use]
    pub fn targets<'a>(&'a self, train: &'a LabelMatrix) -> &'a [u8] {
        self.labels.as_deref().unwrap_or_else(|| train.row(self.row as usize))
    }
}

impl Blend {
    /// The stream of the shares: number `n` of a row moves by the `n`-th [`Rng::uniform`].
    #[must_use]
    pub fn shares(&self) -> Rng {
        Rng::new(self.key, "blend", &[])
    }

    /// Turns `row`, the input of the draw's row, into the blend: each number moves towards that of `partner` by a uniform share
    /// of its own, as in MLSMOTE (one share for the whole row would keep to the line between the two).
    pub fn mix(&self, row: &mut [f32], partner: &[f32]) {
        let mut rng = self.shares();
        for (x, &other) in row.iter_mut().zip(partner) {
            *x += rng.uniform() as f32 * (other - *x);
        }
    }
}
