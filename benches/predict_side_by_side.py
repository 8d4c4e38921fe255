"""`sweep predict` beside torchvision, interleaved: python benches/predict_side_by_side.py [--images 10000] [--rounds 2] [--size 64].

Build first: cargo build --release. A densenet121 of random weights and two labels is trained for one short epoch and exported; then both
score the same JPEG files from the disk, from the command to the last score on it, each on two threads: `sweep predict model photos --output`,
and a script that loads the same parameters into torchvision, with a DataLoader of two workers (Pillow decodes and resizes, as
docs/model.md does) and channels-last batches of 64. Images a second of the whole command, peak memory, and how far the scores are apart.

Needs: numpy, Pillow, torch, torchvision, safetensors.
"""
import argparse
import csv
import json
import pathlib
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from data_side_by_side import picture

FILE = """
name = "bench"
[data]
kind = "images"
root = "photos"
labels = "labels.csv"
image_size = {size}
[model]
arch = "densenet121"
[train]
epochs = 1
batch_size = 16
[grid]
threshold = 0.5
"""


def peer(model, photos, output, size):
    """torchvision as its users write it."""
    import numpy as np
    import torch
    import torchvision
    from PIL import Image, ImageOps
    from safetensors.torch import load_file

    torch.set_num_threads(2)
    card = json.loads((model / "model.json").read_text())
    mean, std = (torch.tensor(card["preprocessing"][key]).view(3, 1, 1) for key in ("mean", "std"))
    network = torchvision.models.densenet121(num_classes=2)
    network.load_state_dict(load_file(model / "model.safetensors"))
    network = network.eval().to(memory_format=torch.channels_last)
    files = sorted(photos.iterdir())

    class Photos(torch.utils.data.Dataset):
        def __len__(self):
            return len(files)

        def __getitem__(self, at):
            image = ImageOps.exif_transpose(Image.open(files[at])).convert("RGB").resize((size, size), Image.BILINEAR)
            return (torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255 - mean) / std

    with torch.no_grad(), open(output, "w", newline="") as out:
        writer, at = csv.writer(out), 0
        for batch in torch.utils.data.DataLoader(Photos(), batch_size=64, num_workers=2):
            for row in torch.sigmoid(network(batch.to(memory_format=torch.channels_last))).tolist():
                writer.writerow([f"photos/{files[at].name}", *row])
                at += 1


def timed(command, folder):
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=10000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--sweep", type=pathlib.Path, default=pathlib.Path("target/release/sweep"))
    parser.add_argument("--peer", nargs=3)
    args = parser.parse_args()
    if args.peer:
        model, photos, output = map(pathlib.Path, args.peer)
        peer(model, photos, output, args.size)
        print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
        return
    import numpy as np

    sweep = args.sweep.resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        photos = folder / "photos"
        photos.mkdir()
        rng, made = np.random.default_rng(0), []
        for number in range(args.images):
            path = photos / f"{number:06}.jpg"
            if number < 200:
                picture(375, 500, 3, rng).save(path, quality=87, subsampling=2)
                made.append(path)
            else:
                path.hardlink_to(made[number % 200])
        rows = "".join(f"{number:06}.jpg,{number % 2},{number % 3 % 2}\n" for number in range(200))
        (folder / "labels.csv").write_text("path,A,B\n" + rows)
        (folder / "sweep.toml").write_text(FILE.format(size=args.size))
        timed([sweep, "run", "sweep.toml", "--quiet", "--set", "data.duplicates=group"], folder)
        run = next(path.name for path in (folder / "sweep.runs").iterdir() if re.fullmatch("[0-9a-f]{32}", path.name))
        timed([sweep, "export", run, "--to", "model", "--quiet"], folder)
        ours, theirs = [], []
        for _ in range(args.rounds):
            ours.append(timed([sweep, "predict", "model", "photos", "--output", "ours.csv", "--force", "--quiet"], folder))
            own = [sys.executable, __file__, "--size", str(args.size), "--peer", "model", "photos", "theirs.csv"]
            theirs.append(timed(own, folder))
        a = {row["id"]: [float(row["score.A"]), float(row["score.B"])] for row in csv.DictReader(open(folder / "ours.csv"))}
        b = {row[0]: [float(cell) for cell in row[1:]] for row in csv.reader(open(folder / "theirs.csv"))}
        assert a.keys() == b.keys() and len(a) == args.images
        gap = max(abs(x - y) for name in a for x, y in zip(a[name], b[name]))
        speed = [args.images / statistics.median(times) for times in (ours, theirs)]
        ratio = [their / our for our, their in zip(ours, theirs)]
        print(f"{args.images} JPEGs of 500 x 375, densenet121 at {args.size}: sweep {speed[0]:.1f} images/s, torchvision {speed[1]:.1f};"
              f" {statistics.median(ratio):.2f} ({min(ratio):.2f} to {max(ratio):.2f}); scores differ by at most {gap:.1e}")


if __name__ == "__main__":
    main()
