"""sweep's metrics beside scikit-learn's and hand-written numpy, interleaved: python benches/metrics_side_by_side.py [ROUNDS].

Build first: cargo build --release --example metrics_speed. Each round runs sweep once and every peer once on the same cells; the table
shows medians over rounds. Where scikit-learn would take minutes it does a part of the work and the time is scaled; the table says so.
Results are compared as well as times.
"""
import json
import os
import pathlib
import platform
import statistics
import sys
import tempfile
import time
import warnings

import numpy as np
import sklearn
from sklearn.metrics import average_precision_score, f1_score, precision_recall_fscore_support, roc_auc_score

from side_by_side import measured, own_peak_kib, release

REPLICATES = 1000


def cells(rows, labels, rng):
    """Scores that separate a little, prevalences that differ."""
    scores = rng.random((rows, labels), dtype=np.float32)
    rate = .3 / (1 + np.arange(labels) % 4)
    return scores, (rng.random((rows, labels)) < rate * (.5 + scores)).astype(np.uint8)


def grid_sklearn(scores, y, thresholds):
    return sum(precision_recall_fscore_support(y, scores >= t, average=None, zero_division=0)[2].sum() for t in thresholds)


def grid_numpy(scores, y, thresholds):
    """One sort a label, then binary searches: what one writes who knows the trick."""
    total = 0.
    for s, truth in zip(scores.T, y.T):
        order = np.argsort(s)
        above = len(s) - np.searchsorted(s[order], thresholds, side="left")
        tp = np.concatenate([[0], np.cumsum(truth[order][::-1], dtype=np.int64)])[above]
        with np.errstate(invalid="ignore"):
            precision = np.where(above > 0, tp / np.maximum(above, 1), 0.)
        recall = tp / truth.sum()
        f1 = 2 * tp / (above + truth.sum())
        total += f1.sum()
    return total, precision, recall


def rank_sklearn(scores, y):
    ap = average_precision_score(y, scores, average=None).sum()
    roc_auc_score(y, scores, average=None)
    return ap


def bootstrap_f1_sklearn(scores, y, replicates, rng):
    p = (scores >= np.float32(.5)).astype(np.uint8)
    draws = (rng.integers(0, len(y), len(y)) for _ in range(replicates))
    return np.quantile([f1_score(y[d], p[d], average="macro", zero_division=0) for d in draws], [.025, .975])


def bootstrap_ap_sklearn(scores, y, replicates, rng):
    draws = (rng.integers(0, len(y), len(y)) for _ in range(replicates))
    return np.quantile([average_precision_score(y[d], scores[d], average="macro") for d in draws], [.025, .975])


def weights(rows, replicates, rng):
    return np.stack([np.bincount(rng.integers(0, rows, rows), minlength=rows) for _ in range(replicates)]).astype(np.float32)


def bootstrap_f1_numpy(scores, y, replicates, rng):
    """Counts are weights times masks: one matrix product."""
    p, w = scores >= np.float32(.5), weights(len(y), replicates, rng)
    tp = w @ (p & (y == 1)).astype(np.float32)
    pp, support = w @ p.astype(np.float32), w @ y.astype(np.float32)
    return np.quantile((2 * tp / (pp + support)).mean(axis=1), [.025, .975])


def bootstrap_ap_numpy(scores, y, replicates, rng):
    """Sorted once; each replicate's weights in that order, summed up (no ties in these scores, so no groups)."""
    w, ap = weights(len(y), replicates, rng), 0.
    for s, truth in zip(scores.T, y.T):
        order = np.argsort(-s)
        sorted_weights = w[:, order]
        hits = sorted_weights * truth[order]
        predicted, tp = np.cumsum(sorted_weights, axis=1), np.cumsum(hits, axis=1)
        ap += (hits * tp / np.maximum(predicted, 1)).sum(axis=1) / tp[:, -1]
    return np.quantile(ap / scores.shape[1], [.025, .975])


def timed(work, *arguments, scale=1):
    start = time.perf_counter()
    result = work(*arguments)
    return (time.perf_counter() - start) * scale, result


def main():
    warnings.simplefilter("ignore")
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    rng = np.random.default_rng(0)
    small, wide, large = cells(20_000, 4, rng), cells(20_000, 20, rng), cells(100_000, 20, rng)
    cents, mills = np.linspace(0, 1, 101).astype(np.float32), np.linspace(0, 1, 1000).astype(np.float32)
    names = ["prf_101_thresholds_20000x4", "prf_1000_thresholds_100000x20", "ap_and_auc_100000x20",
             "bootstrap_macro_f1_1000_of_20000x20", "bootstrap_macro_ap_1000_of_20000x20"]
    times = {(name, who): [] for name in names for who in ("sweep", "scikit-learn", "numpy")}
    part = 4  # replicates, or thresholds of 1,000, that scikit-learn does a round
    with tempfile.TemporaryDirectory() as folder:
        for scores, y in (small, wide, large):
            stem = pathlib.Path(folder) / f"{scores.shape[0]}x{scores.shape[1]}"
            scores.tofile(stem.with_suffix(".scores"))
            y.tofile(stem.with_suffix(".truth"))
        for _ in range(rounds):
            ours = json.loads(measured([release("examples/metrics_speed"), folder])[0])
            for name in names:
                times[name, "sweep"].append(ours[name]["seconds"])
            peers = {
                (names[0], "scikit-learn"): timed(grid_sklearn, *small, cents),
                (names[0], "numpy"): timed(grid_numpy, *small, cents),
                (names[1], "scikit-learn"): timed(grid_sklearn, *large, mills[100:900:800 // part], scale=1000 / part),
                (names[1], "numpy"): timed(grid_numpy, *large, mills),
                (names[2], "scikit-learn"): timed(rank_sklearn, *large),
                (names[3], "scikit-learn"): timed(bootstrap_f1_sklearn, *wide, part, rng, scale=REPLICATES / part),
                (names[3], "numpy"): timed(bootstrap_f1_numpy, *wide, REPLICATES, rng),
                (names[4], "scikit-learn"): timed(bootstrap_ap_sklearn, *wide, part, rng, scale=REPLICATES / part),
                (names[4], "numpy"): timed(bootstrap_ap_numpy, *wide, REPLICATES, rng),
            }
            for key, (seconds, _) in peers.items():
                times[key].append(seconds)
            for name in names[:2]:
                assert np.isclose(ours[name]["sum_f1"], peers[name, "numpy"][1][0], rtol=1e-12), name
            assert np.isclose(ours[names[0]]["sum_f1"], peers[names[0], "scikit-learn"][1], rtol=1e-12)
            assert np.isclose(ours[names[2]]["sum_ap"], peers[names[2], "scikit-learn"][1], rtol=1e-12)
            for name in names[3:]:  # other draws, so equal up to their noise
                ends, theirs = np.array(ours[name]["interval"]), peers[name, "numpy"][1]
                assert np.all(abs(ends - theirs) < .15 * (ends[1] - ends[0])), (name, ends, theirs)
    scaled = {(names[1], "scikit-learn"), (names[3], "scikit-learn"), (names[4], "scikit-learn")}
    print(f"medians of {rounds} interleaved rounds; numpy {np.__version__}, scikit-learn {sklearn.__version__}, Python {platform.python_version()}, {os.cpu_count()} cores")
    print(f"peak: sweep {ours['peak_kib'] / 1024:.0f} MiB, this process with its peers {own_peak_kib() / 1024:.0f} MiB")
    for name in names:
        sweep = statistics.median(times[name, "sweep"])
        line = f"{name:38} sweep {sweep * 1e3:9.2f} ms"
        for who in ("scikit-learn", "numpy"):
            if times[name, who]:
                theirs = statistics.median(times[name, who])
                note = f" (scaled from {part} of 1,000)" if (name, who) in scaled else ""
                line += f" | {who} {theirs * 1e3:10.1f} ms{note}, {theirs / sweep:.0f}x"
        print(line)


if __name__ == "__main__":
    main()
