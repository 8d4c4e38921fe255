//! Many runs in one pass against each run alone, and against Candle's graph of the same network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Device;

use super::testing::{prepared, timeless};
use super::*;
use data::Dataset;
use protocol::{Job, SplitName};

const FILE: &str = r#"
name = "t"
[data]
kind = "letters"
samples = 500
image_size = 16
signal = 4.0
label_rates = { A = 0.2, B = 0.5, C = 0.3 }
[model]
arch = "linear"
[train]
epochs = 3
batch_size = 48
learning_rate = 0.01
schedule = { kind = "cosine", warmup = 1 }
[grid]
loss = ["bce", { kind = "focal", gamma = 1.5 }, "asl", "ldam", "db", "soft_f1", "zlpr"]
pos_weight = ["none", "sqrt"]
threshold = [0.5, "max_f1"]
"train.optimizer" = ["adam", { kind = "sgd", nesterov = true, weight_decay = 1e-3 }, { kind = "adamw", weight_decay = 0.1 }, "adam_mini"]
"train.grad_clip" = 0.05
"#;

struct Place {
    folder: tempfile::TempDir,
    data: Dataset,
    jobs: Vec<Job>,
}

/// Every run of FILE with changes; the run folders lie below a folder of their own.
fn place(set: &[&str]) -> Place {
    let (folder, data, jobs) = prepared(FILE, set);
    Place { folder, data, jobs }
}

/// Keeps what it hears of each run, without what depends on the clock; asks to stop after some epochs.
#[derive(Default)]
struct Listener {
    from: BTreeMap<String, Option<usize>>,
    told: BTreeMap<String, Vec<Event>>,
    stop_after: Option<usize>,
    /// A run to stop for good after its first epoch.
    early: Option<String>,
}

impl Monitor for Listener {
    fn begin(&mut self, job: &Job, from: Option<usize>) -> Result<(), JournalError> {
        self.from.insert(job.run.0.clone(), from);
        Ok(())
    }

    fn beat(&mut self, _: &Job, beat: Beat) -> Result<(), JournalError> {
        assert!(beat.step <= beat.steps);
        Ok(())
    }

    fn record(&mut self, job: &Job, events: Vec<Event>) -> Result<(), JournalError> {
        let told = self.told.entry(job.run.0.clone()).or_default();
        told.extend(events.into_iter().map(timeless));
        Ok(())
    }

    fn stopping(&self) -> bool {
        let epochs = |events: &Vec<Event>| events.iter().filter(|event| matches!(event, Event::Epoch { .. })).count();
        self.stop_after.is_some_and(|most| self.told.values().map(epochs).max().unwrap_or(0) >= most)
    }

    fn stopping_early(&self, job: &Job) -> bool {
        self.early.as_ref() == Some(&job.run.0) && self.told.contains_key(&job.run.0)
    }
}

impl Place {
    fn train(&self, jobs: &[Job], stop_after: Option<usize>) -> (Vec<Result<Finish, TrainError>>, Listener) {
        let mut listener = Listener { stop_after, ..Listener::default() };
        (together(jobs, &self.data, &Loader::streamed(&Device::Cpu), &mut listener).unwrap(), listener)
    }

    /// Every file of the runs' folders but the checkpoints, which hold times.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        for folder in self.jobs.iter().flat_map(|job| [job.folder.clone(), job.folder.join("epochs")]) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| entry.path().is_file()) {
                let path = entry.path().strip_prefix(self.folder.path()).unwrap().to_owned();
                if !path.ends_with("checkpoint.safetensors") {
                    found.insert(path, std::fs::read(entry.path()).unwrap());
                }
            }
        }
        found
    }
}

fn done(ends: &[Result<Finish, TrainError>]) -> bool {
    ends.iter().all(|end| matches!(end, Ok(Finish::Done)))
}

/// Networks with and without hidden layers and dropout.
const NETWORKS: [&[&str]; 3] = [
    &["model.dropout=0.2"],
    &["model.arch=\"mlp\"", "model.hidden=[24]", "model.dropout=0.3"],
    &["model.arch=\"mlp\"", "model.hidden=[40, 9]"],
];

#[test]
fn a_bundle_trains_each_run_as_alone_to_the_last_bit() {
    for network in NETWORKS {
        let bundle = place(network);
        assert!(bundle.jobs.len() >= 20, "{}", bundle.jobs.len());
        let (ends, told) = bundle.train(&bundle.jobs, None);
        assert!(done(&ends), "{ends:?}");
        let alone = place(network);
        let mut apart = BTreeMap::new();
        for job in &alone.jobs {
            let (ends, told) = alone.train(std::slice::from_ref(job), None);
            assert!(done(&ends));
            apart.extend(told.told);
        }
        assert!(told.told == apart, "{network:?}");
        assert!(bundle.files() == alone.files(), "{network:?}");
        // other neighbours, another order
        let shuffled = place(network);
        let some: Vec<Job> = shuffled.jobs.iter().rev().step_by(3).cloned().collect();
        let (_, told) = shuffled.train(&some, None);
        assert!(told.told.iter().all(|(run, events)| *events == apart[run]), "{network:?}");
    }
}

#[test]
fn threads_do_not_change_a_bit_of_a_bundle() {
    let first = place(NETWORKS[1]);
    let (_, told) = first.train(&first.jobs, None);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let again = place(NETWORKS[1]);
        let events = pool.install(|| again.train(&again.jobs, None).1.told);
        assert!(events == told.told && again.files() == first.files(), "{threads} threads");
    }
}

/// The closed forms against Candle's graph: the same losses and scores but for rounding.
#[test]
fn a_bundle_agrees_with_candles_own_way() {
    for network in NETWORKS {
        let bundle = place(network);
        let (_, told) = bundle.train(&bundle.jobs, None);
        let candle = place(network);
        for job in &candle.jobs {
            let mut listener = Listener::default();
            run(job, &candle.data, &Device::Cpu, &mut listener).unwrap();
            let epochs = |events: &[Event]| -> Vec<(f64, f64)> {
                let losses = |event: &Event| match event {
                    Event::Epoch { train_loss, val_loss, .. } => Some((*train_loss, *val_loss)),
                    _ => None,
                };
                events.iter().filter_map(losses).collect()
            };
            let (ours, theirs) = (epochs(&told.told[&job.run.0]), epochs(&listener.told[&job.run.0]));
            assert_eq!((ours.len(), theirs.len()), (3, 3));
            for (ours, theirs) in ours.iter().zip(&theirs) {
                let close = |a: f64, b: f64| (a - b).abs() <= 2e-4 * (1.0 + b.abs());
                assert!(close(ours.0, theirs.0) && close(ours.1, theirs.1), "{:?}: {ours:?} {theirs:?}", job.config.loss);
            }
            let scores = |folder: &Path| archive::Kept::open(folder).unwrap().val(2).unwrap().scores;
            let ours = scores(&bundle.folder.path().join(&job.run.0));
            let worst = ours.iter().zip(scores(&job.folder)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 2e-3, "{:?} {:?}: {worst}", job.config.loss, job.config.train.optimizer);
        }
    }
}

#[test]
fn an_interrupted_bundle_goes_on_to_the_same_last_bit() {
    let whole = place(NETWORKS[1]);
    let (_, told) = whole.train(&whole.jobs, None);
    let broken = place(NETWORKS[1]);
    // some have an epoch, some two, some none
    let (early, late) = (&broken.jobs[..4], &broken.jobs[2..8]);
    assert!(broken.train(early, Some(1)).0.iter().all(|end| matches!(end, Ok(Finish::Stopped))));
    broken.train(late, Some(2));
    let (ends, rest) = broken.train(&broken.jobs, None);
    assert!(done(&ends));
    let from = |at: usize| rest.from[&broken.jobs[at].run.0];
    assert_eq!([from(0), from(2), from(7), from(8)], [Some(1), Some(2), Some(2), None]);
    assert!(rest.told == told.told);
    assert!(broken.files() == whole.files());
}

#[test]
fn a_run_that_diverges_leaves_its_bundle_alone() {
    let whole = place(NETWORKS[0]);
    let (_, told) = whole.train(&whole.jobs, None);
    let mut broken = place(NETWORKS[0]);
    broken.jobs[1].config.train.learning_rate = 1e38;
    broken.jobs[1].config.train.grad_clip = None;
    // a folder that cannot be made
    std::fs::write(broken.folder.path().join("file"), "").unwrap();
    broken.jobs[3].folder = broken.folder.path().join("file/run");
    let (ends, rest) = broken.train(&broken.jobs, None);
    for (at, (end, job)) in ends.iter().zip(&broken.jobs).enumerate() {
        match (at, end) {
            (1, Err(error)) => assert_eq!(error.outcome(), Outcome::Diverged, "{error}"),
            (3, Err(error)) => assert_eq!(error.outcome(), Outcome::Io, "{error}"),
            (_, Ok(Finish::Done)) => assert!(rest.told[&job.run.0] == told.told[&job.run.0], "{at}"),
            other => panic!("{other:?}"),
        }
    }
    let tests = |at: usize| {
        let told = rest.told.get(&broken.jobs[at].run.0).into_iter().flatten();
        told.filter(|event| matches!(event, Event::Rank { split: SplitName::Test, .. })).count()
    };
    assert!(tests(0) > 0 && tests(1) == 0 && tests(3) == 0);
}

/// One run of a bundle is stopped for good: the others train as if it had never been there.
#[test]
fn a_run_that_is_stopped_for_good_leaves_the_others_alone() {
    let (with, without) = (place(&[]), place(&[]));
    let hopeless = with.jobs[3].run.0.clone();
    let mut listener = Listener { early: Some(hopeless.clone()), ..Listener::default() };
    let ends = together(&with.jobs, &with.data, &Loader::streamed(&Device::Cpu), &mut listener).unwrap();
    for (job, end) in with.jobs.iter().zip(&ends) {
        let wanted = if job.run.0 == hopeless { Finish::StoppedEarly } else { Finish::Done };
        assert!(matches!(end, Ok(end) if *end == wanted), "{end:?}");
    }
    let epochs = |told: &[Event]| told.iter().filter(|event| matches!(event, Event::Epoch { .. })).count();
    assert_eq!(epochs(&listener.told.remove(&hopeless).unwrap()), 1);
    let others: Vec<Job> = without.jobs.iter().filter(|job| job.run.0 != hopeless).cloned().collect();
    let (ends, undisturbed) = without.train(&others, None);
    assert!(done(&ends));
    assert!(listener.told == undisturbed.told);
}

/// Epochs of 5 steps that end two epochs after the best one, not before the third.
const AUTO: &[&str] = &[
    "train.epochs=\"auto\"",
    "train.schedule=\"constant\"",
    "train.learning_rate=0.03",
    "train.eval_every=5",
    "train.patience=10",
    "train.min_steps=15",
    "train.max_steps=100",
    "grid.sampler=\"repeat_factor\"",
];

/// What the rule says about the val rankings of a run: the epochs that it has.
fn epochs_by_the_rule(told: &[Event], least: usize) -> usize {
    let val = told.iter().filter_map(|event| match event {
        Event::Rank { split: SplitName::Val, ranking, .. } => imbalance::metric::average::mean_defined(&ranking.ap),
        _ => None,
    });
    let (mut best, mut done) = ((0, f64::NEG_INFINITY), 0);
    for ap in val {
        if ap.mean > best.1 {
            best = (done, ap.mean);
        }
        done += 1;
        if done >= least && done - 1 - best.0 >= 2 || done == 20 {
            break;
        }
    }
    done
}

fn epochs(told: &[Event]) -> Vec<u64> {
    let steps = |event: &Event| match event {
        Event::Epoch { steps, .. } => *steps,
        _ => None,
    };
    told.iter().filter_map(steps).collect()
}

/// A run that has converged is masked: it and its neighbours are what they are alone.
#[test]
fn runs_of_a_bundle_end_on_their_own_as_alone() {
    let bundle = place(AUTO);
    let (ends, told) = bundle.train(&bundle.jobs, None);
    assert!(done(&ends), "{ends:?}");
    let alone = place(AUTO);
    let mut lengths = std::collections::BTreeSet::new();
    for job in &alone.jobs {
        let (ends, apart) = alone.train(std::slice::from_ref(job), None);
        assert!(done(&ends));
        let events = &apart.told[&job.run.0];
        assert!(told.told[&job.run.0] == *events, "{:?}", job.config.loss);
        let epochs = epochs(events);
        assert_eq!(epochs.len(), epochs_by_the_rule(events, job.config.train.stop.unwrap().least), "{:?}", job.config.loss);
        assert!(epochs.iter().enumerate().all(|(at, &steps)| steps == 5 * (at as u64 + 1)), "{epochs:?}");
        lengths.insert(epochs.len());
    }
    assert!(bundle.files() == alone.files());
    assert!(lengths.len() >= 4, "the runs end at different epochs: {lengths:?}");
}

#[test]
fn a_bundle_of_runs_that_end_on_their_own_goes_on_to_the_same_last_bit() {
    let whole = place(AUTO);
    let (_, told) = whole.train(&whole.jobs, None);
    for stop in [2, 4, 9] {
        let broken = place(AUTO);
        broken.train(&broken.jobs[..9], Some(stop));
        let (ends, rest) = broken.train(&broken.jobs, None);
        assert!(done(&ends));
        assert!(rest.told == told.told && broken.files() == whole.files(), "stopped after {stop}");
    }
}

/// Passes of `repeat_factor` are longer than those of `shuffle`; with a budget in steps its epochs are not.
#[test]
fn every_sampler_gets_the_same_number_of_steps() {
    for (budget, same) in [("steps", true), ("epochs", false)] {
        let budget = format!("train.budget=\"{budget}\"");
        let steps = ["shuffle", "repeat_factor"].map(|sampler| {
            let sampler =
                format!("grid.sampler={{ kind = \"{sampler}\"{} }}", if sampler == "shuffle" { "" } else { ", t = 0.6" });
            let place = place(&[&budget, &sampler]);
            let (_, told) = place.train(&place.jobs[..1], None);
            epochs(told.told.values().next().unwrap())
        });
        assert_eq!(steps[0] == steps[1], same, "{steps:?}");
        assert_eq!(steps[0], [8, 16, 24], "350 rows in batches of 48");
    }
}

/// With logit adjustment the network learns what bce learns, less the prior (Menon 2021, section 4.2): where both start at the train
/// prevalences they are the same training, and only the scores differ by the prior.
#[test]
fn logit_adjustment_from_its_own_start_trains_as_bce() {
    let of = |start: &str| {
        let place = place(&[
            "grid.loss=[\"bce\", \"logit_adjust\"]",
            "grid.pos_weight=\"none\"",
            "grid.\"train.optimizer\"=[\"sgd\"]",
            "grid.\"train.grad_clip\"=[1e9]",
            &format!("train.start=\"{start}\""),
        ]);
        let (_, told) = place.train(&place.jobs, None);
        let losses = |job: &Job| -> Vec<f64> {
            let loss = |event: &Event| match event {
                Event::Epoch { train_loss, .. } => Some(*train_loss),
                _ => None,
            };
            told.told[&job.run.0].iter().filter_map(loss).collect()
        };
        [losses(&place.jobs[0]), losses(&place.jobs[1])]
    };
    let worst = |[bce, adjusted]: [Vec<f64>; 2]| {
        assert_eq!((bce.len(), adjusted.len()), (3, 3));
        bce.iter().zip(adjusted).map(|(bce, adjusted)| (bce - adjusted).abs()).fold(0.0, f64::max)
    };
    assert!(worst(of("link")) < 1e-6, "{:?}", of("link"));
    assert!(worst(of("prior")) > 1e-3, "from a common start they are not");
}
