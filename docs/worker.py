#!/usr/bin/env python3
"""A worker in another language (protocol.md): logistic regression in plain Python. SWEEP_WORKER=docs/worker.py sweep run FILE

It trains `arch = "linear"` with `bce`, `shuffle`, `sgd` and a constant learning rate under fixed thresholds, and refuses everything else:
a worker that trained something other than what was ordered would record wrong results under a run's name.
"""
import argparse, array, json, math, os, queue, random, socket, struct, sys, threading, time, zlib


class Journal:
    """Lines that count once they are whole; synced where a crash must not lose them."""

    def __init__(self, path):
        try:
            self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.fsync(self.file)
            folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        except OSError as error:
            self.fail(error)
        self.next, self.lines = 0, []
        self.results = self.waiting = 0  # epoch, drawn, rank and eval records of the attempt: in the file, and in the next flush

    def add(self, kind, **fields):
        body = json.dumps({"s": self.next, "t": time.time(), "k": kind, **fields}, allow_nan=False, separators=(",", ":"))
        head = body[:-1].encode()
        self.lines.append(head + b',"c":"%08x"}\n' % zlib.crc32(head))
        self.next += 1
        self.results = 0 if kind == "begin" else self.results
        self.waiting += kind in ("epoch", "drawn", "rank", "eval")

    def flush(self, durable=True):
        try:
            rest = memoryview(b"".join(self.lines))
            while rest:
                rest = rest[os.write(self.file, rest):]
            if durable:
                os.fdatasync(self.file)
        except OSError as error:
            self.fail(error)
        self.results, self.waiting, self.lines = self.results + self.waiting, 0, []
        os.write(1, b".")  # wakes the controller

    def drop(self):
        """Forgets what has not been written."""
        self.next, self.waiting, self.lines = self.next - len(self.lines), 0, []

    @staticmethod
    def fail(error):
        print(f"cannot write the journal: {error}", file=sys.stderr)
        os._exit(74)


def read(folder, config):
    """Inputs as rows of floats, labels, and the rows of each split."""
    with open(f"{folder}/meta.json") as file:
        meta = json.load(file)
    if meta["format"] != 1:
        raise ValueError(f"prepared data of format {meta['format']}")
    division = config["split"]
    name = "split-{method}-{seed}-{train}-{val}-{test}.bin".format(**division)
    split, targets = (open(f"{folder}/{file}", "rb").read() for file in (name, "labels.bin"))
    raw, labels = open(f"{folder}/inputs.bin", "rb").read(), len(meta["labels"])
    width = len(raw) // meta["rows"]
    x = [[byte / 255 for byte in raw[row * width:(row + 1) * width]] for row in range(meta["rows"])]
    y = [targets[row * labels:(row + 1) * labels] for row in range(meta["rows"])]
    return x, y, [[row for row, part in enumerate(split) if part == number] for number in range(3)]


def sigmoid(z):
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def softplus(z):
    return max(z, 0) + math.log1p(math.exp(-abs(z)))


def logits(model, x):
    return [sum(a * b for a, b in zip(weights, x)) + weights[-1] for weights in model]  # the bias is last: zip leaves it out


def ranking(scores, truth):
    """Average precision and area under the ROC curve of one label, ties grouped; null where undefined."""
    positives, negatives = sum(truth), len(truth) - sum(truth)
    ap = wins = tp = fp = 0
    for score in sorted(set(scores), reverse=True):
        group = [y for s, y in zip(scores, truth) if s == score]
        hits = sum(group)
        wins += hits * (negatives - fp) - hits * (len(group) - hits) / 2
        tp, fp = tp + hits, fp + len(group) - hits
        ap += hits * tp / (tp + fp)
    return (ap / positives if positives else None, wins / positives / negatives if positives and negatives else None)


def put(path, content):
    with open(path + ".part", "wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    os.rename(path + ".part", path)


def npy(path, kind, values, labels):
    head = repr({"descr": kind, "fortran_order": False, "shape": (len(values) // labels, labels)})
    head += " " * (-(len(head) + 11) % 64) + "\n"
    put(path, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + values.tobytes())


def kept(path):
    with open(path, "rb") as file:
        content = file.read()
    return array.array("f", content[10 + struct.unpack("<H", content[8:10])[0]:])


def safetensors(path, model):
    width = len(model[0]) - 1
    flat = array.array("f", [w for row in model for w in row[:-1]] + [row[-1] for row in model])
    edge, end = 4 * width * len(model), 4 * len(flat)
    head = json.dumps({"classifier.weight": {"dtype": "F32", "shape": [len(model), width], "data_offsets": [0, edge]},
                       "classifier.bias": {"dtype": "F32", "shape": [len(model)], "data_offsets": [edge, end]}}).encode()
    put(path, struct.pack("<Q", len(head)) + head + flat.tobytes())


def refuse(job):
    config, train = job["config"], job["config"]["train"]
    params = {key: train[key].get("params", {}) for key in ("optimizer", "schedule")}
    wanted = {
        "protocol version": (job["v"], 2), "data": (config["data"]["kind"], "letters"), "model.arch": (config["model"]["arch"], "linear"),
        "model.weights": (config["model"]["weights"], None), "model.dropout": (config["model"]["dropout"], 0),
        "loss": (config["loss"]["kind"], "bce"), "sampler": (config["sampler"]["kind"], "shuffle"),
        "train.optimizer": (train["optimizer"]["kind"], "sgd"), "nesterov": (params["optimizer"].get("nesterov", 0), 0),
        "train.schedule": (train["schedule"]["kind"], "constant"), "warmup": (params["schedule"].get("warmup", 0), 0),
        "train.grad_clip": (train["grad_clip"], None), "thresholds": (all(isinstance(p, (int, float)) for p in job["policies"]), True)}
    known = {"train": {"epochs", "batch_size", "optimizer", "learning_rate", "schedule", "grad_clip", "precision", "start",
                       "draws", "stop"},
             "model": {"arch", "hidden", "dropout", "weights", "freeze"}}
    for part, keys in known.items():
        wanted[f"unknown keys of config.{part}"] = ({key for key, value in config[part].items() if value is not None} - keys, set())
    for key, (given, taken) in wanted.items():
        if given != taken:
            raise NotImplementedError(f"this worker does {key} = {taken!r} only, not {given!r}")


class Stopped(Exception):
    """Told to stop; the checkpoint is good. Says which outcome that is."""


class BadData(Exception):
    """Prepared data that cannot be read."""


def attempt(job, journal, stopping, hopeless):
    """Trains and records each epoch."""
    refuse(job)
    run, a, folder, config = job["run"], job["attempt"], job["folder"], job["config"]
    train, seed = config["train"], config["seed"]
    momentum, decay = (train["optimizer"]["params"][name] for name in ("momentum", "weight_decay"))
    try:
        x, y, parts = read(job["data"], config["data"])
    except (OSError, ValueError, KeyError) as error:
        raise BadData(f"{job['data']}: {error}") from error
    labels, width = len(y[0]), len(x[0])
    if train["draws"] not in (None, len(parts[0])):
        raise NotImplementedError(f"this worker makes epochs of {len(parts[0])} draws, one pass over train, not of {train['draws']}")
    checkpoint = folder + "/checkpoint.json"
    if os.path.exists(checkpoint):
        with open(checkpoint) as file:
            state = json.load(file)
    else:
        draw, bound = random.Random(f"init {seed}"), width ** -0.5
        rate = [sum(y[row][k] for row in parts[0]) / len(parts[0]) for k in range(labels)]
        # Weighted bce stands for the probability sigmoid(z - ln w): "link" starts where that is the prevalence.
        shift = {"zero": None, "prior": [0.0] * labels, "link": [math.log(w) for w in job["pos_weight"]]}[train["start"]]
        bias = [math.log(p / (1 - p)) + shift[k] if shift else 0.0 for k, p in enumerate(rate)]
        # From "link" a linear model starts without an opinion on any row.
        bound = 0.0 if train["start"] == "link" else bound
        model = [[draw.uniform(-bound, bound) for _ in range(width)] + [bias[k]] for k in range(labels)]
        state = {"epochs": [], "model": model, "speed": [[0.0] * (width + 1) for _ in model], "best": None}
    journal.add("begin", r=run, a=a, **{"from": len(state["epochs"]) or None})
    journal.flush()
    beat = time.monotonic()

    def add(kind, **fields):
        journal.add(kind, r=run, a=a, **fields)

    def all_logits(model, rows):
        return array.array("f", [z for row in rows for z in logits(model, x[row])])

    def probabilities(values):
        return array.array("f", map(sigmoid, values))

    def tell(epoch, split, ranked, rows):
        truth = [[y[row][k] for row in rows] for k in range(labels)]
        ap, auc = zip(*(ranking(ranked[k::labels], truth[k]) for k in range(labels)))
        values = probabilities(ranked)
        add("rank", epoch=epoch, split=split, ap=ap, auc=auc, mean_score=[sum(values[k::labels]) / len(rows) for k in range(labels)])
        for policy in job["policies"]:
            threshold = array.array("f", [policy])[0]
            counts, f1, exact = [dict(tp=0, fp=0, fn=0, tn=0) for _ in range(labels)], 0, 0
            for i, row in enumerate(rows):
                cells = [("tp" if t else "fp") if values[i * labels + k] >= threshold else ("fn" if t else "tn") for k, t in enumerate(y[row])]
                for k, cell in enumerate(cells):
                    counts[k][cell] += 1
                hits, wrong = cells.count("tp"), cells.count("fp") + cells.count("fn")
                f1 += 2 * hits / (2 * hits + wrong) if hits else 0
                exact += wrong == 0
            add("eval", epoch=epoch, split=split, policy=policy, thresholds=[threshold] * labels, counts=counts,
                samples_f1=f1 / len(rows), subset_accuracy=exact / len(rows))
        defined = [value for value in ap if value is not None]
        return sum(defined) / len(defined) if defined else 0

    def loss(z, row):
        return sum(w * softplus(-z) if t else softplus(z) for w, z, t in zip(job["pos_weight"], z, y[row])) / labels

    os.makedirs(folder + "/epochs", exist_ok=True)
    model = state["model"]
    for epoch, facts in enumerate(state["epochs"]):  # an attempt tells the whole story
        add("epoch", epoch=epoch, **facts)
        tell(epoch, "val", kept(f"{folder}/epochs/logits-val-{epoch}.npy"), parts[1])
    def over():
        done, stop = len(state["epochs"]), train["stop"]
        return done >= train["epochs"] or stop and done >= stop["least"] and done > state["best"]["epoch"] + stop["patience"]

    while not over():
        epoch = len(state["epochs"])
        start, total, rows = time.monotonic(), 0, parts[0][:]
        random.Random(f"shuffle {seed} {epoch}").shuffle(rows)
        batches = [rows[i:i + train["batch_size"]] for i in range(0, len(rows), train["batch_size"])]
        for step, batch in enumerate(batches):
            slopes, mean = [], 0
            for row in batch:
                z = logits(model, x[row])
                mean += loss(z, row) / len(batch)
                slopes.append([-w * sigmoid(-z) if t else sigmoid(z) for w, z, t in zip(job["pos_weight"], z, y[row])])
            if not math.isfinite(mean):
                raise FloatingPointError(f"the loss is {mean} in epoch {epoch}, step {step}")
            total += mean * len(batch)
            for k, (weights, speed) in enumerate(zip(model, state["speed"])):
                gradient = [decay * w for w in weights]
                for slope, row in zip(slopes, batch):
                    part = slope[k] / len(batch) / labels
                    gradient = [g + part * value for g, value in zip(gradient, x[row] + [1.0])]
                speed[:] = [momentum * v + g for v, g in zip(speed, gradient)]
                weights[:] = [w - train["learning_rate"] * v for w, v in zip(weights, speed)]
            if time.monotonic() - beat >= 1:
                beat = time.monotonic()
                journal.add("hb", r=run, epoch=epoch, step=step + 1, steps=len(batches), loss=mean, images_per_s=(step + 1) * len(batch) / (beat - start))
                journal.flush(durable=False)
        seconds = time.monotonic() - start
        val = all_logits(model, parts[1])
        val_loss = sum(loss(logits(model, x[row]), row) for row in parts[1]) / len(parts[1])
        facts = dict(train_loss=total / len(rows), val_loss=val_loss, learning_rate=train["learning_rate"], seconds=seconds,
                     images_per_s=len(rows) / max(seconds, 1e-9), steps=(epoch + 1) * len(batches))
        add("epoch", epoch=epoch, **facts)
        if epoch == 0:  # a shuffle shows what there is
            add("drawn", draws=len(rows), prevalence=[sum(y[row][k] for row in rows) / len(rows) for k in range(labels)], shift=0, duplicates=0,
                never_drawn=0, made_up=0)
        ap = tell(epoch, "val", val, parts[1])
        npy(f"{folder}/epochs/logits-val-{epoch}.npy", "<f4", val, labels)
        if state["best"] is None or ap > state["best"]["ap"]:
            state["best"] = {"epoch": epoch, "ap": ap, "model": [weights[:] for weights in model]}
        journal.flush()
        state["epochs"].append(facts)
        put(checkpoint, json.dumps(state).encode())
        if stopping.is_set() and not over():
            raise Stopped("stopped")
        if (run, a) in hopeless and not over():
            raise Stopped("stopped_early")
    last = len(state["epochs"]) - 1
    for epoch, weights in {state["best"]["epoch"]: state["best"]["model"], last: model}.items():
        test = all_logits(weights, parts[2])
        tell(epoch, "test", test, parts[2])
        npy(f"{folder}/epochs/logits-test-{epoch}.npy", "<f4", test, labels)
    for part, name in ((1, "val"), (2, "test")):
        npy(f"{folder}/truth-{name}.npy", "|u1", array.array("B", [t for row in parts[part] for t in y[row]]), labels)
        best = all_logits(state["best"]["model"], parts[part])
        npy(f"{folder}/logits-{name}.npy", "<f4", best, labels)
        npy(f"{folder}/scores-{name}.npy", "<f4", probabilities(best), labels)
    safetensors(folder + "/model.safetensors", state["best"]["model"])
    journal.flush()
    put(folder + "/log.txt", f"attempt {a}: best epoch {state['best']['epoch']}, val macro AP {state['best']['ap']:.4f}\n".encode())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["worker"])
    for flag in ("device", "name", "journal"):
        parser.add_argument("--" + flag, required=True)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    orders, stopping, hopeless = queue.Queue(), threading.Event(), set()

    def listen():
        for line in sys.stdin:
            order = json.loads(line)
            if order["k"] == "stop":
                stopping.set()
            if order["k"] == "stop_run":
                hopeless.add((order["run"], order["attempt"]))
            else:
                orders.put(order)
        if not stopping.is_set():
            os._exit(1)  # the controller is gone
    threading.Thread(target=listen, daemon=True).start()

    journal = Journal(args.journal)
    journal.add("open", v=2, worker=args.name, pid=os.getpid(), host=socket.gethostname(), device=args.device, threads=args.threads, version="example")
    journal.flush()
    jobs = []
    while not stopping.is_set():
        if not jobs:
            order = orders.get()
            jobs = {"train": [order], "bundle": order.get("jobs"), "stop": []}.get(order["k"])
            if jobs is None:  # `refit` and `predict` are for a worker whose models are torchvision's and sweep's
                job, jobs = order.get("job", order), []
                journal.add("end", r=job["run"], a=job["attempt"], st="crashed", n=0, why=f"this worker does not know {order['k']}")
                journal.flush()
            continue
        job = jobs.pop(0)  # of a bundle one after the other: allowed, only slower
        first = journal.next
        st, why = "ok", ""
        try:
            attempt(job, journal, stopping, hopeless)
        except Stopped as reason:
            st = str(reason)
        except Exception as error:
            kinds = {BadData: "data", FloatingPointError: "diverged", MemoryError: "out_of_memory", OSError: "io"}
            st = next((st for kind, st in kinds.items() if isinstance(error, kind)), "crashed")
            why = f"{type(error).__name__}: {error}"
            print(why, file=sys.stderr)
            journal.drop()
            if journal.next == first:
                journal.add("begin", r=job["run"], a=job["attempt"], **{"from": None})
        journal.add("end", r=job["run"], a=job["attempt"], st=st, n=journal.results, why=why)
        journal.flush()
        if st == "ok":
            os.remove(job["folder"] + "/checkpoint.json")
    journal.add("close", why="stopped" if stopping.is_set() else "finished")
    journal.flush()


if __name__ == "__main__":
    main()
