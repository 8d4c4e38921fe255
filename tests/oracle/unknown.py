"""scikit-learn on the known cells of labels that are partly unknown (2): each label's column, and each row, with its unknown cells cut out.
python tests/oracle/unknown.py writes unknown.json beside itself."""
import json
import pathlib
import warnings

import numpy as np
import sklearn
from sklearn import metrics
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

UNKNOWN = 2


def optional(value):
    return None if value is None else float(value)


def of_label(y, s, threshold):
    """A label's metrics on its known cells; those that need a class it lacks are None."""
    if len(y) == 0:
        return dict(counts=[0, 0, 0, 0], ap=None, auc=None, mean_score=0., max_f1=None, brier=0., nll=0., ece=0.,
                    precision=0., recall=0., f1=0.)
    predicted = (s >= threshold).astype(int)
    (tn, fp), (fn, tp) = metrics.confusion_matrix(y, predicted, labels=[0, 1])
    p, r, _ = metrics.precision_recall_curve(y, s) if y.any() else (None, None, None)
    wide = s.astype(np.float64)
    rate, mean = calibration_curve(y, wide, n_bins=15)
    rows = np.histogram(wide, np.linspace(0, 1, 16))[0]
    return dict(counts=[int(n) for n in (tp, fp, fn, tn)],
                ap=optional(metrics.average_precision_score(y, s) if y.any() else None),
                auc=optional(metrics.roc_auc_score(y, s) if 0 < y.sum() < len(y) else None),
                mean_score=float(wide.mean()),
                max_f1=optional(np.max(2 * p * r / np.maximum(p + r, 1e-300)) if y.any() else None),
                brier=float(metrics.brier_score_loss(y, wide)), nll=float(metrics.log_loss(y, wide, labels=[0, 1])),
                ece=float(np.sum(rows[rows > 0] * np.abs(rate - mean)) / len(y)),
                precision=float(metrics.precision_score(y, predicted, zero_division=0)),
                recall=float(metrics.recall_score(y, predicted, zero_division=0)),
                f1=float(metrics.f1_score(y, predicted, zero_division=0)))


def of_row(y, s, predicted):
    """A row's metrics on the labels that it knows."""
    return dict(f1=metrics.f1_score(y, predicted, zero_division=0), exact=float((y == predicted).all()),
                coverage_error=metrics.coverage_error([y], [s]) if len(y) > 1 and y.any() else float(y.sum()),
                # Without one of the classes there is no pair, and nothing is ranked wrongly.
                ranking_loss=metrics.label_ranking_loss([y], [s]) if 0 < y.sum() < len(y) else 0.,
                ranking_average_precision=metrics.label_ranking_average_precision_score([y], [s]) if 0 < y.sum() < len(y) else 1.)


def case(rng, rows, labels, ties, unknown):
    scores = np.round(rng.random((rows, labels)), ties).astype(np.float32)
    truth = (rng.random((rows, labels)) < scores ** np.arange(1, labels + 1)).astype(int)
    truth[rng.random((rows, labels)) < unknown] = UNKNOWN
    truth[3] = UNKNOWN  # a row that knows nothing
    if labels > 3:
        truth[:, 1][truth[:, 1] == 1] = UNKNOWN  # known negatives only
        truth[:, 2] = UNKNOWN  # a label that nobody knows
        truth[:, 3][truth[:, 3] == 0] = UNKNOWN  # known positives only
    thresholds = np.round(rng.random(labels), 1).astype(np.float32)
    known = truth != UNKNOWN
    predicted = (scores >= thresholds).astype(int)
    by_label = [of_label(truth[k, at], scores[k, at], thresholds[at]) for at, k in enumerate(known.T)]
    by_row = [of_row(truth[at, k], scores[at, k], predicted[at, k]) for at, k in enumerate(known) if k.any()]
    return dict(labels=labels, scores=[float(s) for s in scores.flatten()], truth=[int(y) for y in truth.flatten()],
                thresholds=[float(t) for t in thresholds], by_label=by_label,
                rows={name: float(np.mean([row[name] for row in by_row])) for name in by_row[0]},
                hamming_loss=float(metrics.hamming_loss(truth[known], predicted[known])),
                micro_f1=float(metrics.f1_score(truth[known], predicted[known], zero_division=0)),
                micro_ap=float(metrics.average_precision_score(truth[known], scores[known])))


def regressions(rng):
    """Coefficients of each label, fitted on the rows that know it; the last label is known for a third of the rows."""
    rows, width = 120, 4
    x = rng.normal(size=(rows, width)).astype(np.float32)
    truth = (rng.random((rows, 3)) < 1 / (1 + np.exp(-(x @ rng.normal(size=(width, 3)) + [0., -1.5, 0.])))).astype(int)
    truth[rng.random(truth.shape) < [.1, .3, .66]] = UNKNOWN
    truth[5] = UNKNOWN
    solutions = {}
    for name, weight in (("logistic", None), ("logistic_balanced", "balanced")):
        solutions[name] = []
        for y in truth.T:
            model = LogisticRegression(C=.1, class_weight=weight, solver="lbfgs", tol=1e-10, max_iter=100_000)
            model.fit(x[y != UNKNOWN].astype(np.float64), y[y != UNKNOWN])
            solutions[name].append([*model.coef_[0], model.intercept_[0]])
    return dict(width=width, labels=3, strength=.1, features=x.astype(float).flatten().tolist(), truth=truth.flatten().tolist(),
                solutions=solutions)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message="A single label was found")
    rng = np.random.default_rng(0)
    cases = [case(rng, *shape) for shape in ((60, 5, 1, .3), (60, 5, 2, .6), (40, 2, 1, .2), (300, 3, 2, .5))]
    text = json.dumps(dict(by=f"scikit-learn {sklearn.__version__}", cases=cases, regressions=regressions(rng)))
    (pathlib.Path(__file__).parent / "unknown.json").write_text(text + "\n")
