"""Picks: what every importer returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from halcmd.errors import InputError
from halcmd.particles import Particles, new_particles
from halcmd.pixel_size import TOLERANCE

UNITS = ("voxel", "angstrom", "centred_angstrom", "normalised")


@dataclass(frozen=True)
class Reading:
    """One way to read coordinates that are pixels.

    Attributes
    ----------
    words : str
        What the pixels are, for people.
    source : str or None
        Column that the pixel size came from; None where the tomogram decides.
    sizes : ndarray, shape (n,), float64, or None
        Angstrom per pixel for each pick; None = as the pick's tomogram says.
    others : tuple of Reading
        Columns that state the same size, so that they must agree.
    """

    words: str
    source: str | None = None
    sizes: np.ndarray | None = None
    others: tuple["Reading", ...] = ()

    @property
    def contradiction(self) -> str | None:
        """The column that states another size, and both sizes, for people; None where none does."""
        for other in self.others:
            if self.sizes is None or other.sizes is None:
                continue
            gaps = np.abs(self.sizes - other.sizes) / np.minimum(self.sizes, other.sizes)
            row = int(gaps.argmax())
            if gaps[row] > TOLERANCE:
                mine, their = self.sizes[row], other.sizes[row]
                return f"{self.source} = {mine:g} A, {other.source} = {their:g} A"
        return None


VOXELS = Reading("voxels of the tomogram")


TILT_SERIES = Reading("pixels of the tilt series")


"""Bin 1, of the size that tomograms.star says; no reading where it does not."""


@dataclass(frozen=True)
class Picks:
    """Picks as they stand in their file, with all that is needed to place them.

    The position of a pick in Angstrom is ``(coordinates - origin) * pixel size + shifts`` for
    pixels; for the other units there is no pixel size.

    Attributes
    ----------
    path : Path
        The file.
    producer : str
        The importer's key.
    particles : Particles
        The rows: the STAR file's own, or a fresh table with ``halSource<Name>`` columns.
    tomograms : ndarray, shape (n,), object of str
        Tomogram names as they stand in the file; empty where there are none.
    coordinates : ndarray, shape (n, 3), float64, **xyz**
        In ``unit``, as they stand in the file.
    unit : str
        ``voxel`` (pixels of some size), ``angstrom`` from the centre of the first voxel,
        ``centred_angstrom`` (from the centre of the tomogram) or ``normalised`` (0..1).
    readings : tuple of Reading
        What a pixel may be, where the unit is ``voxel``. With several, the one that fits the
        tomogram is taken; where two fit, the user is asked.
    origin : ndarray, shape (3,) or (n, 3), float64, **xyz**
        Coordinates that the centre of the first voxel has in this format.
    shifts : ndarray, shape (n, 3), float64, **xyz**, or None
        Displacements to be **added**, RELION's sign turned and rotations applied already.
    shifts_in_pixels : bool
        Shifts are in pixels of the coordinates; otherwise in Angstrom.
    rotations : ndarray, shape (n, 3, 3), float64, or None
        Matrices that turn the reference into the pose of the particle, for **xyz** columns.
    classes : ndarray, shape (n,), object of str, or None
        Class of each pick, where the format has a place for it.
    tomograms_file : Path or None
        tomograms.star that the file names.
    """

    path: Path
    producer: str
    particles: Particles
    tomograms: np.ndarray
    coordinates: np.ndarray
    unit: str = "voxel"
    readings: tuple[Reading, ...] = (VOXELS,)
    origin: np.ndarray = field(default_factory=lambda: np.zeros(3))
    shifts: np.ndarray | None = None
    shifts_in_pixels: bool = False
    rotations: np.ndarray | None = None
    classes: np.ndarray | None = None
    tomograms_file: Path | None = None


def numbers(particles: Particles, names: Sequence[str]) -> np.ndarray:
    """Columns as one array, shape (n, len(names)), float64; a missing value is an error."""
    for name in names:
        particles.text(name)  # raises with the column's name
    values = np.stack([particles.number(name) for name in names], axis=1)
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise InputError(
            "a number is missing",
            where=f"{particles.path}, row {bad[0] + 1}",
            found=f"{len(bad):,} rows with {' or '.join(names)} empty or not finite",
        )
    return values


def source_table(fields: Mapping[str, Sequence[str]], path: Path) -> Particles:
    """A fresh particle table of an input that is no STAR file: each field as ``halSource<Name>``.

    Parameters
    ----------
    fields : mapping of str to sequence of str
        Field name to the text of each pick, as it stands in the file.
    """
    columns = {f"halSource{_camel(name)}": values for name, values in fields.items()}
    return new_particles(columns, path=path)


def _camel(name: str) -> str:
    """A field name as part of a STAR label: ``my score`` becomes ``MyScore``."""
    words = "".join(c if c.isalnum() else " " for c in name).split()
    return "".join(word[0].upper() + word[1:] for word in words) or "Field"
