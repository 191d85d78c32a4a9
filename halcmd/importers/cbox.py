"""Boxes of crYOLO, TomoTwin and boxmanager (.cbox): x, y are corners, z is the centre slice."""

import numpy as np

from halcmd.errors import InputError
from halcmd.importers.pick_file import PickFile
from halcmd.importers.picks import Picks, numbers
from halcmd.importers.relion_columns import table_with
from halcmd.particles import particles_of

_COORDINATES = ("CoordinateX", "CoordinateY", "CoordinateZ")
_SIZES = ("Width", "Height")


def recognises(file: PickFile) -> bool:
    """Whether a table has corners and sizes of boxes."""
    return table_with(file, (*_COORDINATES[:2], *_SIZES)) is not None


def read(file: PickFile) -> Picks:
    """Picks in voxels of their tomogram: the corners, with half a box as the origin.

    Raises
    ------
    InputError
        The boxes are of two dimensions, or a value is missing.
    """
    assert file.star is not None
    particles = particles_of(file.star)
    flat = (
        not particles.has("CoordinateZ") or not np.isfinite(particles.number("CoordinateZ")).any()
    )
    if flat:
        raise InputError(
            "these are boxes in two dimensions: there is no CoordinateZ",
            where=str(file.path),
            hint="boxes picked in tomograms; those of micrographs cannot be classified here",
        )
    halves = numbers(particles, _SIZES) / 2.0
    return Picks(
        path=file.path,
        producer="cbox",
        particles=particles,
        tomograms=np.full(len(particles), "", dtype=object),
        coordinates=numbers(particles, _COORDINATES),
        origin=np.column_stack([-halves, np.zeros(len(particles))]),
    )
