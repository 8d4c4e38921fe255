//! The verdict of `sweep explain` as the page shows it. Where an explanation takes long it is kept beside the database, so that the next
//! page has it at once.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::explain::{Arm, ExplainOptions, Explanation, Setting, Verdict as Word};
use super::super::load::Loaded;
use archive::{file, runs_folder};
use store::{Reader, StoreError, SweepId, SweepRun};

/// What the strategies changed, and what to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Verdict {
    /// One for each network, data set and training loop: strategies are compared within it.
    pub settings: Vec<VerdictSetting>,
    pub warnings: Vec<Warning>,
    pub notes: Vec<String>,
    /// Nominal coverage of all intervals together.
    pub level: f64,
    /// Differences of macro AP up to this mean nothing.
    pub rope: f64,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VerdictSetting {
    /// Its difference from the others; empty if there is only one.
    pub setting: String,
    /// The split that judges, and its rows.
    pub judged: String,
    pub rows: usize,
    pub baseline: Option<String>,
    /// The recommendation: sentences, the most important first.
    pub sentences: Vec<String>,
    pub recommended: Option<String>,
    /// Best val AP first.
    pub strategies: Vec<Judged>,
}

/// A strategy against the baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Judged {
    pub name: String,
    /// Fingerprints.
    pub runs: Vec<String>,
    /// `baseline`, `better`, `same`, `worse`, `unknown` or `withheld`; empty without a baseline.
    pub ranking: String,
    /// Change of macro AP, and its interval.
    pub change: Option<[f64; 3]>,
    /// Macro F1 at 0.5, and at the thresholds of `max_f1`.
    pub f1_half: Option<f64>,
    pub f1_tuned: Option<f64>,
    pub sentence: String,
}

/// A warning, and the strategies that it is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Warning {
    pub about: Vec<String>,
    pub sentence: String,
}

impl From<&Explanation> for Verdict {
    fn from(found: &Explanation) -> Self {
        let warning = |lint: &super::super::lint::Lint| Warning { about: lint.about.clone(), sentence: lint.sentence.clone() };
        Self {
            settings: found.settings.iter().map(setting).collect(),
            warnings: found.warnings.iter().map(warning).collect(),
            notes: found.notes.clone(),
            level: found.level,
            rope: found.rope.ap,
        }
    }
}

fn setting(found: &Setting) -> VerdictSetting {
    let ap = |arm: &Arm| arm.val_ap.value.map_or(f64::NEG_INFINITY, |value| value.mean);
    let mut arms: Vec<&Arm> = found.arms.iter().collect();
    arms.sort_by(|a, b| ap(b).total_cmp(&ap(a)));
    VerdictSetting {
        setting: found.setting.clone(),
        judged: found.judged.name().to_owned(),
        rows: if found.judged == super::super::Split::Test { found.rows.test } else { found.rows.val },
        baseline: found.baseline.as_ref().map(|baseline| baseline.arm.clone()),
        sentences: found
            .outdone
            .iter()
            .map(|words| format!("{words}."))
            .chain(found.recommendation.sentences.iter().cloned())
            .collect(),
        recommended: found.recommendation.arm.clone(),
        strategies: arms.into_iter().map(judged).collect(),
    }
}

fn judged(arm: &Arm) -> Judged {
    let word = match arm.ranking {
        _ if arm.baseline => "baseline",
        None => "",
        Some(Word::Better) => "better",
        Some(Word::Same) => "same",
        Some(Word::Worse) => "worse",
        Some(Word::Unknown) => "unknown",
        Some(Word::Withheld) => "withheld",
    };
    let change = arm.ap.difference.as_ref().and_then(|found| Some([found.mean, found.low?, found.high?]));
    Judged {
        name: arm.arm.clone(),
        runs: arm.runs.clone(),
        ranking: word.to_owned(),
        change,
        f1_half: arm.f1_half.value.map(|value| value.mean),
        f1_tuned: arm.f1_tuned.value.map(|value| value.mean),
        sentence: arm.sentence.clone(),
    }
}

/// A verdict that is kept, and what it was made from.
#[derive(Serialize, Deserialize)]
struct Kept {
    key: String,
    verdict: Verdict,
}

/// What decides a verdict: the program, the runs with their states, and the policies.
fn key<'r>(policies: &[String], runs: impl Iterator<Item = &'r SweepRun>) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{} {:?} {policies:?}", env!("CARGO_PKG_VERSION"), ExplainOptions::default()).as_bytes());
    let mut runs: Vec<String> = runs.map(|run| format!("{} {} {:?}\n", run.run, run.state, run.best_epoch)).collect();
    runs.sort_unstable();
    hasher.update(runs.concat().as_bytes());
    hasher.finalize().to_hex().to_string()
}

fn key_of(loaded: &Loaded) -> String {
    key(&loaded.policies, loaded.runs.iter().chain(&loaded.passed_over).map(|run| &run.row))
}

/// The file of the verdict that is kept of a sweep.
#[must_use]
pub fn verdict_path(db: &Path, sweep: SweepId) -> PathBuf {
    runs_folder(db).join(format!("verdict-{sweep}.json"))
}

/// The verdict that was kept of these runs.
#[must_use]
pub fn kept(db: &Path, loaded: &Loaded) -> Option<Verdict> {
    let kept: Kept = serde_json::from_slice(&file::read_ours(&verdict_path(db, loaded.sweep.id)).ok()?).ok()?;
    (kept.key == key_of(loaded)).then_some(kept.verdict)
}

/// Keeps a verdict. A folder that cannot be written costs time the next time, nothing else.
pub fn keep(db: &Path, loaded: &Loaded, verdict: &Verdict) {
    write(db, loaded.sweep.id, Kept { key: key_of(loaded), verdict: verdict.clone() });
}

/// Keeps what `sweep explain` has found, for the page.
///
/// # Errors
/// The database.
pub async fn keep_explained(reader: &mut Reader, sweep: SweepId, found: &Explanation) -> Result<(), StoreError> {
    let policies: Vec<String> = reader.policies(sweep).await?.iter().map(ToString::to_string).collect();
    let runs = reader.sweep_runs(sweep).await?;
    write(reader.path(), sweep, Kept { key: key(&policies, runs.iter()), verdict: Verdict::from(found) });
    Ok(())
}

fn write(db: &Path, sweep: SweepId, kept: Kept) {
    let written = file::write(&verdict_path(db, sweep), |out| Ok(serde_json::to_writer(out, &kept)?));
    if let Err(error) = written {
        tracing::debug!("the verdict is not kept: {error}");
    }
}
