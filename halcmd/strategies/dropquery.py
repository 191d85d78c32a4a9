"""DropQuery: of the particles whose class changes when features drop out, one of each cluster."""

from dataclasses import dataclass

import numpy as np

from halcmd.strategies.clusters import cluster
from halcmd.strategies.margin import margin
from halcmd.strategies.one_by_one import vectors_of
from halcmd.strategies.options import options_of, own
from halcmd.strategies.pool import Pool, QuerySettings, Rows, Selection, highest

NEEDS = frozenset({"probabilities", "embeddings", "passes"})
RANKS = False

_CHUNK = 2**15


@dataclass(frozen=True)
class Options:
    """Parameters; defaults are those of the paper."""

    samples: int = own(3, "passes with dropout", low=1)
    dropout: float = own(0.75, "share of the features dropped", low=0.01, high=0.99)


def select(pool: Pool, n: int, settings: QuerySettings) -> Selection:
    """The candidate nearest to the centre of each of ``n`` clusters of the inconsistent ones.

    A candidate is inconsistent where more than half of the passes give another class than the one
    without dropout. Where there are fewer than ``n``, the others follow: more disagreement first,
    then smaller margin.

    Parameters
    ----------
    pool : Pool
        Uses ``probabilities``, ``embeddings`` and ``passes``.
    n : int
        How many to choose.
    settings : QuerySettings
        ``options``.

    Returns
    -------
    Selection
        The score is the share of the passes that disagree, plus 1 minus the margin over the number
        of passes: a candidate with more disagreement always scores higher.

    References
    ----------
    Gupte et al. 2024 (2401.14555).
    """
    options = options_of(settings.options, Options)
    assert pool.probabilities is not None
    differing = _differing(pool, options)
    score = (differing + 1.0 - margin(pool.probabilities)) / options.samples
    ranking = highest(score, len(pool), pool.keys)
    inconsistent = pool.order[differing[pool.order] > options.samples / 2]
    basket = pool.basket(n)
    offered: set[int] = set()
    for position in [*_centres(pool, inconsistent, n).tolist(), *ranking.tolist()]:
        if basket.full:
            break
        if position not in offered:
            offered.add(position)
            basket.take(position)
    return Selection(basket.content(), score)


def _differing(pool: Pool, options: Options) -> np.ndarray:
    """How many passes give another class than the one without dropout, per candidate."""
    assert pool.passes is not None
    assert pool.probabilities is not None
    classes = pool.probabilities.argmax(axis=1)
    count = np.zeros(len(pool))
    for start in range(0, len(pool), _CHUNK):
        part = pool.order[start : start + _CHUNK]
        rows = pool.candidates[part]
        for probabilities in pool.passes(rows, options.samples, options.dropout):
            count[part] += probabilities.argmax(axis=1) != classes[part]
    return count


def _centres(pool: Pool, positions: Rows, n: int) -> Rows:
    """Of so many clusters of these candidates, the one nearest to each centre, largest first."""
    if not n or not len(positions):
        return positions[:0]
    vectors = vectors_of(pool, pool.candidates[positions])
    clusters, centres = cluster(vectors, n, seed=pool.seed_of("dropquery"))
    offsets = ((vectors - centres[clusters]) ** 2).sum(axis=1)
    order = np.lexsort((offsets, clusters))
    _, first = np.unique(clusters[order], return_index=True)
    sizes = np.bincount(clusters)
    nearest = order[first]
    return positions[nearest[np.argsort(-sizes[clusters[nearest]], kind="stable")]]
