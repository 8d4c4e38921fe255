"""Scores beyond what float32 probabilities tell apart: python tests/oracle/import_logits.py writes import_logits.json beside itself.

200 rows of two labels with float64 logits around mu, with scikit-learn's average precision and ROC-AUC of the logits, of the float64
probabilities and of the float32 ones.
"""
import json
import pathlib

import numpy as np
import sklearn.metrics as m

ROWS = 200


def both(function, y, values):
    return [float(function(y[:, k], values[:, k])) for k in range(y.shape[1])]


cases = []
for mu in (0, 12, 16, 20, 30, -30):
    rng = np.random.default_rng(abs(mu) + 7)
    y = (rng.random((ROWS, 2)) < [.25, .5]).astype(np.uint8)
    z = mu + rng.normal(size=(ROWS, 2)) + 1.5 * y
    p = np.where(z >= 0, 1 / (1 + np.exp(-z)), np.exp(z) / (1 + np.exp(z)))
    case = dict(mu=mu, logits=[float(x) for x in z.ravel()], truth=[int(t) for t in y.ravel()])
    for name, values in (("logits", z), ("double", p), ("single", p.astype(np.float32))):
        case["ap_" + name] = both(m.average_precision_score, y, values)
        case["auc_" + name] = both(m.roc_auc_score, y, values)
    print(mu, {key: [round(x, 4) for x in value] for key, value in case.items() if key.startswith("ap_")})
    cases.append(case)
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(cases, separators=(",", ":")).replace("},{", "},\n{") + "\n")
