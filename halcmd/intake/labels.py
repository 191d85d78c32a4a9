"""Labels as other people and programs give them back: which row, which class."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from halcmd.errors import InputError, did_you_mean, first_few
from halcmd.formats.files import read_text
from halcmd.formats.pick_file import PickFile, open_pick_file
from halcmd.formats.star import Table
from halcmd.importers import IMPORTERS
from halcmd.importers.csv_table import read_rows, split_rows
from halcmd.intake.read import in_unit, open_named
from halcmd.intake.recognise import known_as, recognise
from halcmd.particles import (
    UNLABELLED,
    Particles,
    as_class,
    group_key,
    particles_of,
    valid_label,
)
from halcmd.picks.picks import Picks
from halcmd.registry import load

ID_COLUMNS = ("halParticleId", "particle_id", "id")
NUMBER_COLUMNS = ("halParticleNumber",)
TOMOGRAM_NUMBER_COLUMNS = ("halTomogramNumber",)
PARTICLE_NAME_COLUMNS = ("rlnTomoParticleName",)
IMAGE_COLUMNS = ("halImageName", "rlnImageName", "image", "image_name", "file")
ANNOTATOR_COLUMNS = ("annotator", "halLabelSource")
TIME_COLUMNS = ("time", "halLabelTime")
LABEL_COLUMNS = ("halLabel", "label", "class", "rlnClassNumber")
_GUARDED = re.compile(r"'(?=[=+\-@\t\r])")
"""What labels.html puts before text that a spreadsheet would take for a formula."""
_NO_ANSWER = {"", UNLABELLED, "unlabeled", "nan", "na", "none", "null", "<na>"}


@dataclass(frozen=True)
class LabelFile:
    """Answers as they stand in one file.

    Attributes
    ----------
    path : Path
        The file.
    labels : ndarray, shape (n,), object of str
        Class of each row; ``unlabelled`` where there is no answer.
    ids, particle_names, images : ndarray of shape (n,), object of str, or None
        halParticleId, rlnTomoParticleName and image name of each row, where the file has them.
    picks : Picks or None
        Tomogram and coordinates of each row, where the file has them.
    annotators : ndarray of shape (n,), object of str, or None
        Who gave each answer, where the file says it; ``none`` where not.
    times : ndarray of shape (n,), object of str, or None
        When each answer was given, where the file says it.
    numbers, tomogram_numbers : ndarray of shape (n,), object of str, or None
        What stands for ids and tomograms where texts were lost (``matching.id_number``).
    """

    path: Path
    labels: np.ndarray
    ids: np.ndarray | None
    particle_names: np.ndarray | None
    images: np.ndarray | None
    picks: Picks | None
    annotators: np.ndarray | None = None
    times: np.ndarray | None = None
    numbers: np.ndarray | None = None
    tomogram_numbers: np.ndarray | None = None


def read_labels(
    path: Path,
    *,
    name: str = "auto",
    column: str | None = None,
    one_label: str | None = None,
    renames: dict[str, str] | None = None,
    unit: str | None = None,
) -> LabelFile:
    """The answers of a STAR, CSV or TSV file, or of any other that an importer reads.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        Importer for its coordinates, or ``auto``.
    column : str, optional
        Column with the class. Default: the first of halLabel, label, class, rlnClassNumber, else
        what the format has for a class (an object's name, a class number).
    one_label : str, optional
        Class of all rows, whatever the columns.
    renames : dict of str to str, optional
        Class as it stands in the file to class as it is wanted.
    unit : str, optional
        Of the coordinates: one of ``UNITS``; overrides what the importer says.

    Raises
    ------
    InputError
        There is no column with classes, or a class name is not allowed.
    """
    if path.suffix.lower() in (".html", ".htm"):
        raise InputError(
            "this is the page to label on, not the labels",
            where=str(path),
            hint="open it in a browser; key w saves the CSV or STAR file to give here",
        )
    file, _ = open_named(path)
    picks, table = _contents(file, name)
    picks = picks and in_unit(picks, unit)
    if one_label is not None:
        labels = [one_label] * len(table)
    else:
        labels = _answers(table, picks, column, path)
    plain = [_plain(label, renames or {}) for label in labels]
    _check(plain, path)
    return LabelFile(
        path,
        np.array(plain, dtype=object),
        _first(table, ID_COLUMNS),
        _first(table, PARTICLE_NAME_COLUMNS),
        _first(table, IMAGE_COLUMNS),
        picks,
        annotators=_first(table, ANNOTATOR_COLUMNS),
        times=_first(table, TIME_COLUMNS),
        numbers=_whole(_first(table, NUMBER_COLUMNS)),
        tomogram_numbers=_whole(_first(table, TOMOGRAM_NUMBER_COLUMNS)),
    )


def read_ids(path: Path) -> set[str]:
    """The particle ids that a STAR or CSV file lists.

    Raises
    ------
    InputError
        It has no column halParticleId.
    """
    table = _table(open_pick_file(path))
    ids = _first(table, ID_COLUMNS)
    if ids is None:
        raise InputError(
            "no column halParticleId", where=str(path), found=first_few(table.labels, 6)
        )
    return set(ids)


def read_renames(path: Path) -> dict[str, str]:
    """Old to new class name, from a file of two columns.

    Raises
    ------
    InputError
        A row has not two values, or an old name stands twice.
    """
    rows = split_rows(read_text(path), str(path))
    if [word.lower() for word in rows[0]] == ["old", "new"]:
        rows = rows[1:]
    if any(len(row) != 2 for row in rows):
        raise InputError("a line needs two values: old,new", where=str(path))
    twice = [old for old, count in Counter(row[0] for row in rows).items() if count > 1]
    if twice:
        raise InputError("an old name stands twice", where=str(path), found=first_few(twice))
    return {row[0]: row[1] for row in rows}


def _table(file: PickFile) -> Table:
    if file.star is not None:
        return particles_of(file.star).table
    if not file.text:
        recognise(file)  # raises with the reason
    header, rows = read_rows(file.text, str(file.path))
    if header is None:
        raise InputError(
            "the first line must name the columns",
            where=str(file.path),
            hint="halParticleId,halLabel",
        )
    columns = {name: [row[n] for row in rows] for n, name in enumerate(header)}
    return Table.from_columns("labels", columns)


def _answers(table: Table, picks: Picks | None, column: str | None, path: Path) -> list[str]:
    """The class of each row as it stands."""
    names = table.labels
    plain = {_plain_name(name): name for name in reversed(names)}
    if column is not None:
        if column not in names and _plain_name(column) not in plain:
            raise InputError(
                f"no column {column}", where=str(path), hint=did_you_mean(column, names)
            )
        return table.column(column if column in names else plain[_plain_name(column)])
    stated = stated_classes(table, picks)
    if stated is not None:
        return stated[1]
    raise InputError(
        "no column with labels",
        where=str(path),
        found=first_few([_as_read(name) for name in names], 6),
        hint="--label-column NAME, or --label CLASS for all rows of the file; the first line of a "
        "CSV file must name the columns",
    )


def stated_classes(table: Table, picks: Picks | None) -> tuple[str, list[str]] | None:
    """Where a file has the class of each row, and the classes as they stand; None where nowhere.

    The first column of halLabel, label, class, rlnClassNumber, else what the format has.
    """
    plain = {_plain_name(name): name for name in reversed(table.labels)}
    found = next((plain[n] for name in LABEL_COLUMNS if (n := _plain_name(name)) in plain), None)
    if found is not None:
        return found, table.column(found)
    if picks is not None and picks.classes is not None:
        return "format", [str(label) for label in picks.classes]
    return None


def label_counts(particles: Particles, picks: Picks | None) -> dict[str, Any]:
    """How many of each class, and which column says so: halLabel, else what the file itself has.

    A table of halcmd without halLabel has no labels yet, whatever classes it came with; those are
    counted apart.
    """
    own = stated_classes(particles.table.without(["halLabel"]), picks)
    labelled = particles.has("halLabel")
    if own is None or labelled or particles.has("halParticleId"):
        column = "halLabel" if labelled else None
        facts = {"labels": _counts(particles.labels), "labels_from": column}
        if own is not None:
            facts |= {"classes": _counts(own[1]), "classes_from": own[0]}
        return facts
    return {"labels": _counts(own[1]), "labels_from": own[0].removeprefix("halSource")}


def _counts(classes: Iterable[str]) -> dict[str, int]:
    """Counts by class; numbers in their order, before names."""
    counts = Counter(_as_it_stands(text.strip()) for text in classes)
    return {
        name: counts[name]
        for name in sorted(counts, key=lambda n: (int(n) if n.isdecimal() else np.inf, n))
    }


def _as_it_stands(label: str) -> str:
    """A class, 1 for 1.000; ``unlabelled`` where there is no answer."""
    if label.lower() in _NO_ANSWER:
        return UNLABELLED
    whole, point, rest = label.partition(".")
    return whole if whole.isdecimal() and point and not rest.strip("0") else label


def _as_read(column: str) -> str:
    """A column as its file called it, or nearly: ``answer`` for ``halSourceAnswer``."""
    name = column.removeprefix("halSource")
    return name if name == column else name[:1].lower() + name[1:]


def _plain_name(column: str) -> str:
    """A column name for comparison: without case, and without what marks a source field."""
    return column.removeprefix("halSource").replace("_", "").lower()


def _plain(label: str, renames: dict[str, str]) -> str:
    """A class name as halcmd writes it: renamed, ``class_1`` for 1, no answer for 0 and below."""
    label = label.strip()
    label = renames.get(label, renames.get(_as_it_stands(label), label))
    if label.lower() in _NO_ANSWER:
        return UNLABELLED
    try:
        number = float(label)
    except ValueError:
        return as_class(label)
    if number <= 0:
        return UNLABELLED
    return f"class_{int(number)}" if number.is_integer() else label


def _check(labels: list[str], path: Path) -> None:
    bad = sorted({label for label in labels if label != UNLABELLED and not valid_label(label)})
    if bad:
        raise InputError(
            "a class may not be called so",
            where=str(path),
            found=first_few(bad),
            hint="letters first, then letters, digits, _ . -: --rename FILE with lines old,new, "
            f"such as {bad[0]},{_possible(bad[0])}",
        )


def _possible(label: str) -> str:
    """A name that a class may have, like this one: ``class_70S`` for 70S."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", label)
    return plain if valid_label(plain) else f"class_{plain.lstrip('_.-')}"


def _first(table: Table, names: tuple[str, ...]) -> np.ndarray | None:
    plain = {_plain_name(name): name for name in reversed(table.labels)}
    found = next((plain[n] for name in names if (n := _plain_name(name)) in plain), None)
    if not found:
        return None
    return np.array([_unguarded(text) for text in table.column(found)], dtype=object)


def _unguarded(text: str) -> str:
    return text[1:] if _GUARDED.match(text) else text


def _whole(numbers: np.ndarray | None) -> np.ndarray | None:
    """Numbers as texts without the decimals that other programs append."""
    return None if numbers is None else np.array([group_key(n) for n in numbers], dtype=object)


def _contents(file: PickFile, name: str) -> tuple[Picks | None, Table]:
    """Coordinates, where an importer finds them, and the table; with ids or names it needs none."""
    try:
        picks: Picks = load(IMPORTERS, recognise(file, name), "format").read(file)
    except InputError as reason:
        if name != "auto":
            raise
        try:
            return None, _table(file)
        except InputError as error:
            raise (error if known_as(file) is None else reason) from None
    return picks, picks.particles.table
