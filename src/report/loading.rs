//! Reading a sweep again and again: of runs that have not changed since nothing is read. One code for the first time and the next.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::kept_scores::{Rounded, SweepGroups};
use super::load::{Loaded, Run, named_among, tuned};
use super::question::{Question, Split};
use super::refit::{self, Judgement};
use super::score::{Labels, Score, is_number, is_of_rankings, place};
use super::searched;
use crate::error::Error;
use imbalance::sampler::Realised;
use imbalance::threshold::Policy;
use plan::{DataFacts, Reference};
use store::{At, Evaluated, Reader, RunMark, Runs, SweepId, SweepRow, SweepRun};

/// What was read of a sweep, by run. What was found in files beside the database is not looked for again until the run changes.
pub struct Kept {
    asked: Question,
    sweep: SweepId,
    /// When the sweep was begun last: its runs and their names may be others afterwards.
    begun_at: f64,
    /// Which of the reader's files.
    file: u64,
    policies: Vec<String>,
    data: Vec<DataFacts>,
    /// Row ids of `data`.
    data_ids: Vec<i64>,
    /// As many as `runs`, or none.
    marks: Vec<RunMark>,
    runs: Vec<KeptRun>,
    groups: Option<SweepGroups>,
    /// Runs that were read by the last [`refresh`].
    pub read: usize,
}

/// A run of the plan.
#[derive(Clone)]
struct KeptRun {
    run: Run,
    val: Vec<Score>,
    test: Vec<Score>,
    drawn: Option<Realised>,
    judged: Option<Result<Judgement, String>>,
    rounded: Option<bool>,
}

/// What [`super::load::load`] reads; of what `kept` has from the time before, only runs that have changed are read.
///
/// # Errors
/// Those of [`super::load::load`]. `kept` stays as it was, or is empty.
pub async fn refresh(
    kept: &mut Option<Kept>,
    reader: &mut Reader,
    sweep: SweepRow,
    question: &Question,
) -> Result<Loaded, Error> {
    let file = reader.version().await?.file;
    let policies: Vec<String> = match &question.policy {
        Some(policy) => vec![policy.to_string()],
        None => reader.policies(sweep.id).await?.iter().map(Policy::to_string).collect(),
    };
    // Before everything else: what is written while the rest is read is read again the next time.
    let marks = reader.run_marks(sweep.id).await?;
    let same = |kept: &Kept| {
        let runs = kept.marks.len() == marks.len() && kept.marks.iter().zip(&marks).all(|(old, new)| old.id == new.id);
        let sweep = (kept.sweep, kept.begun_at, kept.file) == (sweep.id, sweep.begun_at, file);
        runs && sweep && kept.policies == policies && kept.asked == *question
    };
    let mut up_to_date = false;
    if let Some(kept) = kept.as_mut().filter(|kept| same(kept)) {
        up_to_date = kept.follow(reader, &marks, question).await?;
    }
    let kept = match kept {
        Some(kept) if up_to_date => kept,
        other => {
            *other = None;
            let mut fresh = Kept {
                asked: question.clone(),
                sweep: sweep.id,
                begun_at: sweep.begun_at,
                file,
                policies,
                data: reader.data_facts(sweep.id).await?.into_iter().map(|(facts, _)| facts).collect(),
                data_ids: Vec::new(),
                marks: Vec::new(),
                runs: Vec::new(),
                groups: None,
                read: 0,
            };
            let rows = reader.sweep_runs(sweep.id).await?;
            fresh.runs = fresh.read(reader, Runs::All, rows, question).await?;
            // A run that was replaced meanwhile: nothing is taken for known the next time.
            fresh.marks = if marks.len() == fresh.runs.len() { marks } else { Vec::new() };
            other.insert(fresh)
        }
    };
    kept.loaded(reader, sweep, question).await
}

impl Kept {
    /// Reads the runs whose marks are others now. False: some of them are gone.
    async fn follow(&mut self, reader: &mut Reader, marks: &[RunMark], question: &Question) -> Result<bool, Error> {
        let changed: Vec<usize> = (0..marks.len()).filter(|&at| self.marks[at] != marks[at]).collect();
        self.read = changed.len();
        if changed.is_empty() {
            return Ok(true);
        }
        let ids: Vec<i64> = changed.iter().map(|&at| marks[at].id).collect();
        let rows = reader.sweep_runs_of(self.sweep, Runs::These(&ids)).await?;
        if rows.len() != changed.len() {
            return Ok(false);
        }
        let runs = self.read(reader, Runs::These(&ids), rows, question).await?;
        for (at, run) in changed.into_iter().zip(runs) {
            self.runs[at] = run;
            self.marks[at] = marks[at];
        }
        Ok(true)
    }

    /// Everything about these runs, whose rows are given, in their order.
    async fn read(
        &mut self,
        reader: &mut Reader,
        which: Runs<'_>,
        rows: Vec<SweepRun>,
        question: &Question,
    ) -> Result<Vec<KeptRun>, Error> {
        let runs = named_among(rows, &mut self.data_ids);
        self.read = runs.len();
        let new = |run| KeptRun { run, val: Vec::new(), test: Vec::new(), drawn: None, judged: None, rounded: None };
        let mut runs: Vec<KeptRun> = runs.into_iter().map(new).collect();
        let index: HashMap<String, usize> = runs.iter().enumerate().map(|(at, run)| (run.run.row.run.clone(), at)).collect();
        for (run, drawn) in reader.draws_of(self.sweep, which).await? {
            if let Some(&at) = index.get(&run) {
                runs[at].drawn = Some(drawn);
            }
        }
        let splits = if question.split == Split::Test { &[Split::Val, Split::Test][..] } else { &[Split::Val] };
        for &split in splits {
            for score in self.scores(reader, which, (&runs, &index), split, question).await? {
                let run = &mut runs[score.run];
                (if split == Split::Val { &mut run.val } else { &mut run.test }).push(score);
            }
        }
        Ok(runs)
    }

    /// The evaluations of these runs on a split, by run and policy.
    async fn scores(
        &self,
        reader: &mut Reader,
        which: Runs<'_>,
        (runs, index): (&[KeptRun], &HashMap<String, usize>),
        split: Split,
        question: &Question,
    ) -> Result<Vec<Score>, Error> {
        let mut held_out = HashMap::new();
        if split == Split::Val {
            held_out = reader.held_out_of(self.sweep, which, question.at, question.metric).await?;
            if question.at != At::Best {
                // Reference runs stay at their best.
                held_out.extend(reader.held_out_of(self.sweep, which, At::Best, question.metric).await?);
            }
        }
        let score = |row: &Evaluated| {
            let policy = self.policies.iter().position(|name| *name == row.policy)?;
            Some(Score {
                run: *index.get(row.run.as_str())?,
                policy,
                values: row.values,
                held_out: held_out.get(&row.evaluation).copied(),
                predicted_rate: row.predicted_rate,
                labels: Labels::Recorded(row.evaluation),
            })
        };
        let metrics = [question.metrics, &[question.metric]].concat();
        let of_run = |run: usize| -> Option<Reference> { runs[run].run.row.reference() };
        let reference = |score: &Score| of_run(score.run).is_some();
        let results = reader.results_of(self.sweep, which, split.name(), question.at, &metrics).await?;
        let mut scores: Vec<Score> = results.iter().filter_map(score).collect();
        // The epochs of a reference run are its strengths, of which val has chosen one.
        if question.at != At::Best && (0..runs.len()).any(|run| of_run(run).is_some()) {
            let chosen = reader.results_of(self.sweep, which, split.name(), At::Best, &metrics).await?;
            scores.retain(|score| !reference(score));
            scores.extend(chosen.iter().filter_map(score).filter(reference));
        }
        scores.sort_by_key(|score| (score.run, score.policy));
        for score in &mut scores {
            if is_number(&self.policies[score.policy]) || is_of_rankings(question.metric) {
                score.held_out = score.values[place(question.metric)];
            }
        }
        Ok(scores)
    }

    /// What the reports take, with what the database lacks computed from kept scores.
    async fn loaded(&mut self, reader: &mut Reader, sweep: SweepRow, question: &Question) -> Result<Loaded, Error> {
        if let At::Epoch(epoch) = question.at {
            let of_grid = self.runs.iter().filter(|kept| kept.run.row.reference().is_none());
            let last = of_grid.map(|kept| kept.run.row.epochs - 1).max().unwrap_or(0);
            if i64::from(epoch) > last {
                return Err(Error::Usage(format!("--epoch {epoch}: no run has it; there are best, last and 0 to {last}")));
            }
        }
        let keys: BTreeSet<&String> = self.runs.iter().flat_map(|kept| kept.run.params.keys()).collect();
        let keys: Vec<String> = keys.into_iter().cloned().collect();
        let all: Vec<Run> = self.runs.iter().map(|kept| kept.run.clone()).collect();
        let (chosen, tuned) = tuned(&sweep, &all, question, &keys);
        let places: Vec<usize> = (0..all.len()).filter(|&at| chosen[at]).collect();
        let mut chosen = chosen.into_iter();
        let (runs, passed_over) = all.into_iter().partition(|_| chosen.next().unwrap_or(true));
        let of = |scores: fn(&KeptRun) -> &Vec<Score>| -> Vec<Score> {
            let of_run =
                |(run, &at): (usize, &usize)| scores(&self.runs[at]).iter().map(move |score| Score { run, ..score.clone() });
            places.iter().enumerate().flat_map(of_run).collect()
        };
        let mut loaded = Loaded {
            sweep,
            policies: self.policies.clone(),
            data: self.data.clone(),
            runs,
            passed_over,
            tuned,
            keys,
            val: of(|kept| &kept.val),
            test: of(|kept| &kept.test),
            drawn: places.iter().enumerate().filter_map(|(run, &at)| Some((run, self.runs[at].drawn.clone()?))).collect(),
            search: None,
            lost: vec![],
            not_held_out: vec![],
            ungrouped: None,
            rounded: Rounded::default(),
        };
        if let Some(policy) = &question.policy {
            refit::evaluate(&mut loaded, reader.path(), policy, question)?;
        }
        self.judge(reader, &mut loaded, &places, question).await?;
        loaded.search = searched::search(reader, self.sweep).await?;
        loaded.rounded = self.rounded(reader.path(), &places);
        Ok(loaded)
    }

    /// Judges on held-out rows what the database does not; `places` are the runs of `loaded` here.
    async fn judge(
        &mut self,
        reader: &mut Reader,
        loaded: &mut Loaded,
        places: &[usize],
        question: &Question,
    ) -> Result<(), Error> {
        let missing = refit::unjudged(loaded, question);
        let unknown = |(run, _): &&(usize, Vec<usize>)| self.runs[places[*run]].judged.is_none();
        let new: Vec<(usize, Vec<usize>)> = missing.iter().filter(unknown).cloned().collect();
        if !new.is_empty() {
            if self.groups.is_none() {
                self.groups = Some(SweepGroups::read(reader, self.sweep).await?);
            }
            let judged = refit::judge(loaded, reader.path(), self.groups.get_or_insert_default(), question, &new);
            for ((run, _), judged) in new.iter().zip(judged) {
                self.runs[places[*run]].judged = Some(judged);
            }
        }
        for (run, scores) in missing {
            match &self.runs[places[run]].judged {
                Some(Ok(Judgement { values, ungrouped })) => {
                    for score in scores {
                        let score = &mut loaded.val[score];
                        score.held_out = values.iter().find(|(policy, _)| *policy == score.policy).map(|(_, value)| *value);
                    }
                    if loaded.ungrouped.is_none() {
                        loaded.ungrouped.clone_from(ungrouped);
                    }
                }
                Some(Err(why)) => loaded.not_held_out.push((loaded.runs[run].row.run.clone(), why.clone())),
                None => {}
            }
        }
        Ok(())
    }

    /// Runs whose recorded AP is that of rounded scores.
    fn rounded(&mut self, db: &Path, places: &[usize]) -> Rounded {
        let best = |kept: &KeptRun| {
            let epoch = usize::try_from(kept.run.row.best_epoch?).ok()?;
            (kept.run.row.state == "succeeded").then_some(epoch)
        };
        let known: Vec<(usize, usize)> = places.iter().filter_map(|&at| Some((at, best(&self.runs[at])?))).collect();
        let new: Vec<(usize, usize)> = known.iter().copied().filter(|(at, _)| self.runs[*at].rounded.is_none()).collect();
        let names: Vec<(&str, usize)> = new.iter().map(|&(at, epoch)| (self.runs[at].run.row.run.as_str(), epoch)).collect();
        let found = Rounded::among(&archive::runs_folder(db), &names);
        for (at, _) in new {
            self.runs[at].rounded = Some(found.has(&self.runs[at].run.row.run));
        }
        let rounded = known.into_iter().map(|(at, _)| &self.runs[at]).filter(|kept| kept.rounded == Some(true));
        Rounded::of(rounded.map(|kept| kept.run.row.run.clone()))
    }
}

#[cfg(test)]
#[path = "loading_tests.rs"]
mod tests;
