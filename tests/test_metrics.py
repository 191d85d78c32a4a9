"""Metrics against numbers worked out by hand, by loops, and by scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from halcmd.assessment import metrics
from halcmd.assessment.ranking import average_precision, average_precisions
from halcmd.assessment.resampling import drawn_matrices

# true class by predicted class: 10 of class 0, 5 of class 1, none of class 2
BY_HAND = np.array([[8, 1, 1], [2, 3, 0], [0, 0, 0]])


def test_a_matrix_worked_out_by_hand() -> None:
    np.testing.assert_allclose(metrics.precision(BY_HAND), [0.8, 0.75, 0.0])
    np.testing.assert_allclose(metrics.recall(BY_HAND), [0.8, 0.6, np.nan])
    np.testing.assert_allclose(metrics.f1(BY_HAND), [0.8, 6 / 9, 0.0])
    assert metrics.accuracy(BY_HAND) == pytest.approx(11 / 15)
    assert metrics.balanced_accuracy(BY_HAND) == pytest.approx(0.7)
    assert metrics.macro_f1(BY_HAND) == pytest.approx((0.8 + 6 / 9) / 3)


def test_nothing_at_all_is_not_a_number() -> None:
    empty = np.zeros((2, 2), dtype=np.int64)
    for metric in (metrics.accuracy, metrics.balanced_accuracy, metrics.macro_f1):
        assert np.isnan(metric(empty))


@pytest.mark.filterwarnings("ignore:y_pred contains classes", "ignore:A single label")
@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.integers(1, 60), st.integers(0, 10_000))
def test_metrics_agree_with_scikit_learn(classes: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(0, classes, (2, count))
    counts = metrics.confusion_matrix(true, predicted, classes)
    names = np.arange(classes)
    expected = sklearn_metrics.confusion_matrix(true, predicted, labels=names)
    np.testing.assert_array_equal(counts, expected)
    assert metrics.accuracy(counts) == pytest.approx(np.mean(true == predicted))
    assert metrics.balanced_accuracy(counts) == pytest.approx(
        sklearn_metrics.balanced_accuracy_score(true, predicted)
    )
    of_class = sklearn_metrics.precision_recall_fscore_support(
        true, predicted, labels=names, zero_division=np.nan
    )
    is_there = of_class[3] > 0  # of a class without particles f1 and precision have other rules
    for own, theirs in zip((metrics.precision, metrics.recall, metrics.f1), of_class, strict=False):
        found = own(counts)
        np.testing.assert_allclose(found[is_there], theirs[is_there])
    macro = sklearn_metrics.f1_score(true, predicted, average="macro", zero_division=0.0)
    assert metrics.macro_f1(counts) == pytest.approx(macro)


def test_many_matrices_at_once_are_each_on_its_own() -> None:
    many = np.random.default_rng(0).integers(0, 9, (7, 3, 4, 4))
    for metric in (metrics.accuracy, metrics.balanced_accuracy, metrics.macro_f1):
        together = metric(many)
        assert together.shape == (7, 3)
        assert together[5, 2] == pytest.approx(float(metric(many[5, 2])))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 10_000))
def test_average_precision_agrees_with_scikit_learn(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, positive = rng.integers(0, 8, count) / 7, rng.random(count) < 0.4
    if not positive.any():
        assert np.isnan(average_precision(scores, positive))
        return
    expected = sklearn_metrics.average_precision_score(positive, scores)
    assert average_precision(scores, positive) == pytest.approx(expected)


def test_average_precision_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    positive = np.array([True, False, True, False])
    assert average_precision(scores, positive) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_particle_intervals_match_resampling_particles_one_by_one() -> None:
    rng = np.random.default_rng(0)
    true = np.repeat([0, 1, 2], [60, 30, 10])
    predicted = np.where(rng.random(100) < 0.8, true, rng.integers(0, 3, 100))
    counts = metrics.confusion_matrix(true, predicted, 3)
    found = metrics.intervals(
        {"balanced": metrics.balanced_accuracy}, counts[None], 4000, np.random.default_rng(1)
    )["balanced"]
    values = []
    for _ in range(4000):
        drawn = rng.integers(0, 100, 100)
        again = metrics.confusion_matrix(true[drawn], predicted[drawn], 3)
        values.append(float(metrics.balanced_accuracy(again)))
    assert found.value == float(metrics.balanced_accuracy(counts))
    assert found.low == pytest.approx(np.percentile(values, 2.5), abs=0.015)
    assert found.high == pytest.approx(np.percentile(values, 97.5), abs=0.015)


def test_intervals_over_tomograms_that_differ_are_wider_than_over_particles() -> None:
    good, bad = np.diag([20, 20]), np.array([[10, 10], [10, 10]])
    units = np.stack([good, bad] * 4)
    accuracy = {"accuracy": metrics.accuracy}
    rng = np.random.default_rng(0)
    by_tomogram = metrics.intervals(accuracy, units, 2000, rng)["accuracy"]
    by_particle = metrics.intervals(accuracy, units.sum(axis=0)[None], 2000, rng)["accuracy"]
    assert by_tomogram.value == by_particle.value == 0.75
    assert by_tomogram.high - by_tomogram.low > 2 * (by_particle.high - by_particle.low)


def test_intervals_of_a_binomial_cover_the_truth() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        right = rng.binomial(100, 0.8)
        counts = np.array([[[right, 100 - right], [0, 0]]])
        found = metrics.intervals({"accuracy": metrics.accuracy}, counts, 400, rng)["accuracy"]
        covered += found.low <= 0.8 <= found.high
    assert 0.90 < covered / 300 < 0.98


def test_per_class_intervals_are_those_of_numpy_percentile() -> None:
    counts = np.array([[[40, 5, 0], [6, 20, 0], [1, 0, 1]]])
    found = metrics.intervals({"r": metrics.recall}, counts, 500, np.random.default_rng(3))["r"]
    drawn = drawn_matrices(counts, 500, np.random.default_rng(3))
    values = metrics.recall(drawn)
    assert np.isnan(values[:, 2]).any()  # the rare class is absent from some resamples
    low, high = np.nanpercentile(values, [2.5, 97.5], axis=0)
    np.testing.assert_allclose(found.low, low)
    np.testing.assert_allclose(found.high, high)
    np.testing.assert_allclose(found.value, [40 / 45, 20 / 26, 0.5])


def test_what_takes_long_says_how_far_it_is(monkeypatch, caplog) -> None:
    monkeypatch.setattr(metrics, "_LONG", 0)
    metrics.assess(
        np.array([0, 1]),
        np.array([0, 1]),
        np.zeros(2, dtype=np.intp),
        classes=("a", "b"),
        probabilities=np.eye(2),
        resamples=50,
        rng=np.random.default_rng(0),
    )
    assert "50 of 50 resamples" in caplog.text


def test_no_resamples_no_interval() -> None:
    rng = np.random.default_rng(0)
    found = metrics.intervals({"accuracy": metrics.accuracy}, BY_HAND[None], 0, rng)["accuracy"]
    assert found.value == pytest.approx(11 / 15)
    assert np.isnan(found.low)
    assert np.isnan(found.high)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 5), st.integers(2, 60), st.integers(0, 10_000))
def test_kappa_agrees_with_scikit_learn(classes: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, classes, count)
    second = np.where(rng.random(count) < 0.7, first, rng.integers(0, classes, count))
    found = metrics.kappa(metrics.confusion_matrix(first, second, classes))
    if len({*first, *second}) == 1:
        assert np.isnan(found)
        return
    assert found == pytest.approx(sklearn_metrics.cohen_kappa_score(first, second), abs=1e-12)


def test_kappa_of_nothing_is_not_a_number_and_many_are_each_on_their_own() -> None:
    assert np.isnan(metrics.kappa(np.zeros((2, 2), dtype=np.int64)))
    many = np.random.default_rng(0).integers(1, 9, (7, 3, 3))
    for matrix, together in zip(many, metrics.kappa(many), strict=True):
        assert together == pytest.approx(float(metrics.kappa(matrix)))


def test_weights_count_particles_as_often_as_copies_of_them() -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 8, 40) / 7, rng.random(40) < 0.4
    weights = rng.integers(0, 3, (5, 40))
    found = average_precisions(scores, positive, weights)
    for value, times in zip(found, weights, strict=True):
        copies = np.repeat(np.arange(40), times)
        assert value == pytest.approx(average_precision(scores[copies], positive[copies]))
        expected = sklearn_metrics.average_precision_score(positive, scores, sample_weight=times)
        assert value == pytest.approx(expected)


@pytest.mark.parametrize("tomograms", [1, 8])
def test_average_precision_and_calibration_error_have_intervals(tomograms: int) -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 200)
    probabilities = rng.dirichlet(np.ones(3), 200) * 0.4 + 0.6 * np.eye(3)[true]
    found = metrics.assess(
        true,
        probabilities.argmax(axis=1),
        np.arange(200) % tomograms,
        classes=("a", "b", "c"),
        probabilities=probabilities,
        resamples=300,
        rng=np.random.default_rng(1),
    )
    for number in range(3):
        value = sklearn_metrics.average_precision_score(true == number, probabilities[:, number])
        assert found.average_precision.value[number] == pytest.approx(value)
    assert found.mean_average_precision.value == pytest.approx(found.average_precision.value.mean())
    for interval in (found.mean_average_precision, found.average_precision):
        assert np.all(interval.low <= interval.value)
        assert np.all(interval.value <= interval.high)
        assert np.all(interval.high - interval.low < 0.2)
    assert found.calibration_error.low < found.calibration_error.high
    assert found.class_resampled_by == (found.resampled_by,) * 3


def test_a_class_of_few_tomograms_has_an_interval_by_particle() -> None:
    """All of class 1 are in one tomogram, whose resampling would never change their recall."""
    tomogram = np.repeat(np.arange(6), 40)
    true = np.where((tomogram == 5) & (np.arange(240) % 2 == 0), 1, 0)
    predicted = np.where(np.arange(240) % 6 == 0, 1 - true, true)
    found = metrics.assess(
        true,
        predicted,
        tomogram,
        classes=("many", "rare"),
        probabilities=0.2 + 0.6 * np.eye(2)[predicted],
        resamples=2000,
        rng=np.random.default_rng(1),
    )
    assert found.resampled_by == "tomogram"
    assert found.class_resampled_by == ("tomogram", "particle")
    recall = found.per_class["recall"]
    drawn = np.random.default_rng(0).binomial(20, recall.value[1], 100_000) / 20
    assert recall.low[1] == pytest.approx(np.percentile(drawn, 2.5), abs=0.051)
    assert recall.high[1] == pytest.approx(np.percentile(drawn, 97.5), abs=0.051)
    assert found.average_precision.low[1] < found.average_precision.high[1]


@pytest.mark.parametrize(("gap", "share"), [(0.0, 0.5), (0.08, 0.7)])
def test_the_interval_of_the_calibration_error_holds_the_true_one(gap: float, share: float) -> None:
    """By simulation; percentiles of the resamples never hold 0."""
    rng, held = np.random.default_rng(0), []
    for _ in range(60):
        confidence = rng.uniform(0.6, 1.0, 300)
        predicted = (rng.random(300) > confidence - gap).astype(np.intp)
        found = metrics.assess(
            np.zeros(300, dtype=np.intp),
            predicted,
            np.zeros(300, dtype=np.intp),
            classes=("a", "b"),
            probabilities=np.where(
                np.arange(2) == predicted[:, None], confidence[:, None], 1 - confidence[:, None]
            ),
            resamples=200,
            rng=rng,
        ).calibration_error
        assert found.low <= found.value <= found.high
        held.append(found.low <= gap <= found.high)
    assert np.mean(held) > share
