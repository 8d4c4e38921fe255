//! Requests to a running sweep, by a policy that stops hopeless runs or by a page with buttons (see [`super::control`]).

use tokio::sync::mpsc;

use plan::Fingerprint;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// End this run after its epoch, for good: `stopped_early`. Ignored for a run that is not under way.
    StopRun(Fingerprint),
    /// End the sweep after the current epochs, to be resumed: as the first Ctrl-C does.
    Stop,
}

/// The channel of requests. The sender may be cloned or dropped.
#[must_use]
pub fn requests() -> (mpsc::UnboundedSender<Request>, mpsc::UnboundedReceiver<Request>) {
    mpsc::unbounded_channel()
}
