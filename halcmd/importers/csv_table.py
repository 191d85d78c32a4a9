"""CSV or TSV of x, y, z [, tomogram, ...], with or without a header line; voxels counted from 0.

Names may say Angstrom or nanometres (``x [nm]``). A table with halcmd's own halPositionXAngst,
YAngst, ZAngst, such as query.csv, is in Angstrom.
"""

import csv
from collections import Counter
from collections.abc import Container, Iterator
from typing import NamedTuple

import numpy as np

from halcmd.console import log
from halcmd.errors import InputError, first_few
from halcmd.formats.pick_file import PickFile
from halcmd.picks.picks import Picks, source_table

AXES = ("x", "y", "z")
POSITIONS = ("halPositionXAngst", "halPositionYAngst", "halPositionZAngst")
_TOMOGRAM_NAMES = (
    *("tomogram", "tomo", "rlntomoname", "haltomogram", "micrograph", "tilt_series"),
    *("rlnmicrographname", "tomogram_name", "tomo_name", "tomogram_id", "tomo_id"),
    *("run", "run_name", "experiment"),
)
_CLASS_NAMES = ("object", "object_name", "particle_type", "type", "species")
_DELIMITERS = "\t;,|"
# Names of coordinates without case and punctuation: what may stand before and behind the axis.
_BEFORE = ("", "pos", "position", "coord", "coordinate", "rlncoordinate", "center", "centre")
_BEHIND = ("", "pos", "position", "coord", "coordinate", "px", "pixel", "voxel", "vx", "center")
_ANGSTROM = ("a", "\u00e5", "angst", "angstrom", "angstroms")
_NANOMETRES = ("nm", "nanometer", "nanometers", "nanometre", "nanometres")
# napari writes points with the slowest axis first.
_NAPARI = ("axis2", "axis1", "axis0")


class _Axes(NamedTuple):
    """The columns of x, y, z, a unit of picks, and what the numbers are times for it."""

    columns: list[str]
    unit: str
    factor: float = 1.0


def recognises(file: PickFile) -> bool:
    """Whether the first line names coordinates, or begins with three numbers.

    What is wrong in other lines is for ``read`` to say.
    """
    if file.star is not None or not file.text:
        return False
    line = next(_lines(file.text), "")
    try:
        words = _split(line, _delimiter(line), str(file.path))
    except InputError:
        return False
    if words and _is_number(words[0]):
        return len(words) >= len(AXES) and all(map(_is_number, words[: len(AXES)]))
    plain = _plain_names(words)
    most = max(_present(way, plain) for way in _ways())
    # Two of x, y, z are a table with a fault; between blanks, they may be any text.
    return most == len(AXES) or (most > 1 and _delimiter(line) is not None)


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
    axes = _axes(names, where)
    lower = {name.lower().replace(" ", "_"): name for name in reversed(names)}
    tomogram = next((lower[name] for name in _TOMOGRAM_NAMES if name in lower), None)
    kind = next((lower[name] for name in _CLASS_NAMES if name in lower), None)
    coordinates = [_numbers(columns[name], name, where) * axes.factor for name in axes.columns]
    if axes.factor != 1.0:
        log.info(f"{where}: {', '.join(axes.columns)} are nanometres: times 10 for Angstrom")
    return Picks(
        path=file.path,
        producer="csv",
        particles=source_table(columns, file.path),
        tomograms=np.array(columns[tomogram] if tomogram else [""] * len(rows), dtype=object),
        coordinates=np.stack(coordinates, axis=1),
        unit=axes.unit,
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
    if count == len(AXES):
        return list(AXES)
    last = [row[-1] for row in rows]
    are_numbers = all(map(_is_number, last))
    if are_numbers and _are_running([row[0] for row in rows]) and not _are_scores(last):
        raise InputError(
            "the first of four columns may be x or a running number",
            where=where,
            found=", ".join(rows[0]),
            hint="a first line that names the columns: index,x,y,z or x,y,z,tomogram",
        )
    name = "score" if are_numbers and not all(t.isdigit() for t in last) else "tomogram"
    log.info(f"{where}: columns are taken for x, y, z and a {name}")
    return [*AXES, name]


def _are_running(texts: list[str]) -> bool:
    """Whether a column counts the rows, from 0 or from 1."""
    return texts in [[str(first + n) for n in range(len(texts))] for first in (0, 1)]


def _are_scores(texts: list[str]) -> bool:
    """Whether numbers are no z: not whole, and all from -1 to 1."""
    return not all(t.isdigit() for t in texts) and all(abs(_number(text)) <= 1 for text in texts)


def _axes(names: list[str], where: str) -> _Axes:
    """The columns of x, y and z, and their unit.

    Raises
    ------
    InputError
        One is missing.
    """
    plain = _plain_names(names)
    best = max(_ways(), key=lambda way: _present(way, plain))
    missing = [axis for axis, name in zip(AXES, best.columns, strict=True) if name not in plain]
    if not missing:
        return best._replace(columns=[plain[name] for name in best.columns])
    raise InputError(
        f"no column {missing[0]}",
        where=where,
        found=first_few(names, 6),
        hint="a header line with x,y,z and, for several tomograms, tomogram",
    )


def _plain_names(names: list[str]) -> dict[str, str]:
    """Names without case and punctuation, each with the name as it stands."""
    return {"".join(c for c in name.lower() if c.isalnum()): name for name in reversed(names)}


def _present(way: _Axes, plain: Container[str]) -> int:
    """How many of the columns that a way names are there."""
    return sum(name in plain for name in way.columns)


def _ways() -> Iterator[_Axes]:
    """All plain names that x, y, z may have, the special ones first."""
    yield _Axes([name.lower() for name in POSITIONS], "angstrom")
    yield _Axes([f"rlncenteredcoordinate{axis}angst" for axis in AXES], "centred_angstrom")
    for before in _BEFORE:
        for units, factor in ((_ANGSTROM, 1.0), (_NANOMETRES, 10.0)):
            for unit in units:
                yield _Axes([before + axis + unit for axis in AXES], "angstrom", factor)
        for behind in _BEHIND:
            yield _Axes([before + axis + behind for axis in AXES], "voxel")
    yield _Axes(list(_NAPARI), "voxel")


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
    lines = list(_lines(text))
    delimiter = _delimiter(lines[0]) if lines else None
    rows = [_split(line, delimiter, f"{where}, row {n}") for n, line in enumerate(lines, 1)]
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


def _lines(text: str) -> Iterator[str]:
    """The lines that are neither empty nor comments."""
    return (line for line in text.splitlines() if line.strip() and not line.startswith("#"))


def _delimiter(line: str) -> str | None:
    """What separates the values of a table whose first line this is; None for white space."""
    # In this order: where a semicolon separates, a comma may be the decimal mark.
    return next((mark for mark in _DELIMITERS if mark in line), None)


def _split(line: str, delimiter: str | None, where: str) -> list[str]:
    """The values of one line."""
    if delimiter is None:
        return line.split()
    return [value.strip() for value in _quoted(line, delimiter, where)]


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
    return np.array([_number(text) for text in values])


def _number(text: str) -> float:
    return float(text.replace(",", "."))


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(_number(text)))
    except ValueError:
        return False
