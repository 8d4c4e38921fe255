//! One run, judged: ranking, decisions at 0.5 and at tuned thresholds, calibration, and how far tuned thresholds flatter it. Pure.
//! Rules and calibrators are fitted on val; their effect is measured on test or, without test scores, on parts of val that they
//! did not see.

use super::super::difference::SEED;
use super::super::kept_scores::{Evidence, KeptRows};
use super::super::lint;
use super::super::probabilities::link_of;
use super::arms::Case;
use imbalance::evaluation::held_out;
use imbalance::metric::average::{Average, average};
pub use imbalance::metric::calibration::Repair;
use imbalance::metric::calibration::{Calibration, choose, judge};
use imbalance::metric::{Counts, Decide, Rate, ZeroDivision, decide, rank};
use imbalance::threshold::Policy;
use imbalance::{Choice, LabelMatrix};
use plan::DataFacts;

/// Parts of val for the choice of what repairs the scores: where val judges it, and where test does.
const FOLDS: usize = 10;
const PARTS: usize = 5;

/// The numbers of one run; vectors have one entry per label.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The true probability that a score of 0.5 stands for, if the loss is trained to its optimum; `None` where the loss has no
    /// closed form, or where the sampler moves it.
    pub eta: Vec<Option<f64>>,
    /// The same as measured: Platt's line on val at 0.5.
    pub stands_for: Vec<f64>,
    /// The thresholds with the largest F1 on val.
    pub thresholds: Vec<f32>,
    /// On test, or on val where there is no test.
    pub judged: SplitScores,
    pub val: SplitScores,
    /// Optimism of the macro F1 of tuned thresholds on val: in sample minus held out.
    pub optimism: f64,
    pub label_optimism: Vec<f64>,
    /// On the rows of `judged`; errors and gaps as they were at the prevalences of train, so that a shift of the split is not taken for
    /// the strategy's.
    pub calibration: Vec<Calibration>,
    /// The same after scores were turned back into probabilities by the map that val chose.
    pub repaired: Vec<Calibration>,
    pub repair: Repair,
    /// Macro F1 under each of the policies: on val rows that it was not fitted on, and on the split that judges.
    pub policies: Vec<[f64; 2]>,
    /// How much of the macro AP on val is owed to the choice of `train.tune` by the same rows.
    pub choice: f64,
    pub health: lint::Health,
}

/// What does not depend on calibration, on one split.
#[derive(Clone, Debug)]
pub struct SplitScores {
    pub ap: Vec<Option<f64>>,
    /// Decisions at 0.5.
    pub half: Vec<Counts>,
    /// Decisions at the tuned thresholds. On val they are held out: each tenth under thresholds that did not see it.
    pub tuned: Vec<Counts>,
}

/// Mean over labels of F1.
#[must_use]
pub fn macro_f1(counts: &[Counts]) -> f64 {
    average(counts, Rate::F(1.0), Average::Macro, ZeroDivision::Zero).unwrap_or(0.0)
}

/// The policy that every strategy is tuned with.
#[must_use]
pub fn tuning() -> Policy {
    Policy::Fitted(Choice::plain("max_f1"))
}

/// The policies of which one is recommended, the simplest first: 0.5, `prior_match`, `max_f1`, that for few positives, and those of the grid.
#[must_use]
pub fn policies(of_grid: &[Policy]) -> Vec<Policy> {
    let for_few = Choice::plain("max_f1").with("min_positives", lint::FEW as f64);
    let usual = [Policy::Fixed(0.5), Policy::Fitted(Choice::plain("prior_match")), tuning(), Policy::Fitted(for_few)];
    let mut all: Vec<Policy> = Vec::new();
    for policy in usual.iter().chain(of_grid).filter_map(|policy| policy.admitted().ok()) {
        if !all.contains(&policy) {
            all.push(policy);
        }
    }
    all
}

/// Evaluates the run of `case` from its kept scores, under `policies`, too. `groups` are those of the val rows.
#[must_use]
pub fn measure(case: &Case<'_>, facts: &DataFacts, evidence: &Evidence, groups: Option<&[u32]>, policies: &[Policy]) -> Measured {
    let (val, judged) = (&evidence.val, evidence.judged());
    let labels = val.truth.names.len();
    let all: Vec<Policy> = policies.iter().cloned().chain((!policies.contains(&tuning())).then(tuning)).collect();
    // Rows that cannot be divided, and a policy of another version, leave what was fitted on the same rows.
    let mut held = held_out(&all, &val.scores, &val.truth, groups).ok().flatten().map(Vec::into_iter);
    let (mut of_policies, mut of_tuning) = (Vec::new(), None);
    for (at, policy) in all.iter().enumerate() {
        let rule = policy.fit(&val.scores, &val.truth);
        let in_sample = || decide(&val.scores, &val.truth, &rule).counts;
        let held = held.as_mut().and_then(Iterator::next).map_or_else(in_sample, |held| held.counts);
        let test = evidence.test.as_ref().map(|test| decide(&test.scores, &test.truth, &rule).counts);
        let test = test.unwrap_or_else(|| held.clone());
        if at < policies.len() {
            of_policies.push([macro_f1(&held), macro_f1(&test)]);
        }
        if *policy == tuning() {
            of_tuning = Some((in_sample(), rule.thresholds(labels), held, test));
        }
    }
    let (in_sample, thresholds, held_tuned, judged_tuned) = of_tuning.unwrap_or_default();
    let f1 = |counts: &Counts| counts.rate(Rate::F(1.0));
    let loss = link_of(&case.config, &case.weights, &facts.train);
    let link = |label: usize, z: f64| loss.as_ref().and_then(|loss| loss.implied_probability(label, z));
    let parts = if evidence.test.is_some() { PARTS } else { FOLDS };
    let found = choose(&val.scores, &val.truth, groups, parts, SEED, link);
    let probabilities = evidence.test.as_ref().map(|test| found.apply(&test.scores, link));
    let probabilities = probabilities.as_ref().unwrap_or(&found.held_out);
    Measured {
        eta: (0..labels).map(|label| link(label, 0.0)).collect(),
        stands_for: (0..labels).map(|label| found.platt(label).map_or(0.5, |line| line.apply(0.5))).collect(),
        judged: SplitScores { tuned: judged_tuned, ..on_split(judged) },
        thresholds,
        optimism: macro_f1(&in_sample) - macro_f1(&held_tuned),
        label_optimism: in_sample.iter().zip(&held_tuned).map(|(fitted, held)| f1(fitted) - f1(held)).collect(),
        val: SplitScores { tuned: held_tuned, ..on_split(val) },
        calibration: judge_at_train(&judged.scores, &judged.truth, facts),
        repaired: judge_at_train(probabilities, &judged.truth, facts),
        repair: found.repair,
        policies: of_policies,
        choice: 0.0,
        health: lint::Health::of(val),
    }
}

/// Calibration with the errors and gaps that the scores would have at the prevalences of train, where these are known.
fn judge_at_train(scores: &[f32], truth: &LabelMatrix, facts: &DataFacts) -> Vec<Calibration> {
    judge(scores, truth, facts.train.prevalences().as_deref(), SEED)
}

fn on_split(rows: &KeptRows) -> SplitScores {
    let half = decide(&rows.scores, &rows.truth, &vec![0.5f32; rows.truth.names.len()]);
    SplitScores { ap: rank(rows.ranked(), &rows.truth).ap, half: half.counts, tuned: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{RATES, cases, evidence, facts};
    use super::*;
    use imbalance::loss::sigmoid;

    /// Weighted bce at its optimum: q = w p / (w p + 1 - p). Its decision point is 1 / (1 + w), and LINK repairs it.
    #[test]
    fn weights_move_the_decision_point_and_link_moves_it_back() {
        let cases = cases(
            r#"loss = ["bce"]
pos_weight = ["none", "neg_over_pos"]"#,
        );
        let weights = cases[1].weights.clone();
        let plain = measure(&cases[0], &facts(), &evidence(1, |_, u, _| sigmoid(u)), None, &[]);
        let weighted = measure(&cases[1], &facts(), &evidence(1, |label, u, _| sigmoid(u + weights[label].ln())), None, &[]);
        for (label, weight) in weights.iter().enumerate() {
            assert!((weighted.eta[label].unwrap() - 1.0 / (1.0 + weight)).abs() < 1e-12);
            assert!((weighted.stands_for[label] - weighted.eta[label].unwrap()).abs() < 0.02, "{:?}", weighted.stands_for);
            assert!((plain.judged.ap[label].unwrap() - weighted.judged.ap[label].unwrap()).abs() < 1e-6);
        }
        assert_eq!((weighted.repair, plain.eta[0]), (Repair::Link, Some(0.5)));
        assert!(weighted.calibration[0].gap > 0.2 && weighted.repaired[0].gap.abs() < 0.02);
        assert!(weighted.calibration[0].ece > 0.2 && weighted.repaired[0].ece < 0.02);
        // the same decisions at tuned thresholds, many more at 0.5
        assert!((macro_f1(&plain.judged.tuned) - macro_f1(&weighted.judged.tuned)).abs() < 0.005);
        assert!(weighted.judged.half[0].predicted_rate() > 5.0 * plain.judged.half[0].predicted_rate());
        assert!(plain.optimism > -0.01 && plain.optimism < 0.03, "{}", plain.optimism);
    }

    /// A sampler moves the scores without a formula: the shift is measured on val.
    #[test]
    fn a_sampler_is_measured_on_val() {
        let cases = cases(
            r#"loss = ["bce"]
sampler = ["class_aware"]"#,
        );
        let found = measure(&cases[0], &facts(), &evidence(1, |_, u, _| sigmoid(u + 1.0)), None, &[]);
        assert_eq!((found.eta.as_slice(), found.repair), (&[None, None][..], Repair::Platt));
        assert!((found.stands_for[1] - sigmoid(-1.0)).abs() < 0.03, "{:?}", found.stands_for);
        assert!(found.repaired[1].ece < 0.03);
    }

    /// Scores that are right in train, on a test split that has lost half of the rows without A: the split is off, not the strategy.
    #[test]
    fn a_shift_of_the_split_is_not_charged_to_the_strategy() {
        let mut shifted = evidence(1, |_, u, _| sigmoid(u));
        let test = shifted.test.as_mut().unwrap();
        let kept: Vec<usize> = (0..test.truth.rows()).filter(|row| test.truth.values[2 * row] == 1 || row % 4 == 0).collect();
        test.scores = kept.iter().flat_map(|row| [test.scores[2 * row], test.scores[2 * row + 1]]).collect();
        test.truth.values = kept.iter().flat_map(|row| [test.truth.values[2 * row], test.truth.values[2 * row + 1]]).collect();
        let raw = judge(&test.scores, &test.truth, None, 0);
        let found = measure(&cases("loss = [\"bce\"]")[0], &facts(), &shifted, None, &[]);
        assert!(found.judged.half[0].prevalence() > 2.0 * RATES[0] && raw[0].gap < -0.05 && raw[0].ece > 0.05, "{:?}", raw[0]);
        assert!(found.calibration[0].gap.abs() < 0.02 && found.calibration[0].ece < 0.03, "{:?}", found.calibration[0]);
    }

    /// Without test scores, held-out val judges: close to test, and never fitted on the same rows.
    #[test]
    fn val_alone_will_do() {
        let cases = cases("loss = [\"bce\"]\nsampler = [\"class_aware\"]");
        let both = evidence(1, |_, u, _| sigmoid(u + 1.0));
        let val = Evidence { test: None, ..both.clone() };
        let (tested, found) = (measure(&cases[0], &facts(), &both, None, &[]), measure(&cases[0], &facts(), &val, None, &[]));
        assert_eq!((found.judged.ap, found.judged.half), (found.val.ap.clone(), found.val.half.clone()));
        assert_eq!((&found.judged.tuned, &found.val.tuned), (&tested.val.tuned, &tested.val.tuned));
        assert_eq!((&found.stands_for, found.repair, found.optimism), (&tested.stands_for, Repair::Platt, tested.optimism));
        assert!((macro_f1(&found.judged.tuned) - macro_f1(&tested.judged.tuned)).abs() < 0.06);
        assert!(found.calibration[0].ece > 0.05 && found.repaired.iter().all(|label| label.ece < 0.03), "{:?}", found.repaired);
    }
}
