"""Surroundings for the label page: a crop of the tomogram around each particle."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from halcmd.console import log
from halcmd.errors import HalcmdError, InputError
from halcmd.formats.mrc import Volume, open_volume
from halcmd.particles import Particles
from halcmd.pixel_size import is_set

_SLAB = 0.25
"""Thickness of the slab that is averaged along z, in boxes."""
_FEW, _SMALL, _LARGE = 300, 64, 128
"""Up to so many particles have crops of 128 pixels, more of them such of 64."""

Floats = NDArray[np.float32]
Rows = NDArray[np.intp]


def context_edge(particles: int) -> int:
    """The most pixels along the edge of a crop."""
    return _LARGE if particles <= _FEW else _SMALL


def crops(
    particles: Particles, rows: Rows, *, box_edge: float, width: float, pixels: int
) -> list[Floats | None]:
    """The middle of the tomogram around each particle: a slab along z, averaged and binned.

    Parameters
    ----------
    particles : Particles
        With halTomogramFile.
    rows : ndarray of int
        Which.
    box_edge : float
        Edge of the boxes in Angstrom.
    width : float
        Edge of a crop, in boxes.
    pixels : int
        The most pixels along the edge of a crop.

    Returns
    -------
    list of (ndarray, shape (y, x), or None)
        None where a particle has no position, or its tomogram cannot be opened.
    """
    opened = lru_cache(None)(_opened)
    positions, sizes = particles.positions, particles.number("halTomogramPixelSize")
    files = particles.text("halTomogramFile")
    found: list[Floats | None] = []
    for row in rows:
        volume = opened(files[row])
        size = sizes[row] if is_set(float(sizes[row])) else volume and volume.pixel_size
        if volume is None or not size or not np.isfinite(positions[row]).all():
            found.append(None)
            continue
        centre = np.rint(positions[row, ::-1] / size).astype(int)
        edge = max(round(width * box_edge / size), 2)
        depth = max(round(_SLAB * box_edge / size), 1)
        found.append(_crop(volume.data, centre, depth=depth, edge=edge, pixels=pixels))
    missing = sum(crop is None for crop in found)
    if missing:
        log.info(f"labels.html: {missing:,} of {len(rows):,} particles have no surroundings")
    return found


def _opened(path: str) -> Volume | None:
    """The tomogram, or None, with the reason in the log."""
    try:
        volume = open_volume(Path(path))
        if volume.data.ndim != 3:
            raise InputError("this is no tomogram", where=path)
    except HalcmdError as error:
        log.warning(f"labels.html: no surroundings from {path}: {error.message}")
        return None
    return volume


def _crop(
    tomogram: np.ndarray, centre_zyx: np.ndarray, *, depth: int, edge: int, pixels: int
) -> Floats | None:
    """A slab around a voxel, averaged along z and binned; None where nothing of it lies inside."""
    binning = -(-edge // pixels)
    edge = edge // binning * binning
    wanted = np.array([depth, edge, edge])
    start = centre_zyx - wanted // 2
    low, high = np.maximum(start, 0), np.minimum(start + wanted, tomogram.shape)
    if np.any(high <= low):
        return None
    inside = np.asarray(tomogram[tuple(map(slice, low, high))], dtype=np.float32).mean(axis=0)
    if not np.isfinite(inside).all():
        return None
    plane = np.full((edge, edge), inside.mean(dtype=np.float64), dtype=np.float32)
    at, to = (low - start)[1:], (high - start)[1:]
    plane[at[0] : to[0], at[1] : to[1]] = inside
    count = edge // binning
    return np.asarray(plane.reshape(count, binning, count, binning).mean(axis=(1, 3)))


def sign_of(planes: Sequence[Floats | None], boxes: Sequence[Floats], width: float) -> float:
    """-1 where the crops of a tomogram are dark where their boxes are bright, else 1.

    Parameters
    ----------
    planes : sequence of (ndarray, shape (y, x), or None)
        Crops.
    boxes : sequence of ndarray, shape (edge, edge, edge)
        Of the same particles, with the axes of the tomogram.
    width : float
        Edge of a crop, in boxes.
    """
    total = 0.0
    for plane, box in zip(planes, boxes, strict=True):
        if plane is None:
            continue
        edge, middle = len(box), len(box) // 2
        half = max(round(_SLAB * edge) // 2, 1)
        scale = len(plane) / (width * edge)
        axis = (np.arange(edge) - middle) * scale + (len(plane) - 1) / 2
        seen = map_coordinates(plane, np.meshgrid(axis, axis, indexing="ij"), order=1)
        shown = box[middle - half : middle + half].mean(axis=0)
        total += float(np.mean((seen - seen.mean()) * (shown - shown.mean())))
    return -1.0 if total < 0 else 1.0
