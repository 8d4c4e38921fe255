//! Seconds of the features of a frozen backbone, batch by batch as `sweep run` computes them, from pixels that are there, as one JSON
//! object: `cargo run --release --example frozen_features -- --arch resnet50 --weights FILE --images FILE --features FILE`.

#[path = "../../../examples/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use candle_core::{Device, Tensor};
use clap::Parser;
use plan::ModelConfig;
use serde_json::json;
use train::features::images_at_once;
use train::model::backbone::Features;
use train::model::{load_tensors, save_tensors};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    arch: String,
    #[arg(long)]
    weights: String,
    /// A safetensors file with `images`, `[rows, 3, edge, edge]` in f32.
    #[arg(long)]
    images: PathBuf,
    /// The safetensors file that gets `features`.
    #[arg(long)]
    features: PathBuf,
    #[arg(long, default_value = "f32")]
    precision: String,
    /// Times that all images are computed, after once that is not timed.
    #[arg(long, default_value_t = 3)]
    times: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

#[expect(clippy::print_stdout, reason = "the result is for stdout")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { arch, weights, images, features, precision, times, threads } = Arguments::parse();
    common::as_a_worker(threads)?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global()?;
    let (tensors, _) = load_tensors(&images, &Device::Cpu)?;
    let images = tensors.get("images").ok_or("there is no tensor `images`")?;
    let (rows, _, height, width) = images.dims4()?;
    let model = ModelConfig {
        freeze: Some("backbone".to_owned()),
        precision: (precision != "f32").then_some(precision),
        ..ModelConfig::new(arch, Vec::new())
    };
    let start = Instant::now();
    let net = Features::load(&model, height, &weights, &Device::Cpu)?;
    let load = start.elapsed().as_secs_f64();
    let batch = images_at_once(height, width);
    let (mut seconds, mut made) = (Vec::with_capacity(times), Vec::new());
    for time in 0..=times {
        let start = Instant::now();
        let parts = (0..rows).step_by(batch).map(|at| net.forward(&images.narrow(0, at, batch.min(rows - at))?));
        made = parts.collect::<candle_core::Result<Vec<Tensor>>>()?;
        if time > 0 {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    save_tensors(&BTreeMap::from([("features".to_owned(), Tensor::cat(&made, 0)?)]), None, &features)?;
    seconds.sort_by(f64::total_cmp);
    let result = json!({
        "images_per_s": rows as f64 / seconds[(seconds.len() - 1) / 2],
        "load_s": load,
        "peak_memory_bytes": common::memory("VmHWM:").map(|kib| kib * 1024),
    });
    println!("{result}");
    Ok(())
}
