"""A sweep of many short runs through real workers, or workers that crash again and again: what the controller needs while it lasts.

    cargo build --release && python3 benches/long_sweep.py target/release/sweep --runs 20000
    python3 benches/long_sweep.py target/release/sweep --crashes 5000 --workers 8
    python3 benches/long_sweep.py target/release/sweep --runs 20000 --on slurm       (with a cluster, e.g. . <(tests/chaos/slurm-up))

Prints a line every so many runs: resident memory, open files and threads of the controller; bytes of the database per run; seconds of `sweep
status` and `sweep report` meanwhile. Only the standard library is needed.
"""

import argparse
import os
import pathlib
import sqlite3
import subprocess
import tempfile
import time

FILE = """
name = "long"
[data]
kind = "letters"
samples = 120
image_size = 16
label_rates = {{ A = 0.3, B = 0.4, C = 0.5 }}
[model]
arch = "{arch}"
[train]
epochs = {epochs}
reference = false
start = "zero"
[grid]
loss = ["bce", "focal"]
seed = {seeds}
[workers]
attempts = 100
[workers.slurm]
runs_per_task = 100
tasks = 8
"""

# A worker that trains and is killed a moment after it has begun, long before its run is over.
CRASHING = """#!/bin/bash
"{program}" "$@" <&0 &
sleep 0.06
kill -9 $! 2>/dev/null
wait $! 2>/dev/null
exit 137
"""


def facts(pid):
    """Resident KiB, open files and threads of a process; None once it is gone."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        return int(fields["VmRSS"].split()[0]), len(os.listdir(f"/proc/{pid}/fd")), int(fields["Threads"])
    except (OSError, KeyError):
        return None


def timed(command, cwd):
    start = time.monotonic()
    output = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    return time.monotonic() - start, output


def count(db, question):
    connection = sqlite3.connect(f"file:{db}?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute(question).fetchone()[0]
    finally:
        connection.close()


def size(db):
    return sum(path.stat().st_size for path in [db, pathlib.Path(f"{db}-wal")] if path.exists())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sweep", type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=20000)
    parser.add_argument("--crashes", type=int, default=0)
    parser.add_argument("--on", default="local")
    parser.add_argument("--workers", type=int, default=2, help="on this machine; a place whose worker was killed waits a second")
    parser.add_argument("--every", type=int, default=2000)
    arguments = parser.parse_args()
    program = arguments.sweep.resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        runs = arguments.runs if not arguments.crashes else arguments.crashes // 100
        seeds = list(range(max(runs // 2, 1)))
        (folder / "sweep.toml").write_text(FILE.format(seeds=seeds, arch="cnn" if arguments.crashes else "linear", epochs=10000 if arguments.crashes else 1))
        environment = dict(os.environ)
        if arguments.crashes:
            worker = folder / "worker"
            worker.write_text(CRASHING.format(program=program))
            worker.chmod(0o755)
            environment["SWEEP_WORKER"] = str(worker)
        command = [str(program), "run", "sweep.toml", "--quiet", "--on", arguments.on, "--per-device", str(arguments.workers)]
        start = time.monotonic()
        controller = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        db = folder / "sweep.db"
        what = "SELECT count(*) FROM attempts WHERE outcome IS NOT NULL" if arguments.crashes else \
            "SELECT count(*) FROM runs WHERE state = 'succeeded'"
        every = 500 if arguments.crashes else arguments.every
        print("| done | seconds | controller MiB | open files | threads | database KiB/run | status s | report s |")
        print("|---|---|---|---|---|---|---|---|")
        step = every
        while controller.poll() is None:
            time.sleep(0.05)
            try:
                done = count(db, what)
            except sqlite3.Error:
                continue
            if done < step:
                continue
            step = (done // every + 1) * every
            seen = facts(controller.pid)
            if seen is None:
                break
            status, _ = timed([str(program), "status"], folder)
            report, output = (0.0, None) if arguments.crashes else timed([str(program), "report", "--top", "10"], folder)
            rss, files, threads = seen
            print(f"| {done} | {time.monotonic() - start:.0f} | {rss / 1024:.1f} | {files} | {threads} | "
                  f"{size(db) / 1024 / max(done, 1):.2f} | {status:.3f} | {report:.2f} |", flush=True)
        words = controller.stderr.read().decode()
        controller.wait()
        done = count(db, what)
        print(f"{done} in {time.monotonic() - start:.0f} s; exit {controller.returncode}; {words.strip()[:200]}")
        print(f"database {size(db) / 1024 / max(done, 1):.2f} KiB per run")


if __name__ == "__main__":
    main()
