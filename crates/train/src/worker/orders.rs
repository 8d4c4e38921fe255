//! Orders on stdin, read on a thread of their own, so that a `stop` is heard during a training.

use std::collections::HashSet;
use std::io::{self, BufRead};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};

use plan::Fingerprint;
use protocol::{Heard, Job, Order, Prediction};

/// What the worker is to do.
pub enum Task {
    Train(Vec<Job>),
    Refit(Box<Job>, usize),
    Predict(Prediction),
    /// These attempts cannot be made as ordered.
    Refuse(Vec<(Fingerprint, u32)>, String),
}

/// Requests to stop after the current epoch.
#[derive(Debug, Default)]
pub struct Stops {
    all: AtomicBool,
    attempts: Mutex<HashSet<(Fingerprint, u32)>>,
}

impl Stops {
    /// Whether everything is to stop.
    pub fn all(&self) -> bool {
        self.all.load(Ordering::Relaxed)
    }

    /// Whether this attempt is to stop.
    pub fn attempt(&self, job: &Job) -> bool {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).contains(&(job.run.clone(), job.attempt))
    }
}

unsafe extern "C" {
    /// POSIX: ends the process, without the handlers of `exit`.
    safe fn _exit(status: i32) -> !;
}

/// Starts the reading thread: a channel of tasks, and the requests to stop. The channel ends with the last order; the end of stdin without a `stop` means that the
/// controller is gone, and ends the process.
pub fn listen() -> (Receiver<Task>, Arc<Stops>) {
    let (sender, orders) = mpsc::channel();
    let stops = Arc::new(Stops::default());
    let told = Arc::clone(&stops);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            match protocol::heard(&line) {
                Heard::Order(Order::Train(job)) => drop(sender.send(Task::Train(vec![*job]))),
                Heard::Order(Order::Bundle { jobs }) => drop(sender.send(Task::Train(jobs))),
                Heard::Order(Order::Refit { job, epochs }) => drop(sender.send(Task::Refit(job, epochs))),
                Heard::Order(Order::Predict(prediction)) => drop(sender.send(Task::Predict(prediction))),
                Heard::Order(Order::StopRun { run, attempt }) => {
                    told.attempts.lock().unwrap_or_else(PoisonError::into_inner).insert((run, attempt));
                }
                Heard::Order(Order::Stop) => return told.all.store(true, Ordering::Relaxed),
                Heard::Refused { attempts, why } => {
                    tracing::error!("{why}");
                    drop(sender.send(Task::Refuse(attempts, why)));
                }
            }
        }
        // Results would reach no controller, and the checkpoint is good. Nothing is torn down, least of all a device that the
        // other thread is using.
        _exit(0);
    });
    (orders, stops)
}
