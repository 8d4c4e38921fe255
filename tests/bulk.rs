//! Sizes that a long sweep reaches. Ignored: tens of seconds; `cargo test --release --test bulk -- --ignored --nocapture`.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

#[path = "../crates/store/src/tests/fixture.rs"]
mod fixture;

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use fixture::Journal;
use imbalance::threshold::Policy;
use plan::Fingerprint;
use store::{At, EvaluationId, METRICS, Reader, Writer};
use sweep::report::{self, Form, Question};

#[tokio::test]
#[ignore = "records 10,000 runs and more than 100,000 evaluations"]
async fn ten_thousand_runs() {
    let folder = tempfile::TempDir::new().unwrap();
    let db = folder.path().join("sweep.db");
    let mut plan = fixture::plan("bulk", &["bce", "focal"], 5_000, 3);
    plan.policies.push(Policy::Fixed(0.3));
    let mut writer = Writer::open(&db).await.unwrap();
    let clock = Instant::now();
    let sweep = writer.begin_sweep(&plan, Path::new("bulk.toml"), "").await.unwrap();
    let begun = clock.elapsed();
    let clock = Instant::now();
    assert_eq!(writer.missing(sweep, false).await.unwrap().len(), 10_000);
    let listed = clock.elapsed();
    // one ingest per epoch, as from a local worker
    let mut blocks = Vec::new();
    let clock = Instant::now();
    for (at, run) in plan.runs.iter().enumerate() {
        let started = Instant::now();
        let attempt = fixture::begin_attempt(&mut writer, &run.fingerprint, "cpu").await;
        let mut journal = Journal::new();
        journal.attempt(run, attempt, 0, &plan.policies);
        let name = format!("w{at}");
        let (mut sent, length) = (0, journal.records.len());
        while sent < length {
            let next = (sent + 6).min(length);
            writer.ingest(&name, next as u64, next as u64, &journal.records[sent..next]).await.unwrap();
            sent = next;
        }
        if at % 1_000 < 10 {
            blocks.push(started.elapsed());
        }
    }
    let ingested = clock.elapsed();
    let (first, last) = (blocks[..10].iter().min().unwrap(), blocks[90..].iter().min().unwrap());
    writer.close().await.unwrap();
    let mut reader = Reader::open(&db).await.unwrap();
    let runs: Vec<Fingerprint> = plan.runs.iter().map(|run| run.fingerprint.clone()).collect();
    let mut times = Vec::new();
    let clock = Instant::now();
    assert_eq!(reader.status(sweep).await.unwrap().succeeded, 10_000);
    times.push(("status", clock.elapsed()));
    let clock = Instant::now();
    let results = reader.results(sweep, "val", At::Best, &METRICS).await.unwrap();
    times.push(("results", clock.elapsed()));
    assert_eq!(results.len(), 30_000);
    let policies: Vec<String> = plan.policies.iter().map(ToString::to_string).collect();
    for (what, members) in [("labels of 60 runs", &runs[..60]), ("labels of all runs", &runs[..])] {
        let names: HashSet<&str> = members.iter().map(|run| run.0.as_str()).collect();
        let groups: Vec<(EvaluationId, usize)> = results
            .iter()
            .filter(|found| names.contains(found.run.as_str()))
            .map(|found| (found.evaluation, policies.iter().position(|policy| *policy == found.policy).unwrap()))
            .collect();
        let clock = Instant::now();
        let means = reader.label_means(&groups).await.unwrap();
        times.push((what, clock.elapsed()));
        assert_eq!(means.len(), 3 * 4);
        assert!(means.iter().all(|mean| mean.evaluations == members.len() as i64));
    }
    let clock = Instant::now();
    assert_eq!(reader.recorded(&runs).await.unwrap().len(), 10_000);
    times.push(("recorded", clock.elapsed()));
    let clock = Instant::now();
    assert_eq!(reader.paces().await.unwrap().len(), 1);
    times.push(("paces", clock.elapsed()));
    for (what, detailed) in [("report", 10), ("report with every label", usize::MAX)] {
        let clock = Instant::now();
        let named = reader.sweep(sweep).await.unwrap();
        // one row per run: the most that a report can have
        let question = Question { detailed, group_by: vec!["loss".to_owned(), "seed".to_owned()], ..Question::default() };
        let summary = report::answer(&mut reader, named, &question).await.unwrap();
        let answered = clock.elapsed();
        let text = report::render(&summary, Form::Json).unwrap();
        assert!(summary.rows.len() == 30_001 && text.len() > 1_000_000);
        println!("{what}: answered in {answered:?}, as JSON in {:?}", clock.elapsed());
        if detailed == 10 {
            times.push((what, answered));
        }
    }
    println!("begin {begun:?}, missing {listed:?}, ingest {ingested:?} (a run: first {first:?}, last {last:?}), {times:?}");
    assert!(*last < *first * 3, "ingest slows down as the database grows");
    for (what, time) in times {
        // Less than one on an idle machine.
        assert!(time < Duration::from_secs(20), "{what} took {time:?}");
    }
}
