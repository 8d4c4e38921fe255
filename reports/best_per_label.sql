-- Which strategy is best for each label? Mean F1 over seeds, each run at its best epoch; chosen on val, on rows that the thresholds were
-- not fitted on, its test F1 beside it. expected_f1 is what val lets one expect of the winner: its difference to the label's mean is
-- drawn towards that of its other labels, as if that were worth 20 positives.
WITH strategies AS (
    SELECT label, loss, pos_weight, gamma, sampler, params, policy,
           avg(coalesce(held_out_f1, f1)) FILTER (WHERE split = 'val') AS val_f1,
           avg(f1) FILTER (WHERE split = 'test') AS test_f1,
           max(support) FILTER (WHERE split = 'val') AS val_positives,
           avg(prevalence) FILTER (WHERE split = 'val') AS prevalence, count(DISTINCT run) AS runs
    FROM label_metrics
    WHERE sweep = (SELECT title FROM sweeps ORDER BY turn DESC LIMIT 1)
      AND loss NOT LIKE 'logistic%'  -- the reference runs are no strategies
      AND best_epoch
    GROUP BY label, loss, pos_weight, gamma, sampler, params, policy
),
differences AS (
    SELECT *, avg(val_f1) OVER (PARTITION BY label) AS usual,
           val_f1 - avg(val_f1) OVER (PARTITION BY label) AS difference
    FROM strategies WHERE val_f1 IS NOT NULL
),
shrunk AS (
    SELECT *, usual + (val_positives * difference + 20 * avg(difference) OVER (
               PARTITION BY loss, pos_weight, gamma, sampler, params, policy)) / (val_positives + 20) AS expected_f1
    FROM differences
)
SELECT label, round(prevalence, 3) AS prevalence, val_positives, loss, pos_weight, gamma, sampler, params, policy,
       round(max(expected_f1), 3) AS expected_f1, round(val_f1, 3) AS val_f1, round(test_f1, 3) AS test_f1, runs
FROM shrunk
GROUP BY label            -- with max(), the other columns are those of the best row (SQLite)
ORDER BY prevalence;
