//! The counts of the strategies that rank best, as the page carries them. What was read of a recorded run does not change: it is kept from
//! one page to the next, and a strategy is packed again only when its runs change.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rayon::prelude::*;

use super::super::difference::SEED;
use super::super::kept_scores::{Evidence as Scores, SweepGroups};
use super::super::load::Loaded;
use super::super::question::{Question, Split};
use super::super::refit::epoch;
use super::super::text_grid::several;
use super::DETAILED;
use super::evidence::{Cache, Frozen, pack};
use super::model::Evidence;
use super::pack::text;
use super::stops::stops;
use super::strategies::{Known, of_grid, short};
use crate::error::Error;
use archive::runs_folder;
use imbalance::evaluation::FittedPolicy;
use imbalance::threshold::{self, middle, resampled_max_f1};
use store::Reader;

/// Resamples of the rows for the interval of a threshold, and how many of these are in it.
const RESAMPLES: usize = 200;
const LEVEL: f64 = 0.9;
/// Cells that are looked at for such intervals: beyond, the strategies that rank lower have none.
const WORK: usize = 30_000_000;
/// The policy that has an interval.
const TUNED: &str = "max_f1";

/// Fingerprint and epoch.
type At = (String, usize);

/// What is known.
#[derive(Default)]
pub struct Counts {
    scores: Cache,
    /// Run → policy → label.
    frozen: HashMap<String, HashMap<String, Vec<Frozen>>>,
    /// Key of a strategy → its runs, and what they were packed to.
    packed: HashMap<String, (Vec<At>, Evidence)>,
    /// The groups of the rows of every run of the sweep, once a threshold is resampled.
    groups: Option<SweepGroups>,
}

impl Counts {
    /// The evidence of the first strategies, of at most `room` bytes. Marks the runs whose scores could be read.
    ///
    /// # Errors
    /// The database.
    pub async fn carried(
        &mut self,
        reader: &mut Reader,
        loaded: &Loaded,
        question: &Question,
        mut room: usize,
        known: &mut [Known],
        missing: &mut Vec<String>,
    ) -> Result<Vec<Evidence>, Error> {
        let folder = runs_folder(reader.path());
        let named = |run: usize| Some((loaded.runs[run].row.run.clone(), epoch(&loaded.runs[run], question)?));
        let wanted: Vec<At> = known.iter().take(DETAILED).flat_map(|known| &known.runs).filter_map(|&run| named(run)).collect();
        self.scores.read(&folder, &wanted, &stops());
        self.read_frozen(reader, loaded, question, &wanted).await?;
        let (mut without, mut left, mut todo) = (Vec::new(), WORK, Vec::new());
        for Known { strategy, runs } in known.iter_mut().take(DETAILED) {
            let Some(facts) = runs.first().map(|&run| &loaded.data[loaded.runs[run].data]) else { continue };
            let named: Vec<At> = runs.iter().filter_map(|&run| named(run)).collect();
            for (run, at) in strategy.runs.iter_mut().zip(&named) {
                let scores = self.scores.get(at);
                run.scores = scores.is_ok();
                without.extend(scores.err().map(|why| (short(&at.0), why.to_owned())));
            }
            let cells = facts.val.rows * facts.labels.len() * RESAMPLES * runs.len();
            let sure = of_grid(strategy) && loaded.policies.iter().any(|policy| policy == TUNED) && cells <= left;
            left -= if sure { cells } else { 0 };
            if self.packed.get(&strategy.key).is_none_or(|(of, _)| *of != named) {
                todo.push((strategy.key.clone(), named, facts.labels.len(), sure));
            }
        }
        if self.groups.is_none() && todo.iter().any(|(.., sure)| *sure) {
            self.groups = Some(SweepGroups::read(reader, loaded.sweep.id).await.unwrap_or_default());
        }
        let packed = |(key, named, labels, sure): (String, Vec<At>, usize, bool)| {
            let frozen: Vec<Vec<Vec<Frozen>>> =
                named.iter().map(|run| self.policies(&folder, run, &loaded.policies, labels)).collect();
            let scores: Vec<_> = named.iter().map(|run| self.scores.get(run).ok()).collect();
            let intervals = self.groups.as_ref().filter(|_| sure).and_then(|groups| interval(&folder, &named, groups));
            let intervals: BTreeMap<_, _> = intervals.map(|found| (TUNED.to_owned(), found)).into_iter().collect();
            let evidence = Evidence { key: key.clone(), packed: text(&pack(&scores, &frozen, labels)), intervals };
            (key, (named, evidence))
        };
        let packed: Vec<_> = todo.into_par_iter().map(packed).collect();
        self.packed.extend(packed);
        let evidence = known.iter().take(DETAILED).filter_map(|known| Some(&self.packed.get(&known.strategy.key)?.1));
        let fits = |evidence: &&Evidence| room.checked_sub(evidence.packed.len()).map(|rest| room = rest).is_some();
        let found: Vec<Evidence> = evidence.take_while(fits).cloned().collect();
        let detailed = known.len().min(DETAILED);
        if found.len() < detailed {
            missing.push(format!(
                "sliders and curves of {} strategies: the best {} have theirs, so that the page stays small",
                detailed - found.len(),
                found.len()
            ));
        }
        if let Some((run, why)) = without.first() {
            missing.push(format!(
                "sliders, curves and reliability of {}: no kept scores (run {run}: {why}); tables are complete",
                several(without.len(), "run")
            ));
        }
        if known.len() > DETAILED {
            missing.push(format!(
                "runs, sliders and curves of the {} strategies that rank lowest: the best {DETAILED} have theirs",
                known.len() - DETAILED
            ));
        }
        Ok(found)
    }

    /// Reads the counts of runs that are not known yet.
    async fn read_frozen(
        &mut self,
        reader: &mut Reader,
        loaded: &Loaded,
        question: &Question,
        wanted: &[At],
    ) -> Result<(), Error> {
        let unknown = |run: &&At| !self.frozen.contains_key(&run.0);
        let unknown: Vec<String> = wanted.iter().filter(unknown).map(|run| run.0.clone()).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        for counts in reader.frozen_counts(loaded.sweep.id, question.at, &unknown).await? {
            let policies = self.frozen.entry(counts.run).or_default();
            let labels = policies.entry(counts.policy).or_insert_with(|| vec![Frozen::default(); counts.labels.len()]);
            for (label, &(threshold, tp, fp)) in labels.iter_mut().zip(&counts.labels) {
                label.threshold = threshold as f32;
                *(if counts.split == "val" { &mut label.val } else { &mut label.test }) = [tp, fp];
            }
        }
        Ok(())
    }

    /// A run's counts under each policy: those of the database, or from kept scores.
    fn policies(&self, folder: &Path, run: &At, policies: &[String], labels: usize) -> Vec<Vec<Frozen>> {
        let recorded = self.frozen.get(&run.0);
        let of = |policy: &String| match recorded.and_then(|recorded| recorded.get(policy)) {
            Some(labels) => labels.clone(),
            None => made(&folder.join(&run.0), run.1, policy).unwrap_or_else(|| vec![Frozen::default(); labels]),
        };
        policies.iter().map(of).collect()
    }
}

/// Counts under a policy that the database has no rows of, from kept scores.
fn made(folder: &Path, epoch: usize, policy: &str) -> Option<Vec<Frozen>> {
    let scores = Scores::read(folder, epoch).ok()?;
    let fitted = FittedPolicy::new(&threshold::parse(policy).ok()?, &scores.val.scores, &scores.val.truth).ok()?;
    let val = fitted.decide(&scores.val.scores, &scores.val.truth);
    let test = scores.test.as_ref().map(|test| fitted.decide(&test.scores, &test.truth));
    let labels = val.counts.iter().enumerate().zip(&val.thresholds);
    let frozen = labels.map(|((label, counts), &threshold)| Frozen {
        threshold,
        val: [counts.tp, counts.fp],
        test: test.as_ref().map_or([0; 2], |test| [test.counts[label].tp, test.counts[label].fp]),
    });
    Some(frozen.collect())
}

/// The middle of the mean threshold over `runs` that `max_f1` fits to resampled rows (or groups) of val, for each label: all runs see the same
/// resamples. `None` where a run has no kept scores.
fn interval(folder: &Path, runs: &[At], groups: &SweepGroups) -> Option<Vec<Option<[f32; 2]>>> {
    let mut sums: Vec<Vec<f32>> = Vec::new();
    for (run, epoch) in runs {
        let val = Scores::read_val(&folder.join(run), *epoch).ok()?;
        let groups = groups.of(run).ok().flatten().and_then(|groups| groups.of(Split::Val, val.truth.rows()));
        let found = resampled_max_f1(&val.scores, &val.truth, groups, RESAMPLES, SEED);
        if sums.is_empty() {
            sums = found;
        } else {
            // Whether a resample has a positive depends on its rows alone: all runs of a data set have the same resamples.
            for (sums, found) in sums.iter_mut().zip(found) {
                sums.iter_mut().zip(found).for_each(|(sum, value)| *sum += value);
            }
        }
    }
    sums.iter_mut().flatten().for_each(|sum| *sum /= runs.len() as f32);
    Some(sums.iter_mut().map(|values| middle(values, LEVEL).map(|(low, high)| [low, high])).collect())
}
