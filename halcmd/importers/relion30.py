"""RELION 3.0 and other single tables: rlnCoordinateX/Y/Z in pixels, rlnOriginX/Y/Z subtracted.

The pixel is rlnPixelSize, else rlnDetectorPixelSize over rlnMagnification, else a voxel of the
tomogram.
"""

from halcmd.formats.pick_file import PickFile
from halcmd.importers._relion_columns import (
    COORDINATES,
    agreeing,
    detector_pixels,
    image_pixels,
    rotations,
    shifts,
    table_with,
    tomogram_names,
)
from halcmd.particles import particles_of
from halcmd.picks.picks import VOXELS, Picks, numbers


def recognises(file: PickFile) -> bool:
    """Whether there are rlnCoordinate columns and no optics table."""
    return (
        file.star is not None
        and file.star.table("optics") is None
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
    return Picks(
        path=file.path,
        producer="relion30",
        particles=particles,
        tomograms=tomogram_names(particles),
        coordinates=numbers(particles, COORDINATES),
        readings=(agreeing(image_pixels(particles), detector_pixels(particles)) or VOXELS,),
        rotations=rotations(particles),
        **shifts(particles),
    )
