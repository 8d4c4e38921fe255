//! Rows waiting for their multi-row inserts: a call of `ingest` costs a handful of statements, however many records it brings.

use std::sync::Arc;

use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};

use super::KnownRun;
use crate::metric::{Counts, Ranking};
use crate::protocol::{Event, SplitName};
use crate::store::word;
use crate::strategy::sampler::Realised;

/// Most values SQLite binds in one statement (SQLITE_MAX_VARIABLE_NUMBER).
const VARIABLES: usize = 32_766;

/// What the records of one call add.
#[derive(Default)]
pub(super) struct Batch {
    epochs: Vec<EpochRow>,
    draws: Vec<DrawnRow>,
    rankings: Vec<RankingRow>,
    label_rankings: Vec<LabelRankingRow>,
    evaluations: Vec<EvaluationRow>,
    counts: Vec<CountRow>,
    /// Runs whose best epoch may have changed.
    ranked: Vec<i64>,
}

struct EpochRow {
    run: i64,
    epoch: i64,
    attempt: u32,
    numbers: [f64; 5],
    time: f64,
}

struct DrawnRow {
    run: i64,
    attempt: u32,
    drawn: Realised,
    labels: Arc<[i64]>,
}

struct RankingRow {
    run: i64,
    epoch: i64,
    split: SplitName,
    attempt: u32,
    macro_ap: Option<f64>,
    macro_auc: Option<f64>,
}

struct LabelRankingRow {
    run: i64,
    epoch: i64,
    split: SplitName,
    label: i64,
    ap: Option<f64>,
    auc: Option<f64>,
    mean_score: Option<f64>,
}

struct EvaluationRow {
    run: i64,
    epoch: i64,
    split: SplitName,
    policy: i64,
    attempt: u32,
    samples_f1: f64,
    subset_accuracy: f64,
}

struct CountRow {
    /// Index into `evaluations`.
    evaluation: usize,
    label: i64,
    threshold: f32,
    counts: Counts,
}

/// Mean over the labels for which the metric is defined.
fn mean(values: &[Option<f64>]) -> Option<f64> {
    let defined: Vec<f64> = values.iter().copied().flatten().collect();
    (!defined.is_empty()).then(|| defined.iter().sum::<f64>() / defined.len() as f64)
}

impl Batch {
    /// Adds an `Epoch`, `Drawn`, `Rank` or `Eval`; `false` where its vectors do not have one value a label. `policy` is the row id of an `Eval`'s policy.
    pub fn add(&mut self, run: &KnownRun, event: &Event, policy: i64, time: f64) -> bool {
        match event {
            Event::Epoch { a, epoch, train_loss, val_loss, learning_rate, seconds, images_per_s, .. } => {
                let numbers = [*train_loss, *val_loss, *learning_rate, *seconds, *images_per_s];
                self.epochs.push(EpochRow { run: run.id, epoch: *epoch as i64, attempt: *a, numbers, time });
                true
            }
            Event::Drawn { a, drawn, .. } => {
                let (drawn, labels) = (drawn.clone(), Arc::clone(&run.labels));
                let whole = drawn.prevalence.len() == labels.len();
                if whole {
                    self.draws.push(DrawnRow { run: run.id, attempt: *a, drawn, labels });
                }
                whole
            }
            Event::Rank { a, epoch, split, ranking, .. } => self.add_ranking(run, *a, *epoch, *split, ranking),
            Event::Eval { a, epoch, split, thresholds, counts, samples_f1, subset_accuracy, .. } => {
                if thresholds.len() != run.labels.len() || counts.len() != run.labels.len() {
                    return false;
                }
                let evaluation = self.evaluations.len();
                self.evaluations.push(EvaluationRow {
                    run: run.id,
                    epoch: *epoch as i64,
                    split: *split,
                    policy,
                    attempt: *a,
                    samples_f1: *samples_f1,
                    subset_accuracy: *subset_accuracy,
                });
                let rows = run.labels.iter().zip(thresholds).zip(counts);
                self.counts.extend(rows.map(|((&label, &threshold), &counts)| CountRow { evaluation, label, threshold, counts }));
                true
            }
            _ => false,
        }
    }

    fn add_ranking(&mut self, run: &KnownRun, attempt: u32, epoch: usize, split: SplitName, ranking: &Ranking) -> bool {
        let labels = run.labels.len();
        if [ranking.ap.len(), ranking.auc.len(), ranking.mean_score.len()] != [labels; 3] {
            return false;
        }
        let epoch = epoch as i64;
        let (macro_ap, macro_auc) = (mean(&ranking.ap), mean(&ranking.auc));
        self.rankings.push(RankingRow { run: run.id, epoch, split, attempt, macro_ap, macro_auc });
        self.label_rankings.extend(run.labels.iter().enumerate().map(|(i, &label)| LabelRankingRow {
            run: run.id,
            epoch,
            split,
            label,
            ap: ranking.ap[i],
            auc: ranking.auc[i],
            mean_score: Some(ranking.mean_score[i]),
        }));
        if split == SplitName::Val && !self.ranked.contains(&run.id) {
            self.ranked.push(run.id);
        }
        true
    }

    /// Writes everything; a row that is there already is replaced, with all that hangs on it.
    pub async fn flush(&mut self, tx: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let batch = std::mem::take(self);
        for chunk in batch.epochs.chunks(VARIABLES / 9) {
            insert(tx, "INSERT OR REPLACE INTO epochs (run, epoch, attempt, train_loss, val_loss, learning_rate, seconds, images_per_s, finished_at) ", chunk, |row, to| {
                to.push_bind(row.run).push_bind(row.epoch).push_bind(row.attempt);
                for number in row.numbers {
                    to.push_bind(number);
                }
                to.push_bind(row.time);
            })
            .await?;
        }
        flush_draws(tx, &batch.draws).await?;
        for chunk in batch.rankings.chunks(VARIABLES / 6) {
            insert(tx, "INSERT OR REPLACE INTO rankings (run, epoch, split, attempt, macro_ap, macro_auc) ", chunk, |row, to| {
                to.push_bind(row.run).push_bind(row.epoch).push_bind(word(&row.split));
                to.push_bind(row.attempt).push_bind(row.macro_ap).push_bind(row.macro_auc);
            })
            .await?;
        }
        for chunk in batch.label_rankings.chunks(VARIABLES / 7) {
            insert(
                tx,
                "INSERT OR REPLACE INTO label_rankings (run, epoch, split, label, ap, auc, mean_score) ",
                chunk,
                |row, to| {
                    to.push_bind(row.run).push_bind(row.epoch).push_bind(word(&row.split)).push_bind(row.label);
                    to.push_bind(row.ap).push_bind(row.auc).push_bind(row.mean_score);
                },
            )
            .await?;
        }
        flush_evaluations(tx, &batch.evaluations, &batch.counts).await?;
        for run in batch.ranked {
            sqlx::query(
                "UPDATE runs SET best_epoch =
                     (SELECT epoch FROM rankings WHERE run = ?1 AND split = 'val' ORDER BY macro_ap DESC, epoch LIMIT 1)
                 WHERE id = ?1",
            )
            .bind(run)
            .execute(&mut *tx)
            .await?;
        }
        Ok(())
    }
}

async fn flush_draws(tx: &mut SqliteConnection, draws: &[DrawnRow]) -> Result<(), sqlx::Error> {
    for chunk in draws.chunks(VARIABLES / 7) {
        let into = "INSERT OR REPLACE INTO draws (run, attempt, draws, duplicates, never_drawn, made_up, shift) ";
        insert(tx, into, chunk, |row, to| {
            let Realised { draws, duplicates, never_drawn, made_up, shift, .. } = row.drawn;
            to.push_bind(row.run).push_bind(row.attempt).push_bind(draws as i64).push_bind(duplicates);
            to.push_bind(never_drawn).push_bind(made_up).push_bind(shift);
        })
        .await?;
    }
    let of = |row: &DrawnRow| -> Vec<(i64, i64, f64)> {
        row.labels.iter().zip(&row.drawn.prevalence).map(|(&label, &prevalence)| (row.run, label, prevalence)).collect()
    };
    let labels: Vec<_> = draws.iter().flat_map(of).collect();
    for chunk in labels.chunks(VARIABLES / 3) {
        insert(tx, "INSERT OR REPLACE INTO label_draws (run, label, prevalence) ", chunk, |(run, label, prevalence), to| {
            to.push_bind(*run).push_bind(*label).push_bind(*prevalence);
        })
        .await?;
    }
    Ok(())
}

/// Evaluations get their row ids here: there is one writer, so the next free ones are known.
async fn flush_evaluations(
    tx: &mut SqliteConnection,
    evaluations: &[EvaluationRow],
    counts: &[CountRow],
) -> Result<(), sqlx::Error> {
    if evaluations.is_empty() {
        return Ok(());
    }
    let first: i64 = sqlx::query_scalar("SELECT coalesce(max(id), 0) + 1 FROM evaluations").fetch_one(&mut *tx).await?;
    let numbered: Vec<(i64, &EvaluationRow)> = (first..).zip(evaluations).collect();
    for chunk in numbered.chunks(VARIABLES / 8) {
        insert(
            tx,
            "INSERT OR REPLACE INTO evaluations (id, run, epoch, split, policy, attempt, samples_f1, subset_accuracy) ",
            chunk,
            |(id, row), to| {
                to.push_bind(*id).push_bind(row.run).push_bind(row.epoch).push_bind(word(&row.split)).push_bind(row.policy);
                to.push_bind(row.attempt).push_bind(row.samples_f1).push_bind(row.subset_accuracy);
            },
        )
        .await?;
    }
    for chunk in counts.chunks(VARIABLES / 7) {
        insert(tx, "INSERT INTO label_counts (evaluation, label, threshold, tp, fp, fn, tn) ", chunk, |row, to| {
            to.push_bind(first + row.evaluation as i64).push_bind(row.label).push_bind(f64::from(row.threshold));
            for count in [row.counts.tp, row.counts.fp, row.counts.fn_, row.counts.tn] {
                to.push_bind(count as i64);
            }
        })
        .await?;
    }
    Ok(())
}

async fn insert<T>(
    tx: &mut SqliteConnection,
    into: &'static str,
    rows: &[T],
    mut bind: impl FnMut(&T, &mut sqlx::query_builder::Separated<'_, Sqlite, &'static str>),
) -> Result<(), sqlx::Error> {
    let mut query = QueryBuilder::<Sqlite>::new(into);
    query.push_values(rows, |mut to, row| bind(row, &mut to));
    query.build().execute(tx).await?;
    Ok(())
}
