"""Volumes for the label page: few enough voxels for its size, one byte each."""

import base64
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from halcmd.cropping import fourier_crop
from halcmd.subtomograms import Boxes

LARGEST_FILE = 30_000_000
"""Bytes of a page: what a browser opens at once, and a mail server may still take."""

_LARGEST_EDGE = 64
_PROGRAM = 100_000
_FACTS = 1_000
"""Bytes of script and style, and of what is said of a particle, at most."""
_CLIPPED = (0.05, 99.95)  # percentiles

Floats = NDArray[np.float32]
Rows = NDArray[np.intp]


def edge_that_fits(box: int, volumes: int, *, particles: int, context_pixels: int) -> int:
    """Edge of the volumes on the page: that of the boxes, or the largest even one that fits.

    Parameters
    ----------
    box : int
        Edge of the boxes.
    volumes : int
        How many are shown, references included.
    particles : int
        How many are asked for.
    context_pixels : int
        Pixels of a crop of the tomogram.
    """
    left = LARGEST_FILE - _PROGRAM - particles * (_FACTS + in_base64(context_pixels))
    edges = range(min(box, _LARGEST_EDGE) // 2 * 2, 8, -2)
    return next((edge for edge in edges if volumes * in_base64(edge**3) <= left), 8)


def in_base64(count: int) -> int:
    """Bytes of text that so many bytes take."""
    return 4 * -(-count // 3)


def read_reduced(boxes: Boxes, rows: Rows, edge: int) -> Floats:
    """The boxes of these rows with fewer pixels, shape (n, edge, edge, edge).

    Fourier-cropped where they are larger; a batch of them is in memory at full size.
    """
    edge = min(edge, boxes.box)
    out = np.empty((len(rows), edge, edge, edge), dtype=np.float32)
    for part in _parts(len(rows), max(2**22 // boxes.box**3, 1)):
        out[part] = fourier_crop(boxes.read(rows[part]), edge)
    return out


def _parts(count: int, step: int) -> Iterator[slice]:
    for start in range(0, count, step):
        yield slice(start, start + step)


def as_text(values: NDArray[np.floating]) -> str:
    """Values as bytes (the lowest 0, the highest 255; some in a thousand are clipped), in base64.

    Axes are in C order: x runs fastest.
    """
    low, high = np.percentile(values, _CLIPPED)
    scaled = (values - low) * (255.0 / max(high - low, 1e-12))
    grey = np.rint(np.clip(scaled, 0.0, 255.0)).astype(np.uint8)
    return base64.b64encode(grey.tobytes()).decode("ascii")
