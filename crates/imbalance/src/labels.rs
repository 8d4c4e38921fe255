//! Labels and their counts.

use std::sync::Arc;

use crate::StrategyError;

/// 0/1 labels, row-major `[rows, labels]`.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelMatrix {
    pub names: Arc<[String]>,
    /// Row-major, 0 or 1.
    pub values: Vec<u8>,
}

impl LabelMatrix {
    /// Rows in the matrix.
    #[must_use]
    pub fn rows(&self) -> usize {
        if self.names.is_empty() { 0 } else { self.values.len() / self.names.len() }
    }

    /// The labels of one row.
    #[must_use]
    pub fn row(&self, row: usize) -> &[u8] {
        &self.values[row * self.names.len()..(row + 1) * self.names.len()]
    }

    /// The rows named, in that order.
    #[must_use]
    pub fn select(&self, rows: &[u32]) -> Self {
        let values = rows.iter().flat_map(|&row| self.row(row as usize)).copied().collect();
        Self { names: Arc::clone(&self.names), values }
    }

    /// Positives of each label.
    #[must_use]
    pub fn counts(&self) -> LabelCounts {
        let mut positives = vec![0; self.names.len()];
        for row in self.values.chunks_exact(self.names.len().max(1)) {
            for (count, &value) in positives.iter_mut().zip(row) {
                *count += usize::from(value);
            }
        }
        LabelCounts { rows: self.rows(), positives }
    }
}

/// Positives of each label among `rows` rows: all that a weight formula reads (train split only).
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LabelCounts {
    pub rows: usize,
    /// Positives per label.
    pub positives: Vec<usize>,
}

impl LabelCounts {
    /// The prevalence of every label; `None` without rows.
    #[must_use]
    pub fn prevalences(&self) -> Option<Vec<f64>> {
        (self.rows > 0).then(|| self.positives.iter().map(|&positives| positives as f64 / self.rows as f64).collect())
    }

    /// `formula(positives, negatives)` of every label; `what` names the strategy in the error.
    ///
    /// # Errors
    /// A label without positives or without negatives: there is nothing to weigh against.
    pub(crate) fn each_label(&self, what: &str, formula: impl Fn(f64, f64) -> f64) -> Result<Vec<f64>, StrategyError> {
        let weigh = |(label, &positives): (usize, &usize)| {
            let negatives = self.rows.saturating_sub(positives);
            let missing = match (positives, negatives) {
                (0, _) => "positive",
                (_, 0) => "negative",
                _ => return Ok(formula(positives as f64, negatives as f64)),
            };
            let rows = self.rows;
            Err(StrategyError::OneClass { what: what.to_owned(), label, missing, rows })
        };
        self.positives.iter().enumerate().map(weigh).collect()
    }
}
