"""scikit-learn's word on the metrics: python tests/oracle/metrics.py writes metrics.json beside itself.

Random cases are described by their recipe (the same 64-bit generator is in crates/imbalance/src/metric/tests.rs), edge cases carry their cells.
Undefined values are null: average precision without positives, ROC-AUC with one class.
"""
import json
import pathlib
import warnings

import numpy as np
import sklearn.metrics as m

MASK = 2**64 - 1


class Lcg:
    def __init__(self, seed):
        self.state = seed

    def bits(self, n):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & MASK
        return self.state >> (64 - n)


def random_case(rows, labels, bits, rate, seed):
    """Scores are multiples of 2^-bits (few bits: many ties); label k has rate^(k+1) / (0.5 + score) odds of a kind."""
    lcg = Lcg(seed)
    scores = np.empty((rows, labels), np.float32)
    truth = np.empty((rows, labels), np.uint8)
    for i in range(rows):
        for k in range(labels):
            score = lcg.bits(bits) / 2**bits
            scores[i, k] = score
            truth[i, k] = lcg.bits(24) / 2**24 < rate / (1 + k % 4) * (0.5 + score)
    return scores, truth


def rates(y, p):
    kw = dict(zero_division=0)
    if y.shape[1] == 1:  # scikit-learn would call one column "binary": the averages over its one label
        per = [f(y[:, 0], p[:, 0], **kw) for f in (m.precision_score, m.recall_score, m.f1_score)]
        f1 = per[2]
        return dict(macro_f1=f1, micro_f1=f1, weighted_f1=f1, macro_precision=per[0], macro_recall=per[1],
                    samples_f1=float(np.mean(y & p)), subset_accuracy=m.accuracy_score(y, p), hamming_loss=m.hamming_loss(y, p))
    return dict(
        macro_f1=m.f1_score(y, p, average="macro", **kw), micro_f1=m.f1_score(y, p, average="micro", **kw),
        weighted_f1=m.f1_score(y, p, average="weighted", **kw), samples_f1=m.f1_score(y, p, average="samples", **kw),
        macro_precision=m.precision_score(y, p, average="macro", **kw), macro_recall=m.recall_score(y, p, average="macro", **kw),
        subset_accuracy=m.accuracy_score(y, p), hamming_loss=m.hamming_loss(y, p))


def defined(function, y, p, **kw):
    """Each label's rate, null where it is 0/0: where zero_division=nan gives nan."""
    out = [function(y[:, k], p[:, k], zero_division=np.nan, **kw) for k in range(y.shape[1])]
    return [None if np.isnan(x) else float(x) for x in out]


def label_rates(y, p):
    """Rates label by label, by the names of Rate."""
    per = dict(precision=defined(m.precision_score, y, p), recall=defined(m.recall_score, y, p),
               specificity=defined(m.recall_score, y, p, pos_label=0), f1=defined(m.f1_score, y, p),
               f2=defined(m.fbeta_score, y, p, beta=2), f_half=defined(m.fbeta_score, y, p, beta=.5),
               f_0=defined(m.fbeta_score, y, p, beta=0), f_inf=defined(m.fbeta_score, y, p, beta=np.inf))
    columns = [(y[:, k], p[:, k]) for k in range(y.shape[1])]
    per["jaccard"] = [m.jaccard_score(a, b, zero_division=0) if (a | b).any() else None for a, b in columns]
    per["balanced_accuracy_sklearn"] = [m.balanced_accuracy_score(a, b) for a, b in columns]
    per["mcc"] = [m.matthews_corrcoef(a, b) for a, b in columns]
    per["predicted_rate"] = [float(b.mean()) for _, b in columns]
    return per


def averages(y, p):
    """rate -> average -> [zero_division 0, 1, nan]; jaccard takes no nan."""
    functions = dict(precision=m.precision_score, recall=m.recall_score, f1=m.f1_score, f2=lambda *a, **k: m.fbeta_score(*a, beta=2, **k))
    out = {}
    for name, function in functions.items():
        out[name] = {}
        for average in ("macro", "micro", "weighted", "samples"):
            each = [float(function(y, p, average=average, zero_division=zd)) for zd in (0, 1, np.nan)]
            out[name][average] = [None if np.isnan(x) else x for x in each]
    out["jaccard"] = {average: [float(m.jaccard_score(y, p, average=average, zero_division=zd)) for zd in (0, 1)]
                      for average in ("macro", "micro", "weighted", "samples")}
    return out


def label_ranking(y, scores):
    with_labels = [row.any() for row in y]
    samples = [m.average_precision_score(a, b) for a, b, any_label in zip(y, scores, with_labels) if any_label]
    return dict(coverage_error=m.coverage_error(y, scores), ranking_loss=m.label_ranking_loss(y, scores),
                ranking_average_precision=m.label_ranking_average_precision_score(y, scores),
                samples_ap=m.average_precision_score(y, scores, average="samples"),
                samples_ap_defined=float(np.mean(samples)) if samples else None)


def probability(y, scores):
    """Column by column: scikit-learn takes a 2-D array for multiclass."""
    s = scores.astype(np.float64)
    return dict(brier=[m.brier_score_loss(y[:, k], s[:, k], labels=[0, 1]) for k in range(y.shape[1])],
                nll=[m.log_loss(y[:, k], s[:, k], labels=[0, 1]) for k in range(y.shape[1])],
                gap=list(s.mean(axis=0) - y.mean(axis=0)))


def answers(scores, y, thresholds):
    out = dict(thresholds=[float(t) for t in thresholds])
    p = (scores >= np.asarray(thresholds, np.float32)).astype(np.uint8)
    out["counts"] = [[int(c[1, 1]), int(c[0, 1]), int(c[1, 0]), int(c[0, 0])]  # tp fp fn tn
                     for c in (m.confusion_matrix(y[:, k], p[:, k], labels=[0, 1]) for k in range(y.shape[1]))]
    out["rates"] = rates(y, p)
    out["ap"] = [m.average_precision_score(y[:, k], scores[:, k]) if y[:, k].any() else None for k in range(y.shape[1])]
    out["auc"] = [m.roc_auc_score(y[:, k], scores[:, k]) if 0 < y[:, k].sum() < len(y) else None for k in range(y.shape[1])]
    out["mean_score"] = list(scores.astype(np.float64).mean(axis=0))
    best = []
    for k in range(y.shape[1]):
        if not y[:, k].any():
            best.append(None)
            continue
        precision, recall, _ = m.precision_recall_curve(y[:, k], scores[:, k])
        both = precision + recall
        best.append(float(np.max(np.where(both > 0, 2 * precision * recall / np.where(both > 0, both, 1), 0))))
    out["max_f1"] = best
    out["label_rates"] = label_rates(y, p)
    out["probability"] = probability(y, scores)
    out["micro_ap"] = m.average_precision_score(y.ravel(), scores.ravel()) if y.any() else None
    if y.shape[1] > 1:  # scikit-learn would call one column "binary"
        out["averages"] = averages(y, p)
        out["label_ranking"] = label_ranking(y, scores)
    return out


EDGE = {
    "the fixture of threshold selection": ([[.1], [.2], [.35], [.8], [.4], [.4], [.05], [.6]], [[0], [0], [1], [1], [0], [1], [0], [0]], [.4]),
    "ties": ([[.5], [.5], [.5], [.1]], [[1], [0], [1], [0]], [.5]),
    "all scores equal": ([[.25, .25]] * 5, [[1, 0], [0, 0], [0, 1], [1, 1], [0, 1]], [.25, .26]),
    "no positives, all positives": ([[.1, .9], [.8, .2], [.6, .6]], [[0, 1], [0, 1], [0, 1]], [.5, .5]),
    "nothing true": ([[.1, .9], [.8, .2]], [[0, 0], [0, 0]], [.5, .5]),
    "everything true": ([[.1, .9], [.8, .2]], [[1, 1], [1, 1]], [.5, .5]),
    "one row": ([[.7, .2, .5]], [[1, 1, 0]], [.5, .5, .5]),
    "empty predictions": ([[.1, .2, .3], [.3, .2, .1], [.2, .2, .2]], [[1, 0, 0], [0, 1, 0], [0, 0, 0]], [.9, .9, .9]),
    "extreme scores": ([[0., 1.], [1., 0.], [1e-38, 1.], [.5, 1e-45]], [[0, 1], [1, 0], [1, 1], [0, 1]], [0., 1.]),
    "toy of docs/strategies.md#metrics": ([[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]], [[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]], [.5, .5, .5]),
}
RANDOM = [(1, 2, 24, .5, 1), (7, 3, 2, .4, 2), (50, 4, 24, .5, 3), (50, 4, 3, .5, 4), (400, 4, 24, .1, 5), (400, 4, 8, .9, 6),
          (30, 60, 24, .2, 7), (30, 60, 1, .6, 8), (5000, 4, 24, .15, 9), (5000, 4, 10, .15, 10), (200, 1, 6, .3, 11)]

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    cases = []
    for name, (scores, truth, thresholds) in EDGE.items():
        s, y = np.asarray(scores, np.float32), np.asarray(truth, np.uint8)
        cases.append(dict(name=name, labels=y.shape[1], scores=[float(str(x)) for x in s.ravel()], truth=y.ravel().tolist(), **answers(s, y, thresholds)))
    for rows, labels, bits, rate, seed in RANDOM:
        s, y = random_case(rows, labels, bits, rate, seed)
        thresholds = [(k % 7 + 1) / 8 for k in range(labels)]
        cases.append(dict(name=f"random {rows} x {labels}, {bits} bits", labels=labels,
                          recipe=dict(rows=rows, bits=bits, rate=rate, seed=seed), **answers(s, y, thresholds)))
    text = "[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n"
    (pathlib.Path(__file__).parent / "metrics.json").write_text(text)
