"""Particles of an M species: wrpCoordinateX1, Y1, Z1 in Angstrom from the first voxel.

Of several temporal samples the first counts; a table with one may leave the number out.
"""

from halcmd.formats.pick_file import PickFile
from halcmd.importers._relion_columns import matrices, table_with
from halcmd.particles import particles_of
from halcmd.picks.picks import Picks, numbers

_COORDINATES = tuple(
    tuple(f"wrpCoordinate{axis}{sample}" for axis in "XYZ") for sample in ("1", "")
)
_ANGLES = tuple(
    tuple(f"wrpAngle{angle}{sample}" for angle in ("Rot", "Tilt", "Psi")) for sample in ("1", "")
)


def recognises(file: PickFile) -> bool:
    """Whether a table has Warp's own coordinates."""
    return any(table_with(file, columns) is not None for columns in _COORDINATES)


def read(file: PickFile) -> Picks:
    """Picks in Angstrom from the centre of the first voxel.

    Raises
    ------
    InputError
        A coordinate is missing.
    """
    assert file.star is not None
    particles = particles_of(file.star)
    sample = 0 if particles.has(_COORDINATES[0][0]) else 1
    return Picks(
        path=file.path,
        producer="m",
        particles=particles,
        tomograms=particles.text("wrpSourceName", ""),
        coordinates=numbers(particles, _COORDINATES[sample]),
        unit="angstrom",
        rotations=matrices(particles, _ANGLES[sample]),
    )
