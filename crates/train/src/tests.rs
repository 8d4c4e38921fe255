//! Whole trainings on a small built-in data set.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Device;

use super::testing::{prepared, timeless};
use super::*;
use data::Dataset;
use imbalance::LabelMatrix;
use protocol::{Job, SplitName};

const FILE: &str = r#"
name = "t"
[data]
kind = "letters"
samples = 600
image_size = 16
signal = 4.0
label_rates = { A = 0.2, B = 0.5 }
[model]
arch = "cnn"
hidden = [8]
dropout = 0.1
[train]
epochs = 4
batch_size = 32
schedule = { kind = "cosine", warmup = 1 }
grad_clip = 5.0
[grid]
loss = { kind = "focal", gamma = 1.0 }
pos_weight = "sqrt"
sampler = "class_aware"
threshold = [0.5, "max_f1"]
"#;

struct Place {
    folder: tempfile::TempDir,
    data: Dataset,
    job: Job,
}

/// The first run of FILE with changes, in a folder of its own.
fn place(set: &[&str]) -> Place {
    let (folder, data, mut jobs) = prepared(FILE, set);
    let job = Job { folder: folder.path().join("run"), ..jobs.remove(0) };
    Place { folder, data, job }
}

/// Keeps what it hears, without what depends on the clock; asks to stop after some epochs.
#[derive(Default)]
struct Listener {
    from: Option<usize>,
    events: Vec<Event>,
    beats: usize,
    stop_after: Option<usize>,
}

impl Monitor for Listener {
    fn begin(&mut self, _: &Job, from: Option<usize>) -> Result<(), JournalError> {
        self.from = from;
        Ok(())
    }

    fn beat(&mut self, _: &Job, beat: Beat) -> Result<(), JournalError> {
        assert!(beat.step <= beat.steps && beat.loss.is_finite());
        self.beats += 1;
        Ok(())
    }

    fn record(&mut self, _: &Job, events: Vec<Event>) -> Result<(), JournalError> {
        self.events.extend(events.into_iter().map(timeless));
        Ok(())
    }

    fn stopping(&self) -> bool {
        let epochs = self.events.iter().filter(|event| matches!(event, Event::Epoch { .. })).count();
        self.stop_after.is_some_and(|most| epochs >= most)
    }
}

impl Place {
    fn train(&self, stop_after: Option<usize>) -> (Finish, Listener) {
        let mut listener = Listener { stop_after, ..Listener::default() };
        let finish = run(&self.job, &self.data, &Device::Cpu, &mut listener).unwrap();
        (finish, listener)
    }

    /// Every file of the run's folder but the checkpoint, which holds times.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        for folder in [self.job.folder.clone(), self.job.folder.join("epochs")] {
            for entry in std::fs::read_dir(folder).unwrap().flatten().filter(|entry| entry.path().is_file()) {
                let path = entry.path().strip_prefix(self.folder.path()).unwrap().to_owned();
                if !path.ends_with("checkpoint.safetensors") {
                    found.insert(path, std::fs::read(entry.path()).unwrap());
                }
            }
        }
        found
    }
}

fn macro_ap(events: &[Event], wanted: SplitName) -> Vec<f64> {
    let of = |event: &Event| match event {
        Event::Rank { split, ranking, .. } if *split == wanted => {
            imbalance::metric::average::mean_defined(&ranking.ap).map(|mean| mean.mean)
        }
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

#[test]
fn a_training_learns_and_tells_all_of_it() {
    let place = place(&["train.epochs=6"]);
    let (finish, listener) = place.train(None);
    assert_eq!((finish, listener.from), (Finish::Done, None));
    let val = macro_ap(&listener.events, SplitName::Val);
    let best = val.iter().copied().fold(0.0, f64::max);
    assert!(val.len() == 6 && best > 0.6, "prevalence 0.35, AP {val:?}");
    let ends = macro_ap(&listener.events, SplitName::Test).len();
    let last_is_best = val.iter().position(|&ap| ap == best) == Some(5);
    assert_eq!(ends, if last_is_best { 1 } else { 2 });
    let evaluations = listener.events.iter().filter(|event| matches!(event, Event::Eval { .. })).count();
    assert_eq!(evaluations, 2 * (6 + ends), "two policies");
    assert!(listener.beats > 6 * 14);
    for name in ["model.safetensors", "scores-val.npy", "scores-test.npy", "logits-val.npy", "logits-test.npy", "truth-val.npy"] {
        assert!(place.files().contains_key(&Path::new("run").join(name)), "{name}");
    }
}

/// Average precision from its definition (scikit-learn's `average_precision_score`): the mean over positives of the precision among
/// the rows that score no less.
fn average_precision(logits: &[f32], truth: &LabelMatrix, label: usize) -> f64 {
    let labels = truth.names.len();
    let cells: Vec<(f32, u8)> = logits.iter().zip(&truth.values).skip(label).step_by(labels).map(|(z, y)| (*z, *y)).collect();
    let positives: Vec<f32> = cells.iter().filter(|cell| cell.1 == 1).map(|cell| cell.0).collect();
    let precision = |&z: &f32| {
        let above: Vec<u8> = cells.iter().filter(|cell| cell.0 >= z).map(|cell| cell.1).collect();
        above.iter().map(|&y| f64::from(y)).sum::<f64>() / above.len() as f64
    };
    positives.iter().map(precision).sum::<f64>() / positives.len() as f64
}

/// A weight that makes every probability 1 in float32, and a loss and a learning rate that make logits large: the logits are kept, and
/// rank.
#[test]
fn saturated_trainings_are_ranked_by_their_logits() {
    let weighted = ["model.arch='linear'", "grid.loss='bce'", "grid.pos_weight=[[1e9, 1e9]]"];
    let soft_f1 = ["model.arch='linear'", "grid.loss='soft_f1'", "grid.pos_weight='none'", "train.learning_rate=3.0"];
    for (set, saturated) in [(&weighted[..], true), (&soft_f1[..], false)] {
        let place = place(set);
        let (_, told) = place.train(None);
        let kept = archive::Kept::open(&place.job.folder).unwrap();
        let mut seen = Vec::new();
        for event in &told.events {
            let Event::Rank { epoch, split, ranking, .. } = event else { continue };
            let (rows, truth) = match split {
                SplitName::Val => (kept.val(*epoch).unwrap(), &kept.val_truth),
                SplitName::Test | SplitName::Train => (kept.test(*epoch).unwrap(), &kept.test_truth),
            };
            let logits = rows.logits.as_ref().unwrap();
            for (label, ap) in ranking.ap.iter().enumerate() {
                let right = average_precision(logits, truth, label);
                assert!((ap.unwrap() - right).abs() < 1e-12, "{set:?}: epoch {epoch}, {ap:?} {right}");
                if saturated {
                    assert!(right > 1.2 * average_precision(&rows.scores, truth, label), "{set:?}: epoch {epoch}, {right}");
                }
            }
            if *split == SplitName::Val {
                seen.push(ranking.ap.iter().map(|ap| ap.unwrap()).sum::<f64>());
            }
        }
        // The best epoch is the first with the highest AP of logits, and its files are those that users look for.
        let best = (0..seen.len()).rev().max_by(|&a, &b| seen[a].total_cmp(&seen[b])).unwrap();
        let read = |name: &str| {
            let path = place.job.folder.join(name);
            archive::parse_matrix::<f32>(&path, &std::fs::read(&path).unwrap()).unwrap().1
        };
        let rows = kept.val(best).unwrap();
        assert_eq!((read("logits-val.npy"), read("scores-val.npy")), (rows.logits.unwrap(), rows.scores));
    }
}

#[test]
fn an_interrupted_training_goes_on_to_the_same_last_bit() {
    let whole = place(&[]);
    let (_, told) = whole.train(None);
    for stop in 0..=3 {
        let broken = place(&[]);
        assert_eq!(broken.train(Some(stop)).0, Finish::Stopped);
        let (finish, rest) = broken.train(None);
        assert_eq!((finish, rest.from), (Finish::Done, (stop > 0).then_some(stop)));
        assert!(rest.events == told.events, "stopped after {stop}");
        assert!(broken.files() == whole.files(), "stopped after {stop}");
    }
}

#[test]
fn a_checkpoint_that_does_not_fit_is_left_aside() {
    let whole = place(&[]);
    let (_, told) = whole.train(None);
    let broken = place(&[]);
    broken.train(Some(2));
    let checkpoint = broken.job.folder.join("checkpoint.safetensors");
    let good = std::fs::read(&checkpoint).unwrap();
    let damages: [(&str, &dyn Fn()); 3] = [
        ("a torn checkpoint", &|| std::fs::write(&checkpoint, &good[..good.len() / 2]).unwrap()),
        ("missing scores", &|| std::fs::remove_file(broken.job.folder.join("epochs/logits-val-0.npy")).unwrap()),
        ("a missing model", &|| std::fs::remove_file(broken.job.folder.join("model.safetensors")).unwrap()),
    ];
    for (what, damage) in damages {
        std::fs::write(&checkpoint, &good).unwrap();
        damage();
        let (_, again) = broken.train(None);
        assert_eq!(again.from, None, "{what}");
        assert!(again.events == told.events, "{what}");
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let first = place(&[]);
    let (_, told) = first.train(None);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let again = place(&[]);
        let events = pool.install(|| again.train(None).1.events);
        assert!(events == told.events && again.files() == first.files(), "{threads} threads");
    }
}

#[test]
fn seeds_and_strategies_matter() {
    let (_, one) = place(&[]).train(None);
    for change in ["grid.seed=1", "grid.sampler=\"shuffle\"", "grid.pos_weight=\"none\"", "train.start=\"zero\""] {
        assert!(
            macro_ap(&place(&[change]).train(None).1.events, SplitName::Val) != macro_ap(&one.events, SplitName::Val),
            "{change}"
        );
    }
}

#[test]
fn a_loss_that_is_no_number_ends_the_training_as_diverged() {
    let place =
        place(&["train.optimizer.kind=\"sgd\"", "train.learning_rate=900.0", "train.schedule=\"constant\"", "train.epochs=40"]);
    let mut job = place.job.clone();
    job.config.train.learning_rate = 1e38;
    job.config.train.grad_clip = None;
    let error = run(&job, &place.data, &Device::Cpu, &mut Listener::default()).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Diverged, "{error}");
    assert!(error.to_string().contains("epoch"), "{error}");
}

#[test]
fn a_full_or_read_only_folder_is_told_as_such() {
    let place = place(&[]);
    let mut job = place.job.clone();
    // A file where the folder should be fails as a read-only folder does.
    std::fs::write(place.folder.path().join("file"), "").unwrap();
    job.folder = place.folder.path().join("file/run");
    let error = run(&job, &place.data, &Device::Cpu, &mut Listener::default()).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Io, "{error}");
}

/// One flipped bit in anything that a stopped run goes on from: it is seen, and the run comes to the same as one that never stopped.
#[test]
fn a_flipped_bit_in_what_a_run_goes_on_from_is_never_trained_on() {
    const SMALL: &[&str] = &["data.samples=150", "train.epochs=3", "model.hidden=[4]"];
    let whole = place(SMALL);
    let (_, wanted) = whole.train(None);
    let stopped = place(SMALL);
    assert_eq!(stopped.train(Some(2)).0, Finish::Stopped);
    let read = |name: &str| std::fs::read(stopped.job.folder.join(name)).unwrap();
    let names = ["checkpoint.safetensors", "model.safetensors", "epochs/logits-val-0.npy", "epochs/logits-val-1.npy"];
    let kept = names.map(read);
    let header = kept[0].windows(10).position(|window| window == b"train_loss").unwrap();
    let mut cases = vec![(0, header + 16)];
    for (at, bytes) in kept.iter().enumerate() {
        cases.extend([9, bytes.len() / 3, bytes.len() - 2].map(|byte| (at, byte)));
    }
    for (at, byte) in cases {
        for (name, bytes) in names.iter().zip(&kept) {
            std::fs::write(stopped.job.folder.join(name), bytes).unwrap();
        }
        let mut bytes = kept[at].clone();
        bytes[byte] ^= 4;
        std::fs::write(stopped.job.folder.join(names[at]), bytes).unwrap();
        let (finish, seen) = stopped.train(None);
        assert_eq!((finish, seen.from), (Finish::Done, None), "{} {byte}: it begins anew", names[at]);
        assert_eq!(seen.events, wanted.events, "{} {byte}", names[at]);
        assert_eq!(stopped.files(), whole.files(), "{} {byte}", names[at]);
    }
    // Without damage it goes on.
    for (name, bytes) in names.iter().zip(&kept) {
        std::fs::write(stopped.job.folder.join(name), bytes).unwrap();
    }
    assert_eq!(stopped.train(None).1.from, Some(2));
}

/// What killed attempts left of files they were writing goes when the next one begins; what is done has seals of all its files.
#[test]
fn an_attempt_leaves_no_litter_and_all_seals() {
    let place = place(&["data.samples=150", "train.epochs=1", "model.hidden=[4]"]);
    std::fs::create_dir_all(place.job.folder.join("epochs")).unwrap();
    for litter in [".saving-aB3dEf", "epochs/.saving-aB3dEf"] {
        std::fs::write(place.job.folder.join(litter), "half of a file").unwrap();
    }
    place.train(None);
    let names: Vec<String> = place.files().into_keys().map(|path| path.display().to_string()).collect();
    assert!(!names.iter().any(|name| name.contains(".saving-")), "{names:?}");
    let sealed = archive::RunFolder::at(&place.job.folder).seals().unwrap().unwrap();
    let unsealed = names.iter().filter(|name| !sealed.contains_key(name.strip_prefix("run/").unwrap()));
    assert_eq!(unsealed.collect::<Vec<_>>(), ["run/seals.json"]);
}

/// Weights that are gone, or others than those of the plan, stop the sweep and count as no attempt; those for another network fail it.
#[test]
fn what_is_wrong_with_the_surroundings_is_not_the_runs() {
    let gone = |path: &Path, hash: Option<&str>| {
        let mut job = place(&[]).job;
        job.config.model.weights = Some(path.display().to_string());
        job.config.model.weights_hash = hash.map(str::to_owned);
        let (_folder, data, _) = prepared(FILE, &[]);
        run(&job, &data, &Device::Cpu, &mut Listener::default()).unwrap_err().outcome()
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    assert_eq!(gone(&path, None), Outcome::Io);
    let tensors =
        BTreeMap::from([("a.weight".to_owned(), candle_core::Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap())]);
    model::save_tensors(&tensors, None, &path).unwrap();
    assert_eq!(gone(&path, Some("another")), Outcome::Io);
    assert_eq!(gone(&path, None), Outcome::Data);
}
