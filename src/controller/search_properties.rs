//! The competition under any values, in any order of arrival, with interruptions anywhere.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use plan::SearchMetric;

fn name(strategy: usize, seed: usize) -> Fingerprint {
    Fingerprint(format!("{strategy:016x}{seed:016x}"))
}

/// A sweep whose runs are made up.
#[derive(Clone, Debug)]
struct World {
    halving: Halving,
    candidates: Vec<Candidate>,
    /// Of each candidate, an evaluation each; it has converged where they end before its epochs.
    values: Vec<Vec<Option<f64>>>,
}

fn worlds() -> impl Strategy<Value = World> {
    let value = prop_oneof![9 => (0..40u32).prop_map(|value| Some(f64::from(value) / 40.0)), 1 => Just(None)];
    let one = (0..2usize, 0..3usize, prop::collection::vec(value, 1..20), any::<bool>(), 0..30usize);
    (2..5usize, prop::option::of(1..5usize), prop::collection::vec(one, 1..14)).prop_map(|(reduction, min, all)| {
        let halving = Halving { metric: SearchMetric::MacroAp, reduction, min };
        let candidate = |(place, (pool, others, values, ends, opens)): (usize, &(usize, usize, Vec<_>, bool, usize))| Candidate {
            first: name(place, 0),
            others: (1..=*others).map(|seed| name(place, seed)).collect(),
            pool: *pool,
            epochs: if *ends { values.len() } else { 20 },
            // Few change late, and one is the plain strategy.
            opens: opens.saturating_sub(22),
            spared: *opens == 13,
        };
        let candidates = all.iter().enumerate().map(candidate).collect();
        World { halving, candidates, values: all.into_iter().map(|one| one.2).collect() }
    })
}

/// What happened.
#[derive(Debug, Default, PartialEq)]
struct Story {
    decisions: Vec<SearchDecision>,
    stopped: BTreeSet<String>,
    released: BTreeSet<String>,
    left_out: BTreeSet<String>,
    /// Evaluations that each run came to.
    trained: Vec<usize>,
}

impl Story {
    fn take(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Decide(decision) => self.decisions.push(decision),
                Step::Stop(run) => assert!(self.stopped.insert(run.0), "a run is stopped once"),
                Step::Release(runs) => runs.into_iter().for_each(|run| assert!(self.released.insert(run.0), "begun once")),
                Step::LeaveOut(runs) => self.left_out.extend(runs.into_iter().map(|run| run.0)),
            }
        }
    }

    /// What must not depend on the order in which things come.
    fn outcome(&self) -> (Vec<String>, &BTreeSet<String>, &BTreeSet<String>) {
        let mut decisions: Vec<String> = self.decisions.iter().map(|decision| format!("{decision:?}")).collect();
        decisions.sort();
        (decisions, &self.released, &self.left_out)
    }
}

/// Trains: `turns` say whose evaluation comes next; after some turns the controller is replaced by a new one, which knows the recorded
/// decisions and values only.
fn train(world: &World, turns: &[usize], interrupted: &[usize]) -> Story {
    let count = world.candidates.len();
    let mut story = Story { trained: vec![0; count], ..Story::default() };
    let mut competition = Competition::new(&world.halving, world.candidates.clone(), &[]);
    story.take(competition.settle());
    let mut turn = 0;
    loop {
        let going: Vec<usize> = (0..count)
            .filter(|&at| story.trained[at] < world.values[at].len() && !story.stopped.contains(&name(at, 0).0))
            .collect();
        if going.is_empty() {
            break;
        }
        let at = going[turns.get(turn % turns.len().max(1)).copied().unwrap_or(0) % going.len()];
        let epoch = story.trained[at];
        competition.evaluated(&name(at, 0), epoch, world.values[at][epoch]);
        story.trained[at] += 1;
        if story.trained[at] == world.values[at].len() {
            competition.over(&name(at, 0));
        }
        // The controller may die before it has decided.
        if interrupted.contains(&turn) {
            competition = Competition::new(&world.halving, world.candidates.clone(), &story.decisions);
            for (at, &epochs) in story.trained.iter().enumerate() {
                for (epoch, value) in world.values[at].iter().take(epochs).enumerate() {
                    competition.evaluated(&name(at, 0), epoch, *value);
                }
                if epochs == world.values[at].len() {
                    competition.over(&name(at, 0));
                }
            }
            (story.stopped, story.released, story.left_out) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        }
        story.take(competition.settle());
        turn += 1;
    }
    story
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whoever is faster, and whenever the controller is killed.
    #[test]
    fn decisions_depend_on_values_alone(
        world in worlds(),
        turns in prop::collection::vec(0..100usize, 1..40),
        interrupted in prop::collection::vec(0..150usize, 0..5),
    ) {
        let (one, other) = (train(&world, &[0], &[]), train(&world, &turns, &interrupted));
        prop_assert_eq!(one.outcome(), other.outcome());
        let again = train(&world, &turns, &[]);
        prop_assert_eq!(one.outcome(), again.outcome());
    }

    #[test]
    fn what_a_competition_promises(world in worlds(), turns in prop::collection::vec(0..100usize, 1..40)) {
        let story = train(&world, &turns, &[]);
        let mut seen = BTreeSet::new();
        for decision in &story.decisions {
            prop_assert!(seen.insert((decision.run.0.clone(), decision.rung)), "decided once");
            let at = world.candidates.iter().position(|candidate| candidate.first == decision.run).unwrap();
            let candidate = &world.candidates[at];
            prop_assert!(decision.goes_on || !candidate.spared);
            prop_assert!(decision.evaluations >= candidate.opens);
            prop_assert!(decision.place > 1 || decision.goes_on, "the best one goes on");
            prop_assert_eq!(decision.goes_on || decision.value < decision.cut, true);
        }
        for (at, candidate) in world.candidates.iter().enumerate() {
            let own: Vec<&SearchDecision> = story.decisions.iter().filter(|decision| decision.run == candidate.first).collect();
            let out = own.iter().any(|decision| !decision.goes_on);
            let first = own.first().map_or(usize::MAX, |decision| decision.evaluations);
            let stopped = story.stopped.contains(&candidate.first.0);
            prop_assert!(!stopped || story.trained[at] >= first, "no run is stopped below the first rung");
            prop_assert!(!stopped || out);
            for run in &candidate.others {
                prop_assert_eq!(story.released.contains(&run.0), !out, "who comes through gets every seed");
                prop_assert_eq!(story.left_out.contains(&run.0), out);
            }
        }
    }
}

fn three(values: [f64; 3]) -> (Competition, Vec<Step>) {
    let halving = Halving { metric: SearchMetric::MacroAp, reduction: 3, min: Some(1) };
    let candidate =
        |place| Candidate { first: name(place, 0), others: vec![name(place, 1)], pool: 0, epochs: 2, opens: 0, spared: false };
    let mut competition = Competition::new(&halving, (0..3).map(candidate).collect(), &[]);
    let mut steps = Vec::new();
    for (place, value) in values.into_iter().enumerate().rev() {
        competition.evaluated(&name(place, 0), 0, Some(value));
        steps.extend(competition.settle());
    }
    (competition, steps)
}

#[test]
fn later_ones_wait_for_earlier_ones() {
    let (_, steps) = three([0.5, 0.6, 0.4]);
    let on: Vec<bool> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Decide(decision) => Some(decision.goes_on),
            _ => None,
        })
        .collect();
    assert_eq!(on, [true, true, false]);
    assert!(steps.contains(&Step::Stop(name(2, 0))) && steps.contains(&Step::LeaveOut(vec![name(2, 1)])), "{steps:?}");
    assert!(steps.contains(&Step::Release(vec![name(0, 1)])), "{steps:?}");
}

/// Nobody waits for a run that has failed before, nor for one that has failed for good.
#[test]
fn failures_hold_nobody_up() {
    let halving = Halving { metric: SearchMetric::MacroAp, reduction: 2, min: Some(1) };
    let candidate =
        |place| Candidate { first: name(place, 0), others: vec![name(place, 1)], pool: 0, epochs: 4, opens: 0, spared: false };
    let mut competition = Competition::new(&halving, (0..3).map(candidate).collect(), &[]);
    competition.evaluated(&name(2, 0), 0, Some(0.5));
    assert!(competition.settle().is_empty());
    competition.late(&name(0, 0));
    assert!(competition.settle().is_empty());
    competition.failed(&name(1, 0));
    let steps = competition.settle();
    assert!(matches!(&steps[0], Step::Decide(decision) if decision.goes_on && decision.among == 1), "{steps:?}");
    assert!(steps.contains(&Step::LeaveOut(vec![name(1, 1)])), "{steps:?}");
    competition.evaluated(&name(0, 0), 0, Some(0.4));
    let steps = competition.settle();
    assert!(matches!(&steps[0], Step::Decide(decision) if !decision.goes_on && decision.place == 2), "{steps:?}");
}
