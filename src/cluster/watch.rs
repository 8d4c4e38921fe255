//! The controller of a sweep on a cluster. It remembers nothing that the database, the shared folder and the scheduler do not know: each of
//! its passes brings these together, and may end anywhere.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::files::{Command, JournalName, Killed, Shared, Terms, nonce};
use super::plan::{self, Ending};
use super::{Pace, path_error};
use crate::controller::dispatcher::tail;
use crate::controller::failure;
use crate::controller::ingest::Journal;
use crate::controller::progress::{Verbosity, say};
use crate::controller::{self, Halt, Interrupts, SweepSummary, Tally};
use crate::error::Error;
use crate::launcher::Slurm;
use crate::launcher::slurm::{Array, SiteLimits, SlurmError, Task, usual_cause};
use crate::report::page::quoted;
use ::plan::Fingerprint;
use archive::{Archive, RunFolder};
use protocol::journal;
use protocol::{Event, Outcome, Record};
use store::{OpenAttempt, Reader, Slice, Submission, SweepId, Writer};

/// How long the scheduler may take to hear of a submission: so long its name is looked for.
const LATE: f64 = 3600.0;
/// Tasks that are held again so soon after their release are so because slurmctld has forgotten it: it saves its state now and then, and is
/// killed in between.
const FORGOTTEN: f64 = 600.0;
/// The most tasks of an array, whatever the site allows.
const ARRAY: usize = 1000;
/// A journal of a running task that says nothing for so long is worth a warning.
const SILENT: Duration = Duration::from_secs(600);
/// The first minute of a watch, in which it looks more often.
const SOON: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(5));

/// How a sweep runs on a cluster.
#[derive(Clone, Debug)]
pub struct Settings {
    pub slurm: Slurm,
    pub terms: Terms,
    pub runs_per_task: Option<usize>,
    /// Attempts per run.
    pub attempts: u32,
    /// Also retry runs that failed for good.
    pub failed: bool,
    pub max_failures: Option<usize>,
    pub verbosity: Verbosity,
}

/// How long a watch stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stay {
    /// Until nothing is left to do.
    #[default]
    UntilTheEnd,
    /// Until what the site takes at a time is submitted.
    UntilSubmitted,
    /// For one pass.
    OnePass,
}

/// How a watch ended.
#[derive(Clone, Debug)]
pub enum End {
    /// Nothing is left to do.
    Done(SweepSummary),
    /// The tasks go on without it.
    Detached {
        /// Runs that wait or are under way, and those of them that are not submitted yet.
        left: usize,
        waiting: usize,
        /// Whether the user has ended the watch.
        interrupted: bool,
    },
}

/// Whether a sweep has tasks on a cluster that are not over.
///
/// # Errors
/// Database errors.
pub async fn is_there(writer: &mut Writer, sweep: SweepId) -> Result<bool, Error> {
    Ok(!writer.submissions(sweep, 0.0).await?.is_empty())
}

/// Trains what is missing on the cluster, for as long as `stay` says. An interrupt ends the watch, not the tasks.
///
/// # Errors
/// Slurm refuses a submission or cannot be found; the database or the shared folder cannot be used. What is submitted goes on.
pub async fn watch(
    writer: &mut Writer,
    sweep: SweepId,
    archive: &Archive,
    settings: &Settings,
    stay: Stay,
    interrupts: &mut Interrupts,
) -> Result<End, Error> {
    let start = Instant::now();
    let pace = Pace::from_environment();
    let mut watch = Watch::new(writer, sweep, archive, settings, pace)?;
    let before = watch.tally().await?;
    let mut told = None;
    watch.releasing = stay != Stay::OnePass;
    loop {
        let seen = watch.pass(true).await?;
        let tally = watch.tally().await?;
        watch.report(&tally, &seen, &mut told);
        if let Some(why) = watch.halt.clone() {
            watch.end_all().await?;
            let tally = watch.since(before).await?;
            return Ok(End::Done(SweepSummary { tally, halt: Some(why), failures: Vec::new(), elapsed: start.elapsed() }));
        }
        if seen.over {
            watch.take_home().await?;
            let tally = watch.since(before).await?;
            return Ok(End::Done(SweepSummary { tally, halt: None, failures: Vec::new(), elapsed: start.elapsed() }));
        }
        let some = seen.submitted || is_there(watch.writer, sweep).await?;
        if stay == Stay::OnePass || (stay == Stay::UntilSubmitted && some) {
            let waiting = watch.writer.missing(sweep, false).await?.len();
            return Ok(End::Detached { left: tally.left(), waiting, interrupted: false });
        }
        let (early, often) = SOON;
        let wait = if start.elapsed() < early { often.min(pace.poll) } else { pace.poll };
        let wait = wait.max(seen.back_off);
        tokio::select! {
            () = interrupts.next() => {
                let waiting = watch.writer.missing(sweep, false).await?.len();
                return Ok(End::Detached { left: tally.left(), waiting, interrupted: true });
            }
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Ends all tasks of a sweep and takes in what they have written. Returns how many tasks are still ending after `patience`.
///
/// # Errors
/// Slurm does not answer; the database or the shared folder cannot be used.
pub async fn cancel(
    writer: &mut Writer,
    sweep: SweepId,
    archive: &Archive,
    settings: &Settings,
    interrupts: &mut Interrupts,
) -> Result<usize, Error> {
    let pace = Pace::from_environment();
    let mut watch = Watch::new(writer, sweep, archive, settings, pace)?;
    let start = Instant::now();
    loop {
        watch.pass(false).await?;
        watch.end_all().await?;
        let left = watch.writer.slices(sweep).await?.len();
        if left == 0 {
            watch.take_home().await?;
        }
        // The last to hear of a task's end is the shared folder.
        if left == 0 || start.elapsed() > pace.grace * 2 + Duration::from_secs(60) {
            return Ok(left);
        }
        tokio::select! {
            () = interrupts.next() => return Ok(left),
            () = tokio::time::sleep(pace.poll.min(Duration::from_secs(2))) => {}
        }
    }
}

/// A journal and what is known of its worker.
struct Reading {
    journal: Journal,
    /// It has said `close`.
    closed: bool,
    /// It is read to its end, and its attempts are judged.
    judged: bool,
    heard: Instant,
    warned: bool,
    /// Something new was read in this pass.
    fresh: bool,
}

/// What a pass has seen.
#[derive(Debug, Default)]
struct Seen {
    /// Nothing is missing and no task is left.
    over: bool,
    /// Nothing more is to be submitted now.
    submitted: bool,
    /// Tasks by state, as far as the scheduler has answered.
    tasks: Option<BTreeMap<String, usize>>,
    /// Why the scheduler has not answered.
    silence: Option<String>,
    /// How long to leave the scheduler alone.
    back_off: Duration,
}

struct Watch<'a> {
    writer: &'a mut Writer,
    sweep: SweepId,
    archive: &'a Archive,
    settings: &'a Settings,
    pace: Pace,
    shared: Shared,
    /// Opened when it is first asked.
    reader: Option<Reader>,
    readings: HashMap<JournalName, Reading>,
    limits: Option<SiteLimits>,
    /// Passes in a row without an answer of the scheduler.
    silent: u32,
    /// Runs to be tried although they have failed for good: once.
    failed: bool,
    /// Whether runs may have ended since results were last brought home.
    ended: bool,
    /// Somebody has asked for the sweep to go on: held tasks are released in the first pass, whoever holds them.
    releasing: bool,
    /// Jobs that are held on purpose, as the user was told.
    held: HashSet<String>,
    halt: Option<Halt>,
}

impl<'a> Watch<'a> {
    fn new(
        writer: &'a mut Writer,
        sweep: SweepId,
        archive: &'a Archive,
        settings: &'a Settings,
        pace: Pace,
    ) -> Result<Self, Error> {
        let shared = Shared::at(archive.cluster());
        shared.create().map_err(path_error)?;
        Ok(Self {
            writer,
            sweep,
            archive,
            settings,
            pace,
            shared,
            reader: None,
            readings: HashMap::new(),
            limits: None,
            silent: 0,
            failed: settings.failed,
            ended: true,
            releasing: false,
            held: HashSet::new(),
            halt: None,
        })
    }

    async fn tally(&mut self) -> Result<Tally, Error> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => self.reader.insert(Reader::open(self.writer.path()).await?),
        };
        let status = reader.status(self.sweep).await?;
        let count = |number: i64| usize::try_from(number).unwrap_or(0);
        Ok(Tally {
            queued: count(status.queued),
            running: count(status.running),
            succeeded: count(status.succeeded),
            failed: count(status.failed),
            stopped: count(status.stopped_early),
            left_out: count(status.left_out),
            held: 0,
        })
    }

    /// The tally with what succeeded since `before` only.
    async fn since(&mut self, before: Tally) -> Result<Tally, Error> {
        let now = self.tally().await?;
        Ok(Tally { succeeded: now.succeeded.saturating_sub(before.succeeded), ..now })
    }

    fn report(&self, tally: &Tally, seen: &Seen, told: &mut Option<String>) {
        if self.settings.verbosity == Verbosity::Quiet {
            return;
        }
        let tasks = match (&seen.tasks, &seen.silence) {
            (Some(tasks), _) if tasks.is_empty() => String::new(),
            (Some(tasks), _) => {
                let words: Vec<String> = tasks.iter().map(|(state, count)| format!("{count} {state}")).collect();
                format!("; tasks: {}", words.join(", "))
            }
            (None, Some(why)) => format!("; Slurm does not answer: {}", why.lines().next().unwrap_or_default()),
            (None, None) => String::new(),
        };
        let failed = if tally.failed > 0 { format!(", {} failed", tally.failed) } else { String::new() };
        let words = format!("{} of {} runs recorded{failed}{tasks}", tally.succeeded, tally.over() + tally.left());
        if told.as_ref() != Some(&words) {
            say(&words);
            *told = Some(words);
        }
    }

    /// Brings database, folder and scheduler together.
    async fn pass(&mut self, submitting: bool) -> Result<Seen, Error> {
        let mut seen = Seen::default();
        self.ingest().await?;
        let submissions = self.writer.submissions(self.sweep, LATE).await?;
        let names: Vec<String> = submissions.iter().map(|submission| job_name(&submission.id)).collect();
        let tasks = match self.settings.slurm.tasks(&names).await {
            Ok(tasks) => {
                self.silent = 0;
                Some(tasks)
            }
            Err(error @ SlurmError::Missing(_)) => return Err(Error::Unexpected(error.to_string())),
            Err(error) => {
                // Nothing follows from it: whatever ran goes on.
                self.silent += 1;
                seen.back_off = (self.pace.poll * 2u32.saturating_pow(self.silent.min(8))).min(SILENT);
                seen.silence = Some(error.to_string());
                None
            }
        };
        if let Some(tasks) = &tasks {
            self.settle_submissions(submissions, tasks).await?;
            // The queue was read before the journals were: what ended in between is looked at in the next pass.
            self.ingest().await?;
        }
        self.judge(tasks.as_deref()).await?;
        self.bring_home().await?;
        self.writer.give_up(self.sweep, self.settings.attempts).await?;
        if self.settings.max_failures.is_some() && self.halt.is_none() {
            let failed = self.tally().await?.failed;
            self.halt = self.settings.max_failures.filter(|&most| failed >= most).map(Halt::Failures);
        }
        if submitting && self.halt.is_none() && tasks.is_some() {
            seen.submitted = self.submit().await?;
        }
        seen.tasks = tasks.map(|tasks| {
            let mut states = BTreeMap::new();
            let live = tasks.iter().filter(|task| task.is_active());
            live.for_each(|task| *states.entry(task.state.to_lowercase()).or_insert(0) += 1);
            states
        });
        let left = self.writer.slices(self.sweep).await?.len();
        seen.over = submitting && seen.submitted && left == 0 && self.writer.missing(self.sweep, false).await?.is_empty();
        Ok(seen)
    }

    /// Takes in what the workers have written.
    async fn ingest(&mut self) -> Result<(), Error> {
        let submissions = self.writer.submissions(self.sweep, 0.0).await?;
        let ours: HashSet<String> = submissions.into_iter().map(|submission| submission.id).collect();
        for name in self.shared.listed(|name| ours.contains(&name.submission)).map_err(path_error)? {
            self.read(&name).await?;
        }
        Ok(())
    }

    /// Takes in what one journal has that is new.
    async fn read(&mut self, name: &JournalName) -> Result<(), Error> {
        if !self.readings.contains_key(name) {
            self.writer.share_journal(&name.file(), &name.submission, name.slice).await?;
            let journal = Journal::shared(self.shared.journal(name), self.writer).await?;
            let reading = Reading { journal, closed: false, judged: false, heard: Instant::now(), warned: false, fresh: false };
            self.readings.insert(name.clone(), reading);
        }
        let Some(reading) = self.readings.get_mut(name).filter(|reading| !reading.judged) else { return Ok(()) };
        reading.fresh = false;
        loop {
            let pulled = reading.journal.pull(self.writer).await?;
            if pulled.is_empty() {
                return Ok(());
            }
            (reading.heard, reading.fresh) = (Instant::now(), true);
            if let Some((_, why)) = &pulled.spoiled {
                tracing::warn!("{why}");
            }
            for event in pulled.events {
                match event {
                    Event::Close { .. } => reading.closed = true,
                    Event::End { r, st, why, .. } => match st {
                        Outcome::Ok => self.ended = true,
                        // Its rows were replaced by those of another copy of the task before it ended: they are taken again, whole.
                        Outcome::Lost => {
                            replay(self.writer, name, &self.shared, &r).await?;
                            self.ended = true;
                        }
                        // What another copy of the task writes of a run that is over is of no use.
                        Outcome::Io if self.writer.recorded(std::slice::from_ref(&r)).await? == [true] => {}
                        Outcome::Io => {
                            self.halt
                                .get_or_insert(Halt::Fatal(format!("run {}: a file could not be written: {why}", r.short())));
                        }
                        Outcome::Stopped | Outcome::StoppedEarly => {}
                        _ => say_failed(self.settings.verbosity, &r, st, &why),
                    },
                    _ => {}
                }
            }
        }
    }

    /// Submissions that an earlier controller did not complete.
    async fn settle_submissions(&mut self, submissions: Vec<Submission>, tasks: &[Task]) -> Result<(), Error> {
        let slurm = &self.settings.slurm;
        for submission in submissions {
            let name = job_name(&submission.id);
            let jobs: HashSet<&String> = tasks.iter().filter(|task| task.name == name).map(|task| &task.job).collect();
            match submission.state.as_str() {
                "intent" => match jobs.iter().next() {
                    Some(job) if jobs.len() == 1 => {
                        self.writer.submitted(&submission.id, job).await?;
                        self.release(&submission.id, job).await?;
                    }
                    // Held, so that none of them has run: which one is right is not worth asking.
                    _ => {
                        self.writer.void(&submission.id).await?;
                        for job in jobs {
                            slurm.cancel(job).await.map_err(unexpected)?;
                        }
                    }
                },
                "held" => {
                    let job = submission.job.unwrap_or_default();
                    self.release(&submission.id, &job).await?;
                }
                "void" => {
                    let late = tasks.iter().filter(|task| task.name == name && task.is_active()).map(|task| task.job.as_str());
                    for job in late.collect::<HashSet<_>>() {
                        slurm.cancel(job).await.map_err(unexpected)?;
                    }
                }
                "live" => {
                    let held = tasks.iter().filter(|task| task.name == name && task.is_held()).count();
                    if let (Some(job), 1..) = (&submission.job, held) {
                        self.release_again(job, held, submission.released_at).await?;
                    }
                }
                _ => {}
            }
        }
        self.releasing = false;
        Ok(())
    }

    /// Tasks of a job that was released are held.
    async fn release_again(&mut self, job: &str, held: usize, released_at: Option<f64>) -> Result<(), Error> {
        let soon = released_at.is_none_or(|at| store::now() - at < FORGOTTEN);
        if self.releasing || soon {
            match self.settings.slurm.release(job).await {
                Ok(()) => tracing::warn!("job {job}: {held} tasks were held again after their release; released once more"),
                Err(error) => tracing::warn!("job {job}: {error}; its {held} held tasks are released in the next pass"),
            }
        } else if self.held.insert(job.to_owned()) {
            tracing::warn!(
                "job {job}: {held} tasks are held, and wait for `scontrol release {job}`, or for `sweep resume`, which does it"
            );
        }
        Ok(())
    }

    async fn release(&mut self, id: &str, job: &str) -> Result<(), Error> {
        match self.settings.slurm.release(job).await {
            // Refused: it is not held any more, or gone, as the next look at the queue tells.
            Ok(()) | Err(SlurmError::Refused(_)) => self.writer.released(id).await?,
            Err(error) => tracing::warn!("job {job}: {error}; it is released in the next pass"),
        }
        Ok(())
    }

    /// Judges what has ended without saying so. `tasks` is `None` where the scheduler has not answered.
    async fn judge(&mut self, tasks: Option<&[Task]>) -> Result<(), Error> {
        let submissions = self.writer.submissions(self.sweep, 0.0).await?;
        let jobs: HashMap<String, String> =
            submissions.into_iter().filter_map(|submission| Some((submission.id, submission.job?))).collect();
        let known: HashMap<(&str, usize), &Task> =
            tasks.unwrap_or_default().iter().map(|task| ((task.name.as_str(), task.index), task)).collect();
        let notes = self.shared.noted(None).map_err(path_error)?;
        let mut journals: HashMap<(String, usize), Vec<JournalName>> = HashMap::new();
        for name in self.readings.keys() {
            journals.entry((name.submission.clone(), name.slice)).or_default().push(name.clone());
        }
        let slices = self.writer.slices(self.sweep).await?;
        let mut changed = Vec::new();
        let now = store::now();
        for slice in &slices {
            let (Some(job), Ok(index)) = (jobs.get(&slice.submission), usize::try_from(slice.slice)) else { continue };
            let task = known.get(&(job_name(&slice.submission).as_str(), index)).copied();
            let active = tasks.map(|_| task.is_some_and(Task::is_active));
            let gone_since = match active {
                Some(true) => None,
                Some(false) => slice.gone_since.or(Some(now)),
                None => slice.gone_since,
            };
            let (standing, reason) = match (task, active) {
                (Some(task), _) => (task.state.clone(), task.reason.clone()),
                (None, Some(_)) => ("GONE".to_owned(), String::new()),
                (None, None) => (slice.standing.clone(), slice.reason.clone()),
            };
            let task_id = format!("{job}_{index}");
            if task.is_some_and(Task::is_stranded) {
                tracing::warn!(
                    "task {task_id} is held after a launch that failed: it is cancelled, and its runs are submitted again"
                );
                self.settings.slurm.cancel(&task_id).await.map_err(unexpected)?;
            }
            let here = journals.remove(&(slice.submission.clone(), index)).unwrap_or_default();
            let mut quiet = true;
            for name in &here {
                quiet &= self.judge_worker(name, &notes, slice, task).await?;
            }
            let fresh = here.iter().any(|name| self.readings.get(name).is_some_and(|reading| reading.fresh));
            let waited = active == Some(false)
                && slice.gone_since.is_some_and(|since| now - since >= self.pace.grace.as_secs_f64())
                && !fresh;
            if waited {
                let last = task.map_or(slice.standing.as_str(), |task| task.state.as_str());
                self.task_is_over(slice, job, index, last, &here).await?;
            } else if slice.open == 0 && quiet && !here.is_empty() {
                // The scheduler may have lost track of it, and still want to start it.
                if task.is_some_and(|task| task.is_active() && task.state == "PENDING") {
                    self.settings.slurm.cancel(&task_id).await.map_err(unexpected)?;
                }
                self.writer.slice_over(&slice.submission, slice.slice).await?;
            }
            if (standing.as_str(), reason.as_str(), gone_since) != (&slice.standing, &slice.reason, slice.gone_since) {
                changed.push((slice.submission.as_str(), slice.slice, standing, reason, gone_since));
            }
        }
        let changed: Vec<_> = changed
            .iter()
            .map(|(submission, slice, standing, reason, gone)| (*submission, *slice, standing.as_str(), reason.as_str(), *gone))
            .collect();
        self.writer.tasks(&changed).await?;
        Ok(())
    }

    /// Judges the attempts of a worker that is known to have ended. True: its journal is read to its end.
    async fn judge_worker(
        &mut self,
        name: &JournalName,
        notes: &HashSet<String>,
        slice: &Slice,
        task: Option<&Task>,
    ) -> Result<bool, Error> {
        let is_noted = notes.contains(&name.stem());
        let Some(reading) = self.readings.get_mut(name) else { return Ok(true) };
        if reading.judged {
            return Ok(true);
        }
        if !reading.closed && !is_noted {
            let running = task.is_some_and(|task| task.state == "RUNNING");
            if running && reading.heard.elapsed() > SILENT && !reading.warned {
                reading.warned = true;
                let node = task.map(|task| task.node.as_str()).unwrap_or_default();
                tracing::warn!("{}: its worker on {node} has said nothing for ten minutes", name.file());
            }
            return Ok(false);
        }
        let ending = match self.shared.read_note(name) {
            // Something is still on its way.
            Some(note) if reading.journal.offset() < note.bytes => return Ok(false),
            Some(note) => match note.killed {
                Some(Killed::Timeout) => Ending::Worker(Outcome::Timeout, "ran longer than workers.timeout".to_owned()),
                Some(Killed::Overtaken) => {
                    Ending::Worker(Outcome::Lost, "another copy of its task took the slice over".to_owned())
                }
                Some(Killed::Told) => Ending::Worker(Outcome::Lost, "its task was told to end".to_owned()),
                None => {
                    let (outcome, why) = failure::verdict(&note.exit());
                    Ending::Worker(outcome, why)
                }
            },
            None if is_noted => return Ok(false),
            None => Ending::Worker(Outcome::Crashed, "the worker left without ending its run".to_owned()),
        };
        self.close(name, slice, &ending).await?;
        Ok(true)
    }

    /// Judges all attempts of a journal that have not ended; nothing more is read of it.
    async fn close(&mut self, name: &JournalName, slice: &Slice, ending: &Ending) -> Result<(), Error> {
        if let Some(reading) = self.readings.get_mut(name) {
            // What is still incomplete stays so.
            reading.journal.is_final(self.writer).await?;
            reading.judged = true;
        }
        let open = self.writer.open_attempts(&slice.submission, slice.slice, Some(&name.file())).await?;
        self.verdicts(open, ending, &tail(&self.shared.log(name))).await
    }

    async fn verdicts(&mut self, open: Vec<OpenAttempt>, ending: &Ending, log: &str) -> Result<(), Error> {
        if open.is_empty() {
            return Ok(());
        }
        let attempts = self.settings.attempts;
        let judged: Vec<_> = open
            .into_iter()
            .map(|open| {
                let plan::Verdict { outcome, why, retry } = plan::verdict(ending, open.failures, open.in_vain, attempts);
                if !retry {
                    say_failed(self.settings.verbosity, &open.run, outcome, &why);
                }
                (open, outcome, why, retry)
            })
            .collect();
        self.writer.judge(&judged, log).await?;
        Ok(())
    }

    /// The scheduler has not had the task for long enough that everything has arrived.
    async fn task_is_over(
        &mut self,
        slice: &Slice,
        job: &str,
        index: usize,
        last: &str,
        journals: &[JournalName],
    ) -> Result<(), Error> {
        let (state, code) = match self.settings.slurm.ending(job, index).await {
            Some((state, code)) => (state, code),
            None if last == "GONE" => (String::new(), String::new()),
            None => (last.to_owned(), String::new()),
        };
        let ending = Ending::Task { state: state.clone(), code: code.clone() };
        for name in journals {
            if self.readings.get(name).is_some_and(|reading| !reading.judged) {
                self.close(name, slice, &ending).await?;
            }
        }
        let rest = self.writer.open_attempts(&slice.submission, slice.slice, None).await?;
        self.verdicts(rest, &ending, "").await?;
        if journals.is_empty() && !matches!(state.as_str(), "CANCELLED" | "NODE_FAIL" | "PREEMPTED" | "") {
            self.did_not_start(slice, job, index, &state, &code).await?;
        }
        self.writer.slice_over(&slice.submission, slice.slice).await?;
        Ok(())
    }

    /// A task has ended and no worker of it ever wrote: its runs have failed once. Where none of its submission has, something is wrong with
    /// all of them.
    async fn did_not_start(&mut self, slice: &Slice, job: &str, index: usize, state: &str, code: &str) -> Result<(), Error> {
        let output = self.shared.output().join(format!("{job}_{index}.out"));
        let said = tail(&output);
        let code = if code.is_empty() { String::new() } else { format!(", exit code {code}") };
        let mut why = format!("task {job}_{index} has ended before its worker began ({state}{code})");
        let warned = "`workers.slurm.time` is under three minutes, and the warning two minutes before its end came at once";
        if let Some(cause) = usual_cause(&code).or((state == "COMPLETED").then_some(warned)) {
            why += &format!("; the usual cause: {cause}");
        }
        if !said.is_empty() {
            why += &format!("; it said:\n{said}");
        }
        for run in self.writer.unfinished_of(&slice.submission, slice.slice).await? {
            self.writer.not_begun(&run, "", Outcome::Crashed, &why, true).await?;
        }
        let none = !self.readings.keys().any(|name| name.submission == slice.submission);
        if none {
            self.halt.get_or_insert(Halt::Fatal(why));
        }
        Ok(())
    }

    /// Moves the folders of runs that have succeeded to where those of this machine are.
    async fn bring_home(&mut self) -> Result<(), Error> {
        if !std::mem::take(&mut self.ended) {
            return Ok(());
        }
        let begun = self.shared.begun().map_err(path_error)?;
        // A run that is trained again has taken the name of the one it replaced.
        let recorded: Vec<Fingerprint> = begun.iter().map(|run| run.replaced().unwrap_or_else(|| run.clone())).collect();
        let winners = self.writer.winning_journals(&recorded).await?;
        let mut again = false;
        for (run, winner) in begun.iter().zip(winners) {
            let Some(name) = winner.as_deref().and_then(winner_of) else { continue };
            let folder = self.shared.run(run, &name.nonce);
            if folder.path().is_dir() {
                move_home(&folder, &self.archive.run(&run.0))?;
                self.archive.run(&run.0).finished();
                again |= run.replaced().is_some();
            }
            // Others who make the same run may be alive: their folders go when no task is left.
        }
        if again {
            controller::settle_again(self.writer, self.archive).await?;
        }
        Ok(())
    }

    /// When no task is left: what unfinished runs have come to is kept, so that they go on from there on this machine as well, and what is not
    /// needed any more is removed.
    async fn take_home(&mut self) -> Result<(), Error> {
        self.ended = true;
        self.bring_home().await?;
        for run in self.shared.begun().map_err(path_error)? {
            // One name for what is furthest; the others go.
            let home = self.archive.run(&run.0);
            if self.writer.knows(&run).await? && !home.path().exists() {
                let furthest = self.shared.adopt(&run, &nonce()).map_err(path_error)?;
                move_home(&furthest, &home)?;
            }
            let others = self.shared.runs(&run);
            archive::file::remove(&others).map_err(|source| Error::Io { path: others, source })?;
        }
        // A journal is removed only after a checkpoint: a power loss cannot undo what was stored then.
        self.writer.checkpoint().await?;
        let over = self.writer.over_submissions(self.sweep).await?;
        self.shared.tidy(&over);
        if !self.writer.has_submissions().await? {
            self.shared.tidy_all();
        }
        Ok(())
    }

    /// Submits what is missing, as far as the site takes it. False: more is to come.
    async fn submit(&mut self) -> Result<bool, Error> {
        let missing = controller::checked(self.writer.missing(self.sweep, self.failed).await?)?;
        if missing.is_empty() {
            return Ok(true);
        }
        let limits = match self.limits {
            Some(limits) => limits,
            None => match self.settings.slurm.limits().await {
                Ok(limits) => *self.limits.insert(limits),
                Err(SlurmError::Silent(_)) => return Ok(false),
                Err(error) => return Err(unexpected(error)),
            },
        };
        let waiting = self.writer.slices(self.sweep).await?;
        let array = limits.array.clamp(1, ARRAY);
        // Leave room for others, and do not pile up arrays that wait.
        let pending = waiting.iter().filter(|slice| matches!(slice.standing.as_str(), "" | "PENDING")).count();
        let room = (limits.jobs / 2).saturating_sub(waiting.len());
        if room == 0 || (waiting.len() >= array && pending * 2 >= array) {
            return Ok(false);
        }
        let paces = Reader::open(self.writer.path()).await?.paces().await?;
        let seconds = |job: &protocol::Job| {
            let of_arch = paces.iter().filter(|pace| pace.arch == job.config.model.arch);
            let pace = of_arch.max_by_key(|pace| pace.epochs)?;
            Some(pace.seconds_per_epoch * job.config.train.epochs as f64)
        };
        let total = missing.len();
        let slices = plan::slices(missing, self.settings.runs_per_task, array.min(room), seconds);
        let runs: Vec<Vec<Fingerprint>> = slices.iter().map(plan::runs).collect();
        let now: usize = runs.iter().map(Vec::len).sum();
        let id = nonce();
        let program = self.shared.program().map_err(path_error)?;
        let root = self.shared.root().display().to_string();
        let command = format!("{} slice --root {} --submission {id}", quoted(&program.display().to_string()), quoted(&root));
        // 1. recorded, 2. written, 3. submitted (held), 4. recorded, 5. released, 6. recorded: it can be told at each what has happened.
        self.writer.intend(self.sweep, &id, &runs).await?;
        self.shared.submit(&id, &self.settings.terms, &slices, &self.settings.slurm.script(&command)).map_err(path_error)?;
        let array = Array {
            name: &job_name(&id),
            script: &self.shared.submission(&id).join("task.sh"),
            tasks: slices.len(),
            output: &self.shared.output(),
        };
        let job = match self.settings.slurm.submit(&array).await {
            Ok(job) => job,
            Err(SlurmError::Silent(why)) => {
                // It may have arrived: the next pass looks for its name.
                tracing::warn!("sbatch: {why}");
                return Ok(false);
            }
            Err(error) => {
                self.writer.void(&id).await?;
                return Err(unexpected(error));
            }
        };
        self.writer.submitted(&id, &job).await?;
        self.release(&id, &job).await?;
        if self.settings.verbosity != Verbosity::Quiet {
            let tasks = slices.len();
            let words = if tasks == 1 { "1 task".to_owned() } else { format!("{tasks} tasks") };
            say(&format!("submitted {words} with {now} of {total} runs as job {job}"));
        }
        // Those that had failed for good are tried once.
        if now == total {
            self.failed = false;
        }
        Ok(now == total)
    }

    /// Ends all tasks.
    async fn end_all(&mut self) -> Result<(), Error> {
        for submission in self.writer.submissions(self.sweep, 0.0).await? {
            self.shared.tell(&submission.id, &Command { stop_all: true, stop: Vec::new() }).map_err(path_error)?;
            if let Some(job) = &submission.job {
                self.settings.slurm.cancel(job).await.map_err(unexpected)?;
            }
        }
        Ok(())
    }
}

/// The name of a submission's job.
fn job_name(submission: &str) -> String {
    format!("sw-{submission}")
}

fn unexpected(error: SlurmError) -> Error {
    Error::Unexpected(error.to_string())
}

/// The journal by which a run has succeeded: the database also knows parts of journals that were taken again.
fn winner_of(journal: &str) -> Option<JournalName> {
    JournalName::parse(journal.split('@').next().unwrap_or(journal))
}

/// Takes one run's records of a journal once more, as an attempt of their own: another attempt had replaced its first rows.
async fn replay(writer: &mut Writer, name: &JournalName, shared: &Shared, run: &Fingerprint) -> Result<(), Error> {
    let path = shared.journal(name);
    let mut records: Vec<Record> = Vec::new();
    let scanned = journal::scan(&path, |record| {
        if record.event.attempt().is_none_or(|(r, _)| r != run) {
            return ControlFlow::Continue(());
        }
        let ends = matches!(record.event, Event::End { .. });
        records.push(record);
        if ends { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    scanned.map_err(|source| Error::Io { path, source })?;
    let part = format!("{}@{}", name.file(), run.0);
    writer.share_journal(&part, &name.submission, name.slice).await?;
    let next = records.last().map_or(0, |record| record.s + 1);
    let ingested = writer.ingest(&part, 0, next, &records).await?;
    if let Some(refused) = ingested.refused {
        tracing::warn!("{}", refused.why);
    }
    Ok(())
}

/// Moves a run's folder to its place, also to another file system, in place of what an earlier attempt has left there.
fn move_home(folder: &RunFolder, home: &RunFolder) -> Result<(), Error> {
    let failed = |source| Error::Io { path: home.path().to_owned(), source };
    match folder.replace(home) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            let mut aside = home.path().as_os_str().to_owned();
            aside.push(".arriving");
            let aside = RunFolder::at(PathBuf::from(aside));
            archive::file::remove(aside.path()).map_err(failed)?;
            copy(folder.path(), aside.path()).map_err(failed)?;
            aside.replace(home).map_err(failed)
        }
        moved => moved.map_err(failed),
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn say_failed(verbosity: Verbosity, run: &Fingerprint, outcome: Outcome, why: &str) {
    if verbosity != Verbosity::Quiet {
        say(&format!("{}: {}: {}", run.short(), failure::name(outcome), why.lines().next().unwrap_or_default()));
    }
}
