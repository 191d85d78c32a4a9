"""CSV or TSV of x, y, z [, tomogram, ...], with or without a header line; voxels counted from 0.

A table with halcmd's own halPositionXAngst, YAngst, ZAngst, such as query.csv, is in Angstrom.
"""

import csv
import io
from collections import Counter

import numpy as np

from halcmd.errors import InputError, first_few
from halcmd.importers.pick_file import PickFile
from halcmd.importers.picks import Picks, source_table

AXES = ("x", "y", "z")
POSITIONS = ("halPositionXAngst", "halPositionYAngst", "halPositionZAngst")
_TOMOGRAM_NAMES = ("tomogram", "tomo", "rlntomoname", "haltomogram", "micrograph", "tilt_series")
_DELIMITERS = "\t;,"


def recognises(file: PickFile) -> bool:
    """Whether the lines are at least three columns with numbers for x, y, z."""
    if file.star is not None:
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
    header, rows = read_rows(file.text, str(file.path))
    if header is None and len(rows[0]) not in {len(AXES), len(AXES) + 1}:
        raise InputError(
            "a table without a header line must be x,y,z or x,y,z,tomogram",
            where=str(file.path),
            found=f"{len(rows[0])} columns",
            hint="a first line that names the columns, such as x,y,z,tomogram,score",
        )
    names = header or [*AXES, "tomogram"][: len(rows[0])]
    columns = {name: [row[n] for row in rows] for n, name in enumerate(names)}
    lower = {name.lower(): name for name in columns}
    is_own = all(name.lower() in lower for name in POSITIONS)
    axes = [name.lower() for name in POSITIONS] if is_own else list(AXES)
    missing = [axis for axis in axes if axis not in lower]
    if missing:
        raise InputError(
            f"no column {missing[0]}",
            where=str(file.path),
            found=", ".join(columns),
            hint="a header line with x,y,z and, for several tomograms, tomogram",
        )
    coordinates = np.stack(
        [_numbers(columns[lower[axis]], axis, str(file.path)) for axis in axes], axis=1
    )
    tomogram = next((lower[name] for name in _TOMOGRAM_NAMES if name in lower), None)
    return Picks(
        path=file.path,
        producer="csv",
        particles=source_table(columns, file.path),
        tomograms=np.array(columns[tomogram] if tomogram else [""] * len(rows), dtype=object),
        coordinates=coordinates,
        unit="angstrom" if is_own else "voxel",
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
        rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter))
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
