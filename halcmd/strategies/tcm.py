"""TCM: typical particles first, uncertain ones once there are enough labels."""

from dataclasses import dataclass

from halcmd.console import log
from halcmd.strategies import margin, typiclust
from halcmd.strategies.options import options_of, own
from halcmd.strategies.pool import Pool, QuerySettings, Selection

NEEDS = frozenset({"embeddings"})
TAKES = frozenset({"probabilities"})
RANKS = False


@dataclass(frozen=True)
class Options(typiclust.Options):
    """Parameters: those of typiclust, and when it ends."""

    per_class: int = own(4, "typiclust until there are so many labels per class, then margin")


def select(pool: Pool, n: int, settings: QuerySettings) -> Selection:
    """What ``typiclust`` chooses while labels are few, then what ``margin`` does.

    Parameters
    ----------
    pool : Pool
        Uses ``embeddings``, ``answered``, and ``probabilities`` where there are any.
    n : int
        How many to choose.
    settings : QuerySettings
        ``options``.

    Returns
    -------
    Selection
        The score is that of the strategy that chose.

    References
    ----------
    Doucet et al. 2024 (2403.03728): TypiClust, then margin. When to change is stated there per data
    set; four labels a class is this program's choice.
    """
    options = options_of(settings.options, Options)
    probabilities = pool.probabilities
    if probabilities is None:
        log.info("no predictions in the table: typiclust chooses")
        return typiclust.select(pool, n, settings)
    enough = options.per_class * probabilities.shape[1]
    is_enough = len(pool.answered) >= enough
    name = "margin" if is_enough else "typiclust"
    log.info(f"{len(pool.answered):,} labels; margin chooses from {enough:,} on: {name} chooses")
    if is_enough:
        return margin.select(pool, n, settings)
    return typiclust.select(pool, n, settings)
