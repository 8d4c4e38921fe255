//! Runs on a cluster: who has them, and attempts of two copies of a task.

use std::path::Path;

use tempfile::TempDir;

use super::fixture::{Journal, begin_attempt, plan, policies};
use crate::{Reader, SweepId, Writer};
use plan::{Fingerprint, Plan};
use protocol::Outcome;

struct Bed {
    _folder: TempDir,
    writer: Writer,
    plan: Plan,
    sweep: SweepId,
}

impl Bed {
    /// Two runs of three epochs, in two slices of a submission that is live.
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut writer = Writer::open(&folder.path().join("sweep.db")).await.unwrap();
        let plan = plan("small", &["bce"], 2, 3);
        let sweep = writer.begin_sweep(&plan, Path::new("x.toml"), "").await.unwrap();
        let slices: Vec<Vec<Fingerprint>> = plan.runs.iter().map(|run| vec![run.fingerprint.clone()]).collect();
        writer.intend(sweep, "s", &slices).await.unwrap();
        writer.submitted("s", "7").await.unwrap();
        writer.released("s").await.unwrap();
        Self { _folder: folder, writer, plan, sweep }
    }

    async fn ingest(&mut self, name: &str, journal: &Journal, up_to: usize) -> Vec<Outcome> {
        self.writer.share_journal(name, "s", 0).await.unwrap();
        let records = &journal.records[..up_to];
        let ingested = self.writer.ingest(name, up_to as u64, up_to as u64, records).await.unwrap();
        assert_eq!(ingested.refused, None);
        ingested.verdicts.into_iter().map(|verdict| verdict.outcome).collect()
    }

    /// Run 0 as a copy of its task tells of it. All copies call it their first attempt.
    fn told(&self) -> Journal {
        let mut journal = Journal::new();
        journal.attempt(&self.plan.runs[0], 1, 0, &policies());
        journal
    }

    async fn run(&mut self) -> (String, Vec<(i64, String)>) {
        let mut reader = Reader::open(self.writer.path()).await.unwrap();
        let name = &self.plan.runs[0].fingerprint;
        let run = reader.find_run(&name.0).await.unwrap();
        let attempts = reader.attempts(name).await.unwrap();
        (run.state, attempts.into_iter().map(|row| (row.attempt, row.outcome.unwrap_or_default())).collect())
    }
}

#[tokio::test]
async fn runs_of_a_slice_are_nobody_elses_until_it_is_over() {
    let mut bed = Bed::new().await;
    assert!(bed.writer.missing(bed.sweep, false).await.unwrap().is_empty());
    assert_eq!(bed.writer.slices(bed.sweep).await.unwrap().len(), 2);
    // A controller that starts anew leaves them alone, and what runs there goes on.
    let journal = bed.told();
    bed.ingest("0.s.r0.a.jsonl", &journal, 4).await;
    assert_eq!(bed.writer.reap().await.unwrap(), 0);
    let open = bed.writer.open_attempts("s", 0, None).await.unwrap();
    assert_eq!((open.len(), open[0].attempt, open[0].in_vain), (1, 1, 1));
    bed.writer.slice_over("s", 1).await.unwrap();
    assert_eq!(bed.writer.missing(bed.sweep, false).await.unwrap().len(), 1);
    assert_eq!(bed.writer.submissions(bed.sweep, 0.0).await.unwrap().len(), 1);
    bed.writer.judge(&[(open[0].clone(), Outcome::Lost, "gone".to_owned(), true)], "").await.unwrap();
    bed.writer.slice_over("s", 0).await.unwrap();
    assert_eq!(bed.writer.missing(bed.sweep, false).await.unwrap().len(), 2);
    assert!(bed.writer.submissions(bed.sweep, 0.0).await.unwrap().is_empty());
}

#[tokio::test]
async fn two_copies_of_a_task_make_two_attempts_and_the_first_success_wins() {
    for again in [false, true] {
        let mut bed = Bed::new().await;
        let journal = bed.told();
        let all = journal.records.len();
        // The older copy is half through when the newer one begins, and ends first.
        bed.ingest("0.s.r0.a.jsonl", &journal, all / 2).await;
        bed.ingest("0.s.r1.b.jsonl", &journal, all / 2).await;
        assert_eq!(bed.ingest("0.s.r0.a.jsonl", &journal, all).await, [Outcome::Lost], "its rows were replaced");
        let (state, attempts) = bed.run().await;
        assert_eq!((state.as_str(), attempts), ("running", vec![(1, "lost".to_owned()), (2, String::new())]));
        if again {
            // Taken again as a whole, it has the run.
            let part: Vec<_> = journal.records.iter().filter(|record| record.event.attempt().is_some()).cloned().collect();
            bed.writer.share_journal("0.s.r0.a.jsonl@r", "s", 0).await.unwrap();
            let next = part.last().unwrap().s + 1;
            let ingested = bed.writer.ingest("0.s.r0.a.jsonl@r", 0, next, &part).await.unwrap();
            assert_eq!(ingested.verdicts[0].outcome, Outcome::Ok);
        }
        assert_eq!(bed.ingest("0.s.r1.b.jsonl", &journal, all).await, [Outcome::Ok]);
        assert_eq!(bed.run().await.0, "succeeded");
        let winner = bed.writer.winning_journals(&[bed.plan.runs[0].fingerprint.clone()]).await.unwrap();
        assert_eq!(winner, [Some(if again { "0.s.r0.a.jsonl@r" } else { "0.s.r1.b.jsonl" }.to_owned())]);
        // And whatever is read twice changes nothing.
        let before = bed.run().await;
        bed.ingest("0.s.r1.b.jsonl", &journal, all).await;
        bed.ingest("0.s.r0.a.jsonl", &journal, all).await;
        assert_eq!(bed.run().await, before);
    }
}

#[tokio::test]
async fn a_run_has_all_its_attempts_each_time_that_it_is_tried() {
    let mut bed = Bed::new().await;
    bed.writer.slice_over("s", 0).await.unwrap();
    let run = bed.plan.runs[0].fingerprint.clone();
    for (time, state) in [(1, "queued"), (2, "failed"), (3, "queued"), (4, "failed")] {
        let attempt = begin_attempt(&mut bed.writer, &run, "cpu").await;
        bed.writer.end_attempt(&run, attempt, Outcome::Crashed, "", "", true).await.unwrap();
        bed.writer.give_up(bed.sweep, 2).await.unwrap();
        assert_eq!(bed.run().await.0, state, "{time}");
    }
    // What says nothing about a run does not end it.
    let attempt = begin_attempt(&mut bed.writer, &run, "cpu").await;
    bed.writer.end_attempt(&run, attempt, Outcome::Lost, "", "", true).await.unwrap();
    bed.writer.give_up(bed.sweep, 2).await.unwrap();
    assert_eq!(bed.run().await.0, "queued");
}

#[tokio::test]
async fn attempts_that_come_no_further_are_counted() {
    let mut bed = Bed::new().await;
    let journal = bed.told();
    for (time, why, in_vain) in [(0, "CANCELLED: x", 1), (1, "NODE_FAIL: x", 2), (2, "gone", 2), (3, "gone", 3)] {
        bed.ingest(&format!("0.s.r{time}.a.jsonl"), &journal, 4).await;
        let open = bed.writer.open_attempts("s", 0, None).await.unwrap();
        assert_eq!((open.len(), open[0].in_vain), (1, in_vain), "{time}");
        bed.writer.judge(&[(open[0].clone(), Outcome::Lost, why.to_owned(), true)], "").await.unwrap();
    }
}
