"""Cluster-margin: uncertain particles, spread over clusters so that no two are near-copies."""

from dataclasses import dataclass

import numpy as np

from halcmd.strategies.clusters import cluster, take_in_turn
from halcmd.strategies.margin import margin
from halcmd.strategies.one_by_one import vectors_of
from halcmd.strategies.options import options_of, own
from halcmd.strategies.pool import Pool, QuerySettings, Selection, highest

NEEDS = frozenset({"probabilities", "embeddings"})
RANKS = False

_LEAST = 10


@dataclass(frozen=True)
class Options:
    """Parameters."""

    factor: float = own(10.0, "uncertain particles that are looked at, per one asked for", low=1.0)
    clusters: int = own(500, "most clusters of the pool; 10 particles each at least", low=1)


def select(pool: Pool, n: int, settings: QuerySettings) -> Selection:
    """Of the candidates with the smallest margins, one of each cluster in turn, small ones first.

    Parameters
    ----------
    pool : Pool
        Uses ``probabilities`` and ``embeddings``.
    n : int
        How many to choose.
    settings : QuerySettings
        ``options``.

    Returns
    -------
    Selection
        The score is that of ``margin``.

    References
    ----------
    Citovsky et al. 2021 (2107.14263). There the clusters are of average linkage, which 10^6
    particles do not allow; here they are of k-means. There the particle of a cluster is drawn, here
    it is the one with the smallest margin.
    """
    options = options_of(settings.options, Options)
    assert pool.probabilities is not None
    score = 1.0 - margin(pool.probabilities)
    ranking = highest(score, len(pool), pool.keys)
    uncertain = ranking[: round(options.factor * n)]
    if not len(uncertain):
        return Selection(uncertain, score)
    vectors = vectors_of(pool, pool.candidates[pool.order])
    n_clusters = min(options.clusters, max(len(pool) // _LEAST, 1))
    found, _ = cluster(vectors, n_clusters, seed=pool.seed_of("cluster-margin"))
    cluster_of = np.empty(len(pool), dtype=np.intp)
    cluster_of[pool.order] = found
    members = cluster_of[uncertain]
    sizes = np.bincount(members, minlength=n_clusters)
    there = np.unique(members)
    smallest_first = there[np.lexsort((there, sizes[there]))]
    queues = [iter(uncertain[members == number].tolist()) for number in smallest_first]
    basket = pool.basket(n)
    take_in_turn(basket, queues)
    for position in ranking[len(uncertain) :].tolist():  # where limits leave too few of them
        if basket.full:
            break
        basket.take(position)
    return Selection(basket.content(), score)
