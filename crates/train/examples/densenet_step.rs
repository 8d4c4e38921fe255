//! Seconds of a DenseNet-121 training step (forward, loss, backward, Adam) as `sweep run` does it, and of an evaluation, as one
//! JSON object. Each step is timed by itself, waiting for the device at its end; then `--steps` of them at once, as in an epoch,
//! three times; on a GPU once more by kernel: `cargo run --release --example densenet_step -- --size 64 --batch 16 --steps 5 --threads 2`.

#[path = "../../../examples/common/mod.rs"]
mod common;

use std::time::Instant;

use candle_core::{Device, Tensor};
use clap::{Parser, ValueEnum};
use imbalance::Choice;
use imbalance::LabelCounts;
use imbalance::loss::{self, Context};
use imbalance::rng::Rng;
use plan::InputShape;
use plan::ModelConfig;
use serde_json::json;
use train::Trainer;
use train::criterion::{self, Epoch};
use train::model::{self, Step};
use train::optimizer::Optimizer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    /// Height and width of the images.
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

/// Bytes in use on the device, by all processes.
#[cfg(feature = "cuda")]
fn device_memory(device: &Device) -> Option<u64> {
    let (free, total) = candle_core::cuda_backend::cudarc::driver::result::mem_get_info().ok().filter(|_| device.is_cuda())?;
    u64::try_from(total - free).ok()
}

#[cfg(not(feature = "cuda"))]
fn device_memory(_: &Device) -> Option<u64> {
    None
}

/// The most that this process's pool has given out and has held on the device, in bytes: what a peer calls its peak of allocations.
#[cfg(feature = "cuda")]
fn pool_memory(device: &Device) -> Option<[u64; 2]> {
    use candle_core::cuda_backend::cudarc::driver::result;
    use candle_core::cuda_backend::cudarc::driver::sys::CUmemPool_attribute::{
        CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH, CU_MEMPOOL_ATTR_USED_MEM_HIGH,
    };

    let Device::Cuda(device) = device else { return None };
    // SAFETY: the context exists, so that its device does; the attributes are cuuint64_t.
    unsafe {
        let pool = result::device::get_default_mem_pool(device.cuda_stream().context().cu_device()).ok()?;
        let high = |attribute| {
            let mut bytes = 0u64;
            result::mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast()).ok()?;
            Some(bytes)
        };
        Some([high(CU_MEMPOOL_ATTR_USED_MEM_HIGH)?, high(CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH)?])
    }
}

#[cfg(not(feature = "cuda"))]
fn pool_memory(_: &Device) -> Option<[u64; 2]> {
    None
}

fn class(class: &kernel::trace::Class) -> serde_json::Value {
    json!({ "name": class.name, "launches": class.launches, "ms": class.milliseconds })
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
    // RUST_LOG=kernel=debug: cuDNN's plans.
    train::worker::log_to_stderr();
    rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global()?;
    let device = train::worker::device(&name)?;
    let config = ModelConfig::new("densenet121", Vec::new());
    let shape = InputShape::Image { channels: 3, height: size, width: size };
    let precision = if precision == Precision::Bf16 { "bf16" } else { "f32" };
    let model = model::at_precision(model::build(&config, shape, labels, None, 0, &device)?, &config, precision, &device)?;
    let adam = [("beta1", 0.9), ("beta2", 0.999), ("eps", 1e-8), ("weight_decay", 0.0)];
    let adam = adam.iter().fold(Choice::plain("adam"), |adam, &(name, value)| adam.with(name, value));
    let mut optimizer = Optimizer::new(&adam, &model.state().parameters)?;
    let counts = LabelCounts::new(batch, vec![1; labels]);
    let loss = loss::build(&Choice::plain("bce"), &Context { pos_weight: vec![1.0; labels], counts, epochs: 1 })?;

    let mut rng = Rng::new(0, "densenet_step", &[]);
    let pixels: Vec<f32> = (0..batch * 3 * size * size).map(|_| rng.normal() as f32).collect();
    let inputs = Tensor::from_vec(pixels, (batch, 3, size, size), &Device::Cpu)?.to_device(&device)?;
    let targets: Vec<u8> = (0..batch * labels).map(|_| u8::from(rng.uniform() < 0.3)).collect();
    let mut seconds = Vec::with_capacity(steps);
    let mut losses = Vec::with_capacity(steps);
    for step in 0..warmup + steps {
        let start = Instant::now();
        let whole = Epoch { loss: &*loss, targets: &targets, labels, batch, seed: 0, number: 0 };
        let mut criterion = criterion::open(whole, &device, 0.0)?;
        let mut learner = Trainer { model: &*model, optimizer: &mut optimizer, criterion: &mut *criterion, grad_clip: None };
        learner.step(&inputs, 0..batch, Step { seed: 0, epoch: 0, step }, 1e-4)?;
        let loss = criterion.close()?;
        device.synchronize()?;
        if step >= warmup {
            seconds.push(start.elapsed().as_secs_f64());
            losses.push(loss);
        }
    }
    // As an epoch has them: losses are read once, at the end, so that a device may fall behind what it is asked for.
    let (mut courses, mut asked) = (Vec::new(), Vec::new());
    let all: Vec<u8> = targets.repeat(steps);
    for _ in 0..3 {
        let start = Instant::now();
        let whole = Epoch { loss: &*loss, targets: &all, labels, batch, seed: 0, number: 0 };
        let mut criterion = criterion::open(whole, &device, 0.0)?;
        for step in 0..steps {
            let mut learner = Trainer { model: &*model, optimizer: &mut optimizer, criterion: &mut *criterion, grad_clip: None };
            learner.step(&inputs, step * batch..(step + 1) * batch, Step { seed: 0, epoch: 0, step }, 1e-4)?;
        }
        asked.push(start.elapsed().as_secs_f64() / steps as f64);
        losses.push(criterion.close()?);
        device.synchronize()?;
        courses.push(start.elapsed().as_secs_f64() / steps as f64);
    }
    // One more step, with an event around each launch.
    let whole = Epoch { loss: &*loss, targets: &targets, labels, batch, seed: 0, number: 0 };
    let mut criterion = criterion::open(whole, &device, 0.0)?;
    let seen = kernel::trace::traced(&device, || {
        let mut learner = Trainer { model: &*model, optimizer: &mut optimizer, criterion: &mut *criterion, grad_clip: None };
        learner.step(&inputs, 0..batch, Step { seed: 0, epoch: 0, step: 0 }, 1e-4).map_err(candle_core::Error::wrap)
    })?;
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
    let (course, enqueued) = (median(&courses), median(&asked));
    let median = median(&seconds);
    let result = json!({
        "course_images_per_s": batch as f64 / course,
        "median_course_step_s": course,
        // Until the last step was asked for, a step: the CPU's part, where the device keeps up.
        "median_enqueued_step_s": enqueued,
        "images_per_s": batch as f64 / median,
        "median_step_s": median,
        "evaluation_images_per_s": batch as f64 / evaluation,
        "median_evaluation_s": evaluation,
        "steps_s": seconds,
        "courses_s": courses,
        "losses": losses,
        "losses_bits": losses.iter().map(|loss| format!("{:016x}", loss.to_bits())).collect::<Vec<_>>(),
        "peak_memory_bytes": device_memory(&device).or_else(|| Some(common::memory("VmHWM:")? * 1024)),
        // Milliseconds of a step on the device, and of the launches that are not Candle's, by class.
        "traced_ms": seen.as_ref().map(|(milliseconds, _)| milliseconds),
        "classes": seen.iter().flat_map(|(_, classes)| classes).map(class).collect::<Vec<_>>(),
        "pool_used_and_reserved_bytes": pool_memory(&device),
        "size": size, "batch": batch, "labels": labels, "threads": threads, "device": name, "precision": precision,
    });
    println!("{result:#}");
    Ok(())
}
