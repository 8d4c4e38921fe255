-- Which strategies need a longer training? Runs whose best evaluation is their last, and by how much val macro AP still rose there.
WITH val AS (
    SELECT DISTINCT run, loss, pos_weight, gamma, sampler, params, epoch, best_epoch, last_epoch, macro_ap
    FROM leaderboard
    WHERE sweep = (SELECT title FROM sweeps ORDER BY turn DESC LIMIT 1) AND split = 'val'
      AND loss NOT LIKE 'logistic%'    -- no reference runs: their epochs are strengths
)
SELECT best.loss, best.pos_weight, best.gamma, best.sampler, best.params, count(*) AS runs,
       sum(best.last_epoch AND best.macro_ap - before.macro_ap > 0.001) AS still_rising,
       round(avg(CASE WHEN best.last_epoch THEN best.macro_ap - before.macro_ap END), 4) AS rise
FROM val AS best LEFT JOIN val AS before ON before.run = best.run AND before.epoch = best.epoch - 1
WHERE best.best_epoch
GROUP BY best.loss, best.pos_weight, best.gamma, best.sampler, best.params
HAVING still_rising > 0
ORDER BY still_rising DESC, rise DESC;
