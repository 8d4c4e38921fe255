-- Which strategies predict labels more often than they occur? At a threshold of 0.5, on val; the 20 that do so most, over all labels, each
-- with the label that it exaggerates most.
WITH cells AS (
    SELECT label, loss, pos_weight, gamma, sampler, params, avg(prevalence) AS prevalence, avg(predicted_rate) AS predicted_rate,
           avg(predicted_rate) / avg(prevalence) AS ratio, avg(precision) AS precision, avg(recall) AS recall, count(*) AS runs
    FROM label_metrics
    WHERE sweep = (SELECT title FROM sweeps ORDER BY turn DESC LIMIT 1)
      AND loss NOT LIKE 'logistic%'  -- the reference runs are no strategies
      AND split = 'val' AND policy = '0.5' AND best_epoch
    GROUP BY label, loss, pos_weight, gamma, sampler, params
    HAVING avg(prevalence) > 0
)
SELECT loss, pos_weight, gamma, sampler, params, round(avg(prevalence), 3) AS prevalence,
       round(avg(predicted_rate), 3) AS predicted_rate, round(avg(predicted_rate) / avg(prevalence), 2) AS ratio,
       round(avg(precision), 3) AS precision, round(avg(recall), 3) AS recall, sum(ratio > 2) AS labels_over_twice, count(*) AS labels,
       label AS worst_label, round(max(ratio), 2) AS worst_ratio, runs
FROM cells
GROUP BY loss, pos_weight, gamma, sampler, params    -- with max(), worst_label is that of the largest ratio (SQLite)
ORDER BY avg(predicted_rate) / avg(prevalence) DESC
LIMIT 20;
