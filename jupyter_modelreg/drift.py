"""How two samples of a column differ: pure functions of numbers, by the names of Azure ML's monitoring metrics.

Counts are of the same bins or categories in the same order. Values are finite numbers, gaps taken out. numpy only.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

BINS = 10
_SMOOTHING = 0.5


def population_stability_index(reference: Any, live: Any) -> float:
    """Return PSI = Σ (l - r) ln(l / r) over the bins' shares r and l, from 0 (equal) without bound.

    Half an observation is added to each bin, since an empty one would make the sum infinite. Below 0.1 nothing happened, above
    0.2 something did.

    Source: N. Siddiqi, Credit Risk Scorecards (2006); Azure ML adds a whole observation (azureml-assets, data_drift_compute_metrics).
    """
    r, l = _shares(reference, _SMOOTHING), _shares(live, _SMOOTHING)  # noqa: E741
    return float(np.sum((l - r) * np.log(l / r)))


def jensen_shannon_distance(reference: Any, live: Any) -> float:
    """Return √((KL(r‖m) + KL(l‖m)) / 2) with m = (r + l) / 2 and logarithms of base 2, from 0 (equal) to 1 (nothing in common).

    Source: J. Lin, Divergence measures based on the Shannon entropy (1991); base 2 as in Azure ML (azureml-assets).
    """
    r, l = _shares(reference), _shares(live)  # noqa: E741
    m = (r + l) / 2
    parts = [np.sum(side[side > 0] * np.log2(side[side > 0] / m[side > 0])) for side in (r, l)]
    return math.sqrt(max(0.0, float(sum(parts)) / 2))


def normalized_wasserstein_distance(reference: Any, live: Any) -> float:
    """Return ∫ |F(x) - G(x)| dx of the empirical distribution functions, in standard deviations of the reference.

    The standard deviation is the sample's (n - 1), at least 0.001, so that a constant column has a distance too.

    Source: Azure ML (azureml-assets, numerical_data_drift_metrics.py).
    """
    points = np.sort(np.concatenate([reference, live]))
    distance = float(np.sum(np.abs(_distribution(reference, points[:-1]) - _distribution(live, points[:-1])) * np.diff(points)))
    spread = float(np.std(reference, ddof=1)) if len(reference) > 1 else 0.0
    return distance / max(spread, 0.001)


def kolmogorov_smirnov(reference: Any, live: Any) -> tuple[float, float]:
    """Return D = max |F(x) - G(x)| and the probability of a D as large between two samples of one distribution.

    The probability is asymptotic, with Stephens' correction for small samples: λ = (√e + 0.12 + 0.11 / √e) D with
    e = nm / (n + m). From 30 values on each side it is within 0.06 of the exact one, and within 0.02 where that is below 0.1; with ties
    both are too large, so that a difference is never claimed for them.

    Source: M. A. Stephens, J. R. Statist. Soc. B 32 (1970) 115; Numerical Recipes, 14.3.3.
    """
    points = np.concatenate([reference, live])
    statistic = float(np.max(np.abs(_distribution(reference, points) - _distribution(live, points))))
    root = math.sqrt(len(reference) * len(live) / (len(reference) + len(live)))
    return statistic, kolmogorov_tail((root + 0.12 + 0.11 / root) * statistic)


def kolmogorov_tail(value: float) -> float:
    """Return the probability that a Kolmogorov variable is larger: Q(λ) = 2 Σ (-1)ᵏ⁻¹ exp(-2k²λ²).

    For small λ, where that sum converges slowly, 1 - √(2π)/λ Σ exp(-(2k-1)²π²/(8λ²)), which is the same.

    Source: A. N. Kolmogorov (1933); W. Feller, Ann. Math. Statist. 19 (1948) 177.
    """
    if value < 0.04:  # the other sum's terms are below the smallest number
        return 1.0
    if value < 1.18:
        terms = (math.exp(-((2 * k - 1) ** 2) * math.pi**2 / (8 * value**2)) for k in range(1, 6))
        return 1.0 - math.sqrt(2 * math.pi) / value * sum(terms)
    return 2.0 * sum((-1.0) ** (k - 1) * math.exp(-2 * k**2 * value**2) for k in range(1, 6))


def pearsons_chi_squared(reference: Any, live: Any) -> tuple[float, float]:
    """Return χ² = Σ (observed - expected)² / expected of the 2 × k table, and the probability of one as large by chance.

    Both rows are taken as samples. Azure ML takes the reference as the truth, which makes χ² infinite for a category it has not.

    Source: K. Pearson (1900), test of homogeneity.
    """
    table = np.array([reference, live], dtype=float)
    table = table[:, table.sum(axis=0) > 0]
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    statistic = float(np.sum((table - expected) ** 2 / expected))
    return statistic, chi_squared_tail(statistic, table.shape[1] - 1)


def chi_squared_tail(statistic: float, freedom: int) -> float:
    """Return the probability that a χ² variable with a whole number of degrees of freedom is larger; 1 for none.

    For even k e^(-y) Σ yⁱ / i! with y = χ²/2 and i < k/2; for odd k erfc(√y) + e^(-y) Σ y^(i-1/2) / Γ(i + 1/2), i ≤ (k-1)/2.

    Source: M. Abramowitz, I. Stegun, Handbook of Mathematical Functions, 26.4.4 and 26.4.5.
    """
    half = statistic / 2
    if freedom < 1 or half <= 0.0:
        return 1.0
    powers = [float(i) for i in range(freedom // 2)] if freedom % 2 == 0 else [i - 0.5 for i in range(1, (freedom + 1) // 2)]
    start = 0.0 if freedom % 2 == 0 else math.erfc(math.sqrt(half))
    return min(1.0, start + sum(math.exp(power * math.log(half) - half - math.lgamma(power + 1)) for power in powers))


def stability_edges(reference: Any) -> Any:
    """Return where the bins of :func:`population_stability_index` touch: the reference's deciles.

    Of few different values each gets a bin of its own.
    """
    values = np.unique(reference)
    if len(values) <= BINS:
        return np.unique(np.concatenate([values, np.nextafter(values, np.inf)]))
    return np.unique(np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1]))


def count_bins(values: Any, edges: Any) -> Any:
    """Return how many values lie below the first edge, between two (the left one is inside), and above the last."""
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)


def _shares(counts: Any, added: float = 0.0) -> Any:
    counts = np.asarray(counts, dtype=float) + added
    return counts / counts.sum()


def _distribution(sample: Any, points: Any) -> Any:
    """Return the share of a sample that is at most each point."""
    return np.searchsorted(np.sort(sample), points, side="right") / len(sample)
