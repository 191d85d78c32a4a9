"""Which particles make up the batch of a step: dealt evenly, a pure function of the step.

So those of the next step are known, and a thread reads them while this one is computed.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from halcmd.chance import generator

Rows = NDArray[np.intp]
Source = Callable[[Rows], Tensor]
"""Particles by their positions, shape (n, z, y, x), on the CPU."""


def batch_of(classes: Rows, size: int, *, step: int, seed: int, balanced: bool) -> Rows:
    """Positions of the particles of one step.

    The particles are dealt out of shuffled decks, one deck per class where ``balanced`` else one
    for all, decks taking turns; a deck that is used up is shuffled again.

    Parameters
    ----------
    classes : ndarray, shape (n,), int
        Class of each particle.
    size : int
        Particles per step.
    step : int
        From 0.
    seed : int
        Of the shuffles.
    balanced : bool
        Deal as many of each class.

    Returns
    -------
    ndarray, shape (size,), int
        In random order.
    """
    deck_of = {-1: np.arange(len(classes))}
    if balanced:
        deck_of = {int(number): np.flatnonzero(classes == number) for number in np.unique(classes)}
    numbers = generator(seed, "decks").permutation(list(deck_of))
    batch = []
    for place in range(step * size, (step + 1) * size):
        draw, which = divmod(place, len(numbers))
        number = int(numbers[which])
        deck = deck_of[number]
        shuffle, card = divmod(draw, len(deck))
        batch.append(deck[_shuffled(seed, number, shuffle, len(deck))[card]])
    return generator(seed, "batch", step).permutation(np.array(batch, dtype=np.intp))


def dealt(
    source: Source, classes: Rows, *, balanced: bool
) -> Callable[[int, int, int], tuple[Rows, Tensor]]:
    """A function of (step, size, seed): the positions of ``batch_of``, and the particles there.

    Parameters
    ----------
    source : function of positions -> Tensor, shape (n, z, y, x)
        Called by a thread for the step after the one asked for.
    classes, balanced
        As in ``batch_of``.
    """
    reader = ThreadPoolExecutor(1, "read ahead")
    coming: dict[tuple[int, int, int], Future[tuple[Rows, Tensor]]] = {}

    def batch(step: int, size: int, seed: int) -> tuple[Rows, Tensor]:
        positions = batch_of(classes, size, step=step, seed=seed, balanced=balanced)
        return positions, source(positions)

    def deal(step: int, size: int, seed: int) -> tuple[Rows, Tensor]:
        begun = coming.pop((step, size, seed), None)
        found = begun.result() if begun else batch(step, size, seed)
        coming.clear()
        coming[step + 1, size, seed] = reader.submit(batch, step + 1, size, seed)
        return found

    return deal


@lru_cache(maxsize=128)
def _shuffled(seed: int, number: int, shuffle: int, count: int) -> Rows:
    """The order of a deck; kept, since a deck of a million particles serves thousands of steps."""
    return generator(seed, "deck", number, shuffle).permutation(count)
