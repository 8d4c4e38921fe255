"""Successive halving beside the whole grid: does it find the same winner, and what does it cost?

    python benches/search_beside_grid.py sweeps/search.toml [--sweep target/release/sweep] [--seeds 3] [-- --set KEY=VALUE ...]

Trains FILE twice into a temporary folder, with its own [search] and with search.kind = "grid", once for each seed of the search's order, and
prints for each: gradient steps and evaluations of all runs (reference runs aside) beside those of the grid, the winner by val macro AP (mean
over its seeds, of strategies that have all of them), and how it does in the grid beside the grid's own winner: difference of macro AP in pairs
of seeds, with a 95 % interval, on val and test. Python's standard library alone.
"""

import argparse
import pathlib
import sqlite3
import statistics
import subprocess
import tempfile
import time

T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}


def train(sweep, file, db, changes):
    begun = time.time()
    command = [sweep, "run", file, "--db", str(db), "--quiet", *changes]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.time() - begun


def cost(db):
    """Gradient steps and evaluations."""
    query = """SELECT sum(steps), sum(evaluations) FROM (
                   SELECT max(e.steps) AS steps, count(*) AS evaluations FROM sweep_runs w JOIN epochs e ON e.run = w.run
                   WHERE w.loss NOT LIKE 'logistic%' GROUP BY w.run)"""
    with sqlite3.connect(db) as connection:
        return connection.execute(query).fetchone()


def values(db, split):
    """strategy -> seed -> macro AP at the best epoch, of complete runs."""
    query = """SELECT w.loss || '|' || w.pos_weight || '|' || coalesce(w.gamma, '') || '|' || w.sampler || '|' || w.params, w.seed, k.macro_ap
               FROM sweep_runs w JOIN runs r ON r.id = w.run
               JOIN rankings k ON k.run = r.id AND k.epoch = r.best_epoch AND k.split = ?
               WHERE r.state = 'succeeded' AND w.loss NOT LIKE 'logistic%'"""
    found = {}
    with sqlite3.connect(db) as connection:
        for strategy, seed, value in connection.execute(query, (split,)):
            found.setdefault(strategy, {})[seed] = value
    return found


def best(found):
    most = max(len(seeds) for seeds in found.values())
    complete = {strategy: seeds for strategy, seeds in found.items() if len(seeds) == most}
    return max(complete, key=lambda strategy: statistics.mean(complete[strategy].values())), len(complete)


def paired(one, other):
    differences = [one[seed] - other[seed] for seed in one]
    mean, count = statistics.mean(differences), len(differences)
    half = T95[count] * statistics.stdev(differences) / count**0.5 if any(differences) else 0.0
    return f"{mean:+.4f} ({mean - half:+.4f} to {mean + half:+.4f})"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("changes", nargs="*", help="after --: passed on to `sweep run`")
    parser.add_argument("--sweep", default="target/release/sweep")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        grid = folder / "grid.db"
        seconds = train(arguments.sweep, arguments.file, grid, [*arguments.changes, "--set", "search.kind=grid"])
        steps, evaluations = cost(grid)
        val, test = values(grid, "val"), values(grid, "test")
        winner, strategies = best(val)
        print(f"grid: {strategies} strategies, {sum(map(len, val.values()))} runs, {steps:,} steps, {evaluations:,} evaluations, {seconds:.0f} s")
        print(f"  winner {winner}: val macro AP {statistics.mean(val[winner].values()):.4f}")
        order = sorted(val, key=lambda strategy: -statistics.mean(val[strategy].values()))
        for seed in range(arguments.seeds):
            db = folder / f"search-{seed}.db"
            seconds = train(arguments.sweep, arguments.file, db, [*arguments.changes, "--set", f"search.seed={seed}"])
            own, own_evaluations = cost(db)
            chosen, complete = best(values(db, "val"))
            print(
                f"search, seed {seed}: {complete} strategies with every seed; steps {own / steps:.1%}, evaluations {own_evaluations / evaluations:.1%}"
                f" of the grid's, {seconds:.0f} s\n"
                f"  winner {chosen}: number {order.index(chosen) + 1} of the grid's {strategies}\n"
                f"  less the grid's winner: val {paired(val[chosen], val[winner])}, test {paired(test[chosen], test[winner])}"
            )


main()
