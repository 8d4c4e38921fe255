//! A resampled number, and the intervals read off its replicates.

use super::special::{normal_cdf, normal_quantile};

/// A number with its values under resampling. Undefined values are NaN.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// Of all rows.
    pub point: f64,
    /// Of each resample, in the order of replicates.
    pub replicates: Vec<f64>,
    /// With each block of rows left out; empty if none was asked for.
    pub jackknife: Vec<f64>,
}

/// How an interval was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Quantiles of the replicates.
    Percentile,
    /// Bias-corrected and accelerated (Efron 1987).
    Bca,
}

/// A two-sided interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
    /// Its nominal coverage, such as 0.95.
    pub level: f64,
    pub method: Method,
    /// Replicates it was read off: those that were defined.
    pub replicates: usize,
}

impl Interval {
    /// Whether `value` lies within.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

impl Estimate {
    /// The paired difference, replicate by replicate: both must come from one [`super::Resampling`].
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        debug_assert!(self.replicates.len() == other.replicates.len() && self.jackknife.len() == other.jackknife.len());
        let minus = |ours: &[f64], theirs: &[f64]| ours.iter().zip(theirs).map(|(ours, theirs)| ours - theirs).collect();
        Self {
            point: self.point - other.point,
            replicates: minus(&self.replicates, &other.replicates),
            jackknife: minus(&self.jackknife, &other.jackknife),
        }
    }

    /// The mean of several, replicate by replicate, over those that are defined there; NaN where none is.
    #[must_use]
    pub fn mean_of<'a>(estimates: impl Iterator<Item = &'a Self>) -> Self {
        let all: Vec<&Self> = estimates.collect();
        let mean = |value: &dyn Fn(&Self) -> f64| {
            let defined = all.iter().map(|estimate| value(estimate)).filter(|value| !value.is_nan());
            let (sum, count) = defined.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
            sum / count
        };
        let lengths = all.first().map_or((0, 0), |first| (first.replicates.len(), first.jackknife.len()));
        Self {
            point: mean(&|estimate| estimate.point),
            replicates: (0..lengths.0).map(|at| mean(&|estimate| estimate.replicates[at])).collect(),
            jackknife: (0..lengths.1).map(|at| mean(&|estimate| estimate.jackknife[at])).collect(),
        }
    }

    /// The replicates that are defined, rising.
    fn sorted(&self) -> Vec<f64> {
        let mut sorted: Vec<f64> = self.replicates.iter().copied().filter(|value| !value.is_nan()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted
    }

    /// Quantiles of the replicates (interpolated as `numpy.quantile` does); `None` where the point or every replicate is undefined.
    #[must_use]
    pub fn percentile(&self, level: f64) -> Option<Interval> {
        let sorted = self.sorted();
        if self.point.is_nan() || sorted.is_empty() {
            return None;
        }
        let tail = 0.5 * (1.0 - level);
        let (low, high) = (quantile(&sorted, tail), quantile(&sorted, 1.0 - tail));
        Some(Interval { low, high, level, method: Method::Percentile, replicates: sorted.len() })
    }

    /// The BCa interval (`scipy.stats.bootstrap(method="BCa")`), which corrects the percentiles for bias and for a spread that changes
    /// with the value. `None` without a jackknife, or where all replicates lie on one side of the point or nothing varies.
    #[must_use]
    pub fn bca(&self, level: f64) -> Option<Interval> {
        let sorted = self.sorted();
        let below = sorted.iter().filter(|&&value| value < self.point).count();
        let ties = sorted.iter().filter(|&&value| value == self.point).count();
        let bias = normal_quantile((below as f64 + 0.5 * ties as f64) / sorted.len() as f64);
        let acceleration = self.acceleration()?;
        if !bias.is_finite() {
            return None;
        }
        let shifted = |z: f64| normal_cdf(bias + (bias + z) / (1.0 - acceleration * (bias + z)));
        let z = normal_quantile(0.5 * (1.0 - level));
        let (low, high) = (quantile(&sorted, shifted(z)), quantile(&sorted, shifted(-z)));
        Some(Interval { low, high, level, method: Method::Bca, replicates: sorted.len() })
    }

    /// BCa where it exists, else percentiles.
    #[must_use]
    pub fn interval(&self, level: f64) -> Option<Interval> {
        self.bca(level).or_else(|| self.percentile(level))
    }

    /// Efron's acceleration: a sixth of the skewness of the leave-out values, scaled. `None` where they do not vary.
    fn acceleration(&self) -> Option<f64> {
        let values = || self.jackknife.iter().filter(|value| !value.is_nan());
        let mean = values().sum::<f64>() / values().count() as f64;
        let (squares, cubes) = values().fold((0.0, 0.0), |(squares, cubes), value| {
            let deviation = mean - value;
            (squares + deviation * deviation, cubes + deviation * deviation * deviation)
        });
        (squares > 0.0).then(|| cubes / (6.0 * squares * squares.sqrt()))
    }

    /// The share of defined replicates above `value`, ties counting half: for a difference and 0, how often A beat B.
    #[must_use]
    pub fn share_above(&self, value: f64) -> f64 {
        let sorted = self.sorted();
        let ties = sorted.iter().filter(|&&replicate| replicate == value).count();
        let above = sorted.iter().filter(|&&replicate| replicate > value).count();
        (above as f64 + 0.5 * ties as f64) / sorted.len() as f64
    }

    /// The variance of the defined replicates (n - 1); 0 with fewer than two.
    #[must_use]
    pub fn variance(&self) -> f64 {
        let defined = || self.replicates.iter().filter(|value| !value.is_nan());
        let count = defined().count() as f64;
        let mean = defined().sum::<f64>() / count;
        let squares: f64 = defined().map(|value| (value - mean).powi(2)).sum();
        if count > 1.0 { squares / (count - 1.0) } else { 0.0 }
    }

    /// The standard deviation of the defined replicates: the bootstrap's standard error.
    #[must_use]
    pub fn standard_error(&self) -> f64 {
        self.variance().sqrt()
    }
}

/// The quantile of rising values by linear interpolation between order statistics (Hyndman & Fan 7, numpy's default).
fn quantile(sorted: &[f64], p: f64) -> f64 {
    let place = p.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}
