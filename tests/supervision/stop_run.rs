//! The order that stops one run: through the controller with workers that pretend, with real ones, and to a real worker directly.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use archive::Archive;
use plan::{Fingerprint, Plan};
use protocol::{Event, Job, Order, Outcome, VERSION, journal};
use store::{Reader, Writer};
use sweep::controller::observer::Observer;
use sweep::controller::progress::Verbosity;
use sweep::controller::{self, Interrupts, Limits, News, Request, Settings, Tally};
use sweep::launcher::{Chosen, Place};
use tokio::sync::mpsc::UnboundedSender;

use crate::wait_for;

/// Three runs of many short epochs, which a real worker trains together.
const BUNDLE: &str = r#"
[data]
kind = "letters"
samples = 300
image_size = 16
[model]
arch = "linear"
[train]
epochs = 150
[grid]
loss = ["bce", "focal", "asl"]
"#;

fn planned(folder: &Path, file: &str) -> Plan {
    let sweep = plan::parse("t.toml", file, &[]).unwrap();
    let facts: Vec<_> = sweep
        .data_configs()
        .iter()
        .map(|config| data::prepare(config, folder, &folder.join("cache"), &|_, _| {}).unwrap().facts)
        .collect();
    sweep.plan(&facts, &std::collections::BTreeMap::new()).unwrap()
}

/// Requests the end of a run after its first epoch.
struct Stopper {
    run: usize,
    wish: Fingerprint,
    requests: UnboundedSender<Request>,
    heard: std::sync::Arc<std::sync::Mutex<Vec<News>>>,
}

impl Observer for Stopper {
    fn told(&mut self, news: &News, _: &Tally) {
        if matches!(news, News::Epoch { run, epoch: 0, .. } if *run == self.run) {
            self.requests.send(Request::StopRun(self.wish.clone())).unwrap();
        }
        self.heard.lock().unwrap().push(news.clone());
    }
}

/// Runs the sweep and has its second run stopped; returns the news of ends.
fn stop_the_second(file: &str, launcher: Chosen) {
    let folder = tempfile::tempdir().unwrap();
    let (plan, db) = (planned(folder.path(), file), folder.path().join("x.db"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut writer = Writer::open(&db).await.unwrap();
        let archive = Archive::beside(&db).unwrap();
        let sweep = writer.begin_sweep(&plan, Path::new("t.toml"), file).await.unwrap();
        let (requests, queue) = controller::requests();
        let heard = std::sync::Arc::default();
        let wish = plan.runs[1].fingerprint.clone();
        let stopper = Stopper { run: 1, wish: wish.clone(), requests, heard: std::sync::Arc::clone(&heard) };
        let settings = Settings {
            launcher,
            limits: Limits { attempts: 1, timeout: None, hung_after: Duration::from_secs(600), max_failures: None },
            failed: false,
            search: None,
            verbosity: Verbosity::Quiet,
            observers: vec![Box::new(stopper)],
            requests: queue,
        };
        let mut interrupts = Interrupts::listen().unwrap();
        let summary = controller::train(&mut writer, sweep, &archive, settings, &mut interrupts).await.unwrap();
        assert_eq!((summary.halt, summary.failures), (None, Vec::new()));
        let tally = summary.tally;
        assert_eq!((tally.succeeded, tally.stopped, tally.failed, tally.queued), (plan.runs.len() - 1, 1, 0, 0));
        writer.close().await.unwrap();
        assert!(heard.lock().unwrap().iter().any(|news| matches!(news, News::StoppedEarly { run: 1, .. })));
        let mut reader = Reader::open(&db).await.unwrap();
        let attempts = reader.attempts(&wish).await.unwrap();
        assert_eq!(attempts[0].outcome.as_deref(), Some("stopped_early"), "{attempts:?}");
    });
}

fn places() -> Vec<Place> {
    vec![Place { device: "cpu".to_owned(), threads: 1 }]
}

#[test]
fn a_policy_stops_a_run_of_workers_that_pretend() {
    stop_the_second(BUNDLE, Chosen::Fake { places: places(), epoch: Duration::from_millis(5) });
}

#[test]
fn a_policy_stops_a_run_of_a_real_bundle_and_a_real_run_alone() {
    let command = Some(PathBuf::from(env!("CARGO_BIN_EXE_sweep")));
    stop_the_second(BUNDLE, Chosen::Local { places: places(), command: command.clone() });
    let alone = BUNDLE.replace("arch = \"linear\"", "arch = \"cnn\"\nhidden = [2]").replace("epochs = 150", "epochs = 12");
    stop_the_second(&alone, Chosen::Local { places: places(), command });
}

/// A worker without a controller.
struct Worker {
    child: Child,
    journal: PathBuf,
}

impl Worker {
    fn start(folder: &Path) -> Self {
        let journal = folder.join("w.jsonl");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sweep"));
        command.args(["worker", "--device", "cpu", "--name", "w", "--journal"]).arg(&journal);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        Self { child, journal }
    }

    fn order(&mut self, order: &Order) {
        let line = order.line() + "\n";
        self.child.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    }

    /// All records so far.
    fn records(&self) -> Vec<Event> {
        let (mut records, mut offset, mut next) = (Vec::new(), 0, 0);
        while let Ok(result) = journal::read(&self.journal, offset, next)
            && !result.records.is_empty()
        {
            (offset, next) = (result.offset, result.next_seq);
            records.extend(result.records.into_iter().map(|record| record.event));
        }
        records
    }

    /// The end of the worker, with all its records.
    fn leave(mut self) -> Vec<Event> {
        self.order(&Order::Stop);
        assert_eq!(crate::ended(&mut self.child), Some(0));
        self.records()
    }
}

fn epochs(events: &[Event], run: &Fingerprint) -> usize {
    events.iter().filter(|event| matches!(event, Event::Epoch { r, .. } if r == run)).count()
}

fn end(events: &[Event], run: &Fingerprint) -> Option<Outcome> {
    events.iter().find_map(|event| match event {
        Event::End { r, st, .. } if r == run => Some(*st),
        _ => None,
    })
}

/// The records of a run, without clocks.
fn story(events: &[Event], run: &Fingerprint) -> Vec<String> {
    let of = |event: &Event| match event {
        Event::Epoch { r, epoch, train_loss, val_loss, .. } if r == run => Some(format!("{epoch} {train_loss:e} {val_loss:e}")),
        Event::Rank { r, .. } | Event::Eval { r, .. } if r == run => Some(format!("{event:?}")),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

#[test]
fn one_run_of_a_bundle_stops_and_the_others_stay_the_same_to_the_last_bit() {
    let folder = tempfile::tempdir().unwrap();
    let plan = planned(folder.path(), BUNDLE);
    let jobs = |name: &str| -> Vec<Job> {
        let job = |run: &plan::PlannedRun| {
            let folder = folder.path().join(name).join(&run.fingerprint.0);
            std::fs::create_dir_all(&folder).unwrap();
            Job {
                v: VERSION,
                run: run.fingerprint.clone(),
                attempt: 1,
                config: run.config.clone(),
                pos_weight: run.pos_weight.clone(),
                data: plan.data[run.data].1.folder.clone(),
                folder,
                policies: plan.policies.clone(),
            }
        };
        plan.runs.iter().map(job).collect()
    };
    let told = |name: &str, stop: Option<&Fingerprint>| {
        std::fs::create_dir_all(folder.path().join(name)).unwrap();
        let mut worker = Worker::start(&folder.path().join(name));
        worker.order(&Order::Bundle { jobs: jobs(name) });
        if let Some(run) = stop {
            wait_for("an epoch", || epochs(&worker.records(), run) > 0);
            worker.order(&Order::StopRun { run: run.clone(), attempt: 1 });
        }
        wait_for("the end of all", || plan.runs.iter().all(|run| end(&worker.records(), &run.fingerprint).is_some()));
        // It takes the next order as usual.
        let mut alone = jobs(&format!("{name}-alone")).remove(0);
        alone.attempt = 2;
        worker.order(&Order::Train(Box::new(alone)));
        worker.leave()
    };
    let [first, second, third] = [0, 1, 2].map(|run| &plan.runs[run].fingerprint);
    let (whole, cut) = (told("whole", None), told("cut", Some(second)));
    assert_eq!(end(&cut, second), Some(Outcome::StoppedEarly));
    assert!((1..150).contains(&epochs(&cut, second)));
    assert!(folder.path().join("cut").join(&second.0).join("checkpoint.safetensors").exists(), "it could be gone on with");
    assert_eq!(story(&whole, third), story(&cut, third));
    assert_eq!((end(&cut, first), end(&cut, third)), (Some(Outcome::Ok), Some(Outcome::Ok)));
    let short = story(&cut, second);
    assert_eq!(story(&whole, second)[..short.len()], short[..]);
}
