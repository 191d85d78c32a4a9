"""Test particles: whole tomograms, regions of a tomogram, or single particles."""

import numpy as np

from halcmd.chance import keyed_uniform
from halcmd.console import log
from halcmd.errors import InputError
from halcmd.particles import Particles


def split_test(
    particles: Particles,
    *,
    fraction: float,
    by: str,
    seed: int,
    gap: float = 0.0,
    silent: bool = False,
) -> Particles:
    """The table with halSplit set; as it is where ``fraction`` is 0.

    Parameters
    ----------
    particles : Particles
        With positions where ``by`` is ``region``.
    fraction : float
        Wanted share of test particles.
    by : str
        ``tomogram`` (whole ones), ``region`` (one end of each tomogram) or ``particle`` (at
        random, per label where there are labels).
    seed : int
        Of the choice.
    gap : float
        Angstrom between test and pool for ``region``: rows in it are pool, but the step that trains
        leaves out what is closer than half a box to a test row.
    silent : bool
        Do not say how many there are.

    Raises
    ------
    InputError
        There is one tomogram only, or the positions are unknown.
    """
    if fraction <= 0:
        return particles
    if by == "tomogram":
        is_test = _by_tomogram(particles, fraction, seed)
    elif by == "region":
        is_test = _by_region(particles, fraction, seed, gap)
    else:
        is_test = _by_particle(particles, fraction, seed)
    if not silent:
        log.info(f"test: {is_test.sum():,} of {len(particles):,} particles, by {by}")
    return particles.with_columns({"halSplit": np.where(is_test, "test", "pool")})


def _by_tomogram(particles: Particles, fraction: float, seed: int) -> np.ndarray:
    """Whole tomograms in random order until the share is closest to the wanted one."""
    names, counts = np.unique(particles.tomograms.astype(str), return_counts=True)
    if len(names) < 2:
        raise InputError(
            "one tomogram cannot be split by tomogram",
            where=str(particles.path),
            found=f"all particles are of {names[0]}",
            hint="--test-by region, or --test-by particle where boxes do not overlap",
        )
    order = np.argsort(keyed_uniform(seed, "test tomograms", names))
    share = np.cumsum(counts[order]) / counts.sum()
    number = int(np.argmin(np.abs(share[:-1] - fraction))) + 1
    return np.asarray(np.isin(particles.tomograms.astype(str), names[order[:number]]))


def _by_region(particles: Particles, fraction: float, seed: int, gap: float) -> np.ndarray:
    """The particles at one end of the longest extent, in each tomogram."""
    positions = particles.positions
    if not np.isfinite(positions).all():
        raise InputError(
            "positions are unknown", where=str(particles.path), hint="--test-by particle"
        )
    is_test = np.zeros(len(particles), dtype=bool)
    for name in dict.fromkeys(particles.tomograms):
        rows = np.flatnonzero(particles.tomograms == name)
        axis = int(np.argmax(np.ptp(positions[rows], axis=0)))
        along = positions[rows, axis]
        if keyed_uniform(seed, "test end", [name])[0] < 0.5:
            along = -along
        is_test[rows] = along > np.quantile(along, 1.0 - fraction)
        near = along[is_test[rows]].min() - along[~is_test[rows]] if is_test[rows].any() else []
        between = int(np.sum(np.asarray(near) < gap))
        log.info(
            f"{name}: test region along {'xyz'[axis]}; {between:,} pool rows within one box of it"
        )
    return is_test


def _by_particle(particles: Particles, fraction: float, seed: int) -> np.ndarray:
    keys = keyed_uniform(seed, "test particles", particles.ids)
    is_test = np.zeros(len(particles), dtype=bool)
    for label in sorted(set(particles.labels)):
        rows = np.flatnonzero(particles.labels == label)
        number = round(fraction * len(rows))
        is_test[rows[np.argsort(keys[rows])[:number]]] = True
    return is_test
