"""Random sampling: the anchor of every comparison, and a fair first query."""

from halcmd.strategies.pool import Pool, QuerySettings, Selection

NEEDS: frozenset[str] = frozenset()
RANKS = True


def select(pool: Pool, n: int, settings: QuerySettings) -> Selection:
    """Candidates in a random order that depends on the seed, the round and the particles alone.

    Parameters
    ----------
    pool : Pool
        Uses nothing but the ids.
    n : int
        How many to choose.
    settings : QuerySettings
        Not used.

    Returns
    -------
    Selection
        The score is a uniform random number, so ``--stochastic`` changes nothing that matters.
    """
    score = pool.uniform("random", pool.candidates)
    return Selection(pool.best(score, n), score)
