"""torch's optimizers on a small problem: python tests/oracle/optimizers.py writes optimizers.json beside itself.

Each case: optimizer, its parameters, learning rate, and the parameter after each of six steps in float64; the gradients are given, not computed.
"""
import json
import pathlib

import torch

START = [0.5, -1.25, 2.0, 0.0]
GRADIENTS = [[0.1, -0.2, 3.0, 0.0], [0.3, 0.1, -1.0, 0.0], [-0.5, 0.4, 0.25, 1e-9], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [-2.0, 0.5, 0.125, -1.0]]
CASES = [
    ("adam", {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}),
    ("adam", {"beta1": 0.8, "beta2": 0.9, "eps": 1e-6, "weight_decay": 0.1}),
    ("adamw", {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01}),
    ("sgd", {"momentum": 0.0, "nesterov": 0.0, "weight_decay": 0.0}),
    ("sgd", {"momentum": 0.9, "nesterov": 0.0, "weight_decay": 0.05}),
    ("sgd", {"momentum": 0.9, "nesterov": 1.0, "weight_decay": 0.05}),
]


def build(kind, p, parameters):
    if kind == "sgd":
        return torch.optim.SGD(parameters, lr=0.1, momentum=p["momentum"], nesterov=bool(p["nesterov"]), weight_decay=p["weight_decay"])
    make = torch.optim.AdamW if kind == "adamw" else torch.optim.Adam
    return make(parameters, lr=0.1, betas=(p["beta1"], p["beta2"]), eps=p["eps"], weight_decay=p["weight_decay"])


cases = []
for kind, p in CASES:
    x = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    optimizer = build(kind, p, [x])
    path = []
    for gradient in GRADIENTS:
        x.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        path.append(x.detach().tolist())
    cases.append({"kind": kind, "params": p, "path": path})

grads = [torch.tensor([3.0, 4.0], dtype=torch.float64), torch.tensor([12.0], dtype=torch.float64)]
variables = [torch.zeros_like(g, requires_grad=True) for g in grads]
for v, g in zip(variables, grads):
    v.grad = g.clone()
norm = float(torch.nn.utils.clip_grad_norm_(variables, 2.0))
clipped = [v.grad.tolist() for v in variables]
out = {"start": START, "rate": 0.1, "gradients": GRADIENTS, "cases": cases, "clip": {"norm": norm, "limit": 2.0, "clipped": clipped}}
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(out, indent=1) + "\n")
