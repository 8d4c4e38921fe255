//! How workers are started: the only place that spawns processes. `local`, `fake` (no processes; reachable through the real CLI).
