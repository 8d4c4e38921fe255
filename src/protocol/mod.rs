//! The vocabulary on both sides of the process boundary (docs/protocol.md): jobs to a worker, records from it. serde only.

mod message;

pub use message::*;
