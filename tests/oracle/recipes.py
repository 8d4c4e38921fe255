"""torch's word on the recipes of `sweep recipe`, which are run as they are written.

python tests/oracle/recipes.py DIR: the recipes and our own numbers that `cargo run --example recipes -- DIR` wrote. Loss and gradient
agree to 1e-6 in float64 (focal_seed is float32 by its definition), weights, start, thresholds and decisions to the last bit. Of a
sampler that is a vector of weights its probabilities are compared with our draws (chi-square), of the others its draws: of every row,
and the positives that batches lack (differences of means).

python tests/oracle/recipes.py: values and gradients of the snapshots tests/fixtures/recipes/*.py on stored batches, written to
recipes.json beside this file with the hash of each snapshot, so that `cargo test` needs no torch.
"""
import hashlib
import inspect
import json
import pathlib
import sys
from collections import Counter, defaultdict

import torch

HERE = pathlib.Path(__file__).parent
SNAPSHOTS = HERE.parent / "fixtures" / "recipes"
PASSES = 300
GOLDEN = ([[-2, 0, 1.5, -.3], [.7, -1.2, 3, 0], [-4, 2.2, -.1, .9]], [[1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]])
BATCH = ([[.3, -1, 2, .1], [-2, .5, -.6, 1.3], [3, -3, .2, -.4], [-.9, .8, -1.7, .6], [9, -9, 12, -30]],
         [[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 1], [1, 0, 1, 1], [0, 0, 1, 0]])
UNKNOWN = (BATCH[0], [[1, 2, 1, 0], [0, 0, 2, 0], [2, 2, 2, 2], [1, 2, 1, 1], [0, 2, 1, 2]])


def run(path):
    recipe = {}
    exec(compile(path.read_text(), path.name, "exec"), recipe)
    return recipe


def evaluate(loss, logits, targets, labels, epoch):
    """The value and its gradient; a target of 2 is unknown, which is NaN in torch."""
    z = torch.tensor(logits, dtype=torch.float32).double().reshape(-1, labels).requires_grad_()
    y = torch.tensor(targets, dtype=torch.float64).reshape(-1, labels)
    y = torch.where(y == 2, torch.nan, y)
    takes_epoch = inspect.isfunction(loss) and "epoch" in inspect.signature(loss).parameters
    value = loss(z, y, epoch) if takes_epoch else loss(z, y)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(z.grad).all(), "not finite"
    return value.item(), z.grad.flatten()


def error(ours, theirs, floor):
    """The largest error, of the number itself or, where it is small beside the largest, of that times `floor`."""
    ours, theirs = torch.as_tensor(ours, dtype=torch.float64), torch.as_tensor(theirs, dtype=torch.float64)
    size = theirs.abs().clamp(min=max(theirs.abs().max().item() * floor, 1e-15))
    return ((ours - theirs).abs() / size).max().item()


def chi_square(counts, expected):
    """The chance of counts as far from what is expected; rare rows are taken together, so that each is expected ten times."""
    rare = expected < 10
    counts = torch.cat([counts[~rare], counts[rare].sum()[None]])
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    counts, expected = counts[expected > 0], expected[expected > 0]
    statistic = ((counts - expected) ** 2 / expected).sum()
    freedom = torch.tensor(max(len(counts) - 1, 1) / 2)
    return torch.special.gammaincc(freedom, statistic / 2).item()


def z_test(ours, passes, theirs):
    """The least chance of a column's difference of means, for all columns together (Bonferroni)."""
    mean, variance = torch.tensor(ours, dtype=torch.float64).T
    pooled = (passes * variance + len(theirs) * theirs.var(0, correction=0)) / (passes + len(theirs))
    difference = (mean - theirs.mean(0)).abs()
    noise = (pooled * (1 / passes + 1 / len(theirs))).sqrt()
    # What is drawn the same number of times in every pass differs by nothing but rounding.
    z = torch.where(difference < 1e-9, 0.0, difference / noise.clamp(min=1e-12))
    return min(1.0, (len(z) * torch.special.erfc(z.max() / 2**0.5)).item())


def compare_draws(recipe, ours):
    """The chance of draws that differ as much."""
    rows, batch, labels = len(ours["drawn"]), ours["batch_size"], len(recipe["LABELS"])
    targets = torch.tensor(ours["targets"], dtype=torch.float64).reshape(rows, labels)
    targets = torch.where(targets == 2, torch.nan, targets)
    sampler = recipe["make_sampler"](targets)
    if isinstance(sampler, torch.utils.data.WeightedRandomSampler):
        assert sampler.replacement and sampler.num_samples == rows
        passes = ours["passes"]
        expected = passes * sampler.num_samples * sampler.weights / sampler.weights.sum()
        return chi_square(passes * torch.tensor(ours["drawn"])[:, 0], expected)
    drawn, lacking = torch.zeros(PASSES, rows), torch.zeros(PASSES, 1)
    for one in range(PASSES):
        sampler = recipe["make_sampler"](targets)
        order = [row for item in sampler for row in (item if isinstance(item, list) else [item])]
        drawn[one] = torch.bincount(torch.tensor(order), minlength=rows)
        has = (targets == 1)[order]
        lacking[one] = sum((ours["least"] - part.sum(0)).clamp(min=0).sum() for part in has.split(batch))
    return z_test(ours["drawn"] + [ours["lacking"]], ours["passes"], torch.cat([drawn, lacking], dim=1))


def compare(folder):
    value_errors, gradient_errors, draws, cases = defaultdict(float), defaultdict(float), defaultdict(lambda: 1.0), Counter()
    policies, wrong, without = Counter(), [], Counter()
    for path in sorted(folder.glob("*.json"), key=lambda path: int(path.stem)):
        ours, recipe = json.loads(path.read_text()), run(path.with_suffix(".py"))
        loss, sampler, policy = ours["loss"], ours["sampler"], ours["policy"]
        labels = len(ours["labels"])

        def check(what, holds):
            if not holds:
                wrong.append(f"{path.stem}: {what}: {loss['choice']}, {sampler['choice']}, {policy['name']}")

        check("labels", recipe["LABELS"] == ours["labels"])
        if "POS_WEIGHT" in recipe:
            check("weights", recipe["POS_WEIGHT"].tolist() == loss["pos_weight"])
        check("start", torch.equal(recipe["START"].float(), torch.tensor(ours["start"], dtype=torch.float32)))
        single = loss["kind"] == "focal_seed"
        value, gradient = evaluate(recipe["loss"], loss["logits"], loss["targets"], labels, loss["epoch"])
        errors = [error([loss["value"]], [value], 1), error(loss["gradient"], gradient, 1e-1 if single else 1e-3)]
        check(f"loss and gradient differ by {errors}", max(errors) < (1e-3 if single else 1e-6))
        cases[loss["kind"]] += 1
        for kept, one in zip((value_errors, gradient_errors), errors):
            kept[loss["kind"]] = max(kept[loss["kind"]], one)
        if "make_sampler" in recipe:
            chance = compare_draws(recipe, sampler)
            check(f"draws differ as they do with a chance of {chance}", chance > 1e-6)
            draws[sampler["kind"]] = min(draws[sampler["kind"]], chance)
            cases["sampler " + sampler["kind"]] += 1
        else:
            without[sampler["kind"]] += 1
        scores = torch.tensor(policy["scores"], dtype=torch.float32).reshape(-1, labels)
        check("decisions", recipe["decide"](scores).flatten().tolist() == policy["decisions"])
        if "THRESHOLDS" in recipe:
            check("thresholds", torch.equal(recipe["THRESHOLDS"], torch.tensor(policy["thresholds"], dtype=torch.float32)))
        policies[policy["name"].split("(")[0] if not policy["name"][0].isdigit() else "a number"] += 1
    for kind in value_errors:
        print(f"{kind:15} {cases[kind]} recipes, loss to {value_errors[kind]:.1e}, gradient to {gradient_errors[kind]:.1e}")
    for kind in draws:
        print(f"{kind:15} {cases['sampler ' + kind]} recipes, least chance of the draws {draws[kind]:.1e}")
    print("decisions equal:", ", ".join(f"{policy} ({count})" for policy, count in policies.items()))
    print("without a sampler:", ", ".join(f"{kind} ({count})" for kind, count in without.items()))
    if wrong or not value_errors:
        sys.exit("\n".join(wrong) or f"no recipes in {folder}")


def snapshots():
    cases = []
    for path in sorted(SNAPSHOTS.glob("*.py")):
        recipe = run(path)
        for logits, targets in [UNKNOWN] if path.stem.endswith("unknown") else [GOLDEN, BATCH]:
            for epoch in (0, 9):
                z, y = sum(logits, []), sum(targets, [])
                value, gradient = evaluate(recipe["loss"], z, y, 4, epoch)
                cases.append(dict(snapshot=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), epoch=epoch,
                                  logits=torch.tensor(z, dtype=torch.float32).tolist(), targets=y, value=value, gradient=gradient.tolist()))
    (HERE / "recipes.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    compare(pathlib.Path(sys.argv[1])) if len(sys.argv) > 1 else snapshots()
