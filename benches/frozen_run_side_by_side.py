"""A whole sweep over a frozen backbone beside PyTorch: python benches/frozen_run_side_by_side.py [--images 5000] [--precision bf16].

Build first: cargo build --release. 5,000 JPEGs of 500 x 375 with four labels, a resnet50 with the random weights of torchvision, and 40 heads
(2 weights, 5 learning rates, 4 seeds; Adam, batches of 64, 10 epochs, val average precision after each), from the start of the process to the
last result on the disk, with fresh caches and two threads each:

- `sweep run`, with what it does besides: checks and hashes of the files, splits, thresholds, kept scores, the database;
- PyTorch as its users write it: a DataLoader of two workers (Pillow decodes and resizes), the network channels-last in inference mode in batches
  of 16, features kept as .npy, then one head after the other on all features in memory, average precision by scikit-learn. With --precision
  bf16 its network runs under autocast.

Prints minutes of both, of which the features (sweep has decoded before, PyTorch decodes meanwhile), and the mean val macro AP of the last
epoch of both, which differ by their splits and starts.
Needs: numpy, Pillow, torch, torchvision, safetensors, scikit-learn.
"""
import argparse
import json
import shutil
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from data_side_by_side import picture
from side_by_side import measured, release

RATES, SEEDS, EPOCHS, EDGE = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2], 4, 10, 224
LABELS = {"A": 0.08, "B": 0.29, "C": 0.17, "D": 0.47}

FILE = """
name = "bench"
data = {{ kind = "images", root = "photos", labels = "labels.csv", image_size = {edge} }}
model = {{ arch = "resnet50", weights = "resnet50.safetensors", freeze = "backbone"{precision} }}
train = {{ epochs = {epochs}, batch_size = 64, optimizer = "adam", reference = false }}
workers = {{ per_device = 1 }}
[grid]
pos_weight = ["none", "neg_over_pos"]
"train.learning_rate" = {rates}
seed = {seeds}
threshold = 0.5
"""


def make(folder, images):
    """Pictures in which each label leaves a mark that is hard to see, and the weights."""
    import numpy as np
    import torch
    from PIL import Image
    from safetensors.torch import save_file
    from torchvision.models import resnet50

    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    bases = [np.asarray(picture(375, 500, 3, rng)).astype(np.float32) for _ in range(200)]
    lines = ["path," + ",".join(LABELS)]
    y, x = np.mgrid[0:375, 0:500]
    for number in range(images):
        truth = [rng.random() < rate for rate in LABELS.values()]
        pixels = np.roll(bases[number % 200], rng.integers(0, 375, 2), (0, 1)) + rng.normal(size=(375, 500, 1)) * 4
        marks = [((x - rng.integers(500)) ** 2 + (y - rng.integers(375)) ** 2 < 60**2), x // 8 % 2 == 0, y // 12 % 2 == 0, x > y]
        for there, mark, channel in zip(truth, marks, (0, 1, 2, 0)):
            pixels[..., channel] += 18 * (mark & there)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "photos" / f"{number:05}.jpg", quality=87)
        lines.append(f"{number:05}.jpg," + ",".join("01"[one] for one in truth))
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    torch.manual_seed(0)
    save_file({name: value.contiguous() for name, value in resnet50().state_dict().items()}, folder / "resnet50.safetensors")


def peer(folder, precision):
    """PyTorch: features, then heads."""
    import numpy as np
    import torch
    import torchvision
    from PIL import Image
    from safetensors.torch import load_file
    from sklearn.metrics import average_precision_score

    begun = time.perf_counter()
    torch.set_num_threads(2)
    rows = [line.split(",") for line in (folder / "labels.csv").read_text().splitlines()[1:]]
    truth = torch.tensor([[float(cell) for cell in row[1:]] for row in rows])
    net = torchvision.models.resnet50()
    net.load_state_dict(load_file(folder / "resnet50.safetensors"))
    net.fc = torch.nn.Identity()
    net = net.eval().to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))

    class Photos(torch.utils.data.Dataset):
        def __len__(self):
            return len(rows)

        def __getitem__(self, at):
            image = Image.open(folder / "photos" / rows[at][0]).convert("RGB").resize((EDGE, EDGE), Image.BILINEAR)
            return (torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255 - mean) / std

    features = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        for batch in torch.utils.data.DataLoader(Photos(), batch_size=16, num_workers=2):
            features.append(net(batch.to(memory_format=torch.channels_last)).float())
    features = torch.cat(features).clone()
    np.save(folder / "features.npy", features.numpy())
    computed = time.perf_counter() - begun

    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    train, val, test = order.split([len(rows) - 2 * (3 * len(rows) // 20), 3 * len(rows) // 20, 3 * len(rows) // 20])
    odds = (len(train) - truth[train].sum(0)) / truth[train].sum(0)
    aps, kept = [], []
    for weight in (torch.ones_like(odds), odds):
        for rate in RATES:
            for seed in range(SEEDS):
                torch.manual_seed(seed)
                head = torch.nn.Linear(features.shape[1], truth.shape[1])
                optimizer = torch.optim.Adam(head.parameters(), lr=rate)
                criterion = torch.nn.BCEWithLogitsLoss(pos_weight=weight)
                for _ in range(EPOCHS):
                    for batch in train[torch.randperm(len(train))].split(64):
                        optimizer.zero_grad(set_to_none=True)
                        criterion(head(features[batch]), truth[batch]).backward()
                        optimizer.step()
                    with torch.inference_mode():
                        scores = {name: torch.sigmoid(head(features[part])) for name, part in (("val", val), ("test", test))}
                    ap = average_precision_score(truth[val].numpy(), scores["val"].numpy(), average="macro")
                aps.append(ap)
                kept.append(torch.cat([scores["val"], scores["test"]]).numpy())
    np.save(folder / "scores.npy", np.stack(kept))
    print(json.dumps({"features_s": computed, "heads": len(aps), "macro_ap": sum(aps) / len(aps)}))


def ours(folder, precision):
    """`sweep run`: seconds, of which the features, and the mean val macro AP of the last epochs."""
    for old in folder.glob("sweep*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    precision = ', precision = "bf16"' if precision == "bf16" else ""
    file = FILE.format(edge=EDGE, epochs=EPOCHS, rates=RATES, seeds=list(range(SEEDS)), precision=precision)
    (folder / "sweep.toml").write_text(file)
    _, seconds, _, peak = measured([release("sweep"), "run", folder / "sweep.toml", "--quiet", "--db", folder / "sweep.db"])
    logs = [path.read_text() for path in (folder / "sweep.runs").glob("*/log.txt")]
    computed = next(float(line.split(" rows in ")[1].split(" s")[0]) for log in logs for line in log.splitlines() if " rows in " in line)
    heads, ap = sqlite3.connect(folder / "sweep.db").execute(
        "SELECT count(*), avg(macro_ap) FROM rankings r WHERE split = 'val' AND epoch = (SELECT max(epoch) FROM rankings WHERE run = r.run AND split = 'val')"
    ).fetchone()
    return seconds, peak, {"features_s": computed, "heads": heads, "macro_ap": ap}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        return peer(args.peer, args.precision)
    if args.make:
        return make(args.make, args.images)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        # By a process of its own, whose memory later ones would count as theirs.
        measured([sys.executable, __file__, "--make", folder, "--images", args.images])
        seconds, peak, found = ours(folder, args.precision)
        out, peer_seconds, _, peer_peak = measured([sys.executable, __file__, "--precision", args.precision, "--peer", folder])
        theirs = json.loads(out)
        for who, time_s, kib, of in (("sweep", seconds, peak, found), ("PyTorch", peer_seconds, peer_peak, theirs)):
            print(f"{who}: {time_s / 60:.2f} min, {of['heads']} heads; features {of['features_s'] / 60:.2f} min "
                  f"({args.images / of['features_s']:.1f} images/s), {kib / 1024:.0f} MiB, mean val macro AP {of['macro_ap']:.3f}")
        print(f"{args.images} JPEGs, {args.precision}: PyTorch / sweep {peer_seconds / seconds:.2f}")


if __name__ == "__main__":
    main()
