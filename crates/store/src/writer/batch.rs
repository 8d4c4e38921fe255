//! Rows waiting for their multi-row inserts: a call of `ingest` makes a few calls of SQLite, however many records it brings.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};

use super::{Known, KnownRun};
use crate::{json, word};
use imbalance::evaluation::HeldOut;
use imbalance::metric::{Counts, Ranking};
use imbalance::sampler::Realised;
use protocol::{Event, SplitName};

/// Most values SQLite binds in one statement (SQLITE_MAX_VARIABLE_NUMBER).
const VARIABLES: usize = 32_766;

/// The rows that the records of one call add.
#[derive(Default)]
pub(super) struct Batch {
    /// Run, attempt, journal, the epochs of the checkpoint that it continues, time.
    begun: Vec<(i64, u32, i64, Option<i64>, f64)>,
    epochs: Vec<NewEpoch>,
    draws: Vec<DrawnRow>,
    rankings: Vec<RankingRow>,
    label_rankings: Vec<LabelRankingRow>,
    /// In the order of arrival; a repeated one keeps its first place and has its last numbers.
    evaluations: Vec<EvaluationRow>,
    placed: HashMap<(i64, i64, SplitName, i64), usize>,
    held_out: Vec<HeldOutRow>,
    /// Runs whose best epoch may have changed.
    ranked: BTreeSet<i64>,
    /// Run, attempt and its number of records; each attempt once.
    told: Vec<(i64, u32, i64)>,
    /// A journal, and the byte and the number of the record up to which it is read now.
    read: Option<(i64, i64, i64)>,
}

struct NewEpoch {
    run: i64,
    epoch: i64,
    attempt: u32,
    numbers: [f64; 5],
    time: f64,
    steps: Option<i64>,
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
    labels: Arc<[i64]>,
    thresholds: Vec<f32>,
    counts: Vec<Counts>,
}

/// What is known of an evaluation on val beside its own counts.
struct HeldOutRow {
    run: i64,
    epoch: i64,
    policy: i64,
    attempt: u32,
    held_out: HeldOut,
    labels: Arc<[i64]>,
}

/// Mean over the labels for which the metric is defined.
fn mean(values: &[Option<f64>]) -> Option<f64> {
    let defined: Vec<f64> = values.iter().copied().flatten().collect();
    (!defined.is_empty()).then(|| defined.iter().sum::<f64>() / defined.len() as f64)
}

impl Batch {
    /// Adds an `Epoch`, `Drawn`, `Rank`, `Eval` or `HeldOut`; `false` where its vectors do not have one value per label. `policy` is the row
    /// id of the policy of the latter two. A repeated record replaces the earlier one.
    pub fn add(&mut self, run: &KnownRun, event: &Event, policy: i64, time: f64) -> bool {
        match event {
            Event::Epoch { a, epoch, train_loss, val_loss, learning_rate, seconds, images_per_s, steps, .. } => {
                let steps = steps.and_then(|steps| i64::try_from(steps).ok());
                let numbers = [*train_loss, *val_loss, *learning_rate, *seconds, *images_per_s];
                self.epochs.push(NewEpoch { run: run.id, epoch: *epoch as i64, attempt: *a, numbers, time, steps });
                true
            }
            Event::Drawn { a, drawn, .. } => {
                let (drawn, labels) = (drawn.clone(), Arc::clone(&run.data.labels));
                let whole = drawn.prevalence.len() == labels.len();
                if whole {
                    self.draws.push(DrawnRow { run: run.id, attempt: *a, drawn, labels });
                }
                whole
            }
            Event::Rank { a, epoch, split, ranking, .. } => self.add_ranking(run, *a, *epoch, *split, ranking),
            Event::Eval { a, epoch, split, thresholds, counts, samples_f1, subset_accuracy, .. } => {
                let labels = Arc::clone(&run.data.labels);
                if thresholds.len() != labels.len() || counts.len() != labels.len() {
                    return false;
                }
                let row = EvaluationRow {
                    run: run.id,
                    epoch: *epoch as i64,
                    split: *split,
                    policy,
                    attempt: *a,
                    samples_f1: *samples_f1,
                    subset_accuracy: *subset_accuracy,
                    labels,
                    thresholds: thresholds.clone(),
                    counts: counts.clone(),
                };
                let at = *self.placed.entry((row.run, row.epoch, row.split, policy)).or_insert(self.evaluations.len());
                match self.evaluations.get_mut(at) {
                    Some(before) => *before = row,
                    None => self.evaluations.push(row),
                }
                true
            }
            Event::HeldOut { a, epoch, held_out, .. } => {
                let (held_out, labels) = (held_out.clone(), Arc::clone(&run.data.labels));
                let whole = held_out.counts.len() == labels.len();
                if whole {
                    self.held_out.push(HeldOutRow { run: run.id, epoch: *epoch as i64, policy, attempt: *a, held_out, labels });
                }
                whole
            }
            _ => false,
        }
    }

    fn add_ranking(&mut self, run: &KnownRun, attempt: u32, epoch: usize, split: SplitName, ranking: &Ranking) -> bool {
        let labels = run.data.labels.len();
        if [ranking.ap.len(), ranking.auc.len(), ranking.mean_score.len()] != [labels; 3] {
            return false;
        }
        let epoch = epoch as i64;
        let (macro_ap, macro_auc) = (mean(&ranking.ap), mean(&ranking.auc));
        self.rankings.push(RankingRow { run: run.id, epoch, split, attempt, macro_ap, macro_auc });
        self.label_rankings.extend(run.data.labels.iter().enumerate().map(|(i, &label)| LabelRankingRow {
            run: run.id,
            epoch,
            split,
            label,
            ap: ranking.ap[i],
            auc: ranking.auc[i],
            mean_score: Some(ranking.mean_score[i]),
        }));
        if split == SplitName::Val {
            self.ranked.insert(run.id);
        }
        true
    }

    /// The attempt has begun: the controller has recorded that already, and the record of the journal replaces its values.
    pub fn begin(&mut self, run: i64, attempt: u32, journal: i64, from: Option<usize>, time: f64) {
        self.begun.push((run, attempt, journal, from.map(|epoch| epoch as i64), time));
    }

    /// Adds to the number of records that an attempt has sent so far; once for each attempt before a flush.
    pub fn count(&mut self, run: i64, attempt: u32, records: i64) {
        self.told.push((run, attempt, records));
    }

    /// The journal is read up to the byte `offset` and up to the record before number `next`.
    pub fn read(&mut self, journal: i64, offset: i64, next: i64) {
        self.read = Some((journal, offset, next));
    }

    /// Writes everything; an existing row is replaced, with all rows that depend on it.
    pub async fn flush(&mut self, known: &mut Known, tx: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let batch = std::mem::take(self);
        let mut statements = Statements { query: QueryBuilder::new(""), tx };
        if !batch.begun.is_empty() {
            let query = statements.begin();
            query.push("INSERT INTO attempts (run, attempt, device, journal, from_epoch, started_at) SELECT n.value ->> 0, n.value ->> 1, ");
            query
                .push("coalesce(j.device, ''), j.id, n.value ->> 3, n.value ->> 4 FROM json_each(")
                .push_bind(json(&batch.begun));
            query.push(") n CROSS JOIN journals j ON j.id = n.value ->> 2 WHERE true");
            query.push(" ON CONFLICT (run, attempt) DO UPDATE SET journal = excluded.journal, from_epoch = excluded.from_epoch");
            query.push(" WHERE coalesce(attempts.journal, excluded.journal) = excluded.journal");
            statements.ended().await?;
        }
        let into = "INSERT OR REPLACE INTO epochs (run, epoch, attempt, train_loss, val_loss, learning_rate, seconds, images_per_s, finished_at, steps) ";
        let bind = |row: &NewEpoch, to: &mut Values<'_>| {
            to.push_bind(row.run).push_bind(row.epoch).push_bind(row.attempt);
            for number in row.numbers {
                to.push_bind(number);
            }
            to.push_bind(row.time).push_bind(row.steps);
        };
        statements.insert(into, 10, &batch.epochs, bind).await?;
        statements.insert_draws(&batch.draws).await?;
        let into = "INSERT OR REPLACE INTO rankings (run, epoch, split, attempt, macro_ap, macro_auc) ";
        let bind = |row: &RankingRow, to: &mut Values<'_>| {
            to.push_bind(row.run).push_bind(row.epoch).push_bind(word(&row.split));
            to.push_bind(row.attempt).push_bind(row.macro_ap).push_bind(row.macro_auc);
        };
        statements.insert(into, 6, &batch.rankings, bind).await?;
        let into = "INSERT OR REPLACE INTO label_rankings (run, epoch, split, label, ap, auc, mean_score) ";
        let bind = |row: &LabelRankingRow, to: &mut Values<'_>| {
            to.push_bind(row.run).push_bind(row.epoch).push_bind(word(&row.split)).push_bind(row.label);
            to.push_bind(row.ap).push_bind(row.auc).push_bind(row.mean_score);
        };
        statements.insert(into, 7, &batch.label_rankings, bind).await?;
        statements.insert_evaluations(known, &batch.evaluations).await?;
        statements.insert_held_out(&batch.held_out).await?;
        if !batch.ranked.is_empty() {
            let query = statements.begin();
            query.push("UPDATE runs SET best_epoch = (SELECT epoch FROM rankings WHERE run = runs.id AND split = 'val'");
            query.push(" ORDER BY macro_ap DESC, epoch LIMIT 1) WHERE id IN (SELECT value FROM json_each(");
            query.push_bind(json(&batch.ranked)).push("))");
            statements.ended().await?;
        }
        if !batch.told.is_empty() {
            let query = statements.begin();
            query.push("UPDATE attempts SET records = records + n.told FROM (SELECT value ->> 0 AS run, value ->> 1 AS attempt,");
            query.push(" value ->> 2 AS told FROM json_each(").push_bind(json(&batch.told));
            query.push(")) n WHERE attempts.run = n.run AND attempts.attempt = n.attempt");
            statements.ended().await?;
        }
        if let Some((journal, offset, next)) = batch.read {
            let query = statements.begin();
            query.push("UPDATE journals SET position = max(position, ").push_bind(offset).push("), next_seq = max(next_seq, ");
            query.push_bind(next).push(") WHERE id = ").push_bind(journal);
        }
        statements.run().await
    }
}

/// Most bytes of SQL that are sent at once, and that SQLite keeps prepared: those of a few runs.
const LONG: usize = 16 << 10;

type Values<'a> = sqlx::query_builder::Separated<'a, Sqlite, &'static str>;

/// Statements that are sent to SQLite's thread several at once: a short statement costs mostly the round trip.
struct Statements<'a> {
    query: QueryBuilder<Sqlite>,
    tx: &'a mut SqliteConnection,
}

impl Statements<'_> {
    /// Where the next statement is to be written.
    fn begin(&mut self) -> &mut QueryBuilder<Sqlite> {
        if !self.query.sql().as_str().is_empty() {
            self.query.push("; ");
        }
        &mut self.query
    }

    async fn ended(&mut self) -> Result<(), sqlx::Error> {
        if self.query.sql().as_str().len() > LONG { self.run().await } else { Ok(()) }
    }

    async fn run(&mut self) -> Result<(), sqlx::Error> {
        let mut query = std::mem::replace(&mut self.query, QueryBuilder::new(""));
        let length = query.sql().as_str().len();
        if length > 0 {
            query.build().persistent(length <= LONG).execute(&mut *self.tx).await?;
        }
        Ok(())
    }

    /// Rows of `columns` values each.
    async fn insert<T>(
        &mut self,
        into: &'static str,
        columns: usize,
        rows: &[T],
        mut bind: impl FnMut(&T, &mut Values<'_>),
    ) -> Result<(), sqlx::Error> {
        for chunk in rows.chunks(VARIABLES / columns) {
            self.begin().push(into).push_values(chunk, |mut to, row| bind(row, &mut to));
            self.ended().await?;
        }
        Ok(())
    }

    async fn insert_draws(&mut self, draws: &[DrawnRow]) -> Result<(), sqlx::Error> {
        let into = "INSERT OR REPLACE INTO draws (run, attempt, draws, duplicates, never_drawn, made_up, shift) ";
        let bind = |row: &DrawnRow, to: &mut Values<'_>| {
            let Realised { draws, duplicates, never_drawn, made_up, shift, .. } = row.drawn;
            to.push_bind(row.run).push_bind(row.attempt).push_bind(draws as i64).push_bind(duplicates);
            to.push_bind(never_drawn).push_bind(made_up).push_bind(shift);
        };
        self.insert(into, 7, draws, bind).await?;
        let of = |row: &DrawnRow| -> Vec<(i64, i64, f64)> {
            row.labels.iter().zip(&row.drawn.prevalence).map(|(&label, &prevalence)| (row.run, label, prevalence)).collect()
        };
        let labels: Vec<_> = draws.iter().flat_map(of).collect();
        let into = "INSERT OR REPLACE INTO label_draws (run, label, prevalence) ";
        let bind = |(run, label, prevalence): &(i64, i64, f64), to: &mut Values<'_>| {
            to.push_bind(*run).push_bind(*label).push_bind(*prevalence);
        };
        self.insert(into, 3, &labels, bind).await
    }

    /// Evaluations get their row ids here: there is one writer, so the next free ones are known.
    async fn insert_evaluations(&mut self, known: &mut Known, evaluations: &[EvaluationRow]) -> Result<(), sqlx::Error> {
        if evaluations.is_empty() {
            return Ok(());
        }
        let first = match known.next_evaluation {
            Some(next) => next,
            None => sqlx::query_scalar("SELECT coalesce(max(id), 0) + 1 FROM evaluations").fetch_one(&mut *self.tx).await?,
        };
        known.next_evaluation = Some(first + evaluations.len() as i64);
        let numbered: Vec<(i64, &EvaluationRow)> = (first..).zip(evaluations).collect();
        let into = "INSERT OR REPLACE INTO evaluations (id, run, epoch, split, policy, attempt, samples_f1, subset_accuracy) ";
        let bind = |(id, row): &(i64, &EvaluationRow), to: &mut Values<'_>| {
            to.push_bind(*id).push_bind(row.run).push_bind(row.epoch).push_bind(word(&row.split)).push_bind(row.policy);
            to.push_bind(row.attempt).push_bind(row.samples_f1).push_bind(row.subset_accuracy);
        };
        self.insert(into, 8, &numbered, bind).await?;
        let into = "INSERT INTO label_counts (evaluation, label, threshold, tp, fp, fn, tn) ";
        let of = |(id, row): &(i64, &EvaluationRow)| -> Vec<(i64, i64, f32, Counts)> {
            let counts = row.labels.iter().zip(&row.thresholds).zip(&row.counts);
            counts.map(|((&label, &threshold), &counts)| (*id, label, threshold, counts)).collect()
        };
        let counts: Vec<_> = numbered.iter().flat_map(of).collect();
        let bind = |(id, label, threshold, counts): &(i64, i64, f32, Counts), to: &mut Values<'_>| {
            to.push_bind(*id).push_bind(*label).push_bind(f64::from(*threshold));
            for count in [counts.tp, counts.fp, counts.fn_, counts.tn] {
                to.push_bind(count as i64);
            }
        };
        self.insert(into, 7, &counts, bind).await
    }

    /// They belong to evaluations of the same attempt that are there already; without one they say nothing.
    async fn insert_held_out(&mut self, rows: &[HeldOutRow]) -> Result<(), sqlx::Error> {
        if rows.is_empty() {
            return Ok(());
        }
        // Most rows bring one evaluation each and many labels: the evaluations' row ids first, then the labels as bound values.
        let facts: Vec<_> = rows
            .iter()
            .map(|row| {
                let HeldOut { samples_f1, subset_accuracy, .. } = row.held_out;
                (row.run, row.epoch, row.policy, row.attempt, samples_f1, subset_accuracy)
            })
            .collect();
        self.run().await?;
        let ids: Vec<(i64, i64)> = sqlx::query_as(
            "INSERT OR REPLACE INTO held_out (evaluation, samples_f1, subset_accuracy)
             SELECT e.id, n.value ->> 4, n.value ->> 5 FROM json_each(?1) n
             CROSS JOIN evaluations e ON e.run = n.value ->> 0 AND e.epoch = n.value ->> 1 AND e.split = 'val' AND e.policy = n.value ->> 2
             WHERE e.attempt = n.value ->> 3;
             SELECT n.key, e.id FROM json_each(?1) n
             CROSS JOIN evaluations e ON e.run = n.value ->> 0 AND e.epoch = n.value ->> 1 AND e.split = 'val' AND e.policy = n.value ->> 2
             WHERE e.attempt = n.value ->> 3",
        )
        .bind(json(&facts))
        .fetch_all(&mut *self.tx)
        .await?;
        // Of a repeated record the last one counts.
        let places: HashMap<i64, i64> = ids.iter().map(|&(place, evaluation)| (evaluation, place)).collect();
        let of = |(&evaluation, &place): (&i64, &i64)| {
            let row = usize::try_from(place).ok().and_then(|place| rows.get(place));
            let cells = row.into_iter().flat_map(|row| row.labels.iter().zip(&row.held_out.counts));
            cells.map(|(&label, &counts)| (evaluation, label, counts)).collect::<Vec<_>>()
        };
        let cells: Vec<_> = places.iter().flat_map(of).collect();
        let bind = |(evaluation, label, counts): &(i64, i64, Counts), to: &mut Values<'_>| {
            to.push_bind(*evaluation).push_bind(*label);
            for count in [counts.tp, counts.fp, counts.fn_, counts.tn] {
                to.push_bind(count as i64);
            }
        };
        self.insert("INSERT OR REPLACE INTO label_held_out (evaluation, label, tp, fp, fn, tn) ", 6, &cells, bind).await
    }
}
