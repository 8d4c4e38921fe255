-- Where does a strategy predict a label more (or less) often than it occurs? At a threshold of 0.5, on val, worst first.
SELECT label, loss, pos_weight, gamma, sampler, round(avg(prevalence), 3) AS prevalence,
       round(avg(predicted_rate), 3) AS predicted_rate, round(avg(predicted_rate) / avg(prevalence), 2) AS ratio,
       round(avg(precision), 3) AS precision, round(avg(recall), 3) AS recall, count(*) AS runs
FROM label_metrics
WHERE sweep = (SELECT title FROM sweeps ORDER BY turn DESC LIMIT 1) AND split = 'val' AND policy = '0.5' AND best_epoch
GROUP BY label, loss, pos_weight, gamma, sampler, params
HAVING avg(prevalence) > 0
ORDER BY ratio DESC;
