//! Records that cannot be used: they cost their attempt and nothing else.

use std::path::Path;

use sqlx::{Connection, Executor};

use super::fixture::{self, Journal};
use super::writer::{begin, folder, ingest, rows, undisturbed};
use crate::{Ingested, Writer};
use plan::Plan;
use protocol::{Event, Outcome};

/// A database with the attempts of all runs begun, and the journal of a worker that makes them.
async fn begun(db: &Path, plan: &Plan) -> (Writer, i64, Journal) {
    let mut writer = Writer::open(db).await.unwrap();
    let sweep = begin(&mut writer, plan).await;
    let mut journal = Journal::new();
    for run in &plan.runs {
        let attempt = fixture::begin_attempt(&mut writer, &run.fingerprint, "cpu").await;
        journal.attempt(run, attempt, 0, &plan.policies);
    }
    (writer, sweep, journal)
}

async fn told(writer: &mut Writer, journal: &Journal) -> Ingested {
    let length = journal.records.len() as u64;
    writer.ingest("w0.jsonl", length * 100, length, &journal.records).await.unwrap()
}

/// Another worker makes what is missing, and the database is that of an undisturbed sweep.
async fn finished(mut writer: Writer, sweep: i64, plan: &Plan, db: &Path) {
    let mut journal = Journal::new();
    for missing in writer.missing(sweep, true).await.unwrap() {
        let run = plan.runs.iter().find(|run| run.fingerprint == missing.job.run).unwrap();
        let attempt = fixture::begin_attempt(&mut writer, &run.fingerprint, "cpu").await;
        journal.attempt(run, attempt, 0, &plan.policies);
    }
    ingest(&mut writer, "w9.jsonl", &journal).await;
    writer.close().await.unwrap();
    assert_eq!(rows(db).await, undisturbed(plan).await);
}

/// The index of the last evaluation of the second run.
fn lie_at(journal: &Journal) -> usize {
    journal.records.iter().rposition(|record| matches!(record.event, Event::Eval { .. })).unwrap()
}

#[tokio::test]
async fn a_record_that_cannot_be_true_costs_its_attempt() {
    let plan = fixture::plan("letters", &["bce"], 2, 2);
    let (_folder, db) = folder();
    let (mut writer, sweep, mut journal) = begun(&db, &plan).await;
    let at = lie_at(&journal);
    if let Event::Eval { counts, .. } = &mut journal.records[at].event {
        counts[0].tp += 1 << 62;
    }
    let found = told(&mut writer, &journal).await;
    assert_eq!((found.verdicts.len(), found.verdicts[0].outcome), (1, Outcome::Ok), "the first run is well");
    let refused = found.refused.unwrap();
    assert_eq!(refused.at, at);
    assert!(refused.why.contains("w0.jsonl") && refused.why.contains("(eval): tp + fn of label 0"), "{}", refused.why);
    assert!(writer.journal_position("w0.jsonl").await.unwrap().2, "nothing more is read of it");
    let missing = writer.missing(sweep, false).await.unwrap();
    assert_eq!((missing.len(), missing[0].failures, &missing[0].job.run), (1, 1, &plan.runs[1].fingerprint));
    finished(writer, sweep, &plan, &db).await;
}

/// A record that the checks miss and SQLite refuses is treated the same.
#[tokio::test]
async fn a_record_that_sqlite_does_not_take_costs_its_attempt() {
    let plan = fixture::plan("letters", &["bce"], 2, 2);
    let (_folder, db) = folder();
    let (writer, sweep, journal) = begun(&db, &plan).await;
    writer.close().await.unwrap();
    let mut other = sqlx::SqliteConnection::connect(&format!("sqlite:{}", db.display())).await.unwrap();
    let trigger = "CREATE TRIGGER picky BEFORE INSERT ON rankings WHEN new.run = 2 AND new.epoch = 1
                   BEGIN SELECT RAISE(ABORT, 'not this one'); END";
    other.execute(trigger).await.unwrap();
    let mut writer = Writer::open(&db).await.unwrap();
    let found = told(&mut writer, &journal).await;
    assert_eq!(found.verdicts.iter().map(|verdict| verdict.outcome).collect::<Vec<_>>(), [Outcome::Ok]);
    let refused = found.refused.unwrap();
    assert!(refused.why.contains("(rank) cannot be stored") && refused.why.contains("not this one"), "{}", refused.why);
    assert!(matches!(journal.records[refused.at].event, Event::Rank { epoch: 1, .. }));
    other.execute("DROP TRIGGER picky").await.unwrap();
    other.close().await.unwrap();
    finished(writer, sweep, &plan, &db).await;
}

/// Within one call, too, a repeated record replaces the earlier one.
#[tokio::test]
async fn the_last_of_equal_records_counts() {
    let plan = fixture::plan("letters", &["bce"], 1, 2);
    let (_folder, db) = folder();
    let (mut writer, sweep, mut journal) = begun(&db, &plan).await;
    let records = std::mem::take(&mut journal.records);
    let mut more = 0;
    for record in records {
        let mut event = record.event.clone();
        match &mut event {
            Event::Eval { samples_f1, .. } => *samples_f1 = 0.5,
            Event::Rank { ranking, .. } => ranking.mean_score[0] = 0.5,
            Event::Epoch { val_loss, .. } => *val_loss = 0.5,
            Event::Drawn { drawn, .. } => drawn.shift = 0.5,
            Event::End { n, .. } => *n += more,
            _ => {}
        }
        // the wrong one first
        if matches!(event, Event::Eval { .. } | Event::Rank { .. } | Event::Epoch { .. } | Event::Drawn { .. }) {
            journal.push(event);
            journal.push(record.event);
            more += 1;
        } else {
            journal.push(event);
        }
    }
    let found = told(&mut writer, &journal).await;
    assert_eq!((found.refused, found.verdicts[0].outcome), (None, Outcome::Ok));
    finished(writer, sweep, &plan, &db).await;
}

/// The outcome that the controller hears of is the one that the database has.
#[tokio::test]
async fn the_verdict_is_the_stores() {
    let plan = fixture::plan("letters", &["bce"], 1, 3);
    let (_folder, db) = folder();
    let (mut writer, sweep, mut journal) = begun(&db, &plan).await;
    for record in &mut journal.records {
        // another best epoch than the worker's: its test rows are missing
        if let Event::Rank { epoch, split: protocol::SplitName::Val, ranking, .. } = &mut record.event {
            let best = fixture::best_epoch(&plan.runs[0].fingerprint, 3);
            let other = (0..2).find(|epoch| *epoch != best).unwrap();
            if *epoch == other {
                ranking.ap.iter_mut().flatten().for_each(|ap| *ap = 1.0);
            }
        }
    }
    let found = told(&mut writer, &journal).await;
    assert_eq!((found.verdicts.len(), found.verdicts[0].outcome), (1, Outcome::Crashed));
    assert!(found.verdicts[0].why.contains("test rankings arrived"), "{}", found.verdicts[0].why);
    finished(writer, sweep, &plan, &db).await;
}

/// An attempt that has crashed, or that another journal tells of, takes nothing more.
#[tokio::test]
async fn what_is_over_stays_over() {
    let plan = fixture::plan("letters", &["bce"], 1, 2);
    let (_folder, db) = folder();
    let (mut writer, sweep, journal) = begun(&db, &plan).await;
    let (run, half) = (&plan.runs[0].fingerprint, journal.records.len() / 2);
    writer.ingest("w0.jsonl", 1, half as u64, &journal.records[..half]).await.unwrap();
    let stranger = told_as(&mut writer, "w1.jsonl", &journal).await;
    assert_eq!(stranger, Ingested::default(), "another journal's attempt");
    writer.refuse("w0.jsonl", Some(&(run.clone(), 1)), "a lie").await.unwrap();
    assert_eq!(told(&mut writer, &journal).await, Ingested::default());
    assert_eq!(writer.missing(sweep, false).await.unwrap()[0].failures, 1);
    finished(writer, sweep, &plan, &db).await;
}

async fn told_as(writer: &mut Writer, name: &str, journal: &Journal) -> Ingested {
    let length = journal.records.len() as u64;
    writer.ingest(name, length * 100, length, &journal.records).await.unwrap()
}
