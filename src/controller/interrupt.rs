//! SIGINT and SIGTERM as one stream of requests to stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

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

    /// The next request to stop.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }
}
