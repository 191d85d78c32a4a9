"""Suspected wrong labels: the rule, against a second implementation and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halcmd.errors import InputError
from halcmd.labels.label_quality import confident_classes, suspected_rows, with_doubts
from halcmd.particles import Particles, new_particles

CLASSES = ("apo", "ribo", "thermo")


def table(labels: list[str], **columns: list[str]) -> Particles:
    ids = [f"T/{n:06d}" for n in range(1, len(labels) + 1)]
    return new_particles({"halParticleId": ids, "halLabel": labels, **columns})


def test_a_label_is_suspected_where_another_class_is_confident() -> None:
    probabilities = np.array(
        [[0.9, 0.1], [0.7, 0.3], [0.1, 0.9], [0.2, 0.8], [0.45, 0.55], [0.1, 0.9]]
    )
    labels = np.array([0, 0, 0, 1, 0, 1])
    # thresholds: (0.9 + 0.7 + 0.1 + 0.45) / 4 = 0.5375 and (0.8 + 0.9) / 2 = 0.85. The third row
    # passes the second threshold; the fifth is likelier of the second class, but not confidently.
    assert confident_classes(probabilities, labels).tolist() == [-1, -1, 1, -1, -1, -1]


def test_a_class_without_labels_is_never_the_answer() -> None:
    probabilities = np.array([[0.1, 0.2, 0.7], [0.6, 0.1, 0.3], [0.2, 0.6, 0.2]])
    assert confident_classes(probabilities, np.array([0, 0, 1])).tolist() == [-1, -1, -1]


@given(st.integers(0, 10_000), st.integers(2, 6), st.floats(0.0, 0.4))
@settings(max_examples=60, deadline=None)
def test_the_rule_is_that_of_cleanlab(seed: int, n_classes: int, noise: float) -> None:
    filters = pytest.importorskip("cleanlab.filter")
    rng = np.random.default_rng(seed)
    true = np.arange(20 * n_classes) % n_classes
    labels = np.where(rng.random(len(true)) < noise, rng.integers(n_classes, size=len(true)), true)
    labels[:n_classes] = np.arange(n_classes)  # cleanlab wants every class to have a label
    logits = rng.normal(size=(len(true), n_classes)) + 3 * np.eye(n_classes)[true]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = filters.find_label_issues(
        labels,
        probabilities,
        filter_by="confident_learning",
        return_indices_ranked_by="self_confidence",
        min_examples_per_class=0,
        n_jobs=1,
    )
    names = [f"c{number}" for number in range(n_classes)]
    particles = with_doubts(
        table([names[place] for place in labels]),
        np.arange(len(labels)),
        labels,
        probabilities,
        names,
    )
    found = suspected_rows(particles)
    assert set(found.tolist()) == set(expected.tolist())
    own = probabilities[np.arange(len(labels)), labels]
    assert own[found] == pytest.approx(own[expected], abs=1e-4), "the order of cleanlab"


def test_the_columns_say_what_was_judged_and_what_is_suspected() -> None:
    labels = ["apo", "apo", "ribo", "ribo", "unlabelled", "skip"]
    probabilities = np.array([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.1, 0.8, 0.1]])
    rows, places = np.array([0, 1, 2]), np.array([0, 0, 1])
    found = with_doubts(table(labels), rows, places, probabilities, CLASSES)
    assert found.text("halSuspectedClass").tolist() == ["none", "ribo", *["none"] * 4]
    assert found.number("halLabelProbability")[:3] == pytest.approx([0.9, 0.05, 0.8])
    assert np.isnan(found.number("halLabelProbability")[3:]).all()
    # of the next training, which held nothing out, nothing old remains
    again = with_doubts(found, rows[:0], places[:0], probabilities[:0], CLASSES)
    assert not again.has("halSuspectedClass")
    assert not again.has("halLabelProbability")


def test_the_least_probable_label_comes_first_and_test_rows_never() -> None:
    particles = table(
        ["apo", "apo", "apo", "ribo", "unlabelled"],
        halSuspectedClass=["ribo", "ribo", "ribo", "ribo", "apo"],
        halLabelProbability=["0.2", "0.1", "0.05", "0.01", "0.01"],
        halSplit=["pool", "pool", "test", "pool", "pool"],
    )
    # the third is of the test split, the fourth has been given the suspected class by now
    assert suspected_rows(particles).tolist() == [1, 0]


def test_a_table_without_the_columns_says_where_they_come_from() -> None:
    with pytest.raises(InputError, match="nothing is known of wrong labels") as error:
        suspected_rows(table(["apo"]))
    assert "score with --i TRAIN/particles.star" in str(error.value.hint)
