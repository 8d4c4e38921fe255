//! What workers wrote, into rows: a journal's records and how far it is read, in one transaction.

use std::collections::HashMap;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use super::again::replace;
use super::attempt::settle;
use super::batch::Batch;
use super::{Known, KnownRun, Writer, transaction};
use crate::{StoreError, now, word};
use plan::Fingerprint;
use protocol::{Event, Outcome, Record};

impl Writer {
    /// Stores records of one journal and how far it is read, in one transaction; records seen before change nothing.
    /// `End` with `Ok` makes the run `succeeded` if its rows are complete; if they are not, the attempt counts as crashed.
    /// The first success wins: rows of later attempts at a succeeded run, and of attempts older than the rows there, are not taken.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn ingest(&mut self, journal: &str, offset: u64, next: u64, records: &[Record]) -> Result<(), StoreError> {
        transaction!(self, |tx, known| {
            let row = sqlx::query(
                "INSERT INTO journals (name) VALUES (?) ON CONFLICT (name) DO UPDATE SET name = name RETURNING id, next_seq",
            )
            .bind(journal)
            .fetch_one(&mut *tx)
            .await?;
            let (id, seen): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            let mut ingest = Ingest { tx, known, journal: id, batch: Batch::default(), attempts: HashMap::new() };
            for record in records.iter().filter(|record| record.s as i64 >= seen) {
                ingest.record(record).await?;
            }
            ingest.flush().await?;
            sqlx::query("UPDATE journals SET position = max(position, ?2), next_seq = max(next_seq, ?3) WHERE id = ?1")
                .bind(id)
                .bind(offset as i64)
                .bind(next as i64)
                .execute(&mut *tx)
                .await?;
        })
    }

    /// How far `journal` has been read: (byte offset, next sequence number).
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn journal_position(&mut self, journal: &str) -> Result<(u64, u64), StoreError> {
        let row: Option<(i64, i64)> = sqlx::query_as("SELECT position, next_seq FROM journals WHERE name = ?")
            .bind(journal)
            .fetch_optional(&mut self.connection)
            .await
            .map_err(|source| StoreError::from_sqlite(&self.path, source))?;
        Ok(row.map_or((0, 0), |(offset, next)| (offset as u64, next as u64)))
    }

    /// Stores evaluations that the controller computed from kept scores (`Rank` and `Eval`; anything else is passed over).
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn record(&mut self, events: &[Event]) -> Result<(), StoreError> {
        transaction!(self, |tx, known| {
            let mut batch = Batch::default();
            for event in events {
                let (Event::Rank { r, .. } | Event::Eval { r, .. }) = event else { continue };
                let Some(run) = Self::run(known, tx, r).await? else { continue };
                let policy = match event {
                    Event::Eval { policy, .. } => Self::policy(known, tx, policy).await?,
                    _ => 0,
                };
                batch.add(&run, event, policy, now());
            }
            batch.flush(tx).await?;
        })
    }
}

/// An attempt of which rows arrive.
struct Arriving {
    /// Whether its rows are taken.
    taken: bool,
    /// Epoch, Drawn, Rank and Eval records that arrived and are not yet counted in the database.
    records: i64,
}

/// Writes down how an attempt ended: run, attempt, time, outcome, why.
macro_rules! ended {
    () => {
        "UPDATE attempts SET finished_at = ?3, outcome = ?4, why = ?5 WHERE run = ?1 AND attempt = ?2 AND outcome IS NOT 'ok';"
    };
}

/// One call of `ingest`.
struct Ingest<'a> {
    tx: &'a mut SqliteConnection,
    known: &'a mut Known,
    journal: i64,
    batch: Batch,
    attempts: HashMap<(i64, u32), Arriving>,
}

impl Ingest<'_> {
    async fn record(&mut self, record: &Record) -> Result<(), sqlx::Error> {
        match &record.event {
            Event::Open { worker, pid, host, device, threads, version, .. } => {
                sqlx::query(
                    "UPDATE journals SET worker = ?2, pid = ?3, host = ?4, device = ?5, threads = ?6, version = ?7 WHERE id = ?1",
                )
                .bind(self.journal)
                .bind(worker)
                .bind(pid)
                .bind(host)
                .bind(device)
                .bind(*threads as i64)
                .bind(version)
                .execute(&mut *self.tx)
                .await?;
            }
            Event::Hb { .. } | Event::Close { .. } => {}
            Event::Begin { r, a, from } => {
                let Some(run) = self.run(r).await? else { return Ok(()) };
                self.batch.begin(run.id, *a, self.journal, *from, record.t);
            }
            Event::Epoch { r, a, .. } | Event::Drawn { r, a, .. } | Event::Rank { r, a, .. } | Event::Eval { r, a, .. } => {
                let Some(run) = self.run(r).await? else { return Ok(()) };
                let taken = {
                    let arriving = self.arriving(&run, *a).await?;
                    arriving.records += 1;
                    arriving.taken
                };
                if taken {
                    let policy = match &record.event {
                        Event::Eval { policy, .. } => Writer::policy(self.known, self.tx, policy).await?,
                        _ => 0,
                    };
                    if !self.batch.add(&run, &record.event, policy, record.t) {
                        tracing::warn!(run = r.short(), seq = record.s, "a record without one value a label; passed over");
                    }
                }
            }
            Event::End { r, a, st, n, why } => {
                let Some(run) = self.run(r).await? else { return Ok(()) };
                self.flush().await?;
                self.end(&run, *a, *st, *n, why, record.t).await?;
            }
        }
        Ok(())
    }

    async fn run(&mut self, run: &Fingerprint) -> Result<Option<KnownRun>, sqlx::Error> {
        let found = Writer::run(self.known, self.tx, run).await?;
        if found.is_none() {
            tracing::warn!(run = run.short(), "a record of a run that this database does not have; passed over");
        }
        Ok(found)
    }

    /// Looks up once a call whether the attempt's rows are taken: not after a success, and not those of an older attempt than the owner.
    async fn arriving(&mut self, run: &KnownRun, attempt: u32) -> Result<&mut Arriving, sqlx::Error> {
        let key = (run.id, attempt);
        if !self.attempts.contains_key(&key) {
            let owner = sqlx::query("UPDATE runs SET owner = ?2 WHERE id = ?1 AND state <> 'succeeded' AND owner <= ?2")
                .bind(run.id)
                .bind(attempt)
                .execute(&mut *self.tx)
                .await?;
            self.attempts.insert(key, Arriving { taken: owner.rows_affected() == 1, records: 0 });
        }
        Ok(self.attempts.entry(key).or_insert(Arriving { taken: false, records: 0 }))
    }

    async fn flush(&mut self) -> Result<(), sqlx::Error> {
        for ((run, attempt), arriving) in &mut self.attempts {
            let records = std::mem::take(&mut arriving.records);
            if records > 0 {
                self.batch.count(*run, *attempt, records);
            }
        }
        self.batch.flush(self.tx).await
    }

    async fn end(
        &mut self,
        run: &KnownRun,
        attempt: u32,
        outcome: Outcome,
        n: u64,
        why: &str,
        time: f64,
    ) -> Result<(), sqlx::Error> {
        let (missing, settled) = self.standing(run.id, attempt, n).await?;
        let (outcome, why) = match (outcome, missing) {
            (Outcome::Ok, Some(what)) => (Outcome::Crashed, format!("the worker reported success, but {what}")),
            (outcome, _) => (outcome, why.to_owned()),
        };
        // The first success wins. Rows that only an earlier attempt left (another best epoch's test rows) go. Numbered
        // parameters mean the same in each statement, if it uses the first few without a gap.
        let statements = if outcome == Outcome::Ok {
            concat!(
                ended!(),
                "UPDATE runs SET state = 'succeeded', winner = ?2, finished_at = ?3 WHERE id = ?1 AND state <> 'succeeded';
                 DELETE FROM evaluations WHERE id IN (SELECT e.id FROM runs r JOIN evaluations e ON e.run = r.id
                 WHERE r.id = ?1 AND r.winner = ?2 AND e.split = 'test' AND e.epoch NOT IN (r.best_epoch, r.epochs - 1));
                 DELETE FROM rankings WHERE run = ?1 AND split = 'test' AND EXISTS (SELECT 1 FROM runs r
                 WHERE r.id = ?1 AND r.winner = ?2 AND rankings.epoch NOT IN (r.best_epoch, r.epochs - 1))"
            )
        } else {
            ended!()
        };
        sqlx::query(statements)
            .bind(run.id)
            .bind(attempt)
            .bind(time)
            .bind(word(&outcome))
            .bind(&why)
            .execute(&mut *self.tx)
            .await?;
        if outcome == Outcome::Ok {
            return replace(self.known, self.tx, run.id).await;
        }
        // The controller may have given its own verdict already; then the state of the run is settled.
        if settled {
            return Ok(());
        }
        settle(self.tx, run.id, matches!(outcome, Outcome::Stopped | Outcome::Io) || outcome.may_retry(), time).await
    }

    /// Whether the attempt's end is recorded already, and what is missing of a run that claims to be done: all its records, an epoch row, ranking and evaluation of each epoch on val,
    /// and of the best and the last one on test. (A policy that only a later sweep asks for is no part of the run.)
    async fn standing(&mut self, run: i64, attempt: u32, n: u64) -> Result<(Option<String>, bool), sqlx::Error> {
        let row = sqlx::query(
            "SELECT r.state = 'succeeded', r.epochs,
                    (SELECT records FROM attempts WHERE run = r.id AND attempt = ?2),
                    (SELECT count(*) FROM epochs WHERE run = r.id AND epoch < r.epochs),
                    (SELECT count(*) FROM rankings WHERE run = r.id AND split = 'val' AND epoch < r.epochs),
                    (SELECT count(DISTINCT epoch) FROM evaluations WHERE run = r.id AND split = 'val' AND epoch < r.epochs),
                    (SELECT count(*) FROM rankings WHERE run = r.id AND split = 'test' AND epoch IN (r.best_epoch, r.epochs - 1)),
                    (SELECT count(DISTINCT epoch) FROM evaluations WHERE run = r.id AND split = 'test' AND epoch IN (r.best_epoch, r.epochs - 1)),
                    CASE WHEN r.best_epoch = r.epochs - 1 THEN 1 ELSE 2 END,
                    EXISTS (SELECT 1 FROM attempts WHERE run = r.id AND attempt = ?2 AND outcome IS NOT NULL)
             FROM runs r WHERE r.id = ?1",
        )
        .bind(run)
        .bind(attempt)
        .fetch_one(&mut *self.tx)
        .await?;
        let number = |column: usize| row.try_get::<Option<i64>, _>(column).map(Option::unwrap_or_default);
        let (epochs, tested) = (number(1)?, number(8)?);
        // Its own rows were not taken where another attempt has won; it has nothing to complete.
        let won = row.try_get::<bool, _>(0)?;
        let wanted = [
            ("records", number(2)?, n as i64, true),
            ("epochs", number(3)?, epochs, !won),
            ("val rankings", number(4)?, epochs, !won),
            ("epochs with val evaluations", number(5)?, epochs, !won),
            ("test rankings", number(6)?, tested, !won),
            ("epochs with test evaluations", number(7)?, tested, !won),
        ];
        let short = wanted.iter().find(|(_, found, wanted, counts)| *counts && found != wanted);
        Ok((short.map(|(what, found, wanted, _)| format!("{found} of {wanted} {what} arrived")), row.try_get(9)?))
    }
}
