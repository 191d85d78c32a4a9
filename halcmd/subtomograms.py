"""Subtomograms: reading and normalising the boxes that a particle table names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from halcmd.errors import DataError, InputError, first_few
from halcmd.formats.mrc import Volume, open_volume
from halcmd.particles import Particles
from halcmd.pixel_size import differ, is_set, optics_values, resolve_pixel_size

_MAX_OPEN_FILES = 256


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
        for NaN or constant boxes, naming the particle.
    """

    box: int
    pixel_size: float
    contrast: str
    tilt_range: tuple[float, float] | None
    read: Callable[[np.ndarray], np.ndarray]


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
    names = _image_names(particles)
    places = [_place(name) for name in names]
    volumes = _Volumes()
    numbered = np.array([number for number, _ in places])
    paths = [path for _, path in places]
    box, header_size = _check_files(particles, paths, numbered, volumes)
    size = _pixel_size(particles, header_size, pixel_size)

    def read(rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(rows), box, box, box), dtype=np.float32)
        for place, row in enumerate(rows):
            data = volumes.open(paths[row]).data
            out[place] = data[numbered[row] - 1] if data.ndim == 4 else data
        return standardise(out, names=[str(particles.ids[row]) for row in rows])

    contrast = _one_value(particles, "halContrast")
    tilts = particles.number("halTiltMin"), particles.number("halTiltMax")
    known = np.isfinite(tilts[0]) & np.isfinite(tilts[1])
    tilt_range = (
        (float(np.min(tilts[0][known])), float(np.max(tilts[1][known]))) if known.any() else None
    )
    return Boxes(box, size, contrast, tilt_range, read)


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
    measured = flat if background is None else flat[:, np.flatnonzero(background)]
    with np.errstate(invalid="ignore", over="ignore"):
        centred = measured.astype(np.float64)
        mean = centred.mean(axis=1)
        centred -= mean[:, None]
        spread = np.sqrt(np.einsum("ij,ij->i", centred, centred) / centred.shape[1])
        finite = np.isfinite(flat.sum(axis=1, dtype=np.float64))
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
    # In two parts, since a mean may be thousands of times the deviation: values near the first part
    # lose no digit to it.
    rounded = mean.astype(np.float32)
    flat -= rounded[:, None]
    flat -= (mean - rounded).astype(np.float32)[:, None]
    flat /= spread[:, None].astype(np.float32)
    return volumes


class _Volumes:
    """Open files, the most recent ones kept open."""

    def __init__(self) -> None:
        self.open_files: dict[str, Volume] = {}

    def open(self, path: str) -> Volume:
        if path not in self.open_files:
            if len(self.open_files) >= _MAX_OPEN_FILES:
                self.open_files.pop(next(iter(self.open_files)))
            self.open_files[path] = open_volume(Path(path))
        return self.open_files[path]


def _image_names(particles: Particles) -> np.ndarray:
    for column in ("halImageName", "rlnImageName"):
        if particles.has(column):
            return particles.text(column)
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
    particles: Particles, paths: list[str], numbers: np.ndarray, volumes: _Volumes
) -> tuple[int, float | None]:
    """Edge and pixel size of the boxes, after a look at each file once."""
    row_of: dict[str, list[int]] = {}
    for row, path in enumerate(paths):
        row_of.setdefault(path, []).append(row)
    box, size, first = 0, None, ""
    for path, rows in row_of.items():
        volume = volumes.open(path)
        where = f"{path}, named in {particles.path}"
        _check_kind(volume, numbers[rows], where)
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


def _check_kind(volume: Volume, numbers: np.ndarray, where: str) -> None:
    if volume.kind == "image_stack":
        raise InputError(
            "this is a stack of 2D images, not a subtomogram",
            where=where,
            hint="halcmd extract cuts volumes from the tomograms named in tomograms.star",
        )
    is_stack = volume.data.ndim == 4
    count = len(volume.data) if is_stack else 1
    if is_stack != bool(numbers.all()) or (is_stack and numbers.max() > count):
        raise InputError(
            "an image number does not fit its file",
            where=where,
            found=f"box {numbers.max()} of {count}" if is_stack else "N@ before a single volume",
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
    values = sorted(set(particles.text(column, "unknown")))
    if len(values) > 1:
        raise InputError(
            "subtomograms differ in contrast",
            where=str(particles.path),
            found=f"{column} = {' and '.join(values)}",
            hint="extract all with the same --contrast",
        )
    return str(values[0])
