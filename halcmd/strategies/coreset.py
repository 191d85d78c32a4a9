"""Core-set: ask for the particle that is farthest from all that are labelled, again and again."""

import numpy as np

from halcmd.strategies.one_by_one import (
    drawn,
    farthest,
    nearest_of,
    one_after_another,
    squared_distances,
    vectors_of,
)
from halcmd.strategies.pool import Pool, QuerySettings, Selection

NEEDS = frozenset({"embeddings"})
RANKS = True


def select(pool: Pool, n: int, settings: QuerySettings) -> Selection:
    """Candidates chosen farthest first (greedy k-centre) in the space of embeddings.

    Parameters
    ----------
    pool : Pool
        Uses ``embeddings`` and ``answered``; without any answer, distances are from the mean at
        first. With ``power``, each is drawn with probability proportional to distance ** power.
    n : int
        How many to choose.
    settings : QuerySettings
        Not used.

    Returns
    -------
    Selection
        The score is the distance to the nearest particle that was labelled or chosen before.

    References
    ----------
    Sener & Savarese 2018 (1708.00489), the greedy form. Only the running minimum is kept, as in
    the badge repository's core_set.py.
    """
    vectors = vectors_of(pool, pool.candidates[pool.order])
    middle = vectors.mean(axis=0, keepdims=True)
    labelled = middle
    if len(pool.answered):
        labelled = vectors_of(pool, pool.answered[pool.answered_order])
    vectors -= middle
    lengths = (vectors * vectors).sum(axis=1)
    nearest = nearest_of(vectors, labelled - middle)
    rng = np.random.default_rng(pool.seed_of("draw"))
    following = drawn(rng, power=pool.power / 2) if pool.power else farthest
    basket = pool.basket(n)
    squared = one_after_another(
        pool, basket, nearest, lambda place: squared_distances(vectors, lengths, place), following
    )
    return Selection(basket.content(), np.sqrt(np.maximum(squared, 0.0)))
