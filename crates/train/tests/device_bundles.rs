//! Bundles on a device (heads of all runs in one pass there) beside each run alone on that device, which goes through Candle's
//! graph, and beside the bundle on the CPU: on the CPU, where each operation of the device has a plain twin, and in a CUDA build
//! on the first CUDA device or the host emulation of tests/cuda_on_host. Without either the second part is skipped, and fails
//! where SWEEP_NEED_GPU is set.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

#[path = "common/device.rs"]
mod device;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use archive::Kept;
use candle_core::{Device, Tensor};
use data::Dataset;
use device::{devices, prepared};
use imbalance::rng::Rng;
use protocol::journal::JournalError;
use protocol::{Event, Job, Outcome};
use tempfile::TempDir;
use train::{Beat, Finish, Loader, Monitor, TrainError, run_with, together};

/// Losses with a form (`db` has numbers of the rows) and without one (`soft_f1`, `zlpr`).
const FILE: &str = r#"
name = "t"
[data]
kind = "features"
features = "features.npy"
labels = "labels.csv"
standardize = true
[model]
arch = "linear"
[train]
epochs = 3
reference = false
batch_size = 40
learning_rate = 0.01
schedule = { kind = "cosine", warmup = 1 }
[grid]
loss = ["bce", "soft_f1", { kind = "focal", gamma = 1.5 }, "zlpr", "db"]
pos_weight = ["none", "sqrt"]
threshold = ["max_f1"]
"train.optimizer" = ["adam", { kind = "sgd", nesterov = true, weight_decay = 1e-3 }, { kind = "adamw", weight_decay = 0.1 }, "adam_mini"]
"#;

const NETWORKS: [&[&str]; 4] = [
    &["train.grad_clip=0.05"],
    &["model.dropout=0.2"],
    &["model.arch=\"mlp\"", "model.hidden=[24]", "model.dropout=0.3", "train.grad_clip=0.5"],
    &["model.arch=\"mlp\"", "model.hidden=[10, 7]"],
];

/// How far losses may be apart, beside the larger of 1 and their size, and scores, which lie between 0 and 1: f32 sums in another
/// order.
const LOSSES: f64 = 1e-5;
const SCORES: f32 = 1e-4;

/// A small data set and the runs of a grid on it.
struct Place {
    folder: TempDir,
    data: Dataset,
    jobs: Vec<Job>,
}

fn place(set: &[&str]) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let (mut rng, mut table, mut values) = (Rng::new(0, "features", &[]), "id,B,C\n".to_owned(), Vec::new());
    for row in 0..200 {
        let labels = [row % 3 / 2, row % 2, row % 5 / 4];
        values.extend((0..12).map(|column| (rng.normal() + f64::from(labels[column % 3])) as f32));
        writeln!(table, "{row},{},{}", labels[1], labels[2]).unwrap();
    }
    std::fs::write(folder.path().join("labels.csv"), table).unwrap();
    Tensor::from_vec(values, (200, 12), &Device::Cpu).unwrap().write_npy(folder.path().join("features.npy")).unwrap();
    let (data, jobs) = prepared(folder.path(), FILE, set);
    Place { folder, data, jobs }
}

impl Place {
    /// The jobs with their folders below the folder `way`.
    fn jobs(&self, way: &str) -> Vec<Job> {
        let below = |job: &Job| Job { folder: self.folder.path().join(way).join(&job.run.0), ..job.clone() };
        self.jobs.iter().map(below).collect()
    }

    fn loader(&self, device: &Device) -> Loader {
        Loader::resident(&self.data, device).unwrap()
    }

    /// The val scores of each epoch of a run.
    fn scores(&self, job: &Job) -> Vec<f32> {
        let kept = Kept::open(&job.folder).unwrap();
        (0..3).flat_map(|epoch| kept.val(epoch).unwrap().scores).collect()
    }
}

/// Losses of the epochs of each run, train and val; asks to stop after some epochs.
#[derive(Default)]
struct Listener {
    told: BTreeMap<String, Vec<[f64; 2]>>,
    stop_after: Option<usize>,
}

impl Monitor for Listener {
    fn begin(&mut self, _: &Job, _: Option<usize>) -> Result<(), JournalError> {
        Ok(())
    }

    fn beat(&mut self, _: &Job, beat: Beat) -> Result<(), JournalError> {
        assert!(beat.step <= beat.steps);
        Ok(())
    }

    fn record(&mut self, job: &Job, events: Vec<Event>) -> Result<(), JournalError> {
        for event in events {
            if let Event::Epoch { train_loss, val_loss, .. } = event {
                self.told.entry(job.run.0.clone()).or_default().push([train_loss, val_loss]);
            }
        }
        Ok(())
    }

    fn stopping(&self) -> bool {
        self.stop_after.is_some_and(|most| self.told.values().any(|epochs| epochs.len() >= most))
    }
}

fn bundle(
    place: &Place,
    jobs: &[Job],
    loader: &Loader,
    stop_after: Option<usize>,
) -> (Vec<Result<Finish, TrainError>>, Listener) {
    let mut listener = Listener { stop_after, ..Listener::default() };
    (together(jobs, &place.data, loader, &mut listener).unwrap(), listener)
}

fn whole(place: &Place, jobs: &[Job], loader: &Loader) -> Listener {
    let (ends, told) = bundle(place, jobs, loader, None);
    assert!(ends.iter().all(|end| matches!(end, Ok(Finish::Done))), "{ends:?}");
    told
}

/// How far two ways of the same runs are apart at most: losses and scores.
fn apart(place: &Place, (ours, told): (&[Job], &Listener), (theirs, other): (&[Job], &Listener)) -> (f64, f32) {
    let (mut losses, mut scores) = (0f64, 0f32);
    for (ours, theirs) in ours.iter().zip(theirs) {
        let (a, b) = (&told.told[&ours.run.0], &other.told[&theirs.run.0]);
        assert_eq!((a.len(), b.len()), (3, 3));
        let pairs = a.iter().flatten().zip(b.iter().flatten());
        losses = pairs.map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(losses, f64::max);
        let (a, b) = (place.scores(ours), place.scores(theirs));
        assert_eq!(a.len(), b.len());
        scores = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(scores, f32::max);
    }
    (losses, scores)
}

#[test]
fn a_bundle_on_the_device_is_each_run_alone_and_the_hosts_bundle() {
    for (number, network) in NETWORKS.into_iter().enumerate() {
        let place = place(network);
        assert_eq!(place.jobs.len(), 32, "losses without weights are trained once");
        let host = place.jobs("host");
        let told_host = whole(&place, &host, &Loader::streamed(&Device::Cpu));
        for device in devices() {
            let name = format!("{number} {device:?}");
            let (loader, ours) = (place.loader(&device), place.jobs(&format!("{name} bundle")));
            let told = whole(&place, &ours, &loader);
            let alone = place.jobs(&format!("{name} alone"));
            let mut told_alone = Listener::default();
            for job in &alone {
                assert_eq!(run_with(job, &place.data, &loader, &mut told_alone).unwrap(), Finish::Done);
            }
            let single = place.jobs(&format!("{name} bundles of one"));
            let mut told_single = Listener::default();
            for job in &single {
                told_single.told.extend(whole(&place, std::slice::from_ref(job), &loader).told);
            }
            for (way, jobs, other) in
                [("the host's", &host, &told_host), ("alone", &alone, &told_alone), ("of one", &single, &told_single)]
            {
                let (losses, scores) = apart(&place, (&ours, &told), (jobs, other));
                println!("{network:?} on {device:?} and {way}: losses {losses:.1e} apart, scores {scores:.1e}");
                assert!(losses <= LOSSES && scores <= SCORES, "{network:?} on {device:?} and {way}: {losses:e} {scores:e}");
            }
        }
    }
}

/// The same runs once more, streamed to the device, and with a stop between, to the same last bit.
#[test]
fn a_bundle_on_the_device_repeats_itself_and_goes_on_where_it_stopped() {
    for network in [NETWORKS[0], NETWORKS[2]] {
        let place = place(network);
        for device in devices() {
            let (loader, name) = (place.loader(&device), format!("{device:?}"));
            let first = place.jobs(&format!("{name} first"));
            let told = whole(&place, &first, &loader);
            let same = |jobs: &[Job], other: &Listener, what: &str| {
                assert_eq!(apart(&place, (jobs, other), (&first, &told)), (0.0, 0.0), "{network:?} on {device:?}: {what}");
            };
            if !device.is_cpu() {
                // On the CPU the streamed way is the host's.
                let jobs = place.jobs(&format!("{name} streamed"));
                same(&jobs, &whole(&place, &jobs, &Loader::streamed(&device)), "streamed");
            }
            let jobs = place.jobs(&format!("{name} stopped"));
            let (ends, _) = bundle(&place, &jobs, &loader, Some(1));
            assert!(ends.iter().all(|end| matches!(end, Ok(Finish::Stopped))), "{ends:?}");
            same(&jobs, &whole(&place, &jobs, &loader), "stopped and gone on");
        }
    }
}

/// A learning rate so large that parameters overflow: the run ends as diverged, clipped or not, with or without a form, and
/// changes no other.
#[test]
fn a_run_that_diverges_on_the_device_leaves_its_bundle_alone() {
    for network in [NETWORKS[1], NETWORKS[2]] {
        let place = place(network);
        for device in devices() {
            let (loader, name) = (place.loader(&device), format!("{device:?}"));
            let good = place.jobs(&format!("{name} good"));
            let told = whole(&place, &good, &loader);
            let mut jobs = place.jobs(&format!("{name} bad"));
            let of = |kind: &str, jobs: &[Job]| jobs.iter().position(|job| job.config.loss.kind == kind).unwrap();
            let bad = [of("bce", &jobs), of("soft_f1", &jobs), of("db", &jobs)];
            for at in bad {
                jobs[at].config.train.learning_rate = 1e38;
            }
            let (ends, rest) = bundle(&place, &jobs, &loader, None);
            for (at, end) in ends.iter().enumerate() {
                let run = &jobs[at].run.0;
                match end {
                    Err(error) if bad.contains(&at) => {
                        assert_eq!(error.outcome(), Outcome::Diverged, "{error}");
                        assert!(rest.told.get(run).is_none_or(|epochs| epochs.len() < 3));
                    }
                    Ok(Finish::Done) if !bad.contains(&at) => assert_eq!(rest.told[run][0], told.told[run][0], "{at}"),
                    other => panic!("{at}: {other:?}"),
                }
            }
        }
    }
}
