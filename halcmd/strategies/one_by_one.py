"""Choosing one after another, each by its distance to those chosen before."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from halcmd.strategies.limits import Basket
from halcmd.strategies.pool import Floats, Pool, Rows

_CHUNK = 2**16
_BLOCK = 1024

_EXACT = 2**22  # numbers, up to which float64 costs nothing that anyone would notice

Vectors = NDArray[np.floating]


def vectors_of(pool: Pool, rows: Rows, *, unit: bool = False) -> Vectors:
    """Embeddings of rows of the table, shape (n, d), float64 where they are few, else float32.

    Parameters
    ----------
    pool : Pool
        Uses ``embeddings``.
    rows : ndarray of int
    unit : bool
        Scale each vector to length 1.

    Raises
    ------
    DataError
        A number is not finite.
    """
    assert pool.embeddings is not None
    first = np.asarray(pool.embeddings(rows[:_CHUNK]))
    is_small = len(rows) * first.shape[1] <= _EXACT
    vectors = np.empty((len(rows), first.shape[1]), dtype=np.float64 if is_small else np.float32)
    vectors[:_CHUNK] = first
    for start in range(_CHUNK, len(rows), _CHUNK):
        vectors[start : start + _CHUNK] = pool.embeddings(rows[start : start + _CHUNK])
    pool.refuse(vectors, rows, "an embedding")
    if unit:
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors


def squared_distances(vectors: Vectors, lengths: Vectors, place: int) -> Vectors:
    """Squared distances of all vectors to the one at a place.

    Parameters
    ----------
    vectors : ndarray, shape (n, d)
        Best with their mean taken off: |a|^2 + |b|^2 - 2ab loses digits where lengths are large
        beside distances.
    lengths : ndarray, shape (n,)
        Their squared lengths.
    place : int
    """
    products = vectors @ vectors[place]
    found: Vectors = np.maximum(lengths + lengths[place] - 2.0 * products, 0.0)
    found[place] = 0.0
    return found


def nearest_of(vectors: Vectors, others: Vectors) -> Vectors:
    """Squared distance of each vector to the nearest of the others, shape (n,); inf without any.

    Computed in blocks; there is never a matrix of all distances.
    """
    nearest = np.full(len(vectors), np.inf, dtype=vectors.dtype)
    lengths = (others * others).sum(axis=1)
    for start in range(0, len(vectors), _CHUNK):
        part = vectors[start : start + _CHUNK]
        best = nearest[start : start + _CHUNK]
        own = (part * part).sum(axis=1)
        for first in range(0, len(others), _BLOCK):
            block = slice(first, first + _BLOCK)
            crossed = part @ others[block].T
            crossed *= -2.0
            crossed += lengths[block]
            np.minimum(best, crossed.min(axis=1) + own, out=best)
    return np.asarray(np.maximum(nearest, 0.0))


def one_after_another(
    pool: Pool,
    basket: Basket,
    nearest: Vectors,
    distances_to: Callable[[int], Vectors],
    following: Callable[[Vectors], int],
) -> Floats:
    """Candidates chosen one by one; after each, every other's distance to its nearest is renewed.

    All arrays are in ``pool.order``.

    Parameters
    ----------
    pool : Pool
        Gives the order.
    basket : Basket
        Takes them, until it is full.
    nearest : ndarray, shape (n_candidates,)
        Squared distance to the nearest one chosen before, -1 where a candidate is not to be taken;
        changed in place.
    distances_to : function
        Place -> squared distances of all candidates to it.
    following : function
        ``nearest``, -1 where a candidate cannot be taken any more -> place of the next one.

    Returns
    -------
    ndarray, shape (n_candidates,), float64
        In the order of the candidates: of those chosen, the squared distance when they were; of the
        others, the last one.
    """
    is_open = nearest >= 0
    found = nearest.astype(np.float64)
    left = int(is_open.sum())
    while left and not basket.full:
        place = following(nearest)
        found[place] = nearest[place]
        is_open[place], left = False, left - 1
        if basket.take(int(pool.order[place])):
            np.minimum(nearest, distances_to(place), out=nearest)
            nearest[~is_open] = -1.0
        nearest[place] = -1.0
    found[is_open] = nearest[is_open]
    distance = np.empty(len(nearest))
    distance[pool.order] = found
    return distance


def farthest(nearest: Vectors) -> int:
    """The place of the largest distance, of equals the first."""
    return int(nearest.argmax())


def drawn(rng: np.random.Generator, *, power: float = 1.0) -> Callable[[Vectors], int]:
    """A function that draws a place with probability proportional to squared distance ** power.

    Where all distances are zero, it takes the first place that can be taken.
    """

    def draw(nearest: Vectors) -> int:
        weights = np.maximum(nearest, 0.0)
        total = np.cumsum(weights if power == 1.0 else weights**power, dtype=np.float64)
        if not total[-1] > 0:
            return int((nearest >= 0).argmax())
        return int(np.searchsorted(total, rng.random() * total[-1], side="right"))

    return draw
