import threading
from itertools import pairwise

import numpy as np
import pytest
import torch

from halcmd.errors import DataError
from halcmd.training.batches import batch_of, dealt

CLASSES = np.array([0] * 3 + [1] * 10 + [4] * 5)


def cards(steps, size=8, *, seed=0, balanced=True):
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
        rows = [row for row in cards(20) if CLASSES[row] == number]
        times = np.bincount(rows, minlength=len(CLASSES))[number == CLASSES]
        assert times.max() - times.min() <= 1


def test_unbalanced_batches_show_each_particle_once_an_epoch():
    assert sorted(cards(3, 6, balanced=False)) == list(range(18))


def test_a_batch_depends_on_seed_and_step_alone():
    again = batch_of(CLASSES, 8, step=7, seed=3, balanced=True)
    assert np.array_equal(batch_of(CLASSES, 8, step=7, seed=3, balanced=True), again)
    assert not np.array_equal(batch_of(CLASSES, 8, step=8, seed=3, balanced=True), again)
    assert not np.array_equal(batch_of(CLASSES, 8, step=7, seed=4, balanced=True), again)


@pytest.mark.parametrize("steps", [[0, 1, 2, 3], [5, 6], [0, 4, 5, 2]])
def test_particles_that_are_read_ahead_are_those_of_the_step(steps):
    read_by: dict[str, list[int]] = {}

    def source(positions):
        read_by.setdefault(threading.current_thread().name, []).append(len(positions))
        return torch.from_numpy(positions.astype(np.float32))

    deal = dealt(source, CLASSES, balanced=True)
    for step in steps:
        positions, volumes = deal(step, 8, 3)
        assert np.array_equal(positions, batch_of(CLASSES, 8, step=step, seed=3, balanced=True))
        assert np.array_equal(volumes.numpy(), positions)
    own = len(read_by[threading.current_thread().name])
    assert own == 1 + sum(after != before + 1 for before, after in pairwise(steps))


def test_a_particle_that_cannot_be_read_ends_the_step_that_wants_it():
    def source(positions):
        if threading.current_thread() is not threading.main_thread():
            raise DataError("a box is not finite")
        return torch.zeros(len(positions))

    deal = dealt(source, CLASSES, balanced=False)
    deal(0, 8, 3)
    with pytest.raises(DataError, match="not finite"):
        deal(1, 8, 3)
