//! Labels and their counts.

use std::borrow::Cow;
use std::sync::Arc;

use crate::StrategyError;

/// A cell of a [`LabelMatrix`] of which nobody has said whether the row carries the label. Losses mask it
/// ([`crate::loss::IGNORED`]), and whatever is counted leaves it out (docs/strategies.md#unknown-labels).
pub const UNKNOWN: u8 = crate::loss::IGNORED;

/// Labels, row-major `[rows, labels]`.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelMatrix {
    pub names: Arc<[String]>,
    /// Row-major: 0, 1 or [`UNKNOWN`].
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

    /// Whether any cell is [`UNKNOWN`].
    #[must_use]
    pub fn has_unknown(&self) -> bool {
        self.values.contains(&UNKNOWN)
    }

    /// Rows with a known cell: those that means over rows count.
    #[must_use]
    pub fn known_rows(&self) -> usize {
        if !self.has_unknown() {
            return self.rows();
        }
        self.values.chunks_exact(self.names.len()).filter(|row| row.iter().any(|&value| value != UNKNOWN)).count()
    }

    /// The known positives: 1 where the row is known to carry the label, 0 elsewhere.
    #[must_use]
    pub fn known_positives(&self) -> Cow<'_, Self> {
        if !self.has_unknown() {
            return Cow::Borrowed(self);
        }
        let values = self.values.iter().map(|&value| u8::from(value == 1)).collect();
        Cow::Owned(Self { names: Arc::clone(&self.names), values })
    }

    /// Rows per label that do not know it; empty where every cell is known.
    #[must_use]
    pub fn unknown(&self) -> Vec<usize> {
        if self.has_unknown() { self.cells(UNKNOWN) } else { Vec::new() }
    }

    /// Positives and unknown cells of each label.
    #[must_use]
    pub fn counts(&self) -> LabelCounts {
        LabelCounts { rows: self.rows(), positives: self.cells(1), unknown: self.unknown() }
    }

    /// How often each label has this value.
    fn cells(&self, wanted: u8) -> Vec<usize> {
        let mut counts = vec![0; self.names.len()];
        for row in self.values.chunks_exact(self.names.len().max(1)) {
            for (count, &value) in counts.iter_mut().zip(row) {
                *count += usize::from(value == wanted);
            }
        }
        counts
    }
}

/// Positives of each label among `rows` rows: all that a weight formula reads (train split only). Rows that do not know a label are
/// neither its positives nor its negatives.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LabelCounts {
    pub rows: usize,
    /// Positives per label.
    pub positives: Vec<usize>,
    /// Rows per label that do not know it; empty where every cell is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<usize>,
}

impl LabelCounts {
    /// Counts of rows that know every label.
    #[must_use]
    pub fn new(rows: usize, positives: Vec<usize>) -> Self {
        Self { rows, positives, unknown: Vec::new() }
    }

    /// The same rows, of which so many do not know each label.
    #[must_use]
    pub fn with_unknown(self, unknown: Vec<usize>) -> Self {
        let unknown = if unknown.iter().all(|&rows| rows == 0) { Vec::new() } else { unknown };
        Self { unknown, ..self }
    }

    /// Rows that know the label: its positives and negatives.
    #[must_use]
    pub fn known(&self, label: usize) -> usize {
        self.rows.saturating_sub(self.unknown.get(label).copied().unwrap_or(0))
    }

    /// Rows that are known not to carry the label.
    #[must_use]
    pub fn negatives(&self, label: usize) -> usize {
        self.known(label).saturating_sub(self.positives[label])
    }

    /// Whether the label has known positives and known negatives.
    #[must_use]
    pub fn has_both(&self, label: usize) -> bool {
        self.positives[label] > 0 && self.negatives(label) > 0
    }

    /// The share of positives among the rows that know the label; 0 where none does.
    #[must_use]
    pub fn prevalence(&self, label: usize) -> f64 {
        self.positives[label] as f64 / self.known(label).max(1) as f64
    }

    /// The prevalence of every label; `None` without rows.
    #[must_use]
    pub fn prevalences(&self) -> Option<Vec<f64>> {
        (self.rows > 0).then(|| (0..self.positives.len()).map(|label| self.prevalence(label)).collect())
    }

    /// The labels at these positions alone.
    #[must_use]
    pub fn of_labels(&self, labels: &[usize]) -> Self {
        let of = |counts: &[usize]| labels.iter().map(|&label| counts[label]).collect();
        let unknown = if self.unknown.is_empty() { Vec::new() } else { of(&self.unknown) };
        Self::new(self.rows, of(&self.positives)).with_unknown(unknown)
    }

    /// `formula(positives, negatives)` of every label; `what` names the strategy in the error.
    ///
    /// # Errors
    /// A label without positives or without negatives: there is nothing to weigh against.
    pub(crate) fn each_label(&self, what: &str, formula: impl Fn(f64, f64) -> f64) -> Result<Vec<f64>, StrategyError> {
        let weigh = |(label, &positives): (usize, &usize)| {
            let negatives = self.negatives(label);
            let missing = match (positives, negatives) {
                (0, _) => "positive",
                (_, 0) => "negative",
                _ => return Ok(formula(positives as f64, negatives as f64)),
            };
            let rows = self.known(label);
            Err(StrategyError::OneClass { what: what.to_owned(), label, missing, rows })
        };
        self.positives.iter().enumerate().map(weigh).collect()
    }
}
