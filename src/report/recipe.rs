//! What a run's recipe is made of, read from the database, the kept scores and the prepared data: what `sweep recipe` writes.

use super::kept_scores::RowGroups;
use super::predictions::{AtBest, chosen};
use super::question::Split;
use crate::error::Error;
use crate::recipe::{Bias, Decisions, Recipe, Strategy};
use data::Dataset;
use imbalance::PosWeight;
use imbalance::evaluation::FittedPolicy;
use imbalance::loss::{self, Context, start};
use imbalance::shown::shown;
use imbalance::threshold::Policy;
use plan::{Head, RunConfig, Source, Start};
use store::{Reader, ResultRow, RunRow};

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub python: String,
    /// A sentence for stderr each: the policy, and what the file lacks.
    pub remarks: Vec<String>,
}

/// The recipe of the run that `prefix` names, with the thresholds of `policy` or of the best of the run's own.
///
/// # Errors
/// No run or more than one matches; a run without a result; a policy that is asked for and cannot be fitted.
pub async fn recipe(reader: &mut Reader, prefix: &str, policy: Option<Policy>) -> Result<Answer, Error> {
    let AtBest { run, results, recorded, evidence, .. } = AtBest::find(reader, prefix).await?;
    let decided = decided(&run, recorded, evidence, policy)?;
    let strategy = strategy(&run);
    let mut remarks = Vec::new();
    match &decided {
        Ok(Decided { fitted, held_out: Some(f1) }) => remarks.push(format!(
            "thresholds of {}, the best of the run's policies on val (macro F1 {f1:.3} on rows that its thresholds have not seen)",
            fitted.policy
        )),
        Ok(Decided { fitted, held_out: None }) => remarks.push(format!("thresholds of {}", fitted.policy)),
        Err(why) => remarks.push(format!("no thresholds: {why}")),
    }
    if let Err(why) = &strategy {
        remarks.push(format!("thresholds alone: {why}"));
    }
    let recipe = Recipe {
        remarks: header(&run, &results, decided.as_ref().ok()),
        labels: &run.facts.labels,
        strategy,
        decisions: decided
            .as_ref()
            .map(|decided| Decisions { policy: &decided.fitted.policy, rule: &decided.fitted.rule })
            .map_err(Clone::clone),
    };
    Ok(Answer { python: recipe.python(), remarks })
}

/// A policy, fitted, and the macro F1 by which it was chosen.
struct Decided {
    fitted: FittedPolicy,
    held_out: Option<f64>,
}

/// The policy that was asked for, or the best of those that are recorded; or why there is none.
fn decided(
    run: &RunRow,
    recorded: Vec<Policy>,
    evidence: std::io::Result<super::kept_scores::Evidence>,
    policy: Option<Policy>,
) -> Result<Result<Decided, String>, Error> {
    let fit = |policy: &Policy, scores: &[f32], truth: &imbalance::LabelMatrix| {
        FittedPolicy::new(policy, scores, truth).map_err(|error| Error::Usage(format!("--threshold: {error}")))
    };
    let labels = &run.facts.labels;
    let val = match (evidence, &policy) {
        (Ok(evidence), _) => evidence.val,
        // A number needs no scores.
        (Err(_), Some(policy @ Policy::Fixed(_))) => {
            let none = imbalance::LabelMatrix { names: labels.as_slice().into(), values: Vec::new() };
            return Ok(Ok(Decided { fitted: fit(policy, &[], &none)?, held_out: None }));
        }
        (Err(source), Some(_)) => return Err(Error::NoScores { run: run.fingerprint.clone(), source }),
        (Err(source), None) => return Ok(Err(format!("the run's kept scores cannot be read ({source})"))),
    };
    if val.truth.names.len() != labels.len() {
        return Ok(Err("the run's kept scores are of other labels".to_owned()));
    }
    // As `export` and `report` judge them: rows of a group together, as long as the groups are known.
    let groups = RowGroups::read(&run.folder, &run.config.data, &run.facts.content).ok().flatten();
    let groups = groups.as_ref().and_then(|groups| groups.of(Split::Val, val.truth.rows()));
    let (policy, held_out) = chosen(policy, recorded, &val, groups);
    Ok(Ok(Decided { fitted: fit(&policy, &val.scores, &val.truth)?, held_out }))
}

/// How the run was trained, or why that is no strategy of ours.
fn strategy(run: &RunRow) -> Result<Strategy<'_>, String> {
    let RunRow { config, pos_weight, facts, .. } = run;
    if matches!(config.data.source, Source::Imported { .. }) {
        return Err("the scores were imported, and how their model was trained is not known".to_owned());
    }
    if let Some(reference) = config.reference() {
        let strength = run.best_epoch.and_then(|epoch| config.strength(usize::try_from(epoch).ok()?));
        let strength = strength.map_or_else(String::new, |strength| format!("C={strength:?}"));
        let weights = match reference {
            plan::Reference::Plain => "",
            plan::Reference::Balanced => ", class_weight=\"balanced\"",
        };
        return Err(format!(
            "this is a reference run, for each label scikit-learn's LogisticRegression({strength}{weights}) on the same features"
        ));
    }
    Ok(Strategy {
        loss: &config.loss,
        pos_weight: &config.pos_weight,
        weights: pos_weight,
        sampler: &config.sampler,
        counts: &facts.train,
        epochs: config.train.epochs,
        batch_size: config.train.batch_size,
        bias: bias(run),
    })
}

/// Where the head's bias started.
fn bias(run: &RunRow) -> Result<Bias, String> {
    let RunRow { config, pos_weight, facts, .. } = run;
    // Runs that were recorded before it could be said kept the head of the file where it is for as many labels.
    if config.model.freeze.is_none() && config.model.weights.is_some() && config.model.weights_head != Some(Head::New) {
        return Err("the head came from the file of weights that the network started with".to_owned());
    }
    let zero_weights = config.train.start == Start::Link && is_linear(config);
    let values = match config.train.start {
        Start::Zero => return Err("it started at 0".to_owned()),
        Start::Prior => start::prior(&facts.train),
        Start::Link => {
            let context = Context { pos_weight: pos_weight.clone(), counts: facts.train.clone(), epochs: config.train.epochs };
            let loss = loss::build(&config.loss, &context).map_err(|error| error.to_string())?;
            match start::linked(&*loss, &facts.train) {
                Some(values) => values,
                None => {
                    let data = Dataset::open(&run.folder, &config.data).map_err(|error| {
                        format!(
                            "it is the minimum of the loss over the train rows, and the prepared data is gone ({})",
                            error.message
                        )
                    })?;
                    if data.content() != facts.content {
                        return Err("the prepared data is not that of the run".to_owned());
                    }
                    start::link(&*loss, &data.labels().select(&data.split().train), &facts.train, config.train.batch_size)
                }
            }
        }
    };
    Ok(Bias { start: config.train.start, values, zero_weights })
}

/// Whether what is trained is one linear layer that starts new.
fn is_linear(config: &RunConfig) -> bool {
    config.model.head().map_or(config.model.arch == "linear" && config.model.weights.is_none(), |(_, head)| head.arch == "linear")
}

/// Which run it is, its strategy and training, and what it was measured to do.
fn header(run: &RunRow, results: &[ResultRow], decided: Option<&Decided>) -> Vec<String> {
    let RunRow { config, version, .. } = run;
    let short = run.fingerprint.short();
    let of = run.sweeps.first().map_or_else(String::new, |title| format!(" of \"{}\"", shown(title)));
    let mut lines =
        vec![format!("Run {short}{of}, planned by sweep {version}, in PyTorch: `sweep recipe` {}.", env!("CARGO_PKG_VERSION"))];
    if !matches!(config.data.source, Source::Imported { .. }) && config.reference().is_none() {
        let weight = match &config.pos_weight {
            PosWeight::Formula(choice) => choice.to_string(),
            PosWeight::Explicit(_) => "weights as given".to_owned(),
        };
        lines.push(format!("Strategy: loss {}, pos_weight {weight}, sampler {}.", config.loss, config.sampler));
        let train = &config.train;
        let epoch = train.draws.map_or_else(|| "a pass of the sampler".to_owned(), |draws| format!("{draws} rows"));
        let best = run.best_epoch.map_or_else(String::new, |epoch| format!(", the best being number {epoch} (from 0)"));
        lines.push(format!(
            "Trained: {}, at most {} epochs of {epoch}{best}; batches of {}, {}, learning rate {}, schedule {}, seed {}.",
            config.model.arch, train.epochs, train.batch_size, train.optimizer, train.learning_rate, train.schedule, config.seed
        ));
    }
    let policy = decided.map(|decided| decided.fitted.policy.to_string());
    let measured = ["val", "test"].into_iter().filter_map(|split| {
        let of_split = || results.iter().filter(|row| row.split == split);
        let ap = of_split().find_map(|row| row.metrics.get("macro_ap"))?;
        let held_out = decided.and_then(|decided| decided.held_out).filter(|_| split == "val");
        let f1 = match held_out {
            Some(f1) => Some(format!("macro F1 {f1:.3} (held out)")),
            None => of_split()
                .find(|row| Some(&row.policy) == policy.as_ref())
                .and_then(|row| row.metrics.get("macro_f1"))
                .map(|f1| format!("macro F1 {f1:.3}")),
        };
        Some([Some(format!("{split} macro AP {ap:.3}")), f1].into_iter().flatten().collect::<Vec<_>>().join(", "))
    });
    let measured: Vec<String> = measured.collect();
    if !measured.is_empty() {
        lines.push(format!("Measured: {}.", measured.join("; ")));
    }
    lines
}
