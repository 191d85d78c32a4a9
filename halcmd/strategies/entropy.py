"""Entropy sampling: ask where the class probabilities are spread the most."""

import numpy as np

from halcmd.strategies.pool import Floats, Pool, QuerySettings, Selection

NEEDS = frozenset({"probabilities"})
RANKS = True


def select(pool: Pool, n: int, settings: QuerySettings) -> Selection:
    """Candidates with the largest entropy of the class probabilities.

    Parameters
    ----------
    pool : Pool
        Uses ``probabilities``.
    n : int
        How many to choose.
    settings : QuerySettings
        Not used.

    Returns
    -------
    Selection
        The score is the entropy in nats.

    References
    ----------
    Joshi, Porikli and Papanikolopoulos 2009, one of its two measures. It is also HAL without its
    discriminator.
    """
    assert pool.probabilities is not None
    score = entropy(pool.probabilities)
    return Selection(pool.best(score, n), score)


def entropy(probabilities: Floats) -> Floats:
    """``-sum p ln p`` of each row in nats; 0 ln 0 = 0; NaN where a probability is NaN.

    Parameters
    ----------
    probabilities : ndarray, shape (n, n_classes), float64
        Rows that sum to 1.

    Returns
    -------
    ndarray, shape (n,), float64
        Between 0 and ln(n_classes).
    """
    safe = np.where(probabilities > 0, probabilities, 1.0)
    total = -(np.where(probabilities > 0, probabilities, 0.0) * np.log(safe)).sum(axis=1)
    unknown = np.isnan(probabilities).any(axis=1)
    return np.where(unknown, np.nan, np.maximum(total, 0.0))
