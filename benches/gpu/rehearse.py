"""All stages. Untimed ones beside each other first (tests, sanitizer, the peer's compilation), then what is timed, one after the other."""
import csv
import glob
import gzip
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import traceback

T0 = time.monotonic()
R = os.environ.get("R", os.path.dirname(os.path.abspath(__file__)))
OUT = os.environ.get("OUT", "/tmp/rehearsal-out")
LIMIT = float(os.environ.get("LIMIT", "525"))
ONLY = set(filter(None, os.environ.get("ONLY", "").split(",")))
FAST = bool(os.environ.get("FAST"))  # a dry run without a GPU: small sizes
BIN = os.path.join(R, "bin")
WORK = os.environ.get("WORK", "/tmp/rehearsal-work")
PY = sys.executable or "python3"
os.makedirs(OUT, exist_ok=True)
os.makedirs(WORK, exist_ok=True)
LOG = open(os.path.join(OUT, "log.txt"), "ab", buffering=0)
NUMBERS = open(os.path.join(OUT, "numbers.jsonl"), "a", buffering=1)
LOCK = threading.Lock()
LOGGED = [0]  # bytes of output in the log so far


def now():
    return time.monotonic() - T0


def left():
    return LIMIT - now()


def log(text):
    with LOCK:
        LOG.write(f"[{now():6.1f}] {text}\n".encode(errors="replace"))


def say(text):
    log(text)
    print(f"[{now():5.0f}] {text[:400]}", flush=True)


def number(what, **values):
    try:
        line = json.dumps({"what": what, "at": round(now(), 1), **values}, default=str)
    except Exception as error:  # never lose a stage over a number
        line = json.dumps({"what": what, "at": round(now(), 1), "bad_json": repr(error), "repr": repr(values)[:2000]})
    with LOCK:
        NUMBERS.write(line + "\n")
        NUMBERS.flush()


class Job:
    """A command in a session of its own, its output into the log as it comes; killed with all its children at its timeout."""

    def __init__(self, name, command, timeout, env=None, cwd=None, keep=4_000_000, nice=0):
        self.name, self.timeout, self.keep, self.timed_out, self.rc = name, max(1.0, min(timeout, left())), keep, False, None
        self.out, self.err, self.threads = bytearray(), bytearray(), []
        self.start = time.monotonic()
        self.seconds = 0.0
        self.dead = None
        command = [str(word) for word in command]
        if nice:
            command = ["nice", "-n", str(nice), *command]
        log(f"{name}: {' '.join(command)} (timeout {self.timeout:.0f})")
        try:
            self.process = subprocess.Popen(command, env={**ENV, **(env or {})}, cwd=cwd or WORK, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        except Exception as error:
            self.process, self.rc, self.dead = None, -999, repr(error)
            log(f"{name}: cannot start: {error!r}")
            return
        for pipe, to in ((self.process.stdout, self.out), (self.process.stderr, self.err)):
            thread = threading.Thread(target=self.read, args=(pipe, to), daemon=True)
            thread.start()
            self.threads.append(thread)
        threading.Thread(target=self.watch, daemon=True).start()

    def read(self, pipe, to):
        logged = 0
        try:
            for line in iter(pipe.readline, b""):
                if len(to) < self.keep:
                    to += line
                if logged < 200_000 and LOGGED[0] < 13_000_000:
                    logged += len(line)
                    LOGGED[0] += len(line) + 24
                    with LOCK:
                        LOG.write(f"  {self.name}| ".encode() + line[:2000].rstrip(b"\n") + b"\n")
        except Exception:
            pass

    def watch(self):
        try:
            self.process.wait(timeout=self.timeout)
        except subprocess.TimeoutExpired:
            self.timed_out = True
            self.kill()
        except Exception:
            pass
        self.seconds = time.monotonic() - self.start

    def kill(self):
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except Exception:
            pass

    def running(self):
        return self.process is not None and self.process.poll() is None

    def wait(self, until=None):
        """Its end, at the latest when its timeout or `until` seconds from the start of all have passed."""
        if self.process is None:
            return self
        deadline = self.start + self.timeout + 5
        if until is not None:
            deadline = min(deadline, T0 + until)
        while self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if self.process.poll() is None:
            self.timed_out = True
            self.kill()
            try:
                self.process.wait(5)
            except Exception:
                pass
        if self.rc is None:
            self.rc = self.process.poll()
            self.seconds = self.seconds or time.monotonic() - self.start
        for thread in self.threads:
            thread.join(3)
        log(f"{self.name}: rc {self.rc}{' TIMED OUT' if self.timed_out else ''}, {self.seconds:.1f} s")
        return self

    def text(self):
        return self.out.decode(errors="replace")

    def errors(self):
        return self.err.decode(errors="replace")

    def both(self):
        return self.text() + "\n" + self.errors()

    def json(self):
        """The JSON object that its stdout is or ends with."""
        text = self.text()
        try:
            return json.loads(text)
        except Exception:
            pass
        for line in reversed(text.splitlines()):
            if line.startswith("{"):
                try:
                    return json.loads(line)
                except Exception:
                    continue
        return None


def run(name, command, timeout, **options):
    return Job(name, command, timeout, **options).wait()


ENV = dict(os.environ)
ENV.update(CUDA_CACHE_PATH=os.path.join(WORK, "CC"), CUDA_CACHE_MAXSIZE="4294967296", SWEEP_NEED_GPU="1", RUST_BACKTRACE="1",
           TORCHINDUCTOR_CACHE_DIR=os.path.join(WORK, "TI"), TRITON_CACHE_DIR=os.path.join(WORK, "TR"), NO_COLOR="1",
           XLA_PYTHON_CLIENT_PREALLOCATE="false", TF_CPP_MIN_LOG_LEVEL="2")
OURS = {}  # more for our own programs


def binary(name):
    return os.path.join(BIN, name)


def ours(name, program, arguments, timeout, env=None, **options):
    return Job(name, [binary(program), *arguments], timeout, env={**OURS, **(env or {})}, **options)


# ---------------------------------------------------------------- stages

def sanity():
    run("smi", ["nvidia-smi"], 10)
    card = run("card", ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,memory.used,clocks.sm,clocks.mem,clocks.max.sm,power.draw,power.limit,"
                        "temperature.gpu,compute_mode,persistence_mode", "--format=csv,noheader"], 10).text().strip()
    tools = {tool: shutil.which(tool) for tool in ("ncu", "compute-sanitizer", "nvcc", "cuobjdump", "ptxas", "xz", "ldd", "nice")}
    extra = [d for d in ("/usr/local/cuda/bin", *glob.glob("/opt/nvidia/nsight-compute/*"), *glob.glob("/usr/local/cuda-*/bin"),
                         *glob.glob("/usr/local/cuda*/compute-sanitizer"), *glob.glob("/opt/cuda*/bin")) if os.path.isdir(d)]
    if any(path is None for path in tools.values()) and extra:
        os.environ["PATH"] = ENV["PATH"] = ENV.get("PATH", "/usr/bin:/bin") + ":" + ":".join(extra)
        tools = {tool: shutil.which(tool) for tool in tools}
    # Versions without an import, which takes seconds.
    try:
        from importlib import metadata
        versions = {}
        for package in ("torch", "torchvision", "triton", "jax", "jaxlib", "numpy", "nvidia-cudnn-cu13", "nvidia-cublas", "nvidia-cuda-runtime", "nvidia-curand"):
            try:
                versions[package] = metadata.version(package)
            except Exception:
                versions[package] = None
    except Exception as error:
        versions = repr(error)
    listing = {path: sorted(os.listdir(path))[:12] if os.path.isdir(path) else None for path in ("/proc/driver/nvidia/gpus",)}
    listing["/dev/nvidia*"] = glob.glob("/dev/nvidia*")
    # Where the libraries are.
    folders = []
    try:
        import importlib.util
        spec = importlib.util.find_spec("nvidia")
        for place in (spec.submodule_search_locations or []) if spec else []:
            folders += glob.glob(os.path.join(place, "*", "lib"))
    except Exception as error:
        log(f"no package nvidia: {error!r}")
    folders += glob.glob("/usr/local/nvidia/lib64") + glob.glob("/usr/local/nvidia/lib") + glob.glob("/usr/local/cuda/lib64")
    if os.environ.get("EMULATION"):
        folders = os.environ["EMULATION"].split(":")
    OURS["LD_LIBRARY_PATH"] = ":".join(folders + [ENV["LD_LIBRARY_PATH"]] if ENV.get("LD_LIBRARY_PATH") else folders)
    if not listing["/proc/driver/nvidia/gpus"] and not glob.glob("/dev/nvidia[0-9]*") and not os.environ.get("EMULATION"):
        # The controller counts GPUs there; a machine that shows none still has one.
        say("the driver lists no GPU: the controller is shown one")
        OURS.update(LD_PRELOAD=os.path.join(R, "emu", "listing.so"), SWEEP_EMU_GPUS=os.path.join(R, "emu", "gpus"))
    missing = set()
    for program in sorted(os.listdir(BIN)) if os.path.isdir(BIN) else []:
        text = run(f"ldd-{program}", ["ldd", binary(program)], 10, env=OURS).both()
        missing |= set(re.findall(r"(\S+) => not found", text)) | set(re.findall(r"version `\S+' not found", text))
    found = {}
    for name in sorted(missing):
        where = run(f"find-{name}", ["find", "/usr", "/opt", "/lib", "-name", name, "-not", "-path", "*/stubs/*"], 15).text().split()
        found[name] = where[:3]
        if where:
            OURS["LD_LIBRARY_PATH"] += ":" + os.path.dirname(where[0])
    number("sanity", card=card, cores=os.cpu_count(), tools=tools, versions=versions, kernel=os.uname().release, listing=listing,
           library_path=OURS["LD_LIBRARY_PATH"], missing=found, binaries=sorted(os.listdir(BIN)) if os.path.isdir(BIN) else None)
    say(f"card: {card}; cores {os.cpu_count()}; missing libraries: {found}; tools absent: {[t for t, p in tools.items() if not p]}")


BACK = {}


def background():
    """What needs no clock: the peer's compilation, data, clocks."""
    try:
        smi = open(os.path.join(OUT, "smi.csv"), "ab", buffering=0)
        fields = "timestamp,clocks.sm,clocks.mem,power.draw,temperature.gpu,utilization.gpu,memory.used,clocks_event_reasons.active"
        BACK["smi"] = subprocess.Popen(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits", "-l", "5"], stdin=subprocess.DEVNULL,
                                       stdout=smi, stderr=subprocess.STDOUT, start_new_session=True)
    except Exception as error:
        log(f"no clocks: {error!r}")
    for batch in (64, 256):
        BACK[f"compile{batch}"] = Job(f"compile{batch}", [PY, os.path.join(R, "peer.py"), "--warm", "--batch", batch], 175,
                                      env={"TORCHINDUCTOR_COMPILE_THREADS": "6"}, nice=5)
    os.makedirs(os.path.join(WORK, "heads"), exist_ok=True)
    BACK["heads-data"] = ours("heads-data", "heads", ["--n", "2000" if FAST else "20000", "--epochs", "1", "--threads", "4", "--data", os.path.join(WORK, "heads")], 120)
    for name in ("small", "oom"):
        shutil.copy(os.path.join(R, "sweeps", f"{name}.toml"), WORK)
        BACK[f"data-{name}"] = ours(f"data-{name}", "sweep", ["data", f"{name}.toml", "--format", "json", "--db", f"{name}-data.db"], 120)


PASSED = {}


def tested(job, what):
    text = job.both()
    results = re.findall(r"test result: (\w+)\. (\d+) passed; (\d+) failed", text)
    failed = sorted(set(re.findall(r"^    (\w+)$", text.split("failures:")[-1], re.M))) if "failures:" in text else []
    worst = {}
    for name, error in re.findall(r"^(?:test \S+ \.\.\. )?(.*?): off by ([\d.e+-]+)", text, re.M):
        # Without the shape, so that one line stands for an operation and type.
        name = re.sub(r" \[.*", "", name)
        try:
            worst[name] = max(worst.get(name, 0.0), float(error))
        except ValueError:
            pass
    panics = re.findall(r"panicked at [^\n]*\n[^\n]*", text)[:12]
    plans = text.count("cuDNN, ")
    refused = sorted({line[:260] for line in re.findall(r"cuDNN, [^\n]*", text) if "NOT_SUPPORTED" in line or "BAD_PARAM" in line or "refused" in line})
    # A result that is wrong is one.
    PASSED[what] = sum(int(passed) for _, passed, _ in results) + text.count("off by")
    number("tests", name=what, rc=job.rc, timed_out=job.timed_out, seconds=round(job.seconds, 1), results=results, failed=failed, worst=worst,
           panics=panics, plans=plans, refused=refused[:20])
    verdict = ", ".join(f"{r} {p}/{int(p) + int(f)}" for r, p, f in results) or "no result"
    say(f"{what}: rc {job.rc}{' TIMEOUT' if job.timed_out else ''} {verdict} in {job.seconds:.0f} s; failed {failed}; {plans} plans, {len(refused)} with refusals"
        + (f"; first panic: {panics[0][:200]}" if panics else ""))


DEBUG = {"RUST_LOG": "sweep=debug"}
PLANS = {"RUST_LOG": "sweep::kernel=debug"}
TEST = ["--test-threads=1", "--nocapture"]


def first():
    """The least first: whether anything runs at all. The first process has the driver translate the kernels."""
    for name, test in (("first-updates", "updates_of_bundles"), ("first-convolutions", "convolutions")):
        job = ours(name, "cuda_kernels", ["--exact", test, *TEST], 60, env=PLANS).wait()
        tested(job, name)
        if not PASSED.get(name):
            print(job.both()[-1500:], flush=True)


def untimed():
    """Tests and sanitizers, all beside each other."""
    jobs = {}
    for name in ("cuda_kernels", "cuda_models", "device_ways", "device_bundles"):
        jobs[name] = ours(name, name, TEST, 80, env=PLANS)
    sanitizer = shutil.which("compute-sanitizer", path=ENV.get("PATH"))
    if sanitizer:
        help_text = run("sanitizer-help", [sanitizer, "--help"], 10).both()
        stream = ["--track-stream-ordered-races", "all"] if "track-stream-ordered-races" in help_text else []
        log(f"sanitizer: track-stream-ordered-races {bool(stream)}")
        common = ["--print-limit", "25", "--error-exitcode", "77"]
        for name, tool, program, filters in (
            ("memcheck-dense", ["memcheck", *stream], "cuda_kernels", ["dense_blocks"]),
            ("memcheck-bundles", ["memcheck", *stream], "device_bundles", ["repeats"]),
            ("memcheck-ways", ["memcheck", *stream], "device_ways", ["a_run_on", "batches"]),
            ("racecheck", ["racecheck"], "cuda_kernels", ["batch_norms_in", "losses_of", "updates_of", "pools"]),
            ("initcheck", ["initcheck"], "cuda_kernels", ["dense_blocks"]),
        ):
            jobs[name] = Job(name, [sanitizer, "--tool", *tool, *common, binary(program), *filters, *TEST], 110, env=OURS, nice=5)
    else:
        number("sanitizer", name="absent")
    for name in ("cuda_kernels", "cuda_models", "device_ways", "device_bundles"):
        tested(jobs.pop(name).wait(), name)
    BACK.update(jobs)


def sanitized(until):
    """The sanitizers' ends, at the latest then."""
    for name in [name for name in BACK if name.startswith(("memcheck", "racecheck", "initcheck"))]:
        job = BACK.pop(name).wait(until)
        text = job.both()
        summary = re.findall(r"=+ (?:ERROR|RACECHECK|LEAK) SUMMARY:[^\n]*", text)
        first_lines = [line[10:150] for line in re.findall(r"^========= (?:Invalid|Error|Warning|Uninit|Race|Program hit|.*hazard)[^\n]*", text, re.M)]
        kinds = {}
        for line in first_lines:
            kinds[line] = kinds.get(line, 0) + 1
        kernels = {}
        for line in re.findall(r"^=========     at ([^\n+]*)", text, re.M):
            kernels[line[:90]] = kernels.get(line[:90], 0) + 1
        number("sanitizer", name=name, rc=job.rc, timed_out=job.timed_out, seconds=round(job.seconds, 1), summary=summary, kinds=dict(list(kinds.items())[:15]),
               kernels=dict(list(kernels.items())[:15]), tests=re.findall(r"test result: [^\n;]*; \d+ failed", text))
        say(f"{name}: rc {job.rc}{' TIMEOUT' if job.timed_out else ''} {summary} {list(kinds)[:2]}")


def compiled(until):
    for name in [name for name in BACK if name.startswith(("compile", "data-", "heads-data"))]:
        job = BACK.pop(name).wait(until)
        number("prepared", name=name, rc=job.rc, timed_out=job.timed_out, seconds=round(job.seconds, 1), tail=job.both()[-300:] if job.rc else "")
        say(f"{name}: rc {job.rc}{' TIMEOUT' if job.timed_out else ''} after {job.seconds:.0f} s" + (f": {job.errors()[-200:]}" if job.rc else ""))


    # What was tried beside other work is tried again by whoever is timed.
    for path in glob.glob(os.path.join(WORK, "TI", "**", "*.best_config"), recursive=True):
        try:
            os.remove(path)
        except OSError:
            pass


def lines(job):
    """JSON lines of a Python stage into the numbers."""
    count = 0
    for line in job.text().splitlines():
        if line.startswith("{"):
            try:
                value = json.loads(line)
            except Exception:
                continue
            number(value.pop("what", job.name), **value)
            count += 1
    number("stage", name=job.name, rc=job.rc, timed_out=job.timed_out, seconds=round(job.seconds, 1), lines=count,
           tail=job.errors()[-600:] if job.rc else "")
    say(f"{job.name}: rc {job.rc}{' TIMEOUT' if job.timed_out else ''} {count} numbers in {job.seconds:.0f} s" + (f"; {job.errors()[-300:]}" if job.rc else ""))


def probe():
    lines(run("probe", [PY, os.path.join(R, "probe.py")] + (["--fast"] if FAST else []), 60))


STEP = {"RAYON_NUM_THREADS": "4", "CANDLE_NUM_THREADS": "1", "MIMALLOC_PURGE_DELAY": "-1"}
BITS = {}
SHOWN = set()


def step(name, size, batch, steps, warmup, precision="bf16", timeout=30, **env):
    arguments = ["--size", size, "--batch", batch, "--steps", steps, "--warmup", warmup, "--threads", 4, "--device", "cuda:0", "--precision", precision]
    job = ours(name, "densenet_step", arguments, timeout, env={**STEP, **DEBUG, **env}).wait()
    found = job.json() or {}
    if found:
        found["losses"] = found.get("losses", [])[:3]
        bits = found.get("losses_bits")
        key = (size, batch, steps, warmup, precision)
        if bits:
            found["same_bits_as_before"] = BITS.get(key) == bits if key in BITS else None
            BITS.setdefault(key, bits)
            found["losses_bits"] = bits[:2] + bits[-1:]
    plans = sorted(set(re.findall(r"cuDNN, [^\n]*", job.errors())))
    number("step", name=name, rc=job.rc, timed_out=job.timed_out, seconds=round(job.seconds, 1), env=env,
           error="" if job.rc == 0 else job.errors()[-700:], plans=len(plans), **found)
    with open(os.path.join(OUT, "plans.txt"), "a") as file:
        for plan in plans:
            if plan not in SHOWN:
                SHOWN.add(plan)
                file.write(f"{name}: {plan}\n")
    ms = lambda key: f"{1e3 * found[key]:.2f}" if key in found else "-"
    say(f"{name}: rc {job.rc}{' TIMEOUT' if job.timed_out else ''} course {ms('median_course_step_s')} ms (enqueued {ms('median_enqueued_step_s')}), "
        f"synchronised {ms('median_step_s')}, evaluation {ms('median_evaluation_s')} ms, same bits {found.get('same_bits_as_before')}"
        + (f"; {job.errors()[-250:]}" if job.rc else ""))


def steps():
    if FAST:
        step("step-tiny", 32, 2, 2, 1)
        return
    step("step-64", 224, 64, 30, 10)
    step("step-64-again", 224, 64, 30, 10)
    step("step-256", 224, 256, 12, 4)
    step("enqueue-32x2", 32, 2, 60, 15)
    step("enqueue-32x2-events", 32, 2, 60, 15, SWEEP_CUDA_EVENTS="1")
    step("step-64-events", 224, 64, 30, 10, SWEEP_CUDA_EVENTS="1")
    step("step-64-f32", 224, 64, 8, 3, precision="f32", timeout=40)


def peers():
    # What compiled in the background is in the cache; if it was killed there, compiling again would take the time of all that follows.
    for batch in (64, 256):
        lines(run(f"peer-{batch}", [PY, os.path.join(R, "peer.py"), "--batch", batch] + (["--fast"] if FAST else []), 70))
        if not FAST:
            step(f"step-{batch}-after", 224, batch, *((30, 10) if batch == 64 else (12, 4)))


def profile():
    ncu = shutil.which("ncu", path=ENV.get("PATH"))
    if not ncu:
        number("ncu", error="absent")
        return say("ncu: absent")
    size = ["--size", "32", "--batch", "2"] if FAST else ["--size", "224", "--batch", "64"]
    program = [binary("densenet_step"), *size, "--steps", "1", "--warmup", "3", "--threads", "4", "--device", "cuda:0", "--precision", "bf16", "--profile"]
    for name, metrics, extra, timeout in (("ncu", "gpu__time_duration.sum,dram__bytes.sum", [], 75), ("ncu-again", "gpu__time_duration.sum", ["--launch-count", "900"], 40)):
        raw = os.path.join(WORK, f"{name}.csv")
        job = run(name, [ncu, "--clock-control", "none", "--cache-control", "none", "--profile-from-start", "off", "--target-processes", "all", "--metrics", metrics,
                         "--csv", "--page", "raw", "--print-units", "base", "--log-file", raw, *extra, *program], timeout, env={**OURS, **STEP})
        try:
            count = kernels(name, raw)
        except Exception:
            count = 0
            log(traceback.format_exc())
        number("ncu", name=name, rc=job.rc, timed_out=job.timed_out, seconds=round(job.seconds, 1), kernels=count, tail=job.both()[-600:])
        say(f"{name}: rc {job.rc}{' TIMEOUT' if job.timed_out else ''} {count} kernels in {job.seconds:.0f} s" + ("" if count else f"; {job.both()[-300:]}"))
        if count:
            break


def family(name):
    if re.search(r"cudnn|implicit_convolve|convolve|dgrad|wgrad|fprop", name, re.I):
        return "cudnn"
    if re.search(r"gemm|cublas|cutlass|splitK|nvjet|sm\d\d_xmma", name, re.I):
        return "cublas"
    if re.search(r"^(fill_|cast_|ucopy|copy2d|badd|bsub|bmul|bdiv|affine|u?relu|usqr|fast_sum|fast_max|const_set|conv1d|unary|binary)", name):
        return "candle"
    return "other"


def scale(unit):
    """To nanoseconds and bytes."""
    unit = (unit or "").strip().lower()
    if unit in ("s", "second", "seconds"):
        return 1e9
    if unit.startswith(("us", "µs")):
        return 1e3
    if unit.startswith(("ms", "msec")):
        return 1e6
    return {"k": 1e3, "m": 1e6, "g": 1e9}.get(unit[0], 1.0) if unit.endswith(("byte", "bytes")) and unit else 1.0


def kernels(name, raw):
    if not os.path.exists(raw):
        return 0
    with open(raw, newline="", errors="replace") as file:
        rows = [line for line in file if not line.startswith("==")]
    start = next((i for i, line in enumerate(rows) if line.startswith('"ID"') or line.startswith("ID,")), None)
    if start is None:
        log(f"{name}: no table in {raw}: {rows[:5]}")
        return 0
    found = {}
    grid = {}
    units = {}
    for row in csv.DictReader(rows[start:]):
        kernel = row.get("Kernel Name") or ""
        if not (row.get("ID") or "").strip():
            units.update({key: unit for key, unit in row.items() if key and unit})
        if not kernel or not (row.get("ID") or "").strip().isdigit():
            continue
        value = lambda text, unit: float((text or "0").replace(",", "") or 0) * scale(unit)
        if "Metric Name" in row:
            each = {row["Metric Name"]: value(row["Metric Value"], row.get("Metric Unit"))}
            once = row["Metric Name"] == "gpu__time_duration.sum"
        else:
            each = {key: value(row.get(key), units.get(key)) for key in ("gpu__time_duration.sum", "dram__bytes.sum") if row.get(key)}
            once = True
        entry = found.setdefault(kernel, {"count": 0, "ns": 0.0, "bytes": 0.0, "longest": 0.0})
        time_ = each.get("gpu__time_duration.sum", 0.0)
        entry["count"] += once
        entry["ns"] += time_
        entry["longest"] = max(entry["longest"], time_)
        entry["bytes"] += each.get("dram__bytes.sum", 0.0)
        grid.setdefault(kernel, {}).setdefault((row.get("Grid Size"), row.get("Block Size")), 0)
        grid[kernel][(row.get("Grid Size"), row.get("Block Size"))] += once
    table = sorted(found.items(), key=lambda item: -item[1]["ns"])
    with open(os.path.join(OUT, f"{name}.csv"), "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["kernel", "family", "launches", "us", "longest_us", "MB", "GB_per_s", "most_used_grids"])
        for kernel, e in table:
            grids = sorted(grid[kernel].items(), key=lambda item: -item[1])[:3]
            writer.writerow([kernel[:240], family(kernel), e["count"], round(e["ns"] / 1e3, 1), round(e["longest"] / 1e3, 1), round(e["bytes"] / 1e6, 2),
                             round(e["bytes"] / max(e["ns"], 1e-9), 1), "; ".join(f"{g} x {b}: {n}" for (g, b), n in grids)])
    try:
        with open(raw, "rb") as source, gzip.open(os.path.join(OUT, f"{name}_raw.csv.gz"), "wb") as target:
            shutil.copyfileobj(source, target)
    except Exception as error:
        log(f"raw csv: {error!r}")
    total = {"launches": sum(e["count"] for _, e in table), "us": round(sum(e["ns"] for _, e in table) / 1e3), "MB": round(sum(e["bytes"] for _, e in table) / 1e6)}
    families = {}
    for kernel, e in table:
        f = families.setdefault(family(kernel), [0, 0.0, 0.0])
        f[0] += e["count"]
        f[1] += e["ns"] / 1e3
        f[2] += e["bytes"] / 1e6
    number("ncu_total", **total, families={key: [round(v) for v in f] for key, f in families.items()})
    for kernel, e in table[:40]:
        number("kernel", kernel=kernel[:110], family=family(kernel), launches=e["count"], us=round(e["ns"] / 1e3, 1), longest_us=round(e["longest"] / 1e3, 1),
               MB=round(e["bytes"] / 1e6, 1), GB_per_s=round(e["bytes"] / max(e["ns"], 1e-9), 0))
    return total["launches"]


def database(path):
    """Of a sweep's database: runs by state, attempts by outcome, the bits of its losses."""
    if not os.path.exists(path):
        return {"error": f"no {path}"}
    try:
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
        ask = lambda query: db.execute(query).fetchall()
        return {
            "runs": dict(ask("SELECT state, count(*) FROM runs GROUP BY state")),
            "attempts": dict(ask("SELECT coalesce(outcome, 'open'), count(*) FROM attempts GROUP BY 1")),
            "why": [w[:230] for (w,) in ask("SELECT DISTINCT why FROM attempts WHERE why <> '' LIMIT 4")],
            "logs": [w[-300:] for (w,) in ask("SELECT log FROM attempts WHERE outcome NOT IN ('ok', 'stopped') AND log <> '' LIMIT 2")],
            "images_per_s": ask("SELECT round(avg(images_per_s)), round(max(images_per_s)) FROM epochs WHERE epoch > 0")[0],
            "from_epochs": [e for (e,) in ask("SELECT from_epoch FROM attempts WHERE from_epoch > 0")],
            "losses": sorted((r, e, l.hex() if isinstance(l, float) else l) for r, e, l in
                             ask("SELECT fingerprint, epoch, train_loss FROM epochs JOIN runs ON runs.id = epochs.run")),
            "macro_f1": ask("SELECT round(avg(macro_f1), 4) FROM leaderboard WHERE split = 'val' AND last_epoch")[0][0],
        }
    except Exception as error:
        return {"error": repr(error)}


LOSSES = {}


def compared():
    """Losses of the sweeps beside those of the undisturbed one: equal bits of how many."""
    first = dict(((r, e), l) for r, e, l in LOSSES.get("1-worker") or [])
    for name, losses in LOSSES.items():
        if name != "1-worker" and losses and name != "out-of-memory":
            both = [(l, first[(r, e)]) for r, e, l in losses if (r, e) in first]
            far = [abs(float.fromhex(a) - float.fromhex(b)) for a, b in both if isinstance(a, str) and isinstance(b, str)]
            number("same_losses", name=name, equal=sum(a == b for a, b in both), of=len(both), furthest=max(far, default=None))


def swept(name, job, db, **more):
    found = database(os.path.join(WORK, db))
    losses = found.pop("losses", None)
    LOSSES[name] = losses
    logs = []
    for path in sorted(glob.glob(os.path.join(WORK, db[:-3] + ".runs", "**", "*.log"), recursive=True)) + \
            sorted(glob.glob(os.path.join(WORK, db[:-3] + ".runs", "**", "log.txt"), recursive=True)):
        try:
            with open(path, errors="replace") as file:
                text = file.read(2_000_000)
            log(f"--- {path}\n{text[-3000:]}")
            logs += re.findall(r"the data set[^\n]*", text)[:1]
        except Exception:
            pass
    number("sweep", name=name, tail=job.errors()[-400:] if job.rc else "", rc=job.rc, timed_out=job.timed_out, seconds=round(job.seconds, 1), feed=sorted(set(logs))[:2], **found, **more)
    say(f"sweep {name}: rc {job.rc}{' TIMEOUT' if job.timed_out else ''} {job.seconds:.1f} s, runs {found.get('runs')}, attempts {found.get('attempts')}, "
        f"{found.get('images_per_s')} img/s {found.get('error', '')}" + (f"; {job.errors()[-300:]}" if job.rc else ""))


SWEEP = {"RUST_LOG": "sweep=info"}
DEVICE = os.environ.get("DEVICE", "cuda:0")


def sweep(name, file, db, *more, timeout=45, wait=True, per_device=1):
    prepared, own = os.path.join(WORK, file[:-5] + "-data.cache"), os.path.join(WORK, db[:-3] + ".cache")
    if os.path.isdir(prepared) and not os.path.exists(own):
        shutil.copytree(prepared, own)
    job = ours(f"sweep-{name}", "sweep", ["run", file, "--devices", DEVICE, "--per-device", str(per_device), "--quiet", "--format", "json", "--db", db, *more],
               timeout, env=SWEEP, keep=200_000)
    return job.wait() if wait else job


def sweeps():
    less = ["--set", "train.epochs=1", "--set", "grid.seed=[0]"] if FAST else []
    swept("1-worker", sweep("1-worker", "small.toml", "one.db", *less), "one.db")
    swept("2-workers", sweep("2-workers", "small.toml", "two.db", *less, per_device=2), "two.db")


def children(pid):
    found = []
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path) as file:
                text = file.read()
            if int(text.rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(text.split()[0]))
        except Exception:
            continue
    return found


def begun(job, db, seconds):
    """Waits until an epoch of a run of that sweep is recorded."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and job.running():
        try:
            with sqlite3.connect(f"file:{os.path.join(WORK, db)}?mode=ro", uri=True, timeout=1) as connection:
                if connection.execute("SELECT count(*) FROM epochs").fetchone()[0] > 0:
                    return True
        except Exception:
            pass
        time.sleep(0.1)
    return False


def killed():
    """A worker killed in the middle of a run, then the controller; both sweeps must come to the undisturbed one's results."""
    less = ["--set", "train.epochs=3", "--set", "grid.seed=[0]"] if FAST else []
    if "data-small" in BACK:
        BACK["data-small"].wait(now() + 20)
    job = sweep("killed-worker", "small.toml", "killed.db", *less, wait=False)
    ready = begun(job, "killed.db", 15)
    victims = children(job.process.pid) if job.process else []
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
        except Exception as error:
            log(f"kill {pid}: {error!r}")
    swept("killed-worker", job.wait(), "killed.db", killed=len(victims), ready=ready)
    if left() < 35:
        return
    job = sweep("killed-controller", "small.toml", "orphan.db", *less, wait=False)
    ready = begun(job, "orphan.db", 15)
    try:
        os.kill(job.process.pid, signal.SIGKILL)
    except Exception as error:
        log(f"kill: {error!r}")
    job.wait()
    again = ours("sweep-resume", "sweep", ["resume", "--devices", DEVICE, "--per-device", "1", "--quiet", "--format", "json", "--db", "orphan.db"], 40,
                 env=SWEEP, keep=200_000).wait()
    swept("resumed", again, "orphan.db", ready=ready)


def oom():
    """A batch without room ends as `out_of_memory`, and the worker trains the next run. Others hold the rest of the memory."""
    job = None
    if not os.environ.get("EMULATION"):
        job = Job("hog", [PY, os.path.join(R, "hog.py"), "5"], 60)
        end = time.monotonic() + 20
        while time.monotonic() < end and job.running() and b"held" not in job.out:
            time.sleep(0.1)
    swept("out-of-memory", sweep("out-of-memory", "oom.toml", "oom.db", timeout=45), "oom.db", hog=job.text()[-100:] if job else None)
    if job:
        job.kill()
        job.wait()


def heads():
    data = os.path.join(WORK, "heads")
    n = "2000" if FAST else "20000"
    for name, more, timeout in (("heads-40", [], 30), ("heads-1000", ["--rates", "25"], 60)):
        job = ours(name, "heads", ["--n", n, "--epochs", "1" if FAST else "5", "--threads", "16", "--device", DEVICE, "--data", data, *more], timeout, env=DEBUG).wait()
        phases = {}
        count = 0
        for line in re.findall(r"epoch \d+ of \d+ runs, ms:([^\n]*)", job.errors()):
            words = line.split()
            count += 1
            for key, value in zip(words[::2], words[1::2]):
                phases[key] = phases.get(key, 0.0) + float(value)
        number("heads", name=name, rc=job.rc, timed_out=job.timed_out, wall=round(job.seconds, 1), epochs_seen=count,
               phases_ms={key: round(value, 1) for key, value in phases.items()}, error="" if job.rc == 0 else job.errors()[-500:], **(job.json() or {}))
        found = job.json() or {}
        say(f"{name}: rc {job.rc}{' TIMEOUT' if job.timed_out else ''} {found.get('runs')} runs in {found.get('seconds', 0):.2f} s, {found.get('ms_per_head', 0):.2f} ms a head; "
            f"ms by phase {({k: round(v) for k, v in phases.items()})}" + (f"; {job.errors()[-250:]}" if job.rc else ""))
    for rates, timeout in ((1, 40), (25, 60)):
        if left() > 20:
            lines(run(f"jax-{40 * rates}", [PY, os.path.join(R, "jaxheads.py"), data, str(rates), "1" if FAST else "5"], timeout,
                      env={"CUDA_CACHE_DISABLE": "0"}))


def more():
    """With what time is left."""
    if FAST:
        return
    for name, size, batch, count, warm, precision in (("step-128", 224, 128, 12, 4, "bf16"), ("step-512", 224, 512, 6, 2, "bf16"), ("step-256-f32", 224, 256, 3, 1, "f32"),
                                           ("step-1024", 224, 1024, 3, 1, "bf16")):
        if left() > 25:
            step(name, size, batch, count, warm, precision, timeout=min(40, left() - 10))
    if left() > 40:
        # What the same grid takes on this machine's cores.
        job = ours("heads-40-cpu", "heads", ["--n", "20000", "--epochs", "5", "--threads", "16", "--data", os.path.join(WORK, "heads")], left() - 10).wait()
        number("heads", name="heads-40-cpu", rc=job.rc, timed_out=job.timed_out, **(job.json() or {}))


def sass():
    """Registers and loads of our kernels, on the CPU."""
    for path in sorted(glob.glob(os.path.join(R, "ptx", "*.ptx"))):
        cubin = os.path.join(WORK, os.path.basename(path) + ".cubin")
        done = run(f"ptxas-{os.path.basename(path)}", ["ptxas", "-v", "-arch=sm_90", path, "-o", cubin], 25, keep=100_000)
        used = {name: int(count) for name, count in re.findall(r"Compiling entry function '(\w+)'.*?Used (\d+) registers", done.errors(), re.S)}
        loads = {}
        if shutil.which("cuobjdump", path=ENV.get("PATH")):
            text = run(f"sass-{os.path.basename(path)}", ["sh", "-c", f"cuobjdump --dump-sass {cubin} | grep -oE 'Function : [A-Za-z0-9_]+|LDG[.A-Z0-9]*|STG[.A-Z0-9]*|LDL[.A-Z0-9]*|STL[.A-Z0-9]*'"], 25).text()
            function = None
            for line in text.splitlines():
                if line.startswith("Function : "):
                    function = line[11:]
                elif function:
                    kind = re.sub(r"\.(E|CONSTANT|STRONG|GPU|SYS|EF|LTC\w+)\b", "", line)
                    loads.setdefault(function, {}).setdefault(kind, 0)
                    loads[function][kind] += 1
        number("sass", module=os.path.basename(path), registers=used, spills=re.findall(r"(\d+) bytes spill stores", done.errors()), loads=loads)


def stage(name, need, work, *arguments):
    if ONLY and name not in ONLY:
        return
    if left() < need:
        number("skipped", stage=name, left=round(left()))
        return say(f"{name}: skipped, {left():.0f} s are left")
    start = time.monotonic()
    log(f"==== {name}")
    try:
        work(*arguments)
    except BaseException as error:  # the next stage must have its turn
        log(traceback.format_exc())
        number("broken", stage=name, error=repr(error), trace=traceback.format_exc()[-900:])
        say(f"{name}: BROKEN: {error!r}")
        if isinstance(error, KeyboardInterrupt):
            raise
    number("wall", stage=name, seconds=round(time.monotonic() - start, 1))


def main():
    stage("sanity", 5, sanity)
    stage("background", 5, background)
    stage("first", 10, first)
    if not ONLY and not os.environ.get("FORCE") and not any(PASSED.values()):
        # Time on the device is what is short: better a second start than eight minutes of nothing.
        number("dead_start")
        return say("DEAD START: neither test ran to its end. Nothing else is tried (FORCE=1 goes on all the same).")
    stage("untimed", 20, untimed)
    stage("killed", 30, killed)
    stage("sass", 5, sass)
    stage("sanitized", 0, sanitized, 150)
    stage("compiled", 0, compiled, 185)
    stage("probe", 15, probe)
    stage("steps", 15, steps)
    stage("peers", 25, peers)
    stage("profile", 25, profile)
    stage("sweeps", 20, sweeps)
    stage("heads", 20, heads)
    stage("compared", 0, compared)
    stage("oom", 25, oom)
    stage("more", 30, more)


if __name__ == "__main__":
    try:
        main()
    finally:
        for job in BACK.values():
            try:
                if isinstance(job, Job):
                    job.kill()
                else:
                    os.killpg(job.pid, signal.SIGKILL)
            except Exception:
                pass
        number("end", seconds=round(now(), 1))
        say("the end")
        os._exit(0)
