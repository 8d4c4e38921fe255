-- Which runs failed, and why; then which took longest?
SELECT substr(r.fingerprint, 1, 8) AS run, r.state, w.loss, w.pos_weight, w.gamma, w.sampler, w.seed, count(*) AS attempts,
       round(sum(a.finished_at - a.started_at), 1) AS seconds, max(a.attempt) AS last_attempt, a.device, a.outcome, a.why
FROM sweep_runs w
JOIN runs r ON r.id = w.run
JOIN attempts a ON a.run = r.id
WHERE w.sweep = (SELECT id FROM sweeps ORDER BY turn DESC LIMIT 1) AND a.outcome IS NOT NULL
GROUP BY r.id             -- with max(), device, outcome and why are those of the last attempt (SQLite)
ORDER BY r.state = 'failed' DESC, seconds DESC
LIMIT 20;
