//! `train.tune`: of its candidates each strategy gets the one with the highest val macro AP, mean over its seeds. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::load::Run;
use super::text_grid::text;
use store::SweepRow;

/// The axes that `sweep` tunes; none where this version cannot read its file.
#[must_use]
pub fn keys(sweep: &SweepRow) -> Vec<String> {
    sweep.recorded().tuned(&sweep.file).unwrap_or_default()
}

/// The axes that are tuned with a value each.
pub type Candidate = Vec<(String, String)>;

/// The values that a run has of the axes `keys`, as text: its candidate.
#[must_use]
pub fn candidate(params: &Map<String, Value>, keys: &[String]) -> Candidate {
    keys.iter().filter_map(|key| Some((key.clone(), text(Some(params.get(key)?))))).collect()
}

/// The val macro AP of a candidate's runs at their best epochs.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seeds {
    runs: Vec<usize>,
    ap: Vec<f64>,
}

impl Seeds {
    /// See [`best`].
    fn rank(&self) -> (usize, f64) {
        (self.ap.len(), self.ap.iter().sum::<f64>() / self.ap.len().max(1) as f64)
    }
}

/// The candidate that is chosen: of those with the most recorded runs the one with the highest mean, the first on ties. `ranks` has the
/// runs and the mean of each.
pub fn best(ranks: impl IntoIterator<Item = (usize, f64)>) -> Option<usize> {
    let mut best: Option<(usize, (usize, f64))> = None;
    for (at, rank) in ranks.into_iter().enumerate() {
        if best.is_none_or(|(_, best)| rank > best) {
            best = Some((at, rank));
        }
    }
    best.map(|(at, _)| at)
}

/// Whether each of `runs` is of the candidate that its strategy gets, given the axes `keys` that are tuned. All are where none is.
///
/// A strategy's candidates are compared by as many seeds each: while some of a candidate's runs are missing, those with more are
/// chosen. On ties the first in the order of the plan is.
#[must_use]
pub fn chosen(runs: &[Run], keys: &[String]) -> Vec<bool> {
    if keys.is_empty() {
        return vec![true; runs.len()];
    }
    // Strategies, and their candidates in the order of the plan.
    let mut strategies: BTreeMap<String, Vec<(Candidate, Seeds)>> = BTreeMap::new();
    for (at, run) in runs.iter().enumerate() {
        let mut rest = run.params.clone();
        rest.retain(|key, _| !keys.contains(key));
        let row = &run.row;
        let strategy = format!("{:?}", (run.data, &row.loss, &row.pos_weight, row.gamma.map(f64::to_bits), &row.sampler, rest));
        let candidates = strategies.entry(strategy).or_default();
        let own = candidate(&run.params, keys);
        let place = candidates.iter().position(|(known, _)| *known == own).unwrap_or_else(|| {
            candidates.push((own, Seeds::default()));
            candidates.len() - 1
        });
        candidates[place].1.runs.push(at);
        candidates[place].1.ap.extend(row.val_ap);
    }
    let mut chosen = vec![false; runs.len()];
    for candidates in strategies.values() {
        let best = best(candidates.iter().map(|(_, seeds)| seeds.rank()));
        best.into_iter().flat_map(|best| &candidates[best].1.runs).for_each(|&run| chosen[run] = true);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::SweepRun;

    fn run(loss: &str, rate: f64, seed: i64, val_ap: Option<f64>) -> Run {
        let row = SweepRun {
            run: format!("{loss} {rate} {seed}"),
            state: if val_ap.is_some() { "succeeded" } else { "queued" }.to_owned(),
            stopped_early: false,
            left_out: false,
            data: 1,
            epochs: 4,
            best_epoch: val_ap.map(|_| 2),
            loss: loss.to_owned(),
            pos_weight: "none".to_owned(),
            gamma: None,
            sampler: "shuffle".to_owned(),
            seed,
            params: String::new(),
            format: 3,
            steps: None,
            rise: None,
            val_ap,
        };
        let params = [("train.learning_rate".to_owned(), rate.into()), ("data.seed".to_owned(), 1.into())];
        Run { row, params: params.into_iter().collect(), data: 0 }
    }

    #[test]
    fn each_strategy_gets_the_candidate_with_the_best_mean_over_seeds() {
        let runs = [
            run("bce", 1e-3, 0, Some(0.5)),
            run("bce", 1e-2, 0, Some(0.7)), // the best run, not the best candidate
            run("focal", 1e-3, 0, Some(0.4)),
            run("focal", 1e-2, 0, Some(0.4)), // a tie: the first
            run("bce", 1e-3, 1, Some(0.6)),
            run("bce", 1e-2, 1, Some(0.3)),
            run("focal", 1e-3, 1, Some(0.4)),
            run("focal", 1e-2, 1, Some(0.4)),
        ];
        let key = ["train.learning_rate".to_owned()];
        assert_eq!(chosen(&runs, &key), [true, false, true, false, true, false, true, false]);
        assert_eq!(chosen(&runs, &[]), [true; 8]);
    }

    #[test]
    fn candidates_with_missing_runs_wait() {
        let runs = [
            run("bce", 1e-3, 0, Some(0.5)),
            run("bce", 1e-3, 1, Some(0.5)),
            run("bce", 1e-2, 0, Some(0.9)),
            run("bce", 1e-2, 1, None),
            run("asl", 1e-3, 0, None),
            run("asl", 1e-2, 0, None),
        ];
        assert_eq!(chosen(&runs, &["train.learning_rate".to_owned()]), [true, true, false, false, true, false]);
    }
}
