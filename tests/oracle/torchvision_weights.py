"""Our DenseNet-121 against a randomly initialised one of torchvision, from its own safetensors: python tests/oracle/torchvision_weights.py [size batch seed]

Run by hand in the repository (it needs cargo, and 200 MB below the temporary folder): writes the weights and torch's results and runs the test
in tests/densenet.rs that reads them, once against torch's float32 and once against its float64.

Among millions of values some are so near the rectifier's corner that rounding decides on which side they are, and with it a piece of
the gradient. Without a seed, the first one is taken for which torch's own float32 and float64 agree; with one, the script tells how far they are apart.
"""
import os
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import save_file
from torchvision.models import densenet121

size, batch = (int(word) for word in sys.argv[1:3]) if len(sys.argv) > 2 else (64, 2)
seeds = [int(sys.argv[3])] if len(sys.argv) > 3 else range(100)


def step(state, x, y, dtype):
    model = densenet121(num_classes=4)
    model.load_state_dict(state)
    model = model.to(dtype)
    x, y = x.to(dtype), y.to(dtype)
    model.eval()
    with torch.no_grad():
        logits = model(x)
    model.train()
    train_logits = model(x)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(train_logits, y)
    loss.backward()
    after = {f"after {name}": p.grad for name, p in model.named_parameters()}
    after |= {f"after {name}": b for name, b in model.named_buffers() if not name.endswith("num_batches_tracked")}
    results = dict(logits=logits, train_logits=train_logits, loss=loss.reshape(1), **after)
    return {name: t.detach().double().contiguous() for name, t in results.items()}


def apart(single, double):
    """How far float32 is from float64, relative to the norm of each tensor (of a norm's weight: at least of its bias, see tests/densenet.rs)."""
    off = []
    for name, t in double.items():
        if name.startswith("after"):
            twin = double[name[:-6] + "bias"] if "norm" in name and name.endswith("weight") else t
            off.append((((single[name] - t).norm() / max(t.norm(), twin.norm())).item(), name[6:]))
    return sorted(off)


for seed in seeds:
    torch.manual_seed(seed)
    state = densenet121(num_classes=4).state_dict()
    x, y = torch.randn(batch, 3, size, size), (torch.rand(batch, 4) < 0.3).to(torch.uint8)
    results = {dtype: step(state, x, y, dtype) for dtype in (torch.float32, torch.float64)}
    off = apart(*results.values())
    print(f"{size}x{size}, batch {batch}, seed {seed}: torch's float32 and float64 are {off[len(off) // 2][0]:.1e} apart in the median, "
          f"{off[-1][0]:.1e} ({off[-1][1]}) at worst")
    if off[-1][0] < 1e-4:
        break
for dtype, result in results.items():
    with tempfile.TemporaryDirectory() as folder:
        save_file(state, f"{folder}/weights.safetensors")
        save_file(densenet121().state_dict(), f"{folder}/weights-1000.safetensors")
        save_file(dict(result, input=x, targets=y), f"{folder}/results.safetensors")
        done = subprocess.run(
            ["cargo", "test", "--quiet", "--test", "densenet", "a_model_of_torchvision", "--", "--nocapture"],
            env=dict(os.environ, SWEEP_TORCHVISION=folder, RUST_BACKTRACE="0"), capture_output=True, text=True)
        words = ("logits", "gradients", "panicked", "test result", "error")
        lines = [line for line in (done.stdout + done.stderr).splitlines() if any(word in line for word in words)]
        print(f"ours against torch {str(dtype)[6:]}:", *lines, sep="\n  ")
