"""RELION 3.1 particles: rlnCoordinateX/Y/Z in pixels, rlnOrigin*Angst subtracted.

The pixel is rlnMicrographPixelSize where it stands. Otherwise RELION's own extraction means voxels
of the tomogram and exports of other programs pixels of the images: the one that fits is taken.
"""

from halcmd.formats.pick_file import PickFile
from halcmd.importers._relion_columns import (
    COORDINATES,
    image_pixels,
    micrograph_pixels,
    rotations,
    shifts,
    table_with,
    tomogram_names,
)
from halcmd.particles import particles_of
from halcmd.picks.picks import VOXELS, Picks, numbers


def recognises(file: PickFile) -> bool:
    """Whether there are rlnCoordinate columns and an optics table."""
    return (
        file.star is not None
        and file.star.table("optics") is not None
        and table_with(file, COORDINATES) is not None
    )


def read(file: PickFile) -> Picks:
    """Picks in pixels, counted from 0 at the centre of the first.

    Raises
    ------
    InputError
        A coordinate is missing.
    """
    assert file.star is not None
    particles = particles_of(file.star)
    micrograph = micrograph_pixels(particles)
    images = image_pixels(particles)
    either = (images, VOXELS) if images is not None else (VOXELS,)
    return Picks(
        path=file.path,
        producer="relion31",
        particles=particles,
        tomograms=tomogram_names(particles),
        coordinates=numbers(particles, COORDINATES),
        readings=(micrograph,) if micrograph is not None else either,
        rotations=rotations(particles),
        **shifts(particles),
    )
