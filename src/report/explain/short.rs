//! The short form of an explanation, for the end of a report: which strategies rank alike, and what to do.

use serde::Serialize;

use super::super::lint::listed;
use super::view::{Explanation, Recommendation, Verdict};

/// Why the strategies of a report differ, in brief; `sweep explain` has the numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Why {
    pub settings: Vec<WhySetting>,
    pub warnings: usize,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WhySetting {
    /// Its difference from the others; empty if there is only one.
    pub setting: String,
    pub baseline: Option<String>,
    /// Strategies by how they rank on test, against the baseline.
    pub better: Vec<String>,
    pub same: Vec<String>,
    pub worse: Vec<String>,
    pub unknown: Vec<String>,
    /// Not compared, because too many runs have not converged.
    pub withheld: Vec<String>,
    pub recommendation: Recommendation,
    /// Fingerprints of the recommended strategy's runs.
    #[serde(skip)]
    pub runs: Vec<String>,
}

/// The short form; `None` where nothing is recorded.
#[must_use]
pub fn why(explanation: &Explanation) -> Option<Why> {
    let settings = explanation.settings.iter().filter(|setting| !setting.arms.is_empty()).map(|setting| {
        let ranked = |verdict: Verdict| {
            let arms = setting.arms.iter().filter(|arm| arm.ranking == Some(verdict));
            arms.map(|arm| arm.arm.clone()).collect::<Vec<_>>()
        };
        let recommended = setting.arms.iter().find(|arm| setting.recommendation.arm.as_ref() == Some(&arm.arm));
        WhySetting {
            setting: setting.setting.clone(),
            baseline: setting.baseline.as_ref().map(|baseline| baseline.arm.clone()),
            better: ranked(Verdict::Better),
            same: ranked(Verdict::Same),
            worse: ranked(Verdict::Worse),
            unknown: ranked(Verdict::Unknown),
            withheld: ranked(Verdict::Withheld),
            recommendation: setting.recommendation.clone(),
            runs: recommended.map_or_else(Vec::new, |arm| arm.runs.clone()),
        }
    });
    let settings: Vec<WhySetting> = settings.collect();
    (!settings.is_empty()).then_some(Why { settings, warnings: explanation.warnings.len() })
}

/// The lines of a report: (indented, text).
#[must_use]
pub fn lines(why: &Why) -> Vec<String> {
    let mut lines = Vec::new();
    for setting in &why.settings {
        if !setting.setting.is_empty() {
            lines.push(format!("{}:", setting.setting));
        }
        lines.extend(setting.recommendation.sentences.iter().cloned());
        let Some(baseline) = &setting.baseline else { continue };
        for (word, arms) in [
            ("rank better than", &setting.better),
            ("rank as well as", &setting.same),
            ("rank worse than", &setting.worse),
            ("cannot be told from", &setting.unknown),
            ("not converged, so not compared with", &setting.withheld),
        ] {
            if !arms.is_empty() {
                lines.push(format!("{word} {baseline}: {}", listed(arms)));
            }
        }
    }
    let warnings = match why.warnings {
        0 => String::new(),
        1 => " and 1 warning".to_owned(),
        many => format!(" and {many} warnings"),
    };
    lines.push(format!("`sweep explain` has what each strategy did, the numbers{warnings}"));
    lines
}
