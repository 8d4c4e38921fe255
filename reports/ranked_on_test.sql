-- How do the strategies do on test? Epoch and threshold policy are chosen on val, on rows that the thresholds were not fitted on; mean,
-- worst and best seed on test.
WITH strategies AS (
    SELECT loss, pos_weight, gamma, sampler, params, policy, count(DISTINCT run) AS runs,
           avg(coalesce(held_out_macro_f1, macro_f1)) FILTER (WHERE split = 'val') AS val_f1,
           avg(macro_f1) FILTER (WHERE split = 'test') AS test_f1,
           min(macro_f1) FILTER (WHERE split = 'test') AS worst,
           max(macro_f1) FILTER (WHERE split = 'test') AS best,
           avg(macro_ap) FILTER (WHERE split = 'test') AS test_ap
    FROM leaderboard
    WHERE sweep = (SELECT title FROM sweeps ORDER BY turn DESC LIMIT 1)
      AND loss NOT LIKE 'logistic%'  -- the reference runs are no strategies
      AND best_epoch
    GROUP BY loss, pos_weight, gamma, sampler, params, policy
)
SELECT loss, pos_weight, gamma, sampler, params, policy, round(max(val_f1), 3) AS val_f1, round(test_f1, 3) AS test_f1,
       round(worst, 3) AS worst_seed, round(best, 3) AS best_seed, round(test_ap, 3) AS test_macro_ap, runs
FROM strategies
GROUP BY loss, pos_weight, gamma, sampler, params
ORDER BY val_f1 DESC;
