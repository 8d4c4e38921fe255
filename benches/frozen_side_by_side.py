"""Features of frozen backbones in sweep beside PyTorch, interleaved: python benches/frozen_side_by_side.py [--networks resnet50 ...].

Build first: cargo build --release --example frozen_features. Each round runs sweep in f32 and in bf16 and PyTorch (torchvision's or timm's
network, channels-last, inference mode) in f32, under autocast to bf16 and wholly in bf16, every time in a fresh process with the same number
of threads, from the same pixels and the same weights of a file, in the same batches. The table shows the median over rounds of each process's
median, the spread, the ratio to PyTorch in the same precision (of its two bf16 forms the faster one), the peak memory, and how far the
features are from PyTorch's in f32, in parts of the largest feature. Decoding is not in it: benches/data_side_by_side.py.

--compile adds PyTorch in f32 by torch.compile with frozen weights, which needs a C++ compiler.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

from side_by_side import release, said, spread

NETWORKS = ("resnet18", "resnet50", "densenet121", "efficientnet_b0", "convnext_tiny", "dinov2_vits14")
SWEEP = {"sweep f32": "f32", "sweep bf16": "bf16"}
PEERS = ("torch f32", "torch autocast", "torch bf16")


def network(name, edge):
    """The network without its last layer. A vision transformer gets the positions of this edge once, and not in every batch."""
    import timm
    import torch
    import torchvision

    if name in ("resnet18", "resnet34", "resnet50", "resnet101", "densenet121", "efficientnet_b0", "mobilenet_v3_large"):
        net = getattr(torchvision.models, name)(num_classes=3)
        head = "fc" if name.startswith("resnet") else "classifier"
        setattr(net, head, net.classifier[:2] if name == "mobilenet_v3_large" else torch.nn.Identity())
        return net
    alias = {"dinov2_vits14": "vit_small_patch14_dinov2", "dinov2_vitb14": "vit_base_patch14_dinov2", "clip_vit_b32_gelu": "vit_base_patch32_clip_224"}
    sized = {"img_size": edge} if "vit" in name and edge else {}
    return timm.create_model(alias.get(name, name), num_classes=512 if "clip" in name else 0, **sized)


def make(name, edge, rows, folder):
    """Weights with running statistics of a few batches, and pixels."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    net = network(name, None).train()
    size = {"dinov2_vits14": 518, "dinov2_vitb14": 518}.get(name, 224)
    with torch.no_grad():
        for _ in range(3 if "vit" not in name else 0):
            net(torch.randn(4, 3, size, size))
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, folder / f"{name}.safetensors")
    save_file({"images": torch.randn(rows, 3, edge, edge)}, folder / f"{name}.images.safetensors")


def peer(form, name, folder, times, threads):
    """One process of PyTorch: the same JSON as sweep's."""
    import resource

    import timm
    import torch
    from safetensors.torch import load_file, save_file

    torch.set_num_threads(threads)
    folder = pathlib.Path(folder)
    images = load_file(folder / f"{name}.images.safetensors")["images"]
    net = network(name, images.shape[-1])
    state = load_file(folder / f"{name}.safetensors")
    if "pos_embed" in state and state["pos_embed"].shape != net.pos_embed.shape:
        grid = [images.shape[-1] // net.patch_embed.patch_size[0]] * 2
        state["pos_embed"] = timm.layers.resample_abs_pos_embed(state["pos_embed"], grid)
    net.load_state_dict(state, strict=True)
    net = net.eval().to(memory_format=torch.channels_last)
    images = images.to(memory_format=torch.channels_last)
    if form == "torch bf16":
        net, images = net.to(torch.bfloat16), images.to(torch.bfloat16)
    if form == "torch compiled":
        import torch._inductor.config

        torch._inductor.config.freezing = True
        net = torch.compile(net)
    seconds = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=form == "torch autocast"):
        for at in range(times + 1):
            start = time.perf_counter()
            features = torch.cat([net(part) for part in images.split(16)])
            if at > 0:
                seconds.append(time.perf_counter() - start)
    save_file({"features": features.float().contiguous()}, folder / f"{name}.{form}.safetensors")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"images_per_s": len(images) / statistics.median(seconds), "peak_memory_bytes": peak}))


def run(who, name, folder, options):
    if who in SWEEP:
        files = {"weights": f"{name}.safetensors", "images": f"{name}.images.safetensors", "features": f"{name}.{who}.safetensors"}
        command = [options.binary, "--arch", name, "--precision", SWEEP[who], "--times", options.times, "--threads", options.threads]
        command += [part for key, file in files.items() for part in (f"--{key}", folder / file)]
    else:
        command = [sys.executable, __file__, "--peer", who, name, folder, options.times, options.threads]
    return said(command)


def off(name, who, folder):
    from safetensors.torch import load_file

    ours, theirs = (load_file(folder / f"{name}.{one}.safetensors")["features"] for one in (who, "torch f32"))
    return float((ours - theirs).abs().max() / theirs.abs().max())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--edge", type=int, default=224)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--times", type=int, default=3, help="how often a process computes all rows, after once that is not timed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--no-bf16", action="store_true", help="where the CPU has no instructions for it")
    parser.add_argument("--binary", type=pathlib.Path, default=release("examples/frozen_features"))
    parser.add_argument("--peer", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--make", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        form, name, folder, times, threads = options.peer
        return peer(form, name, folder, int(times), int(threads))
    if options.make:
        name, edge, rows, folder = options.make
        return make(name, int(edge), int(rows), pathlib.Path(folder))
    everybody = [who for who in (*SWEEP, *PEERS) if not (options.no_bf16 and not who.endswith("f32"))]
    everybody += ["torch compiled"] if options.compile else []
    import torch

    print(f"{options.edge} x {options.edge}, batches of 16, {options.threads} threads, {options.rounds} rounds of {options.times} x {options.rows} rows; "
          f"torch {torch.__version__}, Python {platform.python_version()}, {os.cpu_count()} cores")
    for name in options.networks:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            # By a process of its own, whose memory later ones would count as theirs.
            subprocess.run([sys.executable, __file__, "--make", name, str(options.edge), str(options.rows), str(folder)], check=True)
            rounds = [{who: run(who, name, folder, options) for who in everybody} for _ in range(options.rounds)]
            half = [{who: one[who]["images_per_s"] for who in ("torch autocast", "torch bf16") if who in one} for one in rounds]
            faster = max(half[0], key=lambda who: statistics.median(one[who] for one in half), default=None)
            print(name)
            for who in everybody:
                speeds = [one[who]["images_per_s"] for one in rounds]
                peak = max(one[who]["peak_memory_bytes"] for one in rounds) / 2**20
                against = {"sweep f32": "torch f32", "sweep bf16": faster}.get(who)
                ratios = [one[who]["images_per_s"] / one[against]["images_per_s"] for one in rounds] if against else []
                ratio = f"{spread(ratios, '{:.2f}')} of {against}" if ratios else ""
                print(f"  {who:15} {spread(speeds)} images/s, {peak:.0f} MiB, off by {off(name, who, folder):.1e}  {ratio}", flush=True)


if __name__ == "__main__":
    main()
