"""Subtomograms of Warp 1 and WarpTools (3D): rlnCoordinateX/Y/Z in pixels of the images.

Known by what Warp calls its images, whether the table is of RELION 3.0's or 3.1's kind, refined
since or not. The voxel size in the tomogram's name is of no account.
"""

import re

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

# <tilt series>_0000012_5.36A.mrc
_IMAGE = re.compile(r"_\d{7}(_ctf)?_\d+\.\d+A\.mrcs?$")


def recognises(file: PickFile) -> bool:
    """Whether the particles come from Warp: their images, or tilt series that are .tomostar."""
    table = table_with(file, COORDINATES)
    if table is None or not len(table):
        return False
    images = table.column("rlnImageName")[0] if "rlnImageName" in table else ""
    series = table.column("rlnMicrographName")[0] if "rlnMicrographName" in table else ""
    is_export = "rlnPixelSize" in table and "rlnCtfImage" in table
    return (
        bool(_IMAGE.search(images)) or (series.endswith(".tomostar") and bool(images)) or is_export
    )


def read(file: PickFile) -> Picks:
    """Picks in pixels of the images, counted from 0 at the centre of the first.

    Raises
    ------
    InputError
        A coordinate is missing.
    """
    assert file.star is not None
    particles = particles_of(file.star)
    return Picks(
        path=file.path,
        producer="warp",
        particles=particles,
        tomograms=tomogram_names(particles),
        coordinates=numbers(particles, COORDINATES),
        readings=(agreeing(image_pixels(particles), detector_pixels(particles)) or VOXELS,),
        rotations=rotations(particles),
        **shifts(particles),
    )
