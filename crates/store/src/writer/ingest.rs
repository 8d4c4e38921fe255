//! Records of workers into rows: a journal's records and the position up to which it is read, in one transaction.

use std::collections::{HashMap, HashSet};

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, Row as _};

use super::attempt::settle;
use super::batch::Batch;
use super::forget::replace;
use super::refuse::{refuse, unusable_journal};
use super::{Known, KnownJournal, KnownRun, Writer, transaction};
use crate::{StoreError, json, now, word};
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
            let KnownJournal { id, next: seen, shared } = Self::journal(known, tx, journal).await?;
            let numbered;
            let records = if shared {
                numbered = number(known, tx, id, records).await?;
                &numbered
            } else {
                records
            };
            let mut ingest = Ingest::new(tx, known, id, shared);
            ingest.batch.read(id, offset as i64, next as i64);
            let mut refused = None;
            for (at, record) in records.iter().enumerate().filter(|(_, record)| record.s as i64 >= seen) {
                if let Err(what) = ingest.record(at, record).await? {
                    let what = format!("record {} ({}): {what}", record.s, record.event.kind());
                    refused = Some(Refused { at, why: unusable_journal(journal, &what) });
                    break;
                }
            }
            ingest.settle().await?;
            let ingested = Ingested { verdicts: ingest.verdicts, refused };
            if let Some(Refused { at, why }) = &ingested.refused {
                let guilty = match records[*at].event.attempt() {
                    Some((run, attempt)) => Self::run(known, tx, run).await?.map(|run| (run.id, attempt)),
                    None => None,
                };
                refuse(tx, id, guilty, why).await?;
            }
            (ingested, KnownJournal { id, next: seen.max(next as i64), shared })
        })?;
        self.known.journals.insert(journal.to_owned(), read);
        Ok(ingested)
    }

    async fn journal(known: &Known, tx: &mut SqliteConnection, name: &str) -> Result<KnownJournal, sqlx::Error> {
        if let Some(&found) = known.journals.get(name) {
            return Ok(found);
        }
        let row = sqlx::query(
            "INSERT INTO journals (name) VALUES (?) ON CONFLICT (name) DO UPDATE SET name = name
             RETURNING id, next_seq, submission IS NOT NULL",
        )
        .bind(name)
        .fetch_one(tx)
        .await?;
        Ok(KnownJournal { id: row.try_get(0)?, next: row.try_get(1)?, shared: row.try_get(2)? })
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

    /// Stores evaluations that the controller computed from kept scores (`Rank`, `Eval` and `HeldOut`; other events are ignored).
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn record(&mut self, events: &[Event]) -> Result<(), StoreError> {
        transaction!(self, |tx, known| {
            let mut batch = Batch::default();
            for event in events {
                let (Event::Rank { r, .. } | Event::Eval { r, .. } | Event::HeldOut { r, .. }) = event else { continue };
                let Some(run) = Self::run(known, tx, r).await? else { continue };
                let policy = match event {
                    Event::Eval { policy, .. } | Event::HeldOut { policy, .. } => Self::policy(known, tx, policy).await?,
                    _ => 0,
                };
                batch.add(&run, event, policy, now());
            }
            batch.flush(known, tx).await?;
        })
    }
}

/// Most characters that are kept of a text by a worker.
const LONGEST: usize = 4000;

/// Records that are stored together: of each run those of one attempt, up to its end, so that none depends on how another is stored.
#[derive(Default)]
struct Together<'r> {
    /// The attempt of each run, and whether its end is among them.
    runs: HashMap<i64, (u32, bool)>,
    rows: Vec<Row<'r>>,
    ends: Vec<End>,
}

/// An Epoch, Drawn, Rank, Eval or HeldOut record.
struct Row<'r> {
    run: KnownRun,
    attempt: u32,
    event: &'r Event,
    /// Row id of an Eval's policy.
    policy: i64,
    time: f64,
}

/// An End record.
struct End {
    /// Its index among the records of the call.
    at: usize,
    run: KnownRun,
    attempt: u32,
    outcome: Outcome,
    /// The number of records that the attempt has written.
    told: i64,
    why: String,
    time: f64,
}

/// One call of `ingest`.
struct Ingest<'a, 'r> {
    tx: &'a mut SqliteConnection,
    known: &'a mut Known,
    journal: i64,
    /// Another copy of its worker may have taken its runs over.
    shared: bool,
    batch: Batch,
    together: Together<'r>,
    verdicts: Vec<Verdict>,
}

impl<'a, 'r> Ingest<'a, 'r> {
    fn new(tx: &'a mut SqliteConnection, known: &'a mut Known, journal: i64, shared: bool) -> Self {
        let (batch, together) = (Batch::default(), Together::default());
        Self { tx, known, journal, shared, batch, together, verdicts: Vec::new() }
    }

    /// Takes the record with the index `at`, to be stored by [`Self::settle`]; or says why it cannot be used.
    async fn record(&mut self, at: usize, record: &'r Record) -> Result<Result<(), String>, sqlx::Error> {
        // For display only, and never in the future, whatever the worker's clock says.
        let time = if record.t.is_finite() { record.t.clamp(0.0, now()) } else { now() };
        let Some((name, attempt)) = record.event.attempt() else {
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
            return Ok(Ok(()));
        };
        let Some(run) = Writer::run(self.known, self.tx, name).await? else {
            tracing::warn!(run = name.short(), "a record of a run that this database does not have; passed over");
            return Ok(Ok(()));
        };
        if let Err(why) = check::fits(&record.event, &run.expected()) {
            return Ok(Err(why));
        }
        let policy = match &record.event {
            Event::Eval { policy, .. } | Event::HeldOut { policy, .. } => {
                let known = Writer::known_policy(self.known, self.tx, policy).await?;
                let Some(ordered) = known.filter(|policy| run.policies.contains(policy)) else {
                    let name: String = policy.to_string().chars().take(80).collect();
                    return Ok(Err(format!("policy {name:?} was not ordered")));
                };
                ordered
            }
            _ => 0,
        };
        if self.together.runs.get(&run.id).is_some_and(|&(other, ended)| ended || other != attempt) {
            self.settle().await?;
        }
        self.together.runs.insert(run.id, (attempt, matches!(record.event, Event::End { .. })));
        let replaces = run.replaces;
        match &record.event {
            Event::Begin { from, .. } => self.batch.begin(run.id, attempt, self.journal, *from, time),
            Event::End { st, n, why, .. } => {
                let (told, why) = (i64::try_from(*n).unwrap_or(i64::MAX), plain(why, LONGEST));
                self.together.ends.push(End { at, run, attempt, outcome: *st, told, why, time });
                // Its success changes which run a name means.
                if replaces {
                    self.settle().await?;
                }
            }
            event => self.together.rows.push(Row { run, attempt, event, policy, time }),
        }
        Ok(Ok(()))
    }

    /// Stores what was taken since the last time: rows first, then the ends, which are judged by them.
    async fn settle(&mut self) -> Result<(), sqlx::Error> {
        let Together { rows, ends, .. } = std::mem::take(&mut self.together);
        let mut records: HashMap<(i64, u32), i64> = HashMap::new();
        rows.iter().for_each(|row| *records.entry((row.run.id, row.attempt)).or_default() += 1);
        let taken = self.taken(records.keys().collect()).await?;
        for Row { run, attempt, event, policy, time } in &rows {
            // They have one value per label: `check::fits` has seen to it.
            if taken.contains(&(run.id, *attempt)) {
                self.batch.add(run, event, *policy, *time);
            }
        }
        for ((run, attempt), records) in records {
            self.batch.count(run, attempt, records);
        }
        self.batch.flush(self.known, self.tx).await?;
        self.end(ends).await
    }

    /// The attempts whose rows are taken: not after a success, not those of an older attempt than the owner, and not those of an
    /// attempt that has crashed or that another journal tells of.
    async fn taken(&mut self, attempts: Vec<&(i64, u32)>) -> Result<HashSet<(i64, u32)>, sqlx::Error> {
        if attempts.is_empty() {
            return Ok(HashSet::new());
        }
        let owners: Vec<(i64, u32)> = sqlx::query_as(
            "UPDATE runs SET owner = n.attempt FROM (SELECT value ->> 0 AS run, value ->> 1 AS attempt FROM json_each(?1)) n
             WHERE runs.id = n.run AND runs.state <> 'succeeded' AND runs.owner <= n.attempt AND NOT EXISTS
             (SELECT 1 FROM attempts a WHERE a.run = n.run AND a.attempt = n.attempt AND (a.outcome = 'crashed' OR a.journal <> ?2))
             RETURNING id, owner",
        )
        .bind(json(&attempts))
        .bind(self.journal)
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(owners.into_iter().collect())
    }

    /// Records how attempts have ended.
    async fn end(&mut self, ends: Vec<End>) -> Result<(), sqlx::Error> {
        if ends.is_empty() {
            return Ok(());
        }
        let standings = self.standings(&ends).await?;
        let mut ended = Vec::with_capacity(ends.len());
        for (mut end, standing) in ends.into_iter().zip(standings).filter(|(_, standing)| !standing.over) {
            if let Some(what) = standing.missing.filter(|_| end.outcome == Outcome::Ok) {
                (end.outcome, end.why) = if self.shared && standing.overtaken {
                    (Outcome::Lost, OVERTAKEN.to_owned())
                } else {
                    (Outcome::Crashed, format!("the worker reported success, but {what}"))
                };
            }
            ended.push((end, standing.settled));
        }
        let facts = |(end, _): &(End, bool)| (end.run.id, end.attempt, end.time, word(&end.outcome), end.why.clone());
        let facts: Vec<_> = ended.iter().map(facts).collect();
        sqlx::query(ENDED).bind(json(&facts)).execute(&mut *self.tx).await?;
        for (End { at, run, outcome, why, time, .. }, settled) in ended {
            if outcome == Outcome::Ok {
                if run.replaces {
                    replace(self.known, self.tx, run.id).await?;
                }
            } else if !settled {
                // The controller may have given its verdict already; then the state of the run is settled.
                settle(self.tx, run.id, outcome.goes_on() || outcome.may_retry(), time).await?;
            }
            self.verdicts.push(Verdict { at, outcome, why });
        }
        Ok(())
    }

    /// The states of attempts that claim to have ended.
    async fn standings(&mut self, ends: &[End]) -> Result<Vec<Standing>, sqlx::Error> {
        let claims: Vec<_> =
            ends.iter().map(|end| (end.run.id, end.attempt, end.run.epochs as i64, end.run.stop.is_some())).collect();
        // An attempt records all its epochs: rows of other attempts do not count. One that may stop early has those up to its last.
        let rows = sqlx::query(
            "WITH claims AS MATERIALIZED (SELECT key AS place, value ->> 0 AS run, value ->> 1 AS attempt, value ->> 2 AS planned,
                                                 value ->> 3 AS early FROM json_each(?1)),
                  n AS MATERIALIZED (SELECT c.*, CASE WHEN early THEN coalesce((SELECT max(epoch) + 1 FROM epochs
                                     WHERE run = c.run AND attempt = c.attempt AND epoch < c.planned), planned) ELSE planned END AS epochs
                                     FROM claims c)
             SELECT r.state = 'succeeded', n.epochs, a.records,
                    (SELECT count(*) FROM epochs WHERE run = r.id AND attempt = n.attempt AND epoch < n.epochs),
                    (SELECT count(*) FROM rankings WHERE run = r.id AND attempt = n.attempt AND split = 'val' AND epoch < n.epochs),
                    (SELECT count(DISTINCT epoch) FROM evaluations WHERE run = r.id AND attempt = n.attempt AND split = 'val'
                     AND epoch < n.epochs),
                    (SELECT count(*) FROM rankings WHERE run = r.id AND attempt = n.attempt AND split = 'test'
                     AND epoch IN (r.best_epoch, n.epochs - 1)),
                    (SELECT count(DISTINCT epoch) FROM evaluations WHERE run = r.id AND attempt = n.attempt AND split = 'test'
                     AND epoch IN (r.best_epoch, n.epochs - 1)),
                    CASE WHEN r.best_epoch = n.epochs - 1 THEN 1 ELSE 2 END, a.outcome, coalesce(a.journal <> ?2, 0), r.best_epoch,
                    r.owner > n.attempt
             FROM n CROSS JOIN runs r ON r.id = n.run LEFT JOIN attempts a ON a.run = r.id AND a.attempt = n.attempt ORDER BY n.place",
        )
        .bind(json(&claims))
        .bind(self.journal)
        .fetch_all(&mut *self.tx)
        .await?;
        if rows.len() != ends.len() {
            return Err(sqlx::Error::RowNotFound);
        }
        ends.iter().zip(&rows).map(|(end, row)| standing(end, row)).collect()
    }
}

/// The ends that [`ENDED`] is told of, as JSON: run, attempt, time, outcome, reason.
macro_rules! ends {
    () => {
        "(SELECT value ->> 0 AS run, value ->> 1 AS attempt, value ->> 2 AS time, value ->> 3 AS outcome, value ->> 4 AS why
          FROM json_each(?1))"
    };
}

/// Those of them that have just won: the first success does.
macro_rules! winners {
    () => {
        concat!(ends!(), " n CROSS JOIN runs r ON r.id = n.run AND n.outcome = 'ok'")
    };
}

/// Records how attempts have ended. Rows that only an earlier attempt of a success left (another best epoch's test rows) go.
const ENDED: &str = concat!(
    "UPDATE attempts SET finished_at = n.time, outcome = n.outcome, why = n.why FROM ",
    ends!(),
    " n WHERE attempts.run = n.run AND attempts.attempt = n.attempt AND attempts.outcome IS NOT 'ok';
     UPDATE runs SET state = 'succeeded', winner = n.attempt, finished_at = n.time,
         epochs = (SELECT count(*) FROM epochs WHERE run = n.run AND attempt = n.attempt) FROM ",
    ends!(),
    " n WHERE runs.id = n.run AND n.outcome = 'ok' AND runs.state <> 'succeeded';
     DELETE FROM evaluations WHERE id IN (SELECT e.id FROM ",
    winners!(),
    " CROSS JOIN evaluations e ON e.run = r.id WHERE r.winner = n.attempt
         AND (e.attempt <> n.attempt OR e.split = 'test' AND e.epoch NOT IN (r.best_epoch, r.epochs - 1)));
     DELETE FROM rankings WHERE (run, epoch, split) IN (SELECT k.run, k.epoch, k.split FROM ",
    winners!(),
    " CROSS JOIN rankings k ON k.run = r.id WHERE r.winner = n.attempt
         AND (k.attempt <> n.attempt OR k.split = 'test' AND k.epoch NOT IN (r.best_epoch, r.epochs - 1)));
     DELETE FROM epochs WHERE (run, epoch) IN (SELECT p.run, p.epoch FROM ",
    winners!(),
    " CROSS JOIN epochs p ON p.run = r.id WHERE p.attempt <> r.winner);
     DELETE FROM draws WHERE run IN (SELECT d.run FROM ",
    winners!(),
    " CROSS JOIN draws d ON d.run = r.id WHERE d.attempt <> r.winner)"
);

/// What a row of [`Ingest::standings`] says of an attempt that claims to have ended.
fn standing(End { run, told, .. }: &End, row: &SqliteRow) -> Result<Standing, sqlx::Error> {
    let number = |column: usize| row.try_get::<Option<i64>, _>(column).map(Option::unwrap_or_default);
    let (epochs, tested) = (number(1)?, number(8)?);
    // Its own rows were not taken where another attempt has won; it has nothing to complete.
    let won = row.try_get::<bool, _>(0)?;
    let wanted = [
        ("records", number(2)?, *told, true),
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
    Ok(Standing { missing, settled: outcome.is_some(), over, overtaken: row.try_get(12)? })
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
    /// The rows are those of a later attempt.
    overtaken: bool,
}

/// Why an attempt is lost whose rows were replaced by those of another copy of its task before it ended.
const OVERTAKEN: &str = "another copy of its task had begun the run anew";

/// The records of a slice's worker with the database's numbers of its attempts, at which a task that is started twice would make two of one
/// number: a run has one attempt in a journal, and gets the next number where that begins.
async fn number(
    known: &mut Known,
    tx: &mut SqliteConnection,
    journal: i64,
    records: &[Record],
) -> Result<Vec<Record>, sqlx::Error> {
    let mut numbers: HashMap<Fingerprint, u32> = HashMap::new();
    let mut records = records.to_vec();
    for record in &mut records {
        let time = record.t.clamp(0.0, now());
        let Some((name, _)) = record.event.attempt() else { continue };
        let number = match numbers.get(name) {
            Some(&number) => number,
            None => {
                let Some(run) = Writer::run(known, tx, name).await? else { continue };
                let (number, new): (u32, bool) = sqlx::query_as(
                    "SELECT coalesce(mine, latest + 1), mine IS NULL FROM (SELECT
                        (SELECT attempt FROM attempts WHERE run = ?1 AND journal = ?2) AS mine,
                        (SELECT coalesce(max(attempt), 0) FROM attempts WHERE run = ?1) AS latest)",
                )
                .bind(run.id)
                .bind(journal)
                .fetch_one(&mut *tx)
                .await?;
                if new {
                    sqlx::query(
                        "INSERT INTO attempts (run, attempt, device, journal, started_at)
                         SELECT ?1, ?2, coalesce(device, ''), id, ?4 FROM journals WHERE id = ?3;
                         UPDATE runs SET state = 'running', started_at = coalesce(started_at, ?4), finished_at = NULL
                         WHERE id = ?1 AND state <> 'succeeded'",
                    )
                    .bind(run.id)
                    .bind(number)
                    .bind(journal)
                    .bind(time)
                    .execute(&mut *tx)
                    .await?;
                }
                numbers.insert(name.clone(), number);
                number
            }
        };
        record.event.renumber(number);
    }
    Ok(records)
}
