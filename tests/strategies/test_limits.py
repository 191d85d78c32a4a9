"""The greedy filter: what it takes, what it passes over, when it holds places back."""

import numpy as np

from halcmd.strategies.limits import Limits, Places, greedy

NONE = np.empty(0, dtype=np.intp)


def places(count: int, *, predicted: list[int] | None = None, tomograms: int = 1) -> Places:
    return Places(
        np.array([f"TS_{i % tomograms}" for i in range(count)], dtype=object),
        np.stack([10.0 * np.arange(count), np.zeros(count), np.zeros(count)], axis=1),
        np.array(predicted if predicted else [0] * count, dtype=np.intp),
    )


def take(n: int, limits: Limits, where: Places, *, taken: np.ndarray = NONE, total: int = 0):
    ranking = np.setdiff1d(np.arange(len(where.predicted)), taken)
    return greedy(ranking, n, limits, where, taken=taken, total=total or n).tolist()


def test_most_per_tomogram() -> None:
    assert take(4, Limits(max_per_tomogram=2), places(10, tomograms=2)) == [0, 1, 2, 3]
    assert take(5, Limits(max_per_tomogram=2), places(10, tomograms=2)) == [0, 1, 2, 3]
    assert take(3, Limits(max_per_tomogram=1), places(10, tomograms=5)) == [0, 1, 2]


def test_distance_counts_within_a_tomogram_only() -> None:
    assert take(3, Limits(min_distance=25.0), places(10)) == [0, 3, 6]
    assert take(3, Limits(min_distance=30.0), places(10)) == [0, 3, 6]
    assert take(3, Limits(min_distance=31.0), places(10)) == [0, 4, 8]
    assert take(3, Limits(min_distance=15.0), places(10, tomograms=2)) == [0, 1, 2]


def test_unknown_positions_are_no_obstacle() -> None:
    where = places(4)
    where.positions[:] = np.nan
    assert take(3, Limits(min_distance=100.0), where) == [0, 1, 2]


def test_places_are_held_back_for_rare_classes() -> None:
    where = places(8, predicted=[0, 0, 0, 0, 0, 1, 2, 1])
    assert take(4, Limits(min_per_class=1), where) == [0, 1, 5, 6]
    assert take(6, Limits(min_per_class=2), where) == [0, 1, 2, 5, 6, 7]


def test_a_share_that_cannot_be_given_goes_to_the_best_passed_over() -> None:
    where = places(6, predicted=[0, 0, 0, 0, 1, 1], tomograms=6)
    where.tomograms[[4, 5]] = "TS_0"
    limits = Limits(min_per_class=2, max_per_tomogram=1)
    assert take(4, limits, where) == [0, 1, 2, 3]


def test_what_was_taken_before_counts() -> None:
    before = np.array([0, 1])
    assert take(2, Limits(min_distance=25.0), places(10), taken=before[:1], total=3) == [3, 6]
    where = places(8, predicted=[0, 0, 0, 0, 0, 1, 1, 1])
    assert take(1, Limits(min_per_class=1), where, taken=before, total=4) == [2]
    assert take(2, Limits(min_per_class=1), where, taken=before, total=4) == [2, 5]
