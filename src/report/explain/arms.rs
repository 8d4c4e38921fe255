//! Runs grouped into strategies, and the strategy that the others are compared with. Pure.
//!
//! A setting is everything that is not the strategy: data, network, training loop. Within one, an arm is a loss, a pos_weight and a
//! sampler; its runs differ in their seeds only, or also in how the data was split. The baseline is plain bce: no weights, shuffled rows.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::super::{strategy_names, tuning};
use imbalance::Choice;
use plan::{PlannedRun, RunConfig, RunName};
use store::{SweepConfig, SweepRun};

/// A planned or recorded run.
#[derive(Clone, Debug, PartialEq)]
pub struct Case<'a> {
    /// Fingerprint.
    pub run: String,
    /// Of a planned run, borrowed: a plan may have a hundred thousand.
    pub config: Cow<'a, RunConfig>,
    /// Resolved positive weights, one per label.
    pub weights: Cow<'a, [f64]>,
    /// Index into the facts of the data sets.
    pub data: usize,
    /// The best epoch of a recorded run.
    pub epoch: Option<usize>,
    /// See [`SweepRun::rise`].
    pub rise: Option<f64>,
    /// The name of the strategy, and its parts: loss, pos_weight, sampler.
    pub name: String,
    pub parts: [String; 3],
    /// Axes that are not part of the strategy, and are not tuned.
    pub setting: Vec<(String, String)>,
    /// Its values of the axes that are tuned: any strategy may have any of them.
    pub candidate: tuning::Candidate,
    /// See [`SweepRun::val_ap`].
    pub val_ap: Option<f64>,
}

impl<'a> Case<'a> {
    /// A run of a sweep; `data` counts the sweep's data sets, `tuned` are the axes of its `train.tune`.
    #[must_use]
    pub fn recorded(row: &SweepRun, params: &Map<String, Value>, data: usize, config: SweepConfig, tuned: &[String]) -> Self {
        let best = row.best_epoch.filter(|_| row.state == "succeeded");
        Self {
            run: row.run.clone(),
            config: Cow::Owned(config.config),
            weights: Cow::Owned(config.pos_weight),
            data,
            epoch: best.and_then(|epoch| usize::try_from(epoch).ok()),
            rise: row.rise,
            name: strategy_names::strategy(&row.loss, &row.pos_weight, row.gamma, &row.sampler, params),
            parts: strategy_names::parts(&row.loss, &row.pos_weight, row.gamma, &row.sampler, params),
            setting: strategy_names::setting(params, tuned),
            candidate: tuning::candidate(params, tuned),
            val_ap: row.val_ap,
        }
    }

    /// A run of a plan, whose `train.tune` has the axes `tuned`.
    #[must_use]
    pub fn planned(run: &'a PlannedRun, tuned: &[String]) -> Self {
        let RunName { loss, pos_weight, gamma, sampler, params, .. } = &run.name;
        let params = params.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        Self {
            run: run.fingerprint.0.clone(),
            config: Cow::Borrowed(&run.config),
            weights: Cow::Borrowed(&run.pos_weight),
            data: run.data,
            epoch: None,
            rise: None,
            name: strategy_names::strategy(loss, pos_weight, *gamma, sampler, &params),
            parts: strategy_names::parts(loss, pos_weight, *gamma, sampler, &params),
            setting: strategy_names::setting(&params, tuned),
            candidate: tuning::candidate(&params, tuned),
            val_ap: None,
        }
    }

    /// Whether positives are weighted.
    #[must_use]
    pub fn weighted(&self) -> bool {
        self.weights.iter().any(|weight| (weight - 1.0).abs() > 1e-9)
    }

    fn plain_bce(&self) -> bool {
        self.config.loss == Choice::plain("bce")
    }

    fn shuffled(&self) -> bool {
        self.config.sampler.kind == "shuffle"
    }
}

/// Strategies that share data, network and training loop.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingRuns {
    /// Its difference from the sweep's other settings; empty if there are none.
    pub name: String,
    /// That of its first run. Runs whose data differ by `data.split.seed` only are replicates of one setting.
    pub data: usize,
    /// In the order of the plan.
    pub arms: Vec<ArmRuns>,
    pub baseline: Option<Baseline>,
}

impl SettingRuns {
    /// The same with those cases only that are `chosen`.
    #[must_use]
    pub fn only(&self, chosen: &[bool]) -> Self {
        let mut only = self.clone();
        only.arms.iter_mut().for_each(|arm| arm.cases.retain(|&case| chosen[case]));
        only
    }
}

/// One strategy.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmRuns {
    pub name: String,
    /// Indices of cases, one per seed (and split of the data, and candidate where the strategies are tuned).
    pub cases: Vec<usize>,
}

/// What the other arms are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Baseline {
    pub arm: usize,
    /// Whether it is plain bce; otherwise it is the nearest to it in the sweep.
    pub exact: bool,
}

/// The axis whose values are splits of the same rows.
const SPLIT_SEED: &str = "data.split.seed";

fn text(parts: &impl serde::Serialize) -> String {
    serde_json::to_string(parts).unwrap_or_default()
}

/// The settings of a sweep's runs.
#[must_use]
pub fn settings(cases: &[Case<'_>]) -> Vec<SettingRuns> {
    // Settings by the number and the text of what makes them; arms by their setting and the text of what makes them.
    let (mut places, mut arm_places) = (HashMap::new(), HashMap::new());
    let mut settings: Vec<SettingRuns> = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        let RunConfig { data, model, train, loss, pos_weight, sampler, .. } = &*case.config;
        // Configurations differ by what is tuned, too.
        let tuned = !case.candidate.is_empty();
        let own = if tuned {
            let axes: Vec<_> = case.setting.iter().filter(|(key, _)| key != SPLIT_SEED).collect();
            format!("{axes:?}")
        } else {
            let mut data = data.clone();
            data.split.seed = 0;
            text(&(data, model, train))
        };
        let setting = *places.entry(own).or_insert_with(|| {
            settings.push(SettingRuns { name: String::new(), data: case.data, arms: Vec::new(), baseline: None });
            settings.len() - 1
        });
        let arms = &mut settings[setting].arms;
        let own = if tuned { case.name.clone() } else { text(&(loss, pos_weight, sampler)) };
        let arm = *arm_places.entry((setting, own)).or_insert_with(|| {
            arms.push(ArmRuns { name: case.name.clone(), cases: Vec::new() });
            arms.len() - 1
        });
        arms[arm].cases.push(at);
    }
    let names = names(cases, &settings);
    for (setting, name) in settings.iter_mut().zip(names) {
        setting.name = name;
        setting.baseline = baseline(cases, &setting.arms);
    }
    settings
}

/// A name for each setting: the axes in which they differ, or a number where none does. Several settings of which one has no axis of its
/// own: what the file says outside of the grid.
fn names(cases: &[Case<'_>], settings: &[SettingRuns]) -> Vec<String> {
    let of = |setting: &SettingRuns| {
        setting.arms.first().and_then(|arm| arm.cases.first()).map_or(&[][..], |&case| &cases[case].setting)
    };
    let all: Vec<&[(String, String)]> = settings.iter().map(of).collect();
    let differs = |pair: &(String, String)| all.iter().any(|other| !other.contains(pair));
    let words = |pairs: &&[(String, String)]| {
        let words: Vec<String> = pairs.iter().filter(|pair| differs(pair)).map(|(key, value)| format!("{key} {value}")).collect();
        words.join(", ")
    };
    let mut names: Vec<String> = all.iter().map(words).collect();
    if settings.len() > 1 && names.iter().collect::<BTreeSet<_>>().len() < names.len() {
        names.iter_mut().enumerate().for_each(|(at, name)| *name = format!("setting {} {name}", at + 1).trim_end().to_owned());
    } else if settings.len() > 1 {
        names.iter_mut().filter(|name| name.is_empty()).for_each(|name| "as in the file".clone_into(name));
    }
    names
}

/// Plain bce, else bce with weights, else another loss without, else bce with another sampler; recorded arms before others.
fn baseline(cases: &[Case<'_>], arms: &[ArmRuns]) -> Option<Baseline> {
    let closeness = |arm: &ArmRuns| {
        let case = &cases[*arm.cases.first()?];
        let recorded = arm.cases.iter().filter(|&&case| cases[case].epoch.is_some()).count();
        let class = match (case.plain_bce(), case.weighted(), case.shuffled()) {
            (true, false, true) => 4,
            (true, true, true) => 3,
            (false, false, true) => 2,
            (true, false, false) => 1,
            _ => return None,
        };
        Some((recorded > 0, class, recorded))
    };
    let found = arms.iter().enumerate().filter_map(|(at, arm)| Some((closeness(arm)?, std::cmp::Reverse(at))));
    found.max().map(|((_, class, _), std::cmp::Reverse(arm))| Baseline { arm, exact: class == 4 })
}

#[cfg(test)]
mod tests {
    use super::super::testing::cases;
    use super::*;

    #[test]
    fn seeds_are_pooled_and_plain_bce_is_the_baseline() {
        let cases = cases(
            r#"loss = ["focal", "bce"]
pos_weight = ["none", "sqrt"]
seed = [0, 1, 2]"#,
        );
        let found = settings(&cases);
        assert_eq!((found.len(), found[0].name.as_str()), (1, ""));
        let names: Vec<&str> = found[0].arms.iter().map(|arm| arm.name.as_str()).collect();
        assert_eq!(names, ["focal(gamma=2)", "focal(gamma=2) + sqrt", "bce", "bce + sqrt"]);
        assert!(found[0].arms.iter().all(|arm| arm.cases.len() == 3));
        assert_eq!(found[0].baseline, Some(Baseline { arm: 2, exact: true }));
    }

    #[test]
    fn a_setting_without_axes_of_its_own_has_a_name() {
        let cases = cases(
            r#"loss = ["bce", "focal"]
[[grid.include]]
loss = "bce"
"train.start" = "zero""#,
        );
        let names: Vec<String> = settings(&cases).into_iter().map(|setting| setting.name).collect();
        assert_eq!(names, ["as in the file", "train.start zero"]);
    }

    #[test]
    fn splits_of_the_data_are_replicates() {
        let cases = cases(
            r#"loss = ["bce", "focal"]
"data.split.seed" = [0, 1, 2]
"train.start" = ["zero", "link"]"#,
        );
        let found = settings(&cases);
        assert_eq!(
            found.iter().map(|setting| setting.name.as_str()).collect::<Vec<_>>(),
            ["train.start zero", "train.start link"]
        );
        assert!(found.iter().all(|setting| setting.arms.iter().all(|arm| arm.cases.len() == 3)));
    }

    #[test]
    fn every_setting_has_its_own_baseline() {
        let cases = cases(
            r#"loss = ["bce", "focal"]
"train.start" = ["zero", "link"]"#,
        );
        let found = settings(&cases);
        assert_eq!(
            found.iter().map(|setting| setting.name.as_str()).collect::<Vec<_>>(),
            ["train.start zero", "train.start link"]
        );
        assert!(found.iter().all(|setting| setting.baseline.is_some_and(|baseline| baseline.exact)));
    }

    #[test]
    fn without_plain_bce_the_nearest_is_taken_and_without_a_near_one_none() {
        let nearest = |grid: &str| {
            let cases = cases(grid);
            let setting = settings(&cases).remove(0);
            setting.baseline.map(|baseline| (setting.arms[baseline.arm].name.clone(), baseline.exact))
        };
        let found = nearest(
            r#"loss = ["bce", "focal"]
pos_weight = ["sqrt", "neg_over_pos"]"#,
        );
        assert_eq!(found, Some(("bce + sqrt".to_owned(), false)));
        assert_eq!(nearest(r#"loss = ["focal", "asl"]"#), Some(("focal(gamma=2)".to_owned(), false)));
        assert_eq!(
            nearest(
                r#"loss = ["focal"]
pos_weight = ["sqrt"]"#
            ),
            None
        );
    }
}
