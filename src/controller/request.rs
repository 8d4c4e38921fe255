//! Requests to a running sweep: by a policy that stops hopeless runs, by a page with buttons (see [`super::control`]) or by the keyboard.

use tokio::sync::mpsc;

use plan::Fingerprint;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// End this run after its epoch, for good: `stopped_early`. Ignored for a run that is not under way.
    StopRun(Fingerprint),
    /// End the sweep after the current epochs, to be resumed: as the first Ctrl-C does.
    Stop,
    /// The observers are to answer the user.
    Key(Key),
}

/// A line that the user has typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Enter: one line with the status.
    Status,
    /// `?`: the keys.
    Help,
    /// Anything else, which the shell does not get.
    Unknown,
}

/// The channel of requests. The sender may be cloned or dropped.
#[must_use]
pub fn requests() -> (mpsc::UnboundedSender<Request>, mpsc::UnboundedReceiver<Request>) {
    mpsc::unbounded_channel()
}
