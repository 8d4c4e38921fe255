//! How long the runs of a plan train, in steps and in words.

use serde::Serialize;

use super::output::{counted, thousands};
use plan::Plan;

/// A length of training that some runs have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunLength {
    pub runs: usize,
    /// Evaluations on val, at most.
    pub epochs: usize,
    /// Gradient steps from one to the next; `None` where it depends on the sampler (`train.budget = "epochs"`).
    pub steps_per_epoch: Option<usize>,
    /// Evaluations without a better one after which a run ends; `None`: it has all its epochs.
    pub patience: Option<usize>,
    /// Evaluations before which no run ends.
    pub least: usize,
    /// Passes over the train rows from one evaluation to the next.
    #[serde(skip)]
    passes: usize,
}

/// The lengths of a plan's runs, in the order of their first run.
#[must_use]
pub fn lengths(plan: &Plan) -> Vec<RunLength> {
    let mut found: Vec<RunLength> = Vec::new();
    for run in plan.of_grid() {
        let (train, rows) = (&run.config.train, plan.data[run.data].1.train.rows.max(1));
        let own = RunLength {
            runs: 0,
            epochs: train.epochs,
            steps_per_epoch: train.draws.map(|draws| draws.div_ceil(train.batch_size.max(1))),
            patience: train.stop.map(|stop| stop.patience),
            least: train.stop.map_or(train.epochs, |stop| stop.least),
            passes: train.draws.map_or(1, |draws| (draws / rows).max(1)),
        };
        match found.iter_mut().find(|known| RunLength { runs: 0, ..(*known).clone() } == own) {
            Some(known) => known.runs += 1,
            None => found.push(RunLength { runs: 1, ..own }),
        }
    }
    found
}

impl RunLength {
    /// Steps at most; `None` where they depend on the sampler.
    #[must_use]
    pub fn most(&self) -> Option<usize> {
        Some(self.steps_per_epoch? * self.epochs)
    }

    /// For people.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { epochs, patience, passes, .. } = self;
        let Some(steps) = self.steps_per_epoch else {
            return format!(
                "{} of each sampler, whose lengths differ: strategies with longer ones get more steps (train.budget = \"steps\" gives all equally many)",
                if *epochs == 1 { "1 pass".to_owned() } else { format!("{} passes", thousands(*epochs)) }
            );
        };
        let each = match passes {
            1 => "a pass over the train rows".to_owned(),
            _ => format!("{} passes over the train rows", thousands(*passes)),
        };
        let end = match patience {
            None => "a run has them all, and keeps its best evaluation".to_owned(),
            Some(patience) => {
                let least = if self.least > patience + 1 {
                    format!(", and not before {}", counted(self.least, "evaluation"))
                } else {
                    String::new()
                };
                format!(
                    "a run ends once val macro AP has not risen for {}{least}, and keeps its best one",
                    counted(*patience, "evaluation")
                )
            }
        };
        let most = if patience.is_some() { "at most, " } else { "" };
        format!(
            "{most}the same for every sampler: {} of {} steps ({each}); {end}",
            counted(*epochs, "evaluation"),
            thousands(steps)
        )
    }
}
