//! `sweep import`: scores of a model that was trained in any other framework, as a run that everything but training works on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::output::{self, counted, thousands};
use super::report;
use crate::cli;
use crate::controller::progress::{Verbosity, say};
use crate::error::Error;
use archive::{self, Archive};
use data::{Files, Imported, Scored};
use imbalance::evaluation;
use imbalance::metric;
use imbalance::stratification::SplitConfig;
use imbalance::threshold::{self, Policy};
use imbalance::{Choice, PosWeight};
use plan::{
    self, Bundle, Columns, DataConfig, Fingerprint, ModelConfig, Plan, PlannedRun, RunConfig, RunName, Source, TrainConfig,
    Unknown,
};
use protocol::{Evaluated, Event, SplitName};
use store::{Reader, SweepRow, Writer};

/// The value of columns that an import does not know.
const UNKNOWN: &str = "imported";
/// The beginning of the recorded text of an import, which no sweep file has.
const MARK: &str = "# sweep import ";

/// The one JSON value of `import`.
#[derive(Serialize)]
struct ImportView {
    sweep: SweepRow,
    run: Fingerprint,
    /// `false`: everything was recorded already.
    new: bool,
    /// Rows of validation and test.
    rows: [usize; 2],
    /// What `sweep report --top 10 --format json` prints.
    leaderboard: serde_json::Value,
}

/// Whether the sweep is an import.
#[must_use]
pub fn was_imported(sweep: &SweepRow) -> bool {
    sweep.text.starts_with(MARK)
}

/// Reads, checks, keeps and records the scores, and shows their leaderboard.
///
/// # Errors
/// Files that cannot be used, with the place of the first fault; an invalid name or policy; database errors.
pub async fn run(global: &cli::Global, args: &cli::ImportArgs) -> Result<(), Error> {
    if let Some(why) = plan::unusable_name(&args.name) {
        return Err(Error::Usage(format!("--name {why}")));
    }
    let policies = policies(&args.thresholds)?;
    let columns = Columns {
        path: args.path_column.clone(),
        split: args.split_column.clone(),
        ignore: args.ignore_columns.clone(),
        separator: args.separator,
        unknown: Unknown { all: args.unknown, ..Unknown::default() },
        ..Columns::default()
    };
    let imported = Imported::read(&Files {
        scores: &args.scores,
        labels: &args.labels,
        test_scores: args.test_scores.as_deref(),
        test_labels: args.test_labels.as_deref(),
        columns: &columns,
        logits: args.logits,
    })?;
    imported.doubts.iter().for_each(|doubt| tracing::warn!("{doubt}"));
    let plan = plan(args, &columns, &imported, policies);
    let run = plan.runs[0].fingerprint.clone();
    let events = results(&run, &imported, &plan.policies)?;
    let mut writer = Writer::open(&global.db).await?;
    let folder = Archive::beside(&global.db).map_err(Error::file)?.run(&run.0);
    let kept = archive::keep(&folder, part(&imported.val), imported.test.as_ref().map(part));
    kept.map_err(|source| Error::Io { path: folder.path().to_owned(), source })?;
    let (sweep, new) = writer.import(&plan, &absolute(&args.labels), &text(args), &events).await?;
    writer.close().await?;
    let rows = [imported.val.truth.rows(), imported.test.as_ref().map_or(0, |test| test.truth.rows())];
    if Verbosity::of(global.quiet) != Verbosity::Quiet {
        let (labels, what) = (imported.val.truth.names.len(), if new { "recorded as" } else { "was recorded already as" });
        let [val, test] = rows.map(thousands);
        say(&format!(
            "{}: {val} val and {test} test rows of {}, {what} run {}",
            args.name,
            counted(labels, "label"),
            run.short()
        ));
    }
    match args.format {
        cli::Format::Table => report::print_after_run(&global.db, sweep, args.format).await,
        cli::Format::Json => {
            let leaderboard = report::leaderboard_json(&global.db, sweep).await?;
            let sweep = Reader::open(&global.db).await?.sweep(sweep).await?;
            output::print_json(&ImportView { sweep, run, new, rows, leaderboard })
        }
    }
}

fn policies(typed: &[String]) -> Result<Vec<Policy>, Error> {
    if typed.is_empty() {
        return Ok(vec![Policy::Fixed(0.5), fitted("max_f1")?, fitted("prior_match")?]);
    }
    let mut policies: Vec<Policy> = Vec::new();
    for text in typed {
        let policy = fitted(text)?;
        if !policies.contains(&policy) {
            policies.push(policy);
        }
    }
    Ok(policies)
}

fn fitted(text: &str) -> Result<Policy, Error> {
    threshold::parse(text).map_err(|error| Error::Usage(format!("--threshold: {error}")))
}

fn part(scored: &Scored) -> archive::Part<'_> {
    archive::Part { scores: &scored.scores, logits: &scored.logits, truth: &scored.truth }
}

/// Rankings, and decisions under every policy: thresholds are fitted on validation before test is looked at.
fn results(run: &Fingerprint, imported: &Imported, policies: &[Policy]) -> Result<Vec<Event>, Error> {
    let fitted = evaluation::fit(policies, &imported.val.scores, &imported.val.truth);
    let fitted = fitted.map_err(|error| Error::Usage(format!("--threshold: {error}")))?;
    let mut events = Vec::new();
    for (split, part) in [(SplitName::Val, Some(&imported.val)), (SplitName::Test, imported.test.as_ref())] {
        let Some(Scored { scores, logits, truth }) = part else { continue };
        let evaluated = Evaluated { run, attempt: 0, epoch: 0, split };
        events.push(evaluated.ranking(metric::rank_logits(logits, scores, truth)));
        events.extend(evaluated.under(&fitted, scores, truth));
        if split == SplitName::Val {
            let held_out = evaluated.held_out(policies, scores, truth, None);
            events.extend(held_out.map_err(|error| Error::Usage(format!("--threshold: {error}")))?);
        }
    }
    Ok(events)
}

/// The plan of one run of one epoch. Unknown values are [`UNKNOWN`] or 0.
fn plan(args: &cli::ImportArgs, columns: &Columns, imported: &Imported, policies: Vec<Policy>) -> Plan {
    let facts = imported.facts();
    let source = Source::Imported {
        scores: absolute(&args.scores),
        labels: absolute(&args.labels),
        test_scores: args.test_scores.as_deref().map(absolute),
        test_labels: args.test_labels.as_deref().map(absolute),
        logits: args.logits,
        columns: columns.clone(),
    };
    let [train, val, test] = [&facts.train, &facts.val, &facts.test].map(|counts| counts.rows as f64);
    let share = |rows: f64| rows / (train + val + test).max(1.0);
    let split = SplitConfig { train: share(train), val: share(val), test: share(test), method: UNKNOWN.to_owned(), seed: 0 };
    let data = DataConfig { source, split };
    let config = RunConfig {
        data: data.clone(),
        model: ModelConfig::new(UNKNOWN, Vec::new()),
        train: TrainConfig {
            epochs: 1,
            draws: None,
            stop: None,
            batch_size: 0,
            optimizer: Choice::plain(UNKNOWN),
            learning_rate: 0.0,
            schedule: Choice::plain(UNKNOWN),
            grad_clip: None,
            precision: UNKNOWN.to_owned(),
            start: plan::Start::Zero,
        },
        loss: Choice::plain(UNKNOWN),
        pos_weight: PosWeight::Formula(Choice::plain(UNKNOWN)),
        sampler: Choice::plain(UNKNOWN),
        seed: 0,
    };
    let name = RunName {
        loss: UNKNOWN.to_owned(),
        pos_weight: UNKNOWN.to_owned(),
        gamma: None,
        sampler: UNKNOWN.to_owned(),
        seed: 0,
        params: BTreeMap::new(),
    };
    let run = PlannedRun { fingerprint: imported.fingerprint(&facts), config, data: 0, pos_weight: Vec::new(), name, bundle: 0 };
    Plan {
        name: args.name.clone(),
        product: policies.len(),
        excluded: Vec::new(),
        included: 0,
        points: vec![0; policies.len()],
        search: None,
        tuned: Vec::new(),
        runs: vec![run],
        merged: Vec::new(),
        bundles: vec![Bundle { runs: vec![0] }],
        policies,
        data: vec![(data, facts)],
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The command line, for the database.
fn text(args: &cli::ImportArgs) -> String {
    let mut words = vec![("--scores", Some(args.scores.display().to_string()))];
    words.push(("--labels", Some(args.labels.display().to_string())));
    words.push(("--test-scores", args.test_scores.as_ref().map(|path| path.display().to_string())));
    words.push(("--test-labels", args.test_labels.as_ref().map(|path| path.display().to_string())));
    words.push(("--name", Some(args.name.clone())));
    words.extend(args.thresholds.iter().map(|policy| ("--threshold", Some(policy.clone()))));
    let words: Vec<String> = words.into_iter().filter_map(|(flag, value)| Some(format!("{flag} {:?}", value?))).collect();
    format!("{MARK}{}{}\n", words.join(" "), if args.logits { " --logits" } else { "" })
}
