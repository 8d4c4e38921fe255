//! Recorded runs that are trained again, and views that show results only.

use std::path::{Path, PathBuf};

use sqlx::Row as _;
use tempfile::TempDir;

use super::fixture::{self, Journal};
use crate::{Reader, Writer, open};
use imbalance::threshold::Policy;
use plan::{Fingerprint, Plan, PlannedRun};
use protocol::Outcome;

struct Bed {
    _folder: TempDir,
    db: PathBuf,
    writer: Writer,
    sweep: i64,
    plan: Plan,
}

impl Bed {
    /// A sweep of two recorded runs under two policies.
    async fn recorded() -> Self {
        let folder = TempDir::new().unwrap();
        let db = folder.path().join("sweep.db");
        let plan = fixture::plan("letters", &["bce"], 2, 3);
        let mut writer = Writer::open(&db).await.unwrap();
        let sweep = writer.begin_sweep(&plan, Path::new("letters.toml"), "name = \"letters\"").await.unwrap();
        let mut bed = Self { _folder: folder, db, writer, sweep, plan };
        for run in bed.plan.runs.clone() {
            let attempt = fixture::begin_attempt(&mut bed.writer, &run.fingerprint, "cpu").await;
            bed.train(&run, attempt, &bed.plan.policies.clone()).await;
        }
        bed
    }

    async fn train(&mut self, run: &PlannedRun, attempt: u32, policies: &[Policy]) {
        let mut journal = Journal::new();
        journal.attempt(run, attempt, 0, policies);
        let length = journal.records.len() as u64;
        let name = format!("{}-{attempt}.jsonl", run.fingerprint);
        self.writer.ingest(&name, length * 100, length, &journal.records).await.unwrap();
    }

    async fn rows(&self, view: &str, run: &Fingerprint) -> Vec<String> {
        let mut connection = open::for_reading(&self.db).await.unwrap();
        let broken = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut connection).await.unwrap();
        assert_eq!(broken.len(), 0);
        let query = format!("SELECT json_array(epoch, split, policy, macro_f1, macro_ap) FROM {view} WHERE run = ? ORDER BY 1");
        sqlx::query_scalar(sqlx::AssertSqlSafe(query)).bind(&run.0).fetch_all(&mut connection).await.unwrap()
    }

    /// Queued, running, succeeded, failed.
    async fn status(&self) -> [i64; 4] {
        let status = Reader::open(&self.db).await.unwrap().status(self.sweep).await.unwrap();
        [status.queued, status.running, status.succeeded, status.failed]
    }
}

#[tokio::test]
async fn a_recorded_result_stays_until_the_new_training_has_succeeded() {
    let mut bed = Bed::recorded().await;
    let (run, other) = (bed.plan.runs[0].clone(), bed.plan.runs[1].fingerprint.clone());
    let name = run.fingerprint.clone();
    let again = PlannedRun { fingerprint: name.again(), ..run.clone() };
    let before = (bed.rows("leaderboard", &name).await, bed.rows("leaderboard", &other).await);
    bed.writer.retrain(bed.sweep, &name).await.unwrap();
    bed.writer.retrain(bed.sweep, &name).await.unwrap();
    assert_eq!(bed.writer.retraining().await.unwrap(), std::slice::from_ref(&name));
    assert_eq!(bed.status().await, [1, 0, 1, 0]);
    let missing = bed.writer.missing(bed.sweep, false).await.unwrap();
    let told: Vec<_> = missing.iter().map(|missing| (&missing.job.run, missing.job.attempt, missing.failures)).collect();
    assert_eq!(told, [(&again.fingerprint, 2, 0)]);
    // it fails for good: the result is still there, and the failure is reported under the run's own name
    assert_eq!(fixture::begin_attempt(&mut bed.writer, &again.fingerprint, "cpu").await, 2);
    assert_eq!(bed.status().await, [0, 1, 1, 0]);
    bed.writer.end_attempt(&again.fingerprint, 2, Outcome::Data, "no data", "", false).await.unwrap();
    assert_eq!(bed.status().await, [0, 0, 1, 1]);
    let mut reader = Reader::open(&bed.db).await.unwrap();
    assert_eq!(reader.failures(bed.sweep).await.unwrap()[0].run, name.0);
    assert_eq!(reader.find_run(&name.0[..8]).await.unwrap().state, "succeeded");
    // half of its records arrive, then the attempt is lost
    assert_eq!(bed.writer.missing(bed.sweep, true).await.unwrap()[0].job.attempt, 3);
    assert_eq!(fixture::begin_attempt(&mut bed.writer, &again.fingerprint, "cpu").await, 3);
    let mut journal = Journal::new();
    journal.attempt(&again, 3, 0, &bed.plan.policies);
    let half = journal.records.len() / 2;
    bed.writer.ingest("half.jsonl", 100, half as u64, &journal.records[..half]).await.unwrap();
    assert_eq!(bed.writer.reap().await.unwrap(), 1);
    assert_eq!((bed.rows("leaderboard", &name).await, bed.rows("leaderboard", &other).await), before);
    // it succeeds: one run again, with its new rows, the whole history and its place in the sweep
    assert_eq!(fixture::begin_attempt(&mut bed.writer, &again.fingerprint, "cpu").await, 4);
    bed.train(&again, 4, &bed.plan.policies.clone()).await;
    bed.writer.end_attempt(&again.fingerprint, 4, Outcome::Killed, "too late", "", true).await.unwrap();
    assert_eq!((bed.status().await, bed.writer.retraining().await.unwrap()), ([0, 0, 2, 0], vec![]));
    assert_eq!(bed.rows("leaderboard", &other).await, before.1);
    let after = bed.rows("leaderboard", &name).await;
    assert!(!after.is_empty() && after != before.0);
    assert_eq!(bed.rows("leaderboard_all", &again.fingerprint).await.len(), 0);
    let found = reader.find_run(&name.0).await.unwrap();
    assert_eq!((found.state.as_str(), found.sweeps.as_slice()), ("succeeded", &["letters".to_owned()][..]));
    let outcomes = reader.attempts(&name).await.unwrap().into_iter().map(|attempt| attempt.outcome.unwrap());
    assert_eq!(outcomes.collect::<Vec<_>>(), ["ok", "data", "lost", "ok"]);
    assert_eq!(reader.run_draws(&name).await.unwrap(), Some(fixture::drawn()));
    assert_eq!(bed.writer.missing(bed.sweep, true).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_run_that_is_trained_again_keeps_the_policies_of_every_sweep() {
    let mut bed = Bed::recorded().await;
    let (run, first) = (bed.plan.runs[0].clone(), bed.plan.policies.clone());
    let mut plan = bed.plan.clone();
    plan.policies = vec![Policy::Fixed(0.25)];
    let second = bed.writer.begin_sweep(&plan, Path::new("letters.toml"), "").await.unwrap();
    bed.writer.retrain(second, &run.fingerprint).await.unwrap();
    assert_eq!(bed.writer.missing(bed.sweep, true).await.unwrap().len(), 0, "no affair of the first sweep");
    let missing = bed.writer.missing(second, false).await.unwrap();
    assert_eq!(missing[0].job.policies, [&plan.policies[..], &first[..]].concat());
    // A sweep that is begun again finds the same training.
    assert_eq!(bed.writer.begin_sweep(&plan, Path::new("letters.toml"), "").await.unwrap(), second);
    bed.writer.retrain(second, &run.fingerprint).await.unwrap();
    assert_eq!(bed.writer.missing(second, false).await.unwrap()[0].job.attempt, 2);
    bed.writer.keep(&run.fingerprint).await.unwrap();
    assert_eq!((bed.writer.retraining().await.unwrap(), bed.status().await), (vec![], [0, 0, 2, 0]));
    assert_eq!(bed.writer.missing(second, true).await.unwrap().len(), 0);
}

#[tokio::test]
async fn the_views_show_results_only() {
    let mut bed = Bed::recorded().await;
    let done = bed.rows("leaderboard", &bed.plan.runs[0].fingerprint).await;
    let plan = fixture::plan("more", &["focal"], 2, 3);
    bed.writer.begin_sweep(&plan, Path::new("more.toml"), "").await.unwrap();
    for (run, failed) in plan.runs.iter().zip([true, false]) {
        let attempt = fixture::begin_attempt(&mut bed.writer, &run.fingerprint, "cpu").await;
        let mut journal = Journal::new();
        journal.attempt(run, attempt, 0, &plan.policies);
        let part = journal.records.len() - 2;
        bed.writer.ingest(&run.fingerprint.0, 100, part as u64, &journal.records[..part]).await.unwrap();
        if failed {
            bed.writer.end_attempt(&run.fingerprint, attempt, Outcome::Crashed, "crashed", "", false).await.unwrap();
        }
        for (view, all) in [("leaderboard", "leaderboard_all"), ("label_metrics", "label_metrics_all")] {
            let count = async |view: &str| -> i64 {
                let query = format!("SELECT count(*) FROM {view} WHERE run = ?");
                let mut connection = open::for_reading(&bed.db).await.unwrap();
                sqlx::query(sqlx::AssertSqlSafe(query)).bind(&run.fingerprint.0).fetch_one(&mut connection).await.unwrap().get(0)
            };
            assert_eq!(count(view).await, 0, "{view}");
            assert!(count(all).await > 0, "{all}");
        }
    }
    assert_eq!(bed.rows("leaderboard_all", &bed.plan.runs[0].fingerprint).await, done);
}
