//! Keeping the pool's threads awake through a sequence of short parallel loops.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long threads that are busy otherwise are waited for.
const PATIENCE: Duration = Duration::from_millis(10);

/// Runs `body` on this thread while the others of its pool look for work without ever going to sleep.
///
/// A training step is a dozen parallel loops of some hundred microseconds with a little serial work between them. A thread of
/// rayon's sleeps after a few microseconds without work, and waking it takes up to a hundred on a virtual machine, whose idle
/// core was taken away. Waiting costs processor time; it yields to other programs at every turn.
pub fn awake<R>(body: impl FnOnce() -> R) -> R {
    let threads = rayon::current_num_threads();
    if threads == 1 {
        return body();
    }
    let (begun, closed, over) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let here = rayon::current_thread_index();
    rayon::in_place_scope(|scope| {
        // However `body` ends, the other threads must be told.
        let _over = Over(&over);
        for _ in 1..threads {
            scope.spawn(|_| {
                // A thread that waits for part of its work takes other tasks meanwhile. It must not take this one, which ends
                // only when all is done: so this thread never does, and others begin before there is any work.
                if rayon::current_thread_index() == here || closed.load(Ordering::Acquire) {
                    return;
                }
                begun.fetch_add(1, Ordering::AcqRel);
                while !over.load(Ordering::Relaxed) {
                    if rayon::yield_now() != Some(rayon::Yield::Executed) {
                        std::thread::yield_now();
                    }
                }
            });
        }
        let start = Instant::now();
        while begun.load(Ordering::Acquire) < threads - 1 && start.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        closed.store(true, Ordering::Release);
        body()
    })
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;

    use rayon::prelude::*;

    use super::*;

    /// Loops inside, calls inside calls, from inside and outside the pool, and a panic: all come to an end.
    #[test]
    fn whatever_happens_inside_it_ends() {
        for threads in [1, 2, 3, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let sum = || awake(|| awake(|| (0..1000).map(|_| (0..100u64).into_par_iter().sum::<u64>()).sum::<u64>()));
            assert_eq!(pool.install(sum), 4_950_000);
            // Loops in loops: threads wait for each other inside.
            let inner = |_| (0..50u64).into_par_iter().map(|i| (0..i).into_par_iter().sum::<u64>()).sum::<u64>();
            let nested = || awake(|| (0..100u64).into_par_iter().map(inner).sum::<u64>());
            assert_eq!(pool.install(nested), 1_960_000);
            let caught = std::panic::catch_unwind(AssertUnwindSafe(|| pool.install(|| awake(|| panic!("inside")))));
            assert!(caught.is_err());
            assert_eq!(pool.install(sum), 4_950_000);
        }
        assert_eq!(awake(|| (0..100u64).into_par_iter().sum::<u64>()), 4950);
    }
}
