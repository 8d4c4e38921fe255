//! Command-line arguments.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use plan::UnknownAs;

/// Which imbalance strategy is best for my multi-label data, and why?
#[derive(Debug, Parser)]
#[command(name = "sweep", version, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The results database; a run's files lie beside it in <DB without .db>.runs/
    #[arg(long, global = true, env = "SWEEP_DB", default_value = "sweep.db", value_name = "PATH")]
    pub db: PathBuf,
    /// More messages on stderr (-v, -vv)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// No progress, only errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// The commands, each in a file of `command/`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at your files and write a sweep file that fits them
    Init(InitArgs),
    /// Train what the grid asks for and the database lacks, then show the leaderboard
    Run(RunArgs),
    /// What `run` would do: points, what was merged or dropped and why, runs, bundles, time, disk
    Plan(PlanArgs),
    /// The data set before any training: splits, prevalences, imbalance, co-occurrence, weights
    Data(DataArgs),
    /// Finish an interrupted sweep from the database alone
    Resume(ResumeArgs),
    /// Take in what the tasks of a sweep on a cluster have written, submit what is missing, and return
    Sync(ClusterArgs),
    /// End the tasks of a sweep on a cluster, keeping what they have done
    Cancel(ClusterArgs),
    /// Queued, running, succeeded, failed, throughput, time left
    Status(StatusArgs),
    /// The comparison: which strategy wins, by how much
    Report(ReportArgs),
    /// Two runs, or groups of runs: paired differences, and how sure they are
    Compare(CompareArgs),
    /// The page of a sweep in a browser, live
    Serve(ServeArgs),
    /// Why: what each strategy changed against plain bce, what to choose, and what went wrong
    Explain(ExplainArgs),
    /// One run: configuration, per-label table, every epoch, logs of failed attempts
    Show(ShowArgs),
    /// Take a run home: its model with all that production needs, or its scores and decisions row by row
    Export(ExportArgs),
    /// Score new images or features with a run's model, or with an exported one
    Predict(PredictArgs),
    /// The results database as a whole
    #[command(subcommand)]
    Db(DbCommand),
    /// A run's strategy as a short file of Python for PyTorch: loss, weights, sampler, start of the head, thresholds
    Recipe(RecipeArgs),
    /// Record the scores of a model that was trained elsewhere, as a run that reports, thresholds and comparisons work on
    Import(ImportArgs),
    /// What lies beside the database and is not needed any more, and its removal
    Gc(GcArgs),
    /// Remove a sweep, with the runs that no other sweep has
    Rm(RmArgs),
    /// Shell completions
    Completions(CompletionsArgs),
    /// A worker process; what launchers start
    #[command(hide = true)]
    Worker(WorkerArgs),
    /// A task on a cluster; what `sweep run --on slurm` submits
    #[command(hide = true)]
    Slice(SliceArgs),
}

/// Output formats: a table for people, JSON for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
}

/// A sweep file and changes to it.
#[derive(Clone, Debug, Args)]
pub struct SweepFileArgs {
    /// The sweep file (TOML)
    pub file: PathBuf,
    /// Change a key of the file, e.g. --set train.epochs=2 (repeatable; values are TOML)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// How runs are distributed to workers.
#[derive(Clone, Debug, Default, Args)]
pub struct WorkersArgs {
    /// Devices to train on, instead of the file's `workers.devices`: cpu,cuda:0,...
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub devices: Vec<String>,
    /// Workers per device, instead of the file's `workers.per_device`
    #[arg(long, value_name = "N")]
    pub per_device: Option<usize>,
    /// How workers are started, instead of the file's `workers.launcher`
    #[arg(long, value_name = "LAUNCHER")]
    pub on: Option<LauncherName>,
    /// Stop the sweep once this many runs have failed
    #[arg(long, value_name = "N")]
    pub max_failures: Option<usize>,
    /// Return once everything is submitted (--on slurm); `sweep resume` watches it, `sweep sync` takes in what is there
    #[arg(long)]
    pub detach: bool,
}

/// The launchers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LauncherName {
    /// Processes on this machine
    #[default]
    Local,
    /// Tasks on a cluster; docs/slurm.md
    Slurm,
    /// No processes: records made-up results (for tests of the sweep itself)
    #[value(hide = true)]
    Fake,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// A folder of images, or a .npy or .safetensors file of features
    pub input: PathBuf,
    /// The CSV with the labels; by default the only one in that folder
    pub labels: Option<PathBuf>,
    /// The sweep file to write
    #[arg(short, long, default_value = "sweep.toml", value_name = "FILE")]
    pub output: PathBuf,
    /// Write over a sweep file that is there
    #[arg(long)]
    pub force: bool,
    /// How long the grid may take on this machine
    #[arg(long, default_value_t = 30.0, value_name = "MINUTES")]
    pub minutes: f64,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub file: SweepFileArgs,
    #[command(flatten)]
    pub workers: WorkersArgs,
    /// Only show the plan
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub page: LivePageArgs,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub file: SweepFileArgs,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct DataArgs {
    #[command(flatten)]
    pub file: SweepFileArgs,
    /// Every label (unless --labels) and pair of labels, and every weight formula and sampler that there is, not only those of the grid
    #[arg(long)]
    pub all: bool,
    /// Labels of the tables: rare (of more than 20 the rarest and the commonest), all, or names with commas between them
    #[arg(long, default_value = "rare", value_name = "rare|all|NAME,...")]
    pub labels: String,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// Name, id or `latest`
    #[arg(default_value = "latest")]
    pub sweep: String,
    /// Also retry runs that failed
    #[arg(long)]
    pub failed: bool,
    #[command(flatten)]
    pub workers: WorkersArgs,
    #[command(flatten)]
    pub page: LivePageArgs,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// A sweep on a cluster.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// Name, id or `latest`
    #[arg(default_value = "latest")]
    pub sweep: String,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Name, id or `latest`
    #[arg(default_value = "latest")]
    pub sweep: String,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Name, id or `latest`
    #[arg(default_value = "latest")]
    pub sweep: String,
    /// Rank by this column of the `leaderboard` view
    #[arg(long, default_value = "macro_f1")]
    pub metric: String,
    /// val or test; strategies are chosen on val, test is for reporting
    #[arg(long, default_value = "val")]
    pub split: String,
    /// best (val macro_ap), last or a number
    #[arg(long, default_value = "best")]
    pub epoch: String,
    /// Only this threshold policy, also one that was not in the grid (a number, max_f1, ...)
    #[arg(long, value_name = "POLICY")]
    pub threshold: Option<String>,
    /// Columns that make a row; runs that differ only in other columns (seed) are averaged
    #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
    pub group_by: Vec<String>,
    /// Only the best N rows
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// Labels of the rows: rare (of more than 20 the 10 rarest and the 10 with the lowest F1; the default of tables), all (the default of
    /// JSON and CSV), or names with commas between them
    #[arg(long, value_name = "rare|all|NAME,...")]
    pub labels: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    /// Write to this file instead of stdout
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Leave the pictures of the worst mistakes out of the page (--format html)
    #[arg(long)]
    pub no_images: bool,
    /// Instead of the ranking: the strategies that the sweep's search has stopped early, and what that may have hidden
    #[arg(long, conflicts_with_all = ["threshold", "group_by", "top", "labels", "curves"])]
    pub stopped: bool,
    /// Add the learning curves of every run (--format json)
    #[arg(long)]
    pub curves: bool,
    /// Draw the bars and curves that a wide terminal gets with ASCII characters
    #[arg(long)]
    pub ascii: bool,
}

/// Formats of `report`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    #[default]
    Table,
    Json,
    Csv,
    Markdown,
    /// One self-contained page: sliders, curves, pictures
    Html,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Name, id or `latest`, which follows the sweep that was begun last
    #[arg(default_value = "latest")]
    pub sweep: String,
    #[command(flatten)]
    pub address: AddressArgs,
}

/// The page while runs are trained.
#[derive(Clone, Debug, Default, Args)]
pub struct LivePageArgs {
    /// Serve the page of the sweep in a browser until it has ended
    #[arg(long)]
    pub serve: bool,
    /// The port on 127.0.0.1 (0: any); otherwise the first free one from 6007 on
    #[arg(long, value_name = "N", requires = "serve")]
    pub port: Option<u16>,
    /// A name by which the page is reached through a proxy, beside localhost (repeatable)
    #[arg(long, value_name = "NAME", requires = "serve")]
    pub allow_host: Vec<String>,
}

impl LivePageArgs {
    /// Where it is served.
    #[must_use]
    pub fn address(&self) -> AddressArgs {
        AddressArgs { port: self.port, allow_host: self.allow_host.clone() }
    }
}

/// Where a page is served.
#[derive(Clone, Debug, Args)]
pub struct AddressArgs {
    /// The port on 127.0.0.1 (0: any); otherwise the first free one from 6007 on
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// A name by which the page is reached through a proxy, beside localhost (repeatable)
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Two runs (fingerprints, or the starts of them), or groups such as loss=bce loss=asl,sampler=shuffle; the others are compared
    /// with the first
    #[arg(required = true, num_args = 2.., value_name = "RUN|GROUP")]
    pub what: Vec<String>,
    /// The sweep that groups are taken from: name, id or `latest`
    #[arg(long, default_value = "latest")]
    pub sweep: String,
    /// Only this column of the `leaderboard` view; macro_ap, macro_f1 and micro_f1 otherwise
    #[arg(long)]
    pub metric: Option<String>,
    /// Only val or test; both otherwise
    #[arg(long)]
    pub split: Option<String>,
    /// Only this threshold policy (a number, max_f1, ...); 0.5 and max_f1 otherwise
    #[arg(long, value_name = "POLICY")]
    pub threshold: Option<String>,
    /// Differences up to this count as the same
    #[arg(long, default_value_t = 0.01, value_name = "SIZE")]
    pub rope: f64,
    /// Resamples of the rows, for the intervals of two runs
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub replicates: usize,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Name, id or `latest`
    #[arg(default_value = "latest")]
    pub sweep: String,
    /// Differences of AP up to this count as the same
    #[arg(long, default_value_t = 0.005, value_name = "SIZE")]
    pub rope_ap: f64,
    /// Differences of F1 up to this count as the same
    #[arg(long, default_value_t = 0.01, value_name = "SIZE")]
    pub rope_f1: f64,
    /// Only strategies with this loss, pos_weight or sampler, e.g. --only loss=asl (repeatable; all of them must hold)
    #[arg(long, value_name = "KEY=VALUE")]
    pub only: Vec<String>,
    /// Strategies that get a row: the best ones, and the worst
    #[arg(long, default_value_t = 6, value_name = "N")]
    pub top: usize,
    /// Everything: a paragraph per strategy, every table and warning
    #[arg(long)]
    pub all: bool,
    /// A label is one of the head from this prevalence in train on
    #[arg(long, default_value_t = 0.10, value_name = "SHARE")]
    pub head: f64,
    /// A label is one of the tail below this prevalence in train, ...
    #[arg(long, default_value_t = 0.02, value_name = "SHARE")]
    pub tail: f64,
    /// ... or with fewer positives than this
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub tail_positives: usize,
    /// Resamples of the rows, for intervals
    #[arg(long, default_value_t = 500, value_name = "N")]
    pub replicates: usize,
    #[arg(long, value_enum, default_value_t)]
    pub format: ExplainFormat,
    /// Write to this file instead of stdout
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Formats of `explain`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExplainFormat {
    #[default]
    Table,
    Json,
    Markdown,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Fingerprint of a run, or the start of one
    pub run: String,
    /// Labels of the tables: rare (of more than 20 the 10 rarest and the 10 with the lowest F1), all, or names with commas between them
    #[arg(long, default_value = "rare", value_name = "rare|all|NAME,...")]
    pub labels: String,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Draw the bars and curves that a terminal gets with ASCII characters
    #[arg(long)]
    pub ascii: bool,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Fingerprint of a run, or the start of one
    pub run: String,
    /// The folder to write: model.safetensors, and model.json with labels, preprocessing, thresholds, calibration, metrics and where it
    /// comes from
    #[arg(long, value_name = "DIR", required_unless_present = "predictions")]
    pub to: Option<PathBuf>,
    /// Train the model once more on train and val together, for as long as its best epoch took; its thresholds stay
    #[arg(long, requires = "to")]
    pub refit: bool,
    /// The device of --refit: cpu, cuda:0, ...; otherwise the first GPU, or the CPU
    #[arg(long, value_name = "DEVICE", default_value = "auto", requires = "refit")]
    pub device: String,
    /// The CSV to write: id and split of each row of val and test, then truth, score and decision for every label
    #[arg(long, value_name = "FILE")]
    pub predictions: Option<PathBuf>,
    /// With --predictions: turn the scores into probabilities, by what repairs them best on val: the loss's formula, a line per label (Platt), steps per
    /// label (isotonic regression), or nothing. Decisions are taken on these
    #[arg(long, requires = "predictions")]
    pub calibrated: bool,
    /// With --predictions: rows of which split
    #[arg(long, value_enum, default_value_t)]
    pub split: ExportSplit,
    /// Threshold policy of the decisions (a number, max_f1, ...), fitted on val; otherwise the run's best on val, by macro F1 on rows
    /// that its thresholds have not seen
    #[arg(long, value_name = "POLICY")]
    pub threshold: Option<String>,
    /// Write over what exists
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct PredictArgs {
    /// A run (fingerprint, or the start of one), or the folder of an exported model
    #[arg(value_name = "RUN|DIR")]
    pub model: String,
    /// Images, folders of images, a CSV that lists images, or a .npy or .safetensors file of features
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Write to this file instead of stdout; after an interruption the same command goes on where it was
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    pub format: PredictFormat,
    /// Threshold policy of the decisions: one of the run's, or a number; otherwise the run's best on val, by macro F1 on rows that its
    /// thresholds have not seen
    #[arg(long, value_name = "POLICY")]
    pub threshold: Option<String>,
    /// Turn the scores into probabilities, by what repaired those of val best. Decisions are those of the scores
    #[arg(long)]
    pub calibrated: bool,
    /// Leave out inputs that cannot be used, instead of an error
    #[arg(long)]
    pub skip_bad: bool,
    /// Column of the CSV with the paths of the images, if not the first
    #[arg(long, value_name = "COLUMN")]
    pub path_column: Option<String>,
    /// The folder that the paths of the CSV start from, if not its own
    #[arg(long, value_name = "FOLDER")]
    pub root: Option<PathBuf>,
    /// cpu, cuda:0, ...; otherwise the first GPU, or all cores
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,
    /// Write over a file that exists, and do not go on with what an interrupted prediction has left
    #[arg(long)]
    pub force: bool,
}

/// Formats of `predict`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PredictFormat {
    #[default]
    Csv,
    Json,
}

/// The rows of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExportSplit {
    Val,
    Test,
    #[default]
    All,
}

/// What is done with the results database.
#[derive(Debug, Subcommand)]
pub enum DbCommand {
    /// Write the results for spreadsheets, notebooks, MLflow or TensorBoard
    Export(DbExportArgs),
}

#[derive(Debug, Args)]
pub struct DbExportArgs {
    /// The folder to write to; it is made if it does not exist
    pub dir: PathBuf,
    /// parquet, csv: every table and view; mlflow: mlflow.db, for `mlflow ui`; tensorboard: event files, for `tensorboard --logdir`
    /// (several with commas between them, or repeated)
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["parquet", "csv"], hide_possible_values = true, value_name = "FORMAT,...")]
    pub format: Vec<DbFormat>,
    /// Only this sweep: name, id or `latest`; otherwise all of them
    #[arg(long)]
    pub sweep: Option<String>,
    /// Write over files of an earlier export
    #[arg(long)]
    pub force: bool,
}

/// Formats of `db export`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DbFormat {
    Parquet,
    Csv,
    Mlflow,
    Tensorboard,
}

#[derive(Debug, Args)]
pub struct RecipeArgs {
    /// Fingerprint of a run, or the start of one
    pub run: String,
    /// Write to this file instead of stdout
    #[arg(long, value_name = "FILE.py")]
    pub output: Option<PathBuf>,
    /// Threshold policy of the decisions (a number, max_f1, ...), fitted on val; otherwise the run's best on val, by macro F1 on rows
    /// that its thresholds have not seen
    #[arg(long, value_name = "POLICY")]
    pub threshold: Option<String>,
    /// Write over a file that exists
    #[arg(long, requires = "output")]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Validation scores, probabilities unless --logits: .npy or .safetensors, [rows, labels]. With a split column in the labels
    /// also those of every row, test included
    #[arg(long, value_name = "FILE")]
    pub scores: PathBuf,
    /// CSV with an id, one 0/1 column per label in the order of the scores, and perhaps a column `split` (train, val, test)
    #[arg(long, value_name = "CSV")]
    pub labels: PathBuf,
    /// Test scores, where they are a file of their own
    #[arg(long, value_name = "FILE")]
    pub test_scores: Option<PathBuf>,
    /// CSV of the test scores, where it is not the one of --labels
    #[arg(long, value_name = "CSV", requires = "test_scores")]
    pub test_labels: Option<PathBuf>,
    /// What reports call it, e.g. pytorch-densenet
    #[arg(long)]
    pub name: String,
    /// The scores are logits: they rank the rows, and their sigmoid is compared with thresholds
    #[arg(long)]
    pub logits: bool,
    /// Threshold policies, instead of 0.5, max_f1 and prior_match (repeatable)
    #[arg(long = "threshold", value_name = "POLICY")]
    pub thresholds: Vec<String>,
    /// Column of the CSV that names the rows, if not the first
    #[arg(long, value_name = "COLUMN")]
    pub path_column: Option<String>,
    /// Column of the CSV that says train, val or test, if not `split`
    #[arg(long, value_name = "COLUMN")]
    pub split_column: Option<String>,
    /// Columns of the CSV that are not labels
    #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
    pub ignore_columns: Vec<String>,
    /// What a blank, NaN or -1 in a label's column is: refused, left out, 0 or 1
    #[arg(long, value_name = "WHAT", default_value = UnknownAs::NAMES[0], value_parser = PossibleValuesParser::new(UnknownAs::NAMES).try_map(|word| UnknownAs::named(&word).ok_or("unknown word")))]
    pub unknown: UnknownAs,
    /// What stands between two cells of the CSV; found by default
    #[arg(long, value_name = "CHARACTER")]
    pub separator: Option<char>,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct GcArgs {
    /// The best runs of each sweep, by val macro AP, keep their parameters; so do exported ones
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub keep: usize,
    /// Also the logits of all epochs but the best and the last: a threshold policy that is asked for later then trains the runs anew
    #[arg(long)]
    pub epochs: bool,
    /// Also prepared data and features that no recorded run uses
    #[arg(long)]
    pub cache: bool,
    /// Also features of frozen backbones that recorded runs use, those that were used longest ago first, until the others take at most SIZE
    /// (500MiB, 20GiB)
    #[arg(long, value_name = "SIZE", value_parser = |text: &str| plan::words::size(text).ok_or("a size is a number of bytes, as in 500MiB or 20GiB"))]
    pub max_features_size: Option<u64>,
    /// Remove it; without this flag it is only listed
    #[arg(long)]
    pub delete: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct RmArgs {
    /// Name, id or `latest`
    pub sweep: String,
    /// Remove it; without this flag it is only said what would go
    #[arg(long)]
    pub delete: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    pub shell: clap_complete::Shell,
}

#[derive(Clone, Debug, Args)]
pub struct WorkerArgs {
    /// `cpu` or `cuda:N`
    #[arg(long)]
    pub device: String,
    /// CPU threads of this worker
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// The journal to create
    #[arg(long)]
    pub journal: PathBuf,
    /// Name of this incarnation
    #[arg(long)]
    pub name: String,
}

/// A task of an array, which Slurm numbers.
#[derive(Debug, Args)]
pub struct SliceArgs {
    /// The folder that the sweep shares with its tasks
    #[arg(long)]
    pub root: PathBuf,
    #[arg(long)]
    pub submission: String,
    #[arg(long, env = "SLURM_ARRAY_TASK_ID")]
    pub index: usize,
    #[arg(long, env = "SLURM_RESTART_COUNT", default_value_t = 0)]
    pub restart: u32,
    #[arg(long, env = "SLURM_CPUS_PER_TASK")]
    pub cpus: Option<usize>,
}
