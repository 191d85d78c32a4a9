"""BALD: ask where networks with different units dropped are each sure, and disagree."""

from dataclasses import dataclass

import numpy as np

from halcmd.strategies.entropy import entropy
from halcmd.strategies.options import options_of, own
from halcmd.strategies.pool import Floats, Passes, Pool, QuerySettings, Rows, Selection

NEEDS = frozenset({"passes"})
RANKS = True

ACQUISITIONS = ("bald", "entropy", "varratio", "meanstd")
_CHUNK = 2**15


@dataclass(frozen=True)
class Options:
    """Parameters."""

    acquisition: str = own(
        "bald",
        "bald: what a label would tell of the weights; entropy: of the mean; varratio: 1 minus its"
        " largest probability; meanstd: standard deviation over the passes, mean over the classes",
        choices=ACQUISITIONS,
    )
    samples: int = own(50, "passes with dropout", low=2)


def select(pool: Pool, n: int, settings: QuerySettings) -> Selection:
    """Candidates with the largest acquisition over passes with dropout (Monte Carlo dropout).

    Parameters
    ----------
    pool : Pool
        Uses ``passes``; trunk and maps are computed once, only what follows dropout is repeated.
    n : int
        How many to choose.
    settings : QuerySettings
        ``options``.

    Returns
    -------
    Selection
        The score is the acquisition; ``bald`` and ``entropy`` in nats.

    References
    ----------
    Gal, Islam & Ghahramani 2017 (1703.02910). Du et al. 2021 do not say which acquisition they
    compare with.
    """
    options = options_of(settings.options, Options)
    assert pool.passes is not None
    score = np.empty(len(pool))
    order = pool.order
    for start in range(0, len(pool), _CHUNK):
        part = order[start : start + _CHUNK]
        score[part] = acquired(
            pool.passes, pool.candidates[part], options.acquisition, options.samples
        )
    return Selection(pool.best(score, n), score)


def acquired(passes: Passes, rows: Rows, acquisition: str, samples: int) -> Floats:
    """The acquisition of each row, shape (n,), from running sums: no pass is kept.

    Parameters
    ----------
    passes : function
        As ``Pool.passes``.
    rows : ndarray of int
    acquisition : str
        One of ``ACQUISITIONS``.
    samples : int
        Passes.
    """
    total: Floats = np.zeros(0)
    squares: Floats = np.zeros(0)
    uncertainty: Floats = np.zeros(len(rows))
    for number, probabilities in enumerate(passes(rows, samples, None)):
        wide = probabilities.astype(np.float64)
        if number == 0:
            total, squares = np.zeros_like(wide), np.zeros_like(wide)
        total += wide
        if acquisition == "bald":
            uncertainty += entropy(wide)
        if acquisition == "meanstd":
            squares += wide * wide
    mean = total / samples
    if acquisition == "bald":
        return np.asarray(np.maximum(entropy(mean) - uncertainty / samples, 0.0))
    if acquisition == "entropy":
        return entropy(mean)
    if acquisition == "varratio":
        return np.asarray(1.0 - mean.max(axis=1))
    return _spread(mean, squares / samples)


def _spread(mean: Floats, mean_square: Floats) -> Floats:
    """Standard deviation over the passes, mean over the classes."""
    variance = np.maximum(mean_square - mean * mean, 0.0)
    return np.asarray(np.sqrt(variance).mean(axis=1))
