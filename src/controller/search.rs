//! Which strategies of a sweep go on and which are stopped: asynchronous successive halving. Pure: values and ends of runs → steps.
//!
//! Each strategy competes by its first run. At a rung it goes on if its value is among the best of those that have come there before it,
//! itself included: of n, n / reduction of them, and one at least (Li et al. 2020, algorithm 2, with runs that train on until they are
//! stopped, as in Ray Tune and Optuna). "Before" is an order that is known from the start, not the time: where a strategy comes to a rung
//! before an earlier one, it trains on until that one is there. So decisions depend on values alone, not on the number of workers, their
//! speed, or an interruption.

use std::collections::HashMap;

use plan::{Fingerprint, Halving};
use store::SearchDecision;

/// A strategy of a search. The order of the candidates is that of the decisions.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The run that it competes by.
    pub first: Fingerprint,
    /// Its runs with other seeds: trained once it has come through.
    pub others: Vec<Fingerprint>,
    /// Strategies of equal numbers compete.
    pub pool: usize,
    /// Evaluations at most.
    pub epochs: usize,
    /// It is not judged before so many evaluations: its loss changes then. Where that is after the last rung, it is judged there all the
    /// same, by what it has come to, and nobody is judged by it.
    pub opens: usize,
    /// It is compared and never stopped: the others are judged against it in the end.
    pub spared: bool,
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Persist, before anything else is done about it.
    Decide(SearchDecision),
    /// The run is not worth continuing.
    Stop(Fingerprint),
    /// These runs are to be trained: their strategy has come through.
    Release(Vec<Fingerprint>),
    /// These runs are not trained.
    LeaveOut(Vec<Fingerprint>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It competes.
    In,
    /// Past the last rung.
    Through,
    /// Stopped at a rung.
    Out,
    /// Its run has ended without a result, but not by the search.
    Failed,
}

#[derive(Debug)]
struct Entrant {
    candidate: Candidate,
    /// Of each evaluation in turn; NaN where the metric is undefined.
    values: Vec<f64>,
    /// Its run has a complete result: its best value holds at every later rung.
    over: bool,
    /// An attempt has failed: nobody waits for it any more.
    late: bool,
    /// The next rung.
    rung: usize,
    standing: Standing,
    /// Whether what its standing means for its other runs has been said.
    said: bool,
}

impl Entrant {
    /// Best value after at most so many evaluations.
    fn best(&self, evaluations: usize) -> f64 {
        let some = &self.values[..evaluations.min(self.values.len())];
        some.iter().copied().filter(|value| !value.is_nan()).fold(f64::NEG_INFINITY, f64::max)
    }

    /// Whether the others are judged by it at the rung after so many evaluations.
    fn takes_part(&self, evaluations: usize) -> bool {
        evaluations >= self.candidate.opens
    }

    /// Passes the rungs that come too early for it, but the last one.
    fn pass(&mut self, rungs: &[usize]) {
        while self.rung + 1 < rungs.len() && rungs[self.rung] < self.candidate.opens {
            self.rung += 1;
        }
    }
}

/// Strategies that compete.
#[derive(Debug, Default)]
struct Pool {
    /// Evaluations before each rung.
    rungs: Vec<usize>,
    /// Its entrants, in order.
    entrants: Vec<usize>,
    /// By rung: how many entrants from the first on nobody waits for any more.
    settled: Vec<usize>,
    /// By rung: the values that have come there, best first, and whose they are.
    values: Vec<Vec<(f64, usize)>>,
}

/// The competition.
#[derive(Debug)]
pub struct Competition {
    reduction: usize,
    entrants: Vec<Entrant>,
    pools: Vec<Pool>,
    places: HashMap<Fingerprint, usize>,
}

impl Competition {
    /// A competition of which `decisions` have been made before.
    #[must_use]
    pub fn new(halving: &Halving, candidates: Vec<Candidate>, decisions: &[SearchDecision]) -> Self {
        let pools = candidates.iter().map(|candidate| candidate.pool + 1).max().unwrap_or(0);
        let mut pools: Vec<Pool> = (0..pools).map(|_| Pool::default()).collect();
        let mut places = HashMap::new();
        for (place, candidate) in candidates.iter().enumerate() {
            pools[candidate.pool].entrants.push(place);
            places.insert(candidate.first.clone(), place);
        }
        for pool in &mut pools {
            let epochs = pool.entrants.iter().map(|&place| candidates[place].epochs).max().unwrap_or(0);
            pool.rungs = halving.rungs(epochs);
            pool.settled = vec![0; pool.rungs.len()];
            pool.values = vec![Vec::new(); pool.rungs.len()];
        }
        let entrant = |candidate| Entrant {
            candidate,
            values: Vec::new(),
            over: false,
            late: false,
            rung: 0,
            standing: Standing::In,
            said: false,
        };
        let entrants = candidates.into_iter().map(entrant).collect();
        let mut this = Self { reduction: halving.reduction, entrants, pools, places };
        for decision in decisions {
            let Some(&place) = this.places.get(&decision.run) else { continue };
            let entrant = &mut this.entrants[place];
            entrant.rung = entrant.rung.max(decision.rung + 1);
            if !decision.goes_on {
                entrant.standing = Standing::Out;
            }
            let pool = &mut this.pools[entrant.candidate.pool];
            if let Some(values) = pool.values.get_mut(decision.rung)
                && entrant.takes_part(pool.rungs[decision.rung])
            {
                insert(values, (decision.value.unwrap_or(f64::NEG_INFINITY), place));
            }
        }
        this
    }

    /// Evaluation number `epoch` (from 0) of a run has this value. What follows is said by [`Self::settle`].
    pub fn evaluated(&mut self, run: &Fingerprint, epoch: usize, value: Option<f64>) {
        let Some(entrant) = self.places.get(run).map(|&place| &mut self.entrants[place]) else { return };
        // Epochs that are recorded again, because a checkpoint was older, are not news.
        if epoch == entrant.values.len() {
            entrant.values.push(value.unwrap_or(f64::NAN));
        }
    }

    /// A run has a complete result.
    pub fn over(&mut self, run: &Fingerprint) {
        if let Some(&place) = self.places.get(run) {
            self.entrants[place].over = true;
        }
    }

    /// An attempt at a run has failed, and it is tried again.
    pub fn late(&mut self, run: &Fingerprint) {
        if let Some(&place) = self.places.get(run) {
            self.entrants[place].late = true;
        }
    }

    /// A run has ended without a result.
    pub fn failed(&mut self, run: &Fingerprint) {
        if let Some(entrant) = self.places.get(run).map(|&place| &mut self.entrants[place])
            && entrant.standing == Standing::In
        {
            entrant.standing = Standing::Failed;
        }
    }

    /// All that follows from what is known.
    pub fn settle(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for pool in 0..self.pools.len() {
            for rung in 0..self.pools[pool].rungs.len() {
                while let Some(&place) = self.pools[pool].entrants.get(self.pools[pool].settled[rung]) {
                    if self.awaited(place, rung) && !self.judge(place, rung, &mut steps) {
                        break;
                    }
                    self.pools[pool].settled[rung] += 1;
                }
            }
            let Some(last) = self.pools[pool].rungs.len().checked_sub(1) else { continue };
            // Nobody waits for these; those that are slow wait for the ones before them.
            for at in 0..self.pools[pool].entrants.len() {
                let place = self.pools[pool].entrants[at];
                let entrant = &self.entrants[place];
                let slow = !entrant.takes_part(self.pools[pool].rungs[last]) && self.pools[pool].settled[last] >= at;
                if entrant.late || slow {
                    for rung in 0..=last {
                        self.judge(place, rung, &mut steps);
                    }
                }
            }
        }
        for entrant in &mut self.entrants {
            let rungs = &self.pools[entrant.candidate.pool].rungs;
            if entrant.standing == Standing::In && entrant.rung >= rungs.len() {
                entrant.standing = Standing::Through;
            }
            if entrant.said || entrant.standing == Standing::In {
                continue;
            }
            entrant.said = true;
            let others = entrant.candidate.others.clone();
            if entrant.standing == Standing::Out && !entrant.over {
                steps.push(Step::Stop(entrant.candidate.first.clone()));
            }
            if !others.is_empty() {
                steps.push(if entrant.standing == Standing::Through { Step::Release(others) } else { Step::LeaveOut(others) });
            }
        }
        steps
    }

    /// Whether those behind an entrant wait for it at a rung.
    fn awaited(&self, place: usize, rung: usize) -> bool {
        let entrant = &self.entrants[place];
        let evaluations = self.pools[entrant.candidate.pool].rungs[rung];
        entrant.standing == Standing::In && !entrant.late && entrant.rung <= rung && entrant.takes_part(evaluations)
    }

    /// Decides about an entrant whose next rung this is, if it is there.
    fn judge(&mut self, place: usize, rung: usize, steps: &mut Vec<Step>) -> bool {
        let entrant = &mut self.entrants[place];
        let pool = &mut self.pools[entrant.candidate.pool];
        entrant.pass(&pool.rungs);
        let takes_part = entrant.takes_part(pool.rungs[rung]);
        let evaluations = pool.rungs[rung].max(entrant.candidate.opens);
        let there = entrant.over || entrant.values.len() >= evaluations;
        if entrant.standing != Standing::In || entrant.rung != rung || !there {
            return false;
        }
        let value = entrant.best(evaluations);
        let mut before: Vec<(f64, usize)>;
        let values = if takes_part {
            &mut pool.values[rung]
        } else {
            before = pool.values[rung].iter().copied().filter(|(_, other)| *other < place).collect();
            &mut before
        };
        insert(values, (value, place));
        let among = values.len();
        let (cut, _) = values[(among / self.reduction).max(1) - 1];
        let goes_on = value >= cut || entrant.candidate.spared;
        entrant.rung += 1;
        if !goes_on {
            entrant.standing = Standing::Out;
        }
        let finite = |value: f64| value.is_finite().then_some(value);
        steps.push(Step::Decide(SearchDecision {
            run: entrant.candidate.first.clone(),
            rung,
            evaluations,
            value: finite(value),
            cut: finite(cut),
            place: values.partition_point(|&(other, _)| other > value) + 1,
            among,
            goes_on,
        }));
        true
    }
}

/// Adds a value behind those that are better or equal.
fn insert(values: &mut Vec<(f64, usize)>, value: (f64, usize)) {
    let at = values.partition_point(|(other, _)| *other >= value.0);
    values.insert(at, value);
}

#[cfg(test)]
#[path = "search_properties.rs"]
mod properties;
