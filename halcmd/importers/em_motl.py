"""Motive lists of av3 and the TOM toolbox (.em): 20 numbers for each particle, voxels from 1.

Rows, counted from 1: 1 score, 4 subtomogram, 5 tomogram, 6 object, 8 to 10 position, 11 to 13 shift
(added), 17 to 19 phi, psi, theta, 20 class.
"""

import struct

import numpy as np
from scipy.spatial.transform import Rotation

from halcmd.errors import InputError
from halcmd.formats.pick_file import PickFile
from halcmd.importers._text_rows import (
    angles_or_none,
    class_names,
    column_numbers,
    tomogram_numbers,
)
from halcmd.picks.picks import Picks, source_table

_HEADER_BYTES = 512
_ROWS = 20
_FLOAT32 = 5
# The first byte names the machine that wrote the file: 6 is a PC, 3 and 5 are big-endian.
_BIG_ENDIAN = (3, 5)
_FIELDS = (
    *("score", "x_template", "y_template", "subtomogram", "tomogram", "object", "halfset"),
    *("x", "y", "z", "x_shift", "y_shift", "z_shift", "x_shift_before", "y_shift_before"),
    *("z_shift_before", "phi", "psi", "theta", "class"),
)


def recognises(file: PickFile) -> bool:
    """Whether the header is that of an EM file with 20 numbers in each line."""
    if file.text or len(file.data) < _HEADER_BYTES:
        return False
    kind, (columns, rows, depth) = _header(file.data)
    return kind in {2, 4, _FLOAT32, 9} and columns == _ROWS and rows > 0 and depth in {0, 1}


def read(file: PickFile) -> Picks:
    """Picks in voxels of their tomogram, with shifts, class and orientation.

    Raises
    ------
    InputError
        The file is cut off, of another kind, or a coordinate or shift is no number.
    """
    where = str(file.path)
    if not recognises(file):
        raise InputError("this is no motive list", where=where, hint="an .em file of 20 x N")
    kind, (columns, rows, _) = _header(file.data)
    if kind != _FLOAT32:
        raise InputError(
            "a motive list must hold 32 bit floats", where=where, found=f"EM data type {kind}"
        )
    needed = _HEADER_BYTES + 4 * columns * rows
    if len(file.data) != needed:
        raise InputError(
            "this motive list is not of the size that its header announces",
            where=where,
            found=f"{len(file.data):,} bytes instead of {needed:,}",
            hint="copy it again",
        )
    order = ">" if file.data[0] in _BIG_ENDIAN else "<"
    values = np.frombuffer(file.data, f"{order}f4", offset=_HEADER_BYTES).reshape(rows, columns)
    fields = {name: [_text(v) for v in values[:, n]] for n, name in enumerate(_FIELDS)}
    angles = angles_or_none(fields, ("phi", "theta", "psi"), where)
    rotations = None
    if angles is not None:
        # TOM turns the reference by phi about z, theta about x, psi about z, axes fixed.
        rotations = Rotation.from_euler("zxz", angles, degrees=True).as_matrix()
    return Picks(
        path=file.path,
        producer="em",
        particles=source_table(fields, file.path),
        tomograms=tomogram_numbers(fields["tomogram"], "tomogram", where),
        coordinates=column_numbers(fields, ("x", "y", "z"), where),
        origin=np.ones(3),
        shifts=column_numbers(fields, ("x_shift", "y_shift", "z_shift"), where),
        shifts_in_pixels=True,
        rotations=rotations,
        classes=class_names(fields["class"]),
    )


def _header(data: bytes) -> tuple[int, tuple[int, int, int]]:
    """Data type, and numbers along x, y, z."""
    order = ">" if data[0] in _BIG_ENDIAN else "<"
    x, y, z = struct.unpack_from(f"{order}3i", data, 4)
    return data[3], (x, y, z)


def _text(value: np.float32) -> str:
    """The shortest text that means this number: 24 for 24.0."""
    return str(int(value)) if value == np.round(value) and abs(value) < 2**24 else str(value)
