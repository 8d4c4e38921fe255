"""torch's and torchvision's word on the losses: python tests/oracle/losses.py writes losses.json beside itself.

Each case: loss, its parameters, pos_weight, logits [rows, labels], targets, the mean over batch x labels and the gradient by the logits.
"golden" is the batch of strategies.md section 1; "extreme" holds logits up to +-1e4. bce and focal are taken in float64;
focal_seed is the question's own code in float32.
"""
import json
import pathlib

import torch
from torchvision.ops import sigmoid_focal_loss

GOLDEN = ([[-2, 0, 1.5, -.3], [.7, -1.2, 3, 0], [-4, 2.2, -.1, .9]], [[1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]])
WIDE = [-30, -17, -15, -10, -5, -1, -1e-4, 0, 1e-4, 1, 5, 10, 15, 17, 30]
WIDE = ([[z] * 2 for z in WIDE], [[0, 1]] * len(WIDE))
EXTREME = ([[z] * 2 for z in (-1e4, -100, -88.5, 88.5, 100, 1e4)], [[0, 1]] * 6)
N, POSITIVES = 224000, [19000, 65000, 38000, 105000]
WEIGHTS = {"ones": [1.0] * 4, "neg_over_pos": [(N - n) / n for n in POSITIVES], "inverse_share": [sum(POSITIVES) / n for n in POSITIVES]}


def bce(z, y, w):
    return torch.nn.functional.binary_cross_entropy_with_logits(z, y, pos_weight=w)


def focal(gamma, alpha=None):
    def loss(z, y, w):
        cells = sigmoid_focal_loss(z, y, alpha=-1 if alpha is None else alpha, gamma=gamma)
        return (cells * torch.where(y == 1, w, torch.ones(()))).mean()

    return loss


def focal_seed(gamma):
    def loss(z, y, w, eps=1e-8):
        p = torch.sigmoid(z)
        positive = (1 - p) ** gamma * y * torch.log(p + eps)
        negative = p**gamma * (1 - y) * torch.log(1 - p + eps)
        return (-w * (positive + negative)).mean()

    return loss


def case(name, loss, function, params, batch, weight, dtype):
    z = torch.tensor(batch[0], dtype=torch.float32).to(dtype).requires_grad_()
    y = torch.tensor(batch[1], dtype=dtype)
    w = torch.tensor(weight, dtype=dtype)[: z.shape[1]]
    value = function(z, y, w)
    value.backward()
    assert torch.isfinite(z.grad).all() and torch.isfinite(value), (name, loss)
    return dict(name=name, loss=loss, params=params, pos_weight=weight[: z.shape[1]], labels=z.shape[1],
                logits=z.detach().flatten().tolist(), targets=[int(t) for t in y.flatten()],
                value=value.item(), gradient=z.grad.flatten().tolist())


if __name__ == "__main__":
    cases = []
    for which, batch in (("golden", GOLDEN), ("wide", WIDE), ("extreme", EXTREME)):
        for weights, weight in WEIGHTS.items():
            name = f"{which}, {weights}"
            cases.append(case(name, "bce", bce, {}, batch, weight, torch.float64))
            for gamma, alpha in ((2.0, 0.25), (1.5, None), (2.0, None), (0.5, 0.9)):
                if which == "extreme" and gamma < 1:
                    continue  # torchvision's (1-p_t)**gamma has an infinite slope at p_t = 1 there
                params = {"gamma": gamma} | ({} if alpha is None else {"alpha": alpha})
                cases.append(case(name, "focal", focal(gamma, alpha), params, batch, weight, torch.float64))
            if which != "extreme":
                cases.append(case(name, "focal_seed", focal_seed(1.5), {"gamma": 1.5}, batch, weight, torch.float32))
    text = "[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n"
    (pathlib.Path(__file__).parent / "losses.json").write_text(text)
