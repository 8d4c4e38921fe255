//! How many rows a run has, and what they take of the file.

use serde::Serialize;

/// Rows of the large tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct RowCounts {
    pub runs: i64,
    pub epochs: i64,
    pub rankings: i64,
    pub label_rankings: i64,
    pub evaluations: i64,
    pub label_counts: i64,
    pub held_out: i64,
    pub label_held_out: i64,
}

impl RowCounts {
    /// What a run has after so many epochs, under `policies` policies of which `fitted` are fitted on val. With test rows the best and the
    /// last epoch are evaluated on them, too.
    #[must_use]
    pub fn of_run(epochs: usize, labels: usize, policies: usize, fitted: usize, test: bool) -> Self {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let ends = epochs.min(2);
        let ranked = epochs + if test { ends } else { 0 };
        Self {
            runs: 1,
            epochs: number(epochs),
            rankings: number(ranked),
            label_rankings: number(ranked * labels),
            evaluations: number(ranked * policies),
            label_counts: number(ranked * policies * labels),
            held_out: number(ends * fitted),
            label_held_out: number(ends * fitted * labels),
        }
    }

    /// What they take of the database, with their indexes: the pages of databases that this program has written, by their rows (80 runs
    /// of 60 epochs and 4 labels; 20 of 20 epochs), rounded up.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let Self { runs, epochs, rankings, label_rankings, evaluations, label_counts, held_out, label_held_out } = *self;
        let parts = [
            (runs, 2200),
            (epochs, 95),
            (rankings, 48),
            (label_rankings, 52),
            (evaluations, 68),
            (label_counts, 34),
            (held_out, 68),
            (label_held_out, 40),
        ];
        parts.iter().map(|&(rows, bytes)| u64::try_from(rows).unwrap_or(0).saturating_mul(bytes)).sum()
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> i64 {
        let Self { runs, epochs, rankings, label_rankings, evaluations, label_counts, held_out, label_held_out } = *self;
        runs + epochs + rankings + label_rankings + evaluations + label_counts + held_out + label_held_out
    }
}

impl std::ops::AddAssign for RowCounts {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.epochs += other.epochs;
        self.rankings += other.rankings;
        self.label_rankings += other.label_rankings;
        self.evaluations += other.evaluations;
        self.label_counts += other.label_counts;
        self.held_out += other.held_out;
        self.label_held_out += other.label_held_out;
    }
}
