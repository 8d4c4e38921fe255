"""What a run costs that does nothing: sweep's controller, Optuna, Ray Tune, interleaved.

    cargo build --release --bin sweep
    python benches/overhead_side_by_side.py [--runs 2000] [--rounds 3] [--optuna 200] [--ray 40] [--bare] [--report]

sweep: `sweep run FILE --on fake`, whose workers write a real journal of made-up results: each run is planned, recorded as begun before
its worker hears of it, told in a journal that waits for the disk, and stored with its scores on two labels. Runs differ by seed, so
each is an order of its own, the dearest case. Optuna: `study.optimize` with a random sampler, an objective that returns a number, and
SQLite, journal-file or no storage. Ray Tune: a function that returns a number, on as many CPUs as there are.
The start of the program is taken off (`sweep` with 1 run; Optuna and Ray count from their first trial on).

`--bare` leaves Ray out. `--report` times `sweep plan` of 100,000 points and, on a database of 10,000 runs under 10 policies,
`sweep report` instead. Needs: optuna, ray[tune].
"""
import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

from side_by_side import measured, own_peak_kib, ratios, release, said, spread

SWEEP = release("sweep")


def sweep_file(folder, runs, policies=1, grid=""):
    path = pathlib.Path(folder) / f"idle-{runs}-{policies}.toml"
    thresholds = [round((policy + 1) / (policies + 1), 4) for policy in range(policies)]
    path.write_text(f"""
name = "idle"
[data]
kind = "letters"
samples = 300
image_size = 16
label_rates = {{ A = 0.3, B = 0.4 }}
[model]
arch = "linear"
[train]
epochs = 1
[grid]
seed = {list(range(runs))}
threshold = {thresholds}
{grid}[workers]
devices = "cpu"
""")
    return path


def sweep(folder, runs, tag):
    """Seconds and CPU seconds of all but the start, peak KiB."""
    cost = []
    for count in (1, runs):
        _, *numbers = measured([SWEEP, "run", sweep_file(folder, count), "--on", "fake", "--quiet", "--format", "json",
                                "--db", f"{folder}/{tag}-{count}.db"])
        cost.append(numbers)
    return {"seconds": cost[1][0] - cost[0][0], "cpu": cost[1][1] - cost[0][1], "peak_kib": cost[1][2]}


def cpu():
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def optuna_trials(storage, folder, trials):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    store = {
        "sqlite": lambda: f"sqlite:///{folder}/optuna.db",
        "journal": lambda: optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(f"{folder}/optuna.log")),
        "memory": lambda: None,
    }[storage]()
    study = optuna.create_study(storage=store, sampler=optuna.samplers.RandomSampler(0))
    idle = lambda trial: trial.suggest_float("x", 0, 1)
    study.optimize(idle, n_trials=3)
    start, before = time.perf_counter(), cpu()
    study.optimize(idle, n_trials=trials)
    return {"seconds": time.perf_counter() - start, "cpu": cpu() - before, "version": optuna.__version__}


def ray_trials(folder, trials):
    """CPU: of the driver alone, because Ray's processes are not its children."""
    import ray
    from ray import tune

    ray.init(num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    idle = lambda config: {"x": config["x"]}

    def fit(count):
        config = tune.RunConfig(storage_path=folder, verbose=0)
        tune.Tuner(idle, param_space={"x": tune.grid_search(list(range(count)))}, run_config=config).fit()

    fit(2)
    start, before = time.perf_counter(), cpu()
    fit(trials)
    return {"seconds": time.perf_counter() - start, "cpu": cpu() - before, "version": ray.__version__}


def one(who, trials):
    with tempfile.TemporaryDirectory() as folder:
        result = ray_trials(folder, trials) if who == "ray" else optuna_trials(who, folder, trials)
    print(json.dumps({**result, "peak_kib": own_peak_kib()}))


def side_by_side(options):
    peers = {"Optuna, SQLite": ("sqlite", options.optuna), "Optuna, journal file": ("journal", options.optuna),
             "Optuna, memory": ("memory", options.optuna)}
    if not options.bare:
        peers["Ray Tune"] = ("ray", options.ray)
    rounds = {name: [] for name in ("sweep", *peers)}
    version = subprocess.run([SWEEP, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    with tempfile.TemporaryDirectory() as folder:
        sweep(folder, 1, "warm")
        for round in range(options.rounds):
            rounds["sweep"].append({**sweep(folder, options.runs, round), "runs": options.runs, "version": version})
            for name, (who, trials) in peers.items():
                # Ray may take minutes to place a trial on few cores; it is told so by `timeout`, with its children.
                command = ["timeout", options.patience, sys.executable, __file__, "--one", who, trials]
                try:
                    rounds[name].append({**said(command), "runs": trials})
                except subprocess.CalledProcessError as error:
                    print(f"{name}: {trials} runs {'not done after ' + str(options.patience) + ' s' if error.returncode == 124 else error}")
    per_run = {name: [1e3 * result["seconds"] / result["runs"] for result in results] for name, results in rounds.items()}
    for name, results in ((name, results) for name, results in rounds.items() if results):
        used = [1e3 * result["cpu"] / result["runs"] for result in results]
        print(f"{name:21} {results[0]['version']:7} {results[0]['runs']:6} runs: {spread(per_run[name], '{:.2f}')} ms a run, CPU "
              f"{spread(used, '{:.2f}')} ms, {spread(ratios(per_run[name], per_run['sweep']), '{:.2f}')} x sweep, "
              f"{max(result['peak_kib'] for result in results) / 1024:.0f} MiB")


def report(options):
    """Times and memory of reading."""
    with tempfile.TemporaryDirectory() as folder:
        rates = "\"train.learning_rate\" = [" + ", ".join(f"{1e-3 * (1 + step / 100):.6f}" for step in range(100)) + "]\n"
        points = sweep_file(folder, 1000, 1, rates)
        database, file = f"{folder}/idle.db", sweep_file(folder, 10_000, 10)
        measured([SWEEP, "run", file, "--on", "fake", "--quiet", "--format", "json", "--db", database])
        commands = {
            "plan of 100,000 points": ["plan", points, "--format", "json", "--db", f"{folder}/none.db"],
            "report --metric macro_f1": ["report", "--metric", "macro_f1", "--db", database],
            "report --metric macro_f1 --top 5": ["report", "--metric", "macro_f1", "--top", 5, "--db", database],
            "status": ["status", "--db", database],
        }
        for name, command in commands.items():
            results = [measured([SWEEP, *command])[1:] for _ in range(options.rounds)]
            seconds, used, peaks = zip(*results)
            print(f"{name:34} {spread(seconds, '{:.2f}')} s, CPU {spread(used, '{:.2f}')} s, {max(peaks) / 1024:.0f} MiB")
        print(f"database: 10,000 runs x 10 policies x (val, test), {os.path.getsize(database) / 2**20:.0f} MiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in dict(runs=2000, rounds=3, optuna=200, ray=40, patience=300).items():
        parser.add_argument("--" + name, type=int, default=value)
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return one(options.one[0], int(options.one[1]))
    (report if options.report else side_by_side)(options)


if __name__ == "__main__":
    main()
