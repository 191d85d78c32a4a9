"""Rows of plain text: lines split at white space, their numbers checked with row and column.

Only what a pick cannot do without is an error where it is missing; angles and classes are left out.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.particles import UNLABELLED

_MISSING = {"", "na", "<na>", "none", "null"}


def split_lines(text: str, where: str) -> list[list[str]]:
    """The words of each line that is neither empty nor a comment (#).

    Raises
    ------
    InputError
        A line has more or fewer words than the first, or there are none.
    """
    rows = [line.split() for line in text.splitlines() if line.strip()]
    rows = [row for row in rows if not row[0].startswith("#")]
    if not rows:
        raise InputError("the table has no rows", where=where)
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise InputError(
                f"a row has {len(row)} values, the first {len(rows[0])}",
                where=f"{where}, row {number}",
                found=" ".join(row)[:60],
                hint="the file may be cut off",
            )
    return rows


def column_numbers(
    fields: Mapping[str, Sequence[str]], names: Sequence[str], where: str
) -> np.ndarray:
    """Fields as one array, shape (n, len(names)), float64.

    Raises
    ------
    InputError
        A value is no finite number.
    """
    return np.stack([_numbers(fields[name], name, where) for name in names], axis=1)


def whole_numbers(texts: Sequence[str], name: str, where: str) -> list[int]:
    """Numbers such as 24 or 24.000000 as integers.

    Raises
    ------
    InputError
        A value is no whole number.
    """
    values = _numbers(texts, name, where)
    wrong = np.flatnonzero(values != np.round(values))
    if len(wrong):
        row = int(wrong[0])
        raise InputError(
            f"{name} must be a whole number", where=f"{where}, row {row + 1}", found=texts[row]
        )
    return [int(value) for value in values]


def tomogram_numbers(texts: Sequence[str], name: str, where: str) -> np.ndarray:
    """Numbers of tomograms, such as ``24``, shape (n,), object of str; empty where none has one.

    Raises
    ------
    InputError
        Some rows have one, and others have none.
    """
    if not np.isfinite(numbers_or_nan(texts)).any():
        return np.full(len(texts), "", dtype=object)
    return np.array([str(number) for number in whole_numbers(texts, name, where)], dtype=object)


def numbers_or_nan(texts: Sequence[str]) -> np.ndarray:
    """Numbers of fields that may be missing, shape (n,), float64; ``nan`` where there is none."""
    return np.array([_number(text) for text in texts])


def angles_or_none(
    fields: Mapping[str, Sequence[str]], names: Sequence[str], where: str
) -> np.ndarray | None:
    """Angles as one array, shape (n, 3); None, with a warning, where a row has none."""
    angles = np.stack([numbers_or_nan(fields[name]) for name in names], axis=1)
    missing = np.flatnonzero(~np.isfinite(angles).all(axis=1))
    if not len(missing):
        return angles
    log.warning(
        f"{where}: {len(missing):,} rows without angles (first: row {missing[0] + 1}), so these "
        "picks have no orientations"
    )
    return None


def class_names(texts: Sequence[str]) -> np.ndarray:
    """Classes, shape (n,), object of str: 3 for 3.000, ``unlabelled`` where there is none."""
    return np.array([_class_name(text.strip()) for text in texts], dtype=object)


def _class_name(text: str) -> str:
    value = _number(text)
    if np.isfinite(value):
        return str(int(value)) if value == int(value) else text
    is_word = text.lower() not in _MISSING and not is_number(text)
    return text if is_word else UNLABELLED


def is_number(text: str) -> bool:
    """Whether a text is a number, nan and inf included."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(texts: Sequence[str], name: str, where: str) -> np.ndarray:
    values = np.empty(len(texts))
    for row, text in enumerate(texts):
        values[row] = _number(text)
        if not np.isfinite(values[row]):
            raise InputError(
                f"{name} must be a number", where=f"{where}, row {row + 1}", found=text[:40]
            )
    return values


def _number(text: str) -> float:
    """The number that a text spells, the real part of MATLAB's complex ones; nan for none."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return complex(text.replace("i", "j")).real
    except ValueError:
        return float("nan")
