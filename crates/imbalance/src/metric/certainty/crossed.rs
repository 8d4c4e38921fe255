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

use super::paired::moments;
use super::special::{fisher_tail, student_quantile, student_two_sided};

/// A comparison's spread may borrow the degrees of freedom of so many: with more, the mean spread would be taken for that of a
/// comparison which varies more than the others.
const BORROWED: usize = 3;
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
    /// The interval, for all comparisons of the family at once.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// Two-sided p-value of no difference, corrected for the family (Šidák): below 1 - level where the interval excludes 0. `None`
    /// with fewer than two seeds.
    pub p: Option<f64>,
}

/// What the spread over seeds of a comparison is taken to be.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Luck {
    variance: f64,
    df: f64,
}

/// The intervals of a family. `comparisons` are of one metric and against one baseline; `family` counts all comparisons that are made
/// with them, at least those given. `level` is the coverage of all intervals together.
///
/// The variance over seeds is the comparison's own or the mean of all of them, whichever is larger; it has the degrees of freedom of
/// up to three comparisons. One that varies significantly less than the others (it trains like the baseline) stands by itself. To
/// its mean over seeds is added the variance of the rows that all seeds share. Degrees of freedom of the sum are Satterthwaite's
/// (1946), and the level of each is Šidák's (1967) for the family.
///
/// `None` where a comparison has no differences.
#[must_use]
pub fn crossed(comparisons: &[Observed], level: f64, family: usize) -> Vec<Option<Crossed>> {
    let family = family.max(comparisons.iter().filter(|observed| !observed.differences.is_empty()).count()).max(1);
    let luck = luck(comparisons);
    let mut reaches = Reaches::new(level, family);
    let one = |(observed, luck): (&Observed, Option<Luck>)| {
        let (mean, sd) = moments(&observed.differences)?;
        let n = observed.differences.len() as f64;
        let seeds = luck.map_or((0.0, f64::INFINITY), |luck| (luck.variance * (1.0 / n + observed.overlap), luck.df));
        let rows = match observed.rows.filter(|_| observed.overlap == 0.0) {
            Some(rows) => (rows.shared(observed.differences.len()), rows.units.saturating_sub(1).max(1) as f64),
            None => (0.0, f64::INFINITY),
        };
        let known = luck.is_some() || (observed.rows.is_some() && observed.overlap == 0.0);
        let variance = known.then_some(seeds.0 + rows.0);
        let df = variance.map(|variance| satterthwaite(variance, [seeds, rows]));
        let reach = variance.zip(df).map(|(variance, df)| if variance > 0.0 { reaches.at(df) * variance.sqrt() } else { 0.0 });
        let p = luck.and(variance).zip(df).map(|(variance, df)| probability(mean, variance, df, family));
        Some(Crossed {
            runs: observed.differences.len(),
            mean,
            sd,
            se: variance.map(f64::sqrt),
            df,
            low: reach.map(|reach| mean - reach),
            high: reach.map(|reach| mean + reach),
            p,
        })
    };
    comparisons.iter().zip(luck).map(one).collect()
}

impl RowVariance {
    /// The part of the variance of a mean over `seeds` that all of them share: with V the variance of the mean and v that of one,
    /// (seeds V - v) / (seeds - 1), the mean covariance of two seeds.
    fn shared(&self, seeds: usize) -> f64 {
        let n = seeds as f64;
        if seeds < 2 { self.of_mean } else { ((n * self.of_mean - self.of_one) / (n - 1.0)).max(0.0) }
    }
}

/// The variance over seeds of each comparison; `None` with fewer than two differences.
fn luck(comparisons: &[Observed]) -> Vec<Option<Luck>> {
    let own = |observed: &Observed| {
        let sd = moments(&observed.differences)?.1?;
        Some(Luck { variance: sd * sd, df: observed.differences.len() as f64 - 1.0 })
    };
    let own: Vec<Option<Luck>> = comparisons.iter().map(own).collect();
    let pool = |like: &dyn Fn(&Luck) -> bool| {
        let pooled = own.iter().flatten().filter(|luck| like(luck));
        let (squares, df) = pooled.fold((0.0, 0.0), |(squares, df), luck| (squares + luck.df * luck.variance, df + luck.df));
        Luck { variance: if df > 0.0 { squares / df } else { 0.0 }, df }
    };
    let all = pool(&|_| true);
    let level = UNLIKE / own.iter().flatten().count().max(1) as f64;
    // P(F <= f) = P(1 / F >= 1 / f), the degrees of freedom exchanged.
    let unlike = |own: &Luck| own.variance == 0.0 || fisher_tail(all.variance / own.variance, all.df, own.df) < level;
    let alike = pool(&|own| !unlike(own));
    let taken = |own: Luck| {
        if unlike(&own) {
            return own;
        }
        Luck { variance: own.variance.max(alike.variance), df: (BORROWED as f64 * own.df).min(alike.df) }
    };
    own.iter().map(|own| own.map(taken)).collect()
}

/// Degrees of freedom of a sum of variances, each with its own (Satterthwaite, Biometrics Bulletin 1946).
fn satterthwaite(sum: f64, parts: [(f64, f64); 2]) -> f64 {
    let spread: f64 = parts.iter().map(|(variance, df)| variance * variance / df).sum();
    if spread > 0.0 { sum * sum / spread } else { parts.iter().map(|part| part.1).fold(f64::INFINITY, f64::min) }
}

/// The corrected two-sided p-value.
fn probability(mean: f64, variance: f64, df: f64, family: usize) -> f64 {
    let p = match mean {
        0.0 => 1.0,
        _ if variance == 0.0 => 0.0,
        _ => student_two_sided(mean / variance.sqrt(), df.min(LARGE)),
    };
    // 1 - (1 - p)^family
    -libm::expm1(family as f64 * libm::log1p(-p))
}

/// Degrees of freedom beyond which Student's distribution is the normal one to four digits.
const LARGE: f64 = 1e4;

/// Half-widths of intervals in standard errors, by degrees of freedom.
struct Reaches {
    /// Of the upper quantile.
    p: f64,
    known: BTreeMap<u64, f64>,
}

impl Reaches {
    fn new(level: f64, family: usize) -> Self {
        // level^(1 / family) for each of them (Šidák, JASA 1967).
        let alone = libm::exp(libm::log(level) / family as f64);
        Self { p: 0.5 + 0.5 * alone, known: BTreeMap::new() }
    }

    /// Degrees of freedom are rounded down to tenths.
    fn at(&mut self, df: f64) -> f64 {
        let tenths = (df.clamp(0.1, LARGE) * 10.0) as u64;
        *self.known.entry(tenths).or_insert_with(|| student_quantile(self.p, tenths as f64 / 10.0))
    }
}

/// The smallest mean difference that such an interval can tell from 0, in standard deviations over seeds, were the rows endless:
/// `seeds` of each of `comparisons`, all of one spread. `None` with fewer than two seeds.
#[must_use]
pub fn detectable(seeds: usize, comparisons: usize, level: f64) -> Option<f64> {
    let borrowed = comparisons.clamp(1, BORROWED);
    (seeds > 1).then(|| {
        let df = ((seeds - 1) * borrowed) as f64;
        Reaches::new(level, comparisons.max(1)).at(df) / (seeds as f64).sqrt()
    })
}

/// The fewest seeds with which a true difference of `effect` standard deviations over seeds is told from 0 with a probability of
/// `power` (normal approximation); `None` where a thousand are not enough.
#[must_use]
pub fn seeds_for(effect: f64, comparisons: usize, level: f64, power: f64) -> Option<usize> {
    let margin = super::special::normal_quantile(power);
    let enough = |seeds: &usize| {
        let root = (*seeds as f64).sqrt();
        detectable(*seeds, comparisons, level).is_some_and(|least| (effect.abs() - least) * root >= margin)
    };
    (2..=1000).find(enough)
}

#[cfg(test)]
mod tests {
    use super::super::corrected_t;
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
        let found = crossed(&[observed(&[0.01, 0.03, 0.02, 0.05])], 0.95, 1)[0].unwrap();
        close(found.mean, 0.0275);
        close(found.sd.unwrap(), 0.017_078_251_276_599_33);
        assert_eq!((found.runs, found.df), (4, Some(3.0)));
        close(found.low.unwrap(), 0.000_324_691_162_039_845_3);
        close(found.p.unwrap(), 0.048_566_856_559_801_044);
    }

    #[test]
    fn splits_are_nadeau_and_bengios() {
        let differences = [0.02, 0.05, 0.01, 0.04, 0.03];
        let split =
            Observed { overlap: 0.25, rows: Some(RowVariance { of_mean: 1.0, of_one: 1.0, units: 9 }), ..observed(&differences) };
        let found = crossed(&[split], 0.95, 1)[0].unwrap();
        close(found.p.unwrap(), corrected_t(&differences, 0.25).unwrap().p);
        close(found.mean / found.se.unwrap(), corrected_t(&differences, 0.25).unwrap().t);
    }

    /// A family's p-values are Šidák's and agree with its intervals.
    #[test]
    fn words_of_intervals_and_of_p_values_agree() {
        let mut rng = Rng::new(3, "crossed", &[]);
        for family in [1, 3, 40] {
            let samples: Vec<Observed> =
                (0..3).map(|_| observed(&(0..5).map(|_| 0.7 + rng.normal()).collect::<Vec<_>>())).collect();
            for found in crossed(&samples, 0.95, family).into_iter().flatten() {
                let excludes = found.low.unwrap() > 0.0 || found.high.unwrap() < 0.0;
                assert_eq!(excludes, found.p.unwrap() < 0.05, "{found:?}");
            }
        }
        let [alone] = crossed(&[observed(&[1.0, 2.0, 2.5])], 0.95, 1)[..] else { panic!() };
        let [of_many] = crossed(&[observed(&[1.0, 2.0, 2.5])], 0.95, 11)[..] else { panic!() };
        close(of_many.unwrap().p.unwrap(), 1.0 - (1.0 - alone.unwrap().p.unwrap()).powi(11));
    }

    /// The rows that all seeds share are added once; those that differ from seed to seed are in the seeds' own spread already.
    #[test]
    fn rows_and_seeds_are_crossed() {
        let rows = |of_mean, of_one| Observed {
            rows: Some(RowVariance { of_mean, of_one, units: 101 }),
            ..observed(&[0.01, 0.02, 0.03, 0.04])
        };
        let se = |observed| crossed(&[observed], 0.95, 1)[0].unwrap().se.unwrap();
        let seeds = se(observed(&[0.01, 0.02, 0.03, 0.04]));
        close(se(rows(1e-4 / 4.0, 1e-4)), seeds);
        close(se(rows(1e-4, 1e-4)), (seeds * seeds + 1e-4).sqrt());
        let one = Observed {
            differences: vec![0.01],
            rows: Some(RowVariance { of_mean: 1e-4, of_one: 1e-4, units: 101 }),
            overlap: 0.0,
        };
        let one = crossed(&[one], 0.95, 1)[0].unwrap();
        assert_eq!((one.sd, one.p, one.se), (None, None, Some(0.01)));
        assert!((one.high.unwrap() - 0.01 - 0.019_839_7).abs() < 1e-6, "{one:?}");
    }

    /// A comparison whose seeds happen to agree is not certain for that; one that always trains like the baseline is.
    #[test]
    fn spreads_are_shared_by_likes() {
        let noisy = [0.01, -0.02, 0.015, -0.01, 0.02];
        let calm = noisy.map(|difference| 0.4 * difference);
        let same = noisy.map(|difference| 1e-3 * difference);
        let found = crossed(&[observed(&noisy), observed(&calm), observed(&same), observed(&[0.0; 5])], 0.95, 4);
        let found: Vec<Crossed> = found.into_iter().flatten().collect();
        assert!(found[1].se > Some(0.6 * found[0].se.unwrap()) && found[1].df == Some(8.0), "{found:?}");
        assert!(found[2].se < Some(1e-5) && found[2].df == Some(4.0), "{found:?}");
        assert_eq!((found[3].low, found[3].high, found[3].p), (Some(0.0), Some(0.0), Some(1.0)));
    }

    #[test]
    fn what_seeds_can_tell() {
        // t(0.975, 2) / sqrt(3), t(0.975, 8) / 3
        close(detectable(3, 1, 0.95).unwrap(), 2.484_137_711_794_613_4);
        close(detectable(9, 1, 0.95).unwrap(), 0.768_668_045_050_999_8);
        assert_eq!(detectable(1, 1, 0.95), None);
        assert!(detectable(3, 11, 0.95) > detectable(9, 11, 0.95));
        let needed = seeds_for(1.0, 11, 0.95, 0.8).unwrap();
        assert!((12..20).contains(&needed), "{needed}");
        assert_eq!(seeds_for(0.0, 1, 0.95, 0.8), None);
    }

    /// Twelve strategies, nothing differs, spreads of several kinds: at most 5 in 100 families have an interval that excludes 0.
    #[test]
    fn families_keep_their_error_rate() {
        let worlds: [fn(usize) -> f64; 4] = [
            |_| 1.0,
            |arm| if arm == 5 { 3.0 } else { 1.0 },
            |arm| if arm == 0 { 3.0 } else { 1.0 },
            |arm| if arm > 5 { 3.0 } else { 1.0 },
        ];
        for (world, luck) in worlds.iter().enumerate() {
            for seeds in [3, 5, 9] {
                let mut rng = Rng::new(world as u64, "families", &[seeds]);
                let wrong = (0..1000).filter(|_| {
                    let runs: Vec<Vec<f64>> = (0..12).map(|arm| (0..seeds).map(|_| luck(arm) * rng.normal()).collect()).collect();
                    let minus = |arm: &Vec<f64>| observed(&arm.iter().zip(&runs[0]).map(|(a, b)| a - b).collect::<Vec<_>>());
                    let samples: Vec<Observed> = runs[1..].iter().map(minus).collect();
                    crossed(&samples, 0.95, 11).iter().flatten().any(|found| found.p.unwrap() < 0.05)
                });
                let wrong = wrong.count();
                assert!(wrong <= 65, "world {world}, {seeds} seeds: {wrong} of 1000");
            }
        }
    }
}
