//! The learning rate of each step: a schedule's factor times a linear warm-up.

use super::TrainConfig;
use imbalance::{Choice, StrategyError};

/// Learning rates over a training.
#[derive(Clone, Debug)]
pub struct Schedule {
    choice: Choice,
    base: f64,
    epochs: f64,
}

impl Schedule {
    /// The schedule of `config`.
    ///
    /// # Errors
    /// An unknown schedule or parameter.
    pub fn new(config: &TrainConfig) -> Result<Self, StrategyError> {
        let choice = super::admitted("train.schedule", &config.schedule)?;
        Ok(Self { choice, base: config.learning_rate, epochs: config.epochs as f64 })
    }

    /// The learning rate of step `step` of `steps` in `epoch` (all from 0).
    ///
    /// `step`: times `factor` at the start of every `every`-th epoch. `cosine` (Loshchilov & Hutter, "SGDR", ICLR 2017, without
    /// restarts): half a cosine from 1 to `final_factor` over the epochs after the warm-up, falling with each step. The warm-up
    /// (Goyal et al. 2017) rises linearly and reaches the schedule's own value with its last step.
    #[must_use]
    pub fn rate(&self, epoch: usize, step: usize, steps: usize) -> f64 {
        let warmup = self.choice.get("warmup");
        let at = epoch as f64 + step as f64 / steps.max(1) as f64;
        let factor = match self.choice.kind.as_str() {
            "step" => self.choice.get("factor").powi((epoch / self.choice.get("every") as usize) as i32),
            "cosine" => {
                let last = self.choice.get("final_factor");
                let part = ((at - warmup) / (self.epochs - warmup).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
                last + (1.0 - last) * 0.5 * (1.0 + (std::f64::consts::PI * part).cos())
            }
            _ => 1.0,
        };
        let risen = at + 1.0 / steps.max(1) as f64;
        let rise = if risen < warmup { risen / warmup } else { 1.0 };
        self.base * factor * rise
    }

    /// The share of the learning rate, summed over all steps, that the first epoch gets: .9 and more if it falls tenfold each
    /// epoch.
    #[must_use]
    pub fn first_epoch_share(&self) -> f64 {
        /// Steps of a stand-in epoch: the sums of the smooth parts are exact to a thousandth.
        const STEPS: usize = 200;
        let sum = |epoch: usize| (0..STEPS).map(|step| self.rate(epoch, step, STEPS)).sum::<f64>();
        sum(0) / (0..self.epochs as usize).map(sum).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(choice: Choice, epochs: usize) -> Schedule {
        Schedule { choice, base: 0.1, epochs: epochs as f64 }
    }

    fn close(found: impl IntoIterator<Item = f64>, wanted: &[f64]) {
        let found: Vec<f64> = found.into_iter().collect();
        assert!(
            found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12) && found.len() == wanted.len(),
            "{found:?} {wanted:?}"
        );
    }

    /// torch.optim.lr_scheduler.StepLR(step_size=2, gamma=0.1), and the question's own: x0.1 each epoch.
    #[test]
    fn steps_fall_by_the_factor() {
        let every = |every: f64| schedule(Choice::plain("step").with("every", every).with("factor", 0.1).with("warmup", 0.0), 4);
        close((0..4).map(|epoch| every(2.0).rate(epoch, 3, 7)), &[0.1, 0.1, 0.01, 0.01]);
        close((0..4).map(|epoch| every(1.0).rate(epoch, 6, 7)), &[0.1, 0.01, 0.001, 0.0001]);
    }

    /// Half a cosine over 2 epochs of 2 steps: (1 + cos(pi k / 4)) / 2.
    #[test]
    fn the_cosine_falls_with_each_step() {
        let cosine = schedule(Choice::plain("cosine").with("final_factor", 0.0).with("warmup", 0.0), 2);
        let root = 0.5_f64.sqrt();
        close((0..4).map(|k| cosine.rate(k / 2, k % 2, 2)), &[0.1, 0.05 * (1.0 + root), 0.05, 0.05 * (1.0 - root)]);
        let floor = schedule(Choice::plain("cosine").with("final_factor", 0.5).with("warmup", 0.0), 1_000_000);
        close([floor.rate(1_000_000, 0, 1)], &[0.05]);
    }

    /// docs/strategies.md#schedule: x0.1 per epoch spends 90.01 % in the first of four.
    #[test]
    fn a_schedule_knows_what_its_first_epoch_spends() {
        let step = schedule(Choice::plain("step").with("every", 1.0).with("factor", 0.1).with("warmup", 0.0), 4);
        assert!((step.first_epoch_share() - 1.0 / 1.111).abs() < 1e-12);
        let constant = schedule(Choice::plain("constant").with("warmup", 0.0), 5);
        assert!((constant.first_epoch_share() - 0.2).abs() < 1e-12);
        // the integral of (1 + cos) / 2 over the first half: 1/2 + 1/pi of the whole
        let cosine = schedule(Choice::plain("cosine").with("final_factor", 0.0).with("warmup", 0.0), 2);
        assert!((cosine.first_epoch_share() - (0.5 + std::f64::consts::FRAC_1_PI)).abs() < 2e-3);
    }

    #[test]
    fn a_warm_up_rises_to_the_full_rate_and_stays_out_of_the_way() {
        let constant = schedule(Choice::plain("constant").with("warmup", 1.0), 3);
        close((0..8).map(|k| constant.rate(k / 4, k % 4, 4)), &[0.025, 0.05, 0.075, 0.1, 0.1, 0.1, 0.1, 0.1]);
        let longer = schedule(Choice::plain("cosine").with("final_factor", 0.0).with("warmup", 9.0), 2);
        assert!((0..4).all(|k| longer.rate(k / 2, k % 2, 2).is_finite()));
    }
}
