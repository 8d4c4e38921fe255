//! What the best possible model reaches on the letters: closed form, by quadrature over the latent g ~ N(0, 1). Pure maths.
//!
//! P(y = 1 | g) = sigmoid(signal * g + b) grows with g, so every threshold on the true probability is a cut c on g, with
//! TP(c) = ∫_c sigmoid φ, predicted(c) = ∫_c φ (docs/strategies.md#closed-form).

/// Grid over g: trapezoids are accurate to about STEP² here, the tail beyond REACH is below 1e-18.
const REACH: f64 = 9.0;
const STEP: f64 = 1e-3;

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

fn density(g: f64) -> f64 {
    libm::exp(-0.5 * g * g) / libm::sqrt(2.0 * std::f64::consts::PI)
}

/// b such that E[sigmoid(signal * g + b)] = `rate`, by bisection.
#[must_use]
pub fn intercept(signal: f64, rate: f64) -> f64 {
    // A coarse grid will do: the trapezoid rule converges exponentially for smooth functions that vanish at both ends.
    let step = 0.02;
    let nodes: Vec<(f64, f64)> = (-450..=450).map(|i| f64::from(i) * step).map(|g| (signal * g, density(g) * step)).collect();
    let mean = |b: f64| nodes.iter().map(|(u, weight)| sigmoid(u + b) * weight).sum::<f64>();
    let (mut low, mut high) = (-60.0 - 10.0 * signal, 60.0 + 10.0 * signal);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if mean(middle) < rate { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// What a threshold on the true probability gives.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Decision {
    pub threshold: f64,
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    /// Share of rows predicted positive.
    pub predicted_rate: f64,
}

/// The limits of one label.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Oracle {
    pub label: String,
    pub rate: f64,
    pub intercept: f64,
    /// Largest average precision any scores can reach.
    pub ap: f64,
    /// Largest area under the ROC curve.
    pub auc: f64,
    /// The threshold of the largest F1, which is half of that F1 (Lipton 2014).
    pub best: Decision,
    /// At 0.5, where plain BCE decides.
    pub half: Decision,
}

/// Tail integrals of one label over the grid of g.
pub struct LatentCurve {
    signal: f64,
    intercept: f64,
    rate: f64,
    /// (predicted, true positives) for the cut at each node; the last node has none.
    tails: Vec<(f64, f64)>,
}

impl LatentCurve {
    /// The curve of a label with prevalence `rate` (in (0, 1)) under `signal` (at least 0).
    #[must_use]
    pub fn new(signal: f64, rate: f64) -> Self {
        let intercept = intercept(signal, rate);
        let nodes = (2.0 * REACH / STEP).round() as usize;
        let at = |i: usize| {
            let g = -REACH + i as f64 * STEP;
            let weight = density(g);
            (weight, weight * sigmoid(signal * g + intercept))
        };
        let mut tails = vec![(0.0, 0.0); nodes + 1];
        let mut right = at(nodes);
        for i in (0..nodes).rev() {
            let left = at(i);
            tails[i].0 = tails[i + 1].0 + 0.5 * STEP * (left.0 + right.0);
            tails[i].1 = tails[i + 1].1 + 0.5 * STEP * (left.1 + right.1);
            right = left;
        }
        Self { signal, intercept, rate, tails }
    }

    /// What "positive where the true probability is at least `threshold`" gives.
    #[must_use]
    pub fn decide(&self, threshold: f64) -> Decision {
        let margin = libm::log(threshold / (1.0 - threshold)) - self.intercept;
        let cut = if self.signal > 0.0 { margin / self.signal } else { margin * f64::INFINITY };
        let position = ((if cut.is_nan() { -REACH } else { cut.clamp(-REACH, REACH) } + REACH) / STEP).max(0.0);
        let node = (position as usize).min(self.tails.len() - 2);
        let part = position - node as f64;
        let (left, right) = (self.tails[node], self.tails[node + 1]);
        let predicted_rate = left.0 + part * (right.0 - left.0);
        let positive = left.1 + part * (right.1 - left.1);
        Decision {
            threshold,
            precision: if predicted_rate > 0.0 { positive / predicted_rate } else { 0.0 },
            recall: positive / self.rate,
            f1: 2.0 * positive / (predicted_rate + self.rate),
            predicted_rate,
        }
    }

    /// The decision of the largest F1: the fixed point t = F1(t) / 2.
    #[must_use]
    pub fn best(&self) -> Decision {
        let (mut low, mut high) = (0.0, 0.5);
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            if self.decide(middle).f1 > 2.0 * middle { low = middle } else { high = middle }
        }
        self.decide(0.5 * (low + high))
    }

    /// (average precision, area under the ROC curve).
    #[must_use]
    pub fn ranking(&self) -> (f64, f64) {
        let (mut ap, mut auc) = (0.0, 0.0);
        for pair in self.tails.windows(2) {
            let (predicted, positive) = (0.5 * (pair[0].0 + pair[1].0), 0.5 * (pair[0].1 + pair[1].1));
            let positives = pair[0].1 - pair[1].1;
            let negatives = (pair[0].0 - pair[1].0) - positives;
            ap += positive / predicted * positives / self.rate;
            auc += positive / self.rate * negatives / (1.0 - self.rate);
        }
        (ap, auc)
    }
}

/// The limits of every label of a letters data set.
#[must_use]
pub fn limits(signal: f64, label_rates: &[(String, f64)]) -> Vec<Oracle> {
    let limit = |(label, rate): &(String, f64)| {
        let curve = LatentCurve::new(signal, *rate);
        let (ap, auc) = curve.ranking();
        Oracle {
            label: label.clone(),
            rate: *rate,
            intercept: curve.intercept,
            ap,
            auc,
            best: curve.best(),
            half: curve.decide(0.5),
        }
    };
    label_rates.iter().map(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: [f64; 4] = [19_000.0, 65_000.0, 38_000.0, 105_000.0];
    const ROWS: f64 = 224_000.0;

    fn seed(signal: f64) -> Vec<Oracle> {
        let rates: Vec<_> = COUNTS.iter().zip(["A", "B", "C", "D"]).map(|(n, name)| (name.to_owned(), n / ROWS)).collect();
        limits(signal, &rates)
    }

    fn close(label: &str, got: impl IntoIterator<Item = f64>, want: &[f64], digits: i32) {
        let got: Vec<f64> = got.into_iter().collect();
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() <= 0.51 * 10f64.powi(-digits), "{label}: {got:?} instead of {want:?}");
        }
    }

    /// docs/strategies.md#closed-form, every number of the table for signal 0.8; where the table's grid was coarser than four
    /// digits (.4292, .1317, .1944, .5170), the exact ones: 1 - Phi(0.14284 / 0.8) = 0.429144..., t* = F* / 2, ...
    #[test]
    fn the_table_of_the_seed_question() {
        let oracle = seed(0.8);
        close("b", oracle.iter().map(|o| o.intercept), &[-2.63133, -1.01510, -1.78317, -0.14284], 5);
        close("auc", oracle.iter().map(|o| o.auc), &[0.7090, 0.7032, 0.7059, 0.7017], 4);
        close("ap", oracle.iter().map(|o| o.ap), &[0.1968, 0.4907, 0.3368, 0.6652], 4);
        close("recall", oracle.iter().map(|o| o.half.recall), &[0.0033, 0.2082, 0.0432, 0.5820], 4);
        close("rate", oracle.iter().map(|o| o.half.predicted_rate), &[0.0005, 0.1022, 0.0129, 0.4291], 4);
        close("precision", oracle.iter().map(|o| o.half.precision), &[0.55, 0.59, 0.57, 0.64], 2);
        close("t*", oracle.iter().map(|o| o.best.threshold), &[0.13177, 0.25940, 0.19446, 0.33418], 5);
        close("F*", oracle.iter().map(|o| o.best.f1), &[0.2635, 0.5188, 0.3889, 0.6684], 4);
        close("rate at t*", oracle.iter().map(|o| o.best.predicted_rate), &[0.1756, 0.5169, 0.3255, 0.7527], 4);
    }

    /// macro-F1 at 0.5 of calibrated BCE and of the weights sqrt, neg/pos, inverse share, then tuned; and mAP, for four signals.
    #[test]
    fn macro_rows_for_every_signal() {
        let total: f64 = COUNTS.iter().sum();
        let weights: [fn(f64, f64) -> f64; 4] =
            [|_, _| 1.0, |n, _| ((ROWS - n) / n).sqrt(), |n, _| (ROWS - n) / n, |n, total| total / n];
        for (signal, want) in [
            (0.8, [0.2506, 0.3911, 0.4431, 0.4476, 0.4599, 0.4224]),
            (1.0, [0.3160, 0.4531, 0.4740, 0.4733, 0.4919, 0.4719]),
            (1.5, [0.4671, 0.5595, 0.5430, 0.5355, 0.5689, 0.5870]),
            (2.0, [0.5765, 0.6306, 0.6001, 0.5897, 0.6337, 0.6795]),
        ] {
            let curves: Vec<LatentCurve> = COUNTS.iter().map(|n| LatentCurve::new(signal, n / ROWS)).collect();
            let mut got: Vec<f64> = weights
                .iter()
                .map(|weight| {
                    let f1 = |(n, curve): (&f64, &LatentCurve)| curve.decide(1.0 / (1.0 + weight(*n, total))).f1;
                    COUNTS.iter().zip(&curves).map(f1).sum::<f64>() / 4.0
                })
                .collect();
            got.push(curves.iter().map(|curve| curve.best().f1).sum::<f64>() / 4.0);
            got.push(curves.iter().map(|curve| curve.ranking().0).sum::<f64>() / 4.0);
            close(&format!("signal {signal}"), got, &want, 4);
        }
        close("b", seed(2.0).iter().map(|o| o.intercept), &[-3.66860, -1.45967, -2.53397, -0.20659], 5);
    }

    #[test]
    fn no_signal_is_chance() {
        for label in seed(0.0) {
            assert!((label.ap - label.rate).abs() < 1e-6 && (label.auc - 0.5).abs() < 1e-6, "{label:?}");
            assert!((label.best.f1 - 2.0 * label.rate / (1.0 + label.rate)).abs() < 1e-6, "{label:?}");
            assert!(label.half.predicted_rate < 1e-9);
        }
    }
}
