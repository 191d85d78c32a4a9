"""RELION 5: rlnCenteredCoordinate*Angst, counted from the centre of the tomogram.

rlnOrigin*Angst are subtracted, turned by the rotation of the subtomogram. Particles whose images
are stacks of tilt images are picks like others.
"""

from halcmd.formats.pick_file import PickFile
from halcmd.importers._relion_columns import CENTRED, rotations, shifts, table_with, tomogram_names
from halcmd.particles import particles_of
from halcmd.picks.picks import Picks, numbers


def recognises(file: PickFile) -> bool:
    """Whether there are coordinates from the centre."""
    return table_with(file, CENTRED) is not None


def read(file: PickFile) -> Picks:
    """Picks in Angstrom from the centre of their tomogram.

    Raises
    ------
    InputError
        A coordinate is missing.
    """
    assert file.star is not None
    particles = particles_of(file.star)
    return Picks(
        path=file.path,
        producer="relion5",
        particles=particles,
        tomograms=tomogram_names(particles),
        coordinates=numbers(particles, CENTRED),
        unit="centred_angstrom",
        rotations=rotations(particles),
        **shifts(particles),
    )
