"""Seconds of one grid of linear heads: sweep (examples/heads.rs), PyTorch one head after the other, JAX with vmap over the heads.

    cargo build --release --example heads
    python benches/heads_side_by_side.py [--rounds 5] [--n 20000 --d 1024 --l 4 --epochs 5 --batch 256]

The grid: 5 positive weights x {bce, focal 1, 1.5, 2} x 2 seeds, Adam, every head on the same features; after each epoch every head is
evaluated on val under 5 thresholds (confusion counts). sweep does more than its peers: it ranks (AP, AUC), writes scores, models and
checkpoints each epoch and evaluates test. Rounds are interleaved, threads equal; prints medians with their range and the ratios.

Needs: numpy, torch, jax (CPU). The features are those that the example wrote.
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

RATES = ["none", "sqrt", "neg_over_pos", "inverse_share", "power(0.25)"]
GAMMAS = [0.0, 1.0, 1.5, 2.0]
THRESHOLDS = [0.1, 0.3, 0.5, 0.7, 0.9]


def weights(train):
    """The positive weights of the grid, [5, labels]."""
    import numpy as np

    positive = train.sum(0).astype(float)
    odds = (len(train) - positive) / positive
    return np.stack([np.ones_like(odds), odds**0.5, odds, positive.sum() / positive, odds**0.25])


def load(folder):
    """(x, y) of train and of val, as the example wrote them."""
    import numpy as np

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
    f1 = None

    def train(weight, gamma, seed):
        torch.manual_seed(seed)
        head = torch.nn.Linear(args.d, args.l)
        optimizer = torch.optim.Adam(head.parameters(), 1e-3)
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

    train(grid[0], 1.0, 9) if args.warm else None
    start = time.perf_counter()
    for seed in range(2):
        for weight in grid:
            for gamma in GAMMAS:
                train(weight, gamma, seed)
    return time.perf_counter() - start


def jax_grid(folder, args):
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=" + ("true" if args.threads > 1 else "false")
    import jax
    import jax.numpy as jnp
    import numpy as np

    (x, y), (vx, vy) = load(folder)
    grid = weights(y)
    pairs = [(weight, gamma) for weight in grid for gamma in GAMMAS]
    weight = jnp.array([w for w, _ in pairs], dtype=jnp.float32)
    gamma = jnp.array([g for _, g in pairs], dtype=jnp.float32)
    steps = -(-len(x) // args.batch)

    def loss(w, b, xb, yb, mask, weight, gamma):
        z = xb @ w + b
        cost = weight * yb * jax.nn.softplus(-z) + (1 - yb) * jax.nn.softplus(z)
        miss = jnp.where(yb > 0, jax.nn.sigmoid(-z), jax.nn.sigmoid(z))
        return (cost * jnp.where(gamma > 0, miss**gamma, 1.0) * mask[:, None]).sum() / (mask.sum() * z.shape[1])

    def adam(p, m, v, g, t):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        return p - 1e-3 * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v

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

    def all_of(seed, epochs):
        rng = np.random.default_rng(seed)
        w = jnp.asarray(rng.uniform(-1, 1, (args.d, args.l)) / args.d**0.5, dtype=jnp.float32)
        w = jnp.broadcast_to(w, (len(pairs), args.d, args.l))
        b = jnp.zeros((len(pairs), args.l))
        state = (w, b, jnp.zeros_like(w), jnp.zeros_like(b), jnp.zeros_like(w), jnp.zeros_like(b), 0)
        for _ in range(epochs):
            order = np.zeros(steps * args.batch, dtype=np.int32)
            order[: len(x)] = rng.permutation(len(x))
            mask = (np.arange(len(order)) < len(x)).astype(np.float32)
            state = epoch(state, x, y, order.reshape(steps, -1), mask.reshape(steps, -1))
            evaluate(state[0], state[1], vx, vy).block_until_ready()

    all_of(9, 1)  # compiles
    start = time.perf_counter()
    for seed in range(2):
        all_of(seed, args.epochs)
    return time.perf_counter() - start


def peak():
    """KiB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in dict(n=20_000, d=1024, l=4, epochs=5, batch=256, threads=2, rounds=5).items():
        parser.add_argument("--" + name, type=int, default=value)
    parser.add_argument("--example", default="target/release/examples/heads")
    parser.add_argument("--peers", default="torch,jax")
    parser.add_argument("--warm", action="store_true")
    parser.add_argument("--one")
    parser.add_argument("--folder")
    args = parser.parse_args()
    if args.one:
        seconds = {"torch": torch_grid, "jax": jax_grid}[args.one](Path(args.folder), args)
        print(json.dumps({"seconds": seconds, "peak_kib": peak()}))
        return
    flags = [word for name in ("n", "d", "l", "epochs", "batch", "threads") for word in ("--" + name, str(getattr(args, name)))]
    with tempfile.TemporaryDirectory() as folder:
        commands = {"sweep": [args.example, *flags, "--data", folder]}
        for peer in args.peers.split(","):
            commands[peer] = [sys.executable, __file__, *flags, "--warm", "--one", peer, "--folder", folder]
        env = dict(os.environ, OMP_NUM_THREADS=str(args.threads))
        seconds, peaks = {name: [] for name in commands}, {}
        for _ in range(args.rounds):
            for name, command in commands.items():
                said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout.splitlines()[-1])
                seconds[name].append(said["seconds"])
                peaks[name] = said["peak_kib"]
    heads = 40
    ours = statistics.median(seconds["sweep"])
    for name, values in seconds.items():
        per_head = [value / heads * 1e3 for value in values]
        ratios = sorted(value / own for value, own in zip(values, seconds["sweep"]))
        print(
            f"{name:6} {statistics.median(per_head):8.1f} ms a head ({min(per_head):.1f} to {max(per_head):.1f}), "
            f"{statistics.median(values) / ours:5.1f} x sweep ({ratios[0]:.1f} to {ratios[-1]:.1f}), {peaks[name] / 1024:.0f} MiB"
        )


if __name__ == "__main__":
    main()
