"""scikit-learn's word on calibration: python tests/oracle/calibration.py writes calibration.json beside itself.

Random cases are described by their recipe, as in metrics.py; edge cases carry their cells. Platt's and the calibration line are
scikit-learn's, polished by scipy's root finder on the gradient, since scikit-learn's own optimiser stops at about 1e-6.
"""
import json
import pathlib
import warnings

import numpy as np
from scipy.optimize import root
from scipy.special import expit
from sklearn.calibration import _sigmoid_calibration, calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from metrics import random_case

BINS = 15
SHIFTED = .3  # another prevalence that errors are judged at
PROBES = [0., 1e-6, .03, .1, .25, .3, .5, .55, .7, .9, .999, 1.]


def logits(scores):
    p = np.clip(scores.astype(np.float64), 2.**-150, 1 - 2.**-25)
    return np.log(p) - np.log1p(-p)


def polish(z, targets, start):
    """Newton on the gradient of the cross-entropy, from somebody else's solution, which must not move far."""
    def gradient(ab):
        error = expit(ab[0] * z + ab[1]) - targets
        return [error @ z, error.sum()]

    def hessian(ab):
        p = expit(ab[0] * z + ab[1])
        w = p * (1 - p)
        return [[w @ (z * z), w @ z], [w @ z, w.sum()]]

    found = root(gradient, start, jac=hessian, method="hybr", options=dict(xtol=1e-15)).x
    assert np.allclose(found, start, rtol=1e-3, atol=1e-3), (found, start)
    return [float(x) for x in found]


def platt(scores, y):
    z = logits(scores)
    if np.ptp(z) == 0:  # any line through one point fits; sweep takes the flat one
        target = np.where(y == 1, (y.sum() + 1) / (y.sum() + 2), 1 / ((y == 0).sum() + 2)).mean()
        return dict(slope=0., intercept=float(np.log(target / (1 - target))))
    a, b = _sigmoid_calibration(z, y)
    targets = np.where(y == 1, (y.sum() + 1) / (y.sum() + 2), 1 / ((y == 0).sum() + 2))
    slope, intercept = polish(z, targets, [-a, -b])
    return dict(slope=slope, intercept=intercept, sklearn=[float(-a), float(-b)])


def line(scores, y):
    """Cox's line, and the standard error of its slope from the inverse of the Fisher information."""
    z = logits(scores)
    if len(set(y)) < 2 or z[y == 0].max() <= z[y == 1].min() or z[y == 1].max() <= z[y == 0].min():
        return None
    fitted = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=1000).fit(z[:, None], y)
    slope, intercept = polish(z, y, [fitted.coef_[0, 0], fitted.intercept_[0]])
    p, design = expit(slope * z + intercept), np.stack([z, np.ones_like(z)], 1)
    information = design.T @ ((p * (1 - p))[:, None] * design)
    error = np.sqrt(np.linalg.inv(information)[0, 0]) if np.ptp(z) > 0 else None
    return dict(slope=slope, intercept=intercept, error=error if error is None else float(error))


def equal_width(scores, y):
    s = scores.astype(np.float64)
    edges = np.arange(BINS + 1) / BINS
    n, total, hits = (np.histogram(s, bins=edges, weights=w)[0] for w in (None, s, y))
    return float(np.abs(total - hits).sum() / n.sum())


def equal_mass(scores, y):
    """calibration_curve leaves out empty bins and the numbers of rows, which its own lines give again."""
    s = scores.astype(np.float64)
    rate, confidence = calibration_curve(y, s, n_bins=BINS, strategy="quantile") if len(set(y)) > 1 else (None, None)
    edges = np.percentile(s, np.linspace(0, 1, BINS + 1) * 100)
    place = np.searchsorted(edges[1:-1], s)
    n = np.bincount(place, minlength=BINS)
    if rate is None:
        total, hits = np.bincount(place, weights=s, minlength=BINS), np.bincount(place, weights=y, minlength=BINS)
        return float(np.abs(total - hits).sum() / n.sum())
    return float((n[n > 0] * np.abs(rate - confidence)).sum() / n.sum())


def chance(scores, y, prevalence, draws=20_000):
    """95 % quantiles of |gap| and ECE of scores that are probabilities, by drawing every row: plainly, or judged by class as at `prevalence`."""
    s, rng, own = scores.astype(np.float64), np.random.default_rng(1), y.mean()
    places = np.clip(np.searchsorted(np.arange(BINS + 1) / BINS, s, side="right") - 1, 0, BINS - 1)
    ratio = 1. if prevalence is None else own / (1 - own) / (prevalence / (1 - prevalence))
    probability, found = ratio * s / (ratio * s + 1 - s), []
    for _ in range(draws):
        drawn = rng.random(len(s)) < probability
        n = drawn.sum()
        weights = np.full(len(s), 1 / len(s))
        if prevalence is not None and 0 < n < len(s):
            weights = np.where(drawn, prevalence / n, (1 - prevalence) / (len(s) - n))
        off = np.bincount(places, weights * (s - drawn), BINS)
        found.append((abs(off.sum()), np.abs(off).sum()))
    gap, ece = np.quantile(np.array(found), .95, axis=0)
    return dict(gap=float(gap), ece=float(ece))


def isotonic(scores, y):
    fitted = IsotonicRegression(out_of_bounds="clip").fit(scores.astype(np.float64), y)
    return [float(x) for x in fitted.predict(np.asarray(PROBES, np.float32).astype(np.float64))]


def answers(scores, y):
    return dict(platt=platt(scores, y), line=line(scores, y), ece=equal_width(scores, y), ece_equal_mass=equal_mass(scores, y),
                isotonic=isotonic(scores, y))


EDGE = {
    "all scores equal": ([.25] * 5, [1, 0, 0, 1, 0]),
    "no positives": ([.1, .8, .6], [0, 0, 0]),
    "all positives": ([.1, .8, .6], [1, 1, 1]),
    "separated": ([.1, .2, .8, .9], [0, 0, 1, 1]),
    "separated the wrong way": ([.1, .2, .8, .9], [1, 1, 0, 0]),
    "separated but for one score": ([.1, .5, .5, .9], [0, 0, 1, 1]),
    "overlapping by one row": ([.1, .3, .5, .9, .4], [0, 0, 1, 1, 1]),
    "zeros and ones": ([0., 0., 1., 1., 1., 0., .5, .5], [0, 1, 1, 1, 0, 0, 1, 0]),
    "edges of bins": ([0., 1 / 15, 2 / 15, .2, 4 / 15, 1 / 3, .4, .6, .8, 1., 1.], [0, 0, 1, 0, 1, 0, 1, 1, 1, 1, 0]),
    "two rows": ([.9, .3], [0, 1]),
}
# Rows - 1 shares no factor with the bins: quantiles never fall on a score, where numpy's rounding would choose the side.
RANDOM = [(9, 24, .6, 1), (50, 24, .5, 2), (50, 3, .5, 3), (402, 24, .1, 4), (402, 6, .9, 5), (5000, 24, .15, 6), (5000, 10, .4, 7)]

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    cases = []
    for name, (scores, truth) in EDGE.items():
        s, y = np.asarray(scores, np.float32), np.asarray(truth)
        cases.append(dict(name=name, scores=[float(str(x)) for x in s], truth=truth, **answers(s, y)))
    for rows, bits, rate, seed in RANDOM:
        s, y = (cells[:, 0] for cells in random_case(rows, 1, bits, rate, seed))
        cases.append(dict(name=f"random {rows}, {bits} bits", recipe=dict(rows=rows, bits=bits, rate=rate, seed=seed), **answers(s, y.astype(int)),
                          chance=chance(s, y, None), shifted=chance(s, y, SHIFTED)))
    text = ",\n".join(json.dumps(case) for case in cases)
    (pathlib.Path(__file__).parent / "calibration.json").write_text(f'{{"probes": {PROBES}, "cases": [\n{text}\n]}}\n')
