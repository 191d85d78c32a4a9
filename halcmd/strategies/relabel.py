"""Suspected wrong labels that a query asks again."""

from collections.abc import Collection

import numpy as np

from halcmd.console import log
from halcmd.labels.label_quality import ASKED_AGAIN, suspected_rows
from halcmd.particles import Particles
from halcmd.strategies.pool import Rows


def labels_to_ask_again(
    particles: Particles, n: int, fraction: float, excluded: Collection[str] = ()
) -> Rows:
    """Rows whose label is to be asked again, the least probable label first.

    Each is asked again once: an answer that stays the same is not doubted a third time.

    Parameters
    ----------
    particles : Particles
        With the columns that train writes; looked at where ``fraction`` is above 0 alone.
    n : int
        Particles of the whole query.
    fraction : float
        Share of them, 0 to 1; fewer where there are not so many.
    excluded : collection of str
        halParticleId of those that are not to be asked.
    """
    if fraction == 0:
        return np.empty(0, dtype=np.intp)
    rows = suspected_rows(particles)
    asked = particles.text("halQueryStrategy", "none")[rows] == ASKED_AGAIN
    kept = ~asked & np.array([name not in excluded for name in particles.ids[rows]], dtype=bool)
    wanted = min(round(fraction * n), n)
    again: Rows = rows[kept][:wanted]
    log.info(f"suspected labels: {len(rows):,}, asked before {asked.sum():,}, now {len(again):,}")
    return again
