"""What lines of plain numbers mean, where no header says so: points of IMOD, or coordinates.

IMOD's numbers of objects and contours are whole and never fall; contours begin at 1 (0 with
model2point -zero). Boxes of micrographs and transforms of images look alike and are no picks.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Literal

import numpy as np

from halcmd.errors import InputError
from halcmd.formats.pick_file import PickFile
from halcmd.importers._text_rows import is_number, split_lines

_COUNTS = range(3, 7)


def meaning(file: PickFile) -> Literal["imod_text", "coords"] | None:
    """The importer for the columns of a file; None where its lines are no such numbers.

    Raises
    ------
    InputError
        They are boxes in two dimensions or transforms, or may mean two things, or a line is longer
        or shorter than the first.
    """
    if file.star is not None or not file.text:
        return None
    lines = (line.split() for line in file.text.splitlines())
    first = next((words for words in lines if words and not words[0].startswith("#")), [])
    if len(first) not in _COUNTS or not all(map(is_number, first)):
        return None
    if len(first) == 3:
        return "coords"
    where = str(file.path)
    if file.path.suffix.lower() == ".box" and len(first) in {4, 5}:
        raise _boxes(where, first)
    rows = split_lines(file.text, where)
    numeric = all(is_number(word) for row in rows for word in row)
    if len(first) == 4:
        return _of_four(rows, where) if numeric else None
    if len(first) == 5:
        return "imod_text" if numeric and _are_objects_and_contours(rows) else None
    if len(first) == 6 and numeric and (file.path.suffix.lower() == ".xf" or _are_transforms(rows)):
        raise InputError(
            "these are transforms of images, not picks",
            where=where,
            found=" ".join(first),
            hint="the coordinates of the picks, such as a model (.mod) or lines of x y z",
        )
    return "coords"


def _of_four(rows: Sequence[Sequence[str]], where: str) -> Literal["imod_text", "coords"]:
    """Contour x y z, or x y z and a score.

    Raises
    ------
    InputError
        They are boxes, or may be either.
    """
    values = np.array(rows, dtype=np.float64)
    if np.array_equal(values[:, 2], values[:, 3]):
        raise _boxes(where, rows[0])
    whole = all(word.lstrip("+-").isdecimal() for row in rows for word in row)
    counted = _are_contours([row[0] for row in rows])
    if whole or _are_sizes(values[:, 2:]) or (counted and _are_scores(values[:, 3])):
        raise InputError(
            "these four columns may mean several things",
            where=where,
            found=f"{' '.join(rows[0])}: contour x y z, x y z score, or boxes in two dimensions",
            hint="--format imod_text (contour x y z) or --format coords (x y z score)",
        )
    return "imod_text" if counted else "coords"


def _boxes(where: str, first: Sequence[str]) -> InputError:
    return InputError(
        "these are boxes in two dimensions: x y width height",
        where=where,
        found=" ".join(first),
        hint="boxes picked in tomograms; those of micrographs cannot be classified here",
    )


def _are_objects_and_contours(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first two columns number objects, and the contours of each.

    Empty objects are left out, so the first that is there may have any number.
    """
    return _never_fall([row[0] for row in rows]) and all(
        _are_contours([row[1] for row in group])
        for _, group in groupby(rows, key=lambda row: row[0])
    )


def _are_contours(words: Sequence[str]) -> bool:
    """Whether these are whole numbers that begin at 1 or 0 and never fall."""
    return _never_fall(words) and int(words[0]) in {0, 1}


def _never_fall(words: Sequence[str]) -> bool:
    """Whether these are whole numbers, none smaller than the one before."""
    if not all(word.isdecimal() for word in words):
        return False
    numbers = [int(word) for word in words]
    return numbers == sorted(numbers)


def _are_scores(values: np.ndarray) -> bool:
    """Whether no z would be so small: all from -1 to 1."""
    return bool((np.abs(values) <= 1).all())


def _are_sizes(values: np.ndarray) -> bool:
    """Whether two columns may be width and height of boxes: whole, and the same in all rows."""
    return len(values) > 1 and bool(((values == values[0]) & (values == np.round(values))).all())


def _are_transforms(rows: Sequence[Sequence[str]]) -> bool:
    """Whether each line begins with a matrix that hardly scales, as in IMOD's .xf."""
    a, b, c, d = np.array(rows, dtype=np.float64)[:, :4].T
    scale = np.abs(a * d - b * c)
    small = np.abs([a, b, c, d]).max() <= 1.5
    return bool(small and (scale > 0.5).all() and (scale < 2.0).all())
