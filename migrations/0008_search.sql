-- Searches that train a part of the grid, and what they decided.
PRAGMA user_version = 8;

-- The search of a sweep that has one. `config`: JSON of plan::Search.
CREATE TABLE searches (
    sweep      INTEGER PRIMARY KEY REFERENCES sweeps (id),
    config     TEXT NOT NULL CHECK (json_valid(config)),
    strategies INTEGER                         -- of the whole grid; the sweep has those that were drawn. NULL: unknown
) STRICT;

-- One row for each strategy and rung that it was compared at, by its first run.
CREATE TABLE search_decisions (
    sweep       INTEGER NOT NULL REFERENCES sweeps (id),
    run         INTEGER NOT NULL REFERENCES runs (id),
    rung        INTEGER NOT NULL,              -- 0, 1, ...
    evaluations INTEGER NOT NULL,              -- that the rung comes after
    value       REAL,                          -- best val metric up to the rung; NULL: undefined
    cut         REAL,                          -- the lowest value that goes on
    place       INTEGER NOT NULL,              -- among those that had come to the rung
    among       INTEGER NOT NULL,
    goes_on     INTEGER NOT NULL CHECK (goes_on IN (0, 1)),
    decided_at  REAL NOT NULL,
    PRIMARY KEY (sweep, run, rung)
) STRICT, WITHOUT ROWID;
CREATE INDEX search_decisions_by_run ON search_decisions (run);

-- 1: the search does not train this run: another run of its strategy was stopped, or its time is over.
ALTER TABLE sweep_runs ADD COLUMN left_out INTEGER NOT NULL DEFAULT 0 CHECK (left_out IN (0, 1));
