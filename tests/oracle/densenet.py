"""torchvision's word on DenseNet-121: python tests/oracle/densenet.py writes densenet.json beside itself.

The weights are too large to keep, so both sides compute them: entry i of the tensor NAME is a hash of (NAME, i), see `draw`. One training step on a
batch of four 64x64 pictures with binary cross-entropy, in float64 (and in float32, to see how far torch itself is off). Of every parameter's gradient, and of
every running statistic after the step, the file holds the norm, the product with a fixed random direction (an error of any entry
shows there) and four entries. The measured errors go to stderr.
"""
import json
import pathlib
import sys

import numpy as np
import torch
from torchvision.models import densenet121

MASK = 2**64 - 1


def draw(name, count):
    """Numbers in [-1, 1) with 24 bits: splitmix64 (Steele et al. 2014) of FNV-1a of the name, plus the index."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 & MASK
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        z = z ^ z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1


def value(name, shape):
    """What a tensor of the model starts as, float32."""
    u = draw(name, int(np.prod(shape)))
    if "conv" in name:
        u = u * np.sqrt(6 / np.prod(shape[1:]))
    elif name == "classifier.weight":
        u = u / 32
    elif name.endswith("running_var"):
        u = 1 + u / 2
    elif name.endswith("weight"):
        u = 1 + u / 4
    elif "norm" in name and name.endswith("bias"):
        # Most channels are far from the rectifier's corner: of millions of values around 0 some would get the other sign from float32's
        # rounding alone, and a gradient with it.
        u = u / 4 + np.where(u > 0, 2.5, -2.5)
    else:
        u = u / 4
    return torch.from_numpy(u.reshape(shape).astype(np.float32))


def step(dtype):
    model = densenet121(num_classes=4)
    state = model.state_dict()
    for name, tensor in state.items():
        if not name.endswith("num_batches_tracked"):
            state[name] = value(name, tuple(tensor.shape))
    model.load_state_dict(state)
    model = model.to(dtype)
    x = (2 * torch.from_numpy(draw("input", 4 * 3 * 64 * 64).astype(np.float32)).reshape(4, 3, 64, 64)).to(dtype)
    y = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0], [1, 1, 0, 0]], dtype=dtype)
    model.eval()
    with torch.no_grad():
        logits = model(x)
    model.train()
    train_logits = model(x)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(train_logits, y)
    loss.backward()
    tensors = {name: p.grad for name, p in model.named_parameters()}
    tensors |= {name: b for name, b in model.named_buffers() if not name.endswith("num_batches_tracked")}
    return logits, train_logits.detach(), loss.item(), {name: t.detach().double().flatten().numpy() for name, t in tensors.items()}


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True)
    logits, train_logits, loss, tensors = step(torch.float64)
    single = step(torch.float32)
    worst = max((np.linalg.norm(single[3][name] - t) / np.linalg.norm(t), name) for name, t in tensors.items())
    print(f"torch's float32: eval logits off by {(single[0] - logits).abs().max():.1e} of {logits.abs().max():.2f}, train logits by "
          f"{(single[1] - train_logits).abs().max():.1e} of {train_logits.abs().max():.2f}, gradients by {worst[0]:.1e} ({worst[1]})", file=sys.stderr)
    rows = {}
    for name, t in tensors.items():
        at = [i * (len(t) - 1) // 3 for i in range(4)]
        rows[name] = [float(f"{v:.9g}") for v in [np.linalg.norm(t), t @ draw(f"direction {name}", len(t)) * np.sqrt(3), *t[at]]]
    head = dict(logits=logits.flatten().tolist(), train_logits=train_logits.flatten().tolist(), loss=loss)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
    text = json.dumps(head)[:-1] + ', "tensors": {\n' + lines + "\n}}\n"
    (pathlib.Path(__file__).parent / "densenet.json").write_text(text)
