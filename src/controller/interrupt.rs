//! SIGINT and SIGTERM as one stream of requests to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::progress::say;
use crate::error::Error;

/// Listens from its creation until it is dropped.
pub struct Interrupts {
    int: Signal,
    term: Signal,
}

impl Interrupts {
    /// Replaces the default action of the signals, which would end the process.
    ///
    /// # Errors
    /// The runtime cannot listen to signals.
    pub fn listen() -> Result<Self, Error> {
        let hear = |kind| signal(kind).map_err(|error| Error::Unexpected(format!("cannot listen to signals: {error}")));
        Ok(Self { int: hear(SignalKind::interrupt())?, term: hear(SignalKind::terminate())? })
    }

    /// For times without training: until the guard is dropped, the first request ends the process at once with the exit code of an
    /// interrupt. Unfinished work is left as by a kill, which is harmless.
    ///
    /// # Errors
    /// The runtime cannot listen to signals.
    #[expect(clippy::disallowed_methods, reason = "nothing of what is under way can be asked to stop")]
    pub fn end_at_once() -> Result<AtOnce, Error> {
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
