"""Opens an export with the programs that it is for, and compares what they read with SQL.

usage: python tests/oracle/check_exports.py EXPORTS sweep.db

EXPORTS is what `sweep db export EXPORTS --format parquet,csv,mlflow,tensorboard` has written of sweep.db. Checked are every cell of every
table and view (pyarrow, csv), every F1 by MLflow's client and by its server over HTTP, every scalar by TensorBoard's reader, its dashboards
by its server, and that the snippets in docs/exports.md run. Exit status 1 where anything differs. The export itself is not changed: MLflow
brings a copy up to date.
"""

import csv
import json
import math
import os
import re
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from pathlib import Path

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import pyarrow.parquet as pq
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EXPORTS, DATABASE = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
# Nothing but this machine is asked.
urllib.request.install_opener(urllib.request.build_opener(urllib.request.ProxyHandler({})))
db = sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True)
problems = []
POLICY = re.compile(r"[^\w.\-: ]")


def differs(what, found, wanted):
    if found != wanted:
        problems.append(f"{what}: {found!r}, SQL has {wanted!r}")


def ask(question, *values):
    return db.execute(question, values).fetchall()


def in_csv(text):
    """Text as CSV has it: with an apostrophe before what a spreadsheet would run."""
    try:
        float(text)
        return text
    except ValueError:
        return ("'" if text.lstrip("'")[:1] in tuple("=+-@\t\r\n") else "") + text


def tables():
    """Every cell. The views' sums may differ in the last bit: other versions of SQLite add up otherwise."""
    cells = 0
    names = "SELECT name, type = 'view' FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' AND name <> '_sqlx_migrations'"
    names = ask(names)
    for name, is_view in names:
        cursor = db.execute(f"SELECT * FROM {name}")
        columns = [column[0] for column in cursor.description]
        wanted = cursor.fetchall()
        table = pq.read_table(EXPORTS / f"{name}.parquet")
        differs(f"{name}.parquet", table.column_names, columns)
        kinds = [str(field.type) for field in table.schema]
        if not set(kinds) <= {"int64", "double", "string"}:
            problems.append(f"{name}.parquet: {kinds}")
        with open(EXPORTS / f"{name}.csv", newline="", encoding="utf-8") as file:
            lines = csv.reader(file)
            differs(f"{name}.csv", next(lines), columns)
            lines = list(lines)
        # In the order of what is no fraction; NULL is nothing in CSV.
        floats = [kind == "double" for kind in kinds]
        key = lambda row: [str(cell) for cell, is_float in zip(row, floats) if not is_float]
        text = lambda cell: "" if cell is None else in_csv(cell) if isinstance(cell, str) else cell
        rows = list(zip(*(column.to_pylist() for column in table.columns))) if wanted else []
        number = lambda cell: cell if cell == "" else float(cell)
        lines = [[number(cell) if is_float else cell for cell, is_float in zip(row, floats)] for row in lines]
        in_text = [[cell if is_float else str(cell) for cell, is_float in zip(map(text, row), floats)] for row in wanted]
        for what, found, of in [("parquet", rows, wanted), ("csv", lines, in_text)]:
            differs(f"rows of {name}.{what}", len(found), len(of))
            for left, right in zip(sorted(found, key=key), sorted(of, key=key)):
                if not all(a == b or is_view and close(a, b) for a, b in zip(left, right)):
                    problems.append(f"{name}.{what}: {left}, SQL has {right}")
                    break
        cells += len(wanted) * len(columns)
    print(f"tables: {cells} cells of {len(names)} tables and views are those of SQL, in Parquet and in CSV")


def close(left, right):
    return isinstance(left, float) and isinstance(right, float) and math.isclose(left, right, rel_tol=1e-12, abs_tol=1e-15)


def server(command, folder, probe):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    log = tempfile.TemporaryFile()
    process = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(port)], cwd=folder, stdout=log, stderr=log, start_new_session=True)
    for _ in range(240):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{probe}", timeout=5)
            return process, f"http://127.0.0.1:{port}"
        except OSError:
            time.sleep(0.5)
        if process.poll() is not None:
            break
    log.seek(0)
    stop(process)
    sys.exit(f"{command[0]} does not answer:\n{log.read().decode()[-3000:]}")


def stop(process):
    if process.poll() is None:
        # The server's own workers are of its session.
        os.killpg(process.pid, 15)
        process.wait(30)


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=60))


def mlflow(work):
    folder = work / "mlflow"
    folder.mkdir()
    shutil.copy(EXPORTS / "mlflow.db", folder)
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    compared = 0
    ids = {}
    for experiment in client.search_experiments():
        title = experiment.tags.get("sweep.title")
        token = None
        while title is not None:
            page = client.search_runs([experiment.experiment_id], max_results=500, page_token=token)
            for run in page:
                ids[title, run.data.tags["sweep.fingerprint"]] = run
            token = page.token
            if not token:
                break
    differs("runs", len(ids), ask("SELECT count(*) FROM sweep_runs")[0][0])
    wanted = defaultdict(dict)
    for sweep, fingerprint, split, policy, label, epoch, f1 in ask("SELECT sweep, run, split, policy, label, epoch, f1 FROM label_metrics_all"):
        run = ids[sweep, fingerprint]
        name = next((key[12:] for key, value in run.data.tags.items() if key.startswith("sweep.label.") and value == label), label)
        wanted[run.info.run_id, f"{split}/{POLICY.sub('_', policy)}/f1/{name}"][epoch] = f1
    for (run, key), values in wanted.items():
        differs(f"{run} {key}", {point.step: point.value for point in client.get_metric_history(run, key)}, values)
        compared += len(values)
    print(f"mlflow: {compared} F1 of {len(ids)} runs are those of SQL, by its client")

    process, url = server([str(BIN / "mlflow"), "server", "--workers", "1"], folder, "/health")
    try:
        latest = {}
        for experiment in post(f"{url}/api/2.0/mlflow/experiments/search", {"max_results": 1000})["experiments"]:
            token = {}
            while True:
                body = {"experiment_ids": [experiment["experiment_id"]], "max_results": 500, **token}
                page = post(f"{url}/api/2.0/mlflow/runs/search", body)
                for run in page.get("runs", []):
                    for metric in run["data"].get("metrics", []):
                        latest[run["info"]["run_id"], metric["key"]] = metric["value"]
                if "next_page_token" not in page:
                    break
                token = {"page_token": page["next_page_token"]}
        for (run, key), values in wanted.items():
            differs(f"{run} {key} by HTTP", latest.get((run, key)), values[max(values)])
        key = next((key for (_, key) in wanted if key.startswith("val/")), None)
        if key is not None:
            found = post(f"{url}/api/2.0/mlflow/runs/search", {"experiment_ids": [run.info.experiment_id for run in ids.values()], "max_results": 1000, "filter": f"metrics.`{key}` > 0.5"})
            found = {run["info"]["run_id"] for run in found.get("runs", [])}
            differs(f"runs with {key} > 0.5", found, {run for (run, name), values in wanted.items() if name == key and values[max(values)] > 0.5})
    finally:
        stop(process)
    print(f"mlflow: {len(wanted)} last F1 are those of SQL, by its server")


def float32(number):
    return struct.unpack("<f", struct.pack("<f", number))[0]


def tensorboard(work):
    folder = work / "tensorboard"
    folder.mkdir()
    files = sorted(EXPORTS.rglob("events.out.tfevents.*.sweep"))
    compared = curves = 0
    groups = set()
    for file in files:
        events = EventAccumulator(str(file), size_guidance={"scalars": 0, "tensors": 0})
        events.Reload()
        tags = events.Tags()
        curves += any(tag.endswith("/pr_curves") for tag in tags["tensors"])
        relative = file.relative_to(EXPORTS)
        groups.add(relative.parts[:2])
        stamp = int(file.name.split(".")[3])
        seed = relative.parts[2].removeprefix("seed").split(".")[0]
        rows = ask(
            """SELECT s.title, r.id, r.fingerprint FROM sweep_runs w JOIN runs r ON r.id = w.run JOIN sweeps s ON s.id = w.sweep
               WHERE CAST(coalesce(r.started_at, r.created_at) AS INTEGER) = ? AND w.seed = ?""",
            stamp,
            seed,
        )
        # Of runs of one second and seed, the one with these numbers: its losses tell it.
        losses = {point.step: point.value for point in events.Scalars("val/loss")} if "val/loss" in tags["scalars"] else {}
        same = lambda run: {epoch: float32(loss) for epoch, loss in ask("SELECT epoch, val_loss FROM epochs WHERE run = ? AND val_loss IS NOT NULL", run)} == losses
        rows = [row for row in rows if same(row[1])]
        if not rows:
            problems.append(f"{relative}: SQL has no such run")
            continue
        title, _, fingerprint = rows[0]
        values = defaultdict(dict)
        for policy, label, epoch, f1 in ask("SELECT policy, label, epoch, f1 FROM label_metrics_all WHERE sweep = ? AND run = ? AND split = 'val'", title, fingerprint):
            values[f"label f1 {POLICY.sub('_', policy)}/{POLICY.sub('_', label)}"][epoch] = float32(f1)
        for epoch, ap in ask("SELECT DISTINCT epoch, macro_ap FROM leaderboard_all WHERE sweep = ? AND run = ? AND split = 'val' AND macro_ap IS NOT NULL", title, fingerprint):
            values["val/macro_ap"][epoch] = float32(ap)
        for tag, wanted in values.items():
            found = {point.step: point.value for point in events.Scalars(tag)} if tag in tags["scalars"] else None
            differs(f"{relative} {tag}", found, wanted)
            compared += len(wanted)
    print(f"tensorboard: {compared} scalars of {len(files)} runs are those of SQL, {curves} runs have curves of precision and recall")

    process, url = server([str(BIN / "tensorboard"), "--logdir", str(EXPORTS), "--load_fast", "false"], folder, "/data/environment")
    try:
        read = lambda path: json.load(urllib.request.urlopen(url + path, timeout=60))
        for _ in range(120):
            listing = read("/data/plugins_listing")
            shown = {name for name, plugin in listing.items() if plugin["enabled"]}
            if {"scalars", "hparams"} <= shown and len(read("/data/runs")) == len(files):
                break
            time.sleep(0.5)
        wanted = {"scalars", "hparams", "timeseries"} | ({"pr_curves"} if curves else set())
        if not wanted <= shown:
            problems.append(f"tensorboard shows {shown}, not {wanted}")
        differs("runs in tensorboard", len(read("/data/runs")), len(files))
        asked = {"experimentName": "", "startIndex": 0, "sliceSize": 1000, "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"], "aggregationType": "AGGREGATION_AVG"}
        # The dashboards load one after the other.
        for _ in range(60):
            found = post(f"{url}/data/plugin/hparams/session_groups", asked)["sessionGroups"]
            sessions = [len(group["sessions"]) for group in found]
            if sum(sessions) == len(files):
                break
            time.sleep(1)
        if sum(sessions) != len(files) or len(found) != len(groups):
            problems.append(f"tensorboard has groups of {sessions} runs: not {len(groups)} groups of {len(files)}")
        if curves:
            differs("runs with curves", sum(bool(tags) for tags in read("/data/plugin/pr_curves/tags").values()), curves)
    finally:
        stop(process)
    print(f"tensorboard: {', '.join(sorted(shown))}; {len(found)} groups of {len(files)} runs")


def snippets(work):
    folder = work / "snippets"
    folder.mkdir()
    (folder / "sweep.db").symlink_to(DATABASE)
    (folder / "exports").symlink_to(EXPORTS)
    page = (ROOT / "docs/exports.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for block in blocks:
        ran = subprocess.run([sys.executable, "-c", block], cwd=folder, capture_output=True, text=True)
        if ran.returncode:
            problems.append(f"docs/exports.md: {block}\n{ran.stderr}")
    if len(blocks) < 3:
        problems.append("docs/exports.md has lost its snippets")
    print(f"docs/exports.md: {len(blocks)} snippets run")


with tempfile.TemporaryDirectory() as name:
    work = Path(name)
    tables()
    mlflow(work)
    tensorboard(work)
    snippets(work)
for problem in problems[:20]:
    print(problem[:2000], file=sys.stderr)
sys.exit(f"{len(problems)} differences" if problems else 0)
