//! The environment of a worker.

/// Variables in the environment of a worker with `threads` threads; libraries read them once, early.
///
/// Candle's own pool spins until each of its threads has had its turn, which rayon's threads beside it delay: the kernels share out
/// their work through rayon, and Candle keeps to one thread. An allocator that gives memory back gets it again in the next step,
/// page by page: mimalloc keeps it.
#[must_use]
pub fn environment(threads: &str) -> [(&'static str, &str); 3] {
    [("RAYON_NUM_THREADS", threads), ("CANDLE_NUM_THREADS", "1"), ("MIMALLOC_PURGE_DELAY", "-1")]
}
