"""Recomputes a finished database's metrics with scikit-learn, from the scores each run keeps.

usage: python tests/oracle/check_scores.py sweep.db [tolerance]

For every run of every sweep: the best epoch's rows of the views `label_metrics` and `leaderboard`, for val and test and each policy, against
scores-val.npy, scores-test.npy and truth-*.npy. Also checks that no row is missing: every epoch has val rows, the best and the last test rows,
for each label and policy. Exit status 1 where anything differs.
"""

import sqlite3
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn import metrics as skm

warnings.filterwarnings("ignore")
database = Path(sys.argv[1])
tolerance = float(sys.argv[2]) if len(sys.argv) > 2 else 1e-6
runs_folder = database.with_name(database.name.removesuffix(".db") + ".runs")
db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
db.row_factory = sqlite3.Row
compared = worst = 0
problems = []
LABELS = "SELECT l.name FROM runs r JOIN labels l ON l.data = r.data WHERE r.fingerprint = ? ORDER BY l.position"
EPOCHS = "SELECT e.epoch FROM runs r JOIN epochs e ON e.run = r.id WHERE r.fingerprint = ? ORDER BY e.epoch"


def check(where, name, ours, theirs):
    global compared, worst
    compared += 1
    if theirs is None or (isinstance(theirs, float) and np.isnan(theirs)):
        if ours is not None:
            problems.append(f"{where} {name}: {ours} where scikit-learn has none")
        return
    if ours is None:
        problems.append(f"{where} {name}: missing, scikit-learn has {theirs}")
        return
    difference = abs(ours - theirs)
    worst = max(worst, difference)
    if difference > tolerance:
        problems.append(f"{where} {name}: {ours} != {theirs}")


for board in db.execute("SELECT * FROM leaderboard WHERE best_epoch = 1"):
    run, split, policy = board["run"], board["split"], board["policy"]
    where = f"{board['sweep']} {run[:8]} {split} {policy}"
    scores = np.load(runs_folder / run / f"scores-{split}.npy")
    truth = np.load(runs_folder / run / f"truth-{split}.npy")
    assert scores.dtype == np.float32 and scores.shape == truth.shape, where
    # Rankings are those of the logits, which versions before 0.2 did not keep.
    logits = runs_folder / run / f"logits-{split}.npy"
    ranked = np.load(logits) if logits.exists() else scores
    assert ranked.dtype == np.float32 and ranked.shape == truth.shape, where
    labels = db.execute(
        "SELECT * FROM label_metrics WHERE sweep IS ? AND run = ? AND epoch = ? AND split = ? AND policy = ?",
        (board["sweep"], run, board["epoch"], split, policy),
    ).fetchall()
    if len(labels) != truth.shape[1]:
        problems.append(f"{where}: {len(labels)} label rows, {truth.shape[1]} labels")
        continue
    order = [row["label"] for row in labels]
    names = [row[0] for row in db.execute(
        "SELECT DISTINCT label FROM label_metrics WHERE run = ? ORDER BY label", (run,))]
    assert len(names) == len(set(order)) == truth.shape[1], where
    # Column of a label: its position in the run's label list.
    position = {name: i for i, name in enumerate(
        row[0] for row in db.execute(LABELS, (run,)))}
    predicted = np.zeros_like(truth)
    for row in labels:
        k = position[row["label"]]
        predicted[:, k] = scores[:, k] >= np.float32(row["threshold"])
        tn, fp, fn, tp = skm.confusion_matrix(truth[:, k], predicted[:, k], labels=[0, 1]).ravel()
        for name, theirs in [("tp", tp), ("fp", fp), ("fn", fn), ("tn", tn), ("support", truth[:, k].sum())]:
            check(where, f"{row['label']} {name}", row[name], float(theirs))
        for name, function in [("precision", skm.precision_score), ("recall", skm.recall_score), ("f1", skm.f1_score)]:
            check(where, f"{row['label']} {name}", row[name], function(truth[:, k], predicted[:, k], zero_division=0))
    for average in ["macro", "micro", "weighted", "samples"]:
        check(where, f"{average}_f1", board[f"{average}_f1"], skm.f1_score(truth, predicted, average=average, zero_division=0))
    check(where, "macro_precision", board["macro_precision"], skm.precision_score(truth, predicted, average="macro", zero_division=0))
    check(where, "macro_recall", board["macro_recall"], skm.recall_score(truth, predicted, average="macro", zero_division=0))
    check(where, "hamming_loss", board["hamming_loss"], skm.hamming_loss(truth, predicted))
    check(where, "subset_accuracy", board["subset_accuracy"], skm.accuracy_score(truth, predicted))
    with_positives = [k for k in range(truth.shape[1]) if truth[:, k].any()]
    with_both = [k for k in with_positives if not truth[:, k].all()]
    ap = [skm.average_precision_score(truth[:, k], ranked[:, k]) for k in with_positives]
    auc = [skm.roc_auc_score(truth[:, k], ranked[:, k]) for k in with_both]
    check(where, "macro_ap", board["macro_ap"], float(np.mean(ap)) if ap else None)
    check(where, "macro_auc", board["macro_auc"], float(np.mean(auc)) if auc else None)

# Completeness: epochs x labels x policies for val, {best, last} for test.
rows = 0
for sweep, run in db.execute("SELECT DISTINCT sweep, run FROM leaderboard"):
    epochs = [row[0] for row in db.execute(EPOCHS, (run,))]
    best = {row[0] for row in db.execute("SELECT DISTINCT epoch FROM leaderboard WHERE run = ? AND best_epoch = 1", (run,))}
    policies = {row[0] for row in db.execute("SELECT DISTINCT policy FROM leaderboard WHERE run = ?", (run,))}
    labels = len(db.execute(LABELS, (run,)).fetchall())
    for split, expected in [("val", set(epochs)), ("test", best | {max(epochs)})]:
        for epoch in expected:
            found = db.execute(
                "SELECT count(*) FROM label_metrics WHERE sweep IS ? AND run = ? AND epoch = ? AND split = ?", (sweep, run, epoch, split)
            ).fetchone()[0]
            rows += found
            if found != labels * len(policies):
                problems.append(f"{sweep} {run[:8]} {split} epoch {epoch}: {found} rows, {labels} labels x {len(policies)} policies")
        extra = {row[0] for row in db.execute("SELECT DISTINCT epoch FROM leaderboard WHERE run = ? AND split = ?", (run, split))} - expected
        if extra:
            problems.append(f"{run[:8]} {split}: unexpected epochs {extra}")

print(f"{compared} values compared, worst difference {worst:.2e}; {rows} label rows complete; {len(problems)} problems")
print("\n".join(problems[:20]))
sys.exit(bool(problems) or compared == 0)
