-- Runs that were handed to a cluster (docs/slurm.md). A submission is an array of tasks; a task makes the runs of a slice, one after the other.
PRAGMA user_version = 9;

CREATE TABLE submissions (
    id          TEXT PRIMARY KEY,              -- also the name of the job, behind `sw-`
    sweep       INTEGER NOT NULL REFERENCES sweeps (id),
    -- intent: recorded, perhaps submitted; held: submitted, not released; live; void: never released; over: all its slices are over
    state       TEXT NOT NULL DEFAULT 'intent' CHECK (state IN ('intent', 'held', 'live', 'void', 'over')),
    job         TEXT,                          -- of the array, as the scheduler counts
    created_at  REAL NOT NULL,
    released_at REAL,
    over_at     REAL
) STRICT;

CREATE TABLE slices (
    submission TEXT NOT NULL REFERENCES submissions (id) ON DELETE CASCADE,
    slice      INTEGER NOT NULL,               -- number of the task in its array
    standing   TEXT NOT NULL DEFAULT '',       -- the task's state, as the scheduler last named it
    reason     TEXT NOT NULL DEFAULT '',       -- and its reason for it
    gone_since REAL,                           -- since when the scheduler has not had it among its active tasks
    over       INTEGER NOT NULL DEFAULT 0,     -- its journals grow no more and all its attempts are judged
    PRIMARY KEY (submission, slice)
) STRICT, WITHOUT ROWID;

CREATE TABLE slice_runs (
    submission TEXT NOT NULL,
    slice      INTEGER NOT NULL,
    run        INTEGER NOT NULL REFERENCES runs (id),
    PRIMARY KEY (submission, run),
    FOREIGN KEY (submission, slice) REFERENCES slices (submission, slice) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX slice_runs_by_run ON slice_runs (run);

-- The journals of a submission's workers number their attempts by themselves: the database gives each its own number.
ALTER TABLE journals ADD COLUMN submission TEXT REFERENCES submissions (id);
ALTER TABLE journals ADD COLUMN slice INTEGER;
