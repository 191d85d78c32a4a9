"""Subtomograms: reading and normalising the boxes that a particle table names."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halcmd.errors import DataError, InputError, first_few
from halcmd.formats.files import is_missing
from halcmd.formats.mrc import Volume, open_volume
from halcmd.formats.star_values import OnDemand
from halcmd.particles import Particles
from halcmd.pixel_size import differ, is_set, optics_values, resolve_pixel_size

Rows = NDArray[np.intp]

_MAX_OPEN_FILES = 256
_VOXELS_AT_A_TIME = 2**16  # in double precision: half a megabyte, which stays in a core's cache


@dataclass(frozen=True)
class Boxes:
    """The subtomograms of a particle table, read on demand.

    Attributes
    ----------
    box : int
        Edge in pixels.
    pixel_size : float
        Angstrom.
    contrast : str
        ``bright``, ``dark`` or ``unknown``.
    tilt_range : (float, float) or None
        Degrees; None where unknown.
    read : function of ndarray of int -> ndarray, shape (n, z, y, x), float32
        The boxes of these rows, each with zero mean and unit standard deviation. Raises DataError
        for NaN or constant boxes, naming the particle. Threads may call it at the same time.
    in_file_order : function of ndarray of int -> ndarray of int
        The places of these rows in the order in which their boxes stand in the files.
    """

    box: int
    pixel_size: float
    contrast: str
    tilt_range: tuple[float, float] | None
    read: Callable[[Rows], np.ndarray]
    in_file_order: Callable[[Rows], Rows]


def open_boxes(particles: Particles, *, pixel_size: float | None = None) -> Boxes:
    """The subtomograms that a table names.

    Parameters
    ----------
    particles : Particles
        With halImageName, or rlnImageName of one .mrc per particle.
    pixel_size : float, optional
        Wins over what table and headers say.

    Raises
    ------
    InputError
        There are no images, a file is missing, boxes differ in size, or pixel sizes contradict.
    """
    paths, files, numbers = _places(particles)
    opened = lru_cache(_MAX_OPEN_FILES)(lambda path: open_volume(Path(path)))
    box, header_size = _check_files(particles, paths, opened, files=files, numbers=numbers)
    size = _pixel_size(particles, header_size, pixel_size)

    def in_file_order(rows: Rows) -> Rows:
        return np.lexsort((numbers[rows], files[rows]))

    def read(rows: Rows) -> np.ndarray:
        out = np.empty((len(rows), box, box, box), dtype=np.float32)
        order = in_file_order(rows)
        file, number = files[rows[order]], numbers[rows[order]]
        # Boxes that follow one another in a file are one slice of its map.
        parted = (np.diff(file, prepend=-1) != 0) | (np.diff(number, prepend=-1) != 1)
        for places in np.split(np.arange(len(rows)), np.flatnonzero(parted))[1:]:
            first, last = number[places[0]], number[places[-1]]
            data = opened(paths[file[places[0]]]).data
            out[order[places]] = data[first - 1 : last] if data.ndim == 4 else data
        names = OnDemand(len(rows), lambda part: list(particles.ids[rows[part]]))
        return standardise(out, names=names)

    contrast = _one_value(particles, "halContrast")
    tilts = particles.number("halTiltMin"), particles.number("halTiltMax")
    known = np.isfinite(tilts[0]) & np.isfinite(tilts[1])
    tilt_range = (
        (float(np.min(tilts[0][known])), float(np.max(tilts[1][known]))) if known.any() else None
    )
    return Boxes(box, size, contrast, tilt_range, read, in_file_order)


def standardise(
    volumes: np.ndarray, *, names: Sequence[str], background: np.ndarray | None = None
) -> np.ndarray:
    """Boxes with zero mean and unit standard deviation, in place.

    Parameters
    ----------
    volumes : ndarray, shape (n, z, y, x), float32
        Any intensity scale; contrast is not changed.
    names : sequence of str
        For messages.
    background : ndarray, shape (z, y, x), bool, optional
        Voxels that define mean and standard deviation. Default: all.

    Raises
    ------
    DataError
        A box holds NaN or infinity, or is constant.
    """
    flat = volumes.reshape(len(volumes), -1)
    inside = None if background is None else np.flatnonzero(background)
    mean, spread, total = np.empty((3, len(flat)))
    step = max(_VOXELS_AT_A_TIME // flat.shape[1], 1)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for start in range(0, len(flat), step):
            rows = slice(start, start + step)
            total[rows] = 0.0 if inside is None else flat[rows].sum(axis=1, dtype=np.float64)
            mean[rows], spread[rows] = _normalise(flat[rows], inside)
    finite = np.isfinite(spread) & np.isfinite(total)
    if not finite.all():
        bad = [names[int(row)] for row in np.flatnonzero(~finite)]
        raise DataError(
            "a box holds voxels that are no numbers (NaN or infinity)",
            found=first_few(bad),
            hint="mend the volumes, or take these particles out of the table",
        )
    # Filtering leaves a constant box with the rounding errors of float32, about 1e-7 of its value.
    constant = spread <= 1e-6 * np.maximum(np.abs(mean), 1e-10)
    if constant.any():
        bad = [names[int(row)] for row in np.flatnonzero(constant)]
        raise DataError(
            "a box is constant",
            found=first_few(bad),
            hint="these places may be masked out or empty: take them out of the table",
        )
    return volumes


def _normalise(flat: np.ndarray, inside: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation, over all voxels or some, of boxes that are normalised in place."""
    centred = (flat if inside is None else flat[:, inside]).astype(np.float64)
    mean = centred.mean(axis=1)
    centred -= mean[:, None]
    spread = np.sqrt(np.einsum("ij,ij->i", centred, centred) / centred.shape[1])
    # In two parts, since a mean may be thousands of times the deviation: values near the first part
    # lose no digit to it.
    rounded = mean.astype(np.float32)
    flat -= rounded[:, None]
    flat -= (mean - rounded).astype(np.float32)[:, None]
    flat /= spread[:, None].astype(np.float32)
    return mean, spread


def _places(particles: Particles) -> tuple[list[str], Rows, Rows]:
    """Files; for each particle the place of its file among them, and its number there (``_place``).

    No name is kept: those of a million particles would take 100 MB.
    """
    files, numbers = np.empty((2, len(particles)), dtype=np.intp)
    known: dict[str, int] = {}
    for row, name in enumerate(image_names(particles)):
        numbers[row], path = _place(name)
        files[row] = known.setdefault(path, len(known))
    return list(known), files, numbers


def image_names(particles: Particles) -> Iterator[str]:
    """Where the box of each particle is: ``000012@stack.mrcs``, or a file.

    Raises
    ------
    InputError
        The table does not say.
    """
    for column in ("halImageName", "rlnImageName"):
        if particles.has(column):
            return particles.each(column)
    raise InputError(
        "this table names no subtomograms",
        where=str(particles.path),
        found="neither halImageName nor rlnImageName",
        hint="halcmd extract --i picks.star --tomograms tomograms.star --box 32 --o Extract/",
    )


def _place(name: str) -> tuple[int, str]:
    """Number (from 1) and file of ``000012@stack.mrcs``; number 0 for one volume per file."""
    number, at, path = name.rpartition("@")
    if not at:
        return 0, name
    if not number.isdigit() or int(number) < 1:
        raise InputError("an image name cannot be understood", found=name)
    return int(number), path


def _check_files(
    particles: Particles,
    paths: list[str],
    opened: Callable[[str], Volume],
    *,
    files: Rows,
    numbers: Rows,
) -> tuple[int, float | None]:
    """Edge and pixel size of the boxes, after a look at each file once."""
    lowest, highest = np.full(len(paths), np.iinfo(np.intp).max), np.zeros(len(paths), np.intp)
    np.minimum.at(lowest, files, numbers)
    np.maximum.at(highest, files, numbers)
    box, size, first = 0, None, ""
    for path, low, high in zip(paths, lowest, highest, strict=True):
        if is_missing(Path(path)):
            raise InputError(
                "there is no such file",
                where=f"{path}, named in {particles.path}",
                hint="run halcmd in the project folder, from where the table names its files"
                if not Path(path).is_absolute()
                else "were the subtomograms moved?",
            )
        volume = opened(path)
        where = f"{path}, named in {particles.path}"
        _check_kind(volume, int(low), int(high), where)
        shape = volume.data.shape[-3:]
        if len(set(shape)) > 1 or shape[0] % 2:
            raise InputError(
                "subtomograms must be cubes with an even edge",
                where=where,
                found=" x ".join(map(str, reversed(shape))),
                hint="halcmd extract --box with an even number",
            )
        if box and shape[0] != box:
            raise InputError(
                "subtomograms differ in size",
                where=where,
                found=f"{shape[0]} here, {box} in {first}",
                hint="extract all with the same --box",
            )
        if not box:
            box, size, first = shape[0], volume.pixel_size, path
    return box, size


def _check_kind(volume: Volume, lowest: int, highest: int, where: str) -> None:
    if volume.kind == "image_stack":
        raise InputError(
            "this is a stack of 2D images, not a subtomogram",
            where=where,
            hint="halcmd extract cuts volumes from the tomograms named in tomograms.star",
        )
    is_stack = volume.data.ndim == 4
    count = len(volume.data) if is_stack else 1
    if is_stack != (lowest > 0) or (is_stack and highest > count):
        raise InputError(
            "an image number does not fit its file",
            where=where,
            found=f"box {highest} of {count}" if is_stack else "N@ before a single volume",
        )


def _pixel_size(particles: Particles, header: float | None, option: float | None) -> float:
    optics = optics_values(particles, "rlnImagePixelSize")
    own = particles.number("halImagePixelSize")
    if np.isfinite(own).any():
        table, name = own, "halImagePixelSize"
    elif optics is not None:
        table, name = optics, "rlnImagePixelSize"
    else:
        table, name = particles.number("rlnPixelSize"), "rlnPixelSize"
    values = table[np.isfinite(table)]
    if len(values) and is_set(float(values.min())) and differ(values.min(), values.max()):
        raise InputError(
            "subtomograms differ in pixel size",
            where=str(particles.path),
            found=f"{name} from {values.min():g} to {values.max():g} A",
            hint="extract all with the same --angpix",
        )
    sources = [(name, float(values[0]) if len(values) else None), ("MRC header", header)]
    size, _ = resolve_pixel_size(
        "the subtomograms",
        sources,
        option=option,
        option_name="rlnImagePixelSize in the optics table,",
        where=str(particles.path),
    )
    return size


def _one_value(particles: Particles, column: str) -> str:
    values = sorted(set(particles.each(column, "unknown")))
    if len(values) > 1:
        raise InputError(
            "subtomograms differ in contrast",
            where=str(particles.path),
            found=f"{column} = {' and '.join(values)}",
            hint="extract all with the same --contrast",
        )
    return values[0]
