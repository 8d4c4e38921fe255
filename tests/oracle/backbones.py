"""torchvision's, timm's and open_clip's word on the features of frozen backbones: python tests/oracle/backbones.py writes backbones.json beside itself.

The weights are too large to keep: entry i of the tensor NAME is a hash of (NAME, i) on both sides, as in densenet.py. Of each network the
file holds the names and shapes of its state, and the features of two pictures: the first one's all, of the second every fourth. Computed in
float64; how far torch's own float32 is off goes to stderr. `bf16` is how far torch's autocast in bf16 is off, of the largest feature.

`python tests/oracle/backbones.py FOLDER` writes whole weights and results of randomly initialised networks (seed 0, running statistics of a
few steps) as safetensors instead, which crates/train/tests/backbones.rs reads where SWEEP_BACKBONES names that folder.
"""
import json
import pathlib
import sys

import numpy as np
import open_clip
import timm
import torch
import torchvision
from safetensors.torch import save_file

from densenet import draw

# Edge of the pictures, the variance of a layer's weights in inverse inputs, the network. The variance is such that what a network sees of
# its pictures neither dies nor explodes on the way: two pictures shall differ in their features, or the comparison would see nothing,
# and roundings shall not grow, or it would see these alone.
NETS = {
    "resnet18": (64, 2, lambda: torchvision.models.resnet18(num_classes=3)),
    "resnet50": (64, 1.5, lambda: torchvision.models.resnet50(num_classes=3)),
    "convnext_tiny": (64, 1.5, lambda: timm.create_model("convnext_tiny", num_classes=3)),
    "dinov2_vits14": (56, 1.5, lambda: vit("vit_small_patch14_dinov2", 0)),
    "efficientnet_b0": (64, 2, lambda: torchvision.models.efficientnet_b0(num_classes=3)),
    "densenet121": (64, 2, lambda: torchvision.models.densenet121(num_classes=3)),
    "resnet34": (64, 1, lambda: torchvision.models.resnet34(num_classes=3)),
    "resnet101": (64, 1, lambda: torchvision.models.resnet101(num_classes=3)),
    "convnext_small": (64, 1.5, lambda: timm.create_model("convnext_small", num_classes=3)),
    "vit_small_patch16_224": (224, 1.5, lambda: vit("vit_small_patch16_224", 3)),
    "vit_base_patch16_224": (96, 1.5, lambda: vit("vit_base_patch16_224", 3)),
    "dinov2_vitb14": (56, 1.5, lambda: vit("vit_base_patch14_dinov2", 0)),
    "clip_vit_b32_quickgelu": (224, 1.5, lambda: Tower("ViT-B-32-quickgelu")),
    "clip_vit_b32_gelu": (256, 1.5, lambda: vit("vit_base_patch32_clip_224", 512)),
    "efficientnet_b2": (64, 2, lambda: timm.create_model("efficientnet_b2", num_classes=3)),
    "mobilenet_v3_large": (64, 1.5, lambda: torchvision.models.mobilenet_v3_large(num_classes=3)),
    "mobilenetv3_large_100": (64, 1.5, lambda: timm.create_model("mobilenetv3_large_100", num_classes=3)),
}


def vit(name, classes):
    return timm.create_model(name, num_classes=classes, dynamic_img_size=True)


class Tower(torch.nn.Module):
    """open_clip's image tower, with the names that its tensors have in a file of the whole network."""

    def __init__(self, name):
        super().__init__()
        self.visual = open_clip.create_model(name).visual

    def forward(self, x):
        return self.visual(x)


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
    """Those that its last layer reads; of CLIP those before the projection to the space of texts."""
    if isinstance(net, Tower):
        net.visual.proj = None
    if isinstance(getattr(net, "classifier", None), torch.nn.Sequential):
        net.classifier[-1] = torch.nn.Identity()
    for last in ["fc", "classifier", "head"]:
        if isinstance(getattr(net, last, None), torch.nn.Linear):
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
        with torch.autocast("cpu", torch.bfloat16):
            half = features(net, x)
        double = features(net.double(), x.double())
        largest = double.abs().amax(dim=1, keepdim=True)
        off = [float(((one - double).abs() / largest).max()) for one in (single, half)]
        print(f"{name}: largest {largest.flatten().tolist()}, spread {(double[0] - double[1]).norm() / double[0].norm()}, "
              f"torch's float32 is off by {off[0]:.1e} of the largest, its bf16 by {off[1]:.1e}", file=sys.stderr)
        numbers = [float(f"{v:.6g}") for v in [*double[0].tolist(), *double[1, ::4].tolist()]]
        nets[name] = dict(edge=edge, variance=variance, tensors={key: list(t.shape) for key, t in state.items()},
                          bf16=float(f"{off[1]:.2g}"), features=numbers)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(net, separators=(',', ':'))}" for name, net in nets.items())
    (pathlib.Path(__file__).parent / "backbones.json").write_text("{\n" + lines + "\n}\n")


def whole(folder):
    for name, (_, _, make) in NETS.items():
        torch.manual_seed(0)
        net = make()
        if name == "efficientnet_b0":
            # timm's names for the same network.
            net = timm.create_model("efficientnet_b0", num_classes=3)
        edge = 518 if name.startswith("dinov2") else 224
        with torch.no_grad():
            net.train()
            for _ in range(4):
                net(torch.randn(2, 3, edge, edge) if edge == 224 else torch.randn(1, 3, 56, 56))
        save_file({key: t.contiguous() for key, t in net.state_dict().items()}, folder / f"{name}.safetensors")
        x = torch.randn(2, 3, edge, edge)
        save_file({"pictures": x, "features": features(net, x).contiguous()}, folder / f"{name}.results.safetensors")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        whole(pathlib.Path(sys.argv[1]))
    else:
        small()
