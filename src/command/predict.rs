//! `sweep predict RUN|DIR PATH...`: scores and decisions of new images or features.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::export::is_free;
use super::output;
use super::preparing::Preparing;
use super::questions;
use super::report::write;
use super::train::hung_after;
use crate::cli::{Global, PredictArgs, PredictFormat};
use crate::controller::Interrupts;
use crate::controller::errand::{Ending, Errand};
use crate::controller::progress::{Verbosity, rate, say, span};
use crate::error::Error;
use crate::exported::{Ask, CARD, ModelCard, Preprocessing, export};
use crate::launcher::{self, Place};
use crate::predict::{Answer, Fault, Partial, Shape, Wanted};
use crate::report::predictions::Finished;
use imbalance::threshold::Policy;
use plan::{Fingerprint, RunConfig};
use protocol::wire::request;
use protocol::{Inputs, Order, Outcome, Prediction, Request, Standardize, VERSION};
use store::Reader;

/// Scores the inputs that `args` names.
///
/// # Errors
/// A model that is not there or damaged; inputs that are not there or of the wrong kind, or some that cannot be used unless they are to be
/// skipped; a worker that fails; an output that exists or cannot be written; an interrupt.
pub async fn run(global: &Global, args: &PredictArgs) -> Result<(), Error> {
    let policy = args.threshold.as_deref().map(questions::policy).transpose()?;
    if let Some(path) = &args.output {
        is_free(path, args.force)?;
    }
    let place = one_place(&args.device)?;
    let (card, model) = model(global, args, policy.as_ref()).await?;
    let (policy, rule) = card.rule(policy.as_ref())?;
    let config = RunConfig::from(card.provenance.config.clone());
    let wanted = Wanted::new(&args.paths, &config.data.source, args.path_column.as_deref(), args.root.as_deref())?;
    if !wanted.missing.is_empty() && !args.skip_bad {
        return Err(wanted.bad(&wanted.missing, wanted.ids.len(), ""));
    }
    let run = Fingerprint(card.provenance.run.clone());
    let mut partial = Partial::open(args.output.as_deref(), request(&card, &model, wanted.inputs.clone()), args.force)?;
    let verbosity = Verbosity::of(global.quiet);
    let before = partial.done();
    if before > 0 && verbosity != Verbosity::Quiet {
        say(&format!("{} inputs were scored before an interruption: they are kept", output::thousands(before)));
    }
    let start = Instant::now();
    score(&mut partial, &wanted, &run, place, verbosity).await?;
    let seconds = start.elapsed().as_secs_f64();
    let (logits, found_bad) = partial.found();
    let mut bad: Vec<Fault> = wanted.missing.iter().chain(found_bad).cloned().collect();
    bad.sort_by_key(|(number, _)| *number);
    if !bad.is_empty() && !args.skip_bad {
        let kept = if partial.stays() {
            format!("; the others are scored, and kept in {} for the same command", partial.folder().display())
        } else {
            String::new()
        };
        return Err(wanted.bad(&bad, logits.len(), &kept));
    }
    for (number, why) in &bad {
        tracing::warn!("left out: {}: {why}", wanted.name(*number));
    }
    let answer = Answer { card: &card, wanted: &wanted, logits, policy: &policy, rule: &rule, calibrated: args.calibrated };
    let text = answer.text(match args.format {
        PredictFormat::Csv => Shape::Csv,
        PredictFormat::Json => Shape::Json,
    })?;
    let scored = logits.iter().filter(|logits| logits.is_some()).count();
    match &args.output {
        Some(path) => write(path, &text).map_err(|source| Error::Io { path: path.clone(), source })?,
        None => output::raw(&text)?,
    }
    if verbosity != Verbosity::Quiet {
        let left_out = if bad.is_empty() { String::new() } else { format!(", {} left out", output::thousands(bad.len())) };
        let to = args.output.as_ref().map_or_else(String::new, |path| format!("{}: ", path.display()));
        let new = scored.saturating_sub(before);
        let speed = rate(new as f64 / seconds.max(1e-9));
        let took = match new {
            0 => String::new(),
            new => format!("; {} scored in {} ({speed}/s)", output::thousands(new), span(seconds)),
        };
        say(&format!("{to}{} inputs{left_out}; decisions under {policy}{took}", output::thousands(scored)));
    }
    partial.finished();
    Ok(())
}

/// The one place of a single worker: the first of what `device` means, with all cores for the CPU.
///
/// # Errors
/// Not a device name, or not available on this machine.
pub fn one_place(device: &str) -> Result<Place, Error> {
    let places = launcher::places(&[device.to_owned()], 1)?;
    places.into_iter().next().ok_or_else(|| Error::Usage(format!("device `{device}`: there is none")))
}

/// The card of a run or of an exported folder, and where its parameters are.
async fn model(global: &Global, args: &PredictArgs, policy: Option<&Policy>) -> Result<(ModelCard, PathBuf), Error> {
    let (named, folder) = (args.model.as_str(), Path::new(&args.model));
    if folder.is_dir() || folder.join(CARD).exists() {
        let card = ModelCard::read(folder)?;
        let file = Path::new(&card.model.file);
        // The name comes from a file that anybody may have written.
        if file.file_name().is_none_or(|name| name != file.as_os_str()) {
            let place = folder.join(CARD).display().to_string();
            let message = "`model.file` must be the name of a file beside it".to_owned();
            return Err(Error::Data(data::DataError { place, message }));
        }
        let path = folder.join(file);
        return Ok((card, path));
    }
    if named.is_empty() || !named.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::Usage(format!(
            "`{named}` is neither a folder with an exported model nor a run, which is named by the first digits of its fingerprint: \
             `sweep report` lists them"
        )));
    }
    let mut reader = Reader::open(&global.db).await?;
    let finished = Finished::read(&mut reader, named).await?;
    let ask = Ask { policy: policy.cloned(), metrics: false, calibrated: args.calibrated, refit: false };
    let found = tokio::task::block_in_place(|| export(&reader, finished, &ask))?;
    Ok((found.card, found.path))
}

fn request(card: &ModelCard, model: &Path, inputs: Inputs) -> Request {
    let (standardize, white) = match &card.preprocessing {
        Preprocessing::Pictures { white, .. } => (None, *white),
        Preprocessing::Features { mean: Some(mean), scale: Some(scale), .. } => {
            (Some(Standardize { mean: mean.clone(), scale: scale.clone() }), u16::MAX)
        }
        Preprocessing::Features { .. } => (None, u16::MAX),
    };
    let model = std::path::absolute(model).unwrap_or_else(|_| model.to_owned());
    Request {
        format: request::FORMAT,
        config: card.provenance.config.clone(),
        labels: card.labels.len() as u64,
        model: model.to_string_lossy().into_owned(),
        model_hash: card.model.blake3.clone(),
        standardize,
        white,
        inputs,
    }
}

/// Has a worker score what is not known yet.
async fn score(
    partial: &mut Partial,
    wanted: &Wanted,
    run: &Fingerprint,
    place: Place,
    verbosity: Verbosity,
) -> Result<(), Error> {
    let Some((number, request, from)) = partial.ask(&wanted.missing)? else { return Ok(()) };
    let folder =
        std::path::absolute(partial.folder()).map_err(|source| Error::Io { path: partial.folder().to_owned(), source })?;
    let request = std::path::absolute(&request).map_err(|source| Error::Io { path: request, source })?;
    let errand = Errand {
        order: Order::Predict(Prediction { v: VERSION, run: run.clone(), attempt: 1, request, from }),
        run,
        attempt: 1,
        place,
        folder: &folder,
        name: number.to_string(),
        hung_after: hung_after(),
    };
    let preparing = Preparing::new(verbosity);
    let mut interrupts = Interrupts::listen()?;
    let total = wanted.ids.len();
    let ended = errand
        .carry_out(&mut interrupts, |event| {
            partial.keep(&event).map_err(|why| Error::Unexpected(format!("the worker's record cannot be used: {why}")))?;
            preparing.scoring(partial.done(), total.max(partial.done()));
            Ok(())
        })
        .await;
    drop(preparing);
    match ended {
        Ok(Ending { outcome: Outcome::Ok, .. }) => Ok(()),
        // All that a worker reads is the model, its backbone and the inputs.
        Ok(Ending { outcome: Outcome::Data | Outcome::Io, why }) => {
            Err(Error::Data(data::DataError { place: "nothing was scored".to_owned(), message: why }))
        }
        Ok(Ending { outcome, why }) => Err(Error::Unexpected(format!("the prediction has failed ({}): {why}", failed(outcome)))),
        Err(Error::Interrupted) if partial.stays() => Err(Error::Halted("the same command goes on where it was")),
        Err(Error::Interrupted) => Err(Error::Halted("nothing was written; with --output what is scored is kept")),
        Err(error) => Err(error),
    }
}

fn failed(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::OutOfMemory => "out of memory",
        Outcome::Diverged => "a score is not a number",
        Outcome::Hung => "the worker hangs",
        _ => "the worker has ended",
    }
}
