"""STOPGAP motive lists (data_stopgap_motivelist): orig_x, y, z plus shifts, voxels from 1."""

import numpy as np
from scipy.spatial.transform import Rotation

from halcmd.importers.pick_file import PickFile
from halcmd.importers.picks import Picks, numbers
from halcmd.importers.relion_columns import table_with
from halcmd.importers.text_rows import whole_numbers
from halcmd.particles import particles_of

_POSITION = ("orig_x", "orig_y", "orig_z")
_SHIFT = ("x_shift", "y_shift", "z_shift")


def recognises(file: PickFile) -> bool:
    """Whether a table has STOPGAP's positions."""
    return table_with(file, (*_POSITION, *_SHIFT, "tomo_num")) is not None


def read(file: PickFile) -> Picks:
    """Picks in voxels of their tomogram, with shifts, class and orientation.

    Raises
    ------
    InputError
        A value is missing or no number.
    """
    assert file.star is not None
    particles = particles_of(file.star)
    where = str(file.path)
    tomograms = whole_numbers(particles.text("tomo_num").tolist(), "tomo_num", where)
    classes = particles.text("class").tolist() if particles.has("class") else None
    rotations = None
    if all(particles.has(name) for name in ("phi", "the", "psi")):
        # As in TOM: phi about z, theta about x, psi about z, axes fixed.
        angles = numbers(particles, ("phi", "the", "psi"))
        rotations = Rotation.from_euler("zxz", angles, degrees=True).as_matrix()
    return Picks(
        path=file.path,
        producer="stopgap",
        particles=particles,
        tomograms=np.array([str(number) for number in tomograms], dtype=object),
        coordinates=numbers(particles, _POSITION),
        origin=np.ones(3),
        shifts=numbers(particles, _SHIFT),
        shifts_in_pixels=True,
        rotations=rotations,
        classes=None
        if classes is None
        else np.array([str(n) for n in whole_numbers(classes, "class", where)], dtype=object),
    )
