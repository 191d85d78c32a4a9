"""BADGE: ask where the gradient of the last layer would be large, and different each time."""

import numpy as np

from halcmd.strategies.one_by_one import Vectors, drawn, one_after_another, vectors_of
from halcmd.strategies.pool import Floats, Pool, QuerySettings, Selection

NEEDS = frozenset({"probabilities", "embeddings"})
RANKS = False


def select(pool: Pool, n: int, settings: QuerySettings) -> Selection:
    """Candidates drawn as k-means++ draws its centres, in the space of gradients.

    The gradient that a particle would give to the last layer, were its likeliest class the true
    one, is the outer product of q = p - onehot(argmax p) and the embedding h. It is never formed:
    ``|g - g'|^2 = |q|^2 |h|^2 + |q'|^2 |h'|^2 - 2 (q.q')(h.h')``. The first is the largest
    gradient, each further one drawn with probability proportional to the squared distance to the
    nearest one drawn so far. Where all gradients are zero, candidates are taken at random.

    Parameters
    ----------
    pool : Pool
        Uses ``probabilities`` and ``embeddings``.
    n : int
        How many to choose.
    settings : QuerySettings
        Not used.

    Returns
    -------
    Selection
        The score is the squared distance when it was drawn, of the first its squared length; of
        those not drawn, the last distance.

    References
    ----------
    Ash et al. 2020 (1906.03671); the factorised distance as in the badge repository.
    """
    assert pool.probabilities is not None
    rows = pool.candidates[pool.order]
    pool.refuse(pool.probabilities, pool.candidates, "a probability")
    vectors = vectors_of(pool, rows)
    errors = errors_of(pool.probabilities[pool.order]).astype(vectors.dtype, copy=False)
    lengths = (errors * errors).sum(axis=1) * (vectors * vectors).sum(axis=1)

    draw = drawn(np.random.default_rng(pool.seed_of("badge")))

    def following(nearest: Vectors) -> int:
        if np.isinf(nearest.max()):  # none is chosen yet
            return int(np.where(nearest >= 0, lengths, -1.0).argmax())
        return draw(nearest)

    basket = pool.basket(n)
    squared = one_after_another(
        pool,
        basket,
        np.full(len(pool), np.inf, dtype=vectors.dtype),
        lambda place: gradient_distances(errors, vectors, lengths, place),
        following,
    )
    in_place = np.empty(len(pool))
    in_place[pool.order] = lengths
    return Selection(basket.content(), np.where(np.isinf(squared), in_place, squared))


def errors_of(probabilities: Floats) -> Vectors:
    """``p - onehot(argmax p)`` of each row."""
    errors = probabilities.copy()
    errors[np.arange(len(errors)), probabilities.argmax(axis=1)] -= 1.0
    return errors


def gradient_distances(
    errors: Vectors,
    vectors: Vectors,
    lengths: Vectors,
    place: int,
) -> Vectors:
    """Squared distances of the gradients ``errors x vectors`` to the one at a place, shape (n,).

    Parameters
    ----------
    errors : ndarray, shape (n, n_classes)
    vectors : ndarray, shape (n, d)
    lengths : ndarray, shape (n,)
        Squared lengths of the gradients: the product of those of both.
    place : int
    """
    crossed = (errors @ errors[place]) * (vectors @ vectors[place])
    found: Vectors = np.maximum(lengths + lengths[place] - 2.0 * crossed, 0.0)
    found[place] = 0.0
    return found
