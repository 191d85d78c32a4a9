"""CSV or TSV of x, y, z [, tomogram, ...], with or without a header line; voxels counted from 0.

A table with halcmd's own halPositionXAngst, YAngst, ZAngst, such as query.csv, is in Angstrom.
"""

import csv
from collections import Counter

import numpy as np

from halcmd.errors import InputError, first_few
from halcmd.importers.pick_file import PickFile
from halcmd.importers.picks import Picks, source_table

AXES = ("x", "y", "z")
POSITIONS = ("halPositionXAngst", "halPositionYAngst", "halPositionZAngst")
_TOMOGRAM_NAMES = (
    *("tomogram", "tomo", "rlntomoname", "haltomogram", "micrograph", "tilt_series"),
    *("rlnmicrographname", "tomogram_name", "tomo_name", "run", "run_name"),
)
_CLASS_NAMES = ("object", "object_name", "type", "species")
_DELIMITERS = "\t;,"
# Names of coordinates without case and punctuation: what may stand before and behind the axis.
_BEFORE = ("", "pos", "position", "coord", "coordinate", "rlncoordinate", "center", "centre")
_BEHIND = ("", "pos", "position", "coord", "coordinate", "px", "pixel", "voxel", "vx", "center")
_ANGSTROM = ("a", "\u00e5", "angst", "angstrom", "angstroms")
# napari writes points with the slowest axis first.
_NAPARI = ("axis2", "axis1", "axis0")


def recognises(file: PickFile) -> bool:
    """Whether the lines are at least three columns with numbers for x, y, z."""
    if file.star is not None or not file.text:
        return False
    try:
        read(file)
    except InputError:
        return False
    return True


def read(file: PickFile) -> Picks:
    """Picks in voxels of their tomogram, or Angstrom; every field is kept as ``halSource<Name>``.

    Raises
    ------
    InputError
        There is no x, y or z, or a value is no number.
    """
    where = str(file.path)
    header, rows = read_rows(file.text, where)
    names = header or _names_of(rows, where)
    columns = {name: [row[n] for row in rows] for n, name in enumerate(names)}
    axes, unit = _axes(names, where)
    lower = {name.lower().replace(" ", "_"): name for name in reversed(names)}
    tomogram = next((lower[name] for name in _TOMOGRAM_NAMES if name in lower), None)
    kind = next((lower[name] for name in _CLASS_NAMES if name in lower), None)
    coordinates = [_numbers(columns[name], name, where) for name in axes]
    return Picks(
        path=file.path,
        producer="csv",
        particles=source_table(columns, file.path),
        tomograms=np.array(columns[tomogram] if tomogram else [""] * len(rows), dtype=object),
        coordinates=np.stack(coordinates, axis=1),
        unit=unit,
        classes=np.array(columns[kind], dtype=object) if kind else None,
    )


def _names_of(rows: list[list[str]], where: str) -> list[str]:
    """Column names of a table without a header line: x, y, z and a tomogram or a score."""
    count = len(rows[0])
    if count not in {len(AXES), len(AXES) + 1}:
        raise InputError(
            "a table without a header line must be x,y,z or x,y,z,tomogram",
            where=where,
            found=f"{count} columns",
            hint="a first line that names the columns, such as x,y,z,tomogram,score",
        )
    last = [row[-1] for row in rows]
    is_score = all(_is_number(text) for text in last) and not all(t.isdigit() for t in last)
    return [*AXES, "score" if is_score else "tomogram"][:count]


def _axes(names: list[str], where: str) -> tuple[list[str], str]:
    """The columns of x, y and z, and their unit.

    Raises
    ------
    InputError
        One is missing.
    """
    plain = {"".join(c for c in name.lower() if c.isalnum()): name for name in reversed(names)}
    own = [name.lower() for name in POSITIONS]
    ways = [
        (own, "angstrom"),
        *(([axis + unit for axis in AXES], "angstrom") for unit in _ANGSTROM),
        *(([b + axis + e for axis in AXES], "voxel") for b in _BEFORE for e in _BEHIND),
        (list(_NAPARI), "voxel"),
    ]
    for wanted, unit in ways:
        if all(name in plain for name in wanted):
            return [plain[name] for name in wanted], unit
    missing = next((axis for axis in AXES if axis not in plain), AXES[0])
    raise InputError(
        f"no column {missing}",
        where=where,
        found=first_few(names, 6),
        hint="a header line with x,y,z and, for several tomograms, tomogram",
    )


def read_rows(text: str, where: str) -> tuple[list[str] | None, list[list[str]]]:
    """Header (None where the first line begins with a number) and rows of a delimited text.

    Raises
    ------
    InputError
        A row is longer or shorter than the first, there are none, or a column stands twice.
    """
    rows = split_rows(text, where)
    header = None if _is_number(rows[0][0]) else rows.pop(0)
    if not rows:
        raise InputError("the table has no rows", where=where)
    twice = [name for name, count in Counter(header or ()).items() if count > 1]
    if twice:
        raise InputError("a column stands twice", where=where, found=first_few(twice))
    return header, rows


def split_rows(text: str, where: str) -> list[list[str]]:
    """The values of each line of a delimited text, a header line included.

    Raises
    ------
    InputError
        A row is longer or shorter than the first, or there are none.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    # In this order: where a semicolon separates, a comma may be the decimal mark.
    delimiter = next((mark for mark in _DELIMITERS if lines and mark in lines[0]), None)
    if delimiter is None:
        rows = [line.split() for line in lines]
    else:
        rows = [_quoted(line, delimiter, f"{where}, row {n}") for n, line in enumerate(lines, 1)]
    rows = [[value.strip() for value in row] for row in rows]
    rows = [row for row in rows if any(row)]
    if not rows:
        raise InputError("the table has no rows", where=where)
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise InputError(
                f"a row has {len(row)} values for {len(rows[0])} columns",
                where=f"{where}, row {number}",
                found=(delimiter or " ").join(row)[:60],
            )
    return rows


def _quoted(line: str, delimiter: str, where: str) -> list[str]:
    """The values of one line; a quote that is not closed in it would swallow the next rows."""
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise InputError(
            "a quote is not closed in its line",
            where=where,
            found=line[:60],
            hint="take line breaks out of the cells, or the stray quote out of the row",
        ) from error


def _numbers(values: list[str], name: str, where: str) -> np.ndarray:
    for row, text in enumerate(values, 1):
        if not _is_number(text):
            raise InputError(f"{name} must be a number", where=f"{where}, row {row}", found=text)
    return np.array([float(text.replace(",", ".")) for text in values])


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text.replace(",", "."))))
    except ValueError:
        return False
