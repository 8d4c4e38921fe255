//! Workers without processes: real journals with made-up, deterministic results. For measuring the controller and for tests of
//! scheduling through the real command line; nothing is trained and no run folder is written.

use std::collections::HashMap;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Exit, Launcher, Place, Signal, Standing, WorkerId, WorkerSpec};
use data::{DataError, Dataset};
use imbalance::LabelCounts;
use imbalance::metric::{Counts, Decisions, Ranking};
use imbalance::rng::Rng;
use plan::{DataConfig, Fingerprint};
use protocol::journal::{Journal, JournalError};
use protocol::{Evaluated, Event, Job, Order, Outcome, SplitName, VERSION};

/// The launcher.
pub struct Fake {
    places: Vec<Place>,
    signals: mpsc::Sender<Signal>,
    workers: HashMap<WorkerId, std::sync::mpsc::Sender<Order>>,
    epoch: Duration,
}

impl Fake {
    /// A launcher of threads that pretend to be at `places`; a made-up epoch takes `epoch`.
    #[must_use]
    pub fn new(places: Vec<Place>, epoch: Duration, signals: mpsc::Sender<Signal>) -> Self {
        Self { places, signals, workers: HashMap::new(), epoch }
    }
}

impl Launcher for Fake {
    fn places(&self) -> usize {
        self.places.len()
    }

    fn device(&self, place: usize) -> &str {
        &self.places[place].device
    }

    fn start(&mut self, spec: WorkerSpec) {
        let (orders, queue) = std::sync::mpsc::channel();
        self.workers.insert(spec.id, orders);
        let (signals, epoch, place) = (self.signals.clone(), self.epoch, self.places[spec.place].clone());
        let (id, heard) = (spec.id, self.signals.clone());
        let thread = thread::Builder::new().name(spec.name.clone()).spawn(move || {
            let _ = signals.blocking_send(Signal::Stands(id, Standing::Running));
            let mut worker =
                FakeWorker { orders: queue, signals, epoch, told: Vec::new(), stopped: false, truths: Truths::new() };
            let code = if worker.work(&spec, &place).is_ok() { 0 } else { 74 };
            let exit = Exit::Process { code: Some(code), signal: None, out_of_memory: false };
            let _ = worker.signals.blocking_send(Signal::Stands(id, Standing::Gone(exit)));
        });
        if let Err(error) = thread {
            let exit = Exit::NotStarted { why: error.to_string(), no_room: false };
            // This thread also drains the channel, so it must not wait for room in it.
            tokio::spawn(async move { drop(heard.send(Signal::Stands(id, Standing::Gone(exit))).await) });
        }
    }

    fn send(&mut self, worker: WorkerId, order: &Order) {
        if let Some(orders) = self.workers.get(&worker) {
            let _ = orders.send(order.clone());
        }
    }

    fn kill(&mut self, worker: WorkerId) {
        // A thread cannot be killed: without its orders it leaves after the epoch.
        self.workers.remove(&worker);
    }

    fn released(&mut self, worker: WorkerId) {
        self.workers.remove(&worker);
    }
}

/// Rows and positives of val and test, of the data sets read so far.
type Truths = Vec<(PathBuf, DataConfig, [LabelCounts; 2])>;

fn truth<'t>(job: &Job, known: &'t mut Truths) -> Result<&'t [LabelCounts; 2], DataError> {
    let config = &job.config.data;
    let at = known.iter().position(|(folder, other, _)| *folder == job.data && other == config);
    let at = match at {
        Some(at) => at,
        None => {
            let data = Dataset::open(&job.data, config)?;
            let [_, val, test] = data.counts();
            known.push((job.data.clone(), config.clone(), [val, test]));
            known.len() - 1
        }
    };
    Ok(&known[at].2)
}

/// A thread that pretends to be a worker.
struct FakeWorker {
    orders: std::sync::mpsc::Receiver<Order>,
    signals: mpsc::Sender<Signal>,
    epoch: Duration,
    /// Runs that it was told to stop.
    told: Vec<(Fingerprint, u32)>,
    /// Whether it was told to stop altogether, or its channel has closed.
    stopped: bool,
    truths: Truths,
}

impl FakeWorker {
    /// A worker's life: one journal, many jobs.
    fn work(&mut self, spec: &WorkerSpec, place: &Place) -> Result<(), JournalError> {
        let mut journal = Journal::create(&spec.journal)?;
        let (worker, device, threads) = (spec.name.clone(), place.device.clone(), place.threads);
        let version = env!("CARGO_PKG_VERSION").to_owned();
        journal.append(Event::Open { v: VERSION, worker, pid: 0, host: String::new(), device, threads, version })?;
        self.wake(&mut journal, spec.id)?;
        while !self.stopped
            && let Ok(order) = self.orders.recv()
        {
            let jobs = match order {
                Order::Train(job) => vec![*job],
                Order::Bundle { jobs } => jobs,
                // No sweep has the others.
                Order::StopRun { .. } | Order::Refit { .. } | Order::Predict(_) => continue,
                Order::Stop => break,
            };
            for job in &jobs {
                self.train(job, &mut journal, spec.id)?;
            }
            // Runs of a bundle end together, and share one wait for the disk.
            self.wake(&mut journal, spec.id)?;
        }
        journal.append(Event::Close { why: "finished".to_owned() })?;
        journal.flush()
    }

    fn wake(&self, journal: &mut Journal, id: WorkerId) -> Result<(), JournalError> {
        journal.flush()?;
        let _ = self.signals.blocking_send(Signal::Wake(id));
        Ok(())
    }

    /// Reads the orders that have arrived meanwhile.
    fn listen(&mut self) {
        use std::sync::mpsc::TryRecvError;
        loop {
            match self.orders.try_recv() {
                Ok(Order::StopRun { run, attempt }) => self.told.push((run, attempt)),
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return self.stopped = true,
                // No new order arrives before it has ended this one.
                Ok(_) => {}
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    /// Writes plausible records of a run, epoch by epoch.
    fn train(&mut self, job: &Job, journal: &mut Journal, id: WorkerId) -> Result<(), JournalError> {
        let epochs = match truth(job, &mut self.truths) {
            Ok(truth) => made_up(job, truth),
            Err(error) => {
                let (r, a, st, why) = (job.run.clone(), job.attempt, Outcome::Data, error.to_string());
                return journal.append(Event::End { r, a, st, n: 0, why });
            }
        };
        journal.append(Event::Begin { r: job.run.clone(), a: job.attempt, from: None })?;
        let (mut n, mut st) = (0, Outcome::Ok);
        let last = epochs.len().saturating_sub(1);
        for (epoch, events) in epochs.into_iter().enumerate() {
            if !self.epoch.is_zero() {
                self.wake(journal, id)?;
                thread::sleep(self.epoch);
                self.listen();
            }
            if self.told.iter().any(|(run, attempt)| *run == job.run && *attempt == job.attempt) {
                st = Outcome::StoppedEarly;
                break;
            }
            for event in events {
                journal.append(event)?;
                n += 1;
            }
            if self.stopped && epoch < last {
                st = Outcome::Stopped;
                break;
            }
        }
        journal.append(Event::End { r: job.run.clone(), a: job.attempt, st, n, why: String::new() })
    }
}
/// Plausible records of a run, epoch by epoch: equal for equal runs, better with every epoch, whatever it trained.
pub(crate) fn made_up(job: &Job, [val, test]: &[LabelCounts; 2]) -> Vec<Vec<Event>> {
    let epochs = job.config.train.epochs;
    let ap = |epoch: usize, label: usize| {
        let mut rng = rng(job, "ap", &[epoch as u64, label as u64]);
        (1.0 - 0.7 / (epoch as f64 + 1.5)) * (0.8 + 0.2 * rng.uniform())
    };
    let labels = job.pos_weight.len();
    let ranked = |truth: &LabelCounts| (0..labels).filter(|&label| truth.positives[label] > 0).collect::<Vec<_>>();
    let on_val = ranked(val);
    // In the order of the labels, as the store sums them.
    let macro_ap = |epoch: usize| on_val.iter().map(|&label| ap(epoch, label)).sum::<f64>() / on_val.len().max(1) as f64;
    let best = (0..epochs).fold(0, |best, epoch| if macro_ap(epoch) > macro_ap(best) { epoch } else { best });
    let split = |epoch: usize, split: SplitName| {
        let truth = if split == SplitName::Val { val } else { test };
        let ap = (0..labels).map(|label| (truth.positives[label] > 0).then(|| ap(epoch, label))).collect::<Vec<_>>();
        let both = |label: usize| truth.has_both(label);
        let auc = ap.iter().enumerate().map(|(label, ap)| ap.filter(|_| both(label)).map(|ap| 0.5 + ap / 2.0)).collect();
        let ranking = Ranking { ap, auc, mean_score: vec![0.3; labels] };
        let evaluated = Evaluated { run: &job.run, attempt: job.attempt, epoch, split };
        let mut events = vec![evaluated.ranking(ranking)];
        events.extend(job.policies.iter().enumerate().map(|(index, policy)| {
            let counts: Vec<_> =
                (0..labels).map(|label| counts(job, truth, [epoch as u64, split as u64, index as u64, label as u64])).collect();
            let (samples_f1, subset_accuracy) = (ap_mean(macro_ap(epoch)), ap_mean(macro_ap(epoch)) / 2.0);
            evaluated.decisions(policy, Decisions { thresholds: vec![0.5; labels], counts, samples_f1, subset_accuracy })
        }));
        events
    };
    let ordinary = |epoch: usize| {
        let loss = 0.7 / (epoch as f64 + 1.5);
        let mut events = vec![Event::Epoch {
            r: job.run.clone(),
            a: job.attempt,
            epoch,
            train_loss: loss,
            val_loss: loss * 1.1,
            learning_rate: job.config.train.learning_rate,
            seconds: 0.0,
            images_per_s: 0.0,
            steps: None,
        }];
        events.extend(split(epoch, SplitName::Val));
        events
    };
    let mut all: Vec<_> = (0..epochs).map(ordinary).collect();
    if let Some(end) = all.last_mut() {
        for epoch in (0..epochs).filter(|&epoch| epoch == best || epoch + 1 == epochs) {
            end.extend(split(epoch, SplitName::Test));
        }
    }
    all
}

fn ap_mean(macro_ap: f64) -> f64 {
    macro_ap.clamp(0.0, 1.0)
}

fn rng(job: &Job, purpose: &str, indices: &[u64]) -> Rng {
    let seed = u64::from_str_radix(job.run.0.get(..16).unwrap_or_default(), 16).unwrap_or(0);
    Rng::new(seed, purpose, indices)
}

/// Made-up decisions, consistent with the rows and positives of the split.
fn counts(job: &Job, truth: &LabelCounts, indices: [u64; 4]) -> Counts {
    let label = indices[3] as usize;
    let (positives, negatives) = (truth.positives[label] as u64, truth.negatives(label) as u64);
    let mut rng = rng(job, "counts", &indices);
    let (tp, fp) = (rng.below(positives + 1), rng.below(negatives / 4 + 1));
    Counts { tp, fp, fn_: positives - tp, tn: negatives - fp }
}
