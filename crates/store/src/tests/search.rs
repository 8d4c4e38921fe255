//! What a search stops and leaves out, for its own sweep and for others that have the same runs.

use super::fixture;
use super::writer::{begin, folder};
use crate::{Reader, SearchDecision, SweepId, Writer};
use plan::{Fingerprint, Halving, Plan, Search, SearchMetric};
use protocol::Outcome;

fn search(seed: u64) -> Search {
    let halving = Halving { metric: SearchMetric::MacroAp, reduction: 3, min: None };
    Search { budget: None, seed, halving: Some(halving) }
}

fn out(run: &Fingerprint) -> SearchDecision {
    let (value, cut) = (Some(0.25), Some(0.5));
    SearchDecision { run: run.clone(), rung: 0, evaluations: 2, value, cut, place: 2, among: 3, goes_on: false }
}

async fn missing(writer: &mut Writer, sweep: SweepId) -> Vec<Fingerprint> {
    writer.missing(sweep, true).await.unwrap().into_iter().map(|missing| missing.job.run).collect()
}

fn names(plan: &Plan) -> Vec<Fingerprint> {
    plan.runs.iter().map(|run| run.fingerprint.clone()).collect()
}

#[tokio::test]
async fn what_a_search_has_stopped_is_not_missing_until_another_sweep_needs_it() {
    let (_folder, db) = folder();
    let mut writer = Writer::open(&db).await.unwrap();
    let plan = fixture::plan("letters", &["bce", "focal"], 2, 3);
    let runs = names(&plan);
    let sweep = begin(&mut writer, &plan).await;
    writer.begin_search(sweep, Some((&search(0), Some(9)))).await.unwrap();
    fixture::begin_attempt(&mut writer, &runs[2], "cpu").await;
    // Under way: its worker is told; the machine records its end.
    writer.decide(sweep, &[out(&runs[2])], &runs[3..]).await.unwrap();
    writer.end_attempt(&runs[2], 1, Outcome::StoppedEarly, "", "", false).await.unwrap();
    assert_eq!(missing(&mut writer, sweep).await, runs[..2], "also where failed runs are tried again");
    let status = Reader::open(&db).await.unwrap().status(sweep).await.unwrap();
    assert_eq!((status.queued, status.failed, status.stopped_early, status.left_out), (2, 0, 1, 1));
    assert_eq!(writer.search_decisions(sweep).await.unwrap(), [out(&runs[2])]);
    // The same search, with another budget: what was left out is asked for anew.
    let budget = Some(plan::SearchBudget::Seconds(9.0));
    writer.begin_search(sweep, Some((&Search { budget, ..search(0) }, None))).await.unwrap();
    assert_eq!(missing(&mut writer, sweep).await, [&runs[..2], &runs[3..]].concat());
    let (_, strategies) = Reader::open(&db).await.unwrap().search(sweep).await.unwrap().unwrap();
    assert_eq!(strategies, Some(9), "as it was");
    // Another search, and none.
    for other in [Some((&search(1), None)), None] {
        writer.decide(sweep, &[out(&runs[2])], &[]).await.unwrap();
        writer.begin_search(sweep, other).await.unwrap();
        assert_eq!(missing(&mut writer, sweep).await, runs);
        assert!(writer.search_decisions(sweep).await.unwrap().is_empty());
    }
    assert!(Reader::open(&db).await.unwrap().search(sweep).await.unwrap().is_none());
}

#[tokio::test]
async fn a_run_that_waits_to_go_on_ends_with_the_decision() {
    let (_folder, db) = folder();
    let mut writer = Writer::open(&db).await.unwrap();
    let plan = fixture::plan("letters", &["bce", "focal"], 1, 3);
    let runs = names(&plan);
    let sweep = begin(&mut writer, &plan).await;
    writer.begin_search(sweep, Some((&search(0), None))).await.unwrap();
    fixture::begin_attempt(&mut writer, &runs[1], "cpu").await;
    writer.reap().await.unwrap();
    writer.decide(sweep, &[out(&runs[1])], &[]).await.unwrap();
    let status = Reader::open(&db).await.unwrap().status(sweep).await.unwrap();
    assert_eq!((status.queued, status.failed, status.stopped_early), (1, 0, 1));
    assert_eq!(Reader::open(&db).await.unwrap().failed(&runs).await.unwrap(), [false, false]);
    // Another sweep trains it, and the search's sweep goes.
    let other = begin(&mut writer, &fixture::plan("other", &["bce", "focal"], 1, 3)).await;
    assert_eq!(missing(&mut writer, other).await, runs, "failed runs, too");
    writer.remove_sweep(sweep).await.unwrap();
    assert_eq!(writer.missing(other, false).await.unwrap().len(), 2);
}
