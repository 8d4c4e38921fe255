//! `sweep export`: what other programs need of a run, as files.

use std::path::Path;

use super::predict::one_place;
use super::preparing::Preparing;
use super::questions;
use super::report::write;
use super::train::hung_after;
use crate::cli::{self, Global};
use crate::controller::Interrupts;
use crate::controller::errand::{Ending, Errand};
use crate::controller::progress::{Verbosity, say};
use crate::error::Error;
use crate::exported::{Ask, CARD, Exported, Measured, ModelCard, export, has_model, refit_folder};
use crate::report::Split;
use crate::report::predictions::{self, Finished, Predictions, predictions};
use archive::{RunFolder, runs_folder};
use imbalance::metric::calibration::Repair;
use protocol::{Event, Job, Order, Outcome, VERSION};
use store::Reader;

/// Writes what `args` asks for of the run that it names.
///
/// # Errors
/// A file that is there; no run or more than one matches; scores, parameters or data that are gone; a file that cannot be written; a
/// refit that fails.
pub async fn run(global: &Global, args: &cli::ExportArgs) -> Result<(), Error> {
    if let Some(path) = &args.predictions {
        write_predictions(global, args, path).await?;
    }
    if let Some(folder) = &args.to {
        write_model(global, args, folder).await?;
    }
    Ok(())
}

async fn write_model(global: &Global, args: &cli::ExportArgs, folder: &Path) -> Result<(), Error> {
    let policy = args.threshold.as_deref().map(questions::policy).transpose()?;
    if folder.join(CARD).exists() && !args.force {
        return Err(Error::Usage(format!("{} has an exported model already: --force writes over it", folder.display())));
    }
    if folder.exists() && !folder.is_dir() {
        return Err(Error::Usage(format!("{} is a file, and a folder is written", folder.display())));
    }
    let mut reader = Reader::open(&global.db).await?;
    let finished = Finished::read(&mut reader, &args.run).await?;
    has_model(&finished.run)?;
    if args.refit {
        refit(global, args, &reader, &finished).await?;
    }
    let ask = Ask { policy, metrics: true, calibrated: true, refit: args.refit };
    let run = RunFolder::at(runs_folder(&global.db).join(&finished.run.fingerprint.0));
    let exported = tokio::task::block_in_place(|| export(&reader, finished, &ask))?;
    exported.write(folder)?;
    // Without the note the model is where it was asked for, all the same.
    let to = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    if let Err(error) = run.note_export(&to, store::now()) {
        tracing::warn!("that the run was exported is not noted, so that `sweep gc` may remove its parameters: {error}");
    }
    if Verbosity::of(global.quiet) != Verbosity::Quiet {
        exported_words(folder, &exported).iter().for_each(|line| say(line));
    }
    Ok(())
}

/// Trains the run once more on train and val, unless that has been done.
async fn refit(global: &Global, args: &cli::ExportArgs, reader: &Reader, finished: &Finished) -> Result<(), Error> {
    let Finished { run, epoch, .. } = finished;
    let folder = refit_folder(reader, run);
    if folder.seals().is_ok_and(|seals| seals.is_some_and(|seals| folder.read_sealed(archive::MODEL, &seals).is_ok())) {
        return Ok(());
    }
    if run.config.reference().is_some() {
        let run = run.fingerprint.short();
        return Err(Error::Usage(format!(
            "run {run} is a reference run, whose strength is chosen by val: it cannot be refitted"
        )));
    }
    let absolute = |path: &Path| std::path::absolute(path).map_err(|source| Error::Io { path: path.to_owned(), source });
    let data = absolute(&run.folder)?;
    // A damaged folder is found before the worker starts.
    data::Dataset::open(&data, &run.config.data)?;
    let verbosity = Verbosity::of(global.quiet);
    let (epochs, rows) = (epoch + 1, run.facts.train.rows + run.facts.val.rows);
    if verbosity != Verbosity::Quiet {
        say(&format!(
            "refit of {}: {} on the {} rows of train and val",
            run.fingerprint.short(),
            super::output::counted(epochs, "epoch"),
            super::output::thousands(rows)
        ));
    }
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    };
    folder.create().map_err(io(folder.path()))?;
    let at = absolute(folder.path())?;
    let work = tempfile::Builder::new().prefix(archive::REFITTING).tempdir_in(&at).map_err(io(&at))?;
    let job = Job {
        v: VERSION,
        run: run.fingerprint.clone(),
        attempt: 1,
        config: run.config.clone(),
        pos_weight: run.pos_weight.clone(),
        data,
        folder: at,
        policies: Vec::new(),
    };
    let errand = Errand {
        order: Order::Refit { job: Box::new(job), epochs },
        run: &run.fingerprint,
        attempt: 1,
        place: one_place(&args.device)?,
        folder: work.path(),
        name: "refit".to_owned(),
        hung_after: hung_after(),
    };
    let preparing = Preparing::new(verbosity);
    let mut interrupts = Interrupts::listen()?;
    let ended = errand
        .carry_out(&mut interrupts, |event| {
            if let Event::Hb { epoch, step, steps, doing: None, .. } = event {
                preparing.refitting(epoch * steps + step, epochs * steps);
            }
            Ok(())
        })
        .await;
    drop(preparing);
    match ended {
        Ok(Ending { outcome: Outcome::Ok, .. }) => Ok(()),
        Ok(Ending { why, .. }) => Err(Error::Unexpected(format!("the refit of {} has failed: {why}", run.fingerprint.short()))),
        Err(Error::Interrupted) => Err(Error::Halted("the same command goes on with the refit where it was")),
        Err(error) => Err(error),
    }
}

/// What was exported, in a few lines.
fn exported_words(folder: &Path, exported: &Exported) -> Vec<String> {
    let ModelCard { model, labels, thresholds, metrics, provenance, .. } = &exported.card;
    let what = match &model.backbone {
        Some(backbone) => format!("the head of {}", backbone.arch),
        None => model.arch.clone(),
    };
    let number = |measured: Measured| measured.value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
    let judged = metrics.last().map_or_else(String::new, |split| {
        format!("; {}: macro AP {}, macro F1 {}", split.split, number(split.macro_ap), number(split.macro_f1))
    });
    let mut lines = vec![
        format!(
            "{}: {what} for {}, {} (run {}), epoch {}",
            folder.display(),
            super::output::counted(labels.len(), "label"),
            exported.card.strategy(),
            provenance.run.get(..8).unwrap_or(&provenance.run),
            provenance.epoch,
        ),
        format!("  decisions under {}{judged}", thresholds.chosen),
    ];
    lines.extend(model.backbone.as_ref().map(|backbone| format!("  the backbone's parameters stay in {}", backbone.weights)));
    lines.extend(
        provenance.refit.as_ref().map(|refit| {
            format!("  trained on the {} rows of train and val; {}", super::output::thousands(refit.rows), refit.note)
        }),
    );
    lines
}

async fn write_predictions(global: &Global, args: &cli::ExportArgs, path: &Path) -> Result<(), Error> {
    let ask = predictions::Ask {
        split: match args.split {
            cli::ExportSplit::Val => Some(Split::Val),
            cli::ExportSplit::Test => Some(Split::Test),
            cli::ExportSplit::All => None,
        },
        policy: args.threshold.as_deref().map(questions::policy).transpose()?,
        calibrated: args.calibrated,
    };
    let io = |source| Error::Io { path: path.to_owned(), source };
    is_free(path, args.force)?;
    let found = predictions(&mut Reader::open(&global.db).await?, &args.run, &ask).await?;
    write(path, &found.csv).map_err(io)?;
    if Verbosity::of(global.quiet) != Verbosity::Quiet {
        say(&format!("{}: {}", path.display(), words(&found)));
    }
    Ok(())
}

/// Refuses to write over what is at `path`, unless `force` says so.
///
/// # Errors
/// Something is there.
pub(super) fn is_free(path: &Path, force: bool) -> Result<(), Error> {
    // A link to nothing is something, too; a device is written to.
    let taken = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file() || found.is_symlink() || found.is_dir());
    if taken && !force {
        return Err(Error::Usage(format!("{} exists: --force writes over it", path.display())));
    }
    Ok(())
}

/// `1,200 rows; decisions under max_f1, ...`.
fn words(found: &Predictions) -> String {
    let chosen = found.held_out_f1.map_or_else(String::new, |f1| {
        format!(", the best of the run's policies on val (macro F1 {f1:.3} on rows that its thresholds have not seen)")
    });
    let mut words = format!("{} rows; decisions under {}{chosen}", super::output::thousands(found.rows), found.policy);
    if let Some((repair, nll)) = &found.repair {
        let fitted = "fitted on val, and val's own rows through one fitted on the other parts of it";
        let by = match repair {
            Repair::None => "as they are, since no map makes val likelier".to_owned(),
            Repair::Link => "through the loss's formula".to_owned(),
            Repair::Platt => format!("through a line per label (Platt) {fitted}"),
            Repair::Isotonic => format!("through steps per label (isotonic regression) {fitted}"),
        };
        let link = nll.link.map_or_else(String::new, |nll| format!("formula {nll:.4}, "));
        words += &format!(
            "; scores {by} (negative log-likelihood of held-out val: as they are {:.4}, {link}line {:.4}, steps {:.4})",
            nll.none, nll.platt, nll.isotonic
        );
    }
    if found.numbered {
        words += "; rows are numbered from 0 within their split in the order of the import, whose CSV of labels is gone or has changed";
    }
    words
}
