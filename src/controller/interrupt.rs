//! SIGINT and SIGTERM as one stream of requests to stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::progress::say;
use crate::error::Error;

/// Listens from its creation on.
pub struct Interrupts {
    int: Signal,
    term: Signal,
}

impl Interrupts {
    /// Takes the signals over from the default, which would end the process.
    ///
    /// # Errors
    /// The runtime cannot listen to signals.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { int: signal(SignalKind::interrupt())?, term: signal(SignalKind::terminate())? })
    }

    /// While nothing is trained there is nothing to stop after: until the guard is dropped, the first request ends the process with
    /// the exit code of an interrupt. What was begun is left as a kill would leave it, which harms nothing.
    ///
    /// # Errors
    /// The runtime cannot listen to signals.
    #[expect(clippy::disallowed_methods, reason = "nothing of what is under way can be asked to stop")]
    pub fn end_at_once() -> io::Result<AtOnce> {
        let mut interrupts = Self::listen()?;
        Ok(AtOnce(tokio::spawn(async move {
            interrupts.next().await;
            say("error: interrupted before anything was trained; the same command begins again");
            std::process::exit(Error::Interrupted.exit_code().into());
        })))
    }

    /// The next request to stop.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }
}

/// See [`Interrupts::end_at_once`].
pub struct AtOnce(JoinHandle<()>);

impl Drop for AtOnce {
    fn drop(&mut self) {
        self.0.abort();
    }
}
