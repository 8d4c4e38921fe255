//! Records that arrive together are stored as if each had arrived alone.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::fixture::{self, Journal};
use super::writer::{begin, folder};
use crate::{Ingested, Verdict, Writer, open};
use imbalance::rng::Rng;
use plan::{Fingerprint, Plan, PlannedRun};
use protocol::{Event, Outcome, Record};

/// The records of one attempt, without the journal's first one.
fn attempt(plan: &Plan, run: &PlannedRun, attempt: u32) -> Vec<Event> {
    let mut journal = Journal::new();
    journal.attempt(run, attempt, 0, &plan.policies);
    journal.records.into_iter().skip(1).map(|record| record.event).collect()
}

/// The same attempt with another outcome.
fn ended(mut events: Vec<Event>, outcome: Outcome) -> Vec<Event> {
    if let Some(Event::End { st, why, .. }) = events.last_mut() {
        (*st, *why) = (outcome, "because".to_owned());
    }
    events
}

/// One record of each in turn.
fn in_turn(attempts: Vec<Vec<Event>>) -> Vec<Event> {
    let longest = attempts.iter().map(Vec::len).max().unwrap();
    (0..longest).flat_map(|at| attempts.iter().filter_map(move |events| events.get(at).cloned())).collect()
}

fn journal(parts: Vec<Vec<Event>>) -> Vec<Record> {
    let mut journal = Journal::new();
    parts.into_iter().flatten().for_each(|event| journal.push(event));
    journal.records
}

/// Stores the records in as many calls as `sizes` says, up to one that is refused.
async fn told(writer: &mut Writer, name: &str, records: &[Record], mut sizes: impl FnMut() -> usize) -> Ingested {
    let (mut all, mut from) = (Ingested::default(), 0);
    while from < records.len() && all.refused.is_none() {
        let to = (from + sizes()).min(records.len());
        let found = writer.ingest(name, to as u64, to as u64, &records[from..to]).await.unwrap();
        all.verdicts.extend(found.verdicts.into_iter().map(|verdict| Verdict { at: verdict.at + from, ..verdict }));
        all.refused = found.refused.map(|refused| crate::Refused { at: refused.at + from, ..refused });
        from = to;
    }
    all
}

/// All rows, without row ids that depend on the order and without the controller's times.
async fn contents(db: &Path) -> Vec<String> {
    let mut connection = open::for_reading(db).await.unwrap();
    let mut rows = Vec::new();
    for query in [
        "SELECT json_array(id, fingerprint, epochs, state, best_epoch, owner, winner, replaces, state = 'succeeded' AND finished_at)
         FROM runs ORDER BY 1",
        "SELECT json_array(run, attempt, journal, from_epoch, records, outcome, why, CASE outcome WHEN 'ok' THEN finished_at END)
         FROM attempts ORDER BY 1",
        "SELECT json_array(name, worker, pid, device, fault) FROM journals ORDER BY 1",
        "SELECT json_array(sweep, run, again) FROM sweep_runs ORDER BY 1",
        "SELECT json_array(run, epoch, attempt, train_loss, val_loss, seconds, finished_at, steps) FROM epochs ORDER BY 1",
        "SELECT json_array(run, epoch, split, attempt, macro_ap, macro_auc) FROM rankings ORDER BY 1",
        "SELECT json_array(run, epoch, split, label, ap, auc, mean_score) FROM label_rankings ORDER BY 1",
        "SELECT json_array(run, epoch, split, policy, attempt, samples_f1, subset_accuracy, label, threshold, tp, fp, fn, tn)
         FROM evaluations e JOIN label_counts ON evaluation = e.id ORDER BY 1",
        "SELECT json_array(d.run, attempt, draws, shift, label, prevalence) FROM draws d JOIN label_draws l ON l.run = d.run ORDER BY 1",
    ] {
        rows.extend(sqlx::query_scalar::<_, String>(query).fetch_all(&mut connection).await.unwrap());
    }
    let broken = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut connection).await.unwrap();
    assert_eq!(broken.len(), 0);
    rows
}

struct Bed {
    _folder: TempDir,
    db: PathBuf,
    writer: Writer,
    sweep: i64,
}

impl Bed {
    /// A sweep of which every run has this many attempts begun.
    async fn begun(plan: &Plan, attempts: usize) -> Self {
        let (folder, db) = folder();
        let mut writer = Writer::open(&db).await.unwrap();
        let sweep = begin(&mut writer, plan).await;
        let runs: Vec<Fingerprint> = plan.runs.iter().map(|run| run.fingerprint.clone()).collect();
        for _ in 0..attempts {
            writer.begin_attempts(&runs, "cpu").await.unwrap();
        }
        Self { _folder: folder, db, writer, sweep }
    }
}

fn outcomes(found: &Ingested) -> Vec<Outcome> {
    found.verdicts.iter().map(|verdict| verdict.outcome).collect()
}

#[tokio::test]
async fn a_call_of_many_ends_is_worth_as_many_calls() {
    let plan = fixture::plan("letters", &["bce", "focal"], 5, 3);
    let of = |run: usize, number: u32| attempt(&plan, &plan.runs[run], number);
    let mut short = of(1, 1);
    short.remove(4);
    let mut lie = of(7, 1);
    if let Some(Event::Eval { counts, .. }) = lie.iter_mut().rfind(|event| matches!(event, Event::Eval { .. })) {
        counts[0].tp += 1 << 62;
    }
    let half = |run: usize, number: u32| of(run, number)[..9].to_vec();
    let records = journal(vec![
        in_turn(vec![of(0, 1), short, ended(of(2, 1), Outcome::Diverged), ended(of(3, 1), Outcome::Stopped)]),
        of(4, 1),
        // The end twice, and everything twice.
        vec![of(4, 1).pop().unwrap()],
        of(4, 1),
        // A newer attempt, then the rest of the older one; in turn, and after a success.
        in_turn(vec![half(5, 1), half(5, 2)]),
        of(5, 1)[9..].to_vec(),
        of(5, 2)[9..].to_vec(),
        of(6, 2),
        of(6, 1),
        of(8, 1),
        in_turn(vec![lie, ended(of(3, 2), Outcome::Io)]),
        of(9, 1),
    ]);
    let mut rng = Rng::new(7, "sizes", &[]);
    let mut before: Option<(Vec<String>, Ingested)> = None;
    for most in [1, 2, 5, 40, records.len()] {
        let mut bed = Bed::begun(&plan, 2).await;
        let size = || if most == records.len() { most } else { 1 + rng.below(most as u64) as usize };
        let found = told(&mut bed.writer, "w0.jsonl", &records, size).await;
        let now = (contents(&bed.db).await, found);
        let Some(before) = &before else {
            let mut words: Vec<String> = outcomes(&now.1).iter().map(crate::word).collect();
            words.sort();
            assert_eq!(words, ["crashed", "crashed", "diverged", "ok", "ok", "ok", "ok", "ok", "ok", "stopped"]);
            assert!(now.1.refused.as_ref().is_some_and(|refused| refused.why.contains("tp + fn of label 0")), "{:?}", now.1);
            before = Some(now);
            continue;
        };
        assert_eq!(now.1, before.1, "at most {most} records a call");
        assert_eq!(now.0, before.0, "at most {most} records a call");
    }
}

/// A run that takes the place of another changes which run a name means.
#[tokio::test]
async fn a_run_that_is_replaced_among_others_is_replaced_in_its_turn() {
    let plan = fixture::plan("letters", &["bce"], 3, 3);
    let name = plan.runs[0].fingerprint.clone();
    let again = PlannedRun { fingerprint: name.again(), ..plan.runs[0].clone() };
    let records = journal(vec![
        in_turn(vec![attempt(&plan, &again, 2), attempt(&plan, &plan.runs[1], 1)]),
        // Of the name that nothing has any more, and of the one that the new run has now.
        attempt(&plan, &again, 2),
        attempt(&plan, &plan.runs[0], 3),
        attempt(&plan, &plan.runs[2], 1),
    ]);
    let mut before: Option<(Vec<String>, Ingested)> = None;
    for size in [1, 3, records.len()] {
        let mut bed = Bed::begun(&plan, 1).await;
        let first = journal(vec![attempt(&plan, &plan.runs[0], 1)]);
        assert_eq!(outcomes(&told(&mut bed.writer, "w0.jsonl", &first, || first.len()).await), [Outcome::Ok]);
        bed.writer.retrain(bed.sweep, &name).await.unwrap();
        assert_eq!(fixture::begin_attempt(&mut bed.writer, &again.fingerprint, "cpu").await, 2);
        let found = told(&mut bed.writer, "w1.jsonl", &records, || size).await;
        assert_eq!((outcomes(&found), &found.refused), (vec![Outcome::Ok; 4], &None));
        assert_eq!(bed.writer.retraining().await.unwrap(), []);
        let now = (contents(&bed.db).await, found);
        let Some(before) = &before else {
            before = Some(now);
            continue;
        };
        assert_eq!(&now, before, "{size} records a call");
    }
}
