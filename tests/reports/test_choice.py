"""Which particles are shown does not depend on the order of the table, and is what it says."""

import numpy as np
import pytest

from halcmd.reports.choice import extremes, for_map

N = 50
IDS = np.array([f"TS_1/{row:06d}" for row in range(N)], dtype=object)


def test_labelled_particles_come_first_on_the_map(rng):
    is_labelled = rng.random(N) < 0.3
    labelled = int(is_labelled.sum())
    chosen = for_map(IDS, is_labelled, 20, seed=0)
    assert len(chosen) == len(set(chosen)) == 20
    assert is_labelled[chosen[:labelled]].all()
    assert not is_labelled[chosen[labelled:]].any()
    few = for_map(IDS, is_labelled, 5, seed=0)
    assert is_labelled[few].all()
    assert len(for_map(IDS, is_labelled, 1000, seed=0)) == N


def test_the_map_shows_the_same_particles_whatever_the_order_of_rows(rng):
    is_labelled = rng.random(N) < 0.3
    order = rng.permutation(N)
    chosen = for_map(IDS, is_labelled, 20, seed=3)
    again = for_map(IDS[order], is_labelled[order], 20, seed=3)
    assert list(IDS[chosen]) == list(IDS[order][again])
    none = np.zeros(N, dtype=bool)
    assert set(for_map(IDS, none, 20, seed=3)) != set(for_map(IDS, none, 20, seed=4))


BY_HAND = np.array(
    [
        [0.90, 0.05, 0.05],  # 0: rod, sure
        [0.99, 0.00, 0.01],  # 1: rod, surest
        [0.95, 0.03, 0.02],  # 2: rod
        [0.10, 0.80, 0.10],  # 3: ball, its surest
        [0.30, 0.60, 0.10],  # 4: ball
        [0.34, 0.33, 0.33],  # 5: the least sure of all
        [0.45, 0.40, 0.15],  # 6: next
        [0.20, 0.45, 0.35],  # 7: as sure as 6, later by name
    ]
)


def test_the_most_certain_take_turns_and_the_least_certain_come_in_order():
    most, least = extremes(IDS[:8], BY_HAND, 3)
    assert list(least) == [5, 6, 7]
    assert list(most) == [1, 3, 2]  # rod, ball, rod; nothing is predicted to be the third class


def test_no_particle_is_shown_twice():
    most, least = extremes(IDS[:8], BY_HAND, 12)
    assert list(least) == [5, 6, 7, 4]
    assert list(most) == [1, 3, 2, 0]


def test_the_choice_does_not_depend_on_the_order_of_rows(rng):
    probabilities = rng.dirichlet(np.ones(4), N).round(1)  # many ties
    order = rng.permutation(N)
    for before, after in zip(
        extremes(IDS, probabilities, 12),
        extremes(IDS[order], probabilities[order], 12),
        strict=True,
    ):
        assert list(IDS[before]) == list(IDS[order][after])


@pytest.mark.parametrize(("n", "most", "least"), [(1, [0], []), (2, [1], [0]), (3, [1, 2], [0])])
def test_few_particles(n, most, least):
    found = extremes(IDS[:n], BY_HAND[:n], 12)
    assert [list(rows) for rows in found] == [most, least]


def test_one_class_predicted():
    ones = np.tile([0.6, 0.4], (5, 1))
    most, least = extremes(IDS[:5], ones, 12)
    assert [*most, *least] == [2, 3, 4, 0, 1]
