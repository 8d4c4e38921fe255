//! What the page carries of each strategy instead of its scores: counts at the stops of the sliders, the precision-recall curve, bins of
//! reliability. All of val; of test the counts under thresholds that were frozen on val.

use std::collections::HashMap;
use std::path::Path;

use rayon::prelude::*;

use super::super::kept_scores::{Evidence as Scores, KeptRows};
use super::pack::Packer;
use imbalance::metric::{Counts, Curve, column};

/// Recall levels of a precision-recall curve: 0, 1/64, ..., 1.
pub const LEVELS: usize = 65;
/// Bins of a reliability diagram. Their rows and positives are those between stops.
pub const BINS: usize = 10;
/// Shares are packed in units of 1 / this.
pub const UNIT: f64 = 1_000.0;

/// A run on val: what its scores come to.
#[derive(Clone, Debug, PartialEq)]
pub struct RunEvidence {
    /// Packed true and false positives, label by label, at every stop.
    counts: Vec<u8>,
    /// `[label][level]`: the precision at the highest threshold that reaches the recall; empty without positives.
    precision: Vec<Vec<f64>>,
    /// `[label][bin]`: rows, and the sum of their scores.
    bins: Vec<[(u64, f64); BINS]>,
}

/// Counts of one label under one policy: a threshold fitted on val, and true and false positives on val and on test.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Frozen {
    pub threshold: f32,
    pub val: [u64; 2],
    pub test: [u64; 2],
}

impl RunEvidence {
    /// Reads the kept scores of a run.
    ///
    /// # Errors
    /// Missing or damaged files, in words.
    pub fn read(folder: &Path, epoch: usize, stops: &[f64]) -> Result<Self, String> {
        Scores::read_val(folder, epoch).map(|rows| Self::of(&rows, stops)).map_err(|error| error.to_string())
    }

    /// From scores on val.
    #[must_use]
    pub fn of(rows: &KeptRows, stops: &[f64]) -> Self {
        let labels = rows.truth.names.len();
        let (mut counts, mut precision, mut bins) = (Packer::default(), Vec::new(), Vec::new());
        for label in 0..labels {
            let curve = Curve::of(&rows.scores, &rows.truth, label);
            let at: Vec<Counts> = stops.iter().map(|&stop| curve.counts(stop as f32)).collect();
            counts.falling(at.iter().map(|counts| counts.tp));
            counts.falling(at.iter().map(|counts| counts.fp));
            let ranked = match &rows.logits {
                Some(logits) => Curve::of(logits, &rows.truth, label),
                None => curve,
            };
            precision.push(precisions(&ranked));
            bins.push(score_sums(column(&rows.scores, &rows.truth, label).map(|(score, _)| score)));
        }
        Self { counts: counts.bytes(), precision, bins }
    }
}

/// Rows and sum of scores of each bin. Its edges are float32, as the stops of the sliders are: the rows and positives of a bin are the
/// differences of counts between two stops.
fn score_sums(scores: impl Iterator<Item = f32>) -> [(u64, f64); BINS] {
    let edges: [f32; BINS] = std::array::from_fn(|bin| (bin as f64 / BINS as f64) as f32);
    let mut bins = [(0, 0.0); BINS];
    for score in scores {
        let bin = &mut bins[edges.partition_point(|&edge| edge <= score).saturating_sub(1)];
        *bin = (bin.0 + 1, bin.1 + f64::from(score));
    }
    bins
}

/// The precision at each recall level: of the highest threshold whose recall is at least that. Empty without positives.
fn precisions(curve: &Curve) -> Vec<f64> {
    if curve.positives == 0 {
        return Vec::new();
    }
    let level = |level: usize| {
        // tp / positives >= level / (LEVELS - 1), in whole numbers; a level of 0 is the first positive.
        let wanted = (level as u64 * curve.positives).div_ceil(LEVELS as u64 - 1).max(1);
        let step = &curve.steps[curve.steps.partition_point(|step| step.tp < wanted)];
        step.tp as f64 / step.predicted as f64
    };
    (0..LEVELS).map(level).collect()
}

/// One strategy, packed; see docs/page.md#packed-counts.
///
/// `runs` are its recorded runs, `frozen` their counts: `[run][policy][label]`.
#[must_use]
pub fn pack(runs: &[Option<&RunEvidence>], frozen: &[Vec<Vec<Frozen>>], labels: usize) -> Vec<u8> {
    let mut packer = Packer::default();
    for run in runs.iter().flatten() {
        packer.append(&run.counts);
    }
    for frozen in frozen.iter().flatten().flatten() {
        packer.float(frozen.threshold);
        frozen.val.iter().chain(&frozen.test).for_each(|&count| packer.number(count));
    }
    let known: Vec<&RunEvidence> = runs.iter().flatten().copied().collect();
    for label in 0..labels {
        let curves: Vec<&Vec<f64>> =
            known.iter().filter_map(|run| run.precision.get(label)).filter(|curve| !curve.is_empty()).collect();
        packer.number(u64::from(!curves.is_empty()));
        if !curves.is_empty() {
            packer.shares((0..LEVELS).map(|level| curves.iter().map(|curve| curve[level]).sum::<f64>() / curves.len() as f64));
        }
        for bin in 0..BINS {
            let bins = known.iter().filter_map(|run| Some(run.bins.get(label)?[bin]));
            let (rows, sum) = bins.fold((0, 0.0), |(rows, sum), bin| (rows + bin.0, sum + bin.1));
            // Above its lower edge: a small number.
            packer.share((sum / rows.max(1) as f64 - bin as f64 / BINS as f64).max(0.0));
        }
    }
    packer.bytes()
}

/// What was read of the runs' scores: it does not change once a run is recorded.
#[derive(Default)]
pub struct Cache {
    runs: HashMap<(String, usize), Result<RunEvidence, String>>,
}

impl Cache {
    /// Reads what is not known yet of these runs (fingerprint, epoch), in parallel.
    pub fn read(&mut self, folder: &Path, wanted: &[(String, usize)], stops: &[f64]) {
        let missing: Vec<&(String, usize)> = wanted.iter().filter(|run| !self.runs.contains_key(*run)).collect();
        let read: Vec<_> =
            missing.into_par_iter().map(|run| (run.clone(), RunEvidence::read(&folder.join(&run.0), run.1, stops))).collect();
        self.runs.extend(read);
    }

    /// What is known of a run, or why nothing is.
    pub fn get(&self, run: &(String, usize)) -> Result<&RunEvidence, &str> {
        match self.runs.get(run) {
            Some(Ok(evidence)) => Ok(evidence),
            Some(Err(why)) => Err(why),
            None => Err("not read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::page::pack::Unpacker;
    use crate::report::page::stops::stops;
    use imbalance::LabelMatrix;

    fn rows() -> KeptRows {
        let names = ["A".to_owned(), "B".to_owned()];
        let scores = vec![0.9, 0.004, 0.5, 0.2, 0.7, 0.35, 0.1, 0.35];
        KeptRows::of(scores, LabelMatrix { names: names.into(), values: vec![1, 0, 0, 0, 1, 0, 0, 0] })
    }

    #[test]
    fn counts_at_stops_are_those_of_thresholds() {
        let stops = stops();
        let evidence = RunEvidence::of(&rows(), &stops);
        let frozen = vec![vec![vec![Frozen { threshold: 0.3, val: [2, 1], test: [0, 300] }; 2]]];
        let packed = pack(&[Some(&evidence)], &frozen, 2);
        let mut unpacker = Unpacker::new(&packed);
        let a: Vec<[u64; 2]> = unpacker.two_falling(stops.len());
        for (stop, wanted) in
            [(0.0, [2, 2]), (0.1, [2, 2]), (0.2, [2, 1]), (0.5, [2, 1]), (0.51, [2, 0]), (0.8, [1, 0]), (1.0, [0, 0])]
        {
            assert_eq!(a[stops.iter().position(|&at| at == stop).unwrap()], wanted, "{stop}");
        }
        let b = unpacker.two_falling(stops.len());
        // 0.35f32 is a stop and a score: it is predicted there.
        assert_eq!(b[stops.iter().position(|&at| at == 0.35).unwrap()], [0, 2]);
        for _ in 0..2 {
            assert_eq!(unpacker.float(), 0.3);
            assert_eq!([0; 4].map(|_: u64| unpacker.number()), [2, 1, 0, 300]);
        }
        // A: .9 and .7 are the positives, no negative is above them.
        assert_eq!(unpacker.number(), 1);
        assert_eq!(unpacker.shares(LEVELS), [1.0; LEVELS]);
        // The mean score of each bin, above its lower edge.
        let bins: Vec<u64> = (0..BINS).map(|_| unpacker.number()).collect();
        assert_eq!(bins, [0; BINS], "0.9, 0.5, 0.7 and 0.1 are edges");
        // B has no positive, and no curve; 0.35 is in the middle of its bin.
        assert_eq!(unpacker.number(), 0);
        assert_eq!((0..BINS).map(|_| unpacker.number()).collect::<Vec<_>>(), [4, 0, 0, 50, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn precision_is_that_of_the_highest_threshold_that_reaches_the_recall() {
        let truth = LabelMatrix { names: ["A".to_owned()].into(), values: vec![1, 0, 1, 0, 0, 1] };
        let curve = Curve::of(&[0.9, 0.8, 0.7, 0.6, 0.5, 0.4], &truth, 0);
        let found = precisions(&curve);
        assert_eq!((found[0], found[21], found[22], found[42], found[43], found[64]), (1.0, 1.0, 2.0 / 3.0, 2.0 / 3.0, 0.5, 0.5));
    }
}
