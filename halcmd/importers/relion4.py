"""RELION 4: rlnCoordinateX/Y/Z in pixels of the tilt series (bin 1), rlnOrigin*Angst subtracted.

The pixel is rlnTomoTiltSeriesPixelSize, whatever the binning of the subtomograms, or else
rlnMicrographPixelSize. A table with neither, as picks are published at times, may be in pixels of
the images or voxels of the tomogram too, and one with images in two dimensions, which RELION 4 did
not have, in pixels of these: the reading that fits is taken.
"""

from halcmd.formats.pick_file import PickFile
from halcmd.importers._relion_columns import (
    COORDINATES,
    image_pixels,
    micrograph_pixels,
    reading,
    rotations,
    shifts,
    table_with,
    tomogram_names,
)
from halcmd.particles import Particles, particles_of
from halcmd.picks.picks import TILT_SERIES, VOXELS, Picks, Reading, numbers
from halcmd.pixel_size import optics_values

_PIXEL_SIZE = "rlnTomoTiltSeriesPixelSize"


def recognises(file: PickFile) -> bool:
    """Whether there are rlnCoordinate columns of named tomograms, as RELION 4 writes them."""
    return table_with(file, (*COORDINATES, "rlnTomoName")) is not None


def read(file: PickFile) -> Picks:
    """Picks in pixels of the tilt series, counted from 0 at the centre of the first.

    Raises
    ------
    InputError
        A coordinate is missing.
    """
    assert file.star is not None
    particles = particles_of(file.star)
    return Picks(
        path=file.path,
        producer="relion4",
        particles=particles,
        tomograms=tomogram_names(particles),
        coordinates=numbers(particles, COORDINATES),
        readings=_readings(particles),
        rotations=rotations(particles),
        **shifts(particles),
    )


def _readings(particles: Particles) -> tuple[Reading, ...]:
    """What a pixel may be."""
    sizes = particles.number(_PIXEL_SIZE) if particles.has(_PIXEL_SIZE) else None
    if sizes is None:
        sizes = optics_values(particles, _PIXEL_SIZE)
    stated = reading(TILT_SERIES.words, _PIXEL_SIZE, sizes) or micrograph_pixels(particles)
    images = image_pixels(particles)
    dimensions = optics_values(particles, "rlnImageDimensionality")
    if stated is not None:
        flat = dimensions is not None and 2 in dimensions
        return (stated,) if images is None or not flat else (stated, images)
    return (TILT_SERIES, VOXELS) if images is None else (TILT_SERIES, images, VOXELS)
