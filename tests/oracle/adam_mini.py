"""Adam-mini on a small matrix, from the paper's algorithm: python tests/oracle/adam_mini.py writes adam_mini.json beside itself.

Zhang et al., "Adam-mini: use fewer learning rates to gain more" (ICLR 2025), algorithm 1 with AdamW's decoupled decay: the second moment of a
block, here a row (a neuron), is the mean of the squared gradients in it. float64.
"""
import json
import pathlib

import numpy

RATE, BETA1, BETA2, EPS, DECAY = 0.1, 0.9, 0.99, 1e-8, 0.05
rng = numpy.random.default_rng(0)
start = rng.normal(size=(3, 5))
gradients = rng.normal(size=(6, 3, 5)) * numpy.array([1.0, 1e-3, 10.0])[:, None]
gradients[3] = 0.0
p, m, v = start.copy(), numpy.zeros((3, 5)), numpy.zeros(3)
path = []
for step, g in enumerate(gradients, 1):
    p *= 1 - RATE * DECAY
    m = BETA1 * m + (1 - BETA1) * g
    v = BETA2 * v + (1 - BETA2) * (g * g).mean(axis=1)
    p -= RATE * (m / (1 - BETA1**step)) / (numpy.sqrt(v / (1 - BETA2**step)) + EPS)[:, None]
    path.append(p.tolist())
params = {"beta1": BETA1, "beta2": BETA2, "eps": EPS, "weight_decay": DECAY}
out = {"rate": RATE, "params": params, "start": start.tolist(), "gradients": gradients.tolist(), "path": path}
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(out, indent=1) + "\n")
