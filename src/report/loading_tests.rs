use std::path::{Path, PathBuf};

use super::super::load::load;
use super::*;
use imbalance::LabelCounts;
use imbalance::rng::Rng;
use plan::Plan;
use protocol::{Event, Job, Outcome, Record, VERSION};
use store::Writer;

use crate::launcher::made_up;

const FILE: &str = r#"
name = "growing"
[data]
kind = "letters"
samples = 200
image_size = 16
label_rates = { A = 0.3, B = 0.4 }
[model]
arch = "linear"
[train]
epochs = 3
[grid]
loss = ["bce", "focal"]
threshold = [0.5, "max_f1"]
seed = [0, 1, 2]
"#;

fn planned(folder: &Path, file: &str) -> Plan {
    let sweep = plan::parse("t.toml", file, &[]).unwrap();
    let prepare = |config| data::prepare(config, folder, &folder.join("cache"), &|_, _| {}).unwrap().facts;
    let facts: Vec<_> = sweep.data_configs().iter().map(prepare).collect();
    sweep.plan(&facts, &std::collections::BTreeMap::new()).unwrap()
}

/// A run under way: the records that are not stored yet, and where its journal is.
struct Going {
    journal: String,
    events: std::vec::IntoIter<Event>,
    next: u64,
}

/// A database that grows step by step, and what was read of it so far.
struct World {
    folder: tempfile::TempDir,
    writer: Writer,
    plan: Plan,
    sweep: SweepId,
    going: Vec<Going>,
    journals: usize,
    rng: Rng,
}

impl World {
    async fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plan = planned(folder.path(), FILE);
        let mut writer = Writer::open(&folder.path().join("x.db")).await.unwrap();
        let sweep = writer.begin_sweep(&plan, Path::new("t.toml"), FILE).await.unwrap();
        let rng = Rng::new(seed, "loading", &[]);
        Self { folder, writer, plan, sweep, going: Vec::new(), journals: 0, rng }
    }

    fn db(&self) -> PathBuf {
        self.folder.path().join("x.db")
    }

    fn below(&mut self, end: usize) -> usize {
        self.rng.below(end as u64) as usize
    }

    /// One step: a run begins, some records of one arrive, a failed run is queued again, or a recorded one is trained again.
    async fn step(&mut self) -> &'static str {
        let missing = self.writer.missing(self.sweep, false).await.unwrap();
        let of_going = |run: &plan::Fingerprint, going: &[Going]| going.iter().any(|going| going.journal.starts_with(&run.0));
        let queued: Vec<Job> =
            missing.into_iter().map(|missing| missing.job).filter(|job| !of_going(&job.run, &self.going)).collect();
        match self.below(10) {
            0..3 if !queued.is_empty() => {
                let at = self.below(queued.len());
                self.begin(queued[at].clone()).await;
                "begin"
            }
            9 => {
                let runs: Vec<_> = self.plan.runs.iter().map(|run| run.fingerprint.clone()).collect();
                let at = self.below(runs.len());
                self.writer.queue_again(&runs[at..=at]).await.unwrap();
                "queue again"
            }
            8 => {
                let runs: Vec<_> = self.plan.runs.iter().map(|run| run.fingerprint.clone()).collect();
                let recorded = self.writer.recorded(&runs).await.unwrap();
                let lost = runs.into_iter().zip(recorded).find(|(_, recorded)| *recorded).map(|(run, _)| run);
                if let Some(run) = lost {
                    self.writer.retrain(self.sweep, &run).await.unwrap();
                }
                "train again"
            }
            _ if !self.going.is_empty() => {
                let at = self.below(self.going.len());
                self.arrive(at).await
            }
            _ => "nothing",
        }
    }

    async fn begin(&mut self, job: Job) {
        let attempt = self.writer.begin_attempts(std::slice::from_ref(&job.run), "cpu").await.unwrap()[0];
        let job = Job { attempt, ..job };
        let facts = &self.plan.data[0].1;
        let truth: [LabelCounts; 2] = [facts.val.clone(), facts.test.clone()];
        let mut events = vec![Event::Begin { r: job.run.clone(), a: attempt, from: None }];
        let mut n = 0;
        for event in made_up(&job, &truth).into_iter().flatten() {
            n += 1;
            events.push(event);
        }
        let (r, a, why) = (job.run.clone(), attempt, "because".to_owned());
        let st = if self.below(4) == 0 { Outcome::Diverged } else { Outcome::Ok };
        events.push(Event::End { r, a, st, n, why });
        self.journals += 1;
        let journal = format!("{}-{}.jsonl", job.run.0, self.journals);
        let (worker, version) = ("w".to_owned(), "1".to_owned());
        let open = Event::Open { v: VERSION, worker, pid: 1, host: String::new(), device: "cpu".to_owned(), threads: 1, version };
        events.insert(0, open);
        self.going.push(Going { journal, events: events.into_iter(), next: 0 });
    }

    async fn arrive(&mut self, at: usize) -> &'static str {
        let some = 1 + self.below(8);
        let going = &mut self.going[at];
        let events = going.events.by_ref().take(some);
        let records: Vec<Record> = (going.next..).zip(events).map(|(s, event)| Record { s, t: 1.0, event }).collect();
        let (journal, next) = (going.journal.clone(), going.next + records.len() as u64);
        going.next = next;
        let failed = records.iter().find_map(|record| match &record.event {
            Event::End { r, a, st, .. } if *st != Outcome::Ok => Some((r.clone(), *a, *st)),
            _ => None,
        });
        if records.is_empty() {
            self.going.remove(at);
            return "over";
        }
        self.writer.ingest(&journal, next, next, &records).await.unwrap();
        if let Some((run, attempt, outcome)) = failed {
            let retry = self.below(2) == 0;
            self.writer.end_attempt(&run, attempt, outcome, "because", "", retry).await.unwrap();
            return "failed";
        }
        "records"
    }
}

/// Everything in it, as text.
fn seen(loaded: Loaded) -> String {
    let Loaded {
        sweep,
        policies,
        data,
        runs,
        passed_over,
        tuned,
        keys,
        val,
        test,
        drawn,
        search,
        lost,
        not_held_out,
        ungrouped,
        rounded,
    } = loaded;
    let drawn: std::collections::BTreeMap<_, _> = drawn.into_iter().collect();
    format!(
        "{sweep:?}\n{policies:?} {data:?}\n{runs:#?}\n{passed_over:?} {tuned:?} {keys:?}\n{val:#?}\n{test:#?}\n{drawn:?} {search:?} {lost:?} \
         {not_held_out:?} {ungrouped:?} {rounded:?}"
    )
}

/// After every step of a growing database, what is read of the changes is what is read anew; and it is little.
#[tokio::test]
async fn what_is_refreshed_is_what_is_read_anew() {
    let mut happened = BTreeSet::new();
    for seed in 0..3 {
        let mut world = World::new(seed).await;
        let questions =
            [At::Best, At::Last].map(|at| Question { split: Split::Test, at, metrics: &["macro_ap"], ..Question::default() });
        let mut kept = [None, None];
        let (mut reader, mut other) = (Reader::open(&world.db()).await.unwrap(), Reader::open(&world.db()).await.unwrap());
        for step in 0..120 {
            let what = world.step().await;
            happened.insert(what);
            let row = other.sweep(world.sweep).await.unwrap();
            for (question, kept) in questions.iter().zip(&mut kept) {
                let refreshed = refresh(kept, &mut reader, row.clone(), question).await.unwrap();
                let anew = load(&mut other, row.clone(), question).await.unwrap();
                assert_eq!(seen(refreshed), seen(anew), "seed {seed}, step {step}: {what}");
                let read = kept.as_ref().unwrap().read;
                assert!(step == 0 || read <= 1 || what == "failed" || read == world.plan.runs.len(), "{read} runs: {what}");
            }
        }
    }
    for step in ["begin", "records", "failed", "over", "queue again", "train again"] {
        assert!(happened.contains(step), "{step} has not happened: {happened:?}");
    }
}

/// A policy that is new to recorded runs is noticed although the runs stay as they are, and so is another database.
#[tokio::test]
async fn new_policies_and_other_files_are_noticed() {
    let mut world = World::new(9).await;
    let template = world.writer.missing(world.sweep, false).await.unwrap().remove(0).job;
    for _ in 0..200 {
        world.step().await;
    }
    let wider = planned(world.folder.path(), &FILE.replace("0.5, ", "0.5, 0.25, ").replace("growing", "wider"));
    let sweep = world.writer.begin_sweep(&wider, Path::new("t.toml"), FILE).await.unwrap();
    let mut reader = Reader::open(&world.db()).await.unwrap();
    let question = Question { metrics: &["macro_ap"], ..Question::default() };
    let row = reader.sweep(sweep).await.unwrap();
    let mut kept = None;
    let before = refresh(&mut kept, &mut reader, row.clone(), &question).await.unwrap();
    assert!(!before.val.is_empty() && before.val.iter().all(|score| before.policies[score.policy] != "0.25"));
    let (run, policies) = world.writer.unevaluated(sweep).await.unwrap().remove(0);
    let facts = &wider.data[0].1;
    let config = wider.runs.iter().find(|planned| planned.fingerprint == run).unwrap().config.clone();
    let job = Job { run: run.clone(), config, policies, attempt: 0, ..template };
    let events: Vec<Event> = made_up(&job, &[facts.val.clone(), facts.test.clone()]).into_iter().flatten().collect();
    let evaluations: Vec<Event> = events.into_iter().filter(|event| matches!(event, Event::Eval { .. })).collect();
    world.writer.record(&evaluations).await.unwrap();
    let after = refresh(&mut kept, &mut reader, row.clone(), &question).await.unwrap();
    assert_eq!(kept.as_ref().unwrap().read, 1);
    assert_eq!(after.val.iter().filter(|score| after.policies[score.policy] == "0.25").count(), 1);
    assert_eq!(refresh(&mut kept, &mut reader, row.clone(), &question).await.unwrap().val.len(), after.val.len());
    assert_eq!(kept.as_ref().unwrap().read, 0);
    // Another file takes its place, with a sweep of the same id and no results.
    let mut world = World::new(1).await;
    world.writer.begin_sweep(&wider, Path::new("t.toml"), FILE).await.unwrap();
    let (db, path) = (world.db(), reader.path().to_owned());
    world.writer.close().await.unwrap();
    for beside in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(beside);
        let _ = std::fs::remove_file(name);
    }
    std::fs::rename(db, &path).unwrap();
    assert!(refresh(&mut kept, &mut reader, row, &question).await.unwrap().val.is_empty());
}
