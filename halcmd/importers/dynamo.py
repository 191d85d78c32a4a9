"""Dynamo tables (.tbl): 26 to 42 columns without header; voxels, dx, dy, dz are added to x, y, z.

Column 20 is the number of the tomogram: a .doc file (number, path) or .vll file (paths) of the same
stem beside the table says which. Column 36 is the pixel size where it is set. Names of columns:
Dynamo's table convention.
"""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from halcmd.errors import InputError
from halcmd.formats.files import read_text
from halcmd.importers.pick_file import PickFile
from halcmd.importers.picks import VOXELS, Picks, source_table
from halcmd.importers.relion_columns import reading
from halcmd.importers.text_rows import column_numbers, split_lines, whole_numbers

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
        A row is longer or shorter than the first, or a value is no number.
    """
    where = str(file.path)
    rows = split_lines(file.text, where)
    if not _FEWEST <= len(rows[0]) <= len(COLUMNS):
        raise InputError(
            "a Dynamo table has 26 to 42 columns", where=where, found=f"{len(rows[0])} columns"
        )
    fields = {name: [row[n] for row in rows] for n, name in enumerate(COLUMNS[: len(rows[0])])}
    angles = column_numbers(fields, ("tdrot", "tilt", "narot"), where)
    numbers = whole_numbers(fields["tomo"], "tomo", where)
    names = _tomogram_names(file.path)
    sizes = column_numbers(fields, ("apix",), where)[:, 0] if "apix" in fields else None
    stated = reading("voxels of the tomogram", "Dynamo column 36", sizes)
    return Picks(
        path=file.path,
        producer="dynamo",
        particles=source_table(fields, file.path),
        tomograms=np.array([names.get(n, str(n)) for n in numbers], dtype=object),
        coordinates=column_numbers(fields, ("x", "y", "z"), where),
        readings=(stated or VOXELS,),
        shifts=column_numbers(fields, ("dx", "dy", "dz"), where),
        shifts_in_pixels=True,
        # zxz about fixed axes turns the particle onto the reference: the inverse is the pose.
        rotations=Rotation.from_euler("zxz", angles, degrees=True).inv().as_matrix(),
        classes=np.array([str(n) for n in whole_numbers(fields["class"], "class", where)], object),
    )


def _tomogram_names(table: Path) -> dict[int, str]:
    """Number to path of the tomograms, from the map beside the table; empty where there is none."""
    maps = [table.with_suffix(suffix) for suffix in (".doc", ".vll")]
    path = next((path for path in maps if path.exists()), None)
    if path is None:
        return {}
    lines = [line.strip() for line in read_text(path).splitlines()]
    if path.suffix == ".vll":
        # A line may begin with a mark for the kind of entry, as in ``> /data/TS_01.mrc``.
        paths = [line.lstrip("*> ").strip() for line in lines if line and line[0] not in "#%"]
        return dict(enumerate(paths, 1))
    pairs = [line.split(None, 1) for line in lines if line]
    wrong = [pair for pair in pairs if len(pair) != 2 or not pair[0].isdigit()]
    if wrong:
        raise InputError(
            "a line must be a number and the path of a tomogram",
            where=str(path),
            found=" ".join(wrong[0])[:60],
        )
    return {int(number): name for number, name in pairs}


def _is_number(text: str) -> bool:
    """Whether Dynamo may have written it: MATLAB's numbers may be complex."""
    try:
        complex(text.replace("i", "j"))
    except ValueError:
        return False
    return True
