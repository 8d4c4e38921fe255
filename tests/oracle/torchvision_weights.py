"""Our DenseNet-121 against a randomly initialised one of torchvision, from its own safetensors: python tests/oracle/torchvision_weights.py [size batch seed]

Run by hand in the repository (it needs cargo, and 200 MB below the temporary folder): writes the weights and torch's results and runs the test
in crates/train/tests/densenet.rs that reads them, once against torch's float32 and once against its float64.

Among millions of values some are so near the rectifier's corner that rounding decides on which side they are, and with it a piece of
the gradient. The script counts them for the seed (default 0): inputs of a rectifier, in float64, smaller than 1e-6 of their map's root
mean square. What such a flip does to each parameter it learns from torch alone: float32 against float64, and float64 against itself
with weights and inputs moved by about 1e-7 of themselves, eight times. Verdict: PASS; PASS except N parameters downstream of a flipped rectifier (there are such inputs,
and torch's own rounding shifts each of these parameters at least a tenth as far); or FAIL.
"""
import os
import re
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import save_file
from torchvision.models import densenet121

size, batch = (int(word) for word in sys.argv[1:3]) if len(sys.argv) > 2 else (64, 2)
seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
MOVES = 8


def step(state, x, y, dtype, near=None):
    """Logits, loss, gradients and statistics of one training step. `near` collects how many inputs of each rectifier are at its corner."""
    model = densenet121(num_classes=4)
    model.load_state_dict(state)
    model = model.to(dtype)
    x, y = x.to(dtype), y.to(dtype)
    model.eval()
    with torch.no_grad():
        logits = model(x)
    model.train()
    hooks = []
    if near is not None:
        count = lambda _, args: near.append((args[0].abs() < 1e-6 * args[0].square().mean().sqrt()).sum().item())
        hooks = [m.register_forward_pre_hook(count) for m in model.modules() if isinstance(m, torch.nn.ReLU)]
        # The last rectifier is a function behind the features.
        hooks.append(model.features.register_forward_hook(lambda _, args, out: count(None, [out])))
    train_logits = model(x)
    for hook in hooks:
        hook.remove()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(train_logits, y)
    loss.backward()
    after = {f"after {name}": p.grad for name, p in model.named_parameters()}
    after |= {f"after {name}": b for name, b in model.named_buffers() if not name.endswith("num_batches_tracked")}
    results = dict(logits=logits, train_logits=train_logits, loss=loss.reshape(1), **after)
    return {name: t.detach().double().contiguous() for name, t in results.items()}


def apart(other, double):
    """How far a result is from float64's, relative to the norm of each tensor (of a norm's weight: at least of its bias, see crates/train/tests/densenet.rs)."""
    off = {}
    for name, t in double.items():
        if name.startswith("after"):
            twin = double[name[:-6] + "bias"] if "norm" in name and name.endswith("weight") else t
            off[name[6:]] = ((other[name] - t).norm() / max(t.norm(), twin.norm())).item()
    return off


def moved(tensor):
    return (tensor.double() * (1 + 1e-7 * torch.randn(tensor.shape, dtype=torch.float64))) if tensor.is_floating_point() else tensor


def verdict(lines, near, shift):
    """What a run of our test, compared with torch's float64, comes to."""
    if not any("test result: FAILED" in line for line in lines):
        return "PASS" if any("test result: ok. 1 passed" in line for line in lines) else "FAIL: the test did not run"
    far = {found[1]: float(found[2]) for line in lines if (found := re.match(r"too far: (\S+) (\S+)", line.strip()))}
    unexplained = [f"{name} ({error:.1e}, moves {shift[name]:.1e})" for name, error in far.items() if shift[name] < error / 10]
    if not far or not near or unexplained:
        return "FAIL: " + (", ".join(unexplained) or "not for a rectifier's sake")
    return f"PASS except {len(far)} parameters downstream of a flipped rectifier"


torch.manual_seed(seed)
state = densenet121(num_classes=4).state_dict()
x, y = torch.randn(batch, 3, size, size), (torch.rand(batch, 4) < 0.3).to(torch.uint8)
near = []
results = {torch.float32: step(state, x, y, torch.float32), torch.float64: step(state, x, y, torch.float64, near)}
double = results[torch.float64]
shifts = [apart(results[torch.float32], double)]
for _ in range(MOVES):
    shifts.append(apart(step({name: moved(t) for name, t in state.items()}, moved(x), y, torch.float64), double))
shift = {name: max(one[name] for one in shifts) for name in shifts[0]}
for what, off in (("torch's float32", shifts[0]), (f"float64 moved by 1e-7, {MOVES} times", shift)):
    ranked = sorted((error, name) for name, error in off.items())
    print(f"{size}x{size}, batch {batch}, seed {seed}: {what}: {ranked[len(ranked) // 2][0]:.1e} from float64 in the median, "
          f"{ranked[-1][0]:.1e} ({ranked[-1][1]}) at worst")
print(f"{sum(near)} inputs at the corner of {sum(count > 0 for count in near)} rectifiers")
for dtype, result in results.items():
    with tempfile.TemporaryDirectory() as folder:
        save_file(state, f"{folder}/weights.safetensors")
        save_file(densenet121().state_dict(), f"{folder}/weights-1000.safetensors")
        save_file(dict(result, input=x, targets=y), f"{folder}/results.safetensors")
        done = subprocess.run(
            ["cargo", "test", "--quiet", "--test", "densenet", "a_model_of_torchvision", "--", "--nocapture"],
            env=dict(os.environ, SWEEP_TORCHVISION=folder, RUST_BACKTRACE="0"), capture_output=True, text=True)
        words = ("logits", "gradients", "panicked", "test result", "error", "too far")
        lines = [line for line in (done.stdout + done.stderr).splitlines() if any(word in line for word in words)]
        print(f"ours against torch {str(dtype)[6:]}:", *lines, sep="\n  ")
        print(f"  {verdict(lines, sum(near), shift)}")
