//! Seconds of a grid of linear heads on features, as `sweep run` trains them in one worker: 5 positive weights × {bce, focal 1,
//! 1.5, 2} × `--seeds` (2), evaluated on val after every epoch and on test at the end under 5 thresholds, scores and checkpoints
//! written.
//!
//! `cargo run --release --example heads -- --n 20000 --d 1024 --l 4 --epochs 5 --batch 256 [--threads 2] [--alone] [--device cuda:0]`
//!
//! `n` train rows (and an eighth of that each for val and test) of standard normal features; labels from a random linear model
//! with the prevalences of the question, repeated. `--alone` trains each run by itself: what the bundle saves. `--data DIR` keeps
//! the features and labels there, so that another program can train on the same. `--rates 25` makes 1,000 heads of the 40, with
//! as many learning rates. Prints one JSON object; RUST_LOG=train=debug logs what each epoch spent its time on.

#[path = "../../../examples/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use archive::write_matrix;
use clap::Parser;
use data::{self, Dataset};
use imbalance::loss::sigmoid;
use imbalance::rng::Rng;
use plan::{self, Plan};
use protocol::journal::JournalError;
use protocol::{Event, Job, VERSION};
use train::{self, Beat, Monitor};

/// As the program itself has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A grid of linear heads, timed.
#[derive(Parser)]
struct Arguments {
    /// Train rows.
    #[arg(long, default_value_t = 20_000)]
    n: usize,
    /// Features per row.
    #[arg(long, default_value_t = 1024)]
    d: usize,
    /// Labels.
    #[arg(long, default_value_t = 4)]
    l: usize,
    #[arg(long, default_value_t = 5)]
    epochs: usize,
    #[arg(long, default_value_t = 256)]
    batch: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// cpu or cuda:N, where the data set lies then.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Learning rates of each run, from 1e-3 downwards.
    #[arg(long, default_value_t = 1)]
    rates: usize,
    /// Seeds of each run.
    #[arg(long, default_value_t = 2)]
    seeds: usize,
    /// Each run by itself.
    #[arg(long)]
    alone: bool,
    /// Where features, labels and what the runs keep are written; a temporary folder by default.
    #[arg(long)]
    data: Option<PathBuf>,
}

/// 19,000, 65,000, 38,000 and 105,000 of 224,000.
const RATES: [f64; 4] = [0.0848, 0.2902, 0.1696, 0.4688];

/// `features.npy` and `labels.csv`, with the split in a column.
fn write(folder: &Path, arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { n, d, l, .. } = *arguments;
    let rows = n + 2 * (n / 8);
    let mut rng = Rng::new(0, "heads", &[]);
    let directions: Vec<Vec<f64>> = (0..l).map(|_| (0..d).map(|_| rng.normal() / (d as f64).sqrt()).collect()).collect();
    let mut features = Vec::with_capacity(rows * d);
    let mut labels = std::io::BufWriter::new(std::fs::File::create(folder.join("labels.csv"))?);
    let names: Vec<String> = (0..l).map(|label| format!("L{label}")).collect();
    writeln!(labels, "id,{},split", names.join(","))?;
    for row in 0..rows {
        let x: Vec<f32> = (0..d).map(|_| rng.normal() as f32).collect();
        let split = if row < n {
            "train"
        } else if row < n + n / 8 {
            "val"
        } else {
            "test"
        };
        write!(labels, "{row}")?;
        for (label, direction) in directions.iter().enumerate() {
            let rate = RATES[label % RATES.len()];
            let u: f64 = 2.0 * x.iter().zip(direction).map(|(&x, w)| f64::from(x) * w).sum::<f64>() + (rate / (1.0 - rate)).ln();
            write!(labels, ",{}", u8::from(rng.uniform() < sigmoid(u)))?;
        }
        writeln!(labels, ",{split}")?;
        features.extend(x);
    }
    labels.flush()?;
    write_matrix(&folder.join("features.npy"), d, &features)?;
    Ok(())
}

fn grid(folder: &Path, arguments: &Arguments) -> Result<(Plan, Dataset), Box<dyn std::error::Error>> {
    let text = format!(
        r#"
name = "heads"
[data]
kind = "features"
features = "features.npy"
labels = "labels.csv"
split_column = "split"
standardize = false
[model]
arch = "linear"
[train]
reference = false
epochs = {}
batch_size = {}
optimizer = "adam"
start = "zero"
[grid]
loss = ["bce", {{ kind = "focal", gamma = 1.0 }}, {{ kind = "focal", gamma = 1.5 }}, {{ kind = "focal", gamma = 2.0 }}]
pos_weight = ["none", "sqrt", "neg_over_pos", "inverse_share", {{ kind = "power", exponent = 0.25 }}]
seed = {:?}
threshold = [0.1, 0.3, 0.5, 0.7, 0.9]
"train.learning_rate" = {:?}
"#,
        arguments.epochs,
        arguments.batch,
        (0..arguments.seeds).collect::<Vec<_>>(),
        (0..arguments.rates).map(|rate| 1e-3 * 0.9f64.powi(rate as i32)).collect::<Vec<_>>()
    );
    let sweep = plan::parse("heads.toml", &text, &[])?;
    let config = sweep.data_configs().remove(0);
    let facts = data::prepare(&config, folder, &folder.join("cache"), &|_, _| {})?.facts;
    let plan = sweep.plan(std::slice::from_ref(&facts), &BTreeMap::new())?;
    Ok((plan, Dataset::open(&facts.folder, &config)?))
}

/// A monitor that ignores everything.
struct Silence {
    records: usize,
}

impl Monitor for Silence {
    fn begin(&mut self, _: &Job, _: Option<usize>) -> Result<(), JournalError> {
        Ok(())
    }

    fn beat(&mut self, _: &Job, _: Beat) -> Result<(), JournalError> {
        Ok(())
    }

    fn record(&mut self, _: &Job, events: Vec<Event>) -> Result<(), JournalError> {
        self.records += events.len();
        Ok(())
    }

    fn stopping(&self) -> bool {
        false
    }
}

#[expect(clippy::print_stdout, reason = "the result is for stdout")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    common::as_a_worker(arguments.threads)?;
    train::worker::log_to_stderr();
    // This thread is one of the pool, as a worker's is.
    rayon::ThreadPoolBuilder::new().num_threads(arguments.threads).use_current_thread().build_global()?;
    let temporary = tempfile::tempdir()?;
    let folder = arguments.data.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&folder)?;
    // Beside the data and of this process alone: files that were just removed would slow down the next ones' making.
    let runs = folder.join(format!("runs-{}", std::process::id()));
    if !folder.join("labels.csv").exists() {
        write(&folder, &arguments)?;
    }
    let (plan, data) = grid(&folder, &arguments)?;
    let job = |&run: &usize| {
        let run = &plan.runs[run];
        Job {
            v: VERSION,
            run: run.fingerprint.clone(),
            attempt: 1,
            config: run.config.clone(),
            pos_weight: run.pos_weight.clone(),
            data: plan.data[run.data].1.folder.clone(),
            folder: runs.join(&run.fingerprint.0),
            policies: plan.policies.clone(),
        }
    };
    let device = train::worker::device(&arguments.device)?;
    let start = Instant::now();
    let loader = train::Loader::new(&data, &device)?;
    device.synchronize()?;
    let upload = start.elapsed().as_secs_f64();
    let mut monitor = Silence { records: 0 };
    let start = Instant::now();
    for bundle in &plan.bundles {
        let jobs: Vec<Job> = bundle.runs.iter().map(job).collect();
        for jobs in jobs.chunks(if arguments.alone { 1 } else { jobs.len() }) {
            for end in train::together(jobs, &data, &loader, &mut monitor)? {
                end?;
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let runs = plan.runs.len();
    let report = serde_json::json!({
        "runs": runs, "bundles": plan.bundles.len(), "seconds": seconds, "ms_per_head": seconds / runs as f64 * 1e3,
        "device": arguments.device, "upload_s": upload, "loader": loader.words(),
        "n": arguments.n, "d": arguments.d, "l": arguments.l, "epochs": arguments.epochs, "batch": arguments.batch,
        "threads": arguments.threads, "alone": arguments.alone, "records": monitor.records, "peak_kib": common::memory("VmHWM:"),
    });
    println!("{report}");
    Ok(())
}
