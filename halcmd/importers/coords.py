"""Plain coordinates (.coords of TomoTwin and boxmanager, text for RELION's import).

x y z, x y z score, or x y z and three angles; white space between numbers, no header; voxels
counted from 0. How they are told from other columns of numbers: number_columns.py.
"""

import numpy as np

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.formats.pick_file import PickFile
from halcmd.importers._number_columns import meaning
from halcmd.importers._text_rows import angles_or_none, column_numbers, split_lines
from halcmd.picks.picks import Picks, source_table
from halcmd.poses import euler_matrices

_AXES = ("x", "y", "z")
_ANGLES = ("rot", "tilt", "psi")
_FIELDS = {3: _AXES, 4: (*_AXES, "score"), 6: (*_AXES, *_ANGLES)}


def recognises(file: PickFile) -> bool:
    """Whether the first line is three, four or six numbers between blanks.

    Raises
    ------
    InputError
        The columns may mean something else, or are no picks.
    """
    return meaning(file) == "coords"


def read(file: PickFile) -> Picks:
    """Picks in voxels of their tomogram.

    Raises
    ------
    InputError
        A row is longer or shorter than the first, or a value is no number.
    """
    where = str(file.path)
    rows = split_lines(file.text, where)
    if len(rows[0]) not in _FIELDS:
        raise InputError(
            "a line must be x y z, x y z score, or x y z and three angles",
            where=where,
            found=" ".join(rows[0])[:60],
        )
    names = _FIELDS[len(rows[0])]
    log.info(f"{where}: columns are taken for {' '.join(names)}")
    fields = {name: [row[n] for row in rows] for n, name in enumerate(names)}
    angles = angles_or_none(fields, _ANGLES, where) if "rot" in fields else None
    return Picks(
        path=file.path,
        producer="coords",
        particles=source_table(fields, file.path),
        tomograms=np.full(len(rows), "", dtype=object),
        coordinates=column_numbers(fields, _AXES, where),
        rotations=None if angles is None else euler_matrices(angles),
    )
