//! Seconds of a DenseNet-121 training step (forward, loss, backward, Adam) as `sweep run` does it, and of an evaluation, as one JSON object:
//! `cargo run --release --example densenet_step -- --size 64 --batch 16 --steps 5 --threads 2`.

mod common;

use std::time::Instant;

use candle_core::{Device, Tensor};
use clap::{Parser, ValueEnum};
use serde_json::json;
use sweep::data::InputShape;
use sweep::model::{self, Step};
use sweep::rng::Rng;
use sweep::spec::{Choice, ModelConfig};
use sweep::strategy::LabelCounts;
use sweep::strategy::loss::{self, Context};
use sweep::train::Trainer;
use sweep::train::meter::{self, Course};
use sweep::train::optimizer::Optimizer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    /// Height and width of the pictures.
    #[arg(long, default_value_t = 64)]
    size: usize,
    #[arg(long, default_value_t = 16)]
    batch: usize,
    #[arg(long, default_value_t = 4)]
    labels: usize,
    /// Steps that are timed, after `--warmup` that are not.
    #[arg(long, default_value_t = 5)]
    steps: usize,
    #[arg(long, default_value_t = 2)]
    warmup: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// cpu or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Precision {
    F32,
    Bf16,
}

/// What is in use on the device, by whomever, in bytes.
#[cfg(feature = "cuda")]
fn device_memory(device: &Device) -> Option<u64> {
    let (free, total) = candle_core::cuda_backend::cudarc::driver::result::mem_get_info().ok().filter(|_| device.is_cuda())?;
    u64::try_from(total - free).ok()
}

#[cfg(not(feature = "cuda"))]
fn device_memory(_: &Device) -> Option<u64> {
    None
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

#[expect(clippy::print_stdout, reason = "the result is for stdout")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { size, batch, labels, steps, warmup, threads, device: name, precision } = Arguments::parse();
    if steps == 0 || batch == 0 || labels == 0 {
        return Err("--steps, --batch and --labels must be 1 or more".into());
    }
    common::as_a_worker(threads)?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global()?;
    let device = sweep::worker::device(&name)?;
    let config = ModelConfig {
        arch: "densenet121".to_owned(),
        hidden: Vec::new(),
        dropout: 0.0,
        weights: None,
        freeze: None,
        weights_hash: None,
    };
    let shape = InputShape::Image { channels: 3, height: size, width: size };
    let precision = if precision == Precision::Bf16 { "bf16" } else { "f32" };
    let model = model::at_precision(model::build(&config, shape, labels, None, 0, &device)?, &config, precision, &device)?;
    let adam = [("beta1", 0.9), ("beta2", 0.999), ("eps", 1e-8), ("weight_decay", 0.0)];
    let adam = adam.iter().fold(Choice::plain("adam"), |adam, &(name, value)| adam.with(name, value));
    let mut optimizer = Optimizer::new(&adam, &model.state().parameters)?;
    let counts = LabelCounts { rows: batch, positives: vec![1; labels] };
    let loss = loss::build(&Choice::plain("bce"), &Context { pos_weight: vec![1.0; labels], counts, epochs: 1 })?;

    let mut rng = Rng::new(0, "densenet_step", &[]);
    let pixels: Vec<f32> = (0..batch * 3 * size * size).map(|_| rng.normal() as f32).collect();
    let inputs = Tensor::from_vec(pixels, (batch, 3, size, size), &Device::Cpu)?.to_device(&device)?;
    let targets: Vec<u8> = (0..batch * labels).map(|_| u8::from(rng.uniform() < 0.3)).collect();
    let mut seconds = Vec::with_capacity(steps);
    let mut losses = Vec::with_capacity(steps);
    for step in 0..warmup + steps {
        let start = Instant::now();
        let course = Course { loss: &*loss, targets: &targets, labels, batch, seed: 0, epoch: 0 };
        let mut meter = meter::open(course, &device, 0.0)?;
        let mut learner = Trainer { model: &*model, optimizer: &mut optimizer, meter: &mut *meter, grad_clip: None };
        learner.step(&inputs, 0..batch, Step { seed: 0, epoch: 0, step }, 1e-4)?;
        let loss = meter.close()?;
        device.synchronize()?;
        if step >= warmup {
            seconds.push(start.elapsed().as_secs_f64());
            losses.push(loss);
        }
    }
    let mut evaluations = Vec::with_capacity(steps);
    for step in 0..warmup + steps {
        let start = Instant::now();
        model.forward(&inputs, None)?;
        device.synchronize()?;
        if step >= warmup {
            evaluations.push(start.elapsed().as_secs_f64());
        }
    }
    let evaluation = median(&evaluations);
    let median = median(&seconds);
    let result = json!({
        "images_per_s": batch as f64 / median,
        "median_step_s": median,
        "evaluation_images_per_s": batch as f64 / evaluation,
        "median_evaluation_s": evaluation,
        "steps_s": seconds,
        "losses": losses,
        "peak_memory_bytes": device_memory(&device).or_else(|| Some(common::memory("VmHWM:")? * 1024)),
        "size": size, "batch": batch, "labels": labels, "threads": threads, "device": name, "precision": precision,
    });
    println!("{result:#}");
    Ok(())
}
