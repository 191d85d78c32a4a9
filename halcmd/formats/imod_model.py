"""IMOD models out: contours of points in the pixels of an image, as 3dmod reads them.

Binary, big-endian: IMOD's file format, V1.2 (bio3d.colorado.edu/imod/doc/binspec.html). The centre
of the first voxel is (0.5, 0.5, 0) (MatTomo). Without a chunk MINX the points belong to the image
whatever its origin.
"""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from halcmd import __version__
from halcmd.formats.files import atomic

FIRST_VOXEL = (0.5, 0.5, 0.0)
_NANOMETRE = -9
_OPEN_SCATTERED = 1 << 3 | 1 << 9
_MANY_CLIP_PLANES = 1 << 12  # of every model since IMOD 2.6
_SIZE = 6  # of a sphere, in pixels
_COLOURS = ((0.8, 0.8, 0.8), (0, 1, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 0.4, 0), (0.4, 0.6, 1))


def write_imod_model(
    path: Path, objects: Mapping[str, Sequence[np.ndarray]], *, pixel_size: float
) -> None:
    """Write a model of scattered points.

    Parameters
    ----------
    path : Path
        The .mod file.
    objects : mapping of str to sequence of ndarray, shape (n, 3), **xyz**
        Name of each object to its contours, in IMOD's pixels; may have none.
    pixel_size : float
        Angstrom.
    """
    there = [points for contours in objects.values() for points in contours]
    extent = np.ceil(np.concatenate(there).max(axis=0)).astype(int) + 1 if there else [1, 1, 1]
    parts = [_header(len(objects), [int(edge) for edge in extent], pixel_size)]
    for number, (name, contours) in enumerate(objects.items()):
        parts.append(_object(name, len(contours), _COLOURS[number % len(_COLOURS)]))
        for points in contours:
            parts.append(b"CONT" + struct.pack(">iIii", len(points), 0, 0, 0))
            parts.append(np.asarray(points, dtype=">f4").tobytes())
    with atomic(path) as temporary:
        temporary.write_bytes(b"".join(parts) + b"IEOF")


def _header(objects: int, extent: Sequence[int], pixel_size: float) -> bytes:
    """The 240 bytes before the first object: drawing defaults, pixel size in nanometres."""
    return struct.pack(
        ">8s128s3iiI4i3f3f5ifi4x3f",
        b"IMODV1.2",
        f"halcmd {__version__}".encode(),
        *extent,
        objects,
        _MANY_CLIP_PLANES,
        *(1, 1, 0, 255),  # drawn, model mode, black and white level
        *(0.0, 0.0, 0.0),  # offset
        *(1.0, 1.0, 1.0),  # scale
        *(0, -1, -1, 3, 128),  # current object, contour, point; resolution, threshold
        pixel_size / 10,
        _NANOMETRE,
        *(0.0, 0.0, 0.0),  # angles
    )


def _object(name: str, contours: int, colour: tuple[float, float, float]) -> bytes:
    return b"OBJT" + struct.pack(
        ">64s64xiIii3fi8Bii",
        name.encode("ascii", "replace")[:63],
        contours,
        _OPEN_SCATTERED,
        *(0, 1),  # axis, draw mode
        *colour,
        _SIZE,
        *(1, 3, 1, 1, 0, 0, 0, 0),  # symbol, its size, line widths and style, transparency
        *(0, 0),  # meshes, surfaces
    )
