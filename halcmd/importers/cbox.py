"""Boxes of crYOLO, TomoTwin and boxmanager (.cbox): x, y are corners, z is the centre slice."""

import numpy as np

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.formats.pick_file import PickFile
from halcmd.importers._relion_columns import table_with
from halcmd.particles import Particles, particles_of
from halcmd.picks.picks import Picks, numbers

_COORDINATES = ("CoordinateX", "CoordinateY", "CoordinateZ")
_SIZES = ("Width", "Height")


def recognises(file: PickFile) -> bool:
    """Whether a table has corners of boxes; that of micrographs, or without sizes, is for read."""
    return table_with(file, _COORDINATES[:2]) is not None


def read(file: PickFile) -> Picks:
    """Picks in voxels of their tomogram: the corners, with half a box as the origin.

    Raises
    ------
    InputError
        The boxes are of two dimensions, or a coordinate or their size is missing.
    """
    assert file.star is not None
    particles = particles_of(file.star)
    heights = particles.number("CoordinateZ")
    if not np.nan_to_num(heights).any():
        there = "no CoordinateZ" if np.isnan(heights).all() else "no CoordinateZ but 0"
        raise InputError(
            f"these are boxes in two dimensions: there is {there}",
            where=str(file.path),
            hint="boxes picked in tomograms; those of micrographs cannot be classified here",
        )
    halves = _sizes(particles, str(file.path)) / 2.0
    return Picks(
        path=file.path,
        producer="cbox",
        particles=particles,
        tomograms=np.full(len(particles), "", dtype=object),
        coordinates=numbers(particles, _COORDINATES),
        origin=np.column_stack([-halves, np.zeros(len(particles))]),
    )


def _sizes(particles: Particles, where: str) -> np.ndarray:
    """Width and height of each box, shape (n, 2); a missing one is that of all others.

    Raises
    ------
    InputError
        There are none, or one is missing where the others differ.
    """
    sizes = np.stack([particles.number(name) for name in _SIZES], axis=1)
    missing = np.flatnonzero(~np.isfinite(sizes).all(axis=1))
    if not len(missing):
        return sizes
    known = np.unique(np.delete(sizes, missing, axis=0), axis=0)
    if len(known) != 1:
        raise InputError(
            "boxes without Width and Height: their centres are not known",
            where=f"{where}, row {missing[0] + 1}",
            found=f"{len(missing):,} of {len(sizes):,} boxes",
            hint="a .cbox with _Width and _Height; x and y are corners",
        )
    log.warning(
        f"{where}: {len(missing):,} boxes without Width or Height are taken to be of "
        f"{known[0, 0]:g} x {known[0, 1]:g}, as all others"
    )
    sizes[missing] = known[0]
    return sizes
