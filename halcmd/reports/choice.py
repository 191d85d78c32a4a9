"""Which particles are shown: some for the map, the most and the least certain as slices."""

from collections.abc import Iterable
from heapq import nsmallest
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from halcmd.chance import keyed_uniform

Rows = NDArray[np.intp]


def for_map(ids: Iterable[str], is_labelled: NDArray[np.bool_], count: int, seed: int) -> Rows:
    """At most ``count`` particles, labelled ones first, the same whatever the order of the table.

    Parameters
    ----------
    ids : iterable of n str
        halParticleId.
    is_labelled : ndarray of bool, shape (n,)
    count : int
    seed : int

    Returns
    -------
    ndarray of int
        In an order that depends on the seed and the ids alone.
    """
    keys = keyed_uniform(seed, "map of embeddings", ids)
    return np.lexsort((keys, ~is_labelled))[:count]


def extremes(
    ids: NDArray[np.object_ | np.bytes_], probabilities: NDArray[np.float64], count: int
) -> tuple[Rows, Rows]:
    """The most and the least certain particles, at most ``count`` of each, none of them twice.

    Parameters
    ----------
    ids : ndarray of str or bytes, shape (n,)
        halParticleId; settles ties.
    probabilities : ndarray, shape (n, n_classes)
        A particle is as certain as the probability of its likeliest class.
    count : int

    Returns
    -------
    most, least : ndarray of int
        ``most``: the predicted classes take turns, each with its most certain particle first, or
        one clear class would fill all places. ``least``: whatever their class, the least first.
    """
    # Six decimals, as in the table: what differs by less differs by the order of a sum.
    confidence = probabilities.max(axis=1).round(6)
    likeliest = probabilities.argmax(axis=1)
    everyone = np.arange(len(ids))
    least = nsmallest(
        min(count, len(ids) // 2), everyone, key=lambda row: (confidence[row], ids[row])
    )
    others = np.setdiff1d(everyone, least)
    best_of_class = [
        nsmallest(count, of_class, key=lambda row: (-confidence[row], ids[row]))
        for of_class in (others[likeliest[others] == place] for place in np.unique(likeliest))
    ]
    turns = zip_longest(*best_of_class)
    most = [row for turn in turns for row in turn if row is not None][:count]
    return np.array(most, dtype=np.intp), np.array(least, dtype=np.intp)
