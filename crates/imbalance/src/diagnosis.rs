//! How imbalanced a multi-label data set is, and how its labels go together (docs/strategies.md#diagnosis). Pure: labels in,
//! numbers out. Rows carry a label where they are known to: combinations, pairs and means over rows take an unknown cell for none, and
//! so does what independence would give. Prevalences and [`Diagnosis::imr`] are of the rows that know the label.
//!
//! IRLbl, MeanIR, CVIR and SCUMBLE are those of Charte et al. (Neurocomputing 163, 2015; HAIS 2014) as the R package mldr
//! computes them, except that labels without positives stay out of the means instead of counting as 0.

use std::collections::HashMap;

use serde::Serialize;

use crate::LabelCounts;
use crate::LabelMatrix;

/// Labels whose company is counted pair by pair: of thousands nobody reads the table, and it would take gigabytes.
pub const TOGETHER: usize = 512;

/// What can be said of the labels alone. Vectors have one entry per label, in the order of the data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    pub rows: usize,
    pub positives: Vec<usize>,
    /// Rows that do not know each label; empty where every cell is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<usize>,
    pub imbalance: Imbalance,
    /// Negatives / positives; `None` without positives.
    pub imr: Vec<Option<f64>>,
    /// Mean labels per row.
    pub cardinality: f64,
    /// Cardinality / labels.
    pub density: f64,
    pub labelsets: Labelsets,
    pub company: Company,
    /// How often rare and frequent labels share a row: mean of [`scumble`] over the rows; 0 never, towards 1 always.
    pub scumble: f64,
    /// The same over the rows that carry the label; `None` without positives.
    pub scumble_of_label: Vec<Option<f64>>,
    /// What `together` comes to, pair by pair.
    pub pairs: Pairs,
    /// Rows that carry both labels, `[labels, labels]`; the positives on the diagonal. Of the first [`TOGETHER`] labels.
    pub together: Vec<Vec<usize>>,
    /// P(column | row): share of the row label's rows that carry the column label; `None` without positives. As `together`.
    pub given: Vec<Vec<Option<f64>>>,
}

/// How unequal the labels' frequencies are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Imbalance {
    /// Most positives of any label / positives of this one; `None` without positives.
    pub irlbl: Vec<Option<f64>>,
    /// Mean of `irlbl`; `None` where no label has positives.
    pub mean_ir: Option<f64>,
    /// Standard deviation (ddof = 1) of `irlbl` / `mean_ir`; `None` with fewer than two labels that have positives.
    pub cvir: Option<f64>,
}

/// The combinations of labels that occur.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Labelsets {
    /// Different ones, the empty one included.
    pub distinct: usize,
    /// Those of one row only.
    pub singletons: usize,
    /// Rows of the most frequent one.
    pub most_frequent: usize,
}

/// Whether the labels come together, and how that compares with independent labels of the same prevalences.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Company {
    /// Share of the rows without a label, and what independence would give.
    pub none: f64,
    pub none_if_independent: f64,
    /// Share of the rows with two labels or more, and what independence would give.
    pub several: f64,
    pub several_if_independent: f64,
    pub pattern: Pattern,
}

/// How often two labels share a row, against independent ones: lift = rows with both * rows / (positives of the one * positives of
/// the other) (Brin, Motwani, Ullman and Tsur, SIGMOD 1997, call it interest). Pairs of which chance would give fewer than
/// [`EXPECTED`] rows are left out: their lift is an accident.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pairs {
    /// Pairs that are frequent enough.
    pub counted: usize,
    /// Those with a lift below 1/2, and above 2.
    pub seldom: usize,
    pub often: usize,
    /// The most extreme of these, at most [`EXTREMES`] each, the most extreme first.
    pub seldom_pairs: Vec<Pair>,
    pub often_pairs: Vec<Pair>,
}

/// Two labels by their position.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Pair {
    pub labels: [usize; 2],
    /// Rows with both, and how many chance would give.
    pub rows: usize,
    pub expected: f64,
    pub lift: f64,
}

/// Fewest rows that chance must give a pair.
pub const EXPECTED: f64 = 5.0;
/// Pairs that are named.
pub const EXTREMES: usize = 10;

impl Pairs {
    fn of(together: &[Vec<usize>], rows: usize) -> Self {
        let pair = |i: usize, j: usize| {
            let expected = together[i][i] as f64 * together[j][j] as f64 / rows.max(1) as f64;
            let both = together[i][j];
            Pair { labels: [i, j], rows: both, expected, lift: both as f64 / expected }
        };
        let all = (0..together.len()).flat_map(|i| (i + 1..together.len()).map(move |j| (i, j)));
        let counted: Vec<Pair> = all.map(|(i, j)| pair(i, j)).filter(|pair| pair.expected >= EXPECTED).collect();
        let mut seldom: Vec<Pair> = counted.iter().copied().filter(|pair| pair.lift < 0.5).collect();
        let mut often: Vec<Pair> = counted.iter().copied().filter(|pair| pair.lift > 2.0).collect();
        // Of equally rare pairs the one that chance would give most rows.
        seldom.sort_by(|a, b| a.lift.total_cmp(&b.lift).then(b.expected.total_cmp(&a.expected)));
        often.sort_by(|a, b| b.lift.total_cmp(&a.lift).then(b.expected.total_cmp(&a.expected)));
        let mut found = Self { counted: counted.len(), seldom: seldom.len(), often: often.len(), ..Self::default() };
        seldom.truncate(EXTREMES);
        often.truncate(EXTREMES);
        (found.seldom_pairs, found.often_pairs) = (seldom, often);
        found
    }
}

/// How labels go together, by rows with several labels / the same under independence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// Below a quarter: one label mostly excludes the others.
    NearExclusive,
    /// A quarter to 4/5.
    Avoiding,
    /// 4/5 to 5/4.
    AsIfIndependent,
    /// Above 5/4.
    Gathering,
    /// One label only.
    Single,
}

impl Pattern {
    fn of(labels: usize, several: f64, expected: f64) -> Self {
        match several / expected {
            _ if labels < 2 || expected <= 0.0 => Self::Single,
            ratio if ratio < 0.25 => Self::NearExclusive,
            ratio if ratio < 0.8 => Self::Avoiding,
            ratio if ratio <= 1.25 => Self::AsIfIndependent,
            _ => Self::Gathering,
        }
    }
}

/// IRLbl of every label, their mean and coefficient of variation.
#[must_use]
pub fn imbalance(positives: &[usize]) -> Imbalance {
    let most = positives.iter().copied().max().unwrap_or(0) as f64;
    let irlbl: Vec<Option<f64>> = positives.iter().map(|&count| (count > 0).then(|| most / count as f64)).collect();
    let present: Vec<f64> = irlbl.iter().copied().flatten().collect();
    let mean = mean(present.iter().copied());
    let cvir = mean.filter(|_| present.len() > 1).map(|mean| {
        let squares: f64 = present.iter().map(|ratio| (ratio - mean) * (ratio - mean)).sum();
        (squares / (present.len() - 1) as f64).sqrt() / mean
    });
    Imbalance { irlbl, mean_ir: mean, cvir }
}

/// SCUMBLE of one row from the IRLbl of its labels: 1 - geometric mean / arithmetic mean; 0 without labels.
/// (The paper's product runs over all labels and would be 0 almost everywhere; mldr's runs over the row's own.)
#[must_use]
pub fn scumble(active: impl Iterator<Item = f64> + Clone) -> f64 {
    let Some(arithmetic) = mean(active.clone()) else { return 0.0 };
    let geometric = mean(active.map(f64::ln)).map_or(0.0, f64::exp);
    (1.0 - geometric / arithmetic).max(0.0)
}

/// Shares of rows with no label and with several, were the labels independent and each known to be carried by so many of the rows.
#[must_use]
pub fn if_independent(counts: &LabelCounts) -> (f64, f64) {
    // Coefficients of z^0 and z^1 of the product of (1 - p + p z).
    let (mut none, mut one) = (1.0, 0.0);
    for &positives in &counts.positives {
        let p = positives as f64 / counts.rows.max(1) as f64;
        (none, one) = (none * (1.0 - p), one * (1.0 - p) + none * p);
    }
    (none, (1.0 - none - one).max(0.0))
}

/// The diagnosis of all rows of `labels`.
#[must_use]
pub fn diagnose(labels: &LabelMatrix) -> Diagnosis {
    let counts = labels.counts();
    let known_positives = labels.known_positives();
    let (rows, names) = (counts.rows, labels.names.len());
    let share = |part: usize| part as f64 / rows.max(1) as f64;
    let imbalance = imbalance(&counts.positives);
    let mut sets: HashMap<&[u8], usize> = HashMap::new();
    let paired = names.min(TOGETHER);
    let mut together = vec![vec![0; paired]; paired];
    let (mut none, mut several, mut scumbles) = (0, 0, 0.0);
    let mut scumble_of_label = vec![0.0; names];
    for row in known_positives.values.chunks_exact(names.max(1)) {
        *sets.entry(row).or_default() += 1;
        let active: Vec<usize> = (0..names).filter(|&label| row[label] == 1).collect();
        none += usize::from(active.is_empty());
        several += usize::from(active.len() > 1);
        let first = &active[..active.partition_point(|&label| label < paired)];
        for &i in first {
            for &j in first {
                together[i][j] += 1;
            }
        }
        let value = scumble(active.iter().filter_map(|&label| imbalance.irlbl[label]));
        scumbles += value;
        for &label in &active {
            scumble_of_label[label] += value;
        }
    }
    let of = |part: f64, whole: usize| (whole > 0).then(|| part / whole as f64);
    let cardinality = counts.positives.iter().sum::<usize>() as f64 / rows.max(1) as f64;
    let (none_if_independent, several_if_independent) = if_independent(&counts);
    Diagnosis {
        rows,
        imr: counts.positives.iter().enumerate().map(|(label, &n)| of(counts.negatives(label) as f64, n)).collect(),
        cardinality,
        density: cardinality / names.max(1) as f64,
        labelsets: Labelsets {
            distinct: sets.len(),
            singletons: sets.values().filter(|&&rows| rows == 1).count(),
            most_frequent: sets.values().copied().max().unwrap_or(0),
        },
        company: Company {
            none: share(none),
            none_if_independent,
            several: share(several),
            several_if_independent,
            pattern: Pattern::of(names, share(several), several_if_independent),
        },
        scumble: scumbles / rows.max(1) as f64,
        scumble_of_label: scumble_of_label.iter().zip(&counts.positives).map(|(&sum, &n)| of(sum, n)).collect(),
        given: together
            .iter()
            .zip(&counts.positives)
            .map(|(both, &n)| both.iter().map(|&both| of(both as f64, n)).collect())
            .collect(),
        pairs: Pairs::of(&together, rows),
        together,
        positives: counts.positives,
        unknown: counts.unknown,
        imbalance,
    }
}

/// `None` of nothing.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// a and b never meet, c and d always do, and their totals look independent.
    #[test]
    fn pairs_are_seen_where_totals_look_independent() {
        let rows: Vec<[u8; 4]> = (0..80)
            .map(|at| [u8::from(at % 4 == 0), u8::from(at % 4 == 1), u8::from(at % 5 < 2), u8::from(at % 5 < 2)])
            .collect();
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        let found = diagnose(&LabelMatrix { names: names.into(), values: rows.concat() });
        let pairs = &found.pairs;
        assert_eq!((pairs.counted, pairs.seldom, pairs.often), (6, 1, 1));
        let Pair { labels, rows, expected, lift } = pairs.seldom_pairs[0];
        assert_eq!((labels, rows, expected, lift), ([0, 1], 0, 5.0, 0.0));
        let often = pairs.often_pairs[0];
        assert_eq!((often.labels, often.rows, often.expected, often.lift), ([2, 3], 32, 12.8, 2.5));
    }

    /// The question's counts (docs/strategies.md#notation).
    const SEED: [usize; 4] = [19_000, 65_000, 38_000, 105_000];
    const ROWS: usize = 224_000;

    fn close(got: f64, want: f64, tolerance: f64) {
        assert!((got - want).abs() <= tolerance, "{got} instead of {want}");
    }

    fn matrix(rows: &[[u8; 3]]) -> LabelMatrix {
        LabelMatrix { names: ["a", "b", "c"].map(str::to_owned).into(), values: rows.concat() }
    }

    #[test]
    fn the_seed_is_imbalanced_as_its_notes_say() {
        let Imbalance { irlbl, mean_ir, cvir } = imbalance(&SEED);
        for (got, want) in irlbl.iter().zip([5.526, 1.615, 2.763, 1.0]) {
            close(got.unwrap(), want, 5e-4);
        }
        close(mean_ir.unwrap(), 2.726, 5e-4);
        close(cvir.unwrap(), 0.7353, 5e-5);
        let (none, _) = if_independent(&LabelCounts::new(ROWS, SEED.to_vec()));
        close(none, 0.287, 5e-4);
    }

    /// Over all 16 labelsets, weighted with their probabilities.
    #[test]
    fn the_seed_would_have_this_scumble_and_company_were_its_labels_independent() {
        let p = SEED.map(|n| n as f64 / ROWS as f64);
        let irlbl: Vec<f64> = imbalance(&SEED).irlbl.into_iter().flatten().collect();
        let (mut expected, mut several) = (0.0, 0.0);
        for set in 0..16_u32 {
            let on = |label: &usize| set >> label & 1 == 1;
            let probability: f64 = (0..4).map(|label| if on(&label) { p[label] } else { 1.0 - p[label] }).product();
            expected += probability * scumble((0..4).filter(on).map(|label| irlbl[label]));
            several += if set.count_ones() > 1 { probability } else { 0.0 };
        }
        close(expected, 0.0239, 5e-5);
        close(if_independent(&LabelCounts::new(ROWS, SEED.to_vec())).1, several, 1e-12);
    }

    /// Six rows: {a}, {a}, {a, b}, {a, c}, {}, {a}; by hand: IRLbl 1, 5, 5; mean 11/3; sd sqrt(((8/3)² + 2 (4/3)²) / 2) = 4/√3.
    #[test]
    fn a_small_matrix_by_hand() {
        let rows = [[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 0, 1], [0, 0, 0], [1, 0, 0]];
        let found = diagnose(&matrix(&rows));
        assert_eq!((found.rows, found.positives.as_slice()), (6, &[5, 1, 1][..]));
        assert_eq!(found.imbalance.irlbl, [Some(1.0), Some(5.0), Some(5.0)]);
        close(found.imbalance.mean_ir.unwrap(), 11.0 / 3.0, 1e-12);
        close(found.imbalance.cvir.unwrap(), 4.0 / 3f64.sqrt() / (11.0 / 3.0), 1e-12);
        assert_eq!(found.imr, [Some(0.2), Some(5.0), Some(5.0)]);
        close(found.cardinality, 7.0 / 6.0, 1e-12);
        close(found.density, 7.0 / 18.0, 1e-12);
        assert_eq!(found.labelsets, Labelsets { distinct: 4, singletons: 3, most_frequent: 3 });
        // {a, b} and {a, c}: 1 - sqrt(1 * 5) / 3 each.
        let mixed = 1.0 - 5f64.sqrt() / 3.0;
        close(found.scumble, 2.0 * mixed / 6.0, 1e-12);
        close(found.scumble_of_label[0].unwrap(), 2.0 * mixed / 5.0, 1e-12);
        close(found.scumble_of_label[1].unwrap(), mixed, 1e-12);
        assert_eq!(found.together, [[5, 1, 1], [1, 1, 0], [1, 0, 1]]);
        assert_eq!(found.given[0], [Some(1.0), Some(0.2), Some(0.2)]);
        assert_eq!(found.given[1], [Some(1.0), Some(1.0), Some(0.0)]);
        close(found.company.none, 1.0 / 6.0, 1e-12);
        close(found.company.several, 1.0 / 3.0, 1e-12);
        close(found.company.none_if_independent, 1.0 / 6.0 * (5.0 / 6.0) * (5.0 / 6.0), 1e-12);
    }

    /// Equal prevalences of a half, put together in four ways.
    #[test]
    fn the_pattern_tells_exclusive_from_independent_and_gathering_labels() {
        let two = |rows: &[[u8; 2]]| {
            let names: std::sync::Arc<[String]> = ["a", "b"].map(str::to_owned).into();
            diagnose(&LabelMatrix { names, values: rows.concat() }).company.pattern
        };
        assert_eq!(two(&[[1, 0], [0, 1], [1, 0], [0, 1]]), Pattern::NearExclusive);
        assert_eq!(two(&[[1, 1], [0, 1], [1, 0], [0, 0]]), Pattern::AsIfIndependent);
        assert_eq!(two(&[[1, 1], [1, 1], [0, 0], [0, 0]]), Pattern::Gathering);
        assert_eq!(two(&[[1, 1], [1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 1], [0, 0]]), Pattern::Avoiding);
    }

    #[test]
    fn of_many_labels_the_first_are_paired() {
        let names: std::sync::Arc<[String]> = (0..TOGETHER + 100).map(|label| label.to_string()).collect();
        let values = [1, 0, 1].into_iter().cycle().take(3 * names.len()).collect();
        let found = diagnose(&LabelMatrix { names, values });
        assert_eq!((found.together.len(), found.together[0].len(), found.given.len()), (TOGETHER, TOGETHER, TOGETHER));
        assert_eq!((found.positives.len(), found.imr.len(), found.scumble_of_label.len()), (612, 612, 612));
    }

    #[test]
    fn labels_without_positives_stay_out_of_the_means() {
        let found = diagnose(&matrix(&[[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]]));
        assert_eq!(found.imbalance.irlbl, [Some(1.0), Some(2.0), None]);
        assert_eq!(found.imbalance.mean_ir, Some(1.5));
        assert_eq!((found.imr[2], found.scumble_of_label[2], found.given[2][0]), (None, None, None));
        let empty = diagnose(&matrix(&[]));
        assert_eq!((empty.cardinality, empty.imbalance.mean_ir, empty.imbalance.cvir), (0.0, None, None));
    }
}
