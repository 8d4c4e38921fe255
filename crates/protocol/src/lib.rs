//! The vocabulary on both sides of the process boundary (docs/protocol.md): jobs to a worker, records from it, and the journal that
//! carries the records. serde and one file; no process, no database.

mod environment;
pub mod journal;
mod message;
mod results;

pub use environment::environment;
pub use journal::Journal;
pub use message::*;
pub use results::Evaluated;
