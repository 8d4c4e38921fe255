"""Seconds of one grid of linear heads: sweep, PyTorch one head after the other, JAX with vmap over the heads of a batch order.

    cargo build --release --bins --example heads
    python benches/heads_side_by_side.py [--rounds 5] [--n 20000 --d 1024 --l 4 --epochs 5 --batch 256]
    python benches/heads_side_by_side.py --frozen [--rounds 3]

The grid: 5 positive weights x {bce, focal 1, 1.5, 2} x 2 seeds, Adam, every head on the same features; after each epoch every head is
evaluated on val under 5 thresholds (confusion counts). sweep (examples/heads.rs, which also makes the features) does more than its
peers: it ranks (AP, AUC), writes scores, models and checkpoints each epoch and evaluates test.

With --frozen it is a whole `sweep run`, its database included, of 500 heads (5 gammas, 5 learning rates and 4 seeds) on what a frozen
ResNet-18 with random weights makes of 25,000 letters of 32 x 32 (20,000 to train on), 512 numbers each. These are computed once,
before the clock runs, and its peers read them where sweep keeps them.

Rounds are interleaved, threads equal; prints medians with their range and the ratios. Needs: numpy, torch, torchvision, jax (CPU).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from side_by_side import measured, own_peak_kib, ratios, release, said, spread

WEIGHTS = ["none", "sqrt", "neg_over_pos", "inverse_share", {"kind": "power", "exponent": 0.25}]
THRESHOLDS = [0.1, 0.3, 0.5, 0.7, 0.9]
# gammas (0: bce), learning rates, seeds
SMALL = ([0.0, 1.0, 1.5, 2.0], [1e-3], 2)
FROZEN = ([0.0, 0.5, 1.0, 1.5, 2.0], [1e-4, 3e-4, 1e-3, 3e-3, 1e-2], 4)


def weights(train):
    """The positive weights of the grid, [5, labels]."""
    import numpy as np

    positive = train.sum(0).astype(float)
    odds = (len(train) - positive) / positive
    return np.stack([np.ones_like(odds), odds**0.5, odds, positive.sum() / positive, odds**0.25])


def load(folder):
    """(x, y) of train and of val, as the example wrote them, or as sweep has prepared them."""
    import numpy as np

    features = [kept.parent for kept in folder.glob("*/meta.json") if "features" in json.loads(kept.read_text())["shape"]]
    if features:
        width = json.loads((features[0] / "meta.json").read_text())["shape"]["features"]["width"]
        x = np.fromfile(features[0] / "inputs.bin", dtype="<f4").reshape(-1, width)
        y = np.fromfile(features[0] / "labels.bin", dtype=np.uint8).reshape(len(x), -1).astype(np.float32)
        split = np.fromfile(next(folder.glob("*/split-*.bin")), dtype=np.uint8)
        return [(x[split == part], y[split == part]) for part in (0, 1)]
    x = np.load(folder / "features.npy")
    rows = [line.split(",") for line in (folder / "labels.csv").read_text().splitlines()[1:]]
    y = np.array([row[1:-1] for row in rows], dtype=np.float32)
    split = np.array([row[-1] for row in rows])
    return [(x[split == name], y[split == name]) for name in ("train", "val")]


def torch_grid(folder, args):
    import numpy as np
    import torch

    torch.set_num_threads(args.threads)
    (x, y), (vx, vy) = [[torch.from_numpy(part) for part in split] for split in load(folder)]
    grid = torch.from_numpy(weights(y.numpy()).astype(np.float32))
    f1, (gammas, rates, seeds) = None, FROZEN if args.frozen else SMALL

    def train(weight, gamma, rate, seed):
        torch.manual_seed(seed)
        head = torch.nn.Linear(x.shape[1], y.shape[1])
        optimizer = torch.optim.Adam(head.parameters(), rate)
        order = torch.Generator().manual_seed(seed)
        for _ in range(args.epochs):
            for rows in torch.randperm(len(x), generator=order).split(args.batch):
                z, t = head(x[rows]), y[rows]
                cost = torch.nn.functional.binary_cross_entropy_with_logits(z, t, pos_weight=weight, reduction="none")
                if gamma:
                    p = torch.sigmoid(z)
                    cost = cost * (1 - torch.where(t > 0, p, 1 - p)) ** gamma
                optimizer.zero_grad(set_to_none=True)
                cost.mean().backward()
                optimizer.step()
            with torch.no_grad():
                scores = torch.sigmoid(head(vx))
                for threshold in THRESHOLDS:
                    said = scores >= threshold
                    tp = (said & (vy > 0)).sum(0)
                    f1 = 2 * tp / (said.sum(0) + (vy > 0).sum(0))
        return f1

    train(grid[0], 1.0, 1e-3, 9)
    start = time.perf_counter()
    for seed in range(seeds):
        for weight in grid:
            for gamma in gammas:
                for rate in rates:
                    train(weight, gamma, rate, seed)
    return time.perf_counter() - start


def jax_grid(folder, args):
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=" + ("true" if args.threads > 1 else "false")
    import jax
    import jax.numpy as jnp
    import numpy as np

    (x, y), (vx, vy) = load(folder)
    grid, (gammas, rates, seeds) = weights(y), FROZEN if args.frozen else SMALL
    points = [(weight, gamma, rate) for weight in grid for gamma in gammas for rate in rates]
    weight, gamma, rate = (jnp.array(column, dtype=jnp.float32) for column in zip(*points))
    steps = -(-len(x) // args.batch)

    def loss(w, b, xb, yb, mask, weight, gamma):
        z = xb @ w + b
        cost = weight * yb * jax.nn.softplus(-z) + (1 - yb) * jax.nn.softplus(z)
        miss = jnp.where(yb > 0, jax.nn.sigmoid(-z), jax.nn.sigmoid(z))
        return (cost * jnp.where(gamma > 0, miss**gamma, 1.0) * mask[:, None]).sum() / (mask.sum() * z.shape[1])

    def adam(p, m, v, g, t):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        return p - rate.reshape(-1, *[1] * (p.ndim - 1)) * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v

    @jax.jit
    def epoch(state, x, y, order, mask):
        def step(state, at):
            (w, b, mw, mb, vw, vb, t), (rows, keep) = state, at
            xb, yb = x[rows], y[rows]
            gw, gb = jax.vmap(jax.grad(loss, (0, 1)), (0, 0, None, None, None, 0, 0))(w, b, xb, yb, keep, weight, gamma)
            t = t + 1
            (w, mw, vw), (b, mb, vb) = adam(w, mw, vw, gw, t), adam(b, mb, vb, gb, t)
            return (w, b, mw, mb, vw, vb, t), None

        return jax.lax.scan(step, state, (order, mask))[0]

    @jax.jit
    def evaluate(w, b, vx, vy):
        scores = jax.nn.sigmoid(jnp.einsum("nd,rdl->rnl", vx, w) + b[:, None])
        said = scores[None] >= jnp.array(THRESHOLDS)[:, None, None, None]
        tp = (said & (vy > 0)).sum(2)
        return 2 * tp / (said.sum(2) + (vy > 0).sum(0))

    x, y, vx, vy = map(jnp.asarray, (x, y, vx, vy))
    d, l = x.shape[1], y.shape[1]

    def all_of(seed, epochs):
        rng = np.random.default_rng(seed)
        w = jnp.asarray(rng.uniform(-1, 1, (d, l)) / d**0.5, dtype=jnp.float32)
        w = jnp.broadcast_to(w, (len(points), d, l))
        b = jnp.zeros((len(points), l))
        state = (w, b, jnp.zeros_like(w), jnp.zeros_like(b), jnp.zeros_like(w), jnp.zeros_like(b), 0)
        for _ in range(epochs):
            order = np.zeros(steps * args.batch, dtype=np.int32)
            order[: len(x)] = rng.permutation(len(x))
            mask = (np.arange(len(order)) < len(x)).astype(np.float32)
            state = epoch(state, x, y, order.reshape(steps, -1), mask.reshape(steps, -1))
            evaluate(state[0], state[1], vx, vy).block_until_ready()

    all_of(9, 1)  # compiles
    start = time.perf_counter()
    for seed in range(seeds):
        all_of(seed, args.epochs)
    return time.perf_counter() - start


def sweep_file(folder, name, gammas, rates, seeds, args):
    """A grid over the frozen backbone, as a user would write it."""
    losses = ["bce" if gamma == 0 else {"kind": "focal", "gamma": gamma} for gamma in gammas]
    toml = lambda value: json.dumps(value) if not isinstance(value, dict) else \
        "{ " + ", ".join(f"{key} = {json.dumps(part)}" for key, part in value.items()) + " }"
    values = lambda all: "[" + ", ".join(map(toml, all)) + "]"
    file = folder / f"{name}.toml"
    file.write_text(f"""
name = "{name}"
data = {{ kind = "letters", samples = 25000, image_size = 32, signal = 0.8, split = {{ train = 0.8, val = 0.1, test = 0.1 }} }}
model = {{ arch = "resnet18", weights = "resnet18.safetensors", freeze = "backbone" }}
train = {{ epochs = {args.epochs}, batch_size = {args.batch}, optimizer = "adam", reference = false }}
workers = {{ per_device = 1 }}
[grid]
loss = {values(losses)}
pos_weight = {values(WEIGHTS)}
"train.learning_rate" = {values(rates)}
seed = {list(range(seeds))}
threshold = {values(THRESHOLDS)}
""")
    return file


def sweep_run(folder, file, round):
    """A whole `sweep run` of `file` into a database of its own: the features are found, the runs are not. A worker's memory is its own.
    What an earlier round left is moved away and not deleted: for a minute ext4 looks twice at what was, whenever a file is made."""
    away = folder / f"before-{round}"
    away.mkdir()
    for old in folder.glob(f"{file.stem}.*"):
        if old.name not in (file.name, f"{file.stem}.cache"):
            old.rename(away / old.name)
    command = [release("sweep"), "run", file, "--quiet", "--format", "json", "--db", folder / f"{file.stem}.db"]
    _, seconds, _, peak = measured(command)
    return {"seconds": seconds, "peak_kib": peak}


def backbone(folder, _args):
    """Random weights, as torchvision draws them; by a process of its own, whose memory its parent's later children would count as theirs."""
    import torch
    from safetensors.torch import save_file
    from torchvision.models import resnet18

    torch.manual_seed(0)
    save_file({name: value.contiguous() for name, value in resnet18().state_dict().items()}, folder / "resnet18.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in dict(n=20_000, d=1024, l=4, epochs=5, batch=256, threads=2, rounds=5).items():
        parser.add_argument("--" + name, type=int, default=value)
    parser.add_argument("--example", type=Path, default=release("examples/heads"))
    parser.add_argument("--peers", default="torch,jax")
    parser.add_argument("--frozen", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        work = {"torch": torch_grid, "jax": jax_grid, "backbone": backbone}[args.one]
        seconds = work(args.folder, args)
        return print(json.dumps({"seconds": seconds, "peak_kib": own_peak_kib()}))
    flags = [word for name in ("n", "d", "l", "epochs", "batch", "threads") for word in ("--" + name, str(getattr(args, name)))]
    gammas, rates, seeds = FROZEN if args.frozen else SMALL
    heads = len(WEIGHTS) * len(gammas) * len(rates) * seeds
    with tempfile.TemporaryDirectory() as folder:
        folder = data = Path(folder)
        if args.frozen:
            measured([sys.executable, __file__, "--one", "backbone", "--folder", folder])
            file = sweep_file(folder, "heads", gammas, rates, seeds, args)
            _, seconds, _, _ = measured([release("sweep"), "run", file, "--quiet", "--format", "json", "--db", folder / "heads.db",
                                         "--set", "train.epochs=1"])
            print(f"features and one epoch of each head, before the clock: {seconds:.0f} s")
            flags, data = [*flags, "--frozen"], folder / "heads.cache"
        env = dict(os.environ, OMP_NUM_THREADS=str(args.threads))
        peer = lambda who: said([sys.executable, __file__, *flags, "--one", who, "--folder", data], env=env)
        rounds = []
        for round in range(args.rounds):
            ours = sweep_run(folder, file, round) if args.frozen else said([args.example, *flags, "--data", folder])
            rounds.append({"sweep": ours, **{who: peer(who) for who in args.peers.split(",")}})
    for who in rounds[0]:
        seconds = [round[who]["seconds"] for round in rounds]
        print(f"{who:6} {statistics.median(seconds):7.2f} s, {spread([1e3 * value / heads for value in seconds])} ms a head, "
              f"{spread(ratios(seconds, [round['sweep']['seconds'] for round in rounds]))} x sweep, "
              f"{max(round[who]['peak_kib'] for round in rounds) / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
