"""Means with intervals, and the accuracy of particles without labels."""

import numpy as np
import pytest
from scipy import stats

from halcmd.assessment.estimates import corrected_mean, mean_confidence, mean_of


def test_the_interval_of_a_mean_by_hand() -> None:
    values = np.random.default_rng(0).uniform(0.3, 0.9, 50)
    found = mean_of(values, np.zeros(50, dtype=np.intp))
    error = values.std(ddof=1) / np.sqrt(50)
    assert found.value == pytest.approx(values.mean())
    low, high = stats.t.interval(0.95, 49, found.value, error)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_few_tomograms_make_a_wide_interval() -> None:
    """By simulation: tomograms that differ, the mean of all of them is 0.8."""
    rng, covered = np.random.default_rng(0), 0
    tomogram = np.repeat(np.arange(5), 30)
    for _ in range(400):
        found = mean_of(rng.normal(0.8, 0.06, 5)[tomogram] + rng.normal(0, 0.1, 150), tomogram)
        covered += found.low <= 0.8 <= found.high
    assert 0.92 < covered / 400 < 0.98  # a normal interval: 0.87


def test_two_means_have_the_freedom_of_welch_and_satterthwaite() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.uniform(0.2, 0.6, 12), rng.uniform(0.0, 0.3, 7)
    none = np.zeros(12, dtype=np.intp)
    found = corrected_mean(first, none, second, none[:7])
    expected = stats.ttest_ind(first, -second, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_tomograms_of_one_value_each_count_once() -> None:
    levels = np.array([0.5, 0.6, 0.7, 0.8, 0.4, 0.3])
    each = mean_of(levels, np.arange(6))
    often = mean_of(np.repeat(levels, 20), np.repeat(np.arange(6), 20))
    assert often.value == pytest.approx(each.value)
    assert often.high - often.low == pytest.approx(each.high - each.low)
    assert mean_of(np.repeat(levels, 20), np.zeros(120, np.intp)).high < often.high


@pytest.mark.parametrize("values", [[], [np.nan, 0.5]])
def test_nothing_known_is_not_a_number(values: list[float]) -> None:
    assert np.isnan(mean_of(np.array(values), np.arange(len(values))).value)


def test_held_out_labels_mend_probabilities_that_are_too_sure() -> None:
    rng = np.random.default_rng(0)
    covered, plain = 0, 0
    for _ in range(200):
        truth = np.clip(rng.normal(0.75, 0.1, 1200), 0.0, 1.0)
        right = rng.random(1200) < truth
        confidence = truth**0.3  # far too sure
        held, rest = slice(0, 200), slice(200, None)
        none = np.zeros(1200, dtype=np.intp)
        found = corrected_mean(
            confidence[rest], none[rest], right[held] - confidence[held], none[held]
        )
        covered += found.low <= right[rest].mean() <= found.high
        plain += abs(mean_confidence(confidence[rest]).value - right[rest].mean()) < 0.05
    assert covered / 200 > 0.9
    assert plain == 0


def test_the_mean_confidence_claims_no_interval() -> None:
    found = mean_confidence(np.array([0.5, 0.8]))
    assert found.value == pytest.approx(0.65)
    assert np.isnan([found.low, found.high]).all()
    assert np.isnan(mean_confidence(np.empty(0)).value)
