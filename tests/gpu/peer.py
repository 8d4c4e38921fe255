"""The same work by PyTorch, JSON lines: peer.py steps|heads|backbone|hog [options]. `rehearse` calls it.

steps     training steps of DenseNet-121: autocast bf16 on channels-last maps, eager and compiled, and f32 without TF32
heads     linear heads side by side, all in one tensor, on the features that examples/heads has written
backbone  a safetensors file of a ResNet-18 with random weights
hog       holds all but 5 GiB of the device's memory until it is killed
"""

import argparse
import json
import struct
import statistics
import time
from pathlib import Path

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("what", choices=["steps", "heads", "backbone", "hog"])
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--warm", action="store_true", help="fill the compiler's cache, no numbers")
parser.add_argument("--heads", type=int, default=40)
parser.add_argument("--data", type=Path)
parser.add_argument("--small", action="store_true", help="a dry run on the CPU")
options = parser.parse_args()

DEVICE = "cpu" if options.small else "cuda"
SIZE, STEPS = (32, 1) if options.small else (224, 20 if options.batch <= 64 else 10)
torch.backends.cudnn.benchmark = True
torch.backends.cudnn.allow_tf32 = False
torch.backends.cuda.matmul.allow_tf32 = False


def wait():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def told(**values):
    print(json.dumps(values), flush=True)


class Layer(nn.Module):
    """norm - relu - 1x1 - norm - relu - 3x3 of all that came before."""

    def __init__(self, inputs, growth=32):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, maps):
        return self.conv2(torch.relu(self.norm2(self.conv1(torch.relu(self.norm1(torch.cat(maps, 1)))))))


class Block(nn.Module):
    def __init__(self, inputs, count):
        super().__init__()
        self.layers = nn.ModuleList(Layer(inputs + 32 * at) for at in range(count))

    def forward(self, x):
        maps = [x]
        for layer in self.layers:
            maps.append(layer(maps))
        return torch.cat(maps, 1)


def densenet(labels=4):
    """DenseNet-121 (Huang et al. 2017)."""
    parts = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for count in (6, 12, 24, 16):
        parts.append(Block(channels, count))
        channels += 32 * count
        parts += [nn.BatchNorm2d(channels), nn.ReLU()]
        if count != 16:
            parts += [nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2)]
            channels //= 2
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, labels))


def course(bf16, compiled):
    """A function that makes one training step."""
    torch.manual_seed(0)
    model = densenet().to(DEVICE, memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=DEVICE == "cuda")
    inputs = torch.randn(options.batch, 3, SIZE, SIZE).to(DEVICE, memory_format=torch.channels_last)
    targets = (torch.rand(options.batch, 4) < 0.3).float().to(DEVICE)
    forward = torch.compile(model, dynamic=False) if compiled else model

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=bf16, cache_enabled=False):
            loss = nn.functional.binary_cross_entropy_with_logits(forward(inputs), targets)
        loss.backward()
        optimizer.step()

    return step


def timed(step, steps):
    """Seconds a step: of a course with one wait at its end, and until the last step was asked for; the medians of three."""
    for _ in range(max(1, steps // 2)):
        step()
    wait()
    courses, asked = [], []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(steps):
            step()
        asked.append((time.perf_counter() - start) / steps)
        wait()
        courses.append((time.perf_counter() - start) / steps)
    return statistics.median(courses), statistics.median(asked)


def steps():
    forms = [("bf16", True, False, STEPS), ("f32", False, False, max(1, STEPS // 4)), ("bf16 compiled", True, True, STEPS)]
    if options.small:
        forms = forms[:2]
    if options.warm:
        step = course(True, True)
        step(), step(), wait()
        return
    for form, bf16, compiled, count in forms:
        try:
            if DEVICE == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            seconds, asked = timed(course(bf16, compiled), count)
            peak = torch.cuda.max_memory_allocated() if DEVICE == "cuda" else 0
            told(form=form, batch=options.batch, median_course_step_s=seconds, median_enqueued_step_s=asked, peak_bytes=peak, device=DEVICE)
        except Exception as error:  # the other forms have their turn
            told(form=form, batch=options.batch, error=repr(error)[:300])


def heads():
    """The grid of examples/heads: 5 positive weights x 4 focal exponents x seeds and learning rates, Adam, F1 under 5 thresholds an epoch."""
    import numpy as np

    rows = [line.split(",") for line in (options.data / "labels.csv").read_text().splitlines()[1:]]
    x, y = np.load(options.data / "features.npy"), np.array([row[1:-1] for row in rows], dtype=np.float32)
    part = np.array([row[-1] for row in rows])
    (x, vx), (y, vy) = [[torch.from_numpy(all[part == name]).to(DEVICE) for name in ("train", "val")] for all in (x, y)]
    positive, n = y.sum(0), len(y)
    odds = (n - positive) / positive
    weights = torch.stack([torch.ones_like(odds), odds**0.5, odds, positive.sum() / positive, odds**0.25])
    alone, d, l = options.heads // 20, x.shape[1], y.shape[1]
    weight = weights.repeat_interleave(options.heads // 5, 0)[:, :, None]
    gamma = torch.tensor([0.0, 1.0, 1.5, 2.0], device=DEVICE).repeat_interleave(alone).repeat(5)[:, None, None]
    rate = (1e-3 * 0.9 ** torch.arange(alone, device=DEVICE)).repeat(20)[:, None]
    epochs, batch = (1, 256) if options.small else (5, 256)
    thresholds = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], device=DEVICE)[:, None, None, None]

    def train(epochs):
        w, b = [(0.01 * torch.randn(options.heads, l, size, device=DEVICE)).requires_grad_() for size in (d, 1)]
        memory, at = [torch.zeros_like(p) for p in (w, w, b, b)], 0
        for _ in range(epochs):
            for chosen in torch.randperm(n, device=DEVICE).split(batch):
                at += 1
                z, t = torch.matmul(w.view(-1, d), x[chosen].t()).view(options.heads, l, -1) + b, y[chosen].t()
                cost = nn.functional.binary_cross_entropy_with_logits(z, t.expand_as(z), pos_weight=weight, reduction="none")
                p = torch.sigmoid(z)
                loss = (cost * (1 - torch.where(t > 0, p, 1 - p)).clamp_min(1e-12) ** gamma).mean((1, 2)).sum()
                gradients = torch.autograd.grad(loss, [w, b])
                with torch.no_grad():
                    for parameter, g, m, v in zip((w, b), gradients, memory[::2], memory[1::2]):
                        m.lerp_(g, 0.1), v.mul_(0.999).addcmul_(g, g, value=0.001)
                        parameter -= rate[..., None] * (m / (1 - 0.9**at)) / ((v / (1 - 0.999**at)).sqrt() + 1e-8)
            with torch.no_grad():
                said = torch.sigmoid(torch.matmul(w.view(-1, d), vx.t()).view(options.heads, l, -1) + b) >= thresholds
                hits = (said & (vy.t() > 0)).sum(3)
                _ = (2 * hits / (said.sum(3) + vy.sum(0))).cpu()

    train(1)
    wait()
    start = time.perf_counter()
    train(epochs)
    wait()
    told(runs=options.heads, seconds=time.perf_counter() - start, form="all in one tensor, no checkpoints", device=DEVICE)


def backbone():
    """torchvision's names and shapes; He's initialisation."""
    torch.manual_seed(0)
    shapes = {"conv1.weight": (64, 3, 7, 7)}
    norms, inputs = {"bn1": 64}, 64
    for stage, outputs in enumerate((64, 128, 256, 512), 1):
        for at in range(2):
            name = f"layer{stage}.{at}"
            shapes |= {f"{name}.conv1.weight": (outputs, inputs, 3, 3), f"{name}.conv2.weight": (outputs, outputs, 3, 3)}
            norms |= {f"{name}.bn1": outputs, f"{name}.bn2": outputs}
            if inputs != outputs:
                shapes[f"{name}.downsample.0.weight"] = (outputs, inputs, 1, 1)
                norms[f"{name}.downsample.1"] = outputs
            inputs = outputs
    tensors = {name: torch.randn(shape) * (2 / (shape[0] * shape[2] * shape[3])) ** 0.5 for name, shape in shapes.items()}
    for name, size in norms.items():
        tensors |= {f"{name}.{part}": torch.full((size,), value) for part, value in
                    (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0))}
    tensors |= {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    header, place = {}, 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [place, place + 4 * tensor.numel()]}
        place += 4 * tensor.numel()
    head = json.dumps(header).encode()
    with open(options.data / "resnet18.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        for tensor in tensors.values():
            file.write(tensor.contiguous().numpy().tobytes())


def hog():
    held = []
    for piece in (8 << 30, 1 << 30, 256 << 20):
        while torch.cuda.mem_get_info()[0] - piece > 5 << 30:
            held.append(torch.empty(piece, dtype=torch.uint8, device="cuda"))
    print(f"held {sum(part.numel() for part in held) >> 20} MiB, {torch.cuda.mem_get_info()[0] >> 20} MiB are free", flush=True)
    time.sleep(120)


{"steps": steps, "heads": heads, "backbone": backbone, "hog": hog}[options.what]()
