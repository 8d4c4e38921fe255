-- A recorded run whose kept scores are lost is trained again beside its result, and takes its place once it has succeeded.
-- The two views that everybody queries show results only: rows of runs that have succeeded.
PRAGMA user_version = 4;

ALTER TABLE runs ADD COLUMN replaces INTEGER REFERENCES runs (id);       -- the recorded run that this one is to replace
ALTER TABLE sweep_runs ADD COLUMN again INTEGER REFERENCES runs (id);    -- the run that is to replace `run`, in a sweep that needs it
CREATE UNIQUE INDEX runs_replacing ON runs (replaces) WHERE replaces IS NOT NULL;
CREATE INDEX sweep_runs_again ON sweep_runs (again) WHERE again IS NOT NULL;

DROP VIEW label_metrics;
DROP VIEW leaderboard;

-- Everything that arrived, also of runs that are queued, running or failed (`run_state`).
CREATE VIEW label_metrics_all AS
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

CREATE VIEW label_metrics AS SELECT * FROM label_metrics_all WHERE run_state = 'succeeded';

CREATE VIEW leaderboard AS SELECT * FROM leaderboard_all WHERE run_state = 'succeeded';
