"""Particle densities: maps made ready to be sampled, and sampled in any pose.

Arrays are ``(z, y, x)``; the centre of an axis of n voxels is index ``n // 2``, as in RELION.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from halcmd.console import log
from halcmd.errors import DataError, InputError
from halcmd.formats.mrc import open_volume
from halcmd.imaging.shapes import rasterised, shape
from halcmd.particles import RESERVED, as_class, valid_label

# The low-pass before sampling falls from 1 to 0 between this share of the Nyquist frequency and it.
_EDGE_START = 0.9

# Built-in shapes are drawn at half the voxel, and at least this finely [A].
_DRAWN_AT = 5.0

_MAP_SUFFIXES = (".mrc", ".map")


@dataclass(frozen=True)
class Density:
    """A map to sample: cubic, particle positive on a background of 0, centred on ``n // 2``.

    Attributes
    ----------
    values : Tensor, shape (n, n, n), float32
        Density.
    pixel_size : float
        Voxel edge in Angstrom; about half of that of the boxes to be made.
    """

    values: torch.Tensor
    pixel_size: float

    def diameter(self, threshold: float = 0.1) -> float:
        """What fits into a box whatever the rotation, in Angstrom.

        Twice the largest distance from the centre at which the density exceeds a share of its
        maximum.
        """
        n = self.values.shape[0]
        inside = torch.nonzero(self.values > threshold * self.values.max())
        if not len(inside):
            return 0.0
        distances = (inside - n // 2).double().norm(dim=1)
        return 2 * float(distances.max()) * self.pixel_size


def band_limited(values: torch.Tensor, pixel_size: float, *, target: float) -> Density:
    """A map made ready to be sampled at voxels of ``target`` Angstrom.

    Everything beyond the target's Nyquist frequency is removed (radially, with a soft edge), and
    the map is resampled in Fourier space to voxels of about half the target, so that the linear
    interpolation of ``posed`` loses little.

    Parameters
    ----------
    values : Tensor, shape (n, n, n)
        The map, on a background of 0.
    pixel_size : float
        Its voxel edge in Angstrom.
    target : float
        Voxel edge of the boxes to be made, in Angstrom.
    """
    if values.shape[0] % 2:  # keeps the centre at n // 2
        values = F.pad(values, (1, 0, 1, 0, 1, 0))
    n = values.shape[0]
    size = max(2 * round(n * pixel_size / target), 8)
    frequency = torch.fft.fftfreq(n, pixel_size, dtype=torch.float64, device=values.device)
    radius2 = sum(axis**2 for axis in torch.meshgrid(*[frequency] * 3, indexing="ij"))
    assert isinstance(radius2, torch.Tensor)
    share = radius2.sqrt() * 2 * target
    edge = ((1 - share) / (1 - _EDGE_START)).clamp(0, 1)
    window = 0.5 - 0.5 * torch.cos(pi * edge)
    spectrum = torch.fft.fftshift(torch.fft.fftn(values.double()) * window)
    change = size // 2 - n // 2  # negative padding crops; the window is 0 where it does
    spectrum = F.pad(spectrum, (change, size - n - change) * 3)
    resampled = torch.fft.ifftn(torch.fft.ifftshift(spectrum)).real * (size / n) ** 3
    return Density(resampled.float(), n * pixel_size / size)


def posed(
    density: Density, matrices: np.ndarray, shifts: np.ndarray, *, box: int, pixel_size: float
) -> torch.Tensor:
    """Boxes with the particle rotated and shifted, sampled linearly from the map.

    Parameters
    ----------
    density : Density
        From ``band_limited``.
    matrices : ndarray, shape (n, 3, 3)
        A of ``halcmd.poses.euler_matrices``.
    shifts : ndarray, shape (n, 3)
        Where the particle's centre goes, **xyz** in voxels of the box from ``box // 2``.
    box : int
        Edge of the result in voxels.
    pixel_size : float
        Voxel edge of the result in Angstrom.

    Returns
    -------
    Tensor, shape (n, z, y, x), float32
        0 outside the map.
    """
    values = density.values
    size, count = values.shape[0], len(matrices)
    # r_reference = A^T r_image. Both grids run from -1 at the first to 1 at the last voxel.
    turned = np.swapaxes(matrices, 1, 2) * (pixel_size / density.pixel_size)
    linear = turned * ((box - 1) / (size - 1))
    offset = (box - 1) / 2 - box // 2 - shifts
    constant = np.einsum("nij,nj->ni", turned, offset) + size // 2 - (size - 1) / 2
    affine = np.concatenate([linear, constant[:, :, None] * 2 / (size - 1)], axis=2)
    theta = torch.as_tensor(affine, dtype=torch.float32, device=values.device)
    grid = F.affine_grid(theta, [count, 1, box, box, box], align_corners=True)
    # The batch of the map is a view; nothing is copied.
    sampled = F.grid_sample(values.expand(count, 1, -1, -1, -1), grid, align_corners=True)
    return sampled[:, 0]


def built_in(names: Sequence[str], *, target: float, device: torch.device) -> dict[str, Density]:
    """Built-in shapes, ready to be sampled at voxels of ``target`` Angstrom."""
    drawn_at = min(target / 2, _DRAWN_AT)
    maps = {name: rasterised(shape(name), drawn_at, device=device) for name in names}
    return {name: band_limited(values, drawn_at, target=target) for name, values in maps.items()}


def from_files(paths: Sequence[Path], *, target: float, device: torch.device) -> dict[str, Density]:
    """Maps from MRC files or folders of them, by class name, ready to be sampled.

    Parameters
    ----------
    paths : sequence of Path
        A folder stands for all maps in it.
    target : float
        Voxel edge of the boxes to be made, in Angstrom; also the pixel size of a map whose header
        has none (with a warning).

    Raises
    ------
    InputError, DataError
        A folder is empty, a file is no cubic map, or two maps give the same class name.
    """
    densities: dict[str, Density] = {}
    for path in _map_files(paths):
        name = class_name(path.stem)
        is_reserved = as_class(name) in RESERVED
        if name in densities or is_reserved:
            reason = "reserved" if is_reserved else "that of another map"
            raise InputError(
                f"the class name of this map is {reason}",
                where=str(path),
                found=name,
                hint="rename the file: its stem is the name of the class",
            )
        densities[name] = _read(path, target, device)
    return densities


def class_name(stem: str) -> str:
    """A file's stem as a class: ``class_1bxn`` for ``1bxn``, as classes begin with a letter."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", stem)
    return name if valid_label(name) else f"class_{name}"


def _map_files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        inside = sorted(item for item in path.glob("*") if item.suffix.lower() in _MAP_SUFFIXES)
        if path.is_dir() and not inside:
            raise InputError(
                "no density maps in this folder",
                where=str(path),
                hint=f"files that end in {' or '.join(_MAP_SUFFIXES)}",
            )
        files += inside if path.is_dir() else [path]
    return files


def _read(path: Path, target: float, device: torch.device) -> Density:
    volume = open_volume(path)
    check_density(volume.data, str(path))
    own = volume.pixel_size
    if own is None:
        log.warning(f"{path} has no pixel size in its header; taken as --angpix {target:g}")
    cube = torch.as_tensor(np.array(volume.data, dtype=np.float32), device=device)
    faces = [cube.select(axis, place).flatten() for axis in range(3) for place in (0, -1)]
    background = torch.cat(faces).median()
    if cube.max() - background < background - cube.min():
        log.warning(
            f"{path} looks inverted: it is darker than its background; particles are bright"
        )
    return band_limited(cube - background, own or target, target=target)


def check_density(values: np.ndarray, where: str) -> None:
    """Raise DataError where a map is not cubic, not finite or constant."""
    if values.ndim != 3 or len(set(values.shape)) != 1:
        raise DataError(
            "a density map must be cubic",
            where=where,
            found=" x ".join(str(edge) for edge in values.shape[::-1]),
            hint="pad or crop it to a cube, with the particle in the middle",
        )
    if not np.isfinite(values).all() or values.max() == values.min():
        raise DataError("a density map must hold finite, varying values", where=where)


def random_angles(count: int, rng: np.random.Generator) -> np.ndarray:
    """Rotations uniform in SO(3) as (rot, tilt, psi) in degrees, shape (count, 3)."""
    rot, psi = rng.uniform(-180.0, 180.0, (2, count))
    tilt = np.rad2deg(np.arccos(rng.uniform(-1.0, 1.0, count)))
    return np.stack([rot, tilt, psi], axis=1)
