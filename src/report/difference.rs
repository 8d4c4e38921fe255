//! A difference between two strategies over their pairs of runs, with intervals and tests. Pure.

use rayon::prelude::*;
use serde::Serialize;

use imbalance::metric::certainty::{Design, Paired, Posterior, Resampling, holm, sign_flip, signed_rank_posteriors, wilcoxon};

/// Nominal coverage of every interval.
pub const LEVEL: f64 = 0.95;
/// Family-wise error rate of the tests.
pub const ALPHA: f64 = 0.05;
/// Seed of every resampling and test, so that a question always has the same answer.
pub const SEED: u64 = 0;

/// How rows (or groups, whole) are resampled: the same draws for every run and every question.
#[must_use]
pub fn resampling(rows: usize, groups: Option<&[u32]>, replicates: usize) -> Resampling<'_> {
    Resampling { rows, groups, replicates, seed: SEED, jackknife: replicates.min(1000) }
}

/// Differences of pairs (same seed, same other axes), summarised.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    #[serde(flatten)]
    pub effect: Paired,
    /// Better, the same, worse: `None` for a single pair.
    pub posterior: Option<Posterior>,
    /// `None` where no outcome could be significant with this few pairs.
    pub tests: Option<Tests>,
}

/// Two-sided p-values of a mean difference; `holm`: corrected for all comparisons of the family.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tests {
    pub sign_flip: f64,
    pub sign_flip_holm: f64,
    pub wilcoxon: f64,
    pub wilcoxon_holm: f64,
}

/// One metric of several strategies against the same first one: `differences[comparison][pair]`, each of them theirs minus the
/// first's. `rope`: differences up to it mean nothing in practice. Where `lower_is_better`, the posterior's better and worse are
/// exchanged; the differences stay as they are. `None` where a comparison has no pairs.
#[must_use]
pub fn family(differences: &[Vec<f64>], rope: f64, lower_is_better: bool) -> Vec<Option<Difference>> {
    families(&[(differences.to_vec(), rope)], lower_is_better).pop().unwrap_or_default()
}

/// The same of several metrics, each a family of its own with its own rope.
#[must_use]
pub fn families(metrics: &[(Vec<Vec<f64>>, f64)], lower_is_better: bool) -> Vec<Vec<Option<Difference>>> {
    let all: Vec<(&[f64], f64)> =
        metrics.iter().flat_map(|(differences, rope)| differences.iter().map(|pairs| (pairs.as_slice(), *rope))).collect();
    let mut posteriors = signed_rank_posteriors(&all, SEED).into_iter().map(|Posterior { worse, same, better }| {
        if lower_is_better { Posterior { worse: better, same, better: worse } } else { Posterior { worse, same, better } }
    });
    let mut of_metric = |(differences, _): &(Vec<Vec<f64>>, f64)| {
        tested(differences, &posteriors.by_ref().take(differences.len()).collect::<Vec<_>>())
    };
    metrics.iter().map(&mut of_metric).collect()
}

fn tested(differences: &[Vec<f64>], posteriors: &[Posterior]) -> Vec<Option<Difference>> {
    let contrasts = differences.iter().filter(|pairs| !pairs.is_empty()).count();
    let p = |test: fn(&[f64]) -> f64| -> (Vec<f64>, Vec<f64>) {
        let plain: Vec<f64> = differences.par_iter().map(|pairs| test(pairs)).collect();
        // A comparison without pairs has p = 1 and is not part of the family.
        let present = plain.iter().zip(differences).filter(|(_, pairs)| !pairs.is_empty()).map(|(p, _)| *p);
        let mut corrected = holm(&present.collect::<Vec<_>>()).into_iter();
        let all = differences.iter().map(|pairs| if pairs.is_empty() { 1.0 } else { corrected.next().unwrap_or(1.0) });
        let all = all.collect();
        (plain, all)
    };
    let flips = p(|pairs| sign_flip(pairs, SEED));
    let ranks = p(|pairs| wilcoxon(pairs).p);
    let one = |(at, pairs): (usize, &Vec<f64>)| {
        let effect = Paired::of(pairs, LEVEL)?;
        let posterior = (pairs.len() > 1).then_some(posteriors[at]);
        let tests = Design { runs: pairs.len(), contrasts, alpha: ALPHA }.can_reject().then(|| Tests {
            sign_flip: flips.0[at],
            sign_flip_holm: flips.1[at],
            wilcoxon: ranks.0[at],
            wilcoxon_holm: ranks.1[at],
        });
        Some(Difference { effect, posterior, tests })
    };
    differences.par_iter().enumerate().map(one).collect()
}

/// A family of comparisons: whether its tests could find a difference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Power {
    /// Pairs of the comparison with the most pairs.
    pub pairs: usize,
    pub contrasts: usize,
    pub smallest_p: f64,
    pub can_reject: bool,
    /// Pairs with which the strongest comparison could be significant.
    pub pairs_needed: usize,
    /// Why no p-values are shown; `None` where they are.
    pub sentence: Option<String>,
}

impl Power {
    /// The family of comparisons with these numbers of pairs; `None` where there are no pairs.
    #[must_use]
    pub fn of(pairs: &[usize]) -> Option<Self> {
        let present: Vec<usize> = pairs.iter().copied().filter(|&pairs| pairs > 0).collect();
        let design = Design { runs: *present.iter().max()?, contrasts: present.len(), alpha: ALPHA };
        let (smallest_p, needed) = (design.smallest_p(), design.runs_needed());
        let family = match design.contrasts {
            1 => format!("one comparison at {ALPHA} needs"),
            many => format!("{many} comparisons at {ALPHA} (Holm) need"),
        };
        let pairs = if design.runs == 1 { "1 pair gives".to_owned() } else { format!("{} pairs give", design.runs) };
        let sentence = (!design.can_reject()).then(|| {
            format!(
                "cannot reject by design: {pairs} a smallest p of {}, {family} {needed} pairs; \
                 no p-values are shown, for \"not significant\" would be a word about the design only",
                probability(smallest_p)
            )
        });
        Some(Self {
            pairs: design.runs,
            contrasts: design.contrasts,
            smallest_p,
            can_reject: design.can_reject(),
            pairs_needed: needed,
            sentence,
        })
    }
}

/// `0.25`, `0.0078`, `< 0.0001`.
#[must_use]
pub fn probability(p: f64) -> String {
    match p {
        p if p < 1e-4 => "< 0.0001".to_owned(),
        p if p < 0.01 => format!("{p:.4}"),
        p => format!("{p:.3}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nine pairs that all point one way: p = 2/512 each, times 2 for the smaller of two after Holm.
    #[test]
    fn nine_pairs_can_reject_and_are_corrected() {
        let up: Vec<f64> = (1..10).map(|at| f64::from(at) / 100.0).collect();
        let mixed: Vec<f64> = up.iter().enumerate().map(|(at, d)| if at % 2 == 0 { *d } else { -d }).collect();
        let found = family(&[up, mixed, Vec::new()], 0.005, false);
        let first = found[0].clone().unwrap();
        let tests = first.tests.unwrap();
        assert_eq!((tests.sign_flip, tests.wilcoxon), (2.0 / 512.0, 2.0 / 512.0));
        assert_eq!((tests.sign_flip_holm, tests.wilcoxon_holm), (4.0 / 512.0, 4.0 / 512.0));
        assert!((first.effect.mean - 0.05).abs() < 1e-12 && first.posterior.unwrap().better > 0.95);
        assert!(found[1].clone().unwrap().tests.unwrap().sign_flip_holm > 0.05 && found[2].is_none());
    }

    #[test]
    fn too_few_pairs_have_no_p_values_but_a_reason() {
        let found = family(&[vec![0.1, 0.1, 0.1]], 0.01, false);
        assert_eq!(found[0].clone().unwrap().tests, None);
        assert!(found[0].clone().unwrap().posterior.unwrap().better > 0.9);
        let power = Power::of(&[3, 0]).unwrap();
        assert_eq!((power.can_reject, power.pairs_needed, power.smallest_p), (false, 6, 0.25));
        let sentence = power.sentence.unwrap();
        assert!(
            sentence
                .starts_with("cannot reject by design: 3 pairs give a smallest p of 0.25, one comparison at 0.05 needs 6 pairs"),
            "{sentence}"
        );
        // docs/strategies.md#certainty: 11 contrasts need 9 seeds
        assert_eq!(Power::of(&[3; 11]).unwrap().pairs_needed, 9);
        assert_eq!(Power::of(&[9; 11]).unwrap().sentence, None);
        assert_eq!(Power::of(&[0]), None);
    }

    #[test]
    fn where_lower_is_better_only_the_verdict_turns() {
        let found = family(&[vec![-0.1, -0.2, -0.15]], 0.01, true);
        let difference = found[0].clone().unwrap();
        assert!(difference.effect.mean < 0.0 && difference.posterior.unwrap().better > 0.9);
    }

    #[test]
    fn probabilities_are_short() {
        assert_eq!([0.25, 1.0, 0.00390625, 1e-9, 0.05].map(probability), ["0.25", "1", "0.0039", "< 0.0001", "0.05"]);
    }
}
