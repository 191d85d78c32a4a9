"""TypiClust: ask for the most typical particle of each cluster that has no label yet.

For the first labels: it needs no classifier, only embeddings, as those of a pretrained network.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from halcmd.strategies.clusters import cluster, take_in_turn
from halcmd.strategies.one_by_one import Vectors, vectors_of
from halcmd.strategies.options import options_of, own
from halcmd.strategies.pool import Pool, QuerySettings, Rows, Selection

NEEDS = frozenset({"embeddings"})
RANKS = False

_CHUNK_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Options:
    """Parameters; defaults are those of avihu111/TypiClust (typiclust.py)."""

    clusters: int = own(500, "most clusters; there are as many as labels, new ones included", low=1)
    neighbours: int = own(20, "nearest neighbours that make a particle typical", low=1)
    smallest: int = own(5, "clusters of so many particles or fewer come last", low=0)


def select(pool: Pool, n: int, settings: QuerySettings) -> Selection:
    """The most typical candidate of each cluster, those with the fewest labels and largest first.

    Parameters
    ----------
    pool : Pool
        Uses ``embeddings`` (scaled to length 1) and ``answered``, which may be empty.
    n : int
        How many to choose.
    settings : QuerySettings
        ``options``.

    Returns
    -------
    Selection
        The score is the typicality: 1 over the mean distance to the nearest neighbours among the
        candidates of the same cluster; NaN in clusters that were not looked at.

    References
    ----------
    Hacohen, Dekel & Weinshall 2022 (2202.02794).
    """
    options = options_of(settings.options, Options)
    score = np.full(len(pool), np.nan)
    if not n:
        return Selection(np.empty(0, dtype=np.intp), score)
    rows = np.concatenate([pool.answered[pool.answered_order], pool.candidates[pool.order]])
    n_answered = len(pool.answered)
    vectors = vectors_of(pool, rows, unit=True)
    count = min(n_answered + n, options.clusters)
    clusters, _ = cluster(vectors, count, seed=pool.seed_of("typiclust"))
    answered, free = clusters[:n_answered], clusters[n_answered:]
    vectors = vectors[n_answered:]

    def most_typical_first(number: int) -> Iterator[int]:
        members = np.flatnonzero(free == number)
        typical = typicality(vectors[members], options.neighbours)
        positions = pool.order[members]
        score[positions] = typical
        yield from positions[np.argsort(-typical, kind="stable")].tolist()

    order = _in_order(answered, free, int(clusters.max()) + 1, options.smallest)
    basket = pool.basket(n)
    take_in_turn(basket, [most_typical_first(number) for number in order.tolist()])
    return Selection(basket.content(), score)


def typicality(vectors: Vectors, neighbours: int) -> NDArray[np.float64]:
    """1 over the mean distance of each vector to its nearest ones, shape (n,); 0 for a lone one.

    Parameters
    ----------
    vectors : ndarray, shape (n, d)
        Of one cluster.
    neighbours : int
        How many, but at most half of the cluster.
    """
    count = min(neighbours, len(vectors) // 2)
    if not count:
        return np.zeros(len(vectors))
    centred = vectors - vectors.mean(axis=0)
    lengths = (centred * centred).sum(axis=1)
    piece = max(_CHUNK_BYTES // (4 * len(vectors)), 1)
    found = np.empty(len(vectors))
    for start in range(0, len(vectors), piece):
        part = centred[start : start + piece]
        squared = lengths[start : start + piece, None] + lengths - 2.0 * (part @ centred.T)
        squared[np.arange(len(part)), np.arange(start, start + len(part))] = -1.0  # itself
        near = np.partition(squared, count, axis=1)[:, : count + 1]
        distances = np.sqrt(np.maximum(near, 0.0, dtype=np.float64))
        found[start : start + piece] = distances.sum(axis=1) / count
    return 1.0 / np.maximum(found, 1e-5)


def _in_order(answered: Rows, free: Rows, count: int, smallest: int) -> Rows:
    """Clusters with candidates: fewest answers first, then most particles; small ones last."""
    labels = np.bincount(answered, minlength=count)
    open_ = np.bincount(free, minlength=count)
    size = labels + open_
    order = np.lexsort((np.arange(count), -size, labels, size <= smallest))
    return order[open_[order] > 0].astype(np.intp)
