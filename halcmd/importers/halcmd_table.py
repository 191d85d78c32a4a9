"""halcmd's own particle table: positions are resolved already, in Angstrom."""

from halcmd.formats.pick_file import PickFile
from halcmd.particles import particles_of
from halcmd.picks.picks import Picks, numbers
from halcmd.poses import euler_matrices

COLUMNS = ("halPositionXAngst", "halPositionYAngst", "halPositionZAngst")
ANGLES = ("halAngleRot", "halAngleTilt", "halAnglePsi")


def recognises(file: PickFile) -> bool:
    """Whether a table of this file has halcmd's positions."""
    return file.star is not None and any(
        all(column in table for column in COLUMNS) for table in file.star.tables
    )


def read(file: PickFile) -> Picks:
    """Picks at halPosition*Angst; shifts are in them already.

    Raises
    ------
    InputError
        A position is missing.
    """
    assert file.star is not None
    particles = particles_of(file.star)
    oriented = all(map(particles.has, ANGLES))
    return Picks(
        path=file.path,
        producer="halcmd",
        particles=particles,
        tomograms=particles.text("halTomogram", ""),
        coordinates=numbers(particles, COLUMNS),
        unit="angstrom",
        rotations=euler_matrices(numbers(particles, ANGLES)) if oriented else None,
    )
