"""What the tables of RELION and Warp have in common: coordinates, shifts, angles, pixel sizes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypedDict

import numpy as np

from halcmd.console import log
from halcmd.formats.pick_file import PickFile
from halcmd.formats.star import Table
from halcmd.particles import Particles
from halcmd.picks.picks import Reading, numbers
from halcmd.pixel_size import is_set, optics_values
from halcmd.poses import euler_matrices

COORDINATES = ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")
CENTRED = tuple(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ")
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
_ORIGINS = tuple(f"rlnOrigin{axis}Angst" for axis in "XYZ")
_ORIGINS_IN_PIXELS = tuple(f"rlnOrigin{axis}" for axis in "XYZ")
_SUBTOMOGRAM_ANGLES = tuple(f"rlnTomoSubtomogram{angle}" for angle in ("Rot", "Tilt", "Psi"))
_TOMOGRAMS = ("rlnTomoName", "rlnMicrographName")


def table_with(file: PickFile, columns: Sequence[str]) -> Table | None:
    """The first table that has all these columns; None where there is none."""
    tables = file.star.tables if file.star is not None else ()
    return next((t for t in tables if all(column in t for column in columns)), None)


def has_optics(file: PickFile, column: str) -> bool:
    """Whether the optics table has this column."""
    optics = file.star.table("optics") if file.star is not None else None
    return optics is not None and column in optics


def tomogram_names(particles: Particles) -> np.ndarray:
    """Tomogram of each row as it stands, shape (n,), object of str; empty where none is named."""
    column = next((name for name in _TOMOGRAMS if particles.has(name)), "rlnTomoName")
    return particles.text(column, "")


class Shifts(TypedDict, total=False):
    """The fields of ``Picks`` that are about shifts."""

    shifts: np.ndarray
    shifts_in_pixels: bool


def shifts(particles: Particles) -> Shifts:
    """What is to be added to positions, shape (n, 3), **xyz**: of rlnOrigin*Angst, else rlnOrigin*.

    RELION subtracts origins, after turning them by the rotation of the subtomogram
    (particle_set.cpp, getPosition): position = coordinate - A origin. RELION 3.0 has pixels.
    """
    angst, pixels = _vectors(particles, _ORIGINS), _vectors(particles, _ORIGINS_IN_PIXELS)
    origins = pixels if angst is None else angst
    if origins is None:
        return {}
    turned = matrices(particles, _SUBTOMOGRAM_ANGLES)
    added = -origins if turned is None else -np.einsum("nij,nj->ni", turned, origins)
    return {"shifts": added, "shifts_in_pixels": angst is None}


def rotations(particles: Particles) -> np.ndarray | None:
    """Matrices from the reference to the particle in its tomogram, shape (n, 3, 3), **xyz**.

    The rotation of the subtomogram times that of the particle in it (RELION, particle_set.cpp,
    getMatrix3x3); None where there are no angles.
    """
    own = matrices(particles, ANGLES, missing_is_none=True)
    turned = matrices(particles, _SUBTOMOGRAM_ANGLES, missing_is_none=True)
    if own is None or turned is None:
        return own if turned is None else turned
    return np.asarray(turned @ own)


def image_pixels(particles: Particles) -> Reading | None:
    """Pixels of the particle images, where the table says how large they are."""
    words = "pixels of the particle images"
    own = particles.number("rlnPixelSize") if particles.has("rlnPixelSize") else None
    stated = (
        reading(words, "rlnPixelSize", own),
        reading(words, "rlnImagePixelSize", optics_values(particles, "rlnImagePixelSize")),
    )
    return agreeing(*stated)


def agreeing(*stated: Reading | None) -> Reading | None:
    """The first of these readings that there is, and with it the others, which must agree."""
    there = [one for one in stated if one is not None]
    return replace(there[0], others=tuple(there[1:])) if there else None


def micrograph_pixels(particles: Particles) -> Reading | None:
    """Pixels of rlnMicrographPixelSize, where the optics table has it."""
    column = "rlnMicrographPixelSize"
    return reading("pixels of the tomogram", column, optics_values(particles, column))


def detector_pixels(particles: Particles) -> Reading | None:
    """Pixels of rlnDetectorPixelSize (micrometres) over rlnMagnification, RELION 3.0's way."""
    if not (particles.has("rlnDetectorPixelSize") and particles.has("rlnMagnification")):
        return None
    micrometres, magnification = (
        particles.number(name) for name in ("rlnDetectorPixelSize", "rlnMagnification")
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = micrometres * 1e4 / magnification
    return reading("pixels", "rlnDetectorPixelSize / rlnMagnification", sizes)


def reading(words: str, source: str, sizes: np.ndarray | None) -> Reading | None:
    """A reading with these pixel sizes; None where any is missing or not set (0, 1.0)."""
    if sizes is None or not all(is_set(size) for size in set(sizes.tolist())):
        return None
    return Reading(words, source, sizes)


def matrices(
    particles: Particles, names: Sequence[str], *, missing_is_none: bool = False
) -> np.ndarray | None:
    """RELION's Euler matrices of three columns, shape (n, 3, 3); None where there are none.

    With ``missing_is_none`` a missing value means that there are none, instead of an error.
    """
    if missing_is_none and _has_gaps(particles, names):
        log.warning(
            f"{particles.path}: {names[0]}, ... are missing in some rows, so these picks have no "
            "orientations"
        )
        return None
    angles = _vectors(particles, names)
    return None if angles is None else euler_matrices(angles)


def _has_gaps(particles: Particles, names: Sequence[str]) -> bool:
    return any(not np.isfinite(particles.number(name, 0.0)).all() for name in names)


def _vectors(particles: Particles, names: Sequence[str]) -> np.ndarray | None:
    """Three columns, shape (n, 3), a missing one zero; None where there is none of them."""
    there = [name for name in names if particles.has(name)]
    if not there:
        return None
    numbers(particles, there)  # raises where a value is missing
    return np.stack([particles.number(name, 0.0) for name in names], axis=1)
