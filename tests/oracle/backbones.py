"""torchvision's and timm's word on the features of frozen backbones: python tests/oracle/backbones.py writes backbones.json beside itself.

The weights are too large to keep: entry i of the tensor NAME is a hash of (NAME, i) on both sides, as in densenet.py. Of each network the
file holds the names and shapes of its state, and the features of two pictures: the first one's all, of the second every fourth. Computed in
float64; how far torch's own float32 is off goes to stderr.

`python tests/oracle/backbones.py FOLDER` writes whole weights and results of randomly initialised networks (seed 0, running statistics of a
few steps) as safetensors instead, which crates/train/tests/backbones.rs reads where SWEEP_BACKBONES names that folder.
"""
import json
import pathlib
import sys

import numpy as np
import timm
import torch
import torchvision
from safetensors.torch import save_file

from densenet import draw

# Edge of the pictures, the variance of a layer's weights in inverse inputs, the network. The variance is such that what a network sees of
# its pictures neither dies nor explodes on the way: two pictures shall differ in their features, or the comparison would see nothing.
NETS = {
    "resnet18": (64, 2, lambda: torchvision.models.resnet18(num_classes=3)),
    "resnet50": (64, 1.5, lambda: torchvision.models.resnet50(num_classes=3)),
    "convnext_tiny": (64, 1.5, lambda: timm.create_model("convnext_tiny", num_classes=3)),
    "dinov2_vits14": (56, 1.5, lambda: timm.create_model("vit_small_patch14_dinov2", num_classes=0, dynamic_img_size=True)),
    "efficientnet_b0": (64, 4, lambda: torchvision.models.efficientnet_b0(num_classes=3)),
    "densenet121": (64, 2, lambda: torchvision.models.densenet121(num_classes=3)),
}


def value(name, shape, variance):
    """What a tensor of a model starts as, float32. Large enough everywhere that nothing can be left out unseen."""
    u = draw(name, int(np.prod(shape)))
    if len(shape) >= 2 and name not in ("cls_token", "pos_embed"):
        u = u * np.sqrt(3 * variance / np.prod(shape[1:]))
    elif name.endswith("running_var"):
        u = 1 + u / 2
    elif name.endswith(("weight", "gamma")):
        u = 1 + u / 4
    else:
        u = u / 4
    return torch.from_numpy(u.reshape(shape).astype(np.float32))


def features(net, x):
    for last in ["fc", "classifier"]:
        if hasattr(net, last):
            setattr(net, last, torch.nn.Identity())
    if hasattr(net, "head") and hasattr(net.head, "fc"):
        net.head.fc = torch.nn.Identity()
    with torch.no_grad():
        return net.eval()(x)


def pictures(edge, count=2):
    return 2 * torch.from_numpy(draw("pictures", count * 3 * edge * edge)).reshape(count, 3, edge, edge)


def small():
    nets = {}
    for name, (edge, variance, make) in NETS.items():
        net = make()
        state = {key: t for key, t in net.state_dict().items() if not key.endswith("num_batches_tracked")}
        net.load_state_dict({key: value(key, tuple(t.shape), variance) for key, t in state.items()}, strict=False)
        x = pictures(edge).float()
        single = features(net, x)
        double = features(net.double(), x.double())
        scale = double.norm(dim=1, keepdim=True)
        print(f"{name}: norm {scale.flatten().tolist()}, spread {(double[0] - double[1]).norm() / scale[0]}, "
              f"torch's float32 is off by {((single - double).norm(dim=1, keepdim=True) / scale).max():.1e}", file=sys.stderr)
        numbers = [float(f"{v:.6g}") for v in [*double[0].tolist(), *double[1, ::4].tolist()]]
        nets[name] = dict(edge=edge, variance=variance, tensors={key: list(t.shape) for key, t in state.items()}, features=numbers)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(net, separators=(',', ':'))}" for name, net in nets.items())
    (pathlib.Path(__file__).parent / "backbones.json").write_text("{\n" + lines + "\n}\n")


def whole(folder):
    for name, (_, _, make) in NETS.items():
        torch.manual_seed(0)
        net = make()
        if name == "efficientnet_b0":
            # timm's names for the same network.
            net = timm.create_model("efficientnet_b0", num_classes=3)
        edge = 224 if name != "dinov2_vits14" else 518
        with torch.no_grad():
            net.train()
            for _ in range(4):
                net(torch.randn(2, 3, edge, edge) if name != "dinov2_vits14" else torch.randn(1, 3, 56, 56))
        save_file({key: t.contiguous() for key, t in net.state_dict().items()}, folder / f"{name}.safetensors")
        x = torch.randn(2, 3, edge, edge)
        save_file({"pictures": x, "features": features(net, x).contiguous()}, folder / f"{name}.results.safetensors")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        whole(pathlib.Path(sys.argv[1]))
    else:
        small()
