"""One resolver for positions: any pick becomes Angstrom from the centre of the first voxel.

Rules: docs/coordinates.md. What was taken from where is logged for every tomogram.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.picks.picks import TILT_SERIES, Picks, Reading
from halcmd.picks.placement import Placement, check_placements, inside
from halcmd.picks.tomograms import Tomogram
from halcmd.pixel_size import differ

_UNIT_WORDS = {
    "angstrom": "Angstrom from the first voxel",
    "centred_angstrom": "Angstrom from the centre",
    "normalised": "0..1 of the tomogram",
}


@dataclass(frozen=True)
class Placed:
    """Where the picks of one or several files are.

    Attributes
    ----------
    positions : ndarray, shape (n, 3), float64, **xyz**, Angstrom
        From the centre of the first voxel, after shifts; ``nan`` in tomograms that are not there.
    shifts : ndarray, shape (n, 3), float64, **xyz**, Angstrom, or None
        What was added to the coordinates of the file; None where it has no shifts.
    rotations : ndarray, shape (n, 3, 3), or None
        From the reference to the particle, for **xyz** columns; None where a file has none.
    """

    positions: np.ndarray
    shifts: np.ndarray | None
    rotations: np.ndarray | None


def resolve_all(
    files: Sequence[Picks],
    names: np.ndarray,
    tomograms: Mapping[str, Tomogram],
    *,
    coords_pixel_size: float | None = None,
    apply_origins: bool = True,
) -> Placed:
    """Where the picks of all files are, one below the other; see ``resolve_positions``."""
    ends = np.cumsum([len(picks.particles) for picks in files])
    parts = [
        resolve_positions(
            picks,
            own,
            tomograms,
            coords_pixel_size=coords_pixel_size,
            apply_origins=apply_origins,
        )
        for picks, own in zip(files, np.split(names, ends[:-1]), strict=True)
    ]
    return Placed(
        np.concatenate([part.positions for part in parts]),
        _joined([part.shifts for part in parts]),
        _joined([part.rotations for part in parts]),
    )


def resolve_positions(
    picks: Picks,
    names: np.ndarray,
    tomograms: Mapping[str, Tomogram],
    *,
    coords_pixel_size: float | None = None,
    apply_origins: bool = True,
) -> Placed:
    """Where the picks of one file are.

    Parameters
    ----------
    picks, names, tomograms, coords_pixel_size, apply_origins
        As for ``place``. Picks of other tomograms get ``nan``.

    Raises
    ------
    InputError
        Several readings fit, or all picks of a tomogram lie outside it.
    """
    positions = np.full_like(picks.coordinates, np.nan)
    shifts = np.zeros_like(positions) if apply_origins and picks.shifts is not None else None
    placements = [
        *place(
            picks,
            names,
            tomograms,
            coords_pixel_size=coords_pixel_size,
            apply_origins=apply_origins,
        )
    ]
    check_placements(placements, producer=picks.producer, where=str(picks.path))
    for placed in placements:
        positions[placed.rows] = placed.positions
        if shifts is not None and placed.shifts is not None:
            shifts[placed.rows] = placed.shifts
    return Placed(positions, shifts, picks.rotations)


def place(
    picks: Picks,
    names: np.ndarray,
    tomograms: Mapping[str, Tomogram],
    *,
    coords_pixel_size: float | None = None,
    apply_origins: bool = True,
) -> Iterator[Placement]:
    """The picks of each tomogram, placed in it.

    Parameters
    ----------
    picks : Picks
        As read.
    names : ndarray, shape (n,), object of str
        Normalised tomogram name of each pick.
    tomograms : mapping of str to Tomogram
        By normalised name; picks of others are left out.
    coords_pixel_size : float, optional
        Pixel size of the coordinates in Angstrom; beats what the file says.
    apply_origins : bool
        Add the shifts that the file gives.

    Raises
    ------
    InputError
        Several readings fit.
    """
    for name in dict.fromkeys(names):
        if name not in tomograms:
            continue
        rows = np.flatnonzero(names == name)
        tomogram = tomograms[name]
        sizes, words = _sizes(picks, rows, tomogram, coords_pixel_size)
        positions = _unshifted(picks, rows, tomogram, sizes)
        shifts = None
        if apply_origins and picks.shifts is not None:
            stated = picks.shifts[rows]
            shifts = stated * sizes[:, None] if picks.shifts_in_pixels else stated
            positions = positions + shifts
            unit = "px" if picks.shifts_in_pixels else "A"
            words += f", shifts applied (up to {np.abs(stated).max():.3g} {unit})"
        else:
            words += ", shifts none" if picks.shifts is None else ", shifts left out"
        scale = float(sizes[0]) if picks.unit == "voxel" else None
        yield Placement(tomogram, rows, positions, words, scale, shifts)


def _joined(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    there = [part for part in parts if part is not None]
    return np.concatenate(there) if len(there) == len(parts) else None


def _unshifted(picks: Picks, rows: np.ndarray, tomogram: Tomogram, sizes: np.ndarray) -> np.ndarray:
    """Positions without shifts, Angstrom.

    Half the tomogram is half of its size in pixels of the tilt series (RELION, tomogram_set.cpp).
    """
    coordinates: np.ndarray = picks.coordinates[rows]
    if picks.unit == "angstrom":
        return coordinates
    if picks.unit == "centred_angstrom":
        return np.asarray(coordinates + tomogram.extent_xyz / 2.0)
    if picks.unit == "normalised":
        return np.asarray(coordinates * tomogram.extent_xyz)
    return _from_pixels(picks, rows, sizes)


def _from_pixels(picks: Picks, rows: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    origin = np.broadcast_to(picks.origin, picks.coordinates.shape)[rows]
    return np.asarray((picks.coordinates[rows] - origin) * sizes[:, None])


def _sizes(
    picks: Picks, rows: np.ndarray, tomogram: Tomogram, option: float | None
) -> tuple[np.ndarray, str]:
    """Angstrom per pixel of the coordinates for each row, and words for the log."""
    if picks.unit != "voxel":
        return np.ones(len(rows)), _UNIT_WORDS[picks.unit]
    readings = [(r, s) for r in picks.readings if (s := _reading(r, rows, tomogram)) is not None]
    if option is not None:
        for reading, sizes in readings[:1]:
            if reading.source is not None and differ(option, float(sizes[0])):
                log.warning(
                    f"{picks.path}: --coords-angpix {option:g} A wins over {reading.source} = "
                    f"{sizes[0]:g} A"
                )
        words = f"pixels of {option:g} A (--coords-angpix), {origin_words(picks)}"
        return np.full(len(rows), option), words
    different: list[tuple[Reading, np.ndarray]] = []
    for reading, sizes in readings:
        if all(differ(float(sizes[0]), float(other[0])) for _, other in different):
            different.append((reading, sizes))
    if len(different) > 1:
        return _fitting(picks, rows, tomogram, different)
    reading, sizes = different[0]
    _check_agreement(picks, reading, sizes, tomogram)
    return sizes, _words(picks, reading, sizes, tomogram)


def _check_agreement(picks: Picks, reading: Reading, sizes: np.ndarray, tomogram: Tomogram) -> None:
    """Raise InputError where two set sources state different sizes of the same pixel."""
    found = reading.contradiction
    series = tomogram.tilt_series_pixel_size
    if reading.words == TILT_SERIES.words and series and differ(series, float(sizes[0])):
        found = f"{reading.source} = {sizes[0]:g} A, tomograms.star = {series:g} A"
    if found is not None:
        raise InputError(
            "two pixel sizes of the coordinates contradict each other",
            where=f"{picks.path}, tomogram {tomogram.name}",
            found=found,
            hint="--coords-angpix with the right one",
        )


def _reading(reading: Reading, rows: np.ndarray, tomogram: Tomogram) -> np.ndarray | None:
    """Angstrom per pixel for each row; None where the tomogram does not say what it needs."""
    if reading.sizes is not None:
        return np.asarray(reading.sizes[rows])
    size = tomogram.pixel_size
    if reading is TILT_SERIES:
        if tomogram.tilt_series_pixel_size is None:
            return None
        size = tomogram.tilt_series_pixel_size
    return np.full(len(rows), size)


def _fitting(
    picks: Picks,
    rows: np.ndarray,
    tomogram: Tomogram,
    readings: Sequence[tuple[Reading, np.ndarray]],
) -> tuple[np.ndarray, str]:
    """Of several readings, the one under which most picks are inside.

    Raises
    ------
    InputError
        None fits, or several.
    """
    fits = [
        (reading, sizes)
        for reading, sizes in readings
        if inside(_from_pixels(picks, rows, sizes), tomogram).mean() > 0.5
    ]
    if len(fits) != 1:
        shown = " or ".join(f"{reading.words} ({sizes[0]:g} A)" for reading, sizes in readings)
        raise InputError(
            "the coordinates can be read in several ways",
            where=f"{picks.path}, tomogram {tomogram.name}",
            found=f"{shown}; {'several fit' if fits else 'none fits'}",
            hint=" or ".join(f"--coords-angpix {sizes[0]:g}" for _, sizes in readings)
            + "; see docs/coordinates.md for which program writes which",
        )
    reading, sizes = fits[0]
    return sizes, _words(picks, reading, sizes, tomogram) + " (by other readings they lie outside)"


def _words(picks: Picks, reading: Reading, sizes: np.ndarray, tomogram: Tomogram) -> str:
    low, high = sizes.min(), sizes.max()
    size = f"{low:g} A" if low == high else f"{low:g} to {high:g} A"
    source = reading.source or tomogram.pixel_size_from
    return f"{reading.words}, {size} ({source}), {origin_words(picks)}"


def origin_words(picks: Picks) -> str:
    """Where a format begins to count, for people: ``first voxel is 0`` or ``is 0.5, 0.5, 0``."""
    origins = np.unique(np.atleast_2d(picks.origin), axis=0)
    if len(origins) > 1:
        return "counted from the corner of each box"
    place = origins[0]
    return f"first voxel is {'0' if not place.any() else ', '.join(f'{x:g}' for x in place)}"
