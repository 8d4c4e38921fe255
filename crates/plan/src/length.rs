//! How long a run trains: a number of epochs, or until val stops getting better. As the file has it, in steps; and as a run has it, once
//! the number of train rows is known.

use serde::{Deserialize, Serialize};

use super::TrainConfig;

/// An evaluation comes after about this many steps, where a pass over the train rows is shorter.
const STEPS: usize = 50;
/// `train.max_steps`, unless that many evaluations come later.
const MAX_STEPS: usize = 6000;
const MAX_EPOCHS: usize = 16;
/// `train.patience`, but at least and at most so many evaluations: on few val rows val AP is noisy, and one that rises slowly takes
/// several evaluations to show it; on many rows an evaluation is a long time.
const PATIENCE: usize = 1000;
const PATIENT_EPOCHS: (usize, usize) = (4, 8);

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

impl Stop {
    /// The same, for a loss that changes in epoch `change` for the last time (0: it never does): a run does not end before what comes
    /// after it has had its patience.
    #[must_use]
    pub(super) fn after(self, change: usize) -> Self {
        Self { least: if change == 0 { self.least } else { self.least.max(change + self.patience + 1) }, ..self }
    }
}

impl Length {
    /// `config` with its length in epochs, for `rows` train rows.
    ///
    /// An epoch is what lies between two evaluations. With a number of epochs, or where a pass over the train rows has at least
    /// 50 steps, that is one pass; on smaller data it is as many passes as make 50 steps. `eval_every` steps are
    /// `eval_every * batch_size` draws. The schedules that fall (`step`, `cosine`) run to their end; what they have as a share of
    /// `max_steps` (`every`, `warmup`) becomes epochs.
    #[must_use]
    pub fn resolve(self, config: &TrainConfig, rows: usize) -> TrainConfig {
        let (rows, batch) = (rows.max(1), config.batch_size);
        let pass = rows.div_ceil(batch);
        let (epochs, draws, stop) = match self {
            Self::Epochs { epochs, budget: Budget::Epochs } => (epochs, None, None),
            Self::Epochs { epochs, budget: Budget::Steps } => (epochs, Some(rows), None),
            Self::Auto { max_steps, min_steps, patience, eval_every } => {
                let passes = if pass < STEPS { (STEPS * batch).div_ceil(rows) } else { 1 };
                let draws = eval_every.map_or(passes * rows, |steps| steps.saturating_mul(batch));
                let steps = draws.div_ceil(batch);
                let epochs = |typed: Option<usize>, default: usize, (least, most)| {
                    typed.map_or_else(|| default.div_ceil(steps).clamp(least, most), |typed| typed.div_ceil(steps)).max(1)
                };
                let most = epochs(max_steps, MAX_STEPS, (MAX_EPOCHS, usize::MAX));
                let stop = Stop { patience: epochs(patience, PATIENCE, PATIENT_EPOCHS), least: epochs(min_steps, 0, (1, 1)) };
                let falls = config.schedule.kind != "constant";
                (most, Some(draws), (!falls).then_some(stop))
            }
        };
        let mut schedule = config.schedule.clone();
        if let Self::Auto { .. } = self {
            let of = |share: f64| share * epochs as f64;
            if let Some(share) = schedule.find("every") {
                schedule = schedule.with("every", of(share).round().max(1.0));
            }
            if let Some(share) = schedule.find("warmup") {
                schedule = schedule.with("warmup", of(share));
            }
        }
        TrainConfig { epochs, draws, stop, schedule, ..config.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    /// Epochs, draws, patience and least of `[train]` lines, on `rows` train rows in batches of 64.
    fn resolved(train: &str, rows: usize) -> (usize, Option<usize>, Option<(usize, usize)>) {
        let text = format!("[data]\nkind = 'letters'\n[model]\narch = 'linear'\n[train]\n{train}\n");
        let part = parse("f.toml", &text, &[]).unwrap().parts.train.items[0].value.clone();
        let TrainConfig { epochs, draws, stop, .. } = part.length.resolve(&part.config, rows);
        (epochs, draws, stop.map(|stop| (stop.patience, stop.least)))
    }

    #[test]
    fn a_number_of_epochs_is_as_many_passes_for_every_sampler() {
        assert_eq!(resolved("epochs = 4", 1000), (4, Some(1000), None));
        assert_eq!(resolved("epochs = 4\nbudget = 'epochs'", 1000), (4, None, None));
    }

    #[test]
    fn an_evaluation_comes_after_a_pass_or_fifty_steps() {
        for (rows, passes) in [(1, 3200), (64, 50), (65, 50), (1000, 4), (3136, 2), (3137, 1), (1_000_000, 1)] {
            let (epochs, draws, stop) = resolved("", rows);
            assert_eq!(draws, Some(rows * passes), "{rows}");
            let steps = draws.unwrap().div_ceil(64);
            assert!(steps >= 50 && epochs >= MAX_EPOCHS && epochs * steps >= MAX_STEPS, "{rows}: {epochs} of {steps}");
            assert!(stop.is_some_and(|(patience, least)| patience == PATIENCE.div_ceil(steps).clamp(4, 8) && least == 1));
        }
    }

    #[test]
    fn typed_steps_are_rounded_up_to_evaluations() {
        let train = "max_steps = 101\nmin_steps = 20\npatience = 25\neval_every = 10";
        assert_eq!(resolved(train, 1000), (11, Some(640), Some((3, 2))));
        assert_eq!(resolved("max_steps = 5", 100_000), (1, Some(100_000), Some((4, 1))), "one evaluation at least");
    }

    #[test]
    fn a_schedule_that_falls_runs_to_its_end() {
        assert_eq!(resolved("schedule = 'cosine'", 64).2, None);
        assert_eq!(resolved("schedule = 'step'\nmax_steps = 200", 64), (4, Some(3200), None));
    }

    #[test]
    fn what_schedules_have_as_shares_becomes_epochs() {
        let schedule = |train: &str| {
            let text = format!("[data]\nkind = 'letters'\n[model]\narch = 'linear'\n[train]\n{train}\n");
            let part = parse("f.toml", &text, &[]).unwrap().parts.train.items[0].value.clone();
            let schedule = part.length.resolve(&part.config, 6400).schedule;
            (schedule.find("every"), schedule.find("warmup"))
        };
        // An epoch is 100 steps, and there are 60.
        assert_eq!(schedule("schedule = 'step'"), (Some(15.0), Some(0.0)));
        assert_eq!(schedule("schedule = { kind = 'step', every = 0.5, warmup = 0.1 }"), (Some(30.0), Some(6.0)));
        assert_eq!(schedule("schedule = { kind = 'cosine', warmup = 0.5 }\nmax_steps = 400"), (None, Some(2.0)));
        assert_eq!(schedule("schedule = { kind = 'step', every = 1e-9 }"), (Some(1.0), Some(0.0)));
        assert_eq!(schedule("schedule = { kind = 'step', every = 3, warmup = 1.5 }\nepochs = 9"), (Some(3.0), Some(1.5)));
    }

    #[test]
    fn patience_counts_from_the_first_of_the_best() {
        let stop = Stop { patience: 2, least: 4 };
        assert!(!stop.over(3, 0), "not before the fourth epoch");
        assert!(stop.over(4, 0) && stop.over(4, 1) && !stop.over(4, 2));
    }

    #[test]
    fn keys_of_the_other_kind_of_length_are_errors() {
        for (train, words) in [
            ("epochs = 3\npatience = 2", "`train.patience`: means something with train.epochs = \"auto\" only"),
            ("budget = 'epochs'", "`train.budget`: \"epochs\" needs a number of epochs"),
            ("max_steps = 10\nmin_steps = 11", "`train.min_steps`: is 11, more than `train.max_steps`, which is 10"),
            ("epochs = 'never'", "must be \"auto\" or an integer"),
            ("eval_every = 0", "must be an integer from 1"),
            (
                "schedule = { kind = 'step', every = 1 }",
                "f.toml:4:37: `every` is 1: with train.epochs = \"auto\" it is a share of",
            ),
            ("schedule = { kind = 'cosine', warmup = 2 }", "`warmup` is 2: with train.epochs = \"auto\" it is a share of"),
            ("epochs = 4\nschedule = { kind = 'step', every = 0.5 }", "`every` is 0.5: it counts epochs, so it must be whole"),
        ] {
            let text = format!("[data]\nkind = 'letters'\n[train]\n{train}\n");
            let error = parse("f.toml", &text, &[]).unwrap_err().to_string();
            assert!(error.starts_with("f.toml:") && error.contains(words), "{error}");
        }
    }
}
