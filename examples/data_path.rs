//! Throughput of the data path: decoding and resizing, preparing a folder, and gathering training batches from the prepared one.
//!
//! ```text
//! cargo run --release --example data_path -- decode FOLDER --size 224 --channels 3 [--threads 1]
//! cargo run --release --example data_path -- prepare FOLDER --size 224 --channels 3 [--threads 2]
//! cargo run --release --example data_path -- letters --rows 224000 --size 64 [--threads 2]
//! ```
//!
//! `decode` reads the images of FOLDER into memory and then times decoding alone. `prepare` makes the prepared folder of FOLDER
//! and its `labels.csv` in a temporary place and streams an epoch of it; `letters` does the same with the built-in letters.
//! Streaming is what a training step asks for: batches of shuffled rows, normalised to f32, half of them mirrored. Prints one
//! JSON object: images per second, CPU seconds (user and system, all threads), peak memory.

mod common;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Parser, Subcommand};
use data::decode::{FULL, decode};
use data::{self, Dataset};
use imbalance::rng::Rng;
use imbalance::stratification::SplitConfig;
use plan::{Columns, DataConfig, ImageConfig, Source};
use rayon::prelude::*;
use serde_json::{Value, json};

/// As the program itself has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Decode and resize, from memory.
    Decode(Folder),
    /// A folder of images → the prepared folder → an epoch of batches.
    Prepare(Folder),
    /// As `prepare`, with the built-in letters.
    Letters {
        #[arg(long, default_value_t = 224_000)]
        rows: usize,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Args)]
struct Folder {
    /// Images, and `labels.csv` (`image,A,B`) for `prepare`.
    folder: PathBuf,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Common {
    #[arg(long, default_value_t = 224)]
    size: u32,
    #[arg(long, default_value_t = 3)]
    channels: u32,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Rows of a streamed batch.
    #[arg(long, default_value_t = 32)]
    batch: usize,
}

fn image(common: &Common) -> ImageConfig {
    ImageConfig {
        size: common.size,
        channels: common.channels,
        resize: "stretch".to_owned(),
        normalize: "imagenet".to_owned(),
        flip: true,
        crop_padding: 0,
        on_bad_image: "error".to_owned(),
        max_pixels: 100_000_000,
        transparency: "drop".to_owned(),
        pixel_range: "full".to_owned(),
    }
}

/// User and system time of the process so far, all threads, in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name in brackets, which may hold anything; in hundredths of a second (USER_HZ).
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// `count` things done by `work`: seconds, CPU seconds, things per second and per CPU second.
fn timed<R>(count: usize, work: impl FnOnce() -> R) -> (Value, R) {
    let (start, before) = (Instant::now(), cpu());
    let result = work();
    let (seconds, used) = (start.elapsed().as_secs_f64(), cpu() - before);
    let rate = |seconds: f64| count as f64 / seconds;
    (json!({ "count": count, "seconds": seconds, "cpu_seconds": used, "per_s": rate(seconds), "per_cpu_s": rate(used) }), result)
}

fn files(folder: &Path) -> std::io::Result<Vec<Vec<u8>>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jpg" || extension == "png"));
    paths.sort();
    paths.iter().map(std::fs::read).collect()
}

fn time_decoding(Folder { folder, common }: &Folder) -> Result<Value, Box<dyn std::error::Error>> {
    let (files, config) = (files(folder)?, image(common));
    let all = || {
        files
            .par_iter()
            .map(|file| decode(file, &config, FULL).map(|picture| picture.pixels.len()))
            .sum::<Result<usize, String>>()
    };
    all()?;
    // Long enough for a clock of hundredths.
    let (once, _) = timed(files.len(), all);
    let rounds = once["seconds"].as_f64().map_or(1, |seconds| (2.0 / seconds).ceil().max(1.0) as usize);
    let (decoding, result) = timed(rounds * files.len(), || (0..rounds).map(|_| all()).sum::<Result<usize, String>>());
    result?;
    Ok(json!({ "decode": decoding }))
}

/// Prepares `source` and streams it.
fn time_preparing(source: Source, base: &Path, common: &Common) -> Result<Value, Box<dyn std::error::Error>> {
    let config =
        DataConfig { source, split: SplitConfig { train: 0.8, val: 0.1, test: 0.1, method: "random".to_owned(), seed: 0 } };
    let cache = tempfile::tempdir()?;
    let (mut preparing, facts) = timed(0, || data::prepare(&config, base, cache.path(), &|_, _| {}).map(|data| data.facts));
    let facts = facts?;
    let rows = facts.train.rows + facts.val.rows + facts.test.rows;
    for (rate, seconds) in [("per_s", "seconds"), ("per_cpu_s", "cpu_seconds")] {
        preparing[rate] = preparing[seconds].as_f64().map(|seconds| rows as f64 / seconds).into();
    }
    preparing["count"] = rows.into();
    preparing["peak_kib"] = common::memory("VmHWM:").into();
    let data = Dataset::open(&facts.folder, &config)?;
    let mut order: Vec<u32> = (0u32..).take(rows).collect();
    Rng::new(0, "data path", &[]).shuffle(&mut order);
    let mut batch = vec![0.0f32; common.batch * data.shape().values()];
    // The first epoch reads the folder from wherever it lies; the second is what every later one costs.
    let mut epoch = |number: usize| {
        let (time, ()) = timed(rows, || {
            for rows in order.chunks(common.batch) {
                let batch = &mut batch[..rows.len() * data.shape().values()];
                data.gather(rows, Some((0, number)), &mut *batch);
                std::hint::black_box(batch);
            }
        });
        time
    };
    let (first, second) = (epoch(0), epoch(1));
    Ok(json!({
        "prepare": preparing, "stream_first": first, "stream": second,
        // Of the process itself: pages of the mapped folder are the kernel's to take back.
        "anonymous_kib": common::memory("RssAnon:"), "mapped_kib": common::memory("RssFile:"),
    }))
}

#[expect(clippy::print_stdout, reason = "the result is for stdout")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { what } = Arguments::parse();
    let (What::Decode(Folder { common, .. }) | What::Prepare(Folder { common, .. }) | What::Letters { common, .. }) = &what;
    rayon::ThreadPoolBuilder::new().num_threads(common.threads).use_current_thread().build_global()?;
    let mut report = match &what {
        What::Decode(folder) => time_decoding(folder)?,
        What::Prepare(Folder { folder, common }) => {
            let (root, labels) = (PathBuf::from("."), PathBuf::from("labels.csv"));
            let source = Source::Images { root, labels, image: image(common), columns: Columns::default() };
            time_preparing(source, folder, common)?
        }
        What::Letters { rows, common } => {
            let label_rates = [("A", 0.085), ("B", 0.29), ("C", 0.17), ("D", 0.47)];
            let source = Source::Letters {
                samples: *rows,
                label_rates: label_rates.map(|(name, rate)| (name.to_owned(), rate)).to_vec(),
                image_size: common.size,
                signal: 1.0,
                seed: 0,
            };
            time_preparing(source, Path::new("."), common)?
        }
    };
    report["threads"] = common.threads.into();
    report["size"] = common.size.into();
    report["peak_kib"] = common::memory("VmHWM:").into();
    println!("{report}");
    Ok(())
}
