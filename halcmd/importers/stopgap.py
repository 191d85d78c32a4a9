"""STOPGAP motive lists (data_stopgap_motivelist): orig_x, y, z plus shifts, voxels from 1."""

import numpy as np
from scipy.spatial.transform import Rotation

from halcmd.formats.pick_file import PickFile
from halcmd.importers._relion_columns import table_with
from halcmd.importers._text_rows import angles_or_none, class_names, tomogram_numbers
from halcmd.particles import particles_of
from halcmd.picks.picks import Picks, numbers

_POSITION = ("orig_x", "orig_y", "orig_z")
_SHIFT = ("x_shift", "y_shift", "z_shift")
_ANGLES = ("phi", "the", "psi")


def recognises(file: PickFile) -> bool:
    """Whether a table has STOPGAP's positions."""
    return table_with(file, (*_POSITION, *_SHIFT, "tomo_num")) is not None


def read(file: PickFile) -> Picks:
    """Picks in voxels of their tomogram, with shifts, class and orientation.

    Raises
    ------
    InputError
        A coordinate or shift is missing or no number.
    """
    assert file.star is not None
    particles = particles_of(file.star)
    where = str(file.path)
    angles = rotations = None
    if all(particles.has(name) for name in _ANGLES):
        fields = {name: particles.text(name).tolist() for name in _ANGLES}
        angles = angles_or_none(fields, _ANGLES, where)
    if angles is not None:
        # As in TOM: phi about z, theta about x, psi about z, axes fixed.
        rotations = Rotation.from_euler("zxz", angles, degrees=True).as_matrix()
    return Picks(
        path=file.path,
        producer="stopgap",
        particles=particles,
        tomograms=tomogram_numbers(particles.text("tomo_num").tolist(), "tomo_num", where),
        coordinates=numbers(particles, _POSITION),
        origin=np.ones(3),
        shifts=numbers(particles, _SHIFT),
        shifts_in_pixels=True,
        rotations=rotations,
        classes=class_names(particles.text("class").tolist()) if particles.has("class") else None,
    )
