"""Plain coordinates (.coords of TomoTwin and boxmanager, text for RELION's import): x y z [angles].

White space between numbers, no header; voxels counted from 0.
"""

import numpy as np

from halcmd.errors import InputError
from halcmd.importers.pick_file import PickFile
from halcmd.importers.picks import Picks, source_table
from halcmd.importers.text_rows import column_numbers, split_lines
from halcmd.poses import euler_matrices

_FIELDS = ("x", "y", "z", "rot", "tilt", "psi")


def recognises(file: PickFile) -> bool:
    """Whether the first line is three or six numbers between blanks."""
    if file.star is not None or not file.text:
        return False
    lines = (line.split() for line in file.text.splitlines())
    first = next((words for words in lines if words and not words[0].startswith("#")), [])
    return len(first) in {3, 6} and all(map(_is_number, first))


def read(file: PickFile) -> Picks:
    """Picks in voxels of their tomogram.

    Raises
    ------
    InputError
        A row is longer or shorter than the first, or a value is no number.
    """
    where = str(file.path)
    rows = split_lines(file.text, where)
    if len(rows[0]) not in {3, 6}:
        raise InputError(
            "a line must be x y z, or x y z and three angles",
            where=where,
            found=" ".join(rows[0])[:60],
        )
    fields = {name: [row[n] for row in rows] for n, name in enumerate(_FIELDS[: len(rows[0])])}
    rotations = None
    if "rot" in fields:
        angles = column_numbers(fields, _FIELDS[3:], where)
        rotations = euler_matrices(angles)
    return Picks(
        path=file.path,
        producer="coords",
        particles=source_table(fields, file.path),
        tomograms=np.full(len(rows), "", dtype=object),
        coordinates=column_numbers(fields, _FIELDS[:3], where),
        rotations=rotations,
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
