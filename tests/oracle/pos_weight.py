"""timm's and scikit-learn's word on weights from counts: python tests/oracle/pos_weight.py writes pos_weight.json beside itself."""
import json
import pathlib

import numpy as np
from sklearn.utils.class_weight import compute_class_weight
from timm.loss.class_weights import compute_class_weights

COUNTS = [(224000, [19000, 65000, 38000, 105000]), (1000, [1, 17, 500, 999]), (50, [25])]


def timm(positives, rows, **how):
    return compute_class_weights(positives, rows, **how)[1].tolist()


def balanced(positives, rows):
    """The ratio of scikit-learn's two `balanced` weights of each label."""
    pairs = (compute_class_weight("balanced", classes=np.array([0, 1]), y=np.repeat([0, 1], [rows - n, n])) for n in positives)
    return [float(one / zero) for zero, one in pairs]


FORMULAS = {
    "neg_over_pos": timm,
    "sqrt": lambda n, rows: timm(n, rows, power=.5),
    "power(exponent=0.25)": lambda n, rows: timm(n, rows, power=.25),
    "capped(max=3)": lambda n, rows: timm(n, rows, max_weight=3),
    "inv_freq": lambda n, rows: timm(n, rows, method="inv_freq"),
    "inv_freq(exponent=0.5)": lambda n, rows: timm(n, rows, method="inv_freq", power=.5),
    "effective_number(form=class)": lambda n, rows: timm(n, rows, method="effective_num", beta=.9999),
    "effective_number(form=class,beta=0.999)": lambda n, rows: timm(n, rows, method="effective_num"),
    "prior_target(target=0.5)": balanced,
}

if __name__ == "__main__":
    cases = [dict(formula=formula, rows=rows, positives=n, weights=weigh(n, rows)) for rows, n in COUNTS for formula, weigh in FORMULAS.items()]
    text = "[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n"
    (pathlib.Path(__file__).parent / "pos_weight.json").write_text(text)
