//! Orders on stdin, read on a thread of their own, so that a `stop` is heard during a training.

use std::io::{self, BufRead};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};

use protocol::{Job, Order, VERSION};
use plan::Fingerprint;

/// What the worker was told to stop.
#[derive(Debug, Default)]
pub struct Stops {
    all: AtomicBool,
    attempts: Mutex<Vec<(Fingerprint, u32)>>,
}

impl Stops {
    /// Everything, after the current epoch.
    pub fn all(&self) -> bool {
        self.all.load(Ordering::Relaxed)
    }

    /// This attempt, after its current epoch.
    pub fn attempt(&self, job: &Job) -> bool {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.iter().any(|(run, attempt)| *run == job.run && *attempt == job.attempt)
    }
}

unsafe extern "C" {
    /// POSIX: ends the process, without the handlers of `exit`.
    safe fn _exit(status: i32) -> !;
}

/// The orders to train and what is to be stopped. The channel ends with the last order; the end of stdin without a `stop` means that
/// the controller is gone, and ends the process.
pub fn listen() -> (Receiver<Vec<Job>>, Arc<Stops>) {
    let (sender, jobs) = mpsc::channel();
    let stops = Arc::new(Stops::default());
    let heard = Arc::clone(&stops);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            match line.map(|line| serde_json::from_str::<Order>(&line)) {
                Ok(Ok(Order::Train(job))) => drop(sender.send(vec![*job])),
                Ok(Ok(Order::Bundle { jobs })) => drop(sender.send(jobs)),
                Ok(Ok(Order::StopRun { run, attempt })) => {
                    heard.attempts.lock().unwrap_or_else(PoisonError::into_inner).push((run, attempt));
                }
                Ok(Ok(Order::Stop)) => return heard.all.store(true, Ordering::Relaxed),
                Ok(Err(error)) => tracing::error!("unknown order (protocol {VERSION}): {error}"),
                Err(_) => break,
            }
        }
        // Nobody would hear of a result any more, and the checkpoint is good. Nothing is torn down, least of all a device that the
        // other thread is using.
        _exit(0);
    });
    (jobs, stops)
}
