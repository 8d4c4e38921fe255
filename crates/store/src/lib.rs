//! Every SQL statement of the program: one [`Writer`], read-only [`Reader`]s. SQLite, WAL, STRICT; the schema is in `migrations/`.
//! Decides nothing; keeps what happened.

mod columns;
mod disk;
mod error;
mod lock;
pub mod mlflow;
mod open;
mod patience;
mod reader;
mod rows;
#[cfg(test)]
mod tests;
mod writer;

pub use columns::{COLUMNS, METRICS, MetricColumn, MetricValues};
pub use error::StoreError;
pub use lock::holder;
pub use patience::Patience;
pub use reader::{
    At, AttemptRow, Cell, ColumnOf, CurvePoint, EpochPoint, EpochRow, Evaluated, EvaluationId, FailedRun, FrozenCounts, Kind,
    LabelMeans, LabelPoint, LabelRow, ListedRun, Pace, Points, PolicyPoint, RELATIONS, RankingPoint, Reader, Relation, Removal,
    ResultRow, Rows, RunMark, RunRow, RunningAttempt, Runs, SearchDecision, Status, StoredRun, SweepConfig, SweepRow, SweepRun,
    Tasks, Version, mixed_formats,
};
pub use rows::RowCounts;
pub use writer::{
    FailedForData, Ingested, Missing, NOT_COUNTED, OpenAttempt, Refused, SearchRun, Slice, Submission, Verdict, Writer,
    unusable_journal,
};

/// Row id of a sweep.
pub type SweepId = i64;

/// Unix seconds.
#[must_use]
pub fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Name of this machine.
#[must_use]
pub fn host() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    kernel.or_else(|| std::env::var("HOSTNAME").ok()).map_or_else(|| "an unnamed host".to_owned(), |name| name.trim().to_owned())
}

/// `2026-11-24 04:20:29 UTC`; Howard Hinnant's civil-from-days.
#[must_use]
pub fn time_in_words(unix: f64) -> String {
    let seconds = unix.max(0.0) as u64;
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// A value as JSON text. With string keys and finite floats this cannot fail; if it did, the column's check would refuse the row.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// `snake_case` word of a unit variant, as in the protocol.
fn word(value: &impl serde::Serialize) -> String {
    json(value).trim_matches('"').to_owned()
}
