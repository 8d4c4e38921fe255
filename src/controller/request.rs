//! What may be asked of a sweep that runs: by a policy that stops hopeless runs, by a page with buttons.

use tokio::sync::mpsc;

use plan::Fingerprint;

/// One wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// This run shall end after its epoch, for good: `stopped_early`. A run that is not under way is left as it is.
    StopRun(Fingerprint),
}

/// The way wishes take. The sender may be cloned, and may go: nobody has to ask for anything.
#[must_use]
pub fn requests() -> (mpsc::UnboundedSender<Request>, mpsc::UnboundedReceiver<Request>) {
    mpsc::unbounded_channel()
}
