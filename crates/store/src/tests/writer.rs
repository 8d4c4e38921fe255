//! Round trips through the writer.

use std::path::{Path, PathBuf};

use sqlx::Row as _;
use tempfile::TempDir;

use super::fixture::{self, Journal};
use crate::{At, CurvePoint, Evaluated, LabelRow, METRICS, Reader, StoreError, Writer, open};
use imbalance::rng::Rng;
use plan::{Fingerprint, Plan};
use protocol::{Event, Outcome, SplitName};

pub fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let db = folder.path().join("sweep.db");
    (folder, db)
}

pub async fn begin(writer: &mut Writer, plan: &Plan) -> i64 {
    writer.begin_sweep(plan, Path::new("letters.toml"), "name = \"letters\"").await.unwrap()
}

/// The whole journal of one worker in one call.
pub async fn ingest(writer: &mut Writer, name: &str, journal: &Journal) {
    let length = journal.records.len() as u64;
    writer.ingest(name, length * 100, length, &journal.records).await.unwrap();
}

/// Every row of the views and of `epochs`, without times and attempts.
pub async fn rows(db: &Path) -> Vec<String> {
    let mut connection = open::for_reading(db).await.unwrap();
    let mut rows = Vec::new();
    for query in [
        "SELECT json_array(sweep, run, loss, pos_weight, gamma, sampler, seed, params, epoch, split, policy, label, threshold, support,
                tp, fp, fn, tn, precision, recall, f1, ap, auc, mean_score, held_out_tp, held_out_f1, best_epoch, run_state)
         FROM label_metrics ORDER BY 1",
        "SELECT json_array(sweep, run, epoch, split, policy, macro_f1, micro_f1, weighted_f1, samples_f1, macro_ap, macro_auc,
                hamming_loss, subset_accuracy, held_out_macro_f1, held_out_samples_f1, best_epoch, run_state) FROM leaderboard ORDER BY 1",
        "SELECT json_array(fingerprint, epoch, train_loss, val_loss, learning_rate) FROM epochs JOIN runs ON runs.id = run ORDER BY 1",
    ] {
        rows.extend(sqlx::query_scalar::<_, String>(query).fetch_all(&mut connection).await.unwrap());
    }
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
    assert_eq!(sound, "ok");
    let broken = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut connection).await.unwrap();
    assert_eq!(broken.len(), 0);
    rows
}

/// A database with a sweep that ran without failures.
async fn recorded(plan: &Plan) -> (TempDir, PathBuf, i64) {
    let (folder, db) = folder();
    let mut writer = Writer::open(&db).await.unwrap();
    let sweep = begin(&mut writer, plan).await;
    let mut journal = Journal::new();
    for run in &plan.runs {
        let attempt = fixture::begin_attempt(&mut writer, &run.fingerprint, "cpu").await;
        journal.attempt(run, attempt, 0, &plan.policies);
    }
    ingest(&mut writer, "w0.jsonl", &journal).await;
    writer.close().await.unwrap();
    (folder, db, sweep)
}

/// The rows of that database.
pub async fn undisturbed(plan: &Plan) -> Vec<String> {
    let (_folder, db, _) = recorded(plan).await;
    rows(&db).await
}

fn fingerprints(plan: &Plan) -> Vec<Fingerprint> {
    plan.runs.iter().map(|run| run.fingerprint.clone()).collect()
}

#[tokio::test]
async fn every_row_of_a_sweep_arrives() {
    let plan = fixture::plan("letters", &["bce", "focal"], 2, 3);
    let (folder, db) = folder();
    let mut plan = plan;
    plan.data[0].1.folder = folder.path().join("sweep.cache/c0ffee");
    let mut writer = Writer::open(&db).await.unwrap();
    let sweep = begin(&mut writer, &plan).await;
    assert_eq!(writer.recorded(&fingerprints(&plan)).await.unwrap(), [false; 4]);
    let missing = writer.missing(sweep, false).await.unwrap();
    assert_eq!(missing.len(), 4);
    let (first, planned) = (&missing[0].job, &plan.runs[0]);
    assert_eq!((&first.run, first.attempt, missing[0].failures), (&planned.fingerprint, 1, 0));
    // With the parameters that a plan of the real program would have.
    let whole = planned.config.clone().admitted().unwrap();
    assert_eq!((&first.config, &first.pos_weight, &first.policies), (&whole, &planned.pos_weight, &plan.policies));
    assert_eq!(first.data, plan.data[0].1.folder);
    let mut journal = Journal::new();
    for run in &plan.runs {
        assert_eq!(fixture::begin_attempt(&mut writer, &run.fingerprint, "cpu").await, 1);
        journal.attempt(run, 1, 0, &plan.policies);
    }
    ingest(&mut writer, "w0.jsonl", &journal).await;
    assert_eq!(writer.recorded(&fingerprints(&plan)).await.unwrap(), [true; 4]);
    assert_eq!(writer.missing(sweep, true).await.unwrap().len(), 0);
    assert_eq!(writer.unevaluated(sweep).await.unwrap(), []);
    assert_eq!(
        writer.journal_position("w0.jsonl").await.unwrap(),
        (journal.records.len() as u64 * 100, journal.records.len() as u64, false)
    );
    writer.close().await.unwrap();
    let tests: usize = plan.runs.iter().map(|run| if fixture::best_epoch(&run.fingerprint, 3) == 2 { 1 } else { 2 }).sum();
    let evaluations = (4 * 3 + tests) * 2;
    assert_eq!(rows(&db).await.len(), evaluations * 4 + evaluations + 4 * 3);
}

#[tokio::test]
async fn a_record_seen_before_changes_nothing() {
    let plan = fixture::plan("letters", &["bce"], 2, 2);
    let (_folder, db) = folder();
    let mut writer = Writer::open(&db).await.unwrap();
    begin(&mut writer, &plan).await;
    let mut journal = Journal::new();
    for run in &plan.runs {
        fixture::begin_attempt(&mut writer, &run.fingerprint, "cpu").await;
        journal.attempt(run, 1, 0, &plan.policies);
    }
    // one record a call, and every call twice, with everything before it
    for end in 1..=journal.records.len() {
        for _ in 0..2 {
            writer.ingest("w0.jsonl", end as u64, end as u64, &journal.records[..end]).await.unwrap();
        }
    }
    writer.close().await.unwrap();
    assert_eq!(rows(&db).await, undisturbed(&plan).await);
}

#[tokio::test]
async fn a_crash_and_a_resume_leave_the_rows_of_an_undisturbed_sweep() {
    let plan = fixture::plan("letters", &["bce", "focal"], 2, 4);
    for cut in [0, 1, 2, 5, 9, 14, 17, 18, 19, 30] {
        let (_folder, db) = folder();
        let mut writer = Writer::open(&db).await.unwrap();
        let sweep = begin(&mut writer, &plan).await;
        let mut journal = Journal::new();
        fixture::begin_attempt(&mut writer, &plan.runs[0].fingerprint, "cpu").await;
        fixture::begin_attempt(&mut writer, &plan.runs[1].fingerprint, "cpu").await;
        journal.attempt(&plan.runs[0], 1, 0, &plan.policies);
        journal.attempt(&plan.runs[1], 1, 0, &plan.policies);
        let cut = cut.min(journal.records.len());
        writer.ingest("w0.jsonl", cut as u64, cut as u64, &journal.records[..cut]).await.unwrap();
        drop(writer);
        let mut writer = Writer::open(&db).await.unwrap();
        writer.reap().await.unwrap();
        assert_eq!(begin(&mut writer, &plan).await, sweep, "the same sweep goes on");
        let mut journal = Journal::new();
        for missing in writer.missing(sweep, false).await.unwrap() {
            let run = plan.runs.iter().find(|run| run.fingerprint == missing.job.run).unwrap();
            let attempt = fixture::begin_attempt(&mut writer, &run.fingerprint, "cpu").await;
            assert_eq!(attempt, missing.job.attempt);
            // continues at a checkpoint where the first attempt had passed epoch 0
            let from = usize::from(run.fingerprint == plan.runs[0].fingerprint && cut > 5);
            journal.attempt(run, attempt, from, &plan.policies);
        }
        ingest(&mut writer, "w1.jsonl", &journal).await;
        assert_eq!(writer.missing(sweep, true).await.unwrap().len(), 0);
        writer.close().await.unwrap();
        assert_eq!(rows(&db).await, undisturbed(&plan).await, "cut after {cut} records");
    }
}

#[tokio::test]
async fn attempts_that_begin_together_are_numbered_each_by_its_run() {
    let plan = fixture::plan("letters", &["bce", "focal"], 2, 2);
    let runs: Vec<Fingerprint> = plan.runs.iter().rev().map(|run| run.fingerprint.clone()).collect();
    let (_folder, db) = folder();
    let mut writer = Writer::open(&db).await.unwrap();
    begin(&mut writer, &plan).await;
    fixture::begin_attempt(&mut writer, &runs[1], "cpu").await;
    assert_eq!(writer.begin_attempts(&runs, "cpu").await.unwrap(), [1, 2, 1, 1]);
    let stranger = Fingerprint("f".repeat(32));
    assert!(writer.begin_attempts(&[runs[0].clone(), stranger], "cpu").await.is_err());
    assert_eq!(writer.begin_attempts(&runs, "cpu").await.unwrap(), [2, 3, 2, 2], "all or none");
}

#[tokio::test]
async fn a_success_with_rows_missing_is_none() {
    let plan = fixture::plan("letters", &["bce"], 1, 3);
    let run = &plan.runs[0];
    for lost in 2..10 {
        let (_folder, db) = folder();
        let mut writer = Writer::open(&db).await.unwrap();
        let sweep = begin(&mut writer, &plan).await;
        fixture::begin_attempt(&mut writer, &run.fingerprint, "cpu").await;
        let mut journal = Journal::new();
        journal.attempt(run, 1, 0, &plan.policies);
        journal.records.remove(lost);
        ingest(&mut writer, "w0.jsonl", &journal).await;
        let missing = writer.missing(sweep, false).await.unwrap();
        assert_eq!((missing.len(), missing[0].failures, missing[0].job.attempt), (1, 1, 2));
    }
}

/// A run may end before its last planned epoch once its patience is over, and not before.
#[tokio::test]
async fn an_early_end_is_a_success_where_the_rule_says_so() {
    let mut plan = fixture::plan("letters", &["bce"], 1, 12);
    let stop = plan::Stop { patience: 2, least: 3 };
    plan.runs[0].config.train.stop = Some(stop);
    let run = &plan.runs[0];
    let (mut ended, mut crashed) = (0, 0);
    for epochs in 1..=12 {
        let (_folder, db) = folder();
        let mut writer = Writer::open(&db).await.unwrap();
        let sweep = begin(&mut writer, &plan).await;
        fixture::begin_attempt(&mut writer, &run.fingerprint, "cpu").await;
        let mut short = run.clone();
        short.config.train.epochs = epochs;
        let mut journal = Journal::new();
        journal.attempt(&short, 1, 0, &plan.policies);
        ingest(&mut writer, "w0.jsonl", &journal).await;
        let over = epochs == 12 || stop.over(epochs, fixture::best_epoch(&run.fingerprint, epochs));
        let missing = writer.missing(sweep, true).await.unwrap();
        assert_eq!(missing.is_empty(), over, "{epochs} epochs");
        writer.close().await.unwrap();
        let mut connection = open::for_reading(&db).await.unwrap();
        let row = sqlx::query(
            "SELECT r.epochs, r.max_epochs, a.why, (SELECT max(steps) FROM epochs) FROM runs r JOIN attempts a ON a.run = r.id",
        );
        let row = row.fetch_one(&mut connection).await.unwrap();
        let (done, most, why, steps): (usize, usize, String, usize) = (
            row.get::<i64, _>(0).try_into().unwrap(),
            row.get::<i64, _>(1).try_into().unwrap(),
            row.get(2),
            row.get::<i64, _>(3).try_into().unwrap(),
        );
        assert_eq!((done, most, steps), (if over { epochs } else { 12 }, 12, 10 * epochs));
        if over {
            ended += 1;
        } else {
            crashed += 1;
            assert!(why.contains(&format!("it ended after {epochs} of 12 epochs, before its patience was over")), "{why}");
        }
    }
    assert!(ended >= 2 && crashed >= 2, "{ended} {crashed}");
}

#[tokio::test]
async fn the_first_success_wins() {
    let plan = fixture::plan("letters", &["bce"], 1, 2);
    let run = &plan.runs[0];
    let (_folder, db) = folder();
    let mut writer = Writer::open(&db).await.unwrap();
    begin(&mut writer, &plan).await;
    let mut first = Journal::new();
    let mut second = Journal::new();
    for (attempt, journal) in [(1, &mut first), (2, &mut second)] {
        assert_eq!(fixture::begin_attempt(&mut writer, &run.fingerprint, "cpu").await, attempt);
        journal.attempt(run, attempt, 0, &plan.policies);
    }
    // the second attempt differs, as it would on a GPU
    for record in &mut second.records {
        if let Event::Eval { counts, .. } = &mut record.event {
            (counts[0].tp, counts[0].fn_) = (counts[0].fn_, counts[0].tp);
        }
    }
    ingest(&mut writer, "w0.jsonl", &first).await;
    ingest(&mut writer, "w1.jsonl", &second).await;
    writer.close().await.unwrap();
    assert_eq!(rows(&db).await, undisturbed(&plan).await);
}

#[tokio::test]
async fn failures_are_counted_and_kept() {
    let plan = fixture::plan("letters", &["bce"], 3, 2);
    let (_folder, db) = folder();
    let mut writer = Writer::open(&db).await.unwrap();
    let sweep = begin(&mut writer, &plan).await;
    let run = fingerprints(&plan);
    for run in &run {
        fixture::begin_attempt(&mut writer, run, "cuda:0").await;
    }
    // an end by the worker, a verdict of the controller, and an interruption
    let mut journal = Journal::new();
    journal.push(Event::Begin { r: run[0].clone(), a: 1, from: None });
    journal.push(Event::End { r: run[0].clone(), a: 1, st: Outcome::Diverged, n: 0, why: "loss is NaN".to_owned() });
    ingest(&mut writer, "w0.jsonl", &journal).await;
    writer.end_attempt(&run[1], 1, Outcome::Killed, "signal 9", "last words", true).await.unwrap();
    writer.end_attempt(&run[2], 1, Outcome::Stopped, "", "", false).await.unwrap();
    let missing = writer.missing(sweep, false).await.unwrap();
    let told: Vec<_> = missing.iter().map(|missing| (&missing.job.run, missing.job.attempt, missing.failures)).collect();
    assert_eq!(told, [(&run[1], 2, 1), (&run[2], 2, 0)]);
    fixture::begin_attempt(&mut writer, &run[1], "cuda:0").await;
    writer.end_attempt(&run[1], 2, Outcome::Killed, "signal 9", "last words", false).await.unwrap();
    let missing = writer.missing(sweep, false).await.unwrap();
    assert_eq!(missing.iter().map(|missing| &missing.job.run).collect::<Vec<_>>(), [&run[2]]);
    let again = writer.missing(sweep, true).await.unwrap();
    let told: Vec<_> = again.iter().map(|missing| (&missing.job.run, missing.job.attempt, missing.failures)).collect();
    assert_eq!(told, [(&run[0], 2, 0), (&run[1], 3, 0), (&run[2], 2, 0)]);
}

#[tokio::test]
async fn a_policy_added_later_is_asked_for_and_recorded() {
    let mut plan = fixture::plan("letters", &["bce"], 1, 2);
    let run = plan.runs[0].clone();
    let (_folder, db) = folder();
    let mut writer = Writer::open(&db).await.unwrap();
    let both = plan.policies.clone();
    plan.policies.truncate(1);
    let first = begin(&mut writer, &plan).await;
    let mut journal = Journal::new();
    fixture::begin_attempt(&mut writer, &run.fingerprint, "cpu").await;
    journal.attempt(&run, 1, 0, &plan.policies);
    ingest(&mut writer, "w0.jsonl", &journal).await;
    plan.policies = both.clone();
    let second = begin(&mut writer, &plan).await;
    assert_ne!(first, second, "other policies are another sweep");
    assert_eq!(writer.missing(second, true).await.unwrap().len(), 0, "but nothing is trained again");
    assert_eq!(writer.unevaluated(second).await.unwrap(), [(run.fingerprint.clone(), vec![both[1].clone()])]);
    let mut later = Journal::new();
    later.attempt(&run, 1, 0, &both[1..]);
    let events: Vec<Event> = later.records.into_iter().map(|record| record.event).collect();
    writer.record(&events).await.unwrap();
    assert_eq!(writer.unevaluated(second).await.unwrap(), []);
    assert_eq!(writer.unevaluated(first).await.unwrap(), []);
}

#[tokio::test]
async fn what_samplers_showed_is_kept() {
    let plan = fixture::plan("letters", &["bce"], 2, 2);
    let (_folder, db) = folder();
    let mut writer = Writer::open(&db).await.unwrap();
    let sweep = begin(&mut writer, &plan).await;
    let mut journal = Journal::new();
    let (first, second) = (&plan.runs[0], &plan.runs[1]);
    fixture::begin_attempt(&mut writer, &first.fingerprint, "cpu").await;
    journal.attempt(first, 1, 0, &plan.policies);
    ingest(&mut writer, "w0.jsonl", &journal).await;
    let mut reader = Reader::open(&db).await.unwrap();
    assert_eq!(reader.run_draws(&first.fingerprint).await.unwrap(), Some(fixture::drawn()));
    assert_eq!(reader.run_draws(&second.fingerprint).await.unwrap(), None);
    assert_eq!(reader.draws(sweep).await.unwrap(), [(first.fingerprint.0.clone(), fixture::drawn())]);
}

/// A database of the first version is migrated when it is opened, and loses nothing.
#[tokio::test]
async fn an_older_database_is_brought_up_to_date() {
    use sqlx::{Connection, Executor};
    let (_folder, db) = folder();
    let plan = fixture::plan("letters", &["bce"], 1, 2);
    let mut writer = Writer::open(&db).await.unwrap();
    begin(&mut writer, &plan).await;
    let attempt = fixture::begin_attempt(&mut writer, &plan.runs[0].fingerprint, "cpu").await;
    let mut journal = Journal::new();
    journal.attempt(&plan.runs[0], attempt, 0, &plan.policies);
    ingest(&mut writer, "w0.jsonl", &journal).await;
    writer.close().await.unwrap();
    let mut old = sqlx::SqliteConnection::connect(&format!("sqlite:{}", db.display())).await.unwrap();
    old.execute("DELETE FROM held_out").await.unwrap();
    let before = rows(&db).await;
    old.execute(
        "DROP VIEW leaderboard; DROP VIEW label_metrics; DROP VIEW leaderboard_all; DROP VIEW label_metrics_all;
         DROP TABLE slice_runs; DROP TABLE slices; ALTER TABLE journals DROP COLUMN slice;
         ALTER TABLE journals DROP COLUMN submission; DROP TABLE submissions;
         DROP TABLE search_decisions; DROP TABLE searches; ALTER TABLE sweep_runs DROP COLUMN left_out;
         DROP TABLE label_held_out; DROP TABLE held_out; ALTER TABLE policies DROP COLUMN fitted;
         ALTER TABLE sweeps DROP COLUMN changes;
         ALTER TABLE runs DROP COLUMN max_epochs; ALTER TABLE epochs DROP COLUMN steps;
         DROP INDEX runs_replacing; DROP INDEX sweep_runs_again; DROP INDEX runs_state;
         ALTER TABLE runs DROP COLUMN replaces; ALTER TABLE sweep_runs DROP COLUMN again;
         DROP TABLE label_draws; DROP TABLE draws; ALTER TABLE journals DROP COLUMN fault; ALTER TABLE runs DROP COLUMN format;
         CREATE VIEW leaderboard AS SELECT 1; CREATE VIEW label_metrics AS SELECT 1;
         DELETE FROM _sqlx_migrations WHERE version > 1; PRAGMA user_version = 1;",
    )
    .await
    .unwrap();
    old.close().await.unwrap();
    let lock = crate::lock::Lock::take(&db).unwrap();
    assert!(matches!(Reader::open(&db).await, Err(StoreError::Busy { .. })), "nobody migrates what another one writes");
    drop(lock);
    Reader::open(&db).await.unwrap();
    assert_eq!(rows(&db).await, before);
    let mut reader = Reader::open(&db).await.unwrap();
    assert_eq!(reader.run_draws(&plan.runs[0].fingerprint).await.unwrap(), None);
}

/// The reader's single pass over the counts equals the view, bit for bit.
/// Curves have every epoch of every run, also of one that has not ended, in the order of the plan.
#[tokio::test]
async fn curves_are_the_epochs_of_runs_in_any_state() {
    let plan = fixture::plan("letters", &["bce", "focal"], 2, 3);
    let (_folder, db) = folder();
    let mut writer = Writer::open(&db).await.unwrap();
    let sweep = begin(&mut writer, &plan).await;
    let mut journal = Journal::new();
    // The third run has its first two epochs, the last has not begun; the second one begins first.
    for (run, epochs) in [(1, 3), (0, 3), (2, 2)] {
        let run = &plan.runs[run];
        fixture::begin_attempt(&mut writer, &run.fingerprint, "cpu").await;
        journal.attempt(run, 1, 0, &plan.policies);
        if let Some(cut) = journal.records.iter().position(
            |record| matches!(&record.event, Event::Epoch { r, epoch, .. } if *r == run.fingerprint && *epoch == epochs),
        ) {
            journal.records.truncate(cut);
        }
    }
    ingest(&mut writer, "w0.jsonl", &journal).await;
    let mut reader = Reader::open(&db).await.unwrap();
    let all = reader.curves(sweep, &[]).await.unwrap();
    let expected: Vec<CurvePoint> = [(0, 3), (1, 3), (2, 2)]
        .into_iter()
        .flat_map(|(run, epochs)| {
            let run = &plan.runs[run].fingerprint;
            (0..epochs).map(|epoch| CurvePoint {
                run: run.0.clone(),
                epoch: epoch as i64,
                steps: Some(10 * (epoch as i64 + 1)),
                train_loss: Some(1.0 / (epoch + 1) as f64),
                val_loss: Some(1.1 / (epoch + 1) as f64),
                macro_ap: {
                    let ap: Vec<f64> = fixture::ranking(run, epoch, SplitName::Val).ap.into_iter().flatten().collect();
                    Some(ap.iter().sum::<f64>() / ap.len() as f64)
                },
            })
        })
        .collect();
    assert_eq!(all, expected);
    let names = [3, 2].map(|run: usize| plan.runs[run].fingerprint.0.clone());
    assert_eq!(reader.curves(sweep, &names).await.unwrap(), expected[6..]);
    assert_eq!(reader.curves(sweep, &["none".to_owned()]).await.unwrap(), []);
    assert_eq!(reader.curves(sweep + 1, &[]).await.unwrap(), []);
    writer.close().await.unwrap();
}

#[tokio::test]
async fn results_are_those_of_the_view() {
    let plan = fixture::plan("letters", &["bce", "focal"], 2, 3);
    let (_folder, db, sweep) = recorded(&plan).await;
    let mut reader = Reader::open(&db).await.unwrap();
    for (at, condition) in
        [(At::Best, "best_epoch"), (At::Last, "last_epoch"), (At::Epoch(1), "epoch = 1"), (At::Epoch(9), "false")]
    {
        for split in ["val", "test"] {
            let view = format!(
                "SELECT run, policy, predicted_rate, {} FROM leaderboard
                 WHERE sweep_id = ?1 AND run_state = 'succeeded' AND split = ?2 AND {condition} ORDER BY run, policy",
                METRICS.join(", ")
            );
            let view = sqlx::query(sqlx::AssertSqlSafe(view)).bind(sweep).bind(split);
            let view = view.fetch_all(&mut open::for_reading(&db).await.unwrap()).await.unwrap();
            let mut found = reader.results(sweep, split, at, &METRICS).await.unwrap();
            found.sort_by(|a, b| (&a.run, &a.policy).cmp(&(&b.run, &b.policy)));
            assert_eq!(found.len(), view.len());
            for (found, row) in found.iter().zip(&view) {
                assert_eq!((found.run.as_str(), found.policy.as_str()), (row.get(0), row.get(1)));
                assert_eq!(found.predicted_rate, row.get(2));
                for (metric, value) in found.values.iter().enumerate() {
                    assert_eq!(*value, row.get::<Option<f64>, _>(3 + metric), "{}", METRICS[metric]);
                }
            }
            // asked for one, it has no other
            for one in &reader.results(sweep, split, at, &["macro_auc"]).await.unwrap() {
                let all = found.iter().find(|all| all.evaluation == one.evaluation).unwrap();
                let mut only = [None; METRICS.len()];
                only[7] = all.values[7];
                assert_eq!((one.values, &one.policy), (only, &all.policy));
            }
            assert_eq!(found.is_empty(), at == At::Epoch(9));
        }
    }
}

/// Held-out values are in the views and in the reader's pass the same; a number and test have their own, other epochs none.
#[tokio::test]
async fn held_out_values_are_those_of_the_view() {
    let plan = fixture::plan("letters", &["bce", "focal"], 2, 3);
    let (_folder, db, sweep) = recorded(&plan).await;
    let mut reader = Reader::open(&db).await.unwrap();
    let mut some = 0;
    for column in crate::COLUMNS.iter().filter(|column| column.metric.needs_threshold()) {
        let name = column.name;
        let view = format!(
            "SELECT run, policy, split, best_epoch, last_epoch, {name}, held_out_{name} FROM leaderboard WHERE sweep_id = ?1"
        );
        let view = sqlx::query(sqlx::AssertSqlSafe(view)).bind(sweep);
        let view = view.fetch_all(&mut open::for_reading(&db).await.unwrap()).await.unwrap();
        for (at, place) in [(At::Best, 3), (At::Last, 4)] {
            let values = reader.results(sweep, "val", at, &[name]).await.unwrap();
            let held_out = reader.held_out(sweep, at, name).await.unwrap();
            for row in &view {
                let (run, policy, split): (String, String, String) = (row.get(0), row.get(1), row.get(2));
                let (own, shown): (Option<f64>, Option<f64>) = (row.get(5), row.get(6));
                let fitted = policy.parse::<f64>().is_err() && split == "val";
                if !fitted {
                    assert_eq!(shown, own, "{name} of {policy} on {split}");
                } else if row.get(place) {
                    let found = values.iter().find(|found| found.run == run && found.policy == policy).unwrap();
                    assert_eq!(shown, held_out.get(&found.evaluation).copied(), "{name} of {policy}");
                    assert!(shown.is_some());
                    some += usize::from(shown != own);
                } else if !row.get::<bool, _>(3) && !row.get::<bool, _>(4) {
                    assert_eq!(shown, None);
                }
            }
        }
        assert_eq!(reader.held_out(sweep, At::Epoch(9), name).await.unwrap().len(), 0);
    }
    assert!(some > 20, "{some}");
    assert_eq!(reader.held_out(sweep, At::Best, "macro_ap").await.unwrap().len(), 0, "nothing is fitted for a ranking");
    // The labels' own values are those of the counts that were recorded.
    let counts =
        fixture::held_out(&plan.runs[0].fingerprint, fixture::best_epoch(&plan.runs[0].fingerprint, 3), &plan.policies[1]);
    let Event::HeldOut { held_out, .. } = counts else { panic!() };
    let rows: Vec<(String, i64, i64, f64)> = sqlx::query_as(
        "SELECT label, held_out_tp, held_out_fn, held_out_f1 FROM label_metrics
         WHERE run = ?1 AND policy = ?2 AND split = 'val' AND best_epoch AND sweep_id = ?3",
    )
    .bind(&plan.runs[0].fingerprint.0)
    .bind(plan.policies[1].to_string())
    .bind(sweep)
    .fetch_all(&mut open::for_reading(&db).await.unwrap())
    .await
    .unwrap();
    for (label, tp, fn_, f1) in &rows {
        let counts = held_out.counts[fixture::LABELS.iter().position(|name| name == label).unwrap()];
        assert_eq!((*tp as u64, *fn_ as u64), (counts.tp, counts.fn_));
        assert!((f1 - counts.f1()).abs() < 1e-15);
    }
    assert_eq!(rows.len(), 4);
}

/// Groups over two runs and two policies, one of them with a run less, against the rows of the view.
#[tokio::test]
async fn means_of_labels_are_those_of_the_view() {
    let plan = fixture::plan("letters", &["bce", "focal"], 1, 2);
    let (_folder, db, sweep) = recorded(&plan).await;
    let runs = fingerprints(&plan);
    let policies: Vec<String> = plan.policies.iter().map(ToString::to_string).collect();
    let mut reader = Reader::open(&db).await.unwrap();
    let results = reader.results(sweep, "val", At::Last, &METRICS).await.unwrap();
    let wanted = [(0, 0, 7), (1, 0, 7), (1, 1, 2)].map(|(run, policy, place)| {
        let evaluated = results.iter().find(|found| found.run == runs[run].0 && found.policy == policies[policy]).unwrap();
        (evaluated, place)
    });
    let groups = wanted.map(|(evaluated, place)| (evaluated.evaluation, place));
    let means = reader.label_means(&groups).await.unwrap();
    // twice over one connection, and no groups give no rows
    assert_eq!(reader.label_means(&groups).await.unwrap(), means);
    assert_eq!(reader.label_means(&[]).await.unwrap(), []);
    let mut rows = Vec::new();
    for (Evaluated { run, policy, .. }, place) in wanted {
        let found = sqlx::query_as::<_, LabelRow>(
            "SELECT * FROM label_metrics WHERE run = ?1 AND policy = ?2 AND split = 'val' AND last_epoch AND sweep_id = ?3",
        );
        let found = found.bind(run).bind(policy).bind(sweep).fetch_all(&mut open::for_reading(&db).await.unwrap()).await.unwrap();
        rows.extend(found.into_iter().map(|row| (place as i64, row)));
    }
    assert_eq!(means.iter().map(|mean| mean.place).collect::<std::collections::BTreeSet<_>>(), [2, 7].into());
    for mean in &means {
        let of: Vec<&LabelRow> =
            rows.iter().filter(|(place, row)| (*place, &row.label) == (mean.place, &mean.label)).map(|(_, row)| row).collect();
        let average = |value: fn(&LabelRow) -> f64| of.iter().map(|row| value(row)).sum::<f64>() / of.len() as f64;
        assert_eq!((mean.evaluations, of.len()), (if mean.place == 7 { 2 } else { 1 }, mean.evaluations as usize));
        for (found, expected) in [
            (mean.f1, average(|row| row.f1)),
            (mean.precision, average(|row| row.precision)),
            (mean.recall, average(|row| row.recall)),
            (mean.threshold, average(|row| row.threshold)),
            (mean.predicted_rate, average(|row| row.predicted_rate)),
            // NULL where one is missing, as in the view
            (mean.ap.unwrap_or(-1.0), average(|row| row.ap.unwrap_or(-1.0))),
        ] {
            assert!((found - expected).abs() < 1e-12, "{mean:?} {expected}");
        }
    }
    let labels = rows.iter().filter(|(place, _)| *place == 2).count();
    assert_eq!(means.len(), 2 * labels);
}

/// Names of sweeps never collide, whatever they are.
#[tokio::test]
async fn no_name_blocks_another() {
    let (_folder, db) = folder();
    let mut writer = Writer::open(&db).await.unwrap();
    let mut titles = async |name: &str, loss: &str| {
        let plan = fixture::plan(name, &[loss], 1, 1);
        begin(&mut writer, &plan).await;
        let mut connection = open::for_reading(&db).await.unwrap();
        sqlx::query_scalar::<_, String>("SELECT title FROM sweeps ORDER BY id").fetch_all(&mut connection).await.unwrap()
    };
    assert_eq!(titles("x#1", "bce").await, ["x#1"]);
    assert_eq!(titles("x", "bce").await, ["x#1", "x"]);
    assert_eq!(titles("x#2", "bce").await, ["x#1", "x", "x#2"]);
    // The sweep `x` with id 2 would be called `x#2` now.
    assert_eq!(titles("x", "focal").await, ["x#1", "x##2", "x#2", "x"]);
    // Its first content again: the names change hands.
    assert_eq!(titles("x", "bce").await, ["x#1", "x", "x#2", "x#4"]);
    assert_eq!(titles("x#4", "bce").await, ["x#1", "x", "x#2", "x##4", "x#4"]);
    assert_eq!(titles("x##4", "bce").await, ["x#1", "x", "x#2", "x###4", "x#4", "x##4"]);
}

/// Runs that failed because of their data are listed with the time of the failure, and can be queued again.
#[tokio::test]
async fn what_failed_for_its_data_can_be_tried_again() {
    let (_folder, db) = folder();
    let plan = fixture::plan("letters", &["bce", "focal"], 1, 1);
    let mut writer = Writer::open(&db).await.unwrap();
    let sweep = begin(&mut writer, &plan).await;
    for (run, outcome) in plan.runs.iter().zip([Outcome::Data, Outcome::Diverged]) {
        let attempt = fixture::begin_attempt(&mut writer, &run.fingerprint, "cpu").await;
        writer.end_attempt(&run.fingerprint, attempt, outcome, "why", "", false).await.unwrap();
    }
    let failed = writer.failed_for_data(sweep).await.unwrap();
    assert_eq!((failed.len(), &failed[0].run, &failed[0].weights), (1, &plan.runs[0].fingerprint, &None));
    assert!(failed[0].at > 1e9 && failed[0].data.is_absolute(), "{failed:?}");
    assert_eq!(writer.missing(sweep, false).await.unwrap().len(), 0);
    let runs: Vec<Fingerprint> = plan.runs.iter().map(|run| run.fingerprint.clone()).collect();
    writer.queue_again(&runs[..1]).await.unwrap();
    let missing = writer.missing(sweep, false).await.unwrap();
    assert_eq!((missing.len(), &missing[0].job.run, missing[0].job.attempt), (1, &runs[0], 2));
    assert_eq!(writer.failed_for_data(sweep).await.unwrap(), []);
}

/// `--set` changes are kept beside the text, whatever the text looks like.
#[tokio::test]
async fn changes_are_kept_apart_from_the_text() {
    let (_folder, db) = folder();
    let plan = fixture::plan("letters", &["bce"], 1, 1);
    let recorded = plan::Recorded { text: "# --set \"x=1\"\n".to_owned(), changes: Some(vec!["train.epochs=\n2".to_owned()]) };
    let mut writer = Writer::open(&db).await.unwrap();
    let sweep = writer.begin_sweep(&plan, Path::new("letters.toml"), recorded.clone()).await.unwrap();
    assert_eq!(Reader::open(&db).await.unwrap().sweep(sweep).await.unwrap().recorded(), recorded);
}

/// The table of metrics is the view's: same names in the same order, and its functions give what the view derives in SQL.
#[tokio::test]
async fn the_table_of_metrics_is_that_of_the_view() {
    use imbalance::LabelMatrix;
    use imbalance::evaluation::{Evaluation, FittedPolicy};
    let mut plan = fixture::plan("letters", &["bce"], 1, 1);
    plan.policies = ["0.5", "max_f1", "rcut(r=1)", "1"].map(|text| imbalance::threshold::parse(text).unwrap()).to_vec();
    let (_folder, db) = folder();
    let mut writer = Writer::open(&db).await.unwrap();
    begin(&mut writer, &plan).await;
    let run = plan.runs[0].fingerprint.clone();
    let mut rng = Rng::new(3, "scores", &[]);
    let scores: Vec<f32> = (0..150 * 4).map(|_| rng.uniform() as f32).collect();
    // a label without positives among them
    let values = scores.iter().enumerate().map(|(cell, &score)| u8::from(cell % 4 != 2 && rng.uniform() < f64::from(score)));
    let truth = LabelMatrix { names: fixture::LABELS.map(str::to_owned).into(), values: values.collect() };
    let on_val = protocol::Evaluated { run: &run, attempt: 0, epoch: 0, split: SplitName::Val };
    let fitted: Vec<FittedPolicy> =
        plan.policies.iter().map(|policy| FittedPolicy::new(policy, &scores, &truth).unwrap()).collect();
    let mut events = vec![on_val.ranking(imbalance::metric::rank(&scores, &truth))];
    events.extend(on_val.under(&fitted, &scores, &truth));
    writer.import(&plan, Path::new("x.npy"), "", &events).await.unwrap();
    writer.close().await.unwrap();
    let mut connection = open::for_reading(&db).await.unwrap();
    let columns: Vec<String> = sqlx::query("PRAGMA table_info(leaderboard)")
        .fetch_all(&mut connection)
        .await
        .unwrap()
        .iter()
        .map(|row| row.get("name"))
        .collect();
    let start = columns.iter().position(|name| name == METRICS[0]).unwrap();
    assert_eq!(columns[start..start + METRICS.len()], METRICS);
    let rows = sqlx::query("SELECT * FROM leaderboard").fetch_all(&mut connection).await.unwrap();
    assert_eq!(rows.len(), plan.policies.len());
    for row in rows {
        let policy: String = row.get("policy");
        let fitted = fitted.iter().find(|fitted| fitted.policy.to_string() == policy).unwrap();
        let evaluation = Evaluation::new(&scores, &truth, &fitted.rule);
        for column in crate::COLUMNS {
            let (found, wanted): (Option<f64>, _) = (row.get(column.name), evaluation.value(column.metric));
            assert!((found.unwrap() - wanted.unwrap()).abs() < 1e-12, "{} at {policy}: {found:?} {wanted:?}", column.name);
        }
    }
}
