"""Picks: what every importer returns; reading them from files and joining them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from halcmd.console import log
from halcmd.errors import InputError, OptionError
from halcmd.importers import IMPORTERS
from halcmd.importers.optimisation_set import locate, named_files
from halcmd.importers.pick_file import PickFile, open_pick_file, recognise
from halcmd.particles import Particles, new_ids, new_particles, valid_label
from halcmd.registry import load
from halcmd.tables import check_ids, join

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
    """

    words: str
    source: str | None = None
    sizes: np.ndarray | None = None


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


def read_picks(
    paths: Sequence[Path], *, name: str = "auto", unit: str | None = None
) -> list[Picks]:
    """The picks of each file, all through the same importer.

    Parameters
    ----------
    paths : sequence of Path
        Files.
    name : str
        Importer, or ``auto``.
    unit : str, optional
        One of ``UNITS``; overrides what the importer says.

    Raises
    ------
    InputError
        A file is not recognised, or the files differ in format, unit or columns.
    """
    found = [_read(path, name, unit) for path in paths]
    for picks in found[1:]:
        _check_alike(found[0], picks)
    return found


def open_named(path: Path) -> tuple[PickFile, Path | None]:
    """A file of picks, or the particles that an optimisation set names, with its tomograms.

    Raises
    ------
    InputError
        A file cannot be read.
    """
    file = open_pick_file(path)
    named = named_files(file.star) if file.star is not None else None
    if named is None:
        return file, None
    log.info(f"{path}: the particles are those of {named.particles}")
    tomograms = named.tomograms
    place = (locate(tomograms, path) or Path(tomograms)) if tomograms else None
    return open_pick_file(named.particles_path), place


def _read(path: Path, name: str, unit: str | None) -> Picks:
    file, tomograms = open_named(path)
    picks: Picks = load(IMPORTERS, recognise(file, name), "format").read(file)
    if unit not in {None, picks.unit}:
        picks = replace(picks, unit=unit, readings=(VOXELS,))
    return replace(picks, tomograms_file=tomograms)


def join_picks(files: Sequence[Picks], names: np.ndarray, *, label_by_file: bool) -> Particles:
    """One table of the picks of all files, with ids, and the labels that file names give.

    Parameters
    ----------
    files : sequence of Picks
        Alike in format and columns.
    names : ndarray, shape (n,), object of str
        Normalised tomogram name of each pick of all files.
    label_by_file : bool
        The stem of each file's name is the halLabel of its picks.

    Raises
    ------
    InputError
        A file name is no class name, or an id stands twice.
    """
    tables = [_labelled(picks) if label_by_file else picks.particles for picks in files]
    particles = join(tables)
    if not particles.has("halParticleId"):
        particles = particles.with_columns({"halParticleId": new_ids(names)})
    check_ids(particles)
    return particles


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


def _labelled(picks: Picks) -> Particles:
    path = picks.path
    if not valid_label(path.stem):
        raise InputError(
            "a file name is no class name",
            where=str(path),
            found=path.stem,
            hint="a name that begins with a letter and holds letters, digits, _ . - only",
        )
    count = len(picks.particles)
    columns = {
        "halLabel": [path.stem] * count,
        "halLabelSource": [path.name] * count,
        "halLabelRound": ["0"] * count,
    }
    return picks.particles.with_columns(columns)


def _check_alike(first: Picks, picks: Picks) -> None:
    differences = [
        (first.producer, picks.producer, "format"),
        (first.unit, picks.unit, "unit of coordinates"),
        (first.particles.table.labels, picks.particles.table.labels, "columns"),
    ]
    for a, b, what in differences:
        if a != b:
            raise OptionError(
                f"these files differ in {what}",
                where=f"{first.path} and {picks.path}",
                hint="extract each alone, then repeat --i in the next step to join them",
            )


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
