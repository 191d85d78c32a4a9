"""Dynamo tables (.tbl): 26 to 42 columns without header; voxels, dx, dy, dz are added to x, y, z.

Column 20 is the number of the tomogram: a map beside the table says which (_dynamo_maps.py).
Column 36 is the pixel size where it is set. Names of columns: Dynamo's table convention.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from halcmd.errors import InputError
from halcmd.formats.pick_file import PickFile
from halcmd.importers._dynamo_maps import tomogram_names
from halcmd.importers._relion_columns import reading
from halcmd.importers._text_rows import (
    angles_or_none,
    class_names,
    column_numbers,
    numbers_or_nan,
    split_lines,
    tomogram_numbers,
)
from halcmd.picks.picks import VOXELS, Picks, source_table

COLUMNS = (
    *("tag", "aligned_value", "averaged_value", "dx", "dy", "dz", "tdrot", "tilt", "narot"),
    *("cc", "cc2", "cpu", "ftype", "ymintilt", "ymaxtilt", "xmintilt", "xmaxtilt", "fs1", "fs2"),
    *("tomo", "reg", "class", "annotation", "x", "y", "z", "dshift", "daxis", "dnarot", "dcc"),
    *("otag", "npar", "undefined1", "ref", "sref", "apix", "def", "undefined2", "undefined3"),
    *("undefined4", "eig1", "eig2"),
)
_FEWEST = COLUMNS.index("z") + 1


def recognises(file: PickFile) -> bool:
    """Whether the first line is a row of such a table."""
    if file.star is not None or not file.text:
        return False
    words = file.text.lstrip().split("\n", 1)[0].split()
    return _FEWEST <= len(words) <= len(COLUMNS) and all(map(_is_number, words))


def read(file: PickFile) -> Picks:
    """Picks in voxels of their tomogram, with shifts, class and orientation.

    Raises
    ------
    InputError
        A row is longer or shorter than the first, or a coordinate or shift is no number.
    """
    where = str(file.path)
    rows = split_lines(file.text, where)
    if not _FEWEST <= len(rows[0]) <= len(COLUMNS):
        raise InputError(
            "a Dynamo table has 26 to 42 columns", where=where, found=f"{len(rows[0])} columns"
        )
    fields = {name: [row[n] for row in rows] for n, name in enumerate(COLUMNS[: len(rows[0])])}
    numbers = tomogram_numbers(fields["tomo"], "tomo", where)
    names = tomogram_names(file.path, set(numbers) - {""})
    sizes = numbers_or_nan(fields["apix"]) if "apix" in fields else None
    stated = reading("voxels of the tomogram", "Dynamo column 36", sizes)
    angles = angles_or_none(fields, ("tdrot", "tilt", "narot"), where)
    rotations = None
    if angles is not None:
        # zxz about fixed axes turns the particle onto the reference: the inverse is the pose.
        rotations = Rotation.from_euler("zxz", angles, degrees=True).inv().as_matrix()
    return Picks(
        path=file.path,
        producer="dynamo",
        particles=source_table(fields, file.path),
        tomograms=np.array([names.get(number, number) for number in numbers], dtype=object),
        coordinates=column_numbers(fields, ("x", "y", "z"), where),
        readings=(stated or VOXELS,),
        shifts=column_numbers(fields, ("dx", "dy", "dz"), where),
        shifts_in_pixels=True,
        rotations=rotations,
        classes=class_names(fields["class"]),
    )


def _is_number(text: str) -> bool:
    """Whether Dynamo may have written it: MATLAB's numbers may be complex."""
    try:
        complex(text.replace("i", "j"))
    except ValueError:
        return False
    return True
