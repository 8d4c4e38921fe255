-- How did one run learn? The run with the best val macro_f1 of the latest sweep; put any fingerprint in its place.
WITH one AS (
    SELECT run FROM leaderboard
    WHERE sweep = (SELECT title FROM sweeps ORDER BY turn DESC LIMIT 1)
      AND loss NOT LIKE 'logistic%'  -- the reference runs are no strategies
      AND split = 'val' AND best_epoch
    ORDER BY coalesce(held_out_macro_f1, macro_f1) DESC LIMIT 1
)
SELECT substr(r.fingerprint, 1, 8) AS run, e.epoch, e.epoch = r.best_epoch AS best, round(e.train_loss, 4) AS train_loss,
       round(e.val_loss, 4) AS val_loss, e.learning_rate, round(e.seconds, 2) AS seconds, round(e.images_per_s) AS images_per_s,
       round(k.macro_ap, 4) AS val_macro_ap
FROM one
JOIN runs r ON r.fingerprint = one.run
JOIN epochs e ON e.run = r.id
LEFT JOIN rankings k ON k.run = r.id AND k.epoch = e.epoch AND k.split = 'val'
ORDER BY e.epoch;
