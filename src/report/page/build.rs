//! From the database and kept scores to a page.

use std::collections::{BTreeMap, HashMap};

use super::super::columns::Layout;
use super::super::explain;
use super::super::kept_scores::Evidence as Scores;
use super::super::load::{self, Loaded};
use super::super::question::{Question, Split, columns};
use super::super::score::place;
use super::super::summary::Summary;
use super::super::{equal, labels, rank};
use super::axes::{AxisShare, omega_squared};
use super::evidence::{Cache, Frozen, pack};
use super::learning;
use super::mistakes::{Pictures, mistakes};
use super::model::{Evidence, Failure, Model, RowLabels, Running, SCHEMA_VERSION, SweepHead};
use super::pack as packed;
use super::provenance::Provenance;
use super::stops::stops;
use super::strategies::{Known, of_grid, short, strategies};
use super::verdict::{self, Verdict};
use super::{Page, PageOptions, board};
use crate::error::Error;
use archive::runs_folder;
use data::Dataset;
use imbalance::evaluation::FittedPolicy;
use imbalance::threshold::{self, middle, resampled_max_f1};
use store::{At, Reader, SweepConfig, SweepId};

/// Strategies whose runs, counts and curves are on the page; the others have their rows.
const DETAILED: usize = 200;
/// Rows whose labels stand in the document.
const BEST: usize = 3;
/// Resamples of the rows for the interval of a threshold, and how many of these are in it.
const RESAMPLES: usize = 200;
const LEVEL: f64 = 0.9;
/// Cells that are looked at for such intervals: beyond, the strategies that rank lower have none.
const WORK: usize = 60_000_000;
/// The policy that has an interval.
const TUNED: &str = "max_f1";

/// Makes pages of one sweep. What it has read about recorded runs, which do not change, is kept from one page to the next.
pub struct PageBuilder {
    options: PageOptions,
    evidence: Cache,
    kept: Option<load::Kept>,
}

impl PageBuilder {
    #[must_use]
    pub fn new(options: PageOptions) -> Self {
        Self { options, evidence: Cache::default(), kept: None }
    }

    /// The page of what the database holds now. `tell` hears of a verdict that takes long: runs done, of all.
    ///
    /// # Errors
    /// The database; an epoch or a column that the sweep does not have.
    pub async fn build(
        &mut self,
        reader: &mut Reader,
        sweep: SweepId,
        tell: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Page, Error> {
        let row = reader.sweep(sweep).await?;
        let on_val = Question { split: Split::Val, ..self.options.question.clone() };
        let on_test = Question { split: Split::Test, ..on_val.clone() };
        let loaded = load::refresh(&mut self.kept, reader, row, &on_test).await?;
        let mut missing = Vec::new();
        let verdict = self.verdict(reader, &loaded, tell, &mut missing).await;
        let names = columns(&on_val.group_by, &loaded.keys)?;
        let mut summary = rank::rank(&loaded, &on_val, &names);
        let alike = equal::candidates(&summary);
        let places: Vec<usize> = alike.iter().flatten().copied().collect();
        let parts = load::labels(reader, &loaded, &on_val, &summary, &places).await?;
        equal::mark(&mut summary, &alike, &parts);
        let test = rank::rank(&loaded, &on_test, &names);
        let mut known = strategies(&summary, &loaded, verdict.as_ref(), DETAILED);
        self.label_ap(reader, &loaded, &summary, &mut known).await?;
        let evidence = self.evidence(reader, &loaded, &mut known, &mut missing).await?;
        let labels = self.best_labels(reader, &loaded, &on_val, &summary).await?;
        let learning = self.learning(reader, &loaded, &known, &mut missing).await?;
        let pictures = self.pictures(reader, &loaded, &summary, &known, &mut missing).await?;
        let provenance = Provenance::of(reader, &loaded, &on_val).await?;
        let model = Model {
            schema_version: SCHEMA_VERSION,
            sweep: SweepHead { title: summary.sweep.clone(), state: summary.state.clone() },
            runs: summary.runs,
            metric: summary.metric.to_owned(),
            lower_is_better: summary.lower_is_better,
            epoch: summary.epoch.clone(),
            policies: summary.policies.clone(),
            columns: board::columns(&summary),
            data: board::data(&summary, &loaded),
            verdict,
            rows: board::rows(&summary, &test),
            strategies: known.into_iter().map(|known| known.strategy).collect(),
            stops: stops(),
            evidence,
            learning,
            labels,
            axes: axes(&loaded, &summary),
            running: running(reader, &loaded).await?,
            failures: failures(reader, &loaded).await?,
            samplers: summary.samplers,
            pictures,
            notes: summary.notes,
            missing,
            provenance,
        };
        Ok(Page { model })
    }

    /// The verdict, where there is time for it; otherwise the page says how to get it.
    async fn verdict(
        &self,
        reader: &mut Reader,
        loaded: &Loaded,
        tell: &(dyn Fn(usize, usize) + Sync),
        missing: &mut Vec<String>,
    ) -> Option<Verdict> {
        if self.options.question.at != At::Best {
            missing.push("the verdict: strategies are judged at their best epochs only".to_owned());
            return None;
        }
        let quick = explain::is_quick(reader.path(), loaded);
        if !quick && let Some(kept) = verdict::kept(reader.path(), loaded) {
            return Some(kept);
        }
        if !loaded.runs.iter().any(|run| run.row.state == "succeeded") {
            return None;
        }
        if !quick && !self.options.patient {
            missing.push(
                "the verdict: it takes long to compute here; `sweep explain` makes it, and keeps it for the page".to_owned(),
            );
            return None;
        }
        match explain::explain(reader, &loaded.sweep, &explain::ExplainOptions::default(), tell).await {
            Ok(found) => {
                let verdict = Verdict::from(&found);
                if !quick {
                    verdict::keep(reader.path(), loaded, &verdict);
                }
                Some(verdict)
            }
            Err(why) => {
                missing.push(format!("the verdict: {why}"));
                None
            }
        }
    }

    /// AP of each label, of the strategies that have their runs.
    async fn label_ap(&self, reader: &mut Reader, loaded: &Loaded, summary: &Summary, known: &mut [Known]) -> Result<(), Error> {
        let first: HashMap<String, usize> =
            summary.rows.iter().enumerate().rev().map(|(place, row)| (board::strategy_key(row), place)).collect();
        let detailed: Vec<usize> =
            known.iter().take(DETAILED).filter_map(|known| first.get(&known.strategy.key).copied()).collect();
        let on_val = Question { split: Split::Val, ..self.options.question.clone() };
        let parts = load::labels(reader, loaded, &on_val, summary, &detailed).await?;
        for Known { strategy, .. } in known.iter_mut().take(DETAILED) {
            let Some(parts) = first.get(&strategy.key).and_then(|place| parts.get(place)) else { continue };
            let rounded = |value: f64| (value * 1e5).round() / 1e5;
            strategy.ap = labels::lines(parts, &summary.data[strategy.data]).iter().map(|line| line.ap.map(rounded)).collect();
        }
        Ok(())
    }

    /// The labels of the best rows.
    async fn best_labels(
        &self,
        reader: &mut Reader,
        loaded: &Loaded,
        question: &Question,
        summary: &Summary,
    ) -> Result<Vec<RowLabels>, Error> {
        let places: Vec<usize> = (0..summary.rows.len()).filter(|&place| summary.rows[place].is_strategy()).take(BEST).collect();
        let parts = load::labels(reader, loaded, question, summary, &places).await?;
        let layout = Layout::of(summary);
        let described = |place: &usize| {
            let row = &summary.rows[*place];
            let set = &summary.data[row.data];
            let mut lines = labels::lines(parts.get(place)?, set);
            lines.sort_by(|a, b| a.prevalence.total_cmp(&b.prevalence));
            let rank = row.rank.map_or_else(String::new, |rank| format!("#{rank} "));
            Some(RowLabels { title: format!("{rank}{}", layout.name(row)), lines })
        };
        Ok(places.iter().filter_map(described).collect())
    }

    /// Counts, curves and bins of the first strategies.
    async fn evidence(
        &mut self,
        reader: &mut Reader,
        loaded: &Loaded,
        known: &mut [Known],
        missing: &mut Vec<String>,
    ) -> Result<Vec<Evidence>, Error> {
        let stops = stops();
        let folder = runs_folder(reader.path());
        let question = &self.options.question;
        let epoch = |run: usize| super::super::refit::epoch(&loaded.runs[run], question);
        let named = |run: usize| Some((loaded.runs[run].row.run.clone(), epoch(run)?));
        let wanted: Vec<(String, usize)> =
            known.iter().take(DETAILED).flat_map(|known| &known.runs).filter_map(|&run| named(run)).collect();
        self.evidence.read(&folder, &wanted, &stops);
        let runs: Vec<String> = wanted.iter().map(|(run, _)| run.clone()).collect();
        let recorded = reader.frozen_counts(loaded.sweep.id, question.at, &runs).await?;
        let mut frozen: HashMap<(&str, &str), Vec<Frozen>> = HashMap::new();
        for counts in &recorded {
            let labels =
                frozen.entry((&counts.run, &counts.policy)).or_insert_with(|| vec![Frozen::default(); counts.labels.len()]);
            for (label, &(threshold, tp, fp)) in labels.iter_mut().zip(&counts.labels) {
                label.threshold = threshold as f32;
                *(if counts.split == "val" { &mut label.val } else { &mut label.test }) = [tp, fp];
            }
        }
        let (mut found, mut without) = (Vec::new(), Vec::new());
        let mut left = WORK;
        for Known { strategy, runs } in known.iter_mut().take(DETAILED) {
            let labels = loaded.data[loaded.runs[*runs.first().unwrap_or(&0)].data].labels.len();
            let named: Vec<(String, usize)> = runs.iter().filter_map(|&run| named(run)).collect();
            let evidence: Vec<_> = named.iter().map(|run| self.evidence.get(run)).collect();
            without
                .extend(evidence.iter().zip(&named).filter_map(|(found, run)| Some((short(&run.0), (*found).err()?.to_owned()))));
            for (run, evidence) in strategy.runs.iter_mut().zip(&evidence) {
                run.scores = evidence.is_ok();
            }
            let policies = |run: &(String, usize)| -> Vec<Vec<Frozen>> {
                let of = |policy: &String| match frozen.get(&(run.0.as_str(), policy.as_str())) {
                    Some(labels) => labels.clone(),
                    None => made(&folder.join(&run.0), run.1, policy).unwrap_or_else(|| vec![Frozen::default(); labels]),
                };
                loaded.policies.iter().map(of).collect()
            };
            let frozen: Vec<Vec<Vec<Frozen>>> = named.iter().map(policies).collect();
            let evidence: Vec<_> = evidence.into_iter().map(Result::ok).collect();
            let cells = loaded.data[loaded.runs[*runs.first().unwrap_or(&0)].data].val.rows * labels * RESAMPLES * runs.len();
            let mut intervals = BTreeMap::new();
            if of_grid(strategy) && loaded.policies.iter().any(|policy| policy == TUNED) && cells <= left {
                left -= cells;
                intervals.extend(interval(&folder, &named).map(|found| (TUNED.to_owned(), found)));
            }
            found.push(Evidence {
                key: strategy.key.clone(),
                packed: packed::text(&pack(&evidence, &frozen, labels)),
                intervals,
            });
        }
        if let Some((run, why)) = without.first() {
            missing.push(format!(
                "sliders, curves and reliability of {}: no kept scores (run {run}: {why}); tables are complete",
                super::super::text_grid::several(without.len(), "run")
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

    async fn learning(
        &self,
        reader: &mut Reader,
        loaded: &Loaded,
        known: &[Known],
        missing: &mut Vec<String>,
    ) -> Result<Vec<learning::Learning>, Error> {
        let of_grid = known.iter().take(DETAILED).filter(|known| of_grid(&known.strategy));
        let named = |&run: &usize| {
            let row = &loaded.runs[run].row;
            (row.run.clone(), short(&row.run), row.seed)
        };
        let strategies: Vec<(String, Vec<learning::Named>)> =
            of_grid.map(|known| (known.strategy.key.clone(), known.runs.iter().map(named).collect())).collect();
        let runs: Vec<String> = strategies.iter().flat_map(|(_, runs)| runs).map(|run| run.0.clone()).collect();
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        let (found, shown) = learning::curves(reader.curves(loaded.sweep.id, &runs).await?, &strategies);
        if shown < strategies.len() {
            missing.push(format!("learning curves: of the best {shown} strategies only"));
        }
        Ok(found)
    }

    /// The worst mistakes of the first row's first run.
    async fn pictures(
        &self,
        reader: &mut Reader,
        loaded: &Loaded,
        summary: &Summary,
        known: &[Known],
        missing: &mut Vec<String>,
    ) -> Result<Option<Pictures>, Error> {
        let Some(row) = summary.rows.iter().find(|row| row.is_strategy()).filter(|_| self.options.images) else {
            return Ok(None);
        };
        let key = board::strategy_key(row);
        let Some(first) = known.iter().find(|known| known.strategy.key == key) else { return Ok(None) };
        let Some(run) = first.runs.first().map(|&run| &loaded.runs[run]) else { return Ok(None) };
        let Some(epoch) = super::super::refit::epoch(run, &self.options.question) else { return Ok(None) };
        let Some(SweepConfig { config, folder, .. }) = reader.run_config(loaded.sweep.id, &run.row.run).await? else {
            return Ok(None);
        };
        if !config.data.source.is_of_images() {
            return Ok(None);
        }
        let facts = &loaded.data[run.data];
        let places = labels::rare(&facts.val.positives, &[]);
        let made = || -> Result<_, String> {
            let scores =
                Scores::read(&runs_folder(reader.path()).join(&run.row.run), epoch).map_err(|error| error.to_string())?;
            let policy = threshold::parse(&row.policy).map_err(|error| error.to_string())?;
            let fitted = FittedPolicy::new(&policy, &scores.val.scores, &scores.val.truth).map_err(|error| error.to_string())?;
            let data = Dataset::open(&folder, &config.data).map_err(|error| error.to_string())?;
            mistakes(&data, &scores.val, &fitted.rule, &facts.labels, &places)
        };
        match made() {
            Ok(labels) => Ok(Some(Pictures {
                run: short(&run.row.run),
                strategy: first.strategy.name.clone(),
                policy: row.policy.clone(),
                labels,
            })),
            Err(why) => {
                missing.push(format!("pictures of the worst mistakes: {why}"));
                Ok(None)
            }
        }
    }
}

/// Counts under a policy that the database has no rows of, from kept scores.
fn made(folder: &std::path::Path, epoch: usize, policy: &str) -> Option<Vec<Frozen>> {
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

/// The middle of the mean threshold over `runs` (fingerprint, epoch) that `max_f1` fits to resampled rows of val, for each label: all runs
/// see the same resamples. `None` where a run has no kept scores.
fn interval(folder: &std::path::Path, runs: &[(String, usize)]) -> Option<Vec<Option<[f32; 2]>>> {
    let mut sums: Vec<Vec<f32>> = Vec::new();
    for (run, epoch) in runs {
        let scores = Scores::read(&folder.join(run), *epoch).ok()?;
        let found = resampled_max_f1(&scores.val.scores, &scores.val.truth, None, RESAMPLES, super::super::difference::SEED);
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

/// What each axis explains, the most first.
fn axes(loaded: &Loaded, summary: &Summary) -> Vec<AxisShare> {
    let metric = |score: &&super::super::score::Score| score.held_out.or(score.values[place(summary.metric)]);
    let of_grid = |run: usize| loaded.runs[run].row.reference().is_none();
    let scores: Vec<_> = loaded.val.iter().filter(|score| of_grid(score.run) && metric(score).is_some()).collect();
    let mut ap: BTreeMap<usize, f64> = BTreeMap::new();
    for score in &scores {
        ap.extend(score.values[place("macro_ap")].map(|value| (score.run, value)));
    }
    let values: Vec<f64> = scores.iter().filter_map(metric).collect();
    let ranked: Vec<f64> = ap.values().copied().collect();
    let mut found = Vec::new();
    for column in super::super::question::every_column(&loaded.keys) {
        let text = |run: usize| column.value(&loaded.runs[run].row, &loaded.runs[run].params).to_string();
        let groups: Vec<String> = scores.iter().map(|score| text(score.run)).collect();
        let by_run: Vec<String> = ap.keys().map(|&run| text(run)).collect();
        let levels = groups.iter().collect::<std::collections::BTreeSet<_>>().len();
        if levels > 1 {
            let (ap, metric) = (omega_squared(&ranked, &by_run), omega_squared(&values, &groups));
            found.push(AxisShare { axis: column.name().to_owned(), levels, ap, metric });
        }
    }
    if loaded.policies.len() > 1 {
        let groups: Vec<String> = scores.iter().map(|score| loaded.policies[score.policy].clone()).collect();
        let levels = loaded.policies.len();
        found.push(AxisShare { axis: "threshold".to_owned(), levels, ap: None, metric: omega_squared(&values, &groups) });
    }
    found.sort_by(|a, b| b.metric.unwrap_or(0.0).total_cmp(&a.metric.unwrap_or(0.0)));
    found
}

/// The runs under way, with their curves so far.
async fn running(reader: &mut Reader, loaded: &Loaded) -> Result<Vec<Running>, Error> {
    let attempts = reader.running(loaded.sweep.id).await?;
    if attempts.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = attempts.iter().map(|attempt| attempt.run.clone()).collect();
    let points = reader.curves(loaded.sweep.id, &names).await?;
    let all: Vec<_> = loaded.runs.iter().chain(&loaded.passed_over).collect();
    let running = |attempt: store::RunningAttempt| {
        let own: Vec<_> = points.iter().filter(|point| point.run == attempt.run).collect();
        let run = all.iter().find(|run| run.row.run == attempt.run);
        Running {
            key: short(&attempt.run),
            name: run.map_or_else(String::new, |run| run_name(run)),
            seed: run.map_or(0, |run| run.row.seed),
            device: attempt.device,
            started_at: attempt.started_at,
            evaluations: attempt.epochs_done,
            of: attempt.epochs,
            steps: own.last().and_then(|point| point.steps),
            images_per_s: attempt.images_per_s,
            ap: own.iter().map(|point| point.macro_ap).collect(),
        }
    };
    Ok(attempts.into_iter().map(running).collect())
}

fn run_name(run: &load::Run) -> String {
    super::super::strategy_names::strategy(&run.row.loss, &run.row.pos_weight, run.row.gamma, &run.row.sampler, &run.params)
}

async fn failures(reader: &mut Reader, loaded: &Loaded) -> Result<Vec<Failure>, Error> {
    let failed = reader.failures(loaded.sweep.id).await?.into_iter();
    let params: HashMap<&str, &load::Run> = loaded.runs.iter().map(|run| (run.row.run.as_str(), run)).collect();
    let failure = |failed: store::FailedRun| Failure {
        key: short(&failed.run),
        name: params.get(failed.run.as_str()).map_or_else(|| failed.loss.clone(), |run| run_name(run)),
        seed: failed.seed,
        attempts: failed.attempts,
        outcome: failed.outcome,
        why: failed.why,
    };
    Ok(failed.map(failure).collect())
}
