//! Reference runs: a converged logistic regression on the features that the networks of a sweep see. It asks nothing about imbalance; it
//! says whether a network is any good before one asks.

use super::{DataConfig, ModelConfig, RunConfig, Source, Start, Stop, TrainConfig};
use imbalance::{Choice, PosWeight};

/// The strengths that a reference run tries, from strong to weak regularisation: C of scikit-learn's `LogisticRegression`, 1e-4 to 1e3 by
/// half decades. Each is an epoch of the run: epoch k has C = 10^((k - 8) / 2).
pub const STRENGTHS: [f64; 15] = [
    0.0001,
    0.000_316_227_766_016_837_94,
    0.001,
    0.003_162_277_660_168_379_4,
    0.01,
    0.031_622_776_601_683_79,
    0.1,
    0.316_227_766_016_837_94,
    1.0,
    3.162_277_660_168_379_5,
    10.0,
    31.622_776_601_683_793,
    100.0,
    316.227_766_016_837_96,
    1000.0,
];

/// A run ends once val macro AP has not risen for this many strengths, two decades of C.
const PATIENCE: usize = 4;
/// Pairs of steps and gradients that L-BFGS remembers.
const MEMORY: f64 = 10.0;
/// Largest derivative at which a label has converged, of the objective divided by C and the rows: `tol` of scikit-learn's `lbfgs`.
const TOLERANCE: f64 = 1e-8;

/// A reference run by the weights of its classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// All rows weigh the same.
    Plain,
    /// The positives of a label weigh n / (2 n+), its negatives n / (2 n-): `class_weight = "balanced"` of scikit-learn.
    Balanced,
}

impl Reference {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Plain, Self::Balanced];

    /// What stands for its loss in a configuration and in the views; no loss of a sweep file has this name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "logistic",
            Self::Balanced => "logistic_balanced",
        }
    }

    /// The reference of this name.
    #[must_use]
    pub fn named(loss: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reference| reference.name() == loss)
    }

    /// The weights of (positives, negatives) of a label with `positives` in the `rows` that know it; both must be there.
    #[must_use]
    pub fn class_weights(self, rows: usize, positives: usize) -> (f64, f64) {
        match self {
            Self::Plain => (1.0, 1.0),
            Self::Balanced => {
                let of = |count: usize| rows as f64 / (2.0 * count as f64);
                (of(positives), of(rows - positives))
            }
        }
    }

    /// Its run on `data` with this model (see [`ModelConfig::reference`]), which has `rows` train rows. There is one seed, since nothing is
    /// drawn.
    pub(super) fn run(self, data: DataConfig, model: ModelConfig, rows: usize) -> RunConfig {
        RunConfig {
            data,
            model,
            train: TrainConfig {
                epochs: STRENGTHS.len(),
                draws: None,
                stop: Some(Stop { patience: PATIENCE, least: 1 }),
                batch_size: rows.max(1),
                optimizer: Choice::plain("lbfgs").with("memory", MEMORY).with("tolerance", TOLERANCE),
                learning_rate: 1.0,
                schedule: Choice::plain("constant"),
                grad_clip: None,
                precision: "f32".to_owned(),
                start: Start::Zero,
            },
            loss: Choice::plain(self.name()),
            pos_weight: PosWeight::Formula(Choice::plain("none")),
            sampler: Choice::plain("shuffle"),
            seed: 0,
        }
    }
}

impl ModelConfig {
    /// The model of the reference runs beside runs of this one: linear on the features of the data, or on those of the frozen backbone.
    /// `None` where the network is trained on images from scratch.
    #[must_use]
    pub fn reference(&self, data: &Source) -> Option<Self> {
        let frozen = self.freeze.is_some();
        if !frozen && !matches!(data, Source::Features { .. }) {
            return None;
        }
        let linear = Self { hidden: Vec::new(), dropout: 0.0, ..self.clone() };
        let (weights, weights_hash, weights_head) = (None, None, None);
        Some(if frozen { linear } else { Self { arch: "linear".to_owned(), weights, weights_hash, weights_head, ..linear } })
    }
}

impl RunConfig {
    /// Which reference run this is; `None` for a run of the grid.
    #[must_use]
    pub fn reference(&self) -> Option<Reference> {
        Reference::named(&self.loss.kind)
    }

    /// C in an epoch of a reference run; `None` of a run of the grid.
    #[must_use]
    pub fn strength(&self, epoch: usize) -> Option<f64> {
        self.reference().and_then(|_| STRENGTHS.get(epoch)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strengths_are_half_decades() {
        for (epoch, strength) in STRENGTHS.iter().enumerate() {
            let wanted = 10f64.powf((epoch as f64 - 8.0) / 2.0);
            assert!((strength / wanted - 1.0).abs() < 1e-15, "{epoch}: {strength}, {wanted}");
        }
    }

    #[test]
    fn no_loss_has_the_name_of_a_reference() {
        for reference in Reference::ALL {
            assert!(imbalance::find(imbalance::loss::REGISTRY, reference.name()).is_none());
            assert_eq!(Reference::named(reference.name()), Some(reference));
        }
        assert_eq!(Reference::named("bce"), None);
    }

    #[test]
    fn balanced_classes_weigh_the_same() {
        let (positive, negative) = Reference::Balanced.class_weights(100, 10);
        assert_eq!((positive, 10.0 * positive), (5.0, 90.0 * negative));
        assert_eq!(Reference::Plain.class_weights(100, 10), (1.0, 1.0));
    }
}
