-- What each run's sampler showed the network in its first epoch. Runs that were recorded before have no row here, nor have
-- imported scores and runs of workers that do not say.
PRAGMA user_version = 2;

CREATE TABLE draws (
    run         INTEGER PRIMARY KEY REFERENCES runs (id),
    attempt     INTEGER NOT NULL,
    draws       INTEGER NOT NULL,              -- rows that the epoch showed
    duplicates  REAL NOT NULL,                 -- share of the draws that had been drawn before
    never_drawn REAL NOT NULL,                 -- share of the train rows
    made_up     REAL NOT NULL,                 -- share of the draws with an input or labels that no row has
    shift       REAL NOT NULL                  -- mean over labels of the absolute change of the prevalence
) STRICT;

-- The prevalence that the network saw.
CREATE TABLE label_draws (
    run        INTEGER NOT NULL REFERENCES draws (run) ON DELETE CASCADE,
    label      INTEGER NOT NULL REFERENCES labels (id),
    prevalence REAL NOT NULL,
    PRIMARY KEY (run, label)
) STRICT, WITHOUT ROWID;
