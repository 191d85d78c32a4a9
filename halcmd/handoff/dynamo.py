"""``Dynamo/query.tbl``: a Dynamo table, with the maps that say which tomogram column 20 means.

Columns by Dynamo's table convention (wiki.dynamo.biozentrum.unibas.ch, Table_convention). The tag
is the rank; the class (column 22) is 0, to be filled in; positions count from 0, without shifts.
"""

import warnings
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from halcmd.formats.files import write_text
from halcmd.handoff.places import Group, by_tomogram, check_places, write_classes
from halcmd.particles import Particles
from halcmd.poses import euler_matrices

_COLUMNS = 42
_ANGLES = tuple(f"halAngle{name}" for name in ("Rot", "Tilt", "Psi"))


def check(particles: Particles) -> None:
    """Raise InputError where a particle has no position in a tomogram."""
    check_places(particles, "dynamo")


def write(particles: Particles, folder: Path) -> list[Path]:
    """Write ``query.tbl``, ``.doc`` and ``.vll``, and ``classes.csv`` if there are any."""
    groups = by_tomogram(particles)
    tables = [_rows(group, number) for number, group in enumerate(groups, 1)]
    table = np.concatenate(tables)
    table = table[np.argsort(table[:, 0], kind="stable")]
    path = folder / "Dynamo" / "query.tbl"
    write_text(path, "".join(" ".join(map(_text, row)) + "\n" for row in table))
    files = list(enumerate((group.file for group in groups), 1))
    write_text(path.with_suffix(".doc"), "".join(f"{n} {file}\n" for n, file in files))
    write_text(path.with_suffix(".vll"), "".join(f"{file}\n* index = {n}\n" for n, file in files))
    paths = [path, path.with_suffix(".doc"), path.with_suffix(".vll")]
    return [*paths, *write_classes(particles, folder)]


def _rows(group: Group, number: int) -> np.ndarray:
    """The rows of one tomogram, shape (n, 42)."""
    particles = group.particles
    rows = np.zeros((len(particles), _COLUMNS))
    rows[:, 0] = particles.number("halQueryRank", 0.0)
    rows[:, 1:3] = 1  # to be aligned, averaged
    rows[:, 6:9] = _angles(particles)
    tilts = np.stack([particles.number("halTiltMin"), particles.number("halTiltMax")], axis=1)
    known = np.isfinite(tilts).all(axis=1)
    rows[known, 12] = 1  # tilted about y
    rows[known, 13:15] = tilts[known]
    rows[:, 19] = number
    rows[:, 23:26] = group.voxels
    rows[:, 35] = group.pixel_size
    return rows


def _angles(particles: Particles) -> np.ndarray:
    """tdrot, tilt, narot in degrees, shape (n, 3): they turn the particle onto the reference."""
    angles = np.stack([particles.number(name) for name in _ANGLES], axis=1)
    known = np.isfinite(angles).all(axis=1)
    out = np.zeros_like(angles)
    if known.any():
        poses = Rotation.from_matrix(euler_matrices(angles[known])).inv()
        with warnings.catch_warnings():  # where tilt is 0 only tdrot + narot counts; scipy warns
            warnings.simplefilter("ignore", UserWarning)
            out[known] = poses.as_euler("zxz", degrees=True)
    return out


def _text(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")
