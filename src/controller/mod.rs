//! The one linearising place: state (pure: event → actions), dispatcher (one select loop), progress.
