"""One split, folds or none: who is held out when."""

import numpy as np
import pytest

from halcmd.particles import new_particles
from halcmd.training.learnable import rows_without_label
from halcmd.training.recipes import folds
from halcmd.training.split import split_for
from halcmd.training.validation import deal_folds


def table(labels, tomograms):
    return new_particles(
        {
            "halParticleId": [f"p/{row:04d}" for row in range(len(labels))],
            "halTomogram": list(tomograms),
            "halLabel": list(labels),
        }
    )


def deal(labels, tomograms, *, count=3, seed=0, order=None):
    ids = np.array([f"p/{row:04d}" for row in range(len(labels))], dtype=object)
    labels, tomograms = np.array(labels, dtype=object), np.array(tomograms, dtype=object)
    order = np.arange(len(ids)) if order is None else order
    dealt, by = deal_folds(
        ids[order], labels=labels[order], tomograms=tomograms[order], count=count, seed=seed
    )
    back = np.empty_like(dealt)
    back[order] = dealt
    return back, by


LABELS = ["a"] * 20 + ["b"] * 7 + ["c"] * 2


def test_each_class_is_dealt_evenly_and_a_rare_one_is_never_held_out():
    dealt, by = deal(LABELS, ["T"] * 29)
    assert by == "particle"
    counts = [np.bincount(dealt[place], minlength=3) for place in (slice(0, 20), slice(20, 27))]
    assert all(count.max() - count.min() <= 1 for count in counts)
    assert (dealt[27:] == -1).all()
    sizes = np.bincount(dealt[dealt >= 0])
    assert sizes.max() - sizes.min() <= 1


def test_whole_tomograms_are_dealt_where_every_fold_gets_every_class():
    tomograms = [f"T{row % 6}" for row in range(24)]
    labels = [("a", "b")[row // 6 % 2] for row in range(24)]
    dealt, by = deal(labels, tomograms)
    assert by == "tomogram"
    assert all(len(set(dealt[np.array(tomograms) == name])) == 1 for name in set(tomograms))
    assert set(dealt) == {0, 1, 2}


def test_particles_are_dealt_where_a_class_lives_in_one_tomogram():
    tomograms = ["T0"] * 6 + [f"T{row % 5 + 1}" for row in range(18)]
    assert deal(["a"] * 6 + ["b"] * 18, tomograms)[1] == "particle"


def test_folds_do_not_depend_on_the_order_of_rows_but_on_the_seed():
    order = np.random.default_rng(0).permutation(29)
    once, _ = deal(LABELS, ["T"] * 29)
    again, _ = deal(LABELS, ["T"] * 29, order=order)
    other, _ = deal(LABELS, ["T"] * 29, seed=1)
    assert (once == again).all()
    assert (once != other).any()


def test_no_class_to_spare_is_no_fold():
    dealt, by = deal(["a", "a", "b", "b"], ["T"] * 4)
    assert by == "none"
    assert (dealt == -1).all()


@pytest.mark.parametrize(
    ("preset", "labelled", "share", "expected"),
    [
        ("default", 199, None, 3),
        ("default", 200, None, 0),
        ("default", 100, 0.2, 5),
        ("default", 100, 0.9, 2),
        ("default", 100, 0.01, 10),
        ("code", 100, None, 0),
    ],
)
def test_how_many_folds(preset, labelled, share, expected):
    assert folds(preset, labelled, share) == expected


def split(count, **settings):
    labels = [("a", "b")[row % 2] for row in range(count)]
    settings = {"preset": "default", "share": None, "seed": 0} | settings
    particles = table(labels, ["T"] * count)
    return split_for(particles, np.arange(count), {"a": 1, "b": 2}, **settings)


def test_few_labels_are_all_trained_on_and_all_validated():
    few = split(60)
    assert (few.n_folds, len(few.training), len(few.validation)) == (3, 60, 60)


def test_many_labels_are_split_once():
    many = split(300)
    assert (many.n_folds, len(many.training), len(many.validation)) == (0, 240, 60)
    assert not set(many.training.rows) & set(many.validation.rows)


def test_many_labels_are_dealt_into_folds_when_asked():
    labels = ["a", "b"] * 150
    particles = table(labels, ["T"] * 300)
    found = split_for(
        particles, np.arange(300), {"a": 1, "b": 2}, preset="default", share=None, n_folds=4, seed=0
    )
    assert found.n_folds == 4
    assert len(found.training) == 300
    assert np.bincount(found.held_in).tolist() == [75] * 4


def test_no_validation_is_none_with_few_and_with_many():
    for count in (60, 300):
        none = split(count, share=0.0)
        assert (none.n_folds, len(none.training), len(none.validation)) == (0, count, 0)


def test_rows_without_label_are_of_the_pool_and_unanswered():
    particles = table(["a", "unlabelled", "unknown", "skip", "unlabelled", "unlabelled"], ["T"] * 6)
    particles = particles.with_columns({"halSplit": ["pool"] * 4 + ["test", "pool"]})
    assert list(rows_without_label(particles, distance=100.0)) == [1, 5]
