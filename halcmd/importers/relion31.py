"""RELION 3.1 picks and particles: rlnCoordinateX/Y/Z in pixels, origins in Angstrom subtracted.

The pixel size of the coordinates is rlnMicrographPixelSize where it stands; RELION's own extraction
means voxels of the tomogram, Warp's export means rlnImagePixelSize (see docs/coordinates.md).
"""

import numpy as np

from halcmd.importers.picks import PickFile, Picks, numbers
from halcmd.particles import Particles, particles_of
from halcmd.pixel_size import optics_values

COORDINATES = ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")
ORIGINS = ("rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst")
_TOMOGRAM_COLUMNS = ("rlnTomoName", "rlnMicrographName")


def recognises(file: PickFile) -> bool:
    """Whether a table has rlnCoordinate columns that are not bin-1 pixels of RELION 4 or later."""
    if file.star is None:
        return False
    optics = file.star.table("optics")
    if optics is not None and "rlnTomoTiltSeriesPixelSize" in optics:
        return False
    tables = [t for t in file.star.tables if all(column in t for column in COORDINATES)]
    # RELION 3.0 gives shifts in pixels, which read() would not apply.
    return bool(tables) and not any(
        "rlnOriginX" in table and "rlnOriginXAngst" not in table for table in tables
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
    column = next((name for name in _TOMOGRAM_COLUMNS if particles.has(name)), None)
    image = _single(optics_values(particles, "rlnImagePixelSize"))
    if image is None and particles.has("rlnPixelSize"):
        image = _single(particles.number("rlnPixelSize"))
    micrograph = _single(optics_values(particles, "rlnMicrographPixelSize"))
    return Picks(
        path=file.path,
        particles=particles,
        tomograms=particles.text(column or "rlnTomoName", ""),
        coordinates=numbers(particles, COORDINATES),
        unit="voxel",
        shifts_angst=_origins(particles),
        pixel_sizes=(("rlnMicrographPixelSize", micrograph),),
        image_pixel_size=image,
        producer="relion31",
    )


def _origins(particles: Particles) -> np.ndarray | None:
    if not any(particles.has(name) for name in ORIGINS):
        return None
    return np.stack([particles.number(name, 0.0) for name in ORIGINS], axis=1)


def _single(values: np.ndarray | None) -> float | None:
    """The one value of an optics column; None where there is none or they differ."""
    if values is None or len(set(values.tolist())) != 1:
        return None
    return float(values[0])
