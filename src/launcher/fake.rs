//! Workers without processes: real journals with made-up, deterministic results. For measuring the controller and for tests of
//! scheduling through the real command line; nothing is trained and no run folder is written.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Birth, Exit, Launcher, Signal, WorkerId};
use data::{DataError, Dataset};
use imbalance::LabelCounts;
use imbalance::metric::{Counts, Ranking};
use imbalance::rng::Rng;
use plan::DataConfig;
use protocol::journal::{Journal, JournalError};
use protocol::{Event, Job, Order, Outcome, SplitName, VERSION};

/// Seconds that a made-up epoch takes; 0 by default.
const EPOCH_SECONDS: &str = "SWEEP_FAKE_EPOCH_SECONDS";
/// The launcher.
pub struct Fake {
    signals: mpsc::Sender<Signal>,
    workers: HashMap<WorkerId, std::sync::mpsc::Sender<Order>>,
    epoch: Duration,
}

impl Fake {
    /// A launcher of threads that pretend.
    #[must_use]
    pub fn new(signals: mpsc::Sender<Signal>) -> Self {
        let seconds = std::env::var(EPOCH_SECONDS).ok().and_then(|text| text.parse().ok()).unwrap_or(0.0);
        let epoch = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        Self { signals, workers: HashMap::new(), epoch }
    }
}

impl Launcher for Fake {
    fn start(&mut self, birth: Birth) -> io::Result<()> {
        let (orders, queue) = std::sync::mpsc::channel();
        self.workers.insert(birth.id, orders);
        let (signals, epoch) = (self.signals.clone(), self.epoch);
        thread::Builder::new().name(birth.name.clone()).spawn(move || {
            let id = birth.id;
            let code = match work(&birth, &queue, &signals, epoch) {
                Ok(()) => 0,
                Err(_) => 74,
            };
            let _ = signals.blocking_send(Signal::Exited(id, Exit { code: Some(code), ..Exit::default() }));
        })?;
        Ok(())
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
}

/// A worker's life: one journal, many jobs.
fn work(
    birth: &Birth,
    orders: &std::sync::mpsc::Receiver<Order>,
    signals: &mpsc::Sender<Signal>,
    epoch: Duration,
) -> Result<(), JournalError> {
    let wake = |journal: &mut Journal| {
        journal.flush()?;
        let _ = signals.blocking_send(Signal::Wake(birth.id));
        Ok(())
    };
    let mut journal = Journal::create(&birth.journal)?;
    let (worker, device, threads) = (birth.name.clone(), birth.slot.device.clone(), birth.slot.threads);
    let version = env!("CARGO_PKG_VERSION").to_owned();
    journal.append(Event::Open { v: VERSION, worker, pid: 0, host: String::new(), device, threads, version })?;
    wake(&mut journal)?;
    let (mut stopped, mut truths) = (false, Vec::new());
    while !stopped && let Ok(order) = orders.recv() {
        let jobs = match order {
            Order::Train(job) => vec![*job],
            Order::Bundle { jobs } => jobs,
            Order::Stop => break,
            // An epoch here takes no time worth saving.
            Order::StopRun { .. } => continue,
        };
        for job in &jobs {
            stopped |= train(job, orders, &mut journal, epoch, &mut truths)?;
            wake(&mut journal)?;
        }
    }
    journal.append(Event::Close { why: "finished".to_owned() })?;
    journal.flush()
}

/// What val and test of the data sets that were read so far hold.
type Truths = Vec<(PathBuf, DataConfig, [LabelCounts; 2])>;

fn truth<'t>(job: &Job, known: &'t mut Truths) -> Result<&'t [LabelCounts; 2], DataError> {
    let config = &job.config.data;
    let at = known.iter().position(|(folder, other, _)| *folder == job.data && other == config);
    let at = match at {
        Some(at) => at,
        None => {
            let data = Dataset::open(&job.data, config)?;
            let [val, test] = [&data.split().val, &data.split().test].map(|rows| data.labels().select(rows).counts());
            known.push((job.data.clone(), config.clone(), [val, test]));
            known.len() - 1
        }
    };
    Ok(&known[at].2)
}

/// Writes what a run might have said, an `epoch` apart. True: it was told to stop.
fn train(
    job: &Job,
    orders: &std::sync::mpsc::Receiver<Order>,
    journal: &mut Journal,
    epoch: Duration,
    truths: &mut Truths,
) -> Result<bool, JournalError> {
    let truth = match truth(job, truths) {
        Ok(truth) => truth,
        Err(error) => {
            let (r, a, st, why) = (job.run.clone(), job.attempt, Outcome::Data, error.to_string());
            journal.append(Event::End { r, a, st, n: 0, why })?;
            return Ok(false);
        }
    };
    journal.append(Event::Begin { r: job.run.clone(), a: job.attempt, from: None })?;
    let (mut events, mut n, mut stopped) = (made_up(job, truth), 0, false);
    for events in &mut events {
        if !epoch.is_zero() {
            thread::sleep(epoch);
            stopped = matches!(orders.try_recv(), Ok(Order::Stop) | Err(std::sync::mpsc::TryRecvError::Disconnected));
        }
        for event in events.drain(..) {
            journal.append(event)?;
            n += 1;
        }
        if stopped {
            break;
        }
    }
    let done = events.iter().all(Vec::is_empty);
    let st = if done { Outcome::Ok } else { Outcome::Stopped };
    journal.append(Event::End { r: job.run.clone(), a: job.attempt, st, n, why: String::new() })?;
    Ok(stopped)
}

/// What a run might have said, epoch by epoch: equal for equal runs, better with every epoch, whatever it trained.
fn made_up(job: &Job, [val, test]: &[LabelCounts; 2]) -> Vec<Vec<Event>> {
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
        let both = |label: usize| truth.positives[label] < truth.rows;
        let auc = ap.iter().enumerate().map(|(label, ap)| ap.filter(|_| both(label)).map(|ap| 0.5 + ap / 2.0)).collect();
        let ranking = Ranking { ap, auc, mean_score: vec![0.3; labels] };
        let mut events = vec![Event::Rank { r: job.run.clone(), a: job.attempt, epoch, split, ranking }];
        events.extend(job.policies.iter().enumerate().map(|(index, policy)| {
            let counts: Vec<_> =
                (0..labels).map(|label| counts(job, truth, [epoch as u64, split as u64, index as u64, label as u64])).collect();
            Event::Eval {
                r: job.run.clone(),
                a: job.attempt,
                epoch,
                split,
                policy: policy.clone(),
                thresholds: vec![0.5; labels],
                counts,
                samples_f1: ap_mean(macro_ap(epoch)),
                subset_accuracy: ap_mean(macro_ap(epoch)) / 2.0,
            }
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

/// Decisions of no network, on the rows and positives that there are.
fn counts(job: &Job, truth: &LabelCounts, indices: [u64; 4]) -> Counts {
    let (rows, positives) = (truth.rows as u64, truth.positives[indices[3] as usize] as u64);
    let mut rng = rng(job, "counts", &indices);
    let (tp, fp) = (rng.below(positives + 1), rng.below((rows - positives) / 4 + 1));
    Counts { tp, fp, fn_: positives - tp, tn: rows - positives - fp }
}
