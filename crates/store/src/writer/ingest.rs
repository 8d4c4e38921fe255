//! Records of workers into rows: a journal's records and the position up to which it is read, in one transaction.

use std::collections::HashMap;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use super::attempt::settle;
use super::batch::Batch;
use super::forget::replace;
use super::refuse::{refuse, unusable_journal};
use super::{Known, KnownJournal, KnownRun, Writer, transaction};
use crate::{StoreError, now, word};
use plan::Fingerprint;
use protocol::{Event, Outcome, Record, check, plain};

/// The result of storing the records of one call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ingested {
    /// The outcome of each `End`, in their order: that of the store, which may differ from the worker's.
    pub verdicts: Vec<Verdict>,
    /// The record that cannot be used, if there is one: nothing after it is stored, now or later.
    pub refused: Option<Refused>,
}

/// How an attempt has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Index of its `End` among the records.
    pub at: usize,
    pub outcome: Outcome,
    pub why: String,
}

/// A record that cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// Its index among the records.
    pub at: usize,
    pub why: String,
}

impl Writer {
    /// Stores records of one journal and the position up to which it is read, in one transaction; repeated records change nothing.
    /// `End` with `Ok` makes the run `succeeded` if its rows are complete; if they are not, the attempt counts as crashed.
    /// The first success wins: rows of later attempts at a succeeded run, and of attempts older than the rows there, are not taken.
    ///
    /// A record that cannot be true, or that SQLite refuses, ends the journal, and its attempt has crashed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn ingest(&mut self, journal: &str, offset: u64, next: u64, records: &[Record]) -> Result<Ingested, StoreError> {
        match self.ingest_all(journal, offset, next, records).await {
            Err(error) if error.is_about_a_value() => {}
            other => return other,
        }
        // One of them does not fit the tables, which the checks should have found: store them one by one, up to that one.
        let mut all = Ingested::default();
        for (at, record) in records.iter().enumerate() {
            // How far the journal is read is known at the end only; until then its records are told apart by their numbers.
            let last = at + 1 == records.len();
            let one = std::slice::from_ref(record);
            let ingested = match self.ingest_all(journal, if last { offset } else { 0 }, record.s + 1, one).await {
                Ok(ingested) => ingested,
                Err(error) if error.is_about_a_value() => {
                    let what = format!("record {} ({}) cannot be stored: {error}", record.s, record.event.kind());
                    let why = unusable_journal(journal, &what);
                    let guilty = record.event.attempt().map(|(run, attempt)| (run.clone(), attempt));
                    self.refuse(journal, guilty.as_ref(), &why).await?;
                    Ingested { refused: Some(Refused { at: 0, why }), ..Ingested::default() }
                }
                Err(error) => return Err(error),
            };
            all.verdicts.extend(ingested.verdicts.into_iter().map(|verdict| Verdict { at, ..verdict }));
            if let Some(refused) = ingested.refused {
                all.refused = Some(Refused { at, ..refused });
                break;
            }
        }
        Ok(all)
    }

    async fn ingest_all(&mut self, journal: &str, offset: u64, next: u64, records: &[Record]) -> Result<Ingested, StoreError> {
        let (ingested, read) = transaction!(self, |tx, known| {
            let KnownJournal { id, next: seen } = Self::journal(known, tx, journal).await?;
            let mut ingest = Ingest { tx, known, journal: id, batch: Batch::default(), attempts: HashMap::new() };
            ingest.batch.read(id, offset as i64, next as i64);
            let mut ingested = Ingested::default();
            for (at, record) in records.iter().enumerate().filter(|(_, record)| record.s as i64 >= seen) {
                match ingest.record(record).await? {
                    Taken::Silently => {}
                    Taken::Ended(outcome, why) => ingested.verdicts.push(Verdict { at, outcome, why }),
                    Taken::Refused(what) => {
                        let what = format!("record {} ({}): {what}", record.s, record.event.kind());
                        ingested.refused = Some(Refused { at, why: unusable_journal(journal, &what) });
                        break;
                    }
                }
            }
            ingest.flush().await?;
            if let Some(Refused { at, why }) = &ingested.refused {
                let guilty = match records[*at].event.attempt() {
                    Some((run, attempt)) => Self::run(known, tx, run).await?.map(|run| (run.id, attempt)),
                    None => None,
                };
                refuse(tx, id, guilty, why).await?;
            }
            (ingested, KnownJournal { id, next: seen.max(next as i64) })
        })?;
        self.known.journals.insert(journal.to_owned(), read);
        Ok(ingested)
    }

    async fn journal(known: &Known, tx: &mut SqliteConnection, name: &str) -> Result<KnownJournal, sqlx::Error> {
        if let Some(&found) = known.journals.get(name) {
            return Ok(found);
        }
        let row = sqlx::query(
            "INSERT INTO journals (name) VALUES (?) ON CONFLICT (name) DO UPDATE SET name = name RETURNING id, next_seq",
        )
        .bind(name)
        .fetch_one(tx)
        .await?;
        Ok(KnownJournal { id: row.try_get(0)?, next: row.try_get(1)? })
    }

    /// How far `journal` has been read: (byte offset, next sequence number), and whether nothing more is to be read of it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn journal_position(&mut self, journal: &str) -> Result<(u64, u64, bool), StoreError> {
        let row: Option<(i64, i64, bool)> =
            sqlx::query_as("SELECT position, next_seq, fault IS NOT NULL FROM journals WHERE name = ?")
                .bind(journal)
                .fetch_optional(&mut self.connection)
                .await
                .map_err(|source| StoreError::from_sqlite(&self.path, source))?;
        Ok(row.map_or((0, 0, false), |(offset, next, refused)| (offset as u64, next as u64, refused)))
    }

    /// Stores evaluations that the controller computed from kept scores (`Rank` and `Eval`; other events are ignored).
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
            batch.flush(known, tx).await?;
        })
    }
}

/// An attempt whose records arrive.
struct Arriving {
    /// Whether its rows are taken.
    taken: bool,
    /// Epoch, Drawn, Rank and Eval records that arrived and are not yet counted in the database.
    records: i64,
}

/// The result of storing a record.
enum Taken {
    /// It is stored, or has nothing to store.
    Silently,
    /// An attempt's end, with the outcome as the store has it.
    Ended(Outcome, String),
    /// It cannot be used, and why.
    Refused(String),
}

/// Most characters that are kept of a text by a worker.
const LONGEST: usize = 4000;

/// Records how an attempt ended: run, attempt, time, outcome, reason.
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
    async fn record(&mut self, record: &Record) -> Result<Taken, sqlx::Error> {
        // For display only, and never in the future, whatever the worker's clock says.
        let time = if record.t.is_finite() { record.t.clamp(0.0, now()) } else { now() };
        let Some((run, attempt)) = record.event.attempt() else {
            if let Event::Open { worker, pid, host, device, threads, version, .. } = &record.event {
                sqlx::query(
                    "UPDATE journals SET worker = ?2, pid = ?3, host = ?4, device = ?5, threads = ?6, version = ?7 WHERE id = ?1",
                )
                .bind(self.journal)
                .bind(plain(worker, LONGEST))
                .bind(pid)
                .bind(plain(host, LONGEST))
                .bind(plain(device, LONGEST))
                .bind(u32::try_from(*threads).unwrap_or(u32::MAX))
                .bind(plain(version, LONGEST))
                .execute(&mut *self.tx)
                .await?;
            }
            return Ok(Taken::Silently);
        };
        let Some(run) = self.run(run).await? else { return Ok(Taken::Silently) };
        if let Err(why) = check::fits(&record.event, &run.expected()) {
            return Ok(Taken::Refused(why));
        }
        match &record.event {
            Event::Begin { from, .. } => self.batch.begin(run.id, attempt, self.journal, *from, time),
            Event::End { st, n, why, .. } => {
                self.flush().await?;
                return self.end(&run, attempt, *st, *n, &plain(why, LONGEST), time).await;
            }
            event => {
                let policy = match event {
                    Event::Eval { policy, .. } => {
                        let known = Writer::known_policy(self.known, self.tx, policy).await?;
                        let Some(ordered) = known.filter(|policy| run.policies.contains(policy)) else {
                            let name: String = policy.to_string().chars().take(80).collect();
                            return Ok(Taken::Refused(format!("policy {name:?} was not ordered")));
                        };
                        ordered
                    }
                    _ => 0,
                };
                let arriving = self.arriving(&run, attempt).await?;
                arriving.records += 1;
                if arriving.taken && !self.batch.add(&run, event, policy, time) {
                    return Ok(Taken::Refused("it does not have one value per label".to_owned()));
                }
            }
        }
        Ok(Taken::Silently)
    }

    async fn run(&mut self, run: &Fingerprint) -> Result<Option<KnownRun>, sqlx::Error> {
        let found = Writer::run(self.known, self.tx, run).await?;
        if found.is_none() {
            tracing::warn!(run = run.short(), "a record of a run that this database does not have; passed over");
        }
        Ok(found)
    }

    /// Looks up once per call whether the attempt's rows are taken: not after a success, not those of an older attempt than the owner, and
    /// not those of an attempt that has crashed or that another journal tells of.
    async fn arriving(&mut self, run: &KnownRun, attempt: u32) -> Result<&mut Arriving, sqlx::Error> {
        let key = (run.id, attempt);
        if !self.attempts.contains_key(&key) {
            let owner = sqlx::query(
                "UPDATE runs SET owner = ?2 WHERE id = ?1 AND state <> 'succeeded' AND owner <= ?2 AND NOT EXISTS
                 (SELECT 1 FROM attempts WHERE run = ?1 AND attempt = ?2 AND (outcome = 'crashed' OR journal <> ?3))",
            )
            .bind(run.id)
            .bind(attempt)
            .bind(self.journal)
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
        self.batch.flush(self.known, self.tx).await
    }

    async fn end(
        &mut self,
        run: &KnownRun,
        attempt: u32,
        outcome: Outcome,
        n: u64,
        why: &str,
        time: f64,
    ) -> Result<Taken, sqlx::Error> {
        let standing = self.standing(run, attempt, n).await?;
        if standing.over {
            return Ok(Taken::Silently);
        }
        let (outcome, why) = match (outcome, standing.missing) {
            (Outcome::Ok, Some(what)) => (Outcome::Crashed, format!("the worker reported success, but {what}")),
            (outcome, _) => (outcome, why.to_owned()),
        };
        // The first success wins. Rows that only an earlier attempt left (another best epoch's test rows) go. Numbered
        // parameters mean the same in each statement, if it uses the first few without a gap.
        let statements = if outcome == Outcome::Ok {
            concat!(
                ended!(),
                "UPDATE runs SET state = 'succeeded', winner = ?2, finished_at = ?3,
                     epochs = (SELECT count(*) FROM epochs WHERE run = ?1 AND attempt = ?2) WHERE id = ?1 AND state <> 'succeeded';
                 DELETE FROM evaluations WHERE id IN (SELECT e.id FROM runs r JOIN evaluations e ON e.run = r.id
                 WHERE r.id = ?1 AND r.winner = ?2 AND (e.attempt <> ?2 OR e.split = 'test' AND e.epoch NOT IN (r.best_epoch, r.epochs - 1)));
                 DELETE FROM rankings WHERE run = ?1 AND EXISTS (SELECT 1 FROM runs r WHERE r.id = ?1 AND r.winner = ?2 AND
                 (rankings.attempt <> ?2 OR rankings.split = 'test' AND rankings.epoch NOT IN (r.best_epoch, r.epochs - 1)));
                 DELETE FROM epochs WHERE run = ?1 AND attempt <> (SELECT winner FROM runs WHERE id = ?1);
                 DELETE FROM draws WHERE run = ?1 AND attempt <> (SELECT winner FROM runs WHERE id = ?1)"
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
            if run.replaces {
                replace(self.known, self.tx, run.id).await?;
            }
            return Ok(Taken::Ended(outcome, why));
        }
        // The controller may have given its verdict already; then the state of the run is settled.
        if !standing.settled {
            settle(self.tx, run.id, matches!(outcome, Outcome::Stopped | Outcome::Io) || outcome.may_retry(), time).await?;
        }
        Ok(Taken::Ended(outcome, why))
    }

    /// The state of an attempt that claims to have ended.
    async fn standing(&mut self, run: &KnownRun, attempt: u32, n: u64) -> Result<Standing, sqlx::Error> {
        // An attempt records all its epochs: rows of other attempts do not count. One that may stop early has those up to its last.
        let row = sqlx::query(
            "SELECT r.state = 'succeeded', n.epochs, a.records,
                    (SELECT count(*) FROM epochs WHERE run = r.id AND attempt = ?2 AND epoch < n.epochs),
                    (SELECT count(*) FROM rankings WHERE run = r.id AND attempt = ?2 AND split = 'val' AND epoch < n.epochs),
                    (SELECT count(DISTINCT epoch) FROM evaluations WHERE run = r.id AND attempt = ?2 AND split = 'val' AND epoch < n.epochs),
                    (SELECT count(*) FROM rankings WHERE run = r.id AND attempt = ?2 AND split = 'test'
                     AND epoch IN (r.best_epoch, n.epochs - 1)),
                    (SELECT count(DISTINCT epoch) FROM evaluations WHERE run = r.id AND attempt = ?2 AND split = 'test'
                     AND epoch IN (r.best_epoch, n.epochs - 1)),
                    CASE WHEN r.best_epoch = n.epochs - 1 THEN 1 ELSE 2 END, a.outcome, coalesce(a.journal <> ?3, 0), r.best_epoch
             FROM runs r
             JOIN (SELECT CASE WHEN ?5 THEN coalesce(max(epoch) + 1, ?4) ELSE ?4 END AS epochs
                   FROM epochs WHERE run = ?1 AND attempt = ?2 AND epoch < ?4) n
             LEFT JOIN attempts a ON a.run = r.id AND a.attempt = ?2 WHERE r.id = ?1",
        )
        .bind(run.id)
        .bind(attempt)
        .bind(self.journal)
        .bind(run.epochs as i64)
        .bind(run.stop.is_some())
        .fetch_one(&mut *self.tx)
        .await?;
        let number = |column: usize| row.try_get::<Option<i64>, _>(column).map(Option::unwrap_or_default);
        let (epochs, tested) = (number(1)?, number(8)?);
        // Its own rows were not taken where another attempt has won; it has nothing to complete.
        let won = row.try_get::<bool, _>(0)?;
        let told = i64::try_from(n).unwrap_or(i64::MAX);
        let wanted = [
            ("records", number(2)?, told, true),
            ("epochs", number(3)?, epochs, !won),
            ("val rankings", number(4)?, epochs, !won),
            ("epochs with val evaluations", number(5)?, epochs, !won),
            ("test rankings", number(6)?, tested, !won),
            ("epochs with test evaluations", number(7)?, tested, !won),
        ];
        let short = wanted.iter().find(|(_, found, wanted, counts)| *counts && found != wanted);
        let missing = short.map(|(what, found, wanted, _)| format!("{found} of {wanted} {what} arrived"));
        let best = usize::try_from(number(11)?).unwrap_or(0);
        let done = usize::try_from(epochs).unwrap_or(0);
        let early = done < run.epochs && !won && !run.stop.is_some_and(|stop| stop.over(done, best));
        let missing = missing
            .or_else(|| early.then(|| format!("it ended after {done} of {} epochs, before its patience was over", run.epochs)));
        let outcome: Option<String> = row.try_get(9)?;
        let verdicts = [Outcome::Killed, Outcome::Hung, Outcome::Timeout, Outcome::Lost].map(|verdict| word(&verdict));
        let over = outcome.as_ref().is_some_and(|outcome| !verdicts.contains(outcome)) || row.try_get(10)?;
        Ok(Standing { missing, settled: outcome.is_some(), over })
    }
}

/// The state of an attempt.
struct Standing {
    /// What is missing of a run that claims to be done: all its records, an epoch row, ranking and evaluation of each epoch on val, and
    /// of the best and the last one on test. (A policy that only a later sweep asks for is not part of the run.)
    missing: Option<String>,
    /// The controller has given its verdict.
    settled: bool,
    /// Its worker has ended it before, or its records could not be used, or another journal tells of it: what comes now changes nothing.
    over: bool,
}
