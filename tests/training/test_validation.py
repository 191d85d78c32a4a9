import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from halcmd.training.validation import hold_out, negative_log_likelihood, temperature


def held_of(labels, tomograms=None, fraction=0.2, seed=0, order=None):
    ids = np.array([f"TS/{row:06d}" for row in range(len(labels))], dtype=object)
    labels = np.array(labels, dtype=object)
    tomograms = np.array(tomograms or ["none"] * len(labels), dtype=object)
    order = np.arange(len(labels)) if order is None else order
    held, by = hold_out(
        ids[order], labels=labels[order], tomograms=tomograms[order], fraction=fraction, seed=seed
    )
    return set(ids[order][held]), by


def test_each_class_gives_its_share():
    held, by = held_of(["a"] * 50 + ["b"] * 10 + ["c"] * 3 + ["d"] * 2)
    rows = [int(name[-6:]) for name in held]
    assert by == "particle"
    counts = [sum(a <= r < b for r in rows) for a, b in ((0, 50), (50, 60), (60, 63), (63, 65))]
    assert counts == [10, 2, 1, 0]


def test_classes_of_two_labels_hold_nothing_out():
    assert held_of(["a", "a", "b", "b"]) == (set(), "none")


def test_no_share_holds_nothing_out():
    assert held_of(["a"] * 50, fraction=0.0) == (set(), "none")


def test_whole_tomograms_are_held_out_where_the_classes_allow():
    tomograms = [f"TS_{row % 10}" for row in range(100)]
    held, by = held_of(["a", "b"] * 50, tomograms=[f"TS_{row // 2 % 10}" for row in range(100)])
    assert by == "tomogram"
    assert len(held) == 20
    assert len(tomograms) == 100


def test_a_class_that_lives_in_one_tomogram_stops_the_split_by_tomogram():
    labels = ["a"] * 60 + ["b"] * 10
    tomograms = [f"TS_{row % 6}" for row in range(60)] + ["TS_0"] * 10
    assert held_of(labels, tomograms)[1] == "particle"


def test_one_tomogram_is_split_by_particle():
    assert held_of(["a", "b"] * 20, ["TS_1"] * 40)[1] == "particle"


@given(st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_file_order(seed, random):
    labels = ["a"] * 12 + ["b"] * 7 + ["c"] * 4
    for tomograms in (None, [f"TS_{row % 5}" for row in range(23)]):
        order = list(range(23))
        random.shuffle(order)
        expected = held_of(labels, tomograms, seed=seed)
        assert held_of(labels, tomograms, seed=seed, order=np.array(order)) == expected


def logits_of_known_confidence(scale, n=4000, seed=1):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 3)) * 2
    classes = np.array([rng.choice(3, p=row) for row in softmax(logits, axis=1)])
    return logits * scale, classes


@pytest.mark.parametrize("scale", [0.7, 1.0, 2.5])
def test_temperature_undoes_the_scale_of_the_logits(scale):
    assert temperature(*logits_of_known_confidence(scale)) == pytest.approx(scale, rel=0.1)


def test_temperature_stays_within_reason():
    logits, classes = np.eye(3) * 5, np.arange(3)
    assert temperature(logits, classes) == pytest.approx(0.5, abs=1e-3)
    assert temperature(logits, (classes + 1) % 3) == pytest.approx(5.0, abs=1e-3)
    assert temperature(np.empty((0, 0)), np.empty(0, dtype=int)) == 1.0


def test_negative_log_likelihood_of_known_probabilities():
    logits = np.log([[0.5, 0.5], [0.25, 0.75]])
    expected = -(np.log(0.5) + np.log(0.75)) / 2
    assert negative_log_likelihood(logits, np.array([0, 1])) == pytest.approx(expected)
