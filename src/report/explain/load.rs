//! From the database and kept scores to an explanation: a seed at a time, so that memory holds the scores of one seed's runs only.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::super::convergence::Convergence;
use super::super::kept_scores::{Evidence, Rounded, RowGroups};
use super::super::lint;
use super::super::load::{Loaded, Run, named};
use super::super::question::Split;
use super::super::searched;
use super::super::summary::RunTally;
use super::super::tuning;
use super::ExplainOptions;
use super::arms::{ArmRuns, Case, SettingRuns, settings};
use super::choice;
use super::effect::{Pooled, Resamples, resample};
use super::measure::{macro_f1, measure, policies};
use super::summarise::{Comparing, Findings, LABEL_LEVEL, judges, summarise};
use super::view::{Explanation, Rope, Setting};
use crate::error::Error;
use archive::runs_folder;
use imbalance::metric::Counts;
use imbalance::metric::certainty::level;
use imbalance::sampler::Realised;
use plan::{self, DataFacts, ModelConfig};
use store::{Reader, SweepConfig, SweepRow};

/// Everything that the database holds about a sweep's runs.
struct Field {
    cases: Vec<Case<'static>>,
    /// The prepared data of each case.
    folders: Vec<PathBuf>,
    facts: Vec<DataFacts>,
    /// Folder of all runs' folders.
    kept: PathBuf,
    /// By data set, once read: see [`Field::groups`].
    groups: HashMap<usize, Option<Arc<RowGroups>>>,
    /// What the samplers drew, by run.
    drawn: HashMap<String, Realised>,
    rounded: Rounded,
    notes: Vec<String>,
}

/// How far an explanation is, in halves of runs: each is judged, then compared with the baseline under resampled rows.
struct Progress<'a> {
    /// Told how many runs of how many are done.
    tell: &'a (dyn Fn(usize, usize) + Sync),
    halves: AtomicUsize,
    runs: usize,
}

impl Progress<'_> {
    fn add(&self, halves: usize) {
        let before = self.halves.fetch_add(halves, Ordering::Relaxed);
        (self.tell)((before + halves) / 2, self.runs);
    }
}

/// Explains a sweep. `tell` is told how many runs of how many are done, from several threads.
///
/// # Errors
/// Database errors; recorded runs of which none has readable kept scores.
pub async fn explain(
    reader: &mut Reader,
    sweep: &SweepRow,
    ask: &ExplainOptions,
    tell: &(dyn Fn(usize, usize) + Sync),
) -> Result<Explanation, Error> {
    let facts: Vec<DataFacts> = reader.data_facts(sweep.id).await?.into_iter().map(|(facts, _)| facts).collect();
    let runs = named(reader.sweep_runs(sweep.id).await?);
    let mut tally = RunTally { total: runs.len(), ..RunTally::default() };
    runs.iter().for_each(|run| tally.count(&run.row));
    let configs = reader.sweep_configs(sweep.id).await?;
    let drawn = reader.draws(sweep.id).await?.into_iter().collect();
    let references = references(&runs, &configs);
    let tuned = tuning::keys(sweep);
    let of_grid = runs.iter().zip(configs).zip(tuning::chosen(&runs, &tuned));
    let (of_grid, chosen): (Vec<(&Run, SweepConfig)>, Vec<bool>) =
        of_grid.filter(|((run, _), _)| run.row.reference().is_none()).unzip();
    let folders = of_grid.iter().map(|(_, config)| config.folder.clone()).collect();
    let cases = of_grid.into_iter().map(|(run, config)| Case::recorded(&run.row, &run.params, run.data, config, &tuned));
    let minutes = reader.busy_seconds(sweep.id).await? / 60.0;
    let mut field = Field {
        cases: cases.collect(),
        folders,
        facts,
        kept: runs_folder(reader.path()),
        groups: HashMap::new(),
        drawn,
        rounded: Rounded::default(),
        notes: Vec::new(),
    };
    let all = settings(&field.cases);
    let settings: Vec<SettingRuns> = all.iter().map(|setting| setting.only(&chosen)).collect();
    // Weights that come to plain 1 have no run of their own, so they are read from the file, if this version can parse it.
    let typed = sweep.recorded().recall(&sweep.file).map(|sweep| sweep.pos_weights()).unwrap_or_default();
    let mut warnings = lint::planned(&field.cases, &settings, &field.facts, &typed, true);
    let recorded = |settings: &[SettingRuns]| {
        let cases = settings.iter().flat_map(|setting| &setting.arms).flat_map(|arm| &arm.cases);
        cases.filter(|&&case| field.cases[case].epoch.is_some()).count()
    };
    let again = if tuned.is_empty() { 0 } else { recorded(&all) };
    let progress = Progress { tell, halves: AtomicUsize::new(0), runs: recorded(&settings) + again };
    let family = settings.iter().filter(|setting| setting.baseline.is_some()).map(|setting| setting.arms.len() - 1).sum();
    let policies = policies(&reader.policies(sweep.id).await?);
    let comparing = Comparing { options: ask, policies: &policies, family };
    let replicates: HashSet<(usize, u64)> = field.recorded().map(|case| (case.data, case.config.seed)).collect();
    let (mut views, mut seen) = (Vec::new(), 0);
    for (setting, all) in settings.iter().zip(&all) {
        let mut findings = field.find(setting, comparing, &progress);
        findings.minutes = (minutes > 0.0).then(|| minutes / replicates.len().max(1) as f64);
        let costs = if tuned.is_empty() { BTreeMap::new() } else { field.costs(all, &chosen, &progress) };
        for (case, cost) in &costs {
            findings.measured.entry(*case).and_modify(|run| run.choice = *cost);
        }
        findings.candidates = choice::candidates(all, &field.cases, &chosen, &costs, ask.rope.ap);
        seen += findings.measured.len();
        warnings.extend(field.trained(setting, &findings));
        let mut view = summarise(setting, &field.cases, &field.facts[setting.data], &findings, comparing);
        view.outdone = outdone(&view, setting.arms.first().map(|arm| &field.cases[arm.cases[0]]), &references, ask.rope);
        views.push(view);
    }
    let untested = settings.iter().filter(|setting| field.facts[setting.data].test.rows == 0).count();
    if untested > 0 {
        let where_ = if untested < settings.len() {
            format!("{untested} of {} settings have", settings.len())
        } else {
            "there are".to_owned()
        };
        field.notes.push(format!(
            "{where_} no test scores: val judges instead; tuned thresholds and repaired probabilities are held out there, fitted on nine \
             tenths and judged on the tenth, but strategies chosen on val look better on it than they are"
        ));
    }
    if let (0, Some(why)) = (seen, field.notes.first()) {
        return Err(Error::Unexpected(format!("nothing can be explained without kept scores: {why}")));
    }
    if let Some(search) = searched::search(reader, sweep.id).await? {
        field.notes.extend(search.notes());
    }
    field.notes.extend(Convergence::of(runs.iter().map(|run| &run.row)).sentence());
    let recorded = runs.iter().filter(|run| run.row.state == "succeeded");
    field.notes.extend(field.rounded.sentence());
    field.notes.extend(store::mixed_formats(&recorded.map(|run| run.row.format).collect::<Vec<_>>()));
    Ok(Explanation {
        sweep: sweep.title.clone(),
        state: sweep.state.clone(),
        runs: tally,
        rope: ask.rope,
        groups: ask.groups,
        level: level(family),
        label_level: LABEL_LEVEL,
        replicates: ask.replicates,
        settings: views,
        warnings: lint::merged(warnings),
        notes: field.notes,
    })
}

/// A recorded reference run.
struct ReferenceRun {
    name: &'static str,
    /// See [`Case::data`].
    data: usize,
    model: ModelConfig,
    /// On val, at the strength that it has chosen.
    macro_ap: f64,
}

/// The recorded reference runs of a sweep.
fn references(runs: &[Run], configs: &[SweepConfig]) -> Vec<ReferenceRun> {
    let reference = |(run, config): (&Run, &SweepConfig)| {
        Some(ReferenceRun {
            name: run.row.reference()?.name(),
            data: run.data,
            model: config.config.model.clone(),
            macro_ap: run.row.val_ap?,
        })
    };
    runs.iter().zip(configs).filter_map(reference).collect()
}

/// What it means where no strategy of a setting ranks better on val than the reference runs on its features; `case` is one of its runs.
fn outdone(setting: &Setting, case: Option<&Case<'_>>, references: &[ReferenceRun], rope: Rope) -> Option<String> {
    let case = case?;
    let model = case.config.model.reference(&case.config.data.source)?;
    let beside = references.iter().filter(|reference| reference.data == case.data && reference.model == model);
    let best = beside.max_by(|a, b| a.macro_ap.total_cmp(&b.macro_ap))?;
    let strategies = setting.arms.iter().filter_map(|arm| Some(arm.val_ap.value?.mean)).max_by(f64::total_cmp)?;
    super::super::references::outdone((best.name, best.macro_ap), strategies, rope.ap)
}

impl Field {
    fn recorded(&self) -> impl Iterator<Item = &Case<'static>> {
        self.cases.iter().filter(|case| case.epoch.is_some())
    }

    /// The groups of the rows of a case, read once per data set.
    fn groups(&mut self, case: usize) -> Option<Arc<RowGroups>> {
        let data = self.cases[case].data;
        if let Some(known) = self.groups.get(&data) {
            return known.clone();
        }
        let read = RowGroups::read(&self.folders[case], &self.cases[case].config.data, &self.facts[data].content);
        let groups = read.unwrap_or_else(|why| {
            self.notes.push(format!("rows of a group are taken for independent, so the intervals are too short: {why}"));
            None
        });
        self.groups.entry(data).or_insert(groups.map(Arc::new)).clone()
    }

    /// Judges the runs of a setting, split by split and seed by seed.
    fn find(&mut self, setting: &SettingRuns, comparing: Comparing<'_>, progress: &Progress<'_>) -> Findings {
        let cases: Vec<usize> = setting.arms.iter().flat_map(|arm| arm.cases.iter().copied()).collect();
        let mut findings = Findings::default();
        let drawn = cases.iter().filter_map(|&case| Some((case, self.drawn.get(&self.cases[case].run)?.clone())));
        findings.drawn.extend(drawn);
        let mut pools = BTreeMap::new();
        let mut known = HashSet::new();
        // In the order of the plan, as the runs of each arm.
        for data in cases.iter().map(|&case| self.cases[case].data).filter(|&data| known.insert(data)).collect::<Vec<_>>() {
            let here: Vec<usize> = cases.iter().copied().filter(|&case| self.cases[case].data == data).collect();
            self.find_on(setting, &here, comparing, progress, (&mut findings, &mut pools));
        }
        findings.effects =
            pools.into_par_iter().filter_map(|(arm, pooled): (usize, Pooled)| Some((arm, pooled.effects()?))).collect();
        findings
    }

    /// Judges those of its runs, `cases`, that are on one split of the data.
    fn find_on(
        &mut self,
        setting: &SettingRuns,
        cases: &[usize],
        Comparing { options: ask, policies, .. }: Comparing<'_>,
        progress: &Progress<'_>,
        (findings, pools): (&mut Findings, &mut BTreeMap<usize, Pooled>),
    ) {
        let Some(&first) = cases.first() else { return };
        let facts = self.facts[self.cases[first].data].clone();
        let groups = self.groups(first);
        let label_groups: Vec<Vec<usize>> = ask.groups.divide(&facts.train).into_iter().map(|(_, labels)| labels).collect();
        let mut known = HashSet::new();
        let seeds: Vec<u64> = cases.iter().map(|&case| self.cases[case].config.seed).filter(|&seed| known.insert(seed)).collect();
        let arm_of: HashMap<usize, usize> =
            setting.arms.iter().enumerate().flat_map(|(at, arm)| arm.cases.iter().map(move |&case| (case, at))).collect();
        let baseline = setting.baseline.map(|baseline| &setting.arms[baseline.arm].cases);
        let together = (TOGETHER / facts.labels.len().max(1)).max(1);
        let mut resamples: Option<Resamples> = None;
        for seed in seeds {
            let here = cases.iter().copied().filter(|&case| self.cases[case].config.seed == seed).collect::<Vec<_>>();
            let evidence = self.read(&here);
            let judged = evidence.par_iter().map(|(case, evidence)| {
                let groups = groups.as_ref().and_then(|groups| groups.of(Split::Val, evidence.val.truth.rows()));
                let measured = measure(&self.cases[*case], &facts, evidence, groups, policies);
                progress.add(1);
                (*case, measured)
            });
            findings.measured.extend(judged.collect::<Vec<_>>());
            let mut alone = evidence.len();
            let first = evidence.iter().find(|(case, _)| baseline.is_some_and(|baseline| baseline.contains(case)));
            if let Some((baseline, first)) = first {
                let others: Vec<&(usize, Evidence)> = evidence.iter().filter(|(case, _)| case != baseline).collect();
                let fitting = resamples.take().filter(|resamples| resamples.fit(first));
                let resamples =
                    &*resamples.insert(fitting.unwrap_or_else(|| Resamples::of(first, groups.as_deref(), ask.replicates)));
                for some in others.chunks(together) {
                    let arms: Vec<&Evidence> = some.iter().map(|(_, evidence)| evidence).collect();
                    for ((case, _), run) in some.iter().zip(resample(first, &arms, resamples, &label_groups)) {
                        pools.entry(arm_of[case]).or_default().add(run);
                    }
                    progress.add(some.len());
                    alone -= some.len();
                }
            }
            progress.add(alone);
        }
    }

    /// What choosing a candidate on val costs each run of a chosen one; `all` has the runs of every candidate.
    fn costs(&mut self, all: &SettingRuns, chosen: &[bool], progress: &Progress<'_>) -> BTreeMap<usize, f64> {
        let mut costs = BTreeMap::new();
        // Each split of the data chooses for itself.
        let data = |case: &usize| self.cases[*case].data;
        let of_arm = |arm: &ArmRuns| {
            let mut cases = arm.cases.clone();
            cases.sort_by_key(data);
            cases.chunk_by(|a, b| data(a) == data(b)).map(<[usize]>::to_vec).collect::<Vec<_>>()
        };
        let alike: Vec<Vec<usize>> = all.arms.iter().flat_map(of_arm).collect();
        for cases in &alike {
            let mut parts = BTreeMap::new();
            let groups = self.groups(cases[0]);
            // A few at a time, so that memory does not hold the scores of all.
            for some in cases.chunks(16) {
                let evidence = self.read(some);
                let cut = evidence.par_iter().map(|(case, evidence)| {
                    let groups = groups.as_ref().and_then(|groups| groups.of(Split::Val, evidence.val.truth.rows()));
                    let parts = choice::parts(&evidence.val, groups);
                    progress.add(2);
                    (*case, parts)
                });
                parts.extend(cut.collect::<Vec<_>>());
            }
            costs.extend(choice::costs(&self.cases, cases, chosen, &parts));
        }
        costs
    }

    /// The kept scores of recorded cases. Those that cannot be read, or are of other rows, are noted and left out.
    fn read(&mut self, cases: &[usize]) -> Vec<(usize, Evidence)> {
        let recorded = cases.iter().filter_map(|&case| Some((case, self.cases[case].epoch?)));
        let read = |(case, epoch): (usize, usize)| (case, Evidence::read(&self.kept.join(&self.cases[case].run), epoch));
        let read: Vec<_> = recorded.collect::<Vec<_>>().into_par_iter().map(read).collect();
        let mut found: Vec<(usize, Evidence)> = Vec::new();
        for (case, evidence) in read {
            let facts = &self.facts[self.cases[case].data];
            let why = match evidence {
                Ok(evidence) if evidence.val.truth.names.len() != facts.labels.len() => "it has other labels".to_owned(),
                Ok(evidence) if found.first().is_some_and(|(_, first)| !first.same_rows(&evidence)) => {
                    "it was judged on other rows than the others".to_owned()
                }
                Ok(evidence) => {
                    self.rounded.add(&self.cases[case].run, &evidence);
                    found.push((case, evidence));
                    continue;
                }
                Err(why) => why.to_string(),
            };
            let run = &self.cases[case].run;
            self.notes.push(format!("run {} is left out: {why}", run.get(..8).unwrap_or(run)));
        }
        found
    }

    fn trained(&self, setting: &SettingRuns, findings: &Findings) -> Vec<lint::Lint> {
        let facts = &self.facts[setting.data];
        let (_, counts) = judges(facts);
        let all_positive = macro_f1(&Counts::all_positive(counts));
        let of_arm = |arm: &ArmRuns| arm.cases.clone();
        let cases = setting.arms.iter().flat_map(of_arm).filter_map(|case| Some((case, findings.measured.get(&case)?)));
        let runs: Vec<lint::Trained<'_>> = cases
            .map(|(case, measured)| lint::Trained {
                name: &self.cases[case].name,
                labels: &facts.labels,
                health: &measured.health,
                f1_half: macro_f1(&measured.judged.half),
                f1_tuned: macro_f1(&measured.judged.tuned),
                all_positive,
                optimism: measured.optimism,
                label_optimism: &measured.label_optimism,
            })
            .collect();
        lint::trained(&runs)
    }
}

/// Labels of runs that are resampled together: memory holds every resample of these, some 50 kB each.
const TOGETHER: usize = 1_000;

/// Cells (row x label) of kept scores that are explained in a second or two.
const QUICK: usize = 1_500_000;
/// Cells that take as long as a run does, however few it has: its files are opened, its thresholds and its calibration are fitted.
const RUN: usize = 1_500;

/// Whether an explanation is quick enough for a report: there are kept scores, and not too many.
#[must_use]
pub fn is_quick(db: &Path, loaded: &Loaded) -> bool {
    let folder = runs_folder(db);
    let recorded = || loaded.runs.iter().filter(|run| run.row.state == "succeeded");
    let cells = |run: &Run| {
        let facts = &loaded.data[run.data];
        (facts.val.rows + facts.test.rows) * facts.labels.len() + RUN
    };
    let kept = |run: &Run| folder.join(&run.row.run).join("truth-test.npy").exists();
    recorded().map(cells).sum::<usize>() <= QUICK && recorded().any(kept)
}
