//! How long a run trains: a number of epochs, or until val stops getting better. As the file has it, in steps; and as a run has it, once
//! the number of train rows is known.

use serde::{Deserialize, Serialize};

use super::TrainConfig;

/// An evaluation comes after about this many steps, where a pass over the train rows is shorter.
const STEPS: usize = 50;
/// `train.max_steps`, unless that many evaluations come later.
const MAX_STEPS: usize = 2000;
const MAX_EPOCHS: usize = 20;
/// `train.patience`, unless that many evaluations come later.
const PATIENCE: usize = 250;
const PATIENT_EPOCHS: usize = 4;

/// The length of a training as the file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Length {
    Epochs {
        epochs: usize,
        budget: Budget,
    },
    /// Each number of steps has a default that depends on the data.
    Auto {
        max_steps: Option<usize>,
        min_steps: Option<usize>,
        patience: Option<usize>,
        eval_every: Option<usize>,
    },
}

/// What an epoch is where a sampler draws more rows than there are, or fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Budget {
    /// As many steps as a pass over the train rows, for every sampler.
    Steps,
    /// A pass of the sampler, however long.
    Epochs,
}

/// When a run has converged: it ends once val macro AP has not risen for `patience` epochs, and not before `least` epochs.
/// Prechelt, "Early stopping - but when?" (1998), criterion UP with patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    pub patience: usize,
    pub least: usize,
}

impl Stop {
    /// Whether a run is over after `done` epochs, of which `best` (from 0) has the highest val macro AP.
    #[must_use]
    pub fn over(&self, done: usize, best: usize) -> bool {
        done >= self.least && done > best.saturating_add(self.patience)
    }
}

impl Length {
    /// `config` with its length in epochs, for `rows` train rows.
    ///
    /// An epoch is what lies between two evaluations. With a number of epochs, or where a pass over the train rows has at least
    /// 50 steps, that is one pass; on smaller data it is as many passes as make 50 steps. `eval_every` steps are
    /// `eval_every * batch_size` draws. The schedules that fall (`step`, `cosine`) run to their end.
    #[must_use]
    pub fn resolve(self, config: &TrainConfig, rows: usize) -> TrainConfig {
        let (rows, batch) = (rows.max(1), config.batch_size);
        let pass = rows.div_ceil(batch);
        let (epochs, draws, stop) = match self {
            Self::Epochs { epochs, budget: Budget::Epochs } => (epochs, None, None),
            Self::Epochs { epochs, budget: Budget::Steps } => (epochs, Some(rows), None),
            Self::Auto { max_steps, min_steps, patience, eval_every } => {
                let draws = eval_every.map_or_else(|| rows * STEPS.div_ceil(pass), |steps| steps.saturating_mul(batch));
                let steps = draws.div_ceil(batch);
                let epochs = |typed: Option<usize>, steps_: usize, least: usize| {
                    typed.map_or_else(|| steps_.div_ceil(steps).max(least), |typed| typed.div_ceil(steps))
                };
                let most = epochs(max_steps, MAX_STEPS, MAX_EPOCHS).max(1);
                let stop =
                    Stop { patience: epochs(patience, PATIENCE, PATIENT_EPOCHS).max(1), least: epochs(min_steps, 0, 0).max(1) };
                let falls = config.schedule.kind != "constant";
                (most, Some(draws), (!falls).then_some(stop))
            }
        };
        TrainConfig { epochs, draws, stop, ..config.clone() }
    }
}
