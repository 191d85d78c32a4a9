"""Calibration against numbers worked out by hand, by loops, by scikit-learn and by SciPy."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve

from halcmd.calibration import calibration_error, reliability, wilson


def test_calibration_error_by_hand_and_by_loop() -> None:
    right = np.array([True, True, False, False])
    assert calibration_error(np.full(4, 0.5), right) == pytest.approx(0.0)
    assert calibration_error(np.full(4, 1.0), right) == pytest.approx(0.5)
    rng = np.random.default_rng(0)
    confidence, right = rng.random(200), rng.random(200) < 0.6
    total = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert calibration_error(confidence, right) == pytest.approx(total)


def test_a_reliability_diagram_by_hand() -> None:
    confidence = np.array([0.50, 0.52, 0.95, 0.99, 1.0])  # bins 7, 7, 14, 14, 14 of 15
    columns = reliability(confidence, np.array([True, False, True, True, False]))
    assert [row for row in range(15) if columns["count"][row]] == [7, 14]
    assert list(columns["count"][[7, 14]]) == [2, 3]
    np.testing.assert_allclose(columns["confidence"][[7, 14]], [0.51, 0.98])
    np.testing.assert_allclose(columns["accuracy"][[7, 14]], [0.5, 2 / 3])
    for name in ("confidence", "accuracy", "low", "high"):
        assert np.isnan(np.delete(columns[name], [7, 14])).all()


def test_a_reliability_diagram_agrees_with_scikit_learn_and_with_the_error() -> None:
    rng = np.random.default_rng(1)
    confidence = rng.beta(4, 2, 500)
    right = rng.random(500) < confidence**1.5
    columns = reliability(confidence, right)
    known = columns["count"] > 0
    accuracy, mean = calibration_curve(right, confidence, n_bins=15)
    np.testing.assert_allclose(columns["accuracy"][known], accuracy)
    np.testing.assert_allclose(columns["confidence"][known], mean)
    gaps = np.abs(columns["accuracy"] - columns["confidence"])[known]
    error = np.average(gaps, weights=columns["count"][known])
    assert calibration_error(confidence, right) == pytest.approx(error)


@pytest.mark.parametrize(("hits", "count"), [(0, 1), (1, 1), (3, 7), (50, 50), (123, 456)])
def test_intervals_are_those_of_scipy(hits: int, count: int) -> None:
    found = wilson(np.array(float(hits)), np.array(float(count)))
    expected = binomtest(hits, count).proportion_ci(method="wilson")
    np.testing.assert_allclose(found, [expected.low, expected.high], atol=1e-7)
