-- The results database. Counts are stored, rates are derived (generated columns and views).
-- Times are Unix seconds, for display only. Readers want the two views at the end.
-- application_id is "SWEP"; user_version is the number of migrations: both are checked when a database is opened.
PRAGMA application_id = 1398228304;
PRAGMA user_version = 1;

-- A prepared data set: what `sweep data` knows about it (facts: JSON of spec::DataFacts, its folder left empty).
CREATE TABLE datasets (
    id      INTEGER PRIMARY KEY,
    content TEXT NOT NULL,
    facts   TEXT NOT NULL CHECK (json_valid(facts)),
    UNIQUE (content, facts)
) STRICT;

-- The labels of a data set, in the order of every vector of scores, weights and thresholds.
CREATE TABLE labels (
    id       INTEGER PRIMARY KEY,
    data     INTEGER NOT NULL REFERENCES datasets (id),
    position INTEGER NOT NULL,
    name     TEXT NOT NULL,
    UNIQUE (data, position)
) STRICT;

-- One training each, whoever asked for it.
CREATE TABLE runs (
    id          INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL UNIQUE,
    data        INTEGER NOT NULL REFERENCES datasets (id),
    folder      TEXT NOT NULL,                 -- of the prepared data; relative to the database where it lies below its folder
    arch        TEXT NOT NULL,
    epochs      INTEGER NOT NULL,
    config      TEXT NOT NULL CHECK (json_valid(config)),
    pos_weight  TEXT NOT NULL CHECK (json_valid(pos_weight)),
    state       TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'succeeded', 'failed')),
    best_epoch  INTEGER,                       -- highest val macro_ap, the earliest on ties
    owner       INTEGER NOT NULL DEFAULT 0,    -- newest attempt whose rows are kept
    winner      INTEGER,                       -- the attempt that succeeded
    created_at  REAL NOT NULL,
    started_at  REAL,
    finished_at REAL,
    version     TEXT NOT NULL                  -- of the program that asked for it first
) STRICT;

-- How scores become decisions.
CREATE TABLE policies (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    json TEXT NOT NULL CHECK (json_valid(json))
) STRICT;

-- `title` is how the views name a sweep: its name, or name#id once a newer sweep with other content took the name.
CREATE TABLE sweeps (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL,
    title       TEXT NOT NULL UNIQUE,
    content     TEXT NOT NULL,                 -- hash of its runs and policies
    turn        INTEGER NOT NULL UNIQUE,       -- grows each time a sweep is begun or continued: `latest` has the highest
    state       TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed', 'interrupted')),
    file        TEXT NOT NULL,
    text        TEXT NOT NULL,                 -- the sweep file as it was read
    points      INTEGER NOT NULL,
    created_at  REAL NOT NULL,
    begun_at    REAL NOT NULL,                 -- last begun or continued
    finished_at REAL,
    version     TEXT NOT NULL,
    host        TEXT NOT NULL,
    UNIQUE (name, content)
) STRICT;

CREATE TABLE sweep_policies (
    sweep    INTEGER NOT NULL REFERENCES sweeps (id),
    policy   INTEGER NOT NULL REFERENCES policies (id),
    position INTEGER NOT NULL,
    PRIMARY KEY (sweep, policy)
) STRICT, WITHOUT ROWID;

-- How a sweep names its runs: a run may belong to many sweeps.
CREATE TABLE sweep_runs (
    sweep      INTEGER NOT NULL REFERENCES sweeps (id),
    run        INTEGER NOT NULL REFERENCES runs (id),
    position   INTEGER NOT NULL,
    bundle     INTEGER NOT NULL,
    loss       TEXT NOT NULL,
    pos_weight TEXT NOT NULL,
    gamma      REAL,
    sampler    TEXT NOT NULL,
    seed       INTEGER NOT NULL,
    params     TEXT NOT NULL CHECK (json_valid(params)),
    PRIMARY KEY (sweep, run)
) STRICT, WITHOUT ROWID;
CREATE INDEX sweep_runs_by_run ON sweep_runs (run);

-- The journals workers wrote, and how far each is read.
CREATE TABLE journals (
    id       INTEGER PRIMARY KEY,
    name     TEXT NOT NULL UNIQUE,
    position INTEGER NOT NULL DEFAULT 0,       -- bytes
    next_seq INTEGER NOT NULL DEFAULT 0,
    worker   TEXT,
    pid      INTEGER,
    host     TEXT,
    device   TEXT,
    threads  INTEGER,
    version  TEXT
) STRICT;

-- Tries at a run. `outcome` is NULL while it runs.
CREATE TABLE attempts (
    run         INTEGER NOT NULL REFERENCES runs (id),
    attempt     INTEGER NOT NULL,
    device      TEXT NOT NULL,
    journal     INTEGER REFERENCES journals (id),
    from_epoch  INTEGER,                       -- of the checkpoint it continued
    records     INTEGER NOT NULL DEFAULT 0,
    started_at  REAL NOT NULL,
    finished_at REAL,
    outcome     TEXT CHECK (outcome IN ('ok', 'stopped', 'diverged', 'out_of_memory', 'data', 'io', 'crashed', 'killed', 'hung',
                                        'timeout', 'lost')),
    why         TEXT NOT NULL DEFAULT '',
    log         TEXT NOT NULL DEFAULT '',      -- the end of it, of failed attempts
    PRIMARY KEY (run, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_running ON attempts (run) WHERE outcome IS NULL;

CREATE TABLE epochs (
    run           INTEGER NOT NULL REFERENCES runs (id),
    epoch         INTEGER NOT NULL,
    attempt       INTEGER NOT NULL,
    train_loss    REAL,
    val_loss      REAL,
    learning_rate REAL,
    seconds       REAL,
    images_per_s  REAL,
    finished_at   REAL NOT NULL,
    PRIMARY KEY (run, epoch)
) STRICT, WITHOUT ROWID;

-- What does not depend on a threshold. The macro values are means over the labels for which the metric is defined; NULL if none.
CREATE TABLE rankings (
    run       INTEGER NOT NULL REFERENCES runs (id),
    epoch     INTEGER NOT NULL,
    split     TEXT NOT NULL CHECK (split IN ('train', 'val', 'test')),
    attempt   INTEGER NOT NULL,
    macro_ap  REAL,
    macro_auc REAL,
    PRIMARY KEY (run, epoch, split)
) STRICT, WITHOUT ROWID;

CREATE TABLE label_rankings (
    run        INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    split      TEXT NOT NULL,
    label      INTEGER NOT NULL REFERENCES labels (id),
    ap         REAL,                           -- NULL without positives
    auc        REAL,                           -- NULL with one class only
    mean_score REAL,
    PRIMARY KEY (run, epoch, split, label),
    FOREIGN KEY (run, epoch, split) REFERENCES rankings (run, epoch, split) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- A run's scores on one split at one epoch under one policy.
CREATE TABLE evaluations (
    id              INTEGER PRIMARY KEY,
    run             INTEGER NOT NULL REFERENCES runs (id),
    epoch           INTEGER NOT NULL,
    split           TEXT NOT NULL CHECK (split IN ('train', 'val', 'test')),
    policy          INTEGER NOT NULL REFERENCES policies (id),
    attempt         INTEGER NOT NULL,          -- 0: computed later, from kept scores
    samples_f1      REAL NOT NULL,
    subset_accuracy REAL NOT NULL,
    UNIQUE (run, epoch, split, policy)
) STRICT;

-- The confusion matrix of each label. Zero division is 0.0, as scikit-learn's zero_division=0.
CREATE TABLE label_counts (
    evaluation     INTEGER NOT NULL REFERENCES evaluations (id) ON DELETE CASCADE,
    label          INTEGER NOT NULL REFERENCES labels (id),
    threshold      REAL NOT NULL,              -- predicted where score >= threshold; the float32, exactly
    tp             INTEGER NOT NULL CHECK (tp >= 0),
    fp             INTEGER NOT NULL CHECK (fp >= 0),
    fn             INTEGER NOT NULL CHECK (fn >= 0),
    tn             INTEGER NOT NULL CHECK (tn >= 0),
    support        INTEGER GENERATED ALWAYS AS (tp + fn) VIRTUAL,
    precision      REAL GENERATED ALWAYS AS (coalesce(CAST(tp AS REAL) / (tp + fp), 0.0)) VIRTUAL,
    recall         REAL GENERATED ALWAYS AS (coalesce(CAST(tp AS REAL) / (tp + fn), 0.0)) VIRTUAL,
    f1             REAL GENERATED ALWAYS AS (coalesce(2.0 * tp / (2 * tp + fp + fn), 0.0)) VIRTUAL,
    prevalence     REAL GENERATED ALWAYS AS (coalesce(CAST(tp + fn AS REAL) / (tp + fp + fn + tn), 0.0)) VIRTUAL,
    predicted_rate REAL GENERATED ALWAYS AS (coalesce(CAST(tp + fp AS REAL) / (tp + fp + fn + tn), 0.0)) VIRTUAL,
    PRIMARY KEY (evaluation, label)
) STRICT, WITHOUT ROWID;

CREATE VIEW label_metrics AS
SELECT s.title AS sweep, r.fingerprint AS run, w.loss, w.pos_weight, w.gamma, w.sampler, w.seed, w.params,
       e.epoch, e.split, p.name AS policy, l.name AS label,
       c.threshold, c.support, c.tp, c.fp, c.fn, c.tn, c.precision, c.recall, c.f1,
       k.ap, k.auc, k.mean_score, c.prevalence, c.predicted_rate,
       e.epoch = r.best_epoch AS best_epoch, e.epoch = r.epochs - 1 AS last_epoch, s.id AS sweep_id, r.state AS run_state
FROM sweeps s
CROSS JOIN sweep_runs w ON w.sweep = s.id
CROSS JOIN runs r ON r.id = w.run
CROSS JOIN evaluations e ON e.run = r.id
CROSS JOIN policies p ON p.id = e.policy
CROSS JOIN label_counts c ON c.evaluation = e.id
CROSS JOIN labels l ON l.id = c.label
LEFT JOIN label_rankings k ON k.run = e.run AND k.epoch = e.epoch AND k.split = e.split AND k.label = c.label;

-- macro: mean over labels; micro: from summed counts; weighted: by support; samples: mean over rows.
CREATE VIEW leaderboard AS
SELECT s.title AS sweep, r.fingerprint AS run, w.loss, w.pos_weight, w.gamma, w.sampler, w.seed, w.params,
       e.epoch, e.split, p.name AS policy,
       (SELECT avg(f1) FROM label_counts WHERE evaluation = e.id) AS macro_f1,
       (SELECT coalesce(2.0 * sum(tp) / (2 * sum(tp) + sum(fp) + sum(fn)), 0.0) FROM label_counts WHERE evaluation = e.id) AS micro_f1,
       (SELECT coalesce(sum(f1 * support) / sum(support), 0.0) FROM label_counts WHERE evaluation = e.id) AS weighted_f1,
       e.samples_f1,
       (SELECT avg(precision) FROM label_counts WHERE evaluation = e.id) AS macro_precision,
       (SELECT avg(recall) FROM label_counts WHERE evaluation = e.id) AS macro_recall,
       k.macro_ap, k.macro_auc,
       (SELECT coalesce(CAST(sum(fp + fn) AS REAL) / sum(tp + fp + fn + tn), 0.0) FROM label_counts WHERE evaluation = e.id) AS hamming_loss,
       e.subset_accuracy,
       e.epoch = r.best_epoch AS best_epoch, e.epoch = r.epochs - 1 AS last_epoch,
       (SELECT avg(prevalence) FROM label_counts WHERE evaluation = e.id) AS prevalence,
       (SELECT avg(predicted_rate) FROM label_counts WHERE evaluation = e.id) AS predicted_rate,
       s.id AS sweep_id, r.state AS run_state
FROM sweeps s
CROSS JOIN sweep_runs w ON w.sweep = s.id
CROSS JOIN runs r ON r.id = w.run
CROSS JOIN evaluations e ON e.run = r.id
CROSS JOIN policies p ON p.id = e.policy
LEFT JOIN rankings k ON k.run = e.run AND k.epoch = e.epoch AND k.split = e.split;
