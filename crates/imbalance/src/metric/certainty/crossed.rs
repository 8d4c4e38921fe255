//! One interval for the difference between two strategies that holds for other trainings and for other rows at once, and for all
//! comparisons of a family together.
//!
//! Runs of equal seed are subtracted, all of them on the same rows, so a mean over seeds has two sources of error: the luck of the
//! trainings, which more seeds reduce, and the luck of the rows, which they do not. Both are components of a crossed design (Owen,
//! "The pigeonhole bootstrap", Annals of Applied Statistics 2007): what the seeds show includes the luck of the rows that differs
//! from seed to seed, and resampled rows give what all seeds share.
//!
//! Splits of one data set in the place of seeds have rows of their own, and overlap: their variance is Nadeau and Bengio's
//! ("Inference for the generalization error", Machine Learning 2003).

use std::collections::BTreeMap;

use super::dunnett::Largest;
use super::moments::moments;
use super::special::{fisher_tail, normal_quantile, trigamma, trigamma_inverse};

/// A comparison that varies less than the others at this level (F test, Bonferroni over the comparisons) is not like them.
const UNLIKE: f64 = 0.01;

/// A difference as it was observed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// One per seed; or per split, each the mean over its seeds.
    pub differences: Vec<f64>,
    /// `None`: the rows are not resampled.
    pub rows: Option<RowVariance>,
    /// Test rows / train rows where the differences are of splits of one data set; 0 where they are of seeds.
    pub overlap: f64,
}

/// How much a difference varies under resampled rows, the trainings as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowVariance {
    /// Variance of the mean over seeds.
    pub of_mean: f64,
    /// Variance of one seed's difference, mean over seeds.
    pub of_one: f64,
    /// Independent units that carry it: positives.
    pub units: usize,
}

/// A mean difference with its simultaneous interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Crossed {
    /// Seeds, or splits.
    pub runs: usize,
    pub mean: f64,
    /// Standard deviation over them (n - 1); `None` with fewer than two.
    pub sd: Option<f64>,
    /// Standard error of the mean; `None` where nothing tells it. With one seed it is that of the rows alone.
    pub se: Option<f64>,
    /// Degrees of freedom of `se`.
    pub df: Option<f64>,
    /// The interval, which holds for all comparisons of the family at once.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// Two-sided p-value of no difference, corrected for the family: below 1 - level where the interval excludes 0. `None` with
    /// fewer than two seeds.
    pub p: Option<f64>,
}

/// Coverage of intervals: of one comparison, and of several together, where none is surer than it would be alone.
pub const LEVELS: [f64; 2] = [0.95, 0.90];

/// The coverage of all intervals of a family of so many comparisons together.
#[must_use]
pub fn level(family: usize) -> f64 {
    LEVELS[usize::from(family > 1)]
}

/// What the luck of the trainings is taken to be.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Luck {
    /// Variance over seeds.
    variance: f64,
    df: f64,
    /// The share of it that is the baseline's.
    share: f64,
}

/// The intervals of a family. `comparisons` are of one metric and against one baseline; `family` counts all comparisons that are made
/// with them, at least those given. `level` is the coverage of all of their intervals together.
///
/// A difference varies by the luck of its own trainings and by that of the baseline's, which all comparisons share. The baseline's
/// variance is the mean covariance of two comparisons over seeds, the strategies' own is the rest of the mean variance; a comparison
/// that varies more has the mean of its own variance and that of all, and one that varies significantly less than the others (it trains
/// like the baseline) stands alone. To the variance of the mean over seeds is added that of the rows that all seeds share. Degrees of
/// freedom are Satterthwaite's (1946), fewer where the comparisons' variances differ by more than chance. The level is kept by
/// [`Largest`] for the comparisons with one baseline and by Šidák (1967) for the rest of the family.
///
/// `None` where a comparison has no differences.
#[must_use]
pub fn crossed(comparisons: &[Observed], family: usize, level: f64) -> Vec<Option<Crossed>> {
    let lucks = lucks(comparisons);
    let ready: Vec<Option<Ready>> = comparisons.iter().zip(&lucks).map(|(observed, luck)| Ready::of(observed, *luck)).collect();
    let shares: Vec<f64> = ready.iter().flatten().map(|ready| ready.share).collect();
    let family = family.max(shares.len()).max(1) as f64;
    // level^(here / family) for those of this baseline.
    let alpha = -libm::expm1(shares.len() as f64 / family * libm::log(level));
    let mut laws: BTreeMap<u64, (Largest, f64)> = BTreeMap::new();
    let one = |(observed, ready): (&Observed, Option<Ready>)| {
        let (mean, sd) = moments(&observed.differences)?;
        let runs = observed.differences.len();
        let Some(Ready { variance, df, told, .. }) = ready else {
            return Some(Crossed { runs, mean, sd, se: None, df: None, low: None, high: None, p: None });
        };
        let df = if shares.len() > 1 { coarse(df) } else { df };
        let (law, reach) = laws.entry(df.to_bits()).or_insert_with(|| {
            let law = Largest::new(&shares, df);
            let reach = law.quantile(alpha);
            (law, reach)
        });
        let se = variance.sqrt();
        let p = told.then(|| match mean {
            0.0 => 1.0,
            _ if se == 0.0 => 0.0,
            // 1 - (1 - p)^(family / here)
            _ => -libm::expm1(family / shares.len() as f64 * libm::log1p(-law.tail((mean / se).abs()).min(1.0 - 1e-15))),
        });
        let reach = if se > 0.0 { *reach * se } else { 0.0 };
        Some(Crossed { runs, mean, sd, se: Some(se), df: Some(df), low: Some(mean - reach), high: Some(mean + reach), p })
    };
    comparisons.iter().zip(ready).map(one).collect()
}

/// Degrees of freedom beyond which Student's distribution is the normal one to four digits.
const LARGE: f64 = 1e4;

/// Degrees of freedom that several comparisons are judged with: rounded down, so that few laws are needed.
fn coarse(df: f64) -> f64 {
    const STEPS: [f64; 24] = [
        1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 14.0, 16.0, 18.0, 20.0, 24.0, 28.0, 32.0, 40.0, 50.0,
        70.0, 150.0, LARGE,
    ];
    STEPS.into_iter().rfind(|step| *step <= df).unwrap_or(df)
}

/// The variance of a mean difference.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ready {
    variance: f64,
    df: f64,
    share: f64,
    /// Whether seeds tell it; otherwise it is that of the rows alone.
    told: bool,
}

impl Ready {
    fn of(observed: &Observed, luck: Option<Luck>) -> Option<Self> {
        let n = observed.differences.len();
        let rows = observed.rows.filter(|_| observed.overlap == 0.0 && n > 0);
        let units = rows.map_or(f64::INFINITY, |rows| rows.units.saturating_sub(1).max(1) as f64);
        let shared = rows.map_or(0.0, |rows| rows.shared(n));
        let Some(luck) = luck else {
            return rows.map(|_| Self { variance: shared, df: units, share: 0.0, told: false });
        };
        let seeds = luck.variance * (1.0 / n as f64 + observed.overlap);
        let variance = seeds + shared;
        // A small part by chance is not to be worth degrees of freedom.
        let df = if shared > seeds { satterthwaite([(seeds, luck.df), (shared, units)]) } else { luck.df };
        let share = if variance > 0.0 { (luck.share * seeds / variance).min(1.0) } else { 0.0 };
        Some(Self { variance, df, share, told: true })
    }
}

impl RowVariance {
    /// The part of the variance of a mean over `seeds` that all of them share: with V the variance of the mean and v that of one,
    /// (seeds V - v) / (seeds - 1), the mean covariance of two seeds.
    fn shared(&self, seeds: usize) -> f64 {
        let n = seeds as f64;
        if seeds < 2 { self.of_mean } else { ((n * self.of_mean - self.of_one) / (n - 1.0)).max(0.0) }
    }
}

/// The luck of each comparison; `None` with fewer than two differences.
fn lucks(comparisons: &[Observed]) -> Vec<Option<Luck>> {
    let own = |observed: &Observed| {
        let variance = moments(&observed.differences)?.1?.powi(2);
        Some(Luck { variance, df: observed.differences.len() as f64 - 1.0, share: 0.0 })
    };
    let own: Vec<Option<Luck>> = comparisons.iter().map(own).collect();
    let all = pooled(comparisons, &own, |_| true);
    let level = UNLIKE / own.iter().flatten().count().max(1) as f64;
    // P(F <= f) = P(1 / F >= 1 / f), the degrees of freedom exchanged.
    let unlike = |own: &Luck| {
        own.variance == 0.0 || all.is_some_and(|all| fisher_tail(all.variance / own.variance, all.df, own.df) < level)
    };
    let alike = pooled(comparisons, &own, |own| !unlike(own));
    let taken = |own: Luck| match alike.filter(|_| !unlike(&own)) {
        None => own,
        Some(alike) => {
            // Half of what it varies more is taken for chance.
            let variance = alike.variance.max(f64::midpoint(own.variance, alike.variance));
            Luck { variance, df: alike.df, share: alike.share * alike.variance / variance }
        }
    };
    own.iter().map(|own| own.map(taken)).collect()
}

/// The variance over seeds of those comparisons that are `like` each other, were it the same for all; `None` unless there are several,
/// all of them over the same seeds.
fn pooled(comparisons: &[Observed], own: &[Option<Luck>], like: impl Fn(&Luck) -> bool) -> Option<Luck> {
    let some: Vec<(&[f64], Luck)> = comparisons
        .iter()
        .zip(own)
        .filter_map(|(observed, own)| Some((observed.differences.as_slice(), (*own).filter(|own| like(own))?)))
        .collect();
    let (first, k) = (some.first()?.1, some.len() as f64);
    if some.len() < 2 || some.iter().any(|(_, luck)| luck.df != first.df) {
        return None;
    }
    let variance = some.iter().map(|(_, luck)| luck.variance).sum::<f64>() / k;
    let means: Vec<f64> = some.iter().map(|(differences, _)| differences.iter().sum::<f64>() / (first.df + 1.0)).collect();
    let total = |seed: usize| some.iter().zip(&means).map(|((differences, _), mean)| differences[seed] - mean).sum::<f64>();
    let of_total = (0..some[0].0.len()).map(|seed| total(seed).powi(2)).sum::<f64>() / first.df;
    // Var Σ d = k variance + k (k - 1) covariance.
    let baseline = ((of_total - k * variance) / (k * (k - 1.0))).clamp(0.0, variance);
    let df = satterthwaite([(baseline, first.df), (variance - baseline, (k - 1.0) * first.df)]).min(k * first.df);
    let df = df.min(first.df + prior_df(some.iter().map(|(_, luck)| luck.variance), first.df));
    Some(Luck { variance, df, share: if variance > 0.0 { baseline / variance } else { 0.0 } })
}

/// How many degrees of freedom the mean of several `variances` of `df` each is worth for one of them: endless where they differ by
/// chance only, few where they differ by more (Smyth, "Linear models and empirical Bayes methods", 2004, section 6.2).
fn prior_df(variances: impl Iterator<Item = f64>, df: f64) -> f64 {
    let logs: Vec<f64> = variances.filter(|variance| *variance > 0.0).map(libm::log).collect();
    let spread = moments(&logs).and_then(|(_, sd)| sd).map_or(0.0, |sd| sd * sd);
    let beyond = spread - trigamma(0.5 * df);
    if beyond > 0.0 { 2.0 * trigamma_inverse(beyond) } else { f64::INFINITY }
}

/// Degrees of freedom of a sum of variances, each with its own (Satterthwaite, Biometrics Bulletin 1946).
fn satterthwaite(parts: [(f64, f64); 2]) -> f64 {
    let sum: f64 = parts.iter().map(|part| part.0).sum();
    let spread: f64 = parts.iter().map(|(variance, df)| variance * variance / df).sum();
    if spread > 0.0 { sum * sum / spread } else { parts.iter().map(|part| part.1).fold(f64::INFINITY, f64::min) }
}

/// The smallest mean difference that such an interval can tell from 0, in standard deviations over seeds, were the rows endless:
/// `seeds` of each of `comparisons`, half of the variance the baseline's. `None` with fewer than two seeds.
#[must_use]
pub fn detectable(seeds: usize, comparisons: usize) -> Option<f64> {
    let own = seeds.checked_sub(1).filter(|df| *df > 0)? as f64;
    let k = comparisons.max(1) as f64;
    let df = if comparisons > 1 { satterthwaite([(1.0, own), (1.0, (k - 1.0) * own)]) } else { own };
    let law = Largest::new(&vec![0.5; comparisons.max(1)], df);
    Some(law.quantile(1.0 - level(comparisons)) / (seeds as f64).sqrt())
}

/// The fewest seeds with which a true difference of `effect` standard deviations over seeds is told from 0 with a probability of
/// `power` (normal approximation); `None` where a hundred are not enough.
#[must_use]
pub fn seeds_for(effect: f64, comparisons: usize, power: f64) -> Option<usize> {
    let margin = normal_quantile(power);
    let enough = |seeds: &usize| {
        let root = (*seeds as f64).sqrt();
        detectable(*seeds, comparisons).is_some_and(|least| (effect.abs() - least) * root >= margin)
    };
    (2..=100).find(enough)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn observed(differences: &[f64]) -> Observed {
        Observed { differences: differences.to_vec(), ..Observed::default() }
    }

    fn close(ours: f64, theirs: f64) {
        assert!((ours - theirs).abs() < 1e-9 * (1.0 + theirs.abs()), "{ours} is not {theirs}");
    }

    /// scipy: `stats.ttest_1samp(d, 0)` with its `confidence_interval(.95)`.
    #[test]
    fn alone_and_without_rows_it_is_students() {
        let found = crossed(&[observed(&[0.01, 0.03, 0.02, 0.05])], 1, 0.95)[0].unwrap();
        close(found.mean, 0.0275);
        close(found.sd.unwrap(), 0.017_078_251_276_599_33);
        assert_eq!((found.runs, found.df), (4, Some(3.0)));
        assert!((found.low.unwrap() - 0.000_324_691).abs() < 1e-7);
        close(found.p.unwrap(), 0.048_566_856_559_801_044);
    }

    /// A family's p-values are Šidák's and agree with its intervals.
    #[test]
    fn words_of_intervals_and_of_p_values_agree() {
        let mut rng = Rng::new(3, "crossed", &[]);
        for family in [3, 40] {
            let samples: Vec<Observed> =
                (0..3).map(|_| observed(&(0..5).map(|_| 0.7 + rng.normal()).collect::<Vec<_>>())).collect();
            for found in crossed(&samples, family, level(family)).into_iter().flatten() {
                let excludes = found.low.unwrap() > 0.0 || found.high.unwrap() < 0.0;
                assert_eq!(excludes, found.p.unwrap() < 1.0 - level(family), "{found:?}");
            }
        }
        let [alone] = crossed(&[observed(&[1.0, 2.0, 2.5])], 1, 0.95)[..] else { panic!() };
        let [of_many] = crossed(&[observed(&[1.0, 2.0, 2.5])], 11, 0.9)[..] else { panic!() };
        let by_sidak = 1.0 - (1.0 - alone.unwrap().p.unwrap()).powi(11);
        assert!((of_many.unwrap().p.unwrap() - by_sidak).abs() < 1e-9);
    }

    /// The rows that all seeds share are added once; those that differ from seed to seed are in the seeds' own spread already.
    #[test]
    fn rows_and_seeds_are_crossed() {
        let rows = |of_mean, of_one| Observed {
            rows: Some(RowVariance { of_mean, of_one, units: 101 }),
            ..observed(&[0.01, 0.02, 0.03, 0.04])
        };
        let se = |observed| crossed(&[observed], 1, 0.95)[0].unwrap().se.unwrap();
        let seeds = se(observed(&[0.01, 0.02, 0.03, 0.04]));
        close(se(rows(1e-4 / 4.0, 1e-4)), seeds);
        close(se(rows(1e-5, 1e-4)), seeds);
        close(se(rows(1e-4, 1e-4)), (seeds * seeds + 1e-4).sqrt());
        let one = Observed {
            differences: vec![0.01],
            rows: Some(RowVariance { of_mean: 1e-4, of_one: 1e-4, units: 101 }),
            overlap: 0.0,
        };
        let one = crossed(&[one], 1, 0.95)[0].unwrap();
        assert_eq!((one.sd, one.p, one.se), (None, None, Some(0.01)));
        assert!((one.high.unwrap() - 0.01 - 0.019_839_7).abs() < 1e-6, "{one:?}");
    }

    /// A comparison whose seeds happen to agree is not certain for that; one that always trains like the baseline is.
    #[test]
    fn spreads_are_shared_by_likes() {
        let noisy = [0.01, -0.02, 0.015, -0.01, 0.02];
        let calm = noisy.map(|difference| 0.4 * difference);
        let same = noisy.map(|difference| 1e-3 * difference);
        let found = crossed(&[observed(&noisy), observed(&calm), observed(&same), observed(&[0.0; 5])], 4, 0.9);
        let found: Vec<Crossed> = found.into_iter().flatten().collect();
        assert!(found[1].se > Some(0.6 * found[0].se.unwrap()) && found[1].df > Some(4.0), "{found:?}");
        assert!(found[2].se < Some(1e-5) && found[2].df == Some(4.0), "{found:?}");
        assert_eq!((found[3].low, found[3].high, found[3].p), (Some(0.0), Some(0.0), Some(1.0)));
    }

    #[test]
    fn what_seeds_can_tell() {
        // t(0.975, 2) / sqrt(3), t(0.975, 8) / 3
        assert!((detectable(3, 1).unwrap() - 2.484_138).abs() < 1e-4);
        assert!((detectable(9, 1).unwrap() - 0.768_668).abs() < 1e-4);
        assert_eq!(detectable(1, 1), None);
        assert!(detectable(3, 11) > detectable(9, 11));
        let needed = seeds_for(1.0, 11, 0.8).unwrap();
        assert!((10..20).contains(&needed), "{needed}");
        assert_eq!(seeds_for(0.0, 1, 0.8), None);
    }

    /// Twelve strategies, nothing differs, spreads of several kinds: one in ten families has an interval that excludes 0.
    #[test]
    fn families_keep_their_error_rate() {
        let worlds: [fn(usize) -> f64; 4] = [
            |_| 1.0,
            |arm| if arm == 5 { 3.0 } else { 1.0 },
            |arm| if arm == 0 { 3.0 } else { 1.0 },
            |arm| if arm > 5 { 3.0 } else { 1.0 },
        ];
        for (world, luck) in worlds.iter().enumerate() {
            for seeds in [3, 9] {
                let mut rng = Rng::new(world as u64, "families", &[seeds]);
                let wrong = (0..400).filter(|_| {
                    let runs: Vec<Vec<f64>> = (0..12).map(|arm| (0..seeds).map(|_| luck(arm) * rng.normal()).collect()).collect();
                    let minus = |arm: &Vec<f64>| observed(&arm.iter().zip(&runs[0]).map(|(a, b)| a - b).collect::<Vec<_>>());
                    let samples: Vec<Observed> = runs[1..].iter().map(minus).collect();
                    crossed(&samples, 11, 0.9).iter().flatten().any(|found| found.p.unwrap() < 0.1)
                });
                let wrong = wrong.count();
                assert!(wrong <= 54, "world {world}, {seeds} seeds: {wrong} of 400");
            }
        }
    }
}
