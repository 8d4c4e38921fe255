"""scipy's word on certainty: python tests/oracle/certainty.py writes certainty.json beside itself."""
import json
import pathlib
import warnings

import numpy as np
from scipy import special, stats
from scipy.stats import _resampling

rng = np.random.default_rng(0)


def functions():
    p = [0., 1e-300, 1e-16, 1e-5, .01, .025, .3, .5, .7, .975, .999, 1 - 1e-10, 1.]
    z = [-38., -8., -2., -.3, 0., .7, 3., 9.]
    t = [(x, df) for x in (-30., -2.5, -.1, 0., 1., 2.262, 12.) for df in (1., 2., 9., 30., 1000.)]
    quantiles = [(q, df) for q in (.01, .3, .5, .9, .975, .9999) for df in (1., 2., 9., 30., 1000.)]
    fisher = [(x, a, b) for x in (0., .3, 1., 4., 50.) for a, b in ((1., 4.), (3., 12.), (11., 99.))]
    beta = [(x, a, b) for x in (1e-8, .1, .5, .93) for a, b in ((.5, .5), (2., 7.), (400., 30.))]
    return dict(
        normal_quantile=[[x, None if np.isinf(special.ndtri(x)) else special.ndtri(x)] for x in p],
        normal_cdf=[[x, special.ndtr(x)] for x in z],
        student_cdf=[[x, df, stats.t.cdf(x, df)] for x, df in t], student_quantile=[[q, df, stats.t.ppf(q, df)] for q, df in quantiles],
        trigamma=[[x, float(special.polygamma(1, x))] for x in (.1, .5, 1., 4., 22.5, 300.)],
        fisher_tail=[[x, a, b, stats.f.sf(x, a, b)] for x, a, b in fisher],
        incomplete_beta=[[x, a, b, special.betainc(a, b, x)] for x, a, b in beta])


def corrected_t(d, test_share):
    d = np.asarray(d)
    t = d.mean() / np.sqrt((1 / len(d) + test_share) * d.var(ddof=1))
    if test_share == 0:
        assert np.isclose(t, stats.ttest_1samp(d, 0).statistic)
    return dict(differences=list(d), test_share=test_share, t=t, p=2 * stats.t.sf(abs(t), len(d) - 1))


def intervals(n, skew, level):
    """Intervals of a mean (of squares, if skewed) from given replicates, percentile and BCa."""
    data = rng.normal(size=n)**2 if skew else rng.normal(size=n)
    replicates = data[rng.integers(0, n, (300, n))].mean(axis=1)
    jackknife = np.array([np.delete(data, i).mean() for i in range(n)])
    tail = (1 - level) / 2
    statistic = lambda x, axis=-1: np.mean(x, axis=axis)
    low, high, _ = _resampling._bca_interval((data,), statistic, -1, tail, replicates, None, np)
    return dict(point=data.mean(), replicates=list(replicates), jackknife=list(jackknife), level=level,
                percentile=list(np.quantile(replicates, [tail, 1 - tail])),
                bca=[float(np.quantile(replicates, np.asarray(x).item())) for x in (low, high)])


def encode(x):
    if isinstance(x, (np.floating, np.integer)):
        return x.item()
    raise TypeError(type(x))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    seeds = list(rng.normal(.02, .01, 10))
    fixture = dict(
        functions=functions(),
        corrected_t=[corrected_t(d, share) for d in (seeds, list(rng.normal(0, 1, 5))) for share in (0., 1 / 9, .25)],
        intervals=[intervals(*case) for case in ((25, False, .95), (25, True, .95), (40, True, .8))])
    text = ",\n".join(f"{json.dumps(name)}: {json.dumps(value, default=encode)}" for name, value in fixture.items())
    (pathlib.Path(__file__).parent / "certainty.json").write_text("{" + text + "}\n")
