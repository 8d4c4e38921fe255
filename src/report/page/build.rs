//! From the database and kept scores to a page.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::super::columns::Layout;
use super::super::explain;
use super::super::kept_scores::Evidence as Scores;
use super::super::load::{self, Loaded};
use super::super::question::{Question, Split};
use super::super::summary::Summary;
use super::super::{labels, ranked};
use super::counts::Counts;
use super::learning;
use super::mistakes::{Pictures, mistakes};
use super::model::{Model, RowLabels, SCHEMA_VERSION, SweepHead};
use super::provenance::Provenance;
use super::stops::stops;
use super::strategies::{Known, of_grid, short, strategies};
use super::verdict::{self, Verdict};
use super::{DETAILED, Page, PageOptions, Place, axes, board, runs};
use crate::error::Error;
use archive::runs_folder;
use data::Dataset;
use imbalance::evaluation::FittedPolicy;
use imbalance::threshold;
use store::{At, CurvePoint, Reader, SweepConfig, SweepId};

/// Rows whose labels stand in the document.
const BEST: usize = 3;
/// Bytes of packed counts, in a file (of 5 MB in all) and on a live page (of 2 MB on the wire).
const IN_FILE: usize = 2_600_000;
const LIVE: usize = 1_000_000;
/// A verdict and its origin stay on a live page for so many times as long as it took to make them.
const STAYS: u32 = 20;

/// Makes pages of one sweep. What it has read about recorded runs, which do not change, is kept from one page to the next.
pub struct PageBuilder {
    options: PageOptions,
    counts: Counts,
    kept: Option<load::Kept>,
    /// Epochs of recorded runs, by fingerprint.
    epochs: HashMap<String, Vec<CurvePoint>>,
    /// Key of a strategy → its runs, and the AP of its labels.
    aps: HashMap<String, (Vec<String>, Vec<Option<f64>>)>,
    /// `None`: nothing is recorded yet; an error says why there is none.
    verdict: Held<Result<Option<Verdict>, String>>,
    provenance: Held<Provenance>,
}

/// What takes long to make, and changes seldom.
struct Held<T>(Option<(T, Instant, Duration)>);

impl<T: Clone> Held<T> {
    /// The value, if it was made not long ago in comparison with the time that it took.
    fn fresh(&self) -> Option<T> {
        self.0.as_ref().filter(|(_, at, took)| at.elapsed() < *took * STAYS).map(|(value, ..)| value.clone())
    }

    fn keep(&mut self, value: &T, begun: Instant) {
        self.0 = Some((value.clone(), Instant::now(), begun.elapsed()));
    }
}

impl PageBuilder {
    #[must_use]
    pub fn new(options: PageOptions) -> Self {
        Self {
            options,
            counts: Counts::default(),
            kept: None,
            epochs: HashMap::new(),
            aps: HashMap::new(),
            verdict: Held(None),
            provenance: Held(None),
        }
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
        // While a sweep trains, its page has something newer to show than a verdict of a second ago.
        let hurries = self.options.place == Place::Live && loaded.sweep.state == "running";
        let begun = Instant::now();
        let verdict = match self.verdict.fresh().filter(|_| hurries) {
            Some(verdict) => verdict,
            None => {
                let verdict = self.verdict(reader, &loaded, tell).await;
                self.verdict.keep(&verdict, begun);
                verdict
            }
        };
        let verdict = verdict.unwrap_or_else(|why| {
            missing.push(format!("the verdict: {why}"));
            None
        });
        let summary = ranked(reader, &loaded, &on_val).await?;
        let mut known = strategies(&summary, &loaded, verdict.as_ref(), DETAILED);
        self.label_ap(reader, &loaded, &summary, &mut known).await?;
        let room = if self.options.place == Place::Live { LIVE } else { IN_FILE };
        let evidence = self.counts.carried(reader, &loaded, &on_val, room, &mut known, &mut missing).await?;
        let labels = self.best_labels(reader, &loaded, &on_val, &summary).await?;
        let learning = self.learning(reader, &loaded, &known, &mut missing).await?;
        let pictures = self.pictures(reader, &loaded, &summary, &known, &mut missing).await?;
        let begun = Instant::now();
        let provenance = match self.provenance.fresh().filter(|_| hurries) {
            Some(provenance) => provenance,
            None => {
                let provenance = Provenance::of(reader, &loaded, &on_val).await?;
                self.provenance.keep(&provenance, begun);
                provenance
            }
        };
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
            rows: board::rows(&summary, &loaded, &on_test),
            strategies: known.into_iter().map(|known| known.strategy).collect(),
            stops: stops(),
            evidence,
            learning,
            labels,
            axes: axes::shares(&loaded, &summary),
            running: runs::running(reader, &loaded).await?,
            failures: runs::failures(reader, &loaded).await?,
            samplers: summary.samplers,
            pictures,
            notes: summary.notes,
            missing,
            provenance,
        };
        Ok(Page { model })
    }

    /// The verdict, where there is time for it; otherwise why there is none, and how to get it.
    async fn verdict(
        &self,
        reader: &mut Reader,
        loaded: &Loaded,
        tell: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Option<Verdict>, String> {
        if self.options.question.at != At::Best {
            return Err("strategies are judged at their best epochs only".to_owned());
        }
        let quick = explain::is_quick(reader.path(), loaded);
        if !quick && let Some(kept) = verdict::kept(reader.path(), loaded) {
            return Ok(Some(kept));
        }
        if !loaded.runs.iter().any(|run| run.row.state == "succeeded") {
            return Ok(None);
        }
        if !quick && self.options.place == Place::Live {
            return Err("it takes long to compute here; `sweep explain` makes it, and keeps it for the page".to_owned());
        }
        let found = explain::explain(reader, &loaded.sweep, &explain::ExplainOptions::default(), tell).await;
        let verdict = Verdict::from(&found.map_err(|why| why.to_string())?);
        if !quick {
            verdict::keep(reader.path(), loaded, &verdict);
        }
        Ok(Some(verdict))
    }

    /// AP of each label, of the strategies that have their runs.
    async fn label_ap(
        &mut self,
        reader: &mut Reader,
        loaded: &Loaded,
        summary: &Summary,
        known: &mut [Known],
    ) -> Result<(), Error> {
        let mut first: HashMap<String, usize> = HashMap::new();
        for (place, row) in summary.rows.iter().enumerate() {
            first.entry(board::strategy_key(row)).or_insert(place);
        }
        let names = |known: &Known| -> Vec<String> { known.runs.iter().map(|&run| loaded.runs[run].row.run.clone()).collect() };
        let is_known = |known: &Known| self.aps.get(&known.strategy.key).is_some_and(|(runs, _)| *runs == names(known));
        let missing = known.iter().take(DETAILED).filter(|known| !is_known(known));
        let missing: Vec<usize> = missing.filter_map(|known| first.get(&known.strategy.key).copied()).collect();
        let on_val = Question { split: Split::Val, ..self.options.question.clone() };
        let parts =
            if missing.is_empty() { HashMap::new() } else { load::labels(reader, loaded, &on_val, summary, &missing).await? };
        for known in known.iter_mut().take(DETAILED) {
            if let Some(parts) = first.get(&known.strategy.key).and_then(|place| parts.get(place)) {
                let rounded = |value: f64| (value * 1e5).round() / 1e5;
                let lines = labels::lines(parts, &summary.data[known.strategy.data]);
                let ap = lines.iter().map(|line| line.ap.map(rounded)).collect();
                self.aps.insert(known.strategy.key.clone(), (names(known), ap));
            }
            known.strategy.ap = self.aps.get(&known.strategy.key).map_or_else(Vec::new, |(_, ap)| ap.clone());
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

    /// The learning curves of the first strategies.
    async fn learning(
        &mut self,
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
        let unknown: Vec<String> = runs.iter().filter(|run| !self.epochs.contains_key(*run)).cloned().collect();
        if !unknown.is_empty() {
            for point in reader.curves(loaded.sweep.id, &unknown).await? {
                self.epochs.entry(point.run.clone()).or_default().push(point);
            }
        }
        let (found, shown) = learning::curves(&self.epochs, &strategies);
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
