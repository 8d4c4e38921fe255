//! The one linearising place: state (pure: event → actions), dispatcher (one select loop), ingest, refill, progress.

pub mod failure;
pub mod state;
