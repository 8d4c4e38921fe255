-- Which strategy is best for each label? Mean F1 over seeds, each run at its best epoch; chosen on val, its test F1 beside it.
WITH strategies AS (
    SELECT label, loss, pos_weight, gamma, sampler, params, policy,
           avg(f1) FILTER (WHERE split = 'val') AS val_f1, avg(f1) FILTER (WHERE split = 'test') AS test_f1,
           avg(prevalence) FILTER (WHERE split = 'val') AS prevalence, count(DISTINCT run) AS runs
    FROM label_metrics
    WHERE sweep = (SELECT title FROM sweeps ORDER BY turn DESC LIMIT 1)
      AND loss NOT LIKE 'logistic%'  -- the reference runs are no strategies
      AND best_epoch
    GROUP BY label, loss, pos_weight, gamma, sampler, params, policy
)
SELECT label, round(prevalence, 3) AS prevalence, loss, pos_weight, gamma, sampler, policy,
       round(max(val_f1), 3) AS val_f1, round(test_f1, 3) AS test_f1, runs
FROM strategies
GROUP BY label            -- with max(), the other columns are those of the best row (SQLite)
ORDER BY prevalence;
