import numpy as np
import pytest

from halcmd.training.batches import batch_of

CLASSES = np.array([0] * 3 + [1] * 10 + [4] * 5)


def dealt(steps, size=8, *, seed=0, balanced=True):
    batches = [
        batch_of(CLASSES, size, step=step, seed=seed, balanced=balanced) for step in range(steps)
    ]
    return np.concatenate(batches)


@pytest.mark.parametrize("size", [2, 8, 9, 30])
def test_balanced_batches_hold_as_many_of_each_class(size):
    for step in range(5):
        rows = batch_of(CLASSES, size, step=step, seed=0, balanced=True)
        counts = [int((CLASSES[rows] == number).sum()) for number in (0, 1, 4)]
        assert sum(counts) == size
        assert max(counts) - min(counts) <= 1


def test_every_particle_of_a_class_comes_before_one_comes_again():
    for number in (0, 1, 4):
        rows = [row for row in dealt(20) if CLASSES[row] == number]
        times = np.bincount(rows, minlength=len(CLASSES))[number == CLASSES]
        assert times.max() - times.min() <= 1


def test_unbalanced_batches_show_each_particle_once_an_epoch():
    assert sorted(dealt(3, 6, balanced=False)) == list(range(18))


def test_a_batch_depends_on_seed_and_step_alone():
    again = batch_of(CLASSES, 8, step=7, seed=3, balanced=True)
    assert np.array_equal(batch_of(CLASSES, 8, step=7, seed=3, balanced=True), again)
    assert not np.array_equal(batch_of(CLASSES, 8, step=8, seed=3, balanced=True), again)
    assert not np.array_equal(batch_of(CLASSES, 8, step=7, seed=4, balanced=True), again)
