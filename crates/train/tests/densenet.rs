//! DenseNet-121 against torchvision's: logits, and the gradient of every parameter after one training step.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use imbalance::Choice;
use imbalance::LabelCounts;
use imbalance::loss::{self, Batch, Context};
use plan::InputShape;
use plan::ModelConfig;
use serde::Deserialize;
use train::model::{self, Model, Step};

const LABELS: usize = 4;

fn densenet(size: usize, weights: Option<String>) -> Box<dyn Model> {
    let config = ModelConfig {
        arch: "densenet121".to_owned(),
        hidden: Vec::new(),
        dropout: 0.0,
        weights,
        freeze: None,
        precision: None,
        weights_hash: None,
        weights_head: None,
    };
    let input = InputShape::Image { channels: 3, height: size, width: size };
    model::build(&config, input, LABELS, None, 0, &Device::Cpu).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|value| value * value).sum::<f64>().sqrt()
}

fn largest_difference(ours: &[f32], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(ours, theirs)| (f64::from(*ours) - theirs).abs()).fold(0.0, f64::max)
}

/// One training step's forward and backward pass with bce: logits, loss, and the gradient of each parameter, with the running
/// statistics after it.
fn step(model: &dyn Model, inputs: &Tensor, targets: &[u8]) -> (Vec<f32>, f64, BTreeMap<String, Vec<f32>>) {
    let counts = LabelCounts::new(2, vec![1; LABELS]);
    let context = Context { pos_weight: vec![1.0; LABELS], counts, epochs: 1 };
    let bce = loss::build(&Choice::plain("bce"), &context).unwrap();
    let logits = model.forward(inputs, Some(Step { seed: 0, epoch: 0, step: 0 })).unwrap();
    let values = numbers(&logits);
    let mut slopes = vec![0.0; values.len()];
    let value = bce.evaluate(Batch { labels: LABELS, logits: &values, targets, epoch: 0 }, &mut slopes);
    let slopes = Tensor::from_vec(slopes, logits.shape(), &Device::Cpu).unwrap();
    let gradients = (logits * slopes).unwrap().sum_all().unwrap().backward().unwrap();
    let state = model.state();
    let of = |(name, var): (&String, &candle_core::Var)| (name.clone(), numbers(gradients.get(var).unwrap()));
    let mut tensors: BTreeMap<_, _> = state.parameters.iter().map(of).collect();
    tensors.extend(state.buffers.iter().map(|(name, var)| (name.clone(), numbers(var.as_tensor()))));
    (values, value, tensors)
}

/// Numbers in [-1, 1), as `draw` in tests/oracle/densenet.py.
fn draw(name: &str, count: usize) -> impl Iterator<Item = f64> + use<> {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    (1..=count as u64).map(move |i| {
        let mut z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 40) as f64 / f64::from(1 << 23) - 1.0
    })
}

/// What a tensor starts as, as `value` there.
fn value(name: &str, shape: &[usize]) -> Vec<f32> {
    let bound = (6.0 / shape.iter().skip(1).product::<usize>() as f64).sqrt();
    let value = |u: f64| match name {
        _ if name.contains("conv") => u * bound,
        "classifier.weight" => u / 32.0,
        _ if name.ends_with("running_var") => 1.0 + u / 2.0,
        _ if name.ends_with("weight") => 1.0 + u / 4.0,
        _ if name.contains("norm") && name.ends_with("bias") => u / 4.0 + if u > 0.0 { 2.5 } else { -2.5 },
        _ => u / 4.0,
    };
    draw(name, shape.iter().product()).map(|u| value(u) as f32).collect()
}

/// tests/oracle/densenet.json.
#[derive(Deserialize)]
struct Oracle {
    logits: Vec<f64>,
    train_logits: Vec<f64>,
    loss: f64,
    /// Norm, product with a random direction, four entries: of each gradient and each running statistic.
    tensors: BTreeMap<String, [f64; 6]>,
}

#[test]
fn logits_and_gradients_are_torchvisions() {
    let oracle: Oracle = serde_json::from_str(include_str!("../../../tests/oracle/densenet.json")).unwrap();
    let model = densenet(64, None);
    let state = model.state();
    for (name, var) in state.parameters.iter().chain(&state.buffers) {
        var.set(&Tensor::from_vec(value(name, var.dims()), var.shape(), &Device::Cpu).unwrap()).unwrap();
    }
    let shape = (4, 3, 64, 64);
    let input: Vec<f32> = draw("input", 4 * 3 * 64 * 64).map(|u| 2.0 * u as f32).collect();
    let input = Tensor::from_vec(input, shape, &Device::Cpu).unwrap();
    let targets = [1, 0, 0, 1, 0, 1, 0, 1, 0, 0, 1, 0, 1, 1, 0, 0];

    let logits = numbers(&model.forward(&input, None).unwrap());
    let eval = largest_difference(&logits, &oracle.logits);
    assert!(eval <= 1e-4, "eval logits are off by {eval}");
    let (logits, loss, tensors) = step(model.as_ref(), &input, &targets);
    let train = largest_difference(&logits, &oracle.train_logits);
    assert!(train <= 1e-4, "train logits are off by {train}");
    assert!((loss - oracle.loss).abs() <= 1e-5 * oracle.loss, "the loss is {loss}, should be {}", oracle.loss);

    assert_eq!(tensors.keys().collect::<Vec<_>>(), oracle.tensors.keys().collect::<Vec<_>>());
    let mut worst = (0.0, String::new());
    for (name, expected) in &oracle.tensors {
        let ours = &tensors[name];
        let direction = draw(&format!("direction {name}"), ours.len()).map(|u| u * 3f64.sqrt());
        let product: f64 = direction.zip(ours).map(|(u, value)| u * f64::from(*value)).sum();
        let entries = (0..4).map(|i| f64::from(ours[i * (ours.len() - 1) / 3]));
        let found = [norm(ours.iter().map(|&value| value.into())), product].into_iter().chain(entries);
        for (found, wanted) in found.zip(expected) {
            // Relative to the norm of the whole: no entry or projection may be off by more than a thousandth of it.
            let error = (found - wanted).abs() / expected[0];
            assert!(error <= 1e-3, "{name}: {found}, should be {wanted}: off by {error} of the norm {}", expected[0]);
            if error > worst.0 {
                worst = (error, name.clone());
            }
        }
    }
    println!(
        "eval logits off by {eval:.1e}, train logits by {train:.1e}, gradients and statistics by {:.1e} ({})",
        worst.0, worst.1
    );
}

/// Files that tests/oracle/torchvision_weights.py made, which also runs this test: a randomly initialised model of torchvision,
/// a batch, and torch's results in full.
#[test]
fn a_model_of_torchvision_gives_its_logits_and_gradients() {
    let Some(folder) = std::env::var_os("SWEEP_TORCHVISION").map(PathBuf::from) else {
        println!("skipped: tests/oracle/torchvision_weights.py runs this");
        return;
    };
    let load = |name: &str| model::load_tensors(&folder.join(name), &Device::Cpu).unwrap().0;
    let results = load("results.safetensors");
    let theirs = |name: &str| -> Vec<f64> { results[name].flatten_all().unwrap().to_vec1().unwrap() };
    let (input, targets) = (&results["input"], results["targets"].flatten_all().unwrap().to_vec1::<u8>().unwrap());
    let path = |name: &str| Some(folder.join(name).to_string_lossy().into_owned());
    let model = densenet(input.dim(2).unwrap(), path("weights.safetensors"));
    let eval = largest_difference(&numbers(&model.forward(input, None).unwrap()), &theirs("logits"));
    let (logits, loss, tensors) = step(model.as_ref(), input, &targets);
    let train = largest_difference(&logits, &theirs("train_logits"));
    let mut errors: Vec<(f64, &String)> = Vec::new();
    for (name, ours) in &tensors {
        let after = |name: &str| theirs(&format!("after {name}"));
        let difference = norm(ours.iter().zip(after(name)).map(|(ours, theirs)| f64::from(*ours) - theirs));
        // A norm's weight and bias sum the same terms. The first norm's weight hardly matters, because another norm follows: what is
        // left of its sum is rounding, so that its scale is the bias's.
        let twin = name.strip_suffix("weight").filter(|name| name.contains("norm")).map(|name| format!("{name}bias"));
        let scale = norm(after(name)).max(twin.map_or(0.0, |twin| norm(after(&twin))));
        errors.push((difference / scale, name));
    }
    errors.sort_by(|a, b| a.0.total_cmp(&b.0));
    println!("eval logits off by {eval:.1e}, train logits by {train:.1e}, loss by {:.1e}", (loss - theirs("loss")[0]).abs());
    let of = |(error, name): &(f64, &String)| format!("{error:.1e} ({name})");
    let (median, worst) = (of(&errors[errors.len() / 2]), of(&errors[errors.len() - 1]));
    println!("gradients and statistics off by {median} in the median, {worst} at worst; {} tensors", errors.len());
    for (error, name) in errors.iter().filter(|(error, _)| *error > 1e-3) {
        println!("too far: {name} {error:.1e}");
    }
    assert!(eval <= 1e-4 && train <= 1e-4, "logits");
    assert!(errors.iter().all(|(error, _)| *error <= 1e-3), "{worst}");

    // A head for 1000 classes is replaced; the body stays.
    let whole = path("weights-1000.safetensors");
    let other = densenet(input.dim(2).unwrap(), whole.clone());
    let kept = load("weights-1000.safetensors");
    for (name, var) in other.state().parameters.iter().filter(|(name, _)| !name.starts_with("classifier.")) {
        assert_eq!(numbers(var.as_tensor()), numbers(&kept[name]), "{name}");
    }
    assert_eq!(numbers(other.state().parameters["classifier.bias"].as_tensor()), [0.0; LABELS]);
    assert!(Path::new(&whole.unwrap()).is_file());
}
