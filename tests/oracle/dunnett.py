"""Two-sided critical values of comparisons with a control (Dunnett 1955) by scipy's adaptive quadrature, for
crates/imbalance/src/metric/certainty/dunnett.rs: (comparisons, degrees of freedom, 5 % point)."""
import numpy as np
from scipy import integrate, optimize, stats


def inside(c, k, df):
    def given(s):
        f = lambda z: stats.norm.pdf(z) * (stats.norm.cdf(np.sqrt(2) * c * s - z) - stats.norm.cdf(-np.sqrt(2) * c * s - z)) ** k
        return integrate.quad(f, -8, 8, epsabs=1e-10)[0] * stats.chi.pdf(s * np.sqrt(df), df) * np.sqrt(df)

    return integrate.quad(given, max(0, 1 - 10 / np.sqrt(2 * df)), 1 + 10 / np.sqrt(2 * df), epsabs=1e-8)[0]


for k, df in [(2, 4), (2, 10), (5, 10), (11, 30), (11, 88), (3, 2)]:
    c = optimize.brentq(lambda c: inside(c, k, df) - 0.95, 1.5, 12, xtol=1e-7)
    print(f"({k}, {df}.0, {c:.5f})")
