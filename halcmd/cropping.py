"""Cutting boxes out of tomograms, upright or turned; rescaling and filtering them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.ndimage

from halcmd.errors import OptionError
from halcmd.subtomograms import standardise

_LOWPASS_EDGE = 0.1
_SPLINE_MARGIN = 12
"""Voxels around a box that its splines are fitted to; a further one counts less than 1e-6."""


@dataclass(frozen=True)
class Geometry:
    """Size of the boxes.

    Attributes
    ----------
    box : int
        Edge of the written boxes in pixels, even.
    binning : float
        Voxels of the tomogram per pixel of the box; not used where ``pixel_size`` is set.
    pixel_size : float or None
        Wanted pixel size of the boxes in Angstrom.
    edge : str
        What to do with boxes that reach out of the tomogram: ``pad``, ``drop`` or ``error``.
    """

    box: int
    binning: float = 1.0
    pixel_size: float | None = None
    edge: str = "pad"


@dataclass(frozen=True)
class Intensity:
    """Values of the boxes.

    Attributes
    ----------
    contrast : str
        Of the tomograms: ``auto``, ``dark`` or ``bright``. Boxes are written bright.
    normalise : str
        ``zscore`` or ``none``.
    background_radius : int
        Mean and deviation are taken outside it, pixels of the box; 0 = from the whole box.
    lowpass : float or None
        Angstrom.
    """

    contrast: str = "auto"
    normalise: str = "zscore"
    background_radius: int = 0
    lowpass: float | None = None


def check_options(geometry: Geometry, intensity: Intensity) -> None:
    """Raise OptionError where a setting makes no sense by itself."""
    if geometry.box % 2 or geometry.box < 4:
        raise OptionError(
            "--box must be an even number of pixels, at least 4",
            found=str(geometry.box),
            hint=f"--box {max(4, geometry.box + geometry.box % 2)}",
        )
    if geometry.pixel_size is not None and geometry.binning != 1.0:
        raise OptionError("--binning and --angpix exclude each other", hint="give one of them")
    if geometry.binning < 1.0:
        raise OptionError("--binning must be at least 1", found=f"{geometry.binning:g}")
    if not 0 <= intensity.background_radius <= geometry.box // 2:
        raise OptionError(
            "--bg-radius must lie within the box",
            found=f"{intensity.background_radius} for a box of {geometry.box}",
            hint=f"0, or up to {geometry.box // 2}",
        )


def finish_boxes(
    raw: np.ndarray,
    *,
    pixel_size: float,
    sign: float,
    geometry: Geometry,
    intensity: Intensity,
    names: Sequence[str],
) -> np.ndarray:
    """Finished boxes: rescaled, inverted, filtered, normalised.

    Parameters
    ----------
    raw : ndarray, shape (n, z, y, x), float32, cubic
        As cut out of the tomogram; may be overwritten.
    pixel_size : float
        Of the finished boxes, Angstrom.
    sign : float
        -1 turns dark protein bright.
    names : sequence of str
        Of the particles, for messages.

    Returns
    -------
    ndarray, shape (n, box, box, box), float32

    Raises
    ------
    DataError
        A box holds NaN or infinity, or is constant.
    """
    volumes = fourier_crop(raw, geometry.box)
    volumes *= np.float32(sign)
    if intensity.lowpass:
        volumes = lowpass(volumes, pixel_size=pixel_size, resolution=intensity.lowpass)
    radius = intensity.background_radius
    background = outside_radius(geometry.box, radius) if radius else None
    if intensity.normalise == "none":
        standardise(volumes.copy(), names=names)
        return volumes
    return standardise(volumes, names=names, background=background)


def crop(tomogram: np.ndarray, centre_zyx: np.ndarray, box: int) -> tuple[np.ndarray, float]:
    """A box around a voxel, filled with the mean of its inside voxels where it reaches out.

    Parameters
    ----------
    tomogram : ndarray, shape (z, y, x)
        May be memory-mapped.
    centre_zyx : ndarray, shape (3,), int
        Centre voxel; it comes to lie at index ``box // 2``, as in RELION.
    box : int
        Edge in voxels.

    Returns
    -------
    box : ndarray, shape (box, box, box), float32
        All zero where no voxel of it lies inside.
    padded : float
        Share of its voxels that lie outside the tomogram.
    """
    start = np.asarray(centre_zyx) - box // 2
    low = np.maximum(start, 0)
    high = np.minimum(start + box, tomogram.shape)
    if np.any(high <= low):
        return np.zeros((box, box, box), dtype=np.float32), 1.0
    inside = np.asarray(
        tomogram[low[0] : high[0], low[1] : high[1], low[2] : high[2]], dtype=np.float32
    )
    if inside.shape == (box, box, box):
        return inside, 0.0
    out = np.full((box, box, box), inside.mean(dtype=np.float64), dtype=np.float32)
    at = low - start
    to = high - start
    out[at[0] : to[0], at[1] : to[1], at[2] : to[2]] = inside
    return out, 1.0 - inside.size / box**3


def crop_turned(
    tomogram: np.ndarray, centre_zyx: np.ndarray, box: int, rotation: np.ndarray
) -> np.ndarray:
    """A box with its own axes at an exact position, (box, box, box), float32; cubic splines.

    Parameters
    ----------
    tomogram : ndarray, shape (z, y, x)
        May be memory-mapped.
    centre_zyx : ndarray, shape (3,), float
        Centre in voxels; it comes to lie at index ``box // 2``.
    box : int
        Edge in voxels.
    rotation : ndarray, shape (3, 3)
        From the axes of the box to those of the tomogram, for **xyz** columns.

    Returns
    -------
    ndarray
        Voxels outside the tomogram hold the mean of the others; all zero where none is inside.
    """
    points = turned_points(centre_zyx, box, rotation)
    size = np.array(tomogram.shape)
    inside = _inside(points, size)
    if not inside.any():
        return np.zeros((box, box, box), dtype=np.float32)
    low = np.maximum(np.floor(points.min(axis=0)).astype(int) - _SPLINE_MARGIN, 0)
    high = np.minimum(np.ceil(points.max(axis=0)).astype(int) + _SPLINE_MARGIN + 1, size)
    region = np.asarray(tomogram[tuple(map(slice, low, high))], dtype=np.float32)
    values = scipy.ndimage.map_coordinates(
        region, (points - low).T, order=3, mode="mirror", output=np.float32
    )
    values[~inside] = values[inside].mean(dtype=np.float64)
    return np.asarray(values.reshape(box, box, box))


def turned_points(centre_zyx: np.ndarray, box: int, rotation: np.ndarray) -> np.ndarray:
    """Where the voxels of a turned box lie, shape (box**3, 3), **zyx**, in voxels of the tomogram.

    Parameters as for ``crop_turned``.
    """
    axis = np.arange(box) - box // 2
    offsets_zyx = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(centre_zyx + offsets_zyx @ rotation[::-1, ::-1].T)


def turned_padded_fraction(
    centres_zyx: np.ndarray, box: int, rotations: np.ndarray, size_zyx: np.ndarray
) -> np.ndarray:
    """Share of each turned box that lies outside the tomogram, shape (n,), float64.

    Parameters
    ----------
    centres_zyx : ndarray, shape (n, 3), float
        Voxels.
    rotations : ndarray, shape (n, 3, 3)
        As for ``crop_turned``.
    size_zyx : ndarray, shape (3,), int
        Of the tomogram, voxels.
    """
    shares = np.zeros(len(centres_zyx))
    reach = np.sqrt(3) * (box // 2)
    near = np.any((centres_zyx < reach) | (centres_zyx > size_zyx - 1 - reach), axis=1)
    for row in np.flatnonzero(near):
        points = turned_points(centres_zyx[row], box, rotations[row])
        shares[row] = 1.0 - _inside(points, size_zyx).mean()
    return shares


def _inside(points_zyx: np.ndarray, size_zyx: np.ndarray) -> np.ndarray:
    """Whether the voxel nearest to each point is one of the tomogram, shape (n,), bool."""
    return np.asarray(np.all((points_zyx >= -0.5) & (points_zyx < size_zyx - 0.5), axis=1))


def padded_fraction(centres: np.ndarray, box: int, size: np.ndarray) -> np.ndarray:
    """Share of each box that lies outside the tomogram, shape (n,), float64.

    Parameters
    ----------
    centres : ndarray, shape (n, 3), int
        Centre voxels.
    box : int
        Edge in voxels.
    size : ndarray, shape (3,), int
        Of the tomogram, voxels, axes in the order of ``centres``.
    """
    start = centres - box // 2
    low, high = np.maximum(start, 0), np.minimum(start + box, size)
    return np.asarray(1.0 - np.prod(np.clip(high - low, 0, None), axis=1) / box**3)


def fourier_crop(volumes: np.ndarray, box: int) -> np.ndarray:
    """Boxes rescaled to fewer pixels by cropping their Fourier transform; the mean is kept.

    Parameters
    ----------
    volumes : ndarray, shape (n, z, y, x), float32, cubic
        Even edge.
    box : int
        New even edge, not above the old one. The centre stays at index ``box // 2``.

    Returns
    -------
    ndarray, shape (n, box, box, box), float32
    """
    old = volumes.shape[-1]
    if box == old:
        return volumes
    half = box // 2
    # The Nyquist plane of the small box is left out: it has no partner in the large one.
    keep = np.r_[0:half, old - half + 1 : old]
    place = np.r_[0:half, half + 1 : box]
    # One axis after the other, so that the later transforms are of what is kept only.
    spectrum = scipy.fft.rfft(volumes, axis=3)[..., :half]
    spectrum = scipy.fft.fft(spectrum, axis=2)[:, :, keep]
    spectrum = scipy.fft.fft(spectrum, axis=1)[:, keep]
    small = np.zeros((len(volumes), box, box, half + 1), dtype=spectrum.dtype)
    small[:, place[:, None], place, :half] = spectrum
    out = scipy.fft.irfftn(small, s=(box, box, box), axes=(1, 2, 3))
    out *= (box / old) ** 3
    return np.asarray(out, dtype=np.float32)


def lowpass(volumes: np.ndarray, *, pixel_size: float, resolution: float) -> np.ndarray:
    """Boxes without detail finer than ``resolution`` Angstrom (raised-cosine edge, 10 % wide).

    Parameters
    ----------
    volumes : ndarray, shape (n, z, y, x), float32, cubic
        Boxes of ``pixel_size`` Angstrom.
    """
    box = volumes.shape[-1]
    axis, half = np.fft.fftfreq(box, pixel_size), np.fft.rfftfreq(box, pixel_size)
    frequency = np.sqrt(
        axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + half[None, None, :] ** 2
    )
    cut = 1.0 / resolution
    ramp = np.clip((frequency - cut) / (_LOWPASS_EDGE * cut), 0.0, 1.0)
    window = 0.5 * (1.0 + np.cos(np.pi * ramp))
    spectrum = scipy.fft.rfftn(volumes, axes=(1, 2, 3)) * window.astype(np.float32)
    return np.asarray(
        scipy.fft.irfftn(spectrum, s=(box, box, box), axes=(1, 2, 3)), dtype=np.float32
    )


def outside_radius(box: int, radius: float) -> np.ndarray:
    """Voxels further than ``radius`` pixels from the box centre, (z, y, x), bool.

    Source: RELION, image.cpp, normalise (centre at index box / 2, distance > radius).
    """
    axis = np.arange(box) - box // 2
    squared = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2
    return np.asarray(squared > radius**2)
