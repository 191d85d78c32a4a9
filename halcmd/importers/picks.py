"""Picks: what every importer returns, and how a file finds its importer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from halcmd.errors import InputError, OptionError
from halcmd.formats.files import read_text
from halcmd.formats.star import Star, read_star
from halcmd.importers import IMPORTERS
from halcmd.particles import Particles, new_ids, valid_label
from halcmd.registry import load
from halcmd.tables import check_ids, join

UNITS = ("voxel", "angstrom", "centred_angstrom", "normalised")


@dataclass(frozen=True)
class PickFile:
    """A file that may hold picks.

    Attributes
    ----------
    path : Path
        The file.
    star : Star or None
        Its tables, where it is a STAR file.
    text : str
        Its text, where it is not.
    """

    path: Path
    star: Star | None
    text: str


@dataclass(frozen=True)
class Picks:
    """Picks as they stand in their file, with all that is needed to place them.

    Attributes
    ----------
    path : Path
        The file.
    particles : Particles
        The rows: the STAR file's own, or a fresh table with ``halSource<Name>`` columns.
    tomograms : ndarray, shape (n,), object of str
        Tomogram names as they stand in the file; empty where there are none.
    coordinates : ndarray, shape (n, 3), float64, **xyz**
        In ``unit``.
    unit : str
        ``voxel`` (0 = centre of the first), ``angstrom`` from there, ``centred_angstrom`` (from the
        centre of the tomogram) or ``normalised`` (0..1).
    shifts_angst : ndarray, shape (n, 3), float64, **xyz**, or None
        To be subtracted from the position, Angstrom.
    pixel_sizes : tuple of (name, value)
        What the file says about the pixel size of the coordinates, most trusted first.
    image_pixel_size : float or None
        Pixel size of the particle images, which in some exports is that of the coordinates.
    producer : str
        The importer's key.
    """

    path: Path
    particles: Particles
    tomograms: np.ndarray
    coordinates: np.ndarray
    unit: str
    shifts_angst: np.ndarray | None
    pixel_sizes: tuple[tuple[str, float | None], ...]
    image_pixel_size: float | None
    producer: str


def open_pick_file(path: Path) -> PickFile:
    """A file, parsed where it is STAR.

    Raises
    ------
    InputError
        It is missing, empty, or no text.
    """
    text = read_text(path)
    if not text.strip():
        raise InputError("the file is empty", where=str(path))
    is_star = any(line.lstrip().startswith("data_") for line in text.splitlines())
    return PickFile(path, read_star(path), "") if is_star else PickFile(path, None, text)


def recognise(file: PickFile, name: str = "auto") -> str:
    """The key of the importer for this file.

    Raises
    ------
    OptionError
        ``--format`` names no importer.
    InputError
        No importer knows the file.
    """
    if name != "auto":
        load(IMPORTERS, name, "format")
        return name
    for key in IMPORTERS:
        if load(IMPORTERS, key, "format").recognises(file):
            return key
    raise InputError(
        "the format of these picks is not recognised",
        where=str(file.path),
        found=_contents(file),
        hint=f"--format {'|'.join(IMPORTERS)}, or a CSV file with the columns x,y,z,tomogram",
    )


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
    found: list[Picks] = []
    for path in paths:
        file = open_pick_file(path)
        key = recognise(file, name)
        picks: Picks = load(IMPORTERS, key, "format").read(file)
        found.append(picks if unit is None else replace(picks, unit=unit))
    for picks in found[1:]:
        _check_alike(found[0], picks)
    return found


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
            "a coordinate is missing",
            where=f"{particles.path}, row {bad[0] + 1}",
            found=f"{len(bad)} rows with {' or '.join(names)} empty or not finite",
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


def _contents(file: PickFile) -> str:
    if file.star is None:
        return file.text.splitlines()[0][:60]
    tables = [f"data_{t.name} ({', '.join(t.labels[:6])} ...)" for t in file.star.tables[:3]]
    return "; ".join(tables)
