"""What the side-by-side scripts share: child processes that are timed from outside, and medians with their spread."""
import json
import os
import pathlib
import resource
import statistics
import subprocess
import time

ROOT = pathlib.Path(__file__).parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def release(name):
    """A built program of this repository: `sweep`, or `examples/NAME`."""
    return TARGET / "release" / name


def measured(command, **options):
    """Runs a command to its end: (stdout, seconds, CPU seconds of it and its children, peak KiB of the largest process).

    The peak is the kernel's `ru_maxrss`: pages of mapped files count, also where the kernel may take them back.
    """
    start = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True, **options)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return out, time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def said(command, **options):
    """The JSON object on the last line of a command's stdout, with what `measured` saw of it."""
    out, seconds, cpu, peak = measured(command, **options)
    return {"wall_s": seconds, "process_cpu_s": cpu, "process_peak_kib": peak, **json.loads(out.splitlines()[-1])}


def prepared(cache):
    """What sweep has prepared below its cache, the one data set there: the shape of an input, inputs (rows, numbers), labels (rows, labels),
    and of each row whether it is of train (0), val (1) or test (2)."""
    import numpy as np

    (folder,) = [path.parent for path in cache.glob("*/meta.json")]
    meta = json.loads((folder / "meta.json").read_text())
    kind = "<f4" if "features" in meta["shape"] else "u1"
    x = np.fromfile(folder / "inputs.bin", kind).reshape(meta["rows"], -1)
    y = np.fromfile(folder / "labels.bin", "u1").reshape(meta["rows"], -1)
    return meta["shape"], x, y, np.fromfile(next(folder.glob("split-*.bin")), "u1")


def own_peak_kib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def spread(values, form="{:.1f}"):
    """`median (least to greatest)`."""
    low, middle, high = (form.format(value) for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})"


def ratios(theirs, ours):
    """Of each round."""
    return [their / our for their, our in zip(theirs, ours)]
