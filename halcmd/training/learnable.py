"""Labelled particles that may be trained on, and their classes."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from halcmd.console import log
from halcmd.errors import InputError, first_few
from halcmd.grouping import groups_of
from halcmd.particles import Particles

_FEW_LABELS = 3


def by_id(particles: Particles, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Rows in the order of their ids, so that the order of the table changes nothing."""
    return rows[np.argsort(particles.ids[rows].astype(str), kind="stable")]


def say_what_is_rotated(augment: str, tilt_range: tuple[float, float] | None) -> None:
    """Log that particles are not rotated, where that is for want of a tilt range."""
    if augment == "full" and tilt_range is None:
        log.info(
            "tilt range unknown: particles are turned and shifted but not rotated freely "
            "(--tilt-range MIN,MAX allows that)"
        )


def near_test(particles: Particles, rows: NDArray[np.intp], distance: float) -> NDArray[np.bool_]:
    """Which rows lie closer than ``distance`` (Angstrom) to a test row of the same tomogram.

    Such boxes share voxels with a test particle. Rows without a position are near none.

    Returns
    -------
    ndarray, shape (len(rows),), bool
    """
    near = np.zeros(len(particles), dtype=bool)
    positions = particles.positions
    is_wanted = np.zeros(len(particles), dtype=bool)
    is_wanted[rows] = True
    known = np.isfinite(positions).all(axis=1) & (is_wanted | particles.is_test)
    for group in groups_of(particles.tomograms, known):
        test, others = group[particles.is_test[group]], group[is_wanted[group]]
        if len(test) and len(others):
            nearest, _ = cKDTree(positions[test]).query(positions[others])
            near[others] = nearest < distance
    return near[rows]


def rows_to_learn_from(particles: Particles, *, distance: float) -> NDArray[np.intp]:
    """Labelled rows of the pool that may be trained on, in the order of their ids.

    Parameters
    ----------
    particles : Particles
        With halLabel.
    distance : float
        Angstrom; rows closer than this to a test particle are left out.

    Raises
    ------
    InputError
        There are none.
    """
    rows = np.flatnonzero(particles.is_trainable & ~particles.is_test)
    if not len(rows):
        test = int((particles.is_trainable & particles.is_test).sum())
        raise InputError(
            "no particle of the pool has a label to learn from",
            where=str(particles.path),
            found=f"{test:,} labelled test particles, which are never trained on" if test else None,
            hint="halcmd query, label, then halcmd label-import",
        )
    near = near_test(particles, rows, distance)
    log.info(
        f"labelled {len(rows):,}  used {(~near).sum():,}  left out {near.sum():,} "
        "(closer than half a box to a test particle)"
    )
    rows = rows[~near]
    return by_id(particles, rows)


def rows_without_label(particles: Particles, *, distance: float) -> NDArray[np.intp]:
    """Rows of the pool that nobody has answered, in the order of their ids.

    Not those closer than ``distance`` (Angstrom) to a test particle.
    """
    rows = np.flatnonzero(~particles.is_answered & ~particles.is_test)
    near = near_test(particles, rows, distance)
    if near.any():
        log.info(f"unlabelled particles as close to a test particle, left out: {near.sum():,}")
    return by_id(particles, rows[~near])


def classes_of(particles: Particles, rows: NDArray[np.intp]) -> dict[str, int]:
    """Class name to number of the classes that have labels, by number.

    Raises
    ------
    InputError
        There are fewer than two, or fewer labels than classes in the table.
    """
    counts = Counter(str(label) for label in particles.labels[rows])
    known = particles.class_numbers()
    many = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))
    if len(counts) < 2:
        raise InputError(
            "a classifier needs labels of at least two classes",
            where=str(particles.path),
            found=many or "no label that may be trained on",
            hint="label particles of another class too; junk is a class like others",
        )
    if len(rows) < len(known):
        raise InputError(
            f"there are fewer labelled particles ({len(rows):,}) than classes ({len(known):,})",
            where=str(particles.path),
            found=many,
            hint="label more particles: halcmd query, then halcmd label-import",
        )
    few = [f"{name} {count}" for name, count in sorted(counts.items()) if count < _FEW_LABELS]
    if few:
        log.warning(f"classes with fewer than {_FEW_LABELS} labels: {first_few(few)}")
    numbers = particles.with_classes(counts).class_numbers()
    return dict(sorted(((n, numbers[n]) for n in counts), key=lambda item: item[1]))
