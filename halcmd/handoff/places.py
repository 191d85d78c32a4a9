"""Where particles are in voxels of their tomograms, one group for each tomogram."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from halcmd.errors import InputError, first_few
from halcmd.formats.files import write_csv
from halcmd.particles import JUNK, Particles

_POSITIONS = tuple(f"halPosition{axis}Angst" for axis in "XYZ")
_NEEDED = ("halTomogramFile", "halTomogramPixelSize", *_POSITIONS)
_NO_FILE_NAME = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True)
class Group:
    """The particles of one tomogram.

    Attributes
    ----------
    name : str
        Normalised name of the tomogram.
    stem : str
        The name as part of file names; no other tomogram has it.
    file : str
        The volume (halTomogramFile).
    pixel_size : float
        Its voxel edge in Angstrom.
    particles : Particles
        In the order of the table.
    voxels : ndarray, shape (n, 3), float64, **xyz**
        Positions after shifts; 0 is the centre of the first voxel.
    """

    name: str
    stem: str
    file: str
    pixel_size: float
    particles: Particles
    voxels: np.ndarray


def check_places(particles: Particles, form: str) -> None:
    """Raise InputError where a particle has no position in voxels of a tomogram.

    Parameters
    ----------
    particles : Particles
        All that may be asked for.
    form : str
        Key of ``HANDOFFS``, for the message.
    """
    missing = [name for name in _NEEDED if not particles.has(name)]
    if missing:
        found = f"no column {', '.join(missing)}"
    else:
        empty = [name for name in _NEEDED[1:] if not np.isfinite(particles.number(name)).all()]
        empty += ["halTomogramFile"] if "none" in set(particles.text("halTomogramFile")) else []
        if not empty:
            by_tomogram(particles)  # raises where a tomogram is two volumes
            return
        found = f"rows without a value in {', '.join(empty)}"
    raise InputError(
        f"--hand-off {form} needs positions in tomograms",
        where=str(particles.path),
        found=found,
        hint="halcmd extract finds and writes them; or --hand-off csv",
    )


def seen_from(folder: Path, file: str) -> str:
    """A path as it is found from a folder."""
    return file if Path(file).is_absolute() else os.path.relpath(file, folder)


def by_tomogram(particles: Particles) -> list[Group]:
    """The particles of each tomogram, tomograms in order of their names.

    Raises
    ------
    InputError
        The volume or its voxel size differs within a tomogram.
    """
    positions = particles.positions
    sizes = particles.number("halTomogramPixelSize")
    files = particles.text("halTomogramFile")
    groups = []
    stems: set[str] = set()
    for name in sorted(set(particles.tomograms)):
        rows = np.flatnonzero(particles.tomograms == name)
        if len(set(files[rows])) > 1 or sizes[rows].max() > sizes[rows].min():
            raise InputError(
                f"tomogram {name} is two volumes",
                where=str(particles.path),
                found=first_few(sorted({f"{files[r]}, {sizes[r]:g} A" for r in rows})),
                hint="query the particles of each apart",
            )
        stem = _NO_FILE_NAME.sub("_", name)
        while stem in stems:
            stem += "_"
        stems.add(stem)
        size = float(sizes[rows[0]])
        own = particles.take(rows)
        groups.append(Group(name, stem, str(files[rows[0]]), size, own, positions[rows] / size))
    return groups


def offered_classes(particles: Particles) -> list[str]:
    """Classes to label with: those that have a number, in its order, and ``junk``."""
    return list(dict.fromkeys([*particles.class_numbers(), JUNK]))


def write_classes(particles: Particles, folder: Path) -> list[Path]:
    """Write ``classes.csv``, which gives class numbers their names in ``label-import --rename``.

    The path, or nothing where no class has a number.
    """
    numbers = particles.class_numbers()
    path = folder / "classes.csv"
    if numbers:
        write_csv(path, ("old", "new"), [(str(number), name) for name, number in numbers.items()])
    return [path] if numbers else []
