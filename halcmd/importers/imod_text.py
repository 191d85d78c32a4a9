"""Text of IMOD's model2point: [[object] contour] x y z in pixels; the first voxel is (0.5, 0.5, 0).

Three columns look like any other coordinates and are taken for such; --format imod_text reads them.
How four and five columns are told from others: number_columns.py.
"""

import numpy as np

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.formats.imod_model import FIRST_VOXEL
from halcmd.formats.pick_file import PickFile
from halcmd.importers._number_columns import meaning
from halcmd.importers._text_rows import column_numbers, split_lines, whole_numbers
from halcmd.picks.picks import Picks, source_table

_FIELDS = ("object", "contour", "x", "y", "z")


def recognises(file: PickFile) -> bool:
    """Whether all lines are numbers of contours, and objects, before x y z.

    Raises
    ------
    InputError
        The columns may mean something else, or are no picks.
    """
    return meaning(file) == "imod_text"


def read(file: PickFile) -> Picks:
    """Picks in voxels of their tomogram; objects are classes.

    Raises
    ------
    InputError
        A row is longer or shorter than the first, or a value is no number.
    """
    where = str(file.path)
    rows = split_lines(file.text, where)
    if not 3 <= len(rows[0]) <= 5:
        raise InputError(
            "a line must be x y z, contour x y z, or object contour x y z",
            where=where,
            found=" ".join(rows[0])[:60],
        )
    names = _FIELDS[-len(rows[0]) :]
    log.info(f"{where}: columns are taken for IMOD's {' '.join(names)}")
    fields = {name: [row[n] for row in rows] for n, name in enumerate(names)}
    classes = None
    if "object" in fields:
        numbers = whole_numbers(fields["object"], "object", where)
        classes = np.array([f"object_{number}" for number in numbers], dtype=object)
    return Picks(
        path=file.path,
        producer="imod_text",
        particles=source_table(fields, file.path),
        tomograms=np.full(len(rows), "", dtype=object),
        coordinates=column_numbers(fields, ("x", "y", "z"), where),
        origin=np.array(FIRST_VOXEL),
        classes=classes,
    )
