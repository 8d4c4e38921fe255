"""sweep's data path beside Pillow and torchvision, interleaved: python benches/data_side_by_side.py [--rounds 3] [--memory 20000].

Build first: cargo build --release --example data_path. One thread each, everything from memory, the peers in one process:
  JPEG 500 x 375 and 1024 x 1024 grey, PNG 1024 x 1024 grey → 224 x 224 (antialiased bilinear), images a CPU second (user and system);
  a batch of 32 shuffled rows from a mapped u8 file → normalised f32 [32, C, H, W], half of them mirrored, beside the same in torch.
`--memory N` prepares N and 2 N JPEGs (links to the same few files), on all cores, and prints what the process held.
The pictures are made: waves, smooth and rough, under noise. Real ones compress differently, so only the ratios mean something.

Needs: numpy, Pillow, torch, torchvision.
"""
import argparse
import io
import json
import pathlib
import platform
import statistics
import sys
import tempfile
import time

from side_by_side import own_peak_kib, ratios, release, said, spread

# name, height, width, channels, suffix, options of Pillow's encoder
KINDS = [
    ("jpeg-500x375", 375, 500, 3, "jpg", {"quality": 87, "subsampling": 2}),
    ("grey-jpeg-1024", 1024, 1024, 1, "jpg", {"quality": 90}),
    ("grey-png-1024", 1024, 1024, 1, "png", {}),
]
SIZE = 224


def picture(height, width, channels, rng):
    """Octaves of random grids, and noise."""
    import numpy as np
    from PIL import Image

    total = rng.normal(size=(height, width, channels)) * 0.12
    for octave in range(1, 7):
        grid = rng.normal(size=(2**octave + 1, 2**octave + 1, channels)).astype(np.float32) / 2 ** (0.8 * octave)
        for channel in range(channels):
            total[..., channel] += np.asarray(Image.fromarray(grid[..., channel]).resize((width, height), Image.Resampling.BICUBIC))
    pixels = (255 * (total - total.min()) / np.ptp(total)).astype(np.uint8)
    return Image.fromarray(pixels if channels == 3 else pixels[..., 0])


def make(folder, each):
    import numpy as np

    rng = np.random.default_rng(0)
    for name, height, width, channels, suffix, options in KINDS:
        (folder / name).mkdir()
        for number in range(each):
            picture(height, width, channels, rng).save(folder / name / f"{number}.{suffix}", **options)


def rate(count, work):
    """Things a CPU second, for at least two of them."""
    work()
    start, done = time.process_time(), 0
    while time.process_time() - start < 2:
        work()
        done += count
    return done / (time.process_time() - start)


def peers(folder):
    """Images a CPU second, by kind and peer."""
    import numpy as np
    import torch
    from PIL import Image
    from torchvision.io import ImageReadMode, decode_image
    from torchvision.transforms.v2 import functional

    torch.set_num_threads(1)
    rates = {}
    for name, _, _, channels, _, _ in KINDS:
        files = [path.read_bytes() for path in sorted((folder / name).iterdir())]
        mode = ("RGB", ImageReadMode.RGB) if channels == 3 else ("L", ImageReadMode.GRAY)

        def pillow():
            for file in files:
                image = Image.open(io.BytesIO(file)).convert(mode[0]).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
                np.ascontiguousarray(np.asarray(image).reshape(SIZE, SIZE, channels).transpose(2, 0, 1))

        def torchvision():
            for file in files:
                image = decode_image(torch.frombuffer(bytearray(file), dtype=torch.uint8), mode[1])
                functional.resize(image, [SIZE, SIZE], antialias=True)

        rates[name] = {work.__name__: rate(len(files), work) for work in (pillow, torchvision)}
    for size, channels in ((64, 1), (224, 3)):
        rows = 2048
        pixels = torch.randint(0, 256, (rows, channels, size, size), dtype=torch.uint8)
        mean, deviation = torch.full((1, channels, 1, 1), 0.45 * 255), torch.full((1, channels, 1, 1), 0.225 * 255)

        def torch_gather():
            for batch in torch.randperm(rows).split(32):
                inputs = (pixels[batch].float() - mean) / deviation
                mirrored = (torch.rand(len(batch)) < 0.5).nonzero()[:, 0]
                inputs[mirrored] = inputs[mirrored].flip(-1)

        rates[f"gather-{size}x{size}x{channels}"] = {"torch": rate(rows, torch_gather)}
    return rates


def ours(folder, example):
    rates, peak = {}, 0
    for name, _, _, channels, _, _ in KINDS:
        report = said([example, "decode", folder / name, "--size", SIZE, "--channels", channels])
        rates[name], peak = report["decode"]["per_cpu_s"], max(peak, report["peak_kib"])
    for size, channels in ((64, 1), (224, 3)):
        report = said([example, "prepare", folder / "gather", "--size", size, "--channels", channels])
        rates[f"gather-{size}x{size}x{channels}"], peak = report["stream"]["per_cpu_s"], max(peak, report["peak_kib"])
    return rates, peak


def linked(folder, kind, count):
    """A folder of `count` pictures, and labels, from a few files."""
    folder.mkdir()
    files = sorted(path.resolve() for path in kind.iterdir())
    lines = ["image,A,B"]
    for row in range(count):
        name = f"{row}{files[0].suffix}"
        (folder / name).symlink_to(files[row % len(files)])
        lines.append(f"{name},{row % 2},{row // 2 % 3 % 2}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--each", type=int, default=40, help="pictures of each kind")
    parser.add_argument("--memory", type=int, default=0)
    parser.add_argument("--example", type=pathlib.Path, default=release("examples/data_path"))
    parser.add_argument("--peers", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peers:
        return print(json.dumps({"rates": peers(options.peers), "own_peak_kib": own_peak_kib()}))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        make(folder, options.each)
        linked(folder / "gather", folder / KINDS[0][0], 4096)
        rounds, peaks = [], {}
        for _ in range(options.rounds):
            (mine, peaks["sweep"]), others = ours(folder, options.example), said([sys.executable, __file__, "--peers", folder])
            rounds.append((mine, others["rates"]))
            peaks["the peers together, in one process"] = others["own_peak_kib"]
        if options.memory:
            for count in (options.memory, 2 * options.memory):
                linked(folder / f"memory-{count}", folder / KINDS[0][0], count)
                report = said([options.example, "prepare", folder / f"memory-{count}", "--size", 128, "--threads", 2])
                prepare = report["prepare"]
                print(f"prepared {count} JPEGs → 128 x 128 x 3 on two threads: {prepare['per_s']:.0f} images/s, "
                      f"{prepare['per_cpu_s']:.0f} a CPU second, peak {prepare['peak_kib'] / 1024:.0f} MiB")
    import numpy
    import PIL
    import torch
    import torchvision

    print(f"images a CPU second on one thread, medians of {options.rounds} interleaved rounds (least to greatest); Pillow {PIL.__version__}, "
          f"torchvision {torchvision.__version__}, torch {torch.__version__}, numpy {numpy.__version__}, Python {platform.python_version()}")
    print("peak, with the mapped pages of what is read: " + ", ".join(f"{who} {peak / 1024:.0f} MiB" for who, peak in peaks.items()))
    for name in rounds[0][0]:
        own = [mine[name] for mine, _ in rounds]
        line = f"{name:18} sweep {spread(own, '{:.0f}')}"
        for peer in rounds[0][1][name]:
            theirs = [others[name][peer] for _, others in rounds]
            line += f" | {peer} {statistics.median(theirs):.0f}, sweep {spread(ratios(own, theirs), '{:.2f}')}x"
        print(line)


if __name__ == "__main__":
    main()
