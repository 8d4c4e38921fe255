//! The scores and decisions of one run, row by row, with the names of the rows: what `sweep export --predictions` writes.

use std::io;
use std::path::Path;

use super::difference::SEED;
use super::kept_scores::{Evidence, KeptRows, RowGroups};
use super::probabilities::link_of;
use super::question::Split;
use crate::error::Error;
use archive::runs_folder;
use data::{Dataset, imported_ids};
use imbalance::UNKNOWN;
use imbalance::evaluation::{FittedPolicy, LeaderboardMetric, held_out};
use imbalance::metric::Decide;
use imbalance::metric::calibration::{Likelihoods, Repair, choose};
use imbalance::stratification::{TEST, VAL};
use imbalance::threshold::{self, Policy};
use plan::Source;
use store::{Reader, ResultRow, RunRow};

/// Parts of val that maps are held out from.
pub const FOLDS: usize = 10;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ask {
    /// One split; both by default.
    pub split: Option<Split>,
    /// The policy of the decisions; by default the best of those that the run was evaluated under.
    pub policy: Option<Policy>,
    /// Whether the scores are turned into probabilities.
    pub calibrated: bool,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// `id`, `split`, then `truth.LABEL` (empty where it is unknown), `score.LABEL` and `decision.LABEL` of every label; a line per
    /// row.
    pub csv: String,
    pub rows: usize,
    pub policy: String,
    /// The policy's macro F1 on val, each part under thresholds of the others, where it was chosen by that.
    pub held_out_f1: Option<f64>,
    /// What made the scores probabilities, and how likely each map makes val.
    pub repair: Option<(Repair, Likelihoods)>,
    /// Whether the rows are named by their place within the split, because the CSV of the import is gone or has changed.
    pub numbered: bool,
}

/// One split that is written.
struct Part {
    name: &'static str,
    ids: Vec<String>,
    rows: KeptRows,
}

/// The rows of val and test.
struct Named {
    /// Their names; `None` where these are not known any more.
    ids: Option<[Vec<String>; 2]>,
    groups: Option<RowGroups>,
}

/// The predictions of the run that `prefix` names, at its best epoch.
///
/// # Errors
/// No run or more than one matches; a run without a result or without test scores; kept scores or prepared data that are gone.
pub async fn predictions(reader: &mut Reader, prefix: &str, ask: &Ask) -> Result<Predictions, Error> {
    let Finished { run, evidence, recorded, .. } = Finished::read(reader, prefix).await?;
    answer(&run, evidence, recorded, ask)
}

/// A recorded run at its best epoch.
pub(super) struct AtBest {
    pub run: RunRow,
    pub epoch: usize,
    /// Every evaluation at that epoch.
    pub results: Vec<ResultRow>,
    /// The policies that val was evaluated under, those that this version knows.
    pub recorded: Vec<Policy>,
    /// What it kept, or why that cannot be read.
    pub evidence: io::Result<Evidence>,
}

impl AtBest {
    /// The run that `prefix` names.
    ///
    /// # Errors
    /// No run or more than one matches; a run without a result.
    pub async fn find(reader: &mut Reader, prefix: &str) -> Result<Self, Error> {
        let run = reader.find_run(prefix).await?;
        let mut results = reader.run_results(&run.fingerprint).await?;
        let epoch = run.best_epoch.and_then(|epoch| usize::try_from(epoch).ok()).ok_or_else(|| {
            let (run, state) = (run.fingerprint.short(), &run.state);
            Error::Usage(format!("run {run} has no result yet, it is {state}: `sweep resume` trains it"))
        })?;
        results.retain(|row| row.best_epoch);
        let val = results.iter().filter(|row| row.split == "val");
        let recorded = val.filter_map(|row| threshold::parse(&row.policy).ok()).collect();
        let evidence = Evidence::read(&runs_folder(reader.path()).join(&run.fingerprint.0), epoch);
        Ok(Self { run, epoch, results, recorded, evidence })
    }
}

/// The same with its scores.
pub struct Finished {
    pub run: RunRow,
    pub epoch: usize,
    pub evidence: Evidence,
    /// The policies that it was evaluated under.
    pub recorded: Vec<Policy>,
}

impl Finished {
    /// The run that `prefix` names.
    ///
    /// # Errors
    /// No run or more than one matches; a run without a result; kept scores that are gone.
    pub async fn read(reader: &mut Reader, prefix: &str) -> Result<Self, Error> {
        let AtBest { run, epoch, recorded, evidence, .. } = AtBest::find(reader, prefix).await?;
        let evidence = evidence.map_err(|source| Error::NoScores { run: run.fingerprint.clone(), source })?;
        Ok(Self { run, epoch, evidence, recorded })
    }
}

fn answer(run: &RunRow, evidence: Evidence, recorded: Vec<Policy>, ask: &Ask) -> Result<Predictions, Error> {
    if ask.split == Some(Split::Test) && evidence.test.is_none() {
        return Err(Error::Usage(format!("run {} has no test scores: --split val", run.fingerprint.short())));
    }
    let Named { ids, groups } = named_rows(run, &evidence)?;
    let numbered = ids.is_none();
    let Evidence { mut val, mut test } = evidence;
    let groups = groups.as_ref().and_then(|groups| groups.of(Split::Val, val.truth.rows()));
    let repair = ask.calibrated.then(|| {
        let loss = link_of(&run.config, &run.pos_weight, &run.facts.train);
        let link = |label: usize, z: f64| loss.as_ref().and_then(|loss| loss.implied_probability(label, z));
        let found = choose(&val.scores, &val.truth, groups, FOLDS, SEED, link);
        if let Some(test) = &mut test {
            test.scores = found.apply(&test.scores, link);
        }
        val.scores = found.held_out;
        (found.repair, found.nll)
    });
    let (policy, held_out_f1) = chosen(ask.policy.clone(), recorded, &val, groups);
    let fitted =
        FittedPolicy::new(&policy, &val.scores, &val.truth).map_err(|error| Error::Usage(format!("--threshold: {error}")))?;
    let numbers = |rows: &KeptRows| (0..rows.truth.rows()).map(|row| row.to_string()).collect();
    let [val_ids, test_ids] = ids.unwrap_or_else(|| [numbers(&val), test.as_ref().map_or_else(Vec::new, numbers)]);
    let mut parts = vec![Part { name: Split::Val.name(), ids: val_ids, rows: val }];
    parts.extend(test.map(|rows| Part { name: Split::Test.name(), ids: test_ids, rows }));
    parts.retain(|part| ask.split.is_none_or(|split| split.name() == part.name));
    let csv = csv(&run.facts.labels, &parts, &fitted.rule).map_err(|error| Error::Unexpected(error.to_string()))?;
    let rows = parts.iter().map(|part| part.ids.len()).sum();
    Ok(Predictions { csv, rows, policy: policy.to_string(), held_out_f1, repair, numbered })
}

/// The policy that was asked for; else the best of those that are `recorded`, and the macro F1 by which it is.
#[must_use]
pub fn chosen(asked: Option<Policy>, recorded: Vec<Policy>, val: &KeptRows, groups: Option<&[u32]>) -> (Policy, Option<f64>) {
    asked.map_or_else(|| best(recorded, val, groups), |policy| (policy, None))
}

/// The policy with the best macro F1 on val among `policies`, each part of val under thresholds fitted on the others, and that F1; 0.5
/// where none is known any more.
fn best(policies: Vec<Policy>, val: &KeptRows, groups: Option<&[u32]>) -> (Policy, Option<f64>) {
    let held = held_out(&policies, &val.scores, &val.truth, groups).ok().flatten().unwrap_or_default();
    let judged =
        policies.into_iter().zip(held).filter_map(|(policy, held)| Some((held.value(LeaderboardMetric::MacroF1)?, policy)));
    // The first of equals.
    let best = judged.reduce(|best, other| if other.0 > best.0 { other } else { best });
    best.map_or((Policy::Fixed(0.5), None), |(f1, policy)| (policy, Some(f1)))
}

/// The names of val's and test's rows and the rows' groups, from the prepared data. Imported scores have none: their names are read
/// from the CSV of the import, as long as that is there and as it was.
fn named_rows(run: &RunRow, evidence: &Evidence) -> Result<Named, Error> {
    if let Source::Imported { labels, test_labels, columns, .. } = &run.config.data.source {
        let of = |csv: &Path, split: u8, rows: &KeptRows| {
            imported_ids(csv, columns, &run.facts.labels, split, &rows.truth.values).ok()
        };
        let val = of(labels, VAL, &evidence.val);
        let test = match &evidence.test {
            Some(rows) => of(test_labels.as_ref().unwrap_or(labels), TEST, rows),
            None => Some(Vec::new()),
        };
        return Ok(Named { ids: val.zip(test).map(<[_; 2]>::from), groups: None });
    }
    let data = Dataset::open(&run.folder, &run.config.data)?;
    let other = || data::DataError {
        place: run.folder.display().to_string(),
        message:
            "is not the data that the run was trained on, or this version of the program divides it otherwise: `sweep run FILE` \
                  with the sweep file of then prepares it again"
                .to_owned(),
    };
    let of = |rows: &[u32], kept: Option<&KeptRows>, ids: &[String]| {
        let same = kept.is_none_or(|kept| kept.truth.values == data.labels().select(rows).values);
        same.then(|| rows.iter().map(|&row| ids[row as usize].clone()).collect::<Vec<_>>()).ok_or_else(other)
    };
    if data.content() != run.facts.content {
        return Err(other().into());
    }
    let ids = data.ids()?;
    let split = data.split();
    let ids = [of(&split.val, Some(&evidence.val), &ids)?, of(&split.test, evidence.test.as_ref(), &ids)?];
    let groups = RowGroups::read(&run.folder, &run.config.data, &run.facts.content).ok().flatten();
    Ok(Named { ids: Some(ids), groups })
}

fn csv(labels: &[String], parts: &[Part], rule: &impl Decide) -> Result<String, ::csv::Error> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    let columns =
        ["truth", "score", "decision"].iter().flat_map(|what| labels.iter().map(move |label| format!("{what}.{label}")));
    writer.write_record(["id", "split"].map(str::to_owned).into_iter().chain(columns))?;
    let width = labels.len().max(1);
    for Part { name, ids, rows } in parts {
        let mut decisions = vec![false; rows.scores.len()];
        rule.rows(&rows.scores, width, &mut decisions);
        let cells = rows.scores.chunks_exact(width).zip(rows.truth.values.chunks_exact(width)).zip(decisions.chunks_exact(width));
        for (id, ((scores, truth), decisions)) in ids.iter().zip(cells) {
            let flag = |yes: bool| if yes { "1" } else { "0" }.to_owned();
            let row = [id.clone(), (*name).to_owned()].into_iter();
            let truth = truth.iter().map(|&y| if y == UNKNOWN { String::new() } else { flag(y == 1) });
            let row = row.chain(truth).chain(scores.iter().map(ToString::to_string));
            writer.write_record(row.chain(decisions.iter().map(|&decision| flag(decision))))?;
        }
    }
    let bytes = writer.into_inner().map_err(|error| error.into_error())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use imbalance::LabelMatrix;

    fn rows(scores: &[f32], values: &[u8]) -> KeptRows {
        let names = ["0", "1"].map(str::to_owned);
        KeptRows::of(scores.to_vec(), LabelMatrix { names: names.into(), values: values.to_vec() })
    }

    #[test]
    fn a_line_per_row_with_every_label() {
        let part = Part {
            name: "val",
            ids: vec!["a/1.png".to_owned(), "b,2".to_owned()],
            rows: rows(&[0.9, 0.1, 0.25, 0.5], &[1, UNKNOWN, 0, 1]),
        };
        let labels = ["A", "B/b, \"b\""].map(str::to_owned);
        let text = csv(&labels, &[part], &vec![0.5f32, 0.5]).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            r#"id,split,truth.A,"truth.B/b, ""b""",score.A,"score.B/b, ""b""",decision.A,"decision.B/b, ""b""""#
        );
        assert_eq!(lines[1..], ["a/1.png,val,1,,0.9,0.1,1,0", "\"b,2\",val,0,1,0.25,0.5,0,1"]);
    }

    /// Of scores that are noise, the policy that fits the most does not win by its fit.
    #[test]
    fn the_best_policy_is_the_best_on_rows_it_has_not_seen() {
        let mut rng = imbalance::rng::Rng::new(3, "noise", &[]);
        let scores: Vec<f32> = (0..200).map(|_| rng.uniform() as f32).collect();
        let values: Vec<u8> = (0..200).map(|_| u8::from(rng.uniform() < 0.9)).collect();
        let val = rows(&scores, &values);
        let (policy, f1) = best(vec![threshold::parse("max_f1").unwrap(), Policy::Fixed(0.0)], &val, None);
        assert_eq!(policy, Policy::Fixed(0.0), "{f1:?}");
        assert_eq!(best(Vec::new(), &val, None), (Policy::Fixed(0.5), None));
    }
}
