"""WarpTools particles for RELION 5 (2D stacks): rlnCoordinateX/Y/Z in pixels of rlnImagePixelSize.

The tables look like those of RELION 4, in pixels of another size. They are told apart by tilt
series that end in .tomostar.
"""

from halcmd.formats.pick_file import PickFile
from halcmd.importers._relion_columns import (
    COORDINATES,
    has_optics,
    image_pixels,
    rotations,
    shifts,
    table_with,
    tomogram_names,
)
from halcmd.particles import particles_of
from halcmd.picks.picks import VOXELS, Picks, numbers


def recognises(file: PickFile) -> bool:
    """Whether this is a particle table of WarpTools for RELION 5."""
    table = table_with(file, (*COORDINATES, "rlnTomoName"))
    if table is None or file.star is None or not has_optics(file, "rlnImagePixelSize"):
        return False
    return any(name.endswith(".tomostar") for name in table.column("rlnTomoName")[:1])


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
        producer="warp_2d",
        particles=particles,
        tomograms=tomogram_names(particles),
        coordinates=numbers(particles, COORDINATES),
        readings=(image_pixels(particles) or VOXELS,),
        rotations=rotations(particles),
        **shifts(particles),
    )
