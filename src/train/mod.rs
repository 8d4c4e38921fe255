//! Training: optimizer, schedule, loop, checkpoint.
