"""IMOD models (.mod): points of all contours in pixels.

The centre of the first voxel is (0.5, 0.5, 0) (MatTomo). Binary, big-endian, in chunks of four
letters (IMOD's file format): OBJT and CONT stand without a length, others are skipped by theirs.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.formats.imod_model import FIRST_VOXEL
from halcmd.formats.pick_file import PickFile
from halcmd.picks.picks import VOXELS, Picks, Reading, source_table

_ID, _MODEL, _OBJECT, _MESH = 8, 232, 176, 16
_PIXEL_SIZE = 216
_NANOMETRE, _ANGSTROM = -9, -10


class _Contour(NamedTuple):
    """Points of one contour, shape (n, 3), **xyz**, and what they belong to (numbers from 1)."""

    object: int
    name: str
    contour: int
    points: np.ndarray


def recognises(file: PickFile) -> bool:
    """Whether the file begins as IMOD's models do."""
    return file.data[:4] == b"IMOD"


def read(file: PickFile) -> Picks:
    """Picks in voxels of the image that the model belongs to; objects are classes.

    Raises
    ------
    InputError
        The file is no model, is cut off, or has no points.
    """
    where = str(file.path)
    if not recognises(file):
        raise InputError("this is no IMOD model", where=where, hint="a file that 3dmod saved")
    try:
        contours = list(_contours(file.data, where))
    except struct.error as error:
        raise InputError(
            "this IMOD model is cut off", where=where, found=f"{len(file.data):,} bytes"
        ) from error
    points = np.concatenate([c.points for c in contours] or [np.zeros((0, 3))]).astype(np.float64)
    if not len(points):
        raise InputError("this IMOD model has no points", where=where)
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise InputError("a point is not finite", where=f"{where}, point {bad[0] + 1}")
    contours = [contour for contour in contours if len(contour.points)]
    counts = [len(contour.points) for contour in contours]
    classes = _classes({contour.object: contour.name for contour in contours}, where)
    fields = {
        "object": np.repeat([str(c.object) for c in contours], counts).tolist(),
        "contour": np.repeat([str(c.contour) for c in contours], counts).tolist(),
    }
    fields |= {axis: [f"{v:.7g}" for v in points[:, n]] for n, axis in enumerate("xyz")}
    return Picks(
        path=file.path,
        producer="imod",
        particles=source_table(fields, file.path),
        tomograms=np.full(len(points), "", dtype=object),
        coordinates=points,
        readings=(_reading(file.data, len(points)),),
        origin=np.array(FIRST_VOXEL),
        classes=np.repeat([classes[c.object] for c in contours], counts).astype(object),
    )


def _classes(names: dict[int, str], where: str) -> dict[int, str]:
    """Number of each object to its class: the name, with the number where it stands already."""
    classes: dict[int, str] = {}
    for number, name in names.items():
        found = name
        while found in classes.values() or (found != name and found in names.values()):
            found = f"{found}_{number}"
        if found != name:
            log.info(f"{where}: object {number} is a second {name} and becomes class {found}")
        classes[number] = found
    return classes


def _contours(data: bytes, where: str) -> Iterator[_Contour]:
    """The contours of all objects, in order."""
    at = _ID + _MODEL
    objects = contours = 0
    name = ""
    while at < len(data) and data[at : at + 4] != b"IEOF":
        kind = data[at : at + 4]
        at += 4
        if kind == b"OBJT":
            objects, contours = objects + 1, 0
            text = struct.unpack_from(">64s", data, at)[0].split(b"\0")[0].decode("latin-1")
            name = "_".join(text.split()) or f"object_{objects}"
            at += _OBJECT
        elif kind == b"CONT":
            contours += 1
            (count,) = struct.unpack_from(">i", data, at)
            at += 16
            if count < 0 or at + 12 * count > len(data):
                raise InputError(
                    "this IMOD model is cut off",
                    where=f"{where}, object {objects}, contour {contours}",
                    found=f"{count:,} points announced",
                )
            points = np.frombuffer(data, ">f4", 3 * count, at).reshape(count, 3)
            at += 12 * count
            yield _Contour(objects, name, contours, points)
        elif kind == b"MESH":
            vertices, indices = struct.unpack_from(">2i", data, at)
            at += _MESH + 12 * vertices + 4 * indices
        else:
            (length,) = struct.unpack_from(">i", data, at)
            at += 4 + max(length, 0)


def _reading(data: bytes, count: int) -> Reading:
    """The pixel size of the header, where 3dmod had one of the image; voxels otherwise."""
    size, units = struct.unpack_from(">fi", data, _PIXEL_SIZE)
    scale = {_NANOMETRE: 10.0, _ANGSTROM: 1.0}.get(units)
    if scale is None or not np.isfinite(size) or size <= 0:
        return VOXELS
    return Reading("voxels of the image", "IMOD header", np.full(count, size * scale))
