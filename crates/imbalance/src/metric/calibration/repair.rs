//! Which map turns scores into probabilities best: judged by the likelihood of rows that it was not fitted on.

use rayon::prelude::*;

use super::logistic::{Line, fit_points};
use super::platt::Targets;
use super::{Isotonic, Platt, invert_link, logit};
use crate::metric::certainty::deal;
use crate::metric::curve::{every_cell, is_known};
use crate::metric::probability::surprise;
use crate::{LabelMatrix, UNKNOWN};

/// How scores are turned into probabilities, the simplest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Repair {
    /// Not at all: no map is better.
    None,
    /// By the loss's own formula, without data.
    Link,
    /// By a line on the logits, fitted on val.
    Platt,
    /// By a rising step function, fitted on val.
    Isotonic,
}

/// Mean negative log-likelihood of one known cell (row x label) in nats, held out where something was fitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Likelihoods {
    /// Of the scores as they are.
    pub none: f64,
    /// `None` where the loss has no formula.
    pub link: Option<f64>,
    pub platt: f64,
    pub isotonic: f64,
}

/// The map of a run's scores, one for all its labels in kind, fitted label by label.
#[derive(Clone, Debug, PartialEq)]
pub struct Repaired {
    pub repair: Repair,
    pub nll: Likelihoods,
    /// The scores that were given as probabilities, `[rows, labels]` row-major, each row through maps that did not see it.
    pub held_out: Vec<f32>,
    fitted: Vec<Fitted>,
}

/// The maps of one label, fitted on all rows.
#[derive(Clone, Debug, PartialEq)]
struct Fitted {
    platt: Option<Platt>,
    isotonic: Option<Bounded>,
}

/// Isotonic regression that is never surer than its rows allow: its probabilities lie within Platt's targets. Without that the
/// lowest scores have probability 0, and one positive among them makes any likelihood 0.
#[derive(Clone, Debug, PartialEq)]
struct Bounded {
    steps: Isotonic,
    within: Targets,
}

impl Bounded {
    /// Of cells in rising order of scores.
    fn fit(cells: &[(f32, u8)]) -> Option<Self> {
        Some(Self { steps: Isotonic::of_sorted(cells)?, within: Targets::of(cells) })
    }

    fn apply(&self, score: f32) -> f64 {
        self.steps.apply(score).clamp(self.within.low, self.within.high)
    }
}

/// Chooses the map for `scores` (`[rows, labels]` row-major probabilities of val) among those of [`Repair`]. `link` is the loss's LINK by
/// label and logit ([`invert_link`]). Platt's lines and the step functions are fitted on `folds` - 1 of `folds` parts and judged on the
/// other (dealt under `seed`, `groups` whole). The simplest map is taken whose likelihood is within one standard error of the best
/// (Breiman et al., Classification and Regression Trees, 1984, section 3.4.3), the error being that of the mean difference over rows.
/// Unknown cells are mapped as the others, but neither fitted nor judged.
#[must_use]
pub fn choose(
    scores: &[f32],
    truth: &LabelMatrix,
    groups: Option<&[u32]>,
    folds: usize,
    seed: u64,
    link: impl Fn(usize, f64) -> Option<f64>,
) -> Repaired {
    let (labels, rows) = (truth.names.len(), truth.rows());
    let folds = folds.max(2);
    let fold = deal(rows, groups, folds, seed);
    let inverted = invert_link(scores, labels, link).filter(|_| rows > 0);
    let (fitted, held_out): (Vec<Fitted>, Vec<[Vec<f32>; 2]>) = (0..labels)
        .into_par_iter()
        .map(|label| of_label(&every_cell(scores, truth, label).collect::<Vec<_>>(), &fold, folds))
        .unzip();
    let by_rows =
        |which: usize| -> Vec<f32> { (0..rows).flat_map(|row| held_out.iter().map(move |label| label[which][row])).collect() };
    let mut candidates = vec![(Repair::None, scores.to_vec())];
    candidates.extend(inverted.map(|scores| (Repair::Link, scores)));
    candidates.extend([(Repair::Platt, by_rows(0)), (Repair::Isotonic, by_rows(1))]);
    let losses: Vec<Vec<f64>> = candidates.iter().map(|(_, scores)| of_rows(scores, truth)).collect();
    let known = truth.values.iter().filter(|y| **y != UNKNOWN).count();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / known.max(1) as f64;
    let nll = |repair: Repair| {
        let at = candidates.iter().position(|candidate| candidate.0 == repair)?;
        Some(mean(&losses[at]))
    };
    let nll = Likelihoods {
        none: nll(Repair::None).unwrap_or(0.0),
        link: nll(Repair::Link),
        platt: nll(Repair::Platt).unwrap_or(0.0),
        isotonic: nll(Repair::Isotonic).unwrap_or(0.0),
    };
    let best = losses.iter().min_by(|a, b| mean(a).total_cmp(&mean(b)));
    let chosen = losses.iter().position(|losses| best.is_none_or(|best| is_close(losses, best))).unwrap_or(0);
    let (repair, held_out) = candidates.swap_remove(chosen);
    Repaired { repair, nll, held_out, fitted }
}

impl Repaired {
    /// Other scores of the same labels as probabilities, through the chosen map fitted on all rows; `link` as for [`choose`].
    #[must_use]
    pub fn apply(&self, scores: &[f32], link: impl Fn(usize, f64) -> Option<f64>) -> Vec<f32> {
        let labels = self.fitted.len().max(1);
        let map = |(cell, &score): (usize, &f32)| {
            let label = cell % labels;
            let as_it_is = f64::from(score);
            let probability = match (self.repair, self.fitted.get(label)) {
                (Repair::Link, _) => link(label, logit(score)).unwrap_or(as_it_is),
                (Repair::Platt, Some(fitted)) => fitted.platt.map_or(as_it_is, |platt| platt.apply(score)),
                (Repair::Isotonic, Some(fitted)) => fitted.isotonic.as_ref().map_or(as_it_is, |map| map.apply(score)),
                _ => as_it_is,
            };
            probability as f32
        };
        scores.iter().enumerate().map(map).collect()
    }

    /// The step function of `label` on all rows, whether or not it was chosen, and the least and the largest probability that its rows
    /// allow; `None` without rows.
    #[must_use]
    pub fn steps(&self, label: usize) -> Option<(&Isotonic, f64, f64)> {
        let bounded = self.fitted.get(label)?.isotonic.as_ref()?;
        Some((&bounded.steps, bounded.within.low, bounded.within.high))
    }

    /// The line of `label` on all rows, whether or not it was chosen; `None` without rows.
    #[must_use]
    pub fn platt(&self, label: usize) -> Option<Platt> {
        self.fitted.get(label).and_then(|fitted| fitted.platt)
    }
}

/// A label's maps, and its cells through Platt's lines and step functions of the parts that they are not in.
fn of_label(cells: &[(f32, u8)], fold: &[usize], folds: usize) -> (Fitted, [Vec<f32>; 2]) {
    let logits: Vec<f64> = cells.iter().map(|cell| logit(cell.0)).collect();
    let mut rising: Vec<usize> = (0..cells.len()).filter(|&row| is_known(&cells[row])).collect();
    rising.sort_unstable_by(|&a, &b| cells[a].0.total_cmp(&cells[b].0));
    let fit = |keep: &dyn Fn(usize) -> bool, near: Option<Line>| {
        let kept: Vec<usize> = rising.iter().copied().filter(|&row| keep(row)).collect();
        let some: Vec<(f32, u8)> = kept.iter().map(|&row| cells[row]).collect();
        let Targets { low, high } = Targets::of(&some);
        let points = kept.iter().map(|&row| (logits[row], if cells[row].1 == 1 { high } else { low })).collect();
        let platt = (!some.is_empty()).then(|| Platt(fit_points(points, near).0));
        Fitted { platt, isotonic: Bounded::fit(&some) }
    };
    let all = fit(&|_| true, None);
    let near = all.platt.map(|platt| platt.0);
    let mut held_out = [0; 2].map(|_| cells.iter().map(|cell| cell.0).collect::<Vec<f32>>());
    for held in 0..folds {
        let others = fit(&|row| fold[row] != held, near);
        for row in (0..cells.len()).filter(|&row| fold[row] == held) {
            if let Some(platt) = others.platt {
                held_out[0][row] = platt.apply(cells[row].0) as f32;
            }
            if let Some(isotonic) = &others.isotonic {
                held_out[1][row] = isotonic.apply(cells[row].0) as f32;
            }
        }
    }
    (all, held_out)
}

/// The negative log-likelihood of each row that knows a label, summed over those that it knows.
fn of_rows(scores: &[f32], truth: &LabelMatrix) -> Vec<f64> {
    let labels = truth.names.len().max(1);
    let rows = scores.par_chunks_exact(labels).zip(truth.values.par_chunks_exact(labels));
    let of_row = |(scores, truth): (&[f32], &[u8])| {
        let mut known = scores.iter().zip(truth).filter(|(_, y)| **y != UNKNOWN).peekable();
        known.peek()?;
        Some(known.map(|(&score, &y)| surprise(score.into(), y == 1)).sum())
    };
    rows.filter_map(of_row).collect()
}

/// Whether the mean of `losses` is within one standard error of the difference to the mean of `best`.
fn is_close(losses: &[f64], best: &[f64]) -> bool {
    let n = losses.len().max(1) as f64;
    let differences = || losses.iter().zip(best).map(|(ours, best)| ours - best);
    let mean = differences().sum::<f64>() / n;
    let variance = differences().map(|difference| (difference - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    mean <= (variance / n).sqrt()
}
