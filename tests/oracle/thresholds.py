"""scikit-learn's curves on what thresholds can reach: python tests/oracle/thresholds.py writes thresholds.json beside itself."""
import json
import pathlib

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve


def case(rng, rows, labels, ties):
    scores = rng.random((rows, labels))
    truth = (rng.random((rows, labels)) < scores ** np.arange(1, labels + 1)).astype(int)
    if ties:
        scores = np.round(scores, ties)
    scores = scores.astype(np.float32)
    columns = list(zip(truth.T, scores.T))

    def each(of):
        return [float(of(*column)) for column in columns]

    def f(beta):
        def best(y, s):
            p, r, _ = precision_recall_curve(y, s)
            return np.nanmax(np.divide((1 + beta**2) * p * r, beta**2 * p + r, where=p + r > 0, out=np.zeros_like(p)))

        return best

    def youden(y, s):
        fpr, tpr, _ = roc_curve(y, s, drop_intermediate=False)
        return np.max(tpr - fpr)

    def precision(least):
        def best(y, s):
            p, r, _ = precision_recall_curve(y, s)
            return np.max(p[:-1][r[:-1] >= least])  # the last point is (1, 0) by definition, not a cut

        return best

    def recall(least):
        def best(y, s):
            p, r, _ = precision_recall_curve(y, s)
            return np.max(r[p >= least])

        return best

    return dict(labels=labels, scores=[float(s) for s in scores.flatten()], truth=[int(y) for y in truth.flatten()],
                f={str(beta): each(f(beta)) for beta in (.5, 1, 2)}, youden=each(youden),
                precision_at_recall={str(least): each(precision(least)) for least in (.5, .9, 1)},
                recall_at_precision={str(least): each(recall(least)) for least in (.3, .7, .95)},
                micro_f1=float(f(1)(truth.flatten(), scores.flatten())))


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    cases = [case(rng, rows, labels, ties) for rows, labels, ties in ((40, 3, 0), (40, 3, 1), (200, 4, 2), (200, 4, 0), (7, 1, 1), (300, 2, 1))]
    text = "[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n"
    (pathlib.Path(__file__).parent / "thresholds.json").write_text(text)
