//! The ways of a training on a device (data set resident, loss and account on the device, one launch per optimizer step) against
//! those of the host: on the CPU, where each operation has a plain twin, and in a CUDA build on the first CUDA device or the host
//! emulation of tests/cuda_on_host. Without either the second part is skipped, and fails where SWEEP_NEED_GPU is set.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

#[path = "common/device.rs"]
mod device;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use data::Dataset;
use device::devices;
use imbalance::Choice;
use imbalance::loss::{self, Context, Loss};
use imbalance::rng::Rng;
use imbalance::sampler::{Blend, Draw};
use imbalance::{LabelCounts, parse};
use kernel::clip_scale;
use protocol::journal::JournalError;
use protocol::{Event, Job};
use tempfile::TempDir;
use train::criterion::{Criterion, DeviceCriterion, Epoch, HostCriterion};
use train::optimizer::{self, Optimizer};
use train::{Beat, Finish, Loader, Monitor, run_with};

/// The first data set of a sweep file below `folder`, prepared, and the job of its first run.
fn prepared(folder: &Path, file: &str) -> (Dataset, Job) {
    let (data, jobs) = device::prepared(folder, file, &[]);
    (data, jobs.into_iter().next().unwrap())
}

const END: &str = "[train]\nepochs = 3\nreference = false\nbatch_size = 16\ngrad_clip = 1.0\n[grid]\nloss = { kind = \"focal\", gamma = 1.0 }\npos_weight = \"sqrt\"\n";

/// Coloured images of 8 x 8 pixels, mirrored and moved at train time.
fn images(folder: &Path) -> (Dataset, Job) {
    let (mut rng, mut table) = (Rng::new(0, "pictures", &[]), "file,A,B\n".to_owned());
    for row in 0..60 {
        let pixels: Vec<u8> = (0..8 * 8 * 3).map(|_| rng.below(256) as u8).collect();
        image::RgbImage::from_raw(8, 8, pixels).unwrap().save(folder.join(format!("{row}.png"))).unwrap();
        writeln!(table, "{row}.png,{},{}", row % 3 / 2, row % 2).unwrap();
    }
    std::fs::write(folder.join("labels.csv"), table).unwrap();
    let data = "[data]\nkind = \"images\"\nroot = \".\"\nlabels = \"labels.csv\"\npath_column = \"file\"\nimage_size = 8\nflip = true\ncrop_padding = 2\n";
    prepared(folder, &format!("name = \"t\"\n{data}[model]\narch = \"linear\"\n{END}"))
}

/// Features that are standardised.
fn features(folder: &Path) -> (Dataset, Job) {
    let (mut rng, mut table, mut values) = (Rng::new(0, "features", &[]), "id,B\n".to_owned(), Vec::new());
    for row in 0..60 {
        let labels = [row % 3 / 2, row % 2];
        values.extend((0..5).map(|column| (rng.normal() + f64::from(labels[column % 2])) as f32));
        writeln!(table, "{row},{}", labels[1]).unwrap();
    }
    std::fs::write(folder.join("labels.csv"), table).unwrap();
    Tensor::from_vec(values, (60, 5), &Device::Cpu).unwrap().write_npy(folder.join("features.npy")).unwrap();
    let data = "[data]\nkind = \"features\"\nfeatures = \"features.npy\"\nlabels = \"labels.csv\"\nstandardize = true\n";
    prepared(folder, &format!("name = \"t\"\n{data}[model]\narch = \"linear\"\n{END}"))
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Panics unless each number is within `tolerance` of the other's size, or of the largest one's thousandth.
fn close(what: &str, ours: &[f32], theirs: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let least = theirs.iter().fold(0.0f32, |most, x| most.max(x.abs())) * 1e-3;
    for (place, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        assert!((ours - theirs).abs() <= tolerance * (theirs.abs() + least), "{what}: number {place} is {ours}, not {theirs}");
    }
}

#[test]
fn batches_are_the_hosts() {
    for make in [images, features] {
        let folder = tempfile::tempdir().unwrap();
        let (data, _) = make(folder.path());
        let blended = |(row, draw): (u32, Draw)| match row % 3 {
            0 => Draw { blend: Some(Blend { partner: (row * 7 + 1) % 30, key: u64::from(row) << 33 | 5 }), ..draw },
            _ => draw,
        };
        let draws: Vec<Draw> = (0..30).map(|row| blended((row, Draw::plain(row)))).collect();
        let host = Loader::streamed(&Device::Cpu);
        for device in devices() {
            let loader = Loader::resident(&data, &device).unwrap();
            for (seed, epoch) in [(0, 0), (3, 7)] {
                let (ours, theirs) =
                    (loader.draws(&data, &draws, (seed, epoch)).unwrap(), host.draws(&data, &draws, (seed, epoch)).unwrap());
                for range in [0..16, 16..30] {
                    let (ours, theirs) = (ours.inputs(range.clone()).unwrap(), theirs.inputs(range).unwrap());
                    assert_eq!(ours.dims(), theirs.dims());
                    for (ours, theirs) in numbers(&ours).iter().zip(numbers(&theirs)) {
                        // A blend may be fused: one rounding less.
                        assert!((ours - theirs).abs() <= 1e-6, "{device:?}: {ours} is not {theirs}");
                    }
                }
            }
            let val = &data.split().val;
            let (ours, theirs) = (loader.rows(&data, val).unwrap(), host.rows(&data, val).unwrap());
            assert_eq!(numbers(&ours.inputs(1..5).unwrap()), numbers(&theirs.inputs(1..5).unwrap()), "{device:?}");
        }
    }
}

const LABELS: usize = 3;

fn every_loss() -> Vec<(String, Box<dyn Loss>)> {
    let corners = [
        "focal(gamma=0.5,alpha=0.9)",
        "class_balanced(gamma=2,beta=0.99999)",
        "class_balanced(by=average_n)",
        "class_balanced(by=min_n)",
        "asl(clip=0)",
        "asl(detach=1)",
        "asl(detach=1,clip=0)",
        "ldam(scale=3,drw=0)",
        "ldam(negatives=1,max_margin=3)",
        "db(gamma=0)",
        "poly1(epsilon=1,gamma=0.5,alpha=0.25)",
        "hill(lambda=2,margin=0,gamma=0)",
        "splc(start=0,tau=0.2,margin=3)",
    ];
    let counts = LabelCounts::new(1000, vec![100, 400, 20]);
    let context = Context { pos_weight: vec![3.0, 0.5, 7.0], counts, epochs: 4 };
    let names = loss::REGISTRY.iter().map(|entry| entry.kind).chain(corners);
    names.map(|name| (name.to_owned(), loss::build(&parse(loss::REGISTRY, "loss", name).unwrap(), &context).unwrap())).collect()
}

/// Batches of 500 and 200 rows: the loss is summed in two parts, and the last batch is smaller.
#[test]
fn the_criterion_on_the_device_equals_the_hosts() {
    let (rows, batch) = (700, 500);
    let mut rng = Rng::new(0, "logits", &[]);
    let logits: Vec<f32> = (0..rows * LABELS).map(|_| (4.0 * rng.normal()) as f32).collect();
    let targets: Vec<u8> = (0..rows * LABELS).map(|_| [0, 1, 0, 0, 1, 0, 2][rng.below(7) as usize]).collect();
    for device in devices() {
        let mut judged = 0;
        for (name, loss) in every_loss() {
            let epoch = Epoch { loss: &*loss, targets: &targets, labels: LABELS, batch, seed: 0, number: 3 };
            let Some(mut ours) = DeviceCriterion::new(epoch, &device, 0.0).unwrap() else { continue };
            let mut theirs = HostCriterion::new(epoch);
            for range in [0..500, 500..700] {
                let values = &logits[range.start * LABELS..range.end * LABELS];
                let judge = |criterion: &mut dyn Criterion, device: &Device| {
                    let logits = Tensor::from_slice(values, (range.len(), LABELS), device).unwrap();
                    numbers(&criterion.evaluate(&logits, range.clone()).unwrap())
                };
                let tolerance = if name == "focal_seed" { 3e-6 } else { 1e-6 };
                close(&format!("{name} on {device:?}"), &judge(&mut ours, &device), &judge(&mut theirs, &Device::Cpu), tolerance);
            }
            let (ours, theirs) = (ours.close().unwrap(), theirs.close().unwrap());
            assert!((ours - theirs).abs() <= 1e-6 * theirs.abs(), "{name} on {device:?}: {ours} is not {theirs}");
            judged += 1;
        }
        assert_eq!(judged, 11 + 13);
    }
}

#[test]
fn a_step_that_comes_to_no_number_is_named_when_the_epoch_ends() {
    let targets = [0, 1, 0].repeat(5);
    let (_, bce) = every_loss().remove(0);
    let epoch = Epoch { loss: &*bce, targets: &targets, labels: LABELS, batch: 2, seed: 0, number: 1 };
    for device in devices() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut criterion = DeviceCriterion::new(epoch, &device, 0.5).unwrap().unwrap();
            for (range, value) in [(0..2, 1.0), (2..4, bad), (4..5, bad)] {
                let logits = Tensor::full(value, (range.len(), LABELS), &device).unwrap();
                criterion.evaluate(&logits, range).unwrap();
                assert_eq!(criterion.mean(), 0.5);
            }
            let error = criterion.close().unwrap_err().to_string();
            assert!(error.contains("in step 2 of epoch 2"), "{error}");
        }
    }
}

fn optimizers() -> [Choice; 5] {
    let adam = [("beta1", 0.9), ("beta2", 0.99), ("eps", 1e-8), ("weight_decay", 0.1)];
    let sgd = [("momentum", 0.9), ("weight_decay", 0.1), ("nesterov", 0.0)];
    let with =
        |kind: &str, params: &[(&str, f64)]| params.iter().fold(Choice::plain(kind), |all, &(name, value)| all.with(name, value));
    [
        with("adam", &adam),
        with("adamw", &adam),
        with("adam_mini", &adam),
        with("sgd", &sgd),
        with("sgd", &sgd).with("nesterov", 1.0),
    ]
}

/// Tensors smaller and larger than a block's share, one of them without a gradient, some steps clipped.
#[test]
fn an_optimizers_step_is_the_hosts() {
    let sizes: [&[usize]; 5] = [&[1], &[3, 5], &[4096], &[70, 150], &[17]];
    let values = |size: &[usize], purpose: &str, step: u64| {
        let mut rng = Rng::new(step, purpose, &size.iter().map(|&size| size as u64).collect::<Vec<_>>());
        (0..size.iter().product::<usize>()).map(|_| rng.normal() as f32).collect::<Vec<f32>>()
    };
    let walk = |choice: &Choice, device: &Device| {
        let tensor = |size: &[usize], purpose: &str, step| Tensor::from_vec(values(size, purpose, step), size, device).unwrap();
        let var = |(name, size): (usize, &&[usize])| (format!("p{name}"), Var::from_tensor(&tensor(size, "start", 0)).unwrap());
        let parameters: BTreeMap<String, Var> = sizes.iter().enumerate().map(var).collect();
        let mut optimizer = Optimizer::new(choice, &parameters).unwrap();
        for step in 0..3 {
            let names: Vec<&String> = parameters.keys().take(4).collect();
            let gradient = |(name, size): (&&String, &&[usize])| (name.as_str().to_owned(), tensor(size, "gradient", step));
            let gradients: BTreeMap<String, Tensor> = names.iter().zip(&sizes).map(gradient).collect();
            let mut gradients: BTreeMap<&str, Tensor> =
                gradients.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
            let scale = match step {
                0 => None,
                _ => clip_scale(gradients.values(), 20.0).unwrap().or_else(|| {
                    optimizer::clip(&mut gradients, 20.0).unwrap();
                    None
                }),
            };
            optimizer.step(&gradients, 0.01, scale.as_ref()).unwrap();
        }
        let mut all: BTreeMap<String, Vec<f32>> = parameters.iter().map(|(name, var)| (name.clone(), numbers(var))).collect();
        all.extend(optimizer.state().iter().map(|(name, tensor)| (name.clone(), numbers(tensor))));
        all
    };
    for device in devices() {
        for choice in optimizers() {
            let (ours, theirs) = (walk(&choice, &device), walk(&choice, &Device::Cpu));
            assert_eq!(theirs["p4"], values(sizes[4], "start", 0), "a parameter without a gradient stays");
            for (name, theirs) in &theirs {
                close(&format!("{choice} on {device:?}: {name}"), &ours[name], theirs, 2e-5);
            }
        }
    }
}

/// Losses of the epochs of a run, train and val.
#[derive(Default)]
struct Listener(Vec<f32>);

impl Monitor for Listener {
    fn begin(&mut self, _: &Job, _: Option<usize>) -> Result<(), JournalError> {
        Ok(())
    }

    fn beat(&mut self, _: &Job, beat: Beat) -> Result<(), JournalError> {
        assert!(beat.loss.is_finite());
        Ok(())
    }

    fn record(&mut self, _: &Job, events: Vec<Event>) -> Result<(), JournalError> {
        for event in events {
            if let Event::Epoch { train_loss, val_loss, .. } = event {
                self.0.extend([train_loss as f32, val_loss as f32]);
            }
        }
        Ok(())
    }

    fn stopping(&self) -> bool {
        false
    }
}

/// A whole run, clipped and changed at random, with the data set on the device and from the host.
#[test]
fn a_run_on_the_device_goes_the_hosts_way() {
    for make in [images, features] {
        let folder: TempDir = tempfile::tempdir().unwrap();
        let (data, job) = make(folder.path());
        let train = |loader: &Loader, name: &str| {
            let job = Job { folder: folder.path().join(name), ..job.clone() };
            let mut listener = Listener::default();
            assert_eq!(run_with(&job, &data, loader, &mut listener).unwrap(), Finish::Done);
            assert_eq!(listener.0.len(), 6);
            listener.0
        };
        let theirs = train(&Loader::streamed(&Device::Cpu), "host");
        for (number, device) in devices().iter().enumerate() {
            for (name, loader) in [("resident", Loader::resident(&data, device).unwrap()), ("streamed", Loader::streamed(device))]
            {
                assert_eq!(loader.is_resident(), name == "resident");
                close(&format!("{name} on {device:?}"), &train(&loader, &format!("{name}-{number}")), &theirs, 1e-4);
            }
        }
    }
}
