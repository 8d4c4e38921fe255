-- How fitted policies do on validation rows that they were not fitted on: each tenth of the rows under the rule of the other nine. The best
-- and the last epoch of a run have these rows; older runs, and runs of workers that do not say, have none.
PRAGMA user_version = 7;

-- A number is not fitted: its decisions on validation are as good as on new rows.
ALTER TABLE policies ADD COLUMN fitted INTEGER GENERATED ALWAYS AS (json_type(json) = 'object') VIRTUAL;

CREATE TABLE held_out (
    evaluation      INTEGER PRIMARY KEY REFERENCES evaluations (id) ON DELETE CASCADE,
    samples_f1      REAL NOT NULL,
    subset_accuracy REAL NOT NULL
) STRICT;

CREATE TABLE label_held_out (
    evaluation INTEGER NOT NULL REFERENCES held_out (evaluation) ON DELETE CASCADE,
    label      INTEGER NOT NULL REFERENCES labels (id),
    tp         INTEGER NOT NULL CHECK (tp >= 0),
    fp         INTEGER NOT NULL CHECK (fp >= 0),
    fn         INTEGER NOT NULL CHECK (fn >= 0),
    tn         INTEGER NOT NULL CHECK (tn >= 0),
    support    INTEGER GENERATED ALWAYS AS (tp + fn) VIRTUAL,
    precision  REAL GENERATED ALWAYS AS (coalesce(CAST(tp AS REAL) / (tp + fp), 0.0)) VIRTUAL,
    recall     REAL GENERATED ALWAYS AS (coalesce(CAST(tp AS REAL) / (tp + fn), 0.0)) VIRTUAL,
    f1         REAL GENERATED ALWAYS AS (coalesce(2.0 * tp / (2 * tp + fp + fn), 0.0)) VIRTUAL,
    PRIMARY KEY (evaluation, label)
) STRICT, WITHOUT ROWID;

DROP VIEW label_metrics;
DROP VIEW leaderboard;
DROP VIEW label_metrics_all;
DROP VIEW leaderboard_all;

-- Columns held_out_*: the value on rows that the thresholds were not fitted on. On test, and for a number, that is the value itself; NULL
-- where it is not recorded.
CREATE VIEW label_metrics_all AS
SELECT s.title AS sweep, r.fingerprint AS run, w.loss, w.pos_weight, w.gamma, w.sampler, w.seed, w.params,
       e.epoch, e.split, p.name AS policy, l.name AS label,
       c.threshold, c.support, c.tp, c.fp, c.fn, c.tn, c.precision, c.recall, c.f1,
       k.ap, k.auc, k.mean_score, c.prevalence, c.predicted_rate,
       iif(p.fitted AND e.split = 'val', h.tp, c.tp) AS held_out_tp,
       iif(p.fitted AND e.split = 'val', h.fp, c.fp) AS held_out_fp,
       iif(p.fitted AND e.split = 'val', h.fn, c.fn) AS held_out_fn,
       iif(p.fitted AND e.split = 'val', h.tn, c.tn) AS held_out_tn,
       iif(p.fitted AND e.split = 'val', h.precision, c.precision) AS held_out_precision,
       iif(p.fitted AND e.split = 'val', h.recall, c.recall) AS held_out_recall,
       iif(p.fitted AND e.split = 'val', h.f1, c.f1) AS held_out_f1,
       e.epoch = r.best_epoch AS best_epoch, e.epoch = r.epochs - 1 AS last_epoch, s.id AS sweep_id, r.state AS run_state
FROM sweeps s
CROSS JOIN sweep_runs w ON w.sweep = s.id
CROSS JOIN runs r ON r.id = w.run
CROSS JOIN evaluations e ON e.run = r.id
CROSS JOIN policies p ON p.id = e.policy
CROSS JOIN label_counts c ON c.evaluation = e.id
CROSS JOIN labels l ON l.id = c.label
LEFT JOIN label_held_out h ON h.evaluation = e.id AND h.label = c.label
LEFT JOIN label_rankings k ON k.run = e.run AND k.epoch = e.epoch AND k.split = e.split AND k.label = c.label;

-- macro: mean over labels; micro: from summed counts; weighted: by support; samples: mean over rows.
CREATE VIEW leaderboard_all AS
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
       CASE WHEN e.split <> 'val' OR NOT p.fitted THEN (SELECT avg(f1) FROM label_counts WHERE evaluation = e.id)
            WHEN h.evaluation IS NOT NULL THEN (SELECT avg(f1) FROM label_held_out WHERE evaluation = e.id) END AS held_out_macro_f1,
       CASE WHEN e.split <> 'val' OR NOT p.fitted
            THEN (SELECT coalesce(2.0 * sum(tp) / (2 * sum(tp) + sum(fp) + sum(fn)), 0.0) FROM label_counts WHERE evaluation = e.id)
            WHEN h.evaluation IS NOT NULL
            THEN (SELECT coalesce(2.0 * sum(tp) / (2 * sum(tp) + sum(fp) + sum(fn)), 0.0) FROM label_held_out WHERE evaluation = e.id)
       END AS held_out_micro_f1,
       CASE WHEN e.split <> 'val' OR NOT p.fitted
            THEN (SELECT coalesce(sum(f1 * support) / sum(support), 0.0) FROM label_counts WHERE evaluation = e.id)
            WHEN h.evaluation IS NOT NULL
            THEN (SELECT coalesce(sum(f1 * support) / sum(support), 0.0) FROM label_held_out WHERE evaluation = e.id)
       END AS held_out_weighted_f1,
       iif(p.fitted AND e.split = 'val', h.samples_f1, e.samples_f1) AS held_out_samples_f1,
       CASE WHEN e.split <> 'val' OR NOT p.fitted THEN (SELECT avg(precision) FROM label_counts WHERE evaluation = e.id)
            WHEN h.evaluation IS NOT NULL THEN (SELECT avg(precision) FROM label_held_out WHERE evaluation = e.id)
       END AS held_out_macro_precision,
       CASE WHEN e.split <> 'val' OR NOT p.fitted THEN (SELECT avg(recall) FROM label_counts WHERE evaluation = e.id)
            WHEN h.evaluation IS NOT NULL THEN (SELECT avg(recall) FROM label_held_out WHERE evaluation = e.id)
       END AS held_out_macro_recall,
       CASE WHEN e.split <> 'val' OR NOT p.fitted
            THEN (SELECT coalesce(CAST(sum(fp + fn) AS REAL) / sum(tp + fp + fn + tn), 0.0) FROM label_counts WHERE evaluation = e.id)
            WHEN h.evaluation IS NOT NULL
            THEN (SELECT coalesce(CAST(sum(fp + fn) AS REAL) / sum(tp + fp + fn + tn), 0.0) FROM label_held_out WHERE evaluation = e.id)
       END AS held_out_hamming_loss,
       iif(p.fitted AND e.split = 'val', h.subset_accuracy, e.subset_accuracy) AS held_out_subset_accuracy,
       e.epoch = r.best_epoch AS best_epoch, e.epoch = r.epochs - 1 AS last_epoch,
       (SELECT avg(prevalence) FROM label_counts WHERE evaluation = e.id) AS prevalence,
       (SELECT avg(predicted_rate) FROM label_counts WHERE evaluation = e.id) AS predicted_rate,
       s.id AS sweep_id, r.state AS run_state
FROM sweeps s
CROSS JOIN sweep_runs w ON w.sweep = s.id
CROSS JOIN runs r ON r.id = w.run
CROSS JOIN evaluations e ON e.run = r.id
CROSS JOIN policies p ON p.id = e.policy
LEFT JOIN held_out h ON h.evaluation = e.id
LEFT JOIN rankings k ON k.run = e.run AND k.epoch = e.epoch AND k.split = e.split;

CREATE VIEW label_metrics AS SELECT * FROM label_metrics_all WHERE run_state = 'succeeded';

CREATE VIEW leaderboard AS SELECT * FROM leaderboard_all WHERE run_state = 'succeeded';
