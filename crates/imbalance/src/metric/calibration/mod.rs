//! Scores as probabilities: maps back to P(y = 1), and how far scores are from it (docs/strategies.md#calibration).
//!
//! | to repair scores | needs |
//! |---|---|
//! | [`invert_link`] | the loss's LINK alone: no data |
//! | [`Platt`] | validation scores; two numbers per label |
//! | [`Isotonic`] | validation scores; a rising step function a label, so many positives |
//!
//! All three rise with the score, so they leave rankings as they are, up to ties; [`choose`] says which of them repairs some scores best. [`judge`] measures how calibrated scores are
//! and says whether they may be called probabilities.
//! Scores are float32 probabilities; their logits are exact to about 1e-7 × (1 + e^z), so coarse above 10 and gone above 17.

mod chance;
mod isotonic;
mod judgement;
mod link;
mod logistic;
mod platt;
mod prevalence;
mod reliability;
mod repair;

pub use chance::{Chance, DRAWS, QUANTILE};
pub use isotonic::Isotonic;
pub use judgement::{Calibration, ECE, FEW, Fault, GAP, Judgement, SLOPE, judge, judge_label};
pub use link::invert_link;
pub use logistic::{LEVEL, Line, Slope};
pub use platt::Platt;
pub use prevalence::{expected_error_at, gap_at};
pub use reliability::{Bin, equal_mass, equal_width, expected_error};
pub use repair::{Likelihoods, Repair, Repaired, choose};

/// Bins of the expected calibration error (Guo et al., ICML 2017).
pub const BINS: usize = 15;

/// ln(p / (1 - p)) of a float32 probability, finite also for 0 and 1: what rounds to them has a logit of about -104 and 17.3.
#[must_use]
pub fn logit(score: f32) -> f64 {
    /// Half of the smallest positive float32, and half of its distance from 1.
    const LEAST: f64 = 1.0 / (1u128 << 75) as f64 / (1u128 << 75) as f64;
    const MOST: f64 = 1.0 - 1.0 / (1u64 << 25) as f64;
    let p = f64::from(score).clamp(LEAST, MOST);
    p.ln() - (-p).ln_1p()
}

/// [`logit`] of a float64 probability: what rounds to 0 and 1 has a logit of about -745 and 37.4.
#[must_use]
pub fn logit_f64(p: f64) -> f64 {
    /// Half of the smallest positive float64 is 2^-1075; half of the distance of 1 from its neighbour is 2^-54.
    const LEAST: f64 = -1075.0 * std::f64::consts::LN_2;
    const MOST: f64 = 54.0 * std::f64::consts::LN_2;
    match p {
        p if p <= 0.0 => LEAST,
        p if p >= 1.0 => MOST,
        p => p.ln() - (-p).ln_1p(),
    }
}

#[cfg(test)]
mod tests;
