"""Which particles a query may ask for."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halcmd.chance import keyed_uniform
from halcmd.console import log
from halcmd.errors import NothingToQuery
from halcmd.particles import Particles
from halcmd.strategies.pool import Rows
from halcmd.training.learnable import near_test


def candidates_of(
    particles: Particles,
    eligible: NDArray[np.bool_],
    ids: Collection[str],
    exclude: Path | None,
    most: int | None,
    seed: int,
) -> Rows:
    """Rows that may be asked for.

    Not those closer than half a box to a test particle, from which ``train`` does not learn.

    Parameters
    ----------
    particles : Particles
    eligible : ndarray, shape (n,), bool
        Rows of the split that is asked for.
    ids : collection of str
        Particles that the file ``exclude`` names.
    most : int or None
        Of more, so many are drawn at random.
    seed : int

    Raises
    ------
    NothingToQuery
        There are none.
    """
    is_open = eligible & ~particles.is_answered
    if exclude is not None:
        is_excluded = np.array([name in ids for name in particles.ids])
        if not is_excluded.any():
            log.warning(f"{exclude} excludes nothing: none of its particles is in the table")
        is_open &= ~is_excluded
    rows = far_from_test(particles, np.flatnonzero(is_open))
    if len(rows) < is_open.sum():
        near = f"{is_open.sum() - len(rows):,} (closer than half a box to a test particle)"
        log.info(f"left out {near}")
    if not len(rows):
        raise NothingToQuery(
            "no particle is left to ask for",
            found=f"{len(particles):,} rows, each labelled, of the other split, excluded or too "
            "close to a test particle",
            hint="evaluate, or add picks; --split says whether test particles are asked for"
            if eligible.any() or particles.is_test.any()
            else "there are no test particles: extract --test-fraction 0.2 draws some, and "
            "label-import --as test makes those that a file labels test particles",
        )
    if most is None or most >= len(rows):
        return rows
    keys = keyed_uniform(seed, f"query {round_of(particles)} candidates", particles.ids[rows])
    log.info(f"choosing among a random {most:,} of {len(rows):,} unlabelled particles")
    return np.sort(rows[np.argsort(keys)[:most]])


def round_of(particles: Particles) -> int:
    """Number of this query: one more than the latest in the table."""
    return int(np.nan_to_num(particles.number("halQueryRound", 0.0)).max()) + 1


def far_from_test(particles: Particles, rows: Rows) -> Rows:
    """The rows but for those of the pool closer than half a box to a test particle."""
    if not particles.has("halImageSize") or not particles.is_test.any():
        return rows
    boxes = particles.number("halImageSize") * particles.number("halImagePixelSize")
    is_near = near_test(particles, rows, float(np.nan_to_num(boxes).max()) / 2)
    return np.asarray(rows[~is_near | particles.is_test[rows]])
