//! Whole models on a CUDA device against the CPU: logits, the gradient of every parameter, running statistics.
//! On a GPU, or on the host emulation of tests/cuda_on_host. Without either they are skipped, and fail where SWEEP_NEED_GPU is set.

#![cfg(feature = "cuda")]
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]
#![expect(clippy::print_stdout, reason = "how far results are apart")]

#[path = "common/cuda.rs"]
mod cuda;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use imbalance::rng::Rng;
use plan::InputShape;
use plan::ModelConfig;
use train::model::{self, Step};

const LABELS: usize = 3;

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn noise(shape: &[usize], seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed, "noise", &[]);
    (0..shape.iter().product()).map(|_| rng.normal() as f32).collect()
}

/// By name: the logits in training and in evaluation, gradients, and the statistics after the step. The loss is the logits'
/// product with fixed slopes, as the training loop has it.
fn step(arch: &str, hidden: &[usize], input: InputShape, shape: &[usize], device: &Device) -> BTreeMap<String, Vec<f32>> {
    let config = ModelConfig::new(arch, hidden);
    let model = model::build(&config, input, LABELS, None, 3, device).unwrap();
    let x = Tensor::from_vec(noise(shape, 1), shape, device).unwrap();
    let slopes = Tensor::from_vec(noise(&[shape[0], LABELS], 2), (shape[0], LABELS), device).unwrap();
    let logits = model.forward(&x, Some(Step { seed: 0, epoch: 0, step: 0 })).unwrap();
    let gradients = kernel::backward(&(&logits * slopes).unwrap().sum_all().unwrap()).unwrap();
    let state = model.state();
    let mut found = BTreeMap::from([("logits".to_owned(), numbers(&logits))]);
    for (name, var) in &state.parameters {
        found.insert(format!("gradient of {name}"), numbers(&gradients.get(var).unwrap().unwrap()));
    }
    found.extend(state.buffers.iter().map(|(name, var)| (name.clone(), numbers(var.as_tensor()))));
    found.insert("logits in evaluation".to_owned(), numbers(&model.forward(&x, None).unwrap()));
    found
}

fn compare(arch: &str, hidden: &[usize], input: InputShape, shape: &[usize], tolerance: f32) {
    let Some(device) = cuda::device() else { return };
    let ours = step(arch, hidden, input, shape, &device);
    let expected = step(arch, hidden, input, shape, &Device::Cpu);
    assert_eq!(ours.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    let mut worst = (0.0, "nothing");
    let largest = |values: &[f32]| values.iter().fold(1e-6, |size: f32, value| size.max(value.abs()));
    // What batch norm takes out of a gradient again leaves rounding errors of the others.
    let of_gradients = expected.iter().filter(|(name, _)| name.starts_with("gradient")).map(|(_, values)| largest(values));
    let floor = 1e-3 * of_gradients.fold(0.0, f32::max);
    for (name, expected) in &expected {
        assert_eq!(ours[name].len(), expected.len(), "{arch}: {name}");
        let size = largest(expected).max(floor);
        for (ours, expected) in ours[name].iter().zip(expected) {
            let error = (ours - expected).abs() / size;
            assert!(
                error <= tolerance,
                "{arch}: {name}: {ours}, on the CPU {expected}: off by {error:.1e} of the largest, {size}"
            );
            if error > worst.0 {
                worst = (error, name);
            }
        }
    }
    println!("{arch}: {} tensors, off by {:.1e} at most ({})", expected.len(), worst.0, worst.1);
    assert_eq!(ours, step(arch, hidden, input, shape, &device), "{arch}: the second step differs from the first");
}

#[test]
fn features_and_images_give_the_cpus_numbers() {
    let image = InputShape::Image { channels: 3, height: 33, width: 20 };
    compare("linear", &[], InputShape::Features { width: 7 }, &[5, 7], 1e-5);
    compare("mlp", &[11, 6], InputShape::Features { width: 7 }, &[5, 7], 1e-5);
    compare("cnn", &[8, 5], image, &[3, 3, 33, 20], 1e-4);
}

#[test]
fn densenet_gives_the_cpus_numbers() {
    let image = InputShape::Image { channels: 3, height: 64, width: 64 };
    compare("densenet121", &[], image, &[2, 3, 64, 64], 1e-3);
}
