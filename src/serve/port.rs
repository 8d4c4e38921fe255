//! The port.

use tokio::net::TcpListener;

use crate::error::Error;

/// The usual port: the next one to TensorBoard's.
pub const USUAL: u16 = 6007;
/// How many ports from there on are tried.
const TRIED: u16 = 100;

/// Which port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// [`USUAL`], or the next one that is free.
    Usual,
    /// This one, and no other; 0: any.
    Given(u16),
}

/// Listens on 127.0.0.1.
///
/// # Errors
/// [`Error::Usage`] for a given port that cannot be had; no free port.
pub async fn listen(port: Port) -> Result<(TcpListener, u16), Error> {
    let taken = |source| Error::Io { path: "127.0.0.1".into(), source };
    let listener = match port {
        Port::Given(port) => TcpListener::bind(("127.0.0.1", port)).await.map_err(|error| {
            let why = match error.kind() {
                std::io::ErrorKind::AddrInUse => "another program listens there, perhaps another `sweep serve`".to_owned(),
                std::io::ErrorKind::PermissionDenied => "ports below 1024 are for the administrator".to_owned(),
                _ => error.to_string(),
            };
            Error::Usage(format!("--port {port}: {why}; --port 0 takes any free port, and without --port the first free one from {USUAL} on is taken"))
        })?,
        Port::Usual => {
            let mut last = None;
            let mut found = None;
            for port in USUAL..USUAL + TRIED {
                match TcpListener::bind(("127.0.0.1", port)).await {
                    Ok(listener) => {
                        found = Some(listener);
                        break;
                    }
                    Err(error) => last = Some(error),
                }
            }
            found.ok_or_else(|| taken(last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into())))?
        }
    };
    let port = listener.local_addr().map_err(taken)?.port();
    Ok((listener, port))
}
