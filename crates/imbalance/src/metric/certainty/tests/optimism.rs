use super::super::*;
use super::Letters;
use crate::metric::average::Average;
use crate::metric::{Decide, Rate, decide};
use crate::rng::Rng;
use crate::threshold;

/// docs/strategies.md#few-validation-rows: validation rows; optimism of macro-F1, of label A, and regret against the best
/// thresholds.
const TABLE: [(usize, f64, f64, f64); 5] = [
    (200, 0.054, 0.090, 0.0144),
    (500, 0.030, 0.051, 0.0081),
    (1000, 0.019, 0.031, 0.0050),
    (2000, 0.013, 0.022, 0.0033),
    (5000, 0.0066, 0.011, 0.0019),
];

struct Mean(Vec<f64>);

impl Mean {
    /// Within three standard errors, the table's own among them (a simulation too, of how many sets is not recorded: 200 is
    /// assumed), and what rounding has lost.
    #[track_caller]
    fn is(&self, name: &str, theirs: f64, rounding: f64) {
        let n = self.0.len() as f64;
        let mean = self.0.iter().sum::<f64>() / n;
        let variance = self.0.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let error = (variance * (1.0 / n + 1.0 / 200.0)).sqrt();
        assert!((mean - theirs).abs() < 3.0 * error + rounding, "{name}: {mean} ± {error} is not {theirs}");
    }
}

/// The table, by simulation: what max_f1 promises on the rows it was fitted on, less what its thresholds are worth.
#[test]
fn the_table_of_optimism_is_reproduced() {
    let letters = Letters::new();
    let policy = threshold::parse("max_f1").unwrap();
    let best: f64 = letters.limits.iter().map(|curve| curve.best().f1).sum::<f64>() / 4.0;
    for (rows, all, rare, lost) in TABLE {
        let (mut optimism, mut of_a, mut regret) = (Mean(Vec::new()), Mean(Vec::new()), Mean(Vec::new()));
        for time in 0..(400_000 / rows).min(1000) as u64 {
            let (scores, truth) = letters.draw(rows, &mut Rng::new(time, "optimism", &[rows as u64]));
            let thresholds = policy.fit(&scores, &truth).thresholds(4);
            let promised: Vec<f64> = decide(&scores, &truth, &thresholds).counts.iter().map(|counts| counts.f1()).collect();
            let worth: Vec<f64> = letters.limits.iter().zip(&thresholds).map(|(curve, &t)| curve.decide(t.into()).f1).collect();
            let mean = |values: &[f64]| values.iter().sum::<f64>() / 4.0;
            optimism.0.push(mean(&promised) - mean(&worth));
            of_a.0.push(promised[0] - worth[0]);
            regret.0.push(best - mean(&worth));
        }
        optimism.is(&format!("{rows} rows"), all, 0.0005);
        of_a.is(&format!("{rows} rows, label A"), rare, 0.0005);
        regret.is(&format!("{rows} rows, regret"), lost, 0.00005);
    }
}

/// From one validation set, without knowing the truth: cross-fitting sees the optimism on average, and never makes it small.
#[test]
fn cross_fitting_estimates_the_optimism() {
    let letters = Letters::new();
    let policy = threshold::parse("max_f1").unwrap();
    let (mut estimated, mut held_out) = (Mean(Vec::new()), Mean(Vec::new()));
    for time in 0..120 {
        let (scores, truth) = letters.draw(1000, &mut Rng::new(time, "cross_fit", &[]));
        let fitted = cross_fit(&scores, &truth, None, 10, time, |scores, truth| policy.fit(scores, truth));
        estimated.0.push(fitted.optimism(Rate::F(1.0), Average::Macro));
        let thresholds = policy.fit(&scores, &truth).thresholds(4);
        let worth = letters.limits.iter().zip(&thresholds).map(|(curve, &t)| curve.decide(t.into()).f1).sum::<f64>() / 4.0;
        held_out.0.push((0..4).map(|label| fitted.held_out[label].f1()).sum::<f64>() / 4.0 - worth);
        assert_eq!((fitted.thresholds.len(), fitted.thresholds[0].len()), (10, 4));
        assert!(
            fitted.held_out.iter().zip(&fitted.in_sample).all(|(out, all)| out.rows() == 1000 && out.support() == all.support())
        );
    }
    // Fitted on a tenth fewer rows, it is at most a little too large.
    estimated.is("cross-fitted", 0.020, 0.0025);
    held_out.is("held out", 0.0, 0.0015);
}

#[test]
fn cross_fitting_keeps_groups_whole() {
    let letters = Letters::new();
    let (scores, truth) = letters.draw(300, &mut Rng::new(0, "groups", &[]));
    let groups: Vec<u32> = (0..300).map(|row| row / 3).collect();
    // A "policy" that records what it sees: rows of one group are seen together or not at all.
    let seen = std::cell::RefCell::new(Vec::new());
    let fitted = cross_fit(&scores, &truth, Some(&groups), 5, 1, |fold, truth| {
        let rows: Vec<usize> =
            fold.chunks_exact(4).map(|row| scores.chunks_exact(4).position(|other| other == row).unwrap()).collect();
        seen.borrow_mut().push((rows, truth.rows()));
        vec![0.5; 4]
    });
    let seen = seen.into_inner();
    assert_eq!(seen.iter().map(|(_, rows)| *rows).collect::<Vec<_>>(), [240, 240, 240, 240, 240, 300]);
    for (rows, _) in &seen {
        assert!((0..100).all(|group| [0, 3].contains(&rows.iter().filter(|&&row| row / 3 == group).count())));
    }
    assert_eq!(fitted.held_out, fitted.in_sample, "a fixed threshold has no optimism");
    assert_eq!(fitted.of_label(0, Rate::F(1.0)), 0.0);
}
