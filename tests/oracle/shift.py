"""scipy's word on how likely a split is: python tests/oracle/shift.py writes shift.json beside itself."""
import json
import pathlib

from scipy.stats import hypergeom

# (positives, rows) of train and of another split
CASES = [((k, train), (n, split))
         for (train, split) in [(70, 15), (1000, 200), (224000, 48000), (7, 2)]
         for (k, n) in [(0, 0), (1, 0), (0, 1), (train // 10, split // 10), (train // 10, split // 5), (train // 2, split // 3),
                        (train // 2, split // 2 + 1), (train, split), (train - 1, split)]]


def probability(train, split):
    """Twice the smaller tail of the positives of the split, at most 1."""
    (k, rows), (n, drawn) = train, split
    x = hypergeom(rows + drawn, k + n, drawn)
    return float(min(1.0, 2 * min(x.cdf(n), x.sf(n - 1))))


if __name__ == "__main__":
    cases = [dict(train=train, split=split, p=probability(train, split)) for train, split in CASES]
    text = "[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n"
    (pathlib.Path(__file__).parent / "shift.json").write_text(text)
