"""Least confidence: ask where the likeliest class is least likely."""

from halcmd.strategies.pool import Pool, QuerySettings, Selection

NEEDS = frozenset({"probabilities"})
RANKS = True


def select(pool: Pool, n: int, settings: QuerySettings) -> Selection:
    """Candidates whose likeliest class has the smallest probability.

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
        The score is 1 minus the largest probability, between 0 and 1 - 1 / n_classes.

    References
    ----------
    Lewis & Gale 1994; "Uncertainty" in dsgissin/DiscriminativeActiveLearning.
    """
    assert pool.probabilities is not None
    score = 1.0 - pool.probabilities.max(axis=1)
    return Selection(pool.best(score, n), score)
