"""Shares of 1 and of 0: which they are, and how much may still be otherwise."""

import numpy as np
import pytest

from halcmd.assessment.metrics import Assessment, assess
from halcmd.assessment.unanimous import Unanimous, all_right, none_right


def assessed(true: list[int], predicted: list[int]) -> Assessment:
    return assess(
        np.array(true),
        np.array(predicted),
        np.zeros(len(true), dtype=np.intp),
        classes=("a", "b", "c"),
        probabilities=np.full((len(true), 3), np.nan),
        resamples=20,
        rng=np.random.default_rng(0),
    )


def test_only_shares_of_particles_that_are_all_right_count() -> None:
    found = assessed([0, 0, 0, 1, 1], [0, 1, 1, 1, 1])
    assert all_right(found) == [Unanimous("precision", "a", 1), Unanimous("recall", "b", 2)]


def test_without_any_error_the_accuracy_comes_first_then_the_fewest() -> None:
    shares = all_right(assessed([0] * 60 + [1] * 6, [0] * 60 + [1] * 6))
    named = [(share.measure, share.class_name, share.particles) for share in shares]
    assert named == [
        ("accuracy", None, 66),
        ("precision", "b", 6),
        ("recall", "b", 6),
        ("precision", "a", 60),
        ("recall", "a", 60),
    ]
    assert [share.most_others for share in shares[2:4]] == [0.5, pytest.approx(0.05)]


def test_a_class_of_which_nothing_is_found_has_a_share_of_0() -> None:
    found = assessed([0, 0, 0, 2], [0, 0, 1, 0])
    assert none_right(found) == [Unanimous("precision", "b", 1), Unanimous("recall", "c", 1)]


def test_a_class_that_the_model_does_not_know_cannot_be_right() -> None:
    known = np.array([[0.9, 0.1, np.nan]] * 3)
    found = assess(
        np.array([0, 1, 2]),
        np.array([0, 0, 0]),
        np.zeros(3, dtype=np.intp),
        classes=("a", "b", "c"),
        probabilities=known,
        resamples=0,
        rng=np.random.default_rng(0),
    )
    assert none_right(found) == [Unanimous("recall", "b", 1)]


def test_a_class_that_is_absent_has_no_share() -> None:
    found = assessed([0, 1], [1, 0])
    assert all_right(found) == []
    assert none_right(found)[0] == Unanimous("accuracy", None, 2)
    assert {share.class_name for share in none_right(found)} == {None, "a", "b"}


@pytest.mark.parametrize("count", [1, 2, 5, 20, 100, 1000])
def test_the_rule_of_three_covers_the_exact_limit(count: int) -> None:
    exact = 1 - 0.05 ** (1 / count)
    assert exact <= Unanimous("accuracy", None, count).most_others <= min(3 * exact, 1.0) + 0.05
