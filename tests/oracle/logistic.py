"""scikit-learn's LogisticRegression on small data: coefficients at each strength, plain and balanced, and what val chooses. Writes
logistic.json beside this file."""

import json
import pathlib
import warnings

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

STRENGTHS = [10 ** (step / 2) for step in range(-8, 7)]
LABELS, WIDTH = 4, 6
ROWS = {"train": 90, "val": 70}

draw = np.random.default_rng(7)
mix = draw.normal(size=(WIDTH, WIDTH)) * np.array([0.2, 1, 3, 1, 0.5, 2])
features = {split: (draw.normal(size=(rows, WIDTH)) @ mix + 0.5).astype(np.float32) for split, rows in ROWS.items()}
slopes = draw.normal(size=(WIDTH, LABELS)) * 0.4
truth = {}
for split, x in features.items():
    p = 1 / (1 + np.exp(-(x @ slopes + np.array([0.0, -1.0, -3.5, 0.0]))))
    truth[split] = (draw.random(p.shape) < p).astype(int)
# The last label has no positive in train: nothing can be learnt about it.
truth["train"][:, 3] = 0

solved = {}
warnings.simplefilter("error")
for name, class_weight in (("logistic", None), ("logistic_balanced", "balanced")):
    path = []
    for strength in STRENGTHS:
        solutions, aps = [], []
        for label in range(LABELS - 1):
            model = LogisticRegression(C=strength, class_weight=class_weight, solver="lbfgs", tol=1e-10, max_iter=100_000)
            model.fit(features["train"].astype(np.float64), truth["train"][:, label])
            solutions.append([*model.coef_[0], model.intercept_[0]])
            scores = model.decision_function(features["val"].astype(np.float64))
            aps.append(average_precision_score(truth["val"][:, label], scores))
        # A constant score has the prevalence as its AP.
        aps.append(truth["val"][:, 3].mean())
        path.append({"C": strength, "solutions": solutions, "val_ap": float(np.mean(aps))})
    chosen = max(range(len(path)), key=lambda at: (path[at]["val_ap"], -at))
    solved[name] = {"path": path, "chosen": chosen}

fixture = {
    "by": f"scikit-learn {sklearn.__version__}",
    "width": WIDTH,
    "labels": LABELS,
    "features": {split: x.astype(float).ravel().tolist() for split, x in features.items()},
    "truth": {split: y.ravel().tolist() for split, y in truth.items()},
    "solved": solved,
}
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(fixture) + "\n")
for name, found in solved.items():
    print(name, "chosen C", found["path"][found["chosen"]]["C"], [round(step["val_ap"], 4) for step in found["path"]])
print({split: y.sum(0).tolist() for split, y in truth.items()})
