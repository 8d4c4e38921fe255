#!/usr/bin/env python3
"""The reference runs of sweep beside scikit-learn's LogisticRegression on the same rows, with C chosen on the same val.

    python benches/logistic_side_by_side.py SWEEP_PROGRAM FEATURES.npy LABELS.csv ...
    python benches/logistic_side_by_side.py SWEEP_PROGRAM --made 16000 1024 14

Each data set is two files: a matrix of features and a CSV of labels. sweep runs them with `loss = ["bce"]` and one epoch; its reference runs
are read from the database. scikit-learn gets the standardised features, labels and split of sweep's prepared folder, in f64, and the same
strengths (lbfgs, tol 1e-8). Needs numpy and scikit-learn. With --made the data is drawn at random and scikit-learn is left out unless
--both is given.
"""

import argparse
import json
import pathlib
import sqlite3
import subprocess
import tempfile
import time
import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score
from threadpoolctl import threadpool_limits

from side_by_side import prepared

STRENGTHS = [10 ** (step / 2) for step in range(-8, 7)]


def standardised(cache):
    """Features (standardised by train), labels, and the rows of train, val and test."""
    _, x, y, split = prepared(cache)
    x, parts = x.astype(np.float64), [np.flatnonzero(split == number) for number in range(3)]
    mean, deviation = x[parts[0]].mean(0), x[parts[0]].std(0)
    x = np.where(deviation > 0, (x - mean) / np.where(deviation > 0, deviation, 1), 0)
    return x, y, parts


def macro_ap(y, scores):
    return float(np.mean([average_precision_score(y[:, k], scores[:, k]) for k in range(y.shape[1]) if y[:, k].any()]))


def best_thresholds(y, scores):
    """The thresholds with the largest F1, label by label, as sweep's max_f1: half-way between two scores, the median of equally good cuts,
    0.5 for a label without positives."""
    found = []
    for k in range(y.shape[1]):
        if not y[:, k].any():
            found.append(0.5)
            continue
        order = np.argsort(-scores[:, k], kind="stable")
        s, hits = scores[order, k], np.cumsum(y[order, k])
        last = np.append(s[1:] != s[:-1], True)
        f1 = np.where(last, 2 * hits / (np.arange(len(s)) + 1 + hits[-1]), -1)
        cuts = np.flatnonzero(f1 == f1.max())
        at = int(cuts[(len(cuts) - 1) // 2])
        found.append((s[at] + s[at + 1]) / 2 if at + 1 < len(s) else s[at] / 2)
    return np.array(found)


def sklearn_side(x, y, parts, class_weight):
    """val AP at each strength, the strength chosen, its values, seconds. On one thread: on problems of this size more get in each other's way."""
    train, val, _ = parts
    start, path, best = time.perf_counter(), [], None
    models = [LogisticRegression(class_weight=class_weight, tol=1e-8, max_iter=100_000, warm_start=True) for _ in range(y.shape[1])]
    with threadpool_limits(1):
        for strength in STRENGTHS:
            for k, model in enumerate(models):
                model.C = strength
                model.fit(x[train], y[train, k])
            logits = np.stack([model.decision_function(x) for model in models], 1)
            path.append(macro_ap(y[val], logits[val]))
            if best is None or path[-1] > best[0]:
                best = (path[-1], strength, 1 / (1 + np.exp(-logits)))
    seconds = time.perf_counter() - start
    _, strength, scores = best
    return path, strength, judged(y, scores, parts), seconds


def judged(y, scores, parts):
    _, val, test = parts
    fitted = best_thresholds(y[val], scores[val])
    row = {}
    for name, rows in (("val", val), ("test", test)):
        row[name] = (
            macro_ap(y[rows], scores[rows]),
            f1_score(y[rows], scores[rows] >= 0.5, average="macro", zero_division=0),
            f1_score(y[rows], scores[rows] >= fitted, average="macro", zero_division=0),
        )
    return row


def sweep_side(db, loss):
    with sqlite3.connect(db) as connection:
        at = "FROM leaderboard WHERE best_epoch AND loss = ? AND split = ? AND policy = ?"
        row, epochs = {}, connection.execute("SELECT DISTINCT epoch FROM leaderboard WHERE best_epoch AND loss = ?", (loss,)).fetchall()
        for split in ("val", "test"):
            values = [connection.execute(f"SELECT macro_ap, macro_f1 {at}", (loss, split, policy)).fetchone() for policy in ("0.5", "max_f1")]
            row[split] = (values[0][0], values[0][1], values[1][1])
        seconds, strengths, passes = connection.execute(
            "SELECT sum(e.seconds), count(*), max(e.steps) FROM epochs e JOIN sweep_runs w ON w.run = e.run WHERE w.loss = ?", (loss,)
        ).fetchone()
    return STRENGTHS[epochs[0][0]], row, seconds, (strengths, passes)


def compare(program, folder, name, features, labels, both):
    text = f"""name = "{name}"
[data]
kind = "features"
features = "{features}"
labels = "{labels}"
[model]
arch = "linear"
[train]
epochs = 1
[grid]
threshold = [0.5, "max_f1"]
"""
    (folder / f"{name}.toml").write_text(text)
    db = folder / f"{name}.db"
    start = time.perf_counter()
    subprocess.run([program, "run", folder / f"{name}.toml", "--db", db, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    whole = time.perf_counter() - start
    x, y, parts = standardised(folder / f"{name}.cache")
    print(f"{name}: {len(x)} rows x {x.shape[1]} features, {y.shape[1]} labels; the whole `sweep run` {whole:.1f} s")
    print(f"  {'':<18} {'':<8} {'C':>8}   val: AP, F1 at 0.5, F1 fitted   test: AP, F1 at 0.5, F1 fitted   seconds")
    for loss, class_weight in (("logistic", None), ("logistic_balanced", "balanced")):
        strength, ours, seconds, (strengths, passes) = sweep_side(db, loss)
        shown = lambda row: "   ".join(f"{a:10.4f} {b:8.4f} {c:8.4f}" for a, b, c in (row["val"], row["test"]))
        print(f"  {loss:<18} {'sweep':<8} {strength:8.4g}   {shown(ours)}   {seconds:7.2f}  ({strengths} strengths, {passes} passes)")
        if not both:
            continue
        path, theirs_strength, theirs, seconds = sklearn_side(x, y, parts, class_weight)
        print(f"  {'':<18} {'sklearn':<8} {theirs_strength:8.4g}   {shown(theirs)}   {seconds:7.2f}  (15 strengths)")
        apart = max(abs(a - b) for split in ("val", "test") for a, b in zip(ours[split], theirs[split]))
        print(f"  {'':<18} largest difference {apart:.5f}; val AP by strength (scikit-learn): {' '.join(f'{ap:.4f}' for ap in path)}")


def made(folder, rows, width, labels):
    """Correlated features, as those of a network are, and labels that depend on them."""
    draw = np.random.default_rng(0)
    mix = draw.normal(size=(width, width)).astype(np.float32) * (np.arange(1, width + 1, dtype=np.float32) ** -0.5)[:, None]
    x = np.maximum(draw.normal(size=(rows, width)).astype(np.float32) @ mix / 3, 0)
    z = (x - x.mean(0)) / x.std(0) @ draw.normal(size=(width, labels)) / width**0.5
    rates = np.geomspace(0.02, 0.4, labels)
    z += 0.5 * draw.logistic(size=z.shape)
    y = np.stack([z[:, k] > np.quantile(z[:, k], 1 - rate) for k, rate in enumerate(rates)], 1).astype(int)
    np.save(folder / "made.npy", x)
    lines = [",".join(["id", *(f"L{k}" for k in range(labels))]), *(f"{row}," + ",".join(map(str, cells)) for row, cells in enumerate(y))]
    (folder / "made.csv").write_text("\n".join(lines) + "\n")
    return folder / "made.npy", folder / "made.csv"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    parser.add_argument("--made", nargs=3, type=int, metavar=("ROWS", "FEATURES", "LABELS"))
    parser.add_argument("--both", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if args.made:
            compare(args.program, folder, "made", *made(folder, *args.made), args.both)
        for features, labels in zip(args.files[::2], args.files[1::2]):
            compare(args.program, folder, features.resolve().parent.name, features.resolve(), labels.resolve(), True)


if __name__ == "__main__":
    main()
