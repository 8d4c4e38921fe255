-- What a journal that cannot be used had wrong, which program's numbers a run has, and an outcome for runs that are stopped because
-- they are hopeless.
PRAGMA user_version = 3;

-- Why nothing more is read of a journal; NULL: it is sound.
ALTER TABLE journals ADD COLUMN fault TEXT;

-- `FORMAT` of the program that planned the run: runs of different formats were not made by the same rules. Runs that are older than
-- this column are of format 3.
ALTER TABLE runs ADD COLUMN format INTEGER NOT NULL DEFAULT 3;

-- SQLite cannot change a CHECK: the table is made anew.
CREATE TABLE attempts_anew (
    run         INTEGER NOT NULL REFERENCES runs (id),
    attempt     INTEGER NOT NULL,
    device      TEXT NOT NULL,
    journal     INTEGER REFERENCES journals (id),
    from_epoch  INTEGER,                       -- of the checkpoint it continued
    records     INTEGER NOT NULL DEFAULT 0,
    started_at  REAL NOT NULL,
    finished_at REAL,
    outcome     TEXT CHECK (outcome IN ('ok', 'stopped', 'stopped_early', 'diverged', 'out_of_memory', 'data', 'io', 'crashed',
                                        'killed', 'hung', 'timeout', 'lost')),
    why         TEXT NOT NULL DEFAULT '',
    log         TEXT NOT NULL DEFAULT '',      -- the end of it, of failed attempts
    PRIMARY KEY (run, attempt)
) STRICT, WITHOUT ROWID;
INSERT INTO attempts_anew SELECT run, attempt, device, journal, from_epoch, records, started_at, finished_at, outcome, why, log FROM attempts;
DROP TABLE attempts;
ALTER TABLE attempts_anew RENAME TO attempts;
CREATE INDEX attempts_running ON attempts (run) WHERE outcome IS NULL;
