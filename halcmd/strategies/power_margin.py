"""Power margin: draw particles the more often, the closer their two likeliest classes are."""

from dataclasses import replace

from halcmd.strategies import margin
from halcmd.strategies.pool import Pool, QuerySettings, Selection

NEEDS = margin.NEEDS
RANKS = True

_POWER = 1.0


def select(pool: Pool, n: int, settings: QuerySettings) -> Selection:
    """Candidates drawn without replacement, with probability proportional to score ** power.

    Parameters
    ----------
    pool : Pool
        Uses ``probabilities``, and ``power`` where it is set; else 1.
    n : int
        How many to choose.
    settings : QuerySettings
        Not used.

    Returns
    -------
    Selection
        The score is that of ``margin``, before chance.

    References
    ----------
    Kirsch et al. 2021 (2106.12059): power sampling, on Joshi et al.'s margin.
    """
    return margin.select(replace(pool, power=pool.power or _POWER), n, settings)
