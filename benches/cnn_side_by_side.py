"""The `cnn` of sweeps/letters.toml in sweep beside PyTorch, interleaved: python benches/cnn_side_by_side.py [--rounds 5].

Build first: cargo build --release --bins. Each round is one `sweep run` of two seeds on two workers of one thread, with a database of its
own, and two processes of PyTorch of one thread at the same time, in both memory formats, on the same prepared images: the same network,
batches, epochs and Adam. Images a second are those of the training of one process, evaluations and files not counted; beside them stands
the wall time of everything, with the start of the processes, where PyTorch writes nothing and evaluates val once an epoch.

Outputs are compared each round: PyTorch loads what sweep has trained and scores the same val rows, and both val macro AP are shown. Needs
torch and numpy.
"""
import argparse
import json
import pathlib
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

from side_by_side import own_peak_kib, prepared, ratios, release, spread

FORMS = ("channels-last", "nchw")


def images(cache):
    """Images (rows, 1, height, width) in [0, 1], labels, and the rows of train and val."""
    import numpy as np

    shape, x, y, split = prepared(cache)
    x = (x / 255).astype(np.float32).reshape(-1, *(shape["image"][side] for side in ("channels", "height", "width")))
    return x, y, *(np.flatnonzero(split == number) for number in (0, 1))


def network(channels, labels, size):
    from torch import nn

    class Stage(nn.Sequential):
        def __init__(self, before, after):
            super().__init__()
            self.conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(after)
            self.relu, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(2)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.stages = nn.Sequential(*(Stage(before, after) for before, after in zip([1, *channels], channels)))
            self.classifier = nn.Linear(channels[-1] * min(4, size >> len(channels)) ** 2, labels)

        def forward(self, x):
            return self.classifier(nn.functional.adaptive_avg_pool2d(self.stages(x), 4).flatten(1))

    return Network()


def macro_ap(y, scores):
    import numpy as np

    def ap(y, s):
        order = np.argsort(-s, kind="stable")
        hits = y[order].astype(bool)
        return (np.cumsum(hits) / np.arange(1, len(y) + 1))[hits].mean()

    return float(np.mean([ap(y[:, k], scores[:, k]) for k in range(y.shape[1])]))


def peer(form, cache, options):
    """One process of PyTorch."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(options["seed"])
    x, y, train, val = images(pathlib.Path(cache))
    memory = torch.channels_last if form == "channels-last" else torch.contiguous_format
    inputs, targets = torch.from_numpy(x).contiguous(memory_format=memory), torch.from_numpy(y).float()
    model = network(options["channels"], y.shape[1], x.shape[2]).to(memory_format=memory)
    optimizer = torch.optim.Adam(model.parameters(), options["rate"])
    criterion = torch.nn.BCEWithLogitsLoss()
    rates = []
    for _ in range(options["epochs"]):
        model.train()
        start = time.perf_counter()
        for rows in torch.from_numpy(train)[torch.randperm(len(train))].split(options["batch"]):
            optimizer.zero_grad(set_to_none=True)
            criterion(model(inputs[rows]), targets[rows]).backward()
            optimizer.step()
        rates.append(len(train) / (time.perf_counter() - start))
        model.eval()
        with torch.inference_mode():
            scores = torch.cat([model(inputs[rows]).sigmoid() for rows in torch.from_numpy(val).split(256)]).numpy()
    print(json.dumps({"rate": statistics.median(rates), "ap": macro_ap(y[val], scores), "peak": own_peak_kib(), "torch": torch.__version__}))


def scored_again(folder, cache, options):
    """The largest distance of PyTorch's scores with sweep's weights from sweep's own, and sweep's val macro AP at its best epoch."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    x, y, _, val = images(cache)
    model = network(options["channels"], y.shape[1], x.shape[2])
    data = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    state = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            first, last = (8 + length + offset for offset in entry["data_offsets"])
            state[name] = torch.from_numpy(np.frombuffer(data[first:last], "<f4").reshape(entry["shape"]).copy())
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing), (missing, unexpected)
    model.eval()
    with torch.inference_mode():
        theirs = model(torch.from_numpy(x[val])).sigmoid().numpy()
    ours = np.load(folder / "scores-val.npy")
    return float(np.abs(theirs - ours).max()), macro_ap(y[val], ours)


def sweep_round(folder, options):
    (folder / "cnn.toml").write_text(f"""name = "cnn"
[data]
kind = "letters"
samples = {options["samples"]}
image_size = {options["size"]}
[model]
arch = "cnn"
hidden = {options["channels"]}
[train]
epochs = {options["epochs"]}
batch_size = {options["batch"]}
learning_rate = {options["rate"]}
optimizer = "adam"
[grid]
seed = [0, 1]
[workers]
devices = ["cpu"]
per_device = 2
""")
    db = folder / "cnn.db"
    start = time.perf_counter()
    subprocess.run([release("sweep"), "run", folder / "cnn.toml", "--db", db, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - start
    with sqlite3.connect(db) as connection:
        rates = [rate for (rate,) in connection.execute("SELECT images_per_s FROM epochs")]
        (best,) = connection.execute("SELECT fingerprint FROM runs ORDER BY fingerprint LIMIT 1").fetchone()
    apart, ap = scored_again(folder / "cnn.runs" / best, folder / "cnn.cache", options)
    return {"rate": statistics.median(rates), "wall": wall, "apart": apart, "ap": ap}


def peer_round(form, cache, options):
    start = time.perf_counter()
    command = [sys.executable, __file__, "--peer", form, str(cache)]
    both = [subprocess.Popen([*command, json.dumps({**options, "seed": seed})], stdout=subprocess.PIPE, text=True) for seed in (0, 1)]
    said = [json.loads(process.communicate()[0].splitlines()[-1]) for process in both]
    wall = time.perf_counter() - start
    return {"rate": statistics.mean(one["rate"] for one in said), "wall": wall, **{key: said[0][key] for key in ("ap", "peak", "torch")}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--peer", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        form, cache, options = arguments.peer
        return peer(form, cache, json.loads(options))
    options = {key: getattr(arguments, key) for key in ("samples", "size", "batch", "epochs")} | {"channels": [16, 32, 64], "rate": 1e-3}
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            here = pathlib.Path(folder) / str(number)
            here.mkdir()
            row = {"sweep": sweep_round(here, options)}
            rounds.append(row | {form: peer_round(form, here / "cnn.cache", options) for form in FORMS})
    print(f"cnn 16-32-64 on {options['samples']} letters of {options['size']} x {options['size']}, batch {options['batch']}, "
          f"{options['epochs']} epochs, two processes of one thread; torch {rounds[0][FORMS[0]]['torch']}; {arguments.rounds} rounds")
    ours = [row["sweep"] for row in rounds]
    for who in ("sweep", *FORMS):
        rows = [row[who] for row in rounds]
        faster = ratios([our["rate"] for our in ours], [row["rate"] for row in rows])
        whole = ratios([row["wall"] for row in rows], [our["wall"] for our in ours])
        print(f"  {who:14} {spread([row['rate'] for row in rows], '{:.0f}')} images/s a thread, sweep / it {spread(faster, '{:.2f}')}; "
              f"wall {spread([row['wall'] for row in rows], '{:.2f}')} s, it / sweep {spread(whole, '{:.2f}')}; "
              f"val macro AP {statistics.median(row['ap'] for row in rows):.3f}"
              + (f"; peak {max(row['peak'] for row in rows) / 1024:.0f} MiB" if who != "sweep" else ""))
    print(f"  PyTorch's scores with sweep's weights are within {max(our['apart'] for our in ours):.1e} of sweep's")


if __name__ == "__main__":
    main()
