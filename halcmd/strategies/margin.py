"""Margin sampling: ask where the two likeliest classes are closest."""

import numpy as np

from halcmd.strategies.pool import Floats, Pool, QuerySettings, Selection

NEEDS = frozenset({"probabilities"})
RANKS = True


def select(pool: Pool, n: int, settings: QuerySettings) -> Selection:
    """Candidates with the smallest gap between first and second class probability.

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
        The score is one minus the gap, between 0 and 1.

    References
    ----------
    Joshi, Porikli and Papanikolopoulos 2009, best versus second best.
    """
    assert pool.probabilities is not None
    score = 1.0 - margin(pool.probabilities)
    return Selection(pool.best(score, n), score)


def margin(probabilities: Floats) -> Floats:
    """First minus second class probability of each row; 1 where there is one class only.

    Parameters
    ----------
    probabilities : ndarray, shape (n, n_classes), float64
        Rows that sum to 1.

    Returns
    -------
    ndarray, shape (n,), float64
        NaN where a probability is NaN.
    """
    if probabilities.shape[1] < 2:
        return np.where(np.isnan(probabilities[:, 0]), np.nan, 1.0)
    top_two = np.partition(probabilities, -2, axis=1)[:, -2:]  # NaN sorts last, so it shows
    return top_two[:, 1] - top_two[:, 0]
