"""A DenseNet-121 training step in sweep beside PyTorch, interleaved: python benches/densenet_side_by_side.py [--case 64x16 ...].

Build first: cargo build --release --example densenet_step. Each round runs sweep once and PyTorch once in each memory format, every
time in a fresh process with the same number of threads: torchvision's densenet121, BCE with logits, Adam, f32. The table shows the
median over rounds of each process's median step, the spread, the ratio to sweep (above 1: sweep is faster) and the peak memory.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
WHO = ("sweep", "channels-last", "nchw")


def peer(form, size, batch, steps, warmup, threads):
    """One process of PyTorch: the same JSON as sweep's."""
    import resource

    import torch
    from torchvision.models import densenet121

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    memory = torch.channels_last if form == "channels-last" else torch.contiguous_format
    model = densenet121(num_classes=4).to(memory_format=memory).train()
    optimizer, criterion = torch.optim.Adam(model.parameters(), lr=1e-4), torch.nn.BCEWithLogitsLoss()
    inputs = torch.randn(batch, 3, size, size).to(memory_format=memory)
    targets = (torch.rand(batch, 4) < .3).float()
    seconds = []
    for step in range(warmup + steps):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
        loss.item()
        if step >= warmup:
            seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"median_step_s": statistics.median(seconds), "peak_memory_bytes": peak, "torch": torch.__version__}))


def run(who, size, batch, options):
    numbers = {"size": size, "batch": batch, "steps": options.steps, "warmup": options.warmup, "threads": options.threads}
    if who == "sweep":
        command = [str(options.binary)] + [str(part) for name, value in numbers.items() for part in (f"--{name}", value)]
    else:
        command = [sys.executable, __file__, "--peer", who, json.dumps(numbers)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", default=["64x16", "224x8"], help="SIZExBATCH")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--binary", type=pathlib.Path, default=TARGET / "release" / "examples" / "densenet_step")
    parser.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        return peer(options.peer[0], **json.loads(options.peer[1]))
    for case in options.case:
        size, batch = map(int, case.split("x"))
        rounds = [{who: run(who, size, batch, options) for who in WHO} for _ in range(options.rounds)]
        torch = rounds[0]["nchw"]["torch"]
        print(f"{size} x {size}, batch {batch}, {options.threads} threads, f32: {options.rounds} rounds of {options.steps} steps; "
              f"torch {torch}, Python {platform.python_version()}, {os.cpu_count()} cores")
        for who in WHO:
            steps = [round[who]["median_step_s"] for round in rounds]
            ratios = [round[who]["median_step_s"] / round["sweep"]["median_step_s"] for round in rounds]
            peak = max(round[who]["peak_memory_bytes"] for round in rounds) / 2**30
            median = statistics.median(steps)
            print(f"  {who:14} {median * 1e3:7.0f} ms ({min(steps) * 1e3:.0f} to {max(steps) * 1e3:.0f}), {batch / median:6.1f} images/s, "
                  f"{statistics.median(ratios):.2f}x sweep's time ({min(ratios):.2f} to {max(ratios):.2f}), {peak:.2f} GiB")


if __name__ == "__main__":
    main()
