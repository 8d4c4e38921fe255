//! The records of an evaluation's results.

use imbalance::LabelMatrix;
use imbalance::StrategyError;
use imbalance::evaluation::{FittedPolicy, held_out};
use imbalance::metric::{Decisions, Ranking};
use imbalance::threshold::Policy;
use plan::Fingerprint;

use crate::{Event, SplitName};

/// Which scores were evaluated: those of one split at one epoch of an attempt (0 where no worker made them).
#[derive(Clone, Copy, Debug)]
pub struct Evaluated<'a> {
    pub run: &'a Fingerprint,
    pub attempt: u32,
    pub epoch: usize,
    pub split: SplitName,
}

impl Evaluated<'_> {
    /// The record of their ranking.
    #[must_use]
    pub fn ranking(&self, ranking: Ranking) -> Event {
        Event::Rank { r: self.run.clone(), a: self.attempt, epoch: self.epoch, split: self.split, ranking }
    }

    /// The record of the decisions of one policy.
    #[must_use]
    pub fn decisions(&self, policy: &Policy, decisions: Decisions) -> Event {
        let Decisions { thresholds, counts, samples_f1, subset_accuracy } = decisions;
        Event::Eval {
            r: self.run.clone(),
            a: self.attempt,
            epoch: self.epoch,
            split: self.split,
            policy: policy.clone(),
            thresholds,
            counts,
            samples_f1,
            subset_accuracy,
        }
    }

    /// The records of the fitted ones of `policies` on validation rows that they were not fitted on; none where the rows cannot be divided.
    /// `groups` are those of the rows.
    ///
    /// # Errors
    /// An unknown policy.
    pub fn held_out(
        &self,
        policies: &[Policy],
        scores: &[f32],
        truth: &LabelMatrix,
        groups: Option<&[u32]>,
    ) -> Result<Vec<Event>, StrategyError> {
        let policies: Vec<Policy> = policies.iter().filter(|policy| matches!(policy, Policy::Fitted(_))).cloned().collect();
        if policies.is_empty() {
            return Ok(Vec::new());
        }
        let found = held_out(&policies, scores, truth, groups)?.unwrap_or_default();
        let (r, a, epoch) = (self.run, self.attempt, self.epoch);
        let event = |(policy, held_out)| Event::HeldOut { r: r.clone(), a, epoch, policy, held_out };
        Ok(policies.into_iter().zip(found).map(event).collect())
    }

    /// The records of every policy on these scores.
    pub fn under<'p>(
        &'p self,
        policies: &'p [FittedPolicy],
        scores: &'p [f32],
        truth: &'p LabelMatrix,
    ) -> impl Iterator<Item = Event> + 'p {
        policies.iter().map(move |fitted| self.decisions(&fitted.policy, fitted.decide(scores, truth)))
    }
}
