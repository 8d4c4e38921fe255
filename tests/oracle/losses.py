"""torch's, torchvision's and timm's word on the losses: python tests/oracle/losses.py writes losses.json beside itself.

Each case: loss, its parameters, pos_weight, epoch (of 4), logits [rows, labels], targets, the value and its gradient by the logits.
"golden" is the batch of docs/strategies.md#golden-batch; "batch" has rows without labels and a label without positives; "extreme" holds logits
up to +-1e4. focal comes from torchvision, asl, db, poly1, two_way and zlpr from timm, bce from torch; what no package has is written
here from its paper and differentiated by torch. All in float64 (timm's casts to float32 are undone), except focal_seed, which is
the question's own code in float32.
"""
import json
import pathlib

import timm.loss
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, softplus
from torchvision.ops import sigmoid_focal_loss

GOLDEN = ([[-2, 0, 1.5, -.3], [.7, -1.2, 3, 0], [-4, 2.2, -.1, .9]], [[1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]])
BATCH = ([[.3, -1, 2, .1], [-2, .5, -.6, 1.3], [3, -3, .2, -.4], [-.9, .8, -1.7, .6], [1.1, -.2, .4, -2.5]],
         [[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 1], [1, 0, 1, 1], [0, 0, 1, 0]])
WIDE = [-30, -17, -15, -10, -5, -1, -1e-4, 0, 1e-4, 1, 5, 10, 15, 17, 30]
WIDE = ([[z] * 2 for z in WIDE], [[0, 1]] * len(WIDE))
EXTREME = ([[z] * 2 for z in (-1e4, -100, -88.5, 88.5, 100, 1e4)], [[0, 1]] * 6)
N, POSITIVES, EPOCHS = 224000, [19000, 65000, 38000, 105000], 4
WEIGHTS = {"ones": [1.0] * 4, "neg_over_pos": [(N - n) / n for n in POSITIVES], "inverse_share": [sum(POSITIVES) / n for n in POSITIVES]}


def counts(z):
    return torch.tensor(POSITIVES[: z.shape[1]], dtype=torch.float64)


def weighed(cells, y, w):
    """The mean, positives times w."""
    return (cells * torch.where(y == 1, w, torch.ones((), dtype=w.dtype))).mean()


def bce(z, y, w, epoch):
    return binary_cross_entropy_with_logits(z, y, pos_weight=w)


def focal(gamma, alpha=None):
    return lambda z, y, w, epoch: weighed(sigmoid_focal_loss(z, y, alpha=-1 if alpha is None else alpha, gamma=gamma), y, w)


def focal_seed(gamma):
    def loss(z, y, w, epoch, eps=1e-8):
        p = torch.sigmoid(z)
        positive = (1 - p) ** gamma * y * torch.log(p + eps)
        negative = p**gamma * (1 - y) * torch.log(1 - p + eps)
        return (-w * (positive + negative)).mean()

    return loss


def effective(beta, n):
    return (1 - beta**n) / (1 - beta)


def class_balanced(beta=.9999, by="label", gamma=0.):
    def loss(z, y, w, epoch):
        n = counts(z)
        scale = len(n) / (1 / effective(beta, n)).sum()
        weights, active = scale / effective(beta, n), y.sum(1, keepdim=True)
        rows = {"label": lambda: weights,
                "average_n": lambda: scale / effective(beta, (y * n).sum(1, keepdim=True) / active),
                "average_w": lambda: (y * weights).sum(1, keepdim=True) / active,
                "min_n": lambda: scale / effective(beta, torch.where(y == 1, n, 10 * N).min(1, keepdim=True).values)}[by]()
        if by != "label":
            rows = torch.where(active > 0, rows, 1.)
        return weighed(rows * sigmoid_focal_loss(z, y, alpha=-1, gamma=gamma), y, w)

    return loss


def asl(gamma_neg=4., gamma_pos=1., clip=.05, detach=0):
    def loss(z, y, w, epoch):
        of = timm.loss.AsymmetricLossMultiLabel(gamma_neg, gamma_pos, clip, eps=1e-300, disable_torch_grad_focal_loss=bool(detach),
                                                reduction="mean", pos_weight=w)
        return of(z, y)

    return loss


def logit_adjust(tau=1.):
    return lambda z, y, w, epoch: bce(z + tau * torch.logit(counts(z) / N), y, w, epoch)


def ldam(max_margin=.5, scale=1., negatives=0, drw=.8, drw_beta=.9999):
    def loss(z, y, w, epoch):
        n = counts(z)
        unit = max_margin / (n**-.25).max()
        margin = torch.where(y == 1, unit * n**-.25, -negatives * unit * (N - n) ** -.25)
        cells = binary_cross_entropy_with_logits(scale * (z - margin), y, reduction="none")
        if epoch >= drw * EPOCHS:
            balanced = 1 / effective(drw_beta, n)
            cells = cells * balanced / balanced.mean()
        return weighed(cells, y, w)

    return loss


def db(map_alpha=.1, map_beta=10., map_mu=.2, **given):
    names = {"lambda": "neg_scale", "kappa": "init_bias", "gamma": "focal_gamma", "balance": "focal_balance"}

    def loss(z, y, w, epoch):
        n = counts(z)
        of = timm.loss.DistributionBalancedLoss(n, N, map_alpha, map_beta, map_mu, reduction="none",
                                                **{names[key]: value for key, value in given.items()})
        of.freq_inv, of.logit_bias = 1 / n, -torch.log(N / n - 1) * of_bias(given)  # its buffers are float32
        return weighed(of(z, y), y, w)

    def of_bias(given):
        return given.get("kappa", .05) / given.get("lambda", 2.)

    return loss


def soft_f1(fp_weight=.5, fn_weight=.5, smooth=0., power=1., slope=1., offset=0., absent="count"):
    def loss(z, y, w, epoch):
        s = torch.sigmoid(slope * (z + offset))
        tp, fp, fn = (s * y).sum(0), (s * (1 - y)).sum(0), ((1 - s) * y).sum(0)
        index = (tp + smooth) / (tp + fp_weight * fp + fn_weight * fn + smooth + 5e-17)
        labels = (1 - index) ** power
        return labels[y.sum(0) > 0].mean() if absent == "skip" else labels.mean()

    return loss


def poly1(epsilon=2., gamma=0., alpha=None):
    return lambda z, y, w, epoch: weighed(timm.loss.PolyBinaryCrossEntropy(epsilon, gamma, alpha, reduction="none")(z, y), y, w)


def two_way(t_pos=4., t_neg=1.):
    return lambda z, y, w, epoch: timm.loss.TwoWayLoss(t_pos, t_neg)(z, y)


def zlpr():
    return lambda z, y, w, epoch: timm.loss.ZlprLoss()(z, y)


def hill(margin=1., gamma=2., **given):
    def loss(z, y, w, epoch, scale=given.get("lambda", 1.5)):
        positive = torch.sigmoid(margin - z) ** gamma * softplus(margin - z)
        p = torch.sigmoid(z)
        return weighed(torch.where(y == 1, positive, (scale - p) * p**2), y, w)

    return loss


def splc(tau=.6, start=1, margin=1., gamma=2.):
    def loss(z, y, w, epoch):
        z = torch.where(y == 1, z - margin, z)
        y = torch.where((epoch >= start) & (torch.sigmoid(z) > tau), 1., y)
        p = torch.sigmoid(z)
        return weighed(-torch.where(y == 1, (1 - p) ** gamma * logsigmoid(z), p**gamma * logsigmoid(-z)), y, w)

    return loss


# (loss, parameters, batches, epochs): where the reference itself is sound, it is asked about extreme logits, too.
NEAR, FAR = ("golden", "batch", "wide"), ("golden", "batch", "wide", "extreme")
ALL = [
    (bce, None, FAR, [0]),
    *((focal, {"gamma": gamma} | ({} if alpha is None else {"alpha": alpha}), FAR if gamma >= 1 else NEAR, [0])
      for gamma, alpha in ((2.0, 0.25), (1.5, None), (2.0, None), (0.5, 0.9))),
    (focal_seed, {"gamma": 1.5}, NEAR, [0]),
    *((class_balanced, params, FAR, [0]) for params in ({}, {"beta": .99999}, {"gamma": 2.})),
    *((class_balanced, {"beta": .99999, "by": by}, ("golden", "batch"), [0]) for by in ("average_n", "average_w", "min_n")),
    # Without a clip the reference's log(1-p) has lost its digits long before p is 1.
    *((asl, params, NEAR, [0]) for params in ({}, {"gamma_pos": 0.}, {"detach": 1}, {"gamma_neg": 0., "gamma_pos": 0.})),
    *((asl, {"clip": 0.} | params, ("golden", "batch"), [0]) for params in ({}, {"gamma_neg": 2.}, {"detach": 1})),
    *((logit_adjust, params, FAR, [0]) for params in ({}, {"tau": .5})),
    *((ldam, params, FAR, [0, 3]) for params in ({}, {"scale": 30., "drw": .75, "drw_beta": .99999}, {"negatives": 1, "drw": 1.})),
    *((ldam, {"drw": drw}, ("golden",), epochs) for drw, epochs in ((.5, [1, 2]), (.6, [2, 3]))),
    *((db, params, ("golden", "batch", "wide"), [0]) for params in ({}, {"gamma": 0.}, {"map_mu": .3, "lambda": 5., "kappa": .1},
                                                                     {"map_alpha": 0., "map_beta": 3., "balance": 1.})),
    *((soft_f1, params, ("golden", "batch", "wide"), [0])
      for params in ({}, {"smooth": .5}, {"fp_weight": .3, "fn_weight": .7, "smooth": 1.},
                     {"fp_weight": .3, "fn_weight": .7, "smooth": 1., "power": .75}, {"slope": 3., "offset": -.5},
                     {"absent": "skip"}, {"absent": "skip", "power": 2., "smooth": .1})),
    *((poly1, params, NEAR, [0]) for params in ({}, {"epsilon": 1.}, {"epsilon": -1., "gamma": 2.}, {"gamma": 1.5, "alpha": .25})),
    *((two_way, params, NEAR, [0]) for params in ({}, {"t_pos": 1., "t_neg": 2.})),
    (zlpr, None, FAR, [0]),
    *((hill, params, NEAR, [0]) for params in ({}, {"lambda": 2., "margin": .5, "gamma": 1.})),
    *((splc, params, NEAR, [0, 1]) for params in ({}, {"tau": .8, "margin": 0., "gamma": 1.})),
]
BATCHES = {"golden": GOLDEN, "batch": BATCH, "wide": WIDE, "extreme": EXTREME}


def case(name, loss, params, batch, weight, epoch):
    dtype = torch.float32 if loss is focal_seed else torch.float64
    z = torch.tensor(batch[0], dtype=torch.float32).to(dtype).requires_grad_()
    y = torch.tensor(batch[1], dtype=dtype)
    w = torch.tensor(weight, dtype=dtype)[: z.shape[1]]
    function = loss(**(params or {})) if loss is not bce else bce
    narrow = torch.Tensor.float
    if dtype == torch.float64:
        torch.Tensor.float = torch.Tensor.double
    value = function(z, y, w, torch.tensor(epoch))
    torch.Tensor.float = narrow
    value.backward()
    assert torch.isfinite(z.grad).all() and torch.isfinite(value), (name, loss)
    return dict(name=name, loss=loss.__name__, params=params or {}, pos_weight=weight[: z.shape[1]], epoch=epoch, labels=z.shape[1],
                logits=z.detach().flatten().tolist(), targets=[int(t) for t in y.flatten()],
                value=value.item(), gradient=z.grad.flatten().tolist())


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    cases = []
    for loss, params, batches, epochs in ALL:
        unread = loss in (soft_f1, two_way, zlpr)
        for which in batches:
            for weights in ["ones"] if unread or (params and loss not in (focal, focal_seed)) else WEIGHTS:
                for epoch in epochs:
                    cases.append(case(f"{which}, {weights}", loss, params, BATCHES[which], WEIGHTS[weights], epoch))
    text = "[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n"
    (pathlib.Path(__file__).parent / "losses.json").write_text(text)
