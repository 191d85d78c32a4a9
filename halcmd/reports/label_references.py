"""Examples for the label page: what each class looks like, from maps or from labelled particles."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter

from halcmd.console import log
from halcmd.errors import DataError, InputError, OptionError, first_few
from halcmd.formats.mrc import open_volume
from halcmd.particles import JUNK, Particles, valid_label
from halcmd.poses import euler_matrices
from halcmd.reports.label_volumes import read_reduced
from halcmd.subtomograms import Boxes

EXAMPLES = 3
_MOST_AVERAGED = 100
"""More labelled particles than these change no mean that is looked at."""
_SUFFIXES = (".mrc", ".map")

Floats = NDArray[np.float32]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Reference:
    """What a class looks like.

    Attributes
    ----------
    volume : ndarray, shape (z, y, x)
        A map, or the mean of labelled particles.
    title : str
        What it is.
    examples : ndarray, shape (n, z, y, x)
        Labelled particles.
    names : list of str
        Their halParticleId.
    """

    volume: Floats
    title: str
    examples: Floats
    names: list[str]


def map_files(folder: Path) -> dict[str, Path]:
    """Class name to map, of the MRC files of a folder.

    Raises
    ------
    OptionError, InputError
        There are none, or a file has a name that no class may have.
    """
    if not folder.is_dir():
        raise OptionError("--references must be a folder", found=str(folder))
    paths = [path for path in sorted(folder.iterdir()) if path.suffix in _SUFFIXES]
    if not paths:
        raise OptionError(
            "--references holds no maps", found=str(folder), hint="MRC files such as ribosome.mrc"
        )
    bad = [path.name for path in paths if not valid_label(path.stem)]
    if bad:
        raise InputError(
            "a map must be called like its class",
            where=str(folder),
            found=first_few(bad),
            hint="letters first, then letters, digits, _ . -, such as ribosome.mrc",
        )
    for path in paths:
        if open_volume(path).data.ndim != 3:
            raise InputError("this is no single map", where=str(path))
    return {path.stem: path for path in paths}


def from_map(path: Path, *, edge: int, pixel_size: float, sign: float) -> Reference:
    """A map resampled to the voxels of the page, linearly, after a low-pass where it is finer.

    Parameters
    ----------
    path : Path
        Protein positive.
    edge : int
        Voxels.
    pixel_size : float
        Angstrom of these voxels.
    sign : float
        -1 where the boxes have dark protein.

    Raises
    ------
    DataError
        It holds NaN or infinity.
    """
    volume = open_volume(path)
    size = volume.pixel_size
    if size is None:
        log.warning(f"{path}: no pixel size in the header; shown as if it were {pixel_size:g} A")
        size = pixel_size
    data = np.asarray(volume.data, dtype=np.float32)
    if not np.isfinite(data).all():
        raise DataError("a map holds voxels that are no numbers", where=str(path))
    ratio = pixel_size / size
    if ratio > 1:
        data = gaussian_filter(data, 0.4 * ratio)
    offset = np.array(data.shape) // 2 - ratio * (edge // 2)
    resampled = affine_transform(
        data, [ratio] * 3, offset, output_shape=(edge,) * 3, order=1, cval=float(np.median(data))
    )
    return Reference(sign * resampled, f"map {path.name}", np.empty((0,) * 4, np.float32), [])


def from_labels(particles: Particles, boxes: Boxes, name: str, edge: int) -> Reference | None:
    """Mean and surest examples of the particles labelled so; None where there are none.

    Particles with an orientation are turned by it before they are averaged. The surest have the
    highest probability of the class that they are labelled with; without predictions, the first.
    """
    rows = labelled(particles, name)
    if not len(rows):
        return None
    column = f"halProbability_{name}"
    sure = np.nan_to_num(particles.number(column, 0.0)[rows])
    rows = rows[np.lexsort((particles.ids[rows], -sure))][:_MOST_AVERAGED]
    volumes = read_reduced(boxes, rows, edge)
    turns = turns_of(particles, rows)
    is_upright = box_axes(particles, rows) == "tomogram"
    aligned = [
        volume if turn is None or not upright else turned(volume, turn)
        for volume, turn, upright in zip(volumes, turns, is_upright, strict=True)
    ]
    is_aligned = any(turn is not None for turn in turns)
    return Reference(
        np.mean(aligned, axis=0, dtype=np.float32),
        f"mean of {len(rows):,}" + ("" if is_aligned else ", not aligned"),
        volumes[:EXAMPLES],
        [str(particles.ids[row]) for row in rows[:EXAMPLES]],
    )


def labelled(particles: Particles, name: str) -> Rows:
    """Rows of the pool labelled so."""
    return np.flatnonzero((particles.labels == name) & ~particles.is_test)


def turns_of(particles: Particles, rows: Rows) -> list[np.ndarray | None]:
    """From the axes of each particle to those of its tomogram, for **xyz**; None where unknown."""
    angles = np.stack([particles.number(f"halAngle{a}")[rows] for a in ("Rot", "Tilt", "Psi")], 1)
    return [euler_matrices(row[None])[0] if np.isfinite(row).all() else None for row in angles]


def box_axes(particles: Particles, rows: Rows) -> NDArray[np.object_]:
    """``tomogram`` or ``particle``: whose axes the boxes have."""
    return np.asarray(particles.text("halBoxAxes", "tomogram")[rows])


def turned(volume: Floats, turn: np.ndarray) -> Floats:
    """A box with other axes, linearly; as ``crop_turned``, but from the box alone."""
    matrix = turn[::-1, ::-1]
    middle = np.full(3, volume.shape[0] // 2)
    return np.asarray(affine_transform(volume, matrix, middle - matrix @ middle, order=1))


def classes_of(particles: Particles, maps: Iterable[str]) -> list[str]:
    """The classes that table and maps know, sorted: labels, predictions, probabilities."""
    names = set(particles.labels) | set(particles.text("halPredictedClass", "none")) | set(maps)
    names |= set(particles.class_numbers())
    reserved = {JUNK, "unknown", "skip", "unlabelled", "none"}
    return sorted(name for name in names - reserved if valid_label(name))
