"""Each metric by hand, and against scipy on the data sets that scikit-learn carries."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from jupyter_modelreg import drift


def _pairs() -> list[tuple[str, Any, Any]]:
    """Return real columns in two halves: as they lie, which drifts where rows are sorted by class, and dealt, which does not."""
    pairs = []
    for load in (load_breast_cancer, load_diabetes, load_iris, load_wine):
        for at, column in enumerate(load().data.T):
            name = f"{load.__name__}-{at}"
            pairs += [
                (f"{name}-halves", column[: len(column) // 2], column[len(column) // 2 :]),
                (f"{name}-dealt", column[::2], column[1::2]),
            ]
    return pairs


PAIRS = _pairs()


def test_the_data_sets_are_what_the_tests_need() -> None:
    assert len(PAIRS) == 2 * (30 + 10 + 4 + 13)


def test_the_stability_index_by_hand() -> None:
    # (10 + ½) / 31 and so on; the sum worked out with a pocket calculator's steps.
    reference, live = [10, 20], [20, 10]
    r, l = (10.5 / 31, 20.5 / 31), (20.5 / 31, 10.5 / 31)  # noqa: E741
    expected = (l[0] - r[0]) * math.log(l[0] / r[0]) + (l[1] - r[1]) * math.log(l[1] / r[1])
    assert drift.population_stability_index(reference, live) == pytest.approx(expected)
    assert expected == pytest.approx(0.43164, abs=1e-5)
    assert drift.population_stability_index([5, 5], [50, 50]) == 0.0
    assert drift.population_stability_index([100, 0], [0, 100]) == pytest.approx(2 * (100 / 101) * math.log(201))


def test_the_jensen_shannon_distance_by_hand() -> None:
    assert drift.jensen_shannon_distance([3, 3], [7, 7]) == 0.0
    assert drift.jensen_shannon_distance([1, 0], [0, 1]) == 1.0
    # Of (1, 0) and (½, ½): m = (¾, ¼), KL 0.41504 and 0.20752.
    assert drift.jensen_shannon_distance([2, 0], [1, 1]) == pytest.approx(math.sqrt((0.4150375 + 0.2075187) / 2), abs=1e-7)


def test_the_wasserstein_distance_by_hand() -> None:
    # Every value moved by 2; the standard deviation of 0, 1, 2, 3 is √(5/3).
    assert drift.normalized_wasserstein_distance([0, 1, 2, 3], [2, 3, 4, 5]) == pytest.approx(2 / math.sqrt(5 / 3))
    assert drift.normalized_wasserstein_distance([4, 4, 4], [5, 5]) == pytest.approx(1 / 0.001)
    assert drift.normalized_wasserstein_distance([4], [4]) == 0.0


def test_the_kolmogorov_smirnov_statistic_by_hand() -> None:
    assert drift.kolmogorov_smirnov([1, 2, 3, 4], [3, 4, 5, 6])[0] == 0.5
    assert drift.kolmogorov_smirnov([1, 1, 2], [1, 2, 2])[0] == pytest.approx(1 / 3)
    statistic, probability = drift.kolmogorov_smirnov([1, 2], [1, 2])
    assert (statistic, probability) == (0.0, 1.0)


def test_kolmogorovs_series_has_the_values_of_smirnovs_table() -> None:
    # Source: N. Smirnov, Table for estimating the goodness of fit of empirical distributions (1948).
    for value, below in ((0.5, 0.036055), (0.83, 0.503846), (1.0, 0.730000), (1.36, 0.950514), (1.63, 0.990154), (2.0, 0.999329)):
        assert 1 - drift.kolmogorov_tail(value) == pytest.approx(below, abs=5e-5)
    values = np.linspace(0.001, 5, 2000)
    assert [drift.kolmogorov_tail(value) for value in values] == pytest.approx(list(stats.kstwobign.sf(values)), abs=1e-12)


def test_the_chi_squared_test_by_hand() -> None:
    # Rows 10, 20 and 20, 10: every cell expects 15, so 4 · 25/15; with one degree of freedom erfc(√(χ²/2)).
    statistic, probability = drift.pearsons_chi_squared([10, 20], [20, 10])
    assert statistic == pytest.approx(20 / 3)
    assert probability == pytest.approx(math.erfc(math.sqrt(10 / 3)))
    assert drift.pearsons_chi_squared([5], [9]) == (0.0, 1.0)
    assert drift.pearsons_chi_squared([5, 0, 5], [9, 0, 9]) == (0.0, 1.0)


def test_the_tail_of_chi_squared_is_scipys() -> None:
    for freedom in (1, 2, 3, 4, 7, 10, 49, 50, 200):
        for statistic in (0.0, 0.01, 1.0, 10.0, 60.0, 400.0):
            expected = stats.chi2.sf(statistic, freedom)
            assert drift.chi_squared_tail(statistic, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize(("name", "reference", "live"), PAIRS, ids=[name for name, _, _ in PAIRS])
def test_real_columns_give_what_scipy_gives(name: str, reference: Any, live: Any) -> None:
    statistic, probability = drift.kolmogorov_smirnov(reference, live)
    exact = stats.ks_2samp(reference, live, method="exact")
    assert statistic == pytest.approx(exact.statistic, abs=1e-12)
    assert probability == pytest.approx(exact.pvalue, abs=0.02 if exact.pvalue < 0.1 else 0.06)
    wasserstein = stats.wasserstein_distance(reference, live) / np.std(reference, ddof=1)
    assert drift.normalized_wasserstein_distance(reference, live) == pytest.approx(wasserstein, rel=1e-9)
    edges = drift.stability_edges(reference)
    counts = [drift.count_bins(values, edges) for values in (reference, live)]
    assert [item.sum() for item in counts] == [len(reference), len(live)]
    assert drift.jensen_shannon_distance(*counts) == pytest.approx(distance.jensenshannon(*counts, base=2), abs=1e-9)
    seen = [item[(counts[0] + counts[1]) > 0] for item in counts]
    table = stats.chi2_contingency(np.array(seen), correction=False)
    assert drift.pearsons_chi_squared(*counts) == (pytest.approx(table.statistic), pytest.approx(table.pvalue, rel=1e-9, abs=1e-300))


@pytest.mark.parametrize(("n", "m"), [(30, 30), (30, 47), (30, 500), (100, 1000)])
def test_the_probability_is_near_the_exact_one_and_nearer_where_it_decides(n: int, m: int) -> None:
    generator = np.random.default_rng(4)
    for shift in np.linspace(0, 2, 25):
        reference, live = generator.normal(size=n), generator.normal(shift, size=m)
        exact = stats.ks_2samp(reference, live, method="exact").pvalue
        assert drift.kolmogorov_smirnov(reference, live)[1] == pytest.approx(exact, abs=0.02 if exact < 0.1 else 0.06)


def test_samples_of_one_distribution_are_called_different_as_often_as_the_level_says() -> None:
    generator = np.random.default_rng(7)
    found = [drift.kolmogorov_smirnov(generator.normal(size=200), generator.normal(size=300))[1] for _ in range(2000)]
    assert 0.035 < np.mean(np.array(found) < 0.05) < 0.065


def test_bins_are_the_references_deciles_and_of_few_values_each_has_its_own() -> None:
    column = load_diabetes().data[:, 2]
    counts = drift.count_bins(column, drift.stability_edges(column))
    assert len(counts) == 10
    assert counts.min() >= 40
    assert counts.max() <= 49
    few = np.array([0, 1, 1, 1, 7])
    edges = drift.stability_edges(few)
    assert [int(count) for count in drift.count_bins(few, edges) if count] == [1, 3, 1]
    moved = drift.count_bins(np.array([0, 1, 1, 1, 8]), edges)  # 8 is in no bin of the reference
    assert drift.population_stability_index(drift.count_bins(few, edges), moved) > 0
    assert all(left < right for left, right in pairwise(edges))
