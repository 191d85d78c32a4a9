"""Labels as other people and programs give them back: which row, which class."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from halcmd.errors import InputError, did_you_mean, first_few
from halcmd.importers import IMPORTERS
from halcmd.importers.csv_table import read_rows
from halcmd.importers.picks import PickFile, Picks, open_pick_file, recognise
from halcmd.particles import UNLABELLED, particles_of, valid_label
from halcmd.registry import load

ID_COLUMNS = ("halParticleId", "particle_id", "id")
IMAGE_COLUMNS = ("halImageName", "rlnImageName", "image", "image_name", "file")
LABEL_COLUMNS = ("halLabel", "label", "class", "rlnClassNumber")
_NO_ANSWER = {"", UNLABELLED, "nan", "none", "<na>"}


@dataclass(frozen=True)
class LabelFile:
    """Answers as they stand in one file.

    Attributes
    ----------
    path : Path
        The file.
    labels : ndarray, shape (n,), object of str
        Class of each row; ``unlabelled`` where there is no answer.
    ids, images : ndarray of shape (n,), object of str, or None
        halParticleId and image name of each row, where the file has them.
    picks : Picks or None
        Tomogram and coordinates of each row, where the file has them.
    """

    path: Path
    labels: np.ndarray
    ids: np.ndarray | None
    images: np.ndarray | None
    picks: Picks | None


def read_labels(
    path: Path,
    *,
    name: str = "auto",
    column: str | None = None,
    one_label: str | None = None,
    renames: dict[str, str] | None = None,
) -> LabelFile:
    """The answers of a STAR, CSV or TSV file.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        Importer for its coordinates, or ``auto``.
    column : str, optional
        Column with the class. Default: the first of halLabel, label, class, rlnClassNumber.
    one_label : str, optional
        Class of all rows, whatever the columns.
    renames : dict of str to str, optional
        Class as it stands in the file to class as it is wanted.

    Raises
    ------
    InputError
        There is no column with classes, or a class name is not allowed.
    """
    file = open_pick_file(path)
    columns = _columns(file)
    count = len(next(iter(columns.values())))
    if one_label is not None:
        labels = [one_label] * count
    else:
        labels = columns[_label_column(columns, column, path)]
    plain = [_plain(label, renames or {}) for label in labels]
    _check(plain, path)
    return LabelFile(
        path,
        np.array(plain, dtype=object),
        _first(columns, ID_COLUMNS),
        _first(columns, IMAGE_COLUMNS),
        _picks(file, name),
    )


def read_ids(path: Path) -> set[str]:
    """The particle ids that a STAR or CSV file lists.

    Raises
    ------
    InputError
        It has no column halParticleId.
    """
    columns = _columns(open_pick_file(path))
    ids = _first(columns, ID_COLUMNS)
    if ids is None:
        raise InputError(
            "no column halParticleId", where=str(path), found=first_few(list(columns), 6)
        )
    return set(ids)


def read_renames(path: Path) -> dict[str, str]:
    """Old to new class name, from a file of two columns.

    Raises
    ------
    InputError
        A row has not two values, or an old name stands twice.
    """
    header, rows = read_rows(open_pick_file(path).text, str(path))
    if header is not None and [word.lower() for word in header] != ["old", "new"]:
        rows.insert(0, header)
    if any(len(row) != 2 for row in rows):
        raise InputError("a line needs two values: old,new", where=str(path))
    twice = [old for old, count in Counter(row[0] for row in rows).items() if count > 1]
    if twice:
        raise InputError("an old name stands twice", where=str(path), found=first_few(twice))
    return {row[0]: row[1] for row in rows}


def _columns(file: PickFile) -> dict[str, list[str]]:
    if file.star is not None:
        table = particles_of(file.star).table
        return {label: table.column(label) for label in table.labels}
    header, rows = read_rows(file.text, str(file.path))
    if header is None:
        raise InputError(
            "the first line must name the columns",
            where=str(file.path),
            hint="halParticleId,halLabel",
        )
    return {name: [row[n] for row in rows] for n, name in enumerate(header)}


def _label_column(columns: dict[str, list[str]], wanted: str | None, path: Path) -> str:
    if wanted is not None:
        if wanted not in columns:
            raise InputError(
                f"no column {wanted}", where=str(path), hint=did_you_mean(wanted, columns)
            )
        return wanted
    lower = {name.lower(): name for name in columns}
    for name in LABEL_COLUMNS:
        if name.lower() in lower:
            return lower[name.lower()]
    raise InputError(
        "no column with labels",
        where=str(path),
        found=first_few(list(columns), 6),
        hint="--label-column NAME, or --label CLASS for all rows of the file",
    )


def _plain(label: str, renames: dict[str, str]) -> str:
    """A class name as halcmd writes it: renamed, and ``class_1`` for a number."""
    label = renames.get(label.strip(), label.strip())
    if label.lower() in _NO_ANSWER:
        return UNLABELLED
    try:
        number = float(label)
    except ValueError:
        return label
    return f"class_{int(number)}" if number > 0 and number == int(number) else UNLABELLED


def _check(labels: list[str], path: Path) -> None:
    bad = sorted({label for label in labels if label != UNLABELLED and not valid_label(label)})
    if bad:
        raise InputError(
            "a class may not be called so",
            where=str(path),
            found=first_few(bad),
            hint="--rename FILE with lines old,new; letters first, then letters, digits, _ . -",
        )


def _first(columns: dict[str, list[str]], names: tuple[str, ...]) -> np.ndarray | None:
    lower = {name.lower(): name for name in columns}
    found = next((lower[name.lower()] for name in names if name.lower() in lower), None)
    return np.array(columns[found], dtype=object) if found else None


def _picks(file: PickFile, name: str) -> Picks | None:
    """Coordinates, where an importer finds them."""
    try:
        picks: Picks = load(IMPORTERS, recognise(file, name), "format").read(file)
    except InputError:
        return None
    return picks
