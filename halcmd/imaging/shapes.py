"""Built-in particles, sums of Gaussian blobs with a stated symmetry; and what is no particle.

A blob stands for a domain of a protein. Density is about 1 inside any of them, that of protein, so
that a bigger particle has more signal, as in reality. Positions are **xyz** in Angstrom from the
centre of mass; an axis of symmetry lies along z. The shapes are named after what they look like;
dimensions follow well-known complexes (ribosome, 20S proteasome, apoferritin, TRiC, p97, ...).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation

# Protein: 1.35 g/cm^3, that is 0.81 Da per cubic Angstrom.
_DALTON_PER_VOLUME = 0.81

# Blobs end here, in standard deviations, when the room for them is measured.
_TAIL = 3.0

JUNK_KINDS = ("ice", "membrane", "aggregate", "fragment")


@dataclass(frozen=True)
class Shape:
    """A particle made of Gaussian blobs.

    Attributes
    ----------
    name : str
        Class name.
    symmetry : str
        C1, C6, D7, T, O, I ... in Schoenflies notation; a proper rotation group.
    positions : ndarray, shape (n, 3)
        **xyz** in Angstrom.
    widths : ndarray, shape (n,)
        Standard deviation of each blob in Angstrom.
    heights : ndarray, shape (n,)
        Density that each blob adds at its centre.
    """

    name: str
    symmetry: str
    positions: np.ndarray
    widths: np.ndarray
    heights: np.ndarray

    @property
    def mass_kda(self) -> float:
        """Mass in kDa if the density were protein."""
        volume = (2 * np.pi) ** 1.5 * (self.heights * self.widths**3).sum()
        return float(volume) * _DALTON_PER_VOLUME / 1000

    @property
    def radius(self) -> float:
        """Angstrom from the centre beyond which there is next to nothing."""
        return float((np.linalg.norm(self.positions, axis=1) + _TAIL * self.widths).max())


def shape(name: str) -> Shape:
    """The built-in particle of this name (a key of ``SHAPES``)."""
    symmetry, make = SHAPES[name]
    unit = make()
    group = Rotation.create_group(symmetry).as_matrix() if symmetry != "C1" else np.eye(3)[None]
    positions = np.einsum("gij,nj->gni", group, unit[:, :3]).reshape(-1, 3)
    widths = np.tile(unit[:, 3], len(group))
    return _even(name, symmetry, positions, widths)


def rasterised(
    shape: Shape, pixel_size: float, *, device: torch.device, box: int | None = None
) -> torch.Tensor:
    """The shape as a map, (z, y, x), float32, centred on ``n // 2``.

    Parameters
    ----------
    shape : Shape
        What to draw.
    pixel_size : float
        Angstrom; at most about 1.5 times the width of a blob, or it aliases.
    box : int, optional
        Edge in voxels; default: just large enough.
    """
    size = box or 2 * int(np.ceil(shape.radius / pixel_size)) + 2
    voxels = (torch.arange(size, dtype=torch.float64, device=device) - size // 2) * pixel_size
    positions = torch.as_tensor(shape.positions, device=device)
    widths = torch.as_tensor(shape.widths, device=device)
    distance = (voxels - positions[:, :, None]) / widths[:, None, None]
    x, y, z = torch.exp(-0.5 * distance**2).float().unbind(1)
    heights = torch.as_tensor(shape.heights, device=device).float()
    return torch.einsum("nz,ny,nx->zyx", z * heights[:, None], y, x)


def membrane(rng: np.random.Generator, radius: float, *, width: float = 7.0) -> Shape:
    """A bent patch of lipid bilayer: two leaflets 37 Angstrom apart, in any orientation.

    Parameters
    ----------
    rng : Generator
        Size, bend and orientation.
    radius : float
        Angstrom to stay within, about.
    width : float
        Standard deviation of the blobs in Angstrom.
    """
    edge = rng.uniform(0.6, 0.8) * radius
    axis = np.arange(-edge, edge, 13.0)
    x, y = (part.ravel() for part in np.meshgrid(axis, axis))
    inside = np.hypot(x, y) < edge
    x, y = x[inside], y[inside]
    bend = (x**2 + y**2) / (2 * rng.uniform(200, 800))
    z = np.concatenate([bend - bend.mean() + half for half in (-18.5, 18.5)])
    positions = np.stack([np.tile(x, 2), np.tile(y, 2), z], axis=1)
    positions += rng.normal(0, 2, positions.shape)
    return _junk("membrane", positions, width, rng)


def aggregate(rng: np.random.Generator, radius: float, *, width: float = 8.5) -> Shape:
    """A clump of protein without form: blobs, each beside one that was there before."""
    count = int(rng.integers(10, 60))
    positions = np.zeros((count, 3))
    for n in range(1, count):
        step = rng.normal(size=3)
        new = positions[rng.integers(n)] + 18 * step / np.linalg.norm(step)
        positions[n] = new * min(1, 0.8 * radius / np.linalg.norm(new))
    return _junk("aggregate", positions - positions.mean(axis=0), width, rng)


def _junk(name: str, positions: np.ndarray, width: float, rng: np.random.Generator) -> Shape:
    turned = Rotation.random(random_state=rng).apply(positions)
    return _even(name, "C1", turned, np.full(len(turned), width))


def _even(name: str, symmetry: str, positions: np.ndarray, widths: np.ndarray) -> Shape:
    """The shape with blobs lowered where they overlap, so that density is about 1 throughout."""
    distance2 = ((positions[:, None] - positions) ** 2).sum(axis=2)
    heights = 1 / np.exp(-0.5 * distance2 / widths**2).sum(axis=1)
    centre = np.average(positions, axis=0, weights=heights * widths**3)
    return Shape(name, symmetry, positions - centre, widths, heights)


def _unit(*blobs: tuple[float, float, float, float]) -> np.ndarray:
    """Blobs of one asymmetric unit from (radius, azimuth in degrees, height, width)."""
    radius, azimuth, height, width = np.array(blobs).T
    phi = np.deg2rad(azimuth)
    return np.stack([radius * np.cos(phi), radius * np.sin(phi), height, width], axis=1)


def _filled(centre: tuple[float, float, float], axes: tuple[float, float, float]) -> np.ndarray:
    """Blobs on a body-centred lattice inside an ellipsoid, (n, 4)."""
    steps = np.arange(-6, 7) * 24.0
    corners = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    lattice = np.concatenate([corners, corners + 12.0])
    inside = lattice[((lattice / axes) ** 2).sum(axis=1) < 1]
    return np.hstack([inside + centre, np.full((len(inside), 1), 10.0)])


def _ribosome() -> np.ndarray:
    """A large and a small subunit with head and beak, a stalk, a protuberance."""
    large = _filled((0, 0, -24), (76, 68, 48))
    small = _filled((-6, 4, 48), (70, 36, 28))
    head = _filled((40, 10, 66), (34, 28, 24))
    stalk = [(76, 28, -15, 9), (87, 38, -8, 8), (-82, 12, -20, 9)]
    extra = [(0, 70, -10, 10), (70, 20, 76, 8), (28, -42, 36, 8), (-28, -56, -5, 10)]
    return np.vstack([large, small, head, np.array(stalk), np.array(extra)])


def _barrel() -> np.ndarray:
    alpha = [(40.0, 0.0, 52.0, 10.0), (52.0, 9.0, 60.0, 8.5), (28.0, -8.0, 62.0, 7.0)]
    beta = [(38.0, 20.0, 20.0, 9.0), (52.0, 14.0, 22.0, 9.0), (46.0, 30.0, 10.0, 8.0)]
    return _unit(*alpha, *beta)


def _shell() -> np.ndarray:
    return np.array([[46, 18, 12, 7.5], [38, 28, 22, 7.5], [44, 26, -8, 7.0]], dtype=float)


def _rod() -> np.ndarray:
    """A quarter of a two-stranded rod; the group makes the rest."""
    n = np.arange(7)
    azimuth = 40.0 * (n + 0.5)
    return _unit(
        *[(12.0, float(a), 13.0 * (i + 0.5), 9.0) for i, a in zip(n, azimuth, strict=True)]
    )


def _tripod() -> np.ndarray:
    stalk = [(7.0, 25.0 * n, -85.0 + 14.0 * n, 8.0) for n in range(6)]
    leg = [(14.0 + 11.0 * n, 4.0 * n, 5.0 + 11.0 * n, 9.5) for n in range(6)]
    return _unit(*stalk, *leg, (58.0, 40.0, 52.0, 8.0))


def _ring() -> np.ndarray:
    lower = [(38.0, 0.0, -24.0, 10.0), (50.0, 22.0, -30.0, 8.5)]
    upper = [(40.0, 15.0, 6.0, 10.0), (52.0, -6.0, 10.0, 8.0), (64.0, -14.0, 28.0, 8.5)]
    return _unit(*lower, *upper)


def _chaperonin() -> np.ndarray:
    equator = [(50.0, 4.0, 15.0, 10.0), (64.0, 20.0, 20.0, 9.0)]
    top = [(66.0, 8.0, 45.0, 9.0), (54.0, -6.0, 66.0, 9.5), (36.0, 10.0, 76.0, 8.0)]
    return _unit(*equator, *top)


def _capsid() -> np.ndarray:
    return np.array([[78, 20, 27, 9.0], [72, 36, 16, 9.0], [88, 11, 20, 7.0]], dtype=float)


def _horseshoe() -> np.ndarray:
    """A superhelical arc of repeats that grows thinner, with a knob at its thick end."""
    n = np.arange(22)
    azimuth, height = -140 + 13.0 * n, -30 + 2.8 * n
    arc = [
        (62.0, float(a), float(h), 10.5 - 0.1 * i)
        for i, a, h in zip(n, azimuth, height, strict=True)
    ]
    outer = [(76.0, a + 6, h + 6, w - 2.5) for _, a, h, w in arc[:16]]
    return _unit(*arc, *outer, (45.0, -140.0, -38.0, 10.0), (34.0, -120.0, -40.0, 9.0))


def _dumbbell() -> np.ndarray:
    head = [(24.0, 0.0, 70.0, 11.0), (26.0, 40.0, 86.0, 9.5), (22.0, 65.0, 56.0, 9.0)]
    return _unit(*head, (8.0, 20.0, 30.0, 8.0), (8.0, 70.0, 12.0, 8.0))


def _tetrahedron() -> np.ndarray:
    corner = [[46, 36, 30, 9.0], [36, 28, 42, 8.5], [52, 50, 46, 8.0]]
    return np.array([*corner, [40, 8, 14, 8.5]], dtype=float)


def _antibody() -> np.ndarray:
    """Half of a Y: one arm, and half of the foot."""
    arm = [(16.0, 10.0, 14.0, 8.5), (30.0, 14.0, 22.0, 9.0), (46.0, 8.0, 30.0, 8.5)]
    tip = [(56.0, 18.0, 42.0, 9.0), (66.0, 6.0, 34.0, 9.0)]
    foot = [(12.0, 70.0, -18.0, 9.0), (10.0, 60.0, -36.0, 9.5), (15.0, 80.0, -50.0, 9.0)]
    return _unit(*arm, *tip, *foot)


def _propeller() -> np.ndarray:
    blade = [(14.0 + 13.0 * n, 9.0 * n, 10.0 - 5.0 * n, 10.0) for n in range(6)]
    return _unit(*blade, (16.0, 30.0, -16.0, 9.0), (14.0, 20.0, 34.0, 9.0))


# In the order in which --classes takes them.
SHAPES: dict[str, tuple[str, Callable[[], np.ndarray]]] = {
    "ribosome": ("C1", _ribosome),
    "barrel": ("D7", _barrel),
    "shell": ("O", _shell),
    "rod": ("D2", _rod),
    "tripod": ("C3", _tripod),
    "chaperonin": ("D8", _chaperonin),
    "ring": ("C6", _ring),
    "capsid": ("I", _capsid),
    "horseshoe": ("C1", _horseshoe),
    "dumbbell": ("D3", _dumbbell),
    "tetrahedron": ("T", _tetrahedron),
    "propeller": ("C4", _propeller),
    "antibody": ("C2", _antibody),
}
