"""A DenseNet-121 training step in sweep beside PyTorch, interleaved: python benches/densenet_side_by_side.py [--case 64x16 ...].

Build first: cargo build --release --example densenet_step. Each round runs sweep once and PyTorch once in each form, every time in a
fresh process with the same number of threads: torchvision's densenet121, BCE with logits, Adam. The table shows the median over rounds
of each process's median step, the spread, the ratio to sweep (above 1: sweep is faster) and the peak memory.

On the CPU all is f32, in both memory formats. With --device cuda:0 (build with -p sweep-train --features cudnn) sweep runs in bf16 and in f32, and
PyTorch channels-last: eager and compiled under autocast to bf16, and eager in f32 without TF32; memory is then the device's: PyTorch's
peak of allocations, and beside sweep all that the device has given away after the last step.
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
ON_CUDA = ("sweep", "sweep-f32", "eager-bf16", "compiled-bf16", "eager-f32")


def peer(form, size, batch, steps, warmup, threads, device):
    """One process of PyTorch: the same JSON as sweep's."""
    import resource

    import torch
    from torchvision.models import densenet121

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    cuda = device != "cpu"
    memory = torch.contiguous_format if form == "nchw" else torch.channels_last
    model = densenet121(num_classes=4).to(device, memory_format=memory).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=cuda)
    criterion = torch.nn.BCEWithLogitsLoss()
    inputs = torch.randn(batch, 3, size, size).to(device, memory_format=memory)
    targets = (torch.rand(batch, 4) < .3).float().to(device)
    if cuda:
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = False
    forward = torch.compile(model) if form.startswith("compiled") else model
    seconds = []
    for step in range(warmup + steps):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16, enabled=form.endswith("bf16")):
            loss = criterion(forward(inputs), targets)
        loss.backward()
        optimizer.step()
        loss.item()
        if cuda:
            torch.cuda.synchronize()
        if step >= warmup:
            seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    name = torch.cuda.get_device_name() if cuda else platform.processor()
    print(json.dumps({"median_step_s": statistics.median(seconds), "peak_memory_bytes": peak, "torch": torch.__version__, "device_name": name}))


def run(who, size, batch, options):
    numbers = {"size": size, "batch": batch, "steps": options.steps, "warmup": options.warmup, "threads": options.threads, "device": options.device}
    if who.startswith("sweep"):
        numbers["precision"] = "bf16" if options.device != "cpu" and who == "sweep" else "f32"
        command = [str(options.binary)] + [str(part) for name, value in numbers.items() for part in (f"--{name}", value)]
    else:
        command = [sys.executable, __file__, "--peer", who, json.dumps(numbers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{who}: {' '.join(command)}\n{done.stderr[-4000:]}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", help="SIZExBATCH; 64x16 and 224x8, on CUDA 224x64 and 224x256")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:N")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="timed steps of a process: 5, on CUDA 20")
    parser.add_argument("--warmup", type=int, help="steps before them: 2, on CUDA 10")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--binary", type=pathlib.Path, default=TARGET / "release" / "examples" / "densenet_step")
    parser.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        return peer(options.peer[0], **json.loads(options.peer[1]))
    options.steps = options.steps or (5 if options.device == "cpu" else 20)
    options.warmup = options.warmup or (2 if options.device == "cpu" else 10)
    everybody, cases = (WHO, ["64x16", "224x8"]) if options.device == "cpu" else (ON_CUDA, ["224x64", "224x256"])
    for case in options.case or cases:
        size, batch = map(int, case.split("x"))
        rounds = [{who: run(who, size, batch, options) for who in everybody} for _ in range(options.rounds)]
        theirs = rounds[0][everybody[-1]]
        where = f"{options.threads} threads, f32" if options.device == "cpu" else theirs["device_name"]
        print(f"{size} x {size}, batch {batch}, {where}: {options.rounds} rounds of {options.steps} steps; "
              f"torch {theirs['torch']}, Python {platform.python_version()}, {os.cpu_count()} cores")
        for who in everybody:
            steps = [round[who]["median_step_s"] for round in rounds]
            ratios = [round[who]["median_step_s"] / round["sweep"]["median_step_s"] for round in rounds]
            peak = max(round[who]["peak_memory_bytes"] for round in rounds) / 2**30
            median = statistics.median(steps)
            print(f"  {who:14} {median * 1e3:7.1f} ms ({min(steps) * 1e3:.1f} to {max(steps) * 1e3:.1f}), {batch / median:6.1f} images/s, "
                  f"{statistics.median(ratios):.2f}x sweep's time ({min(ratios):.2f} to {max(ratios):.2f}), {peak:.2f} GiB")


if __name__ == "__main__":
    main()
