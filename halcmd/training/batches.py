"""Which particles make up the batch of a step: dealt evenly, a pure function of the step."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from halcmd.chance import generator

Rows = NDArray[np.intp]


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


@lru_cache(maxsize=128)
def _shuffled(seed: int, number: int, shuffle: int, count: int) -> Rows:
    """The order of a deck; kept, since a deck of a million particles serves thousands of steps."""
    return generator(seed, "deck", number, shuffle).permutation(count)
