"""Rows of plain text: lines split at white space, their numbers checked with row and column."""

from collections.abc import Mapping, Sequence

import numpy as np

from halcmd.errors import InputError


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
