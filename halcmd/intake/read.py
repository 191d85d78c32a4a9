"""Picks from files, and files of picks as one table."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from halcmd.console import log
from halcmd.errors import InputError, OptionError
from halcmd.formats.pick_file import PickFile, open_pick_file
from halcmd.importers import IMPORTERS
from halcmd.intake.recognise import recognise
from halcmd.particles import Particles, new_ids, valid_label
from halcmd.picks.optimisation_set import locate, named_files
from halcmd.picks.picks import VOXELS, Picks
from halcmd.registry import load
from halcmd.tables import check_ids, join


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
    return replace(in_unit(picks, unit), tomograms_file=tomograms)


def in_unit(picks: Picks, unit: str | None) -> Picks:
    """The picks with their coordinates taken in another unit; None = as the importer says."""
    if unit is None or unit == picks.unit:
        return picks
    return replace(picks, unit=unit, readings=(VOXELS,))


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
                hint="write both as CSV tables with tomogram,x,y,z; or, where no tomogram is in "
                "both and the columns are the same, extract each alone and repeat --i afterwards",
            )
