"""What is in front of the microscope: which particles and junk, in which pose, and where.

Every random number is keyed by the seed, its purpose and the number of the particle.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from halcmd.chance import generator
from halcmd.console import log
from halcmd.imaging.densities import Density, posed, random_angles
from halcmd.imaging.shapes import JUNK_KINDS, aggregate, membrane, rasterised
from halcmd.particles import JUNK
from halcmd.poses import euler_matrices

# Picks are centred to within about a voxel; drawn evenly along each axis.
PICK_ERROR = 1.0

# Room to place particles in, as the share that balls around them fill. Random placement of balls
# jams at 0.38; particles are not balls, and only their voxels must not overlap.
_FILLED = 0.6
_TRIES = 300
_GROWTH = 1.1

# Depth of a tomogram in boxes.
_DEPTH = 2

# Boxes made at a time.
_BATCH = 16

# A particle takes up the voxels above this share of its maximum.
_OCCUPIED = 0.1


@dataclass(frozen=True)
class Cast:
    """The particles and the junk to be shown, in the order of the table to be written.

    Attributes
    ----------
    densities : mapping of str to Density
        One per class.
    labels : ndarray of str, shape (n,)
        Class, or ``junk``.
    angles : ndarray, shape (n, 3)
        RELION's rot, tilt, psi in degrees.
    shifts : ndarray, shape (n, 3)
        Where the centre is, **xyz** in voxels from ``box // 2``.
    box : int
        Voxels.
    pixel_size : float
        Angstrom.
    seed : int
        Of what each piece of junk looks like.
    """

    densities: Mapping[str, Density]
    labels: np.ndarray
    angles: np.ndarray
    shifts: np.ndarray
    box: int
    pixel_size: float
    seed: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """Where the densities are."""
        return next(iter(self.densities.values())).values.device

    def junk_kind(self, row: int) -> str:
        """What a row of junk is: one of ``JUNK_KINDS``."""
        return str(generator(self.seed, "junk", row).choice(JUNK_KINDS))


@dataclass(frozen=True)
class Stage:
    """A tomogram before the microscope.

    Attributes
    ----------
    density : Tensor, shape (z, y, x)
        All particles and junk.
    centres : ndarray of int, shape (n, 3)
        Nearest voxel of each particle, **zyx**; the true centre is further by the cast's shift.
    """

    density: torch.Tensor
    centres: np.ndarray


def counts_per_class(n_classes: int, per_class: int, balance: Sequence[float]) -> np.ndarray:
    """Particles of each class, shape (n_classes,): weights applied to the mean of ``per_class``."""
    weights = np.array(balance or [1.0] * n_classes, dtype=np.float64)
    exact = per_class * n_classes * weights / weights.sum()
    counts: np.ndarray = np.floor(exact).astype(int)
    # What is left goes to the largest remainders, the first class first among equals.
    order: np.ndarray = np.argsort(counts - exact, kind="stable")
    counts[order[: per_class * n_classes - counts.sum()]] += 1
    return counts


def cast(
    densities: Mapping[str, Density],
    counts: Sequence[int] | np.ndarray,
    *,
    junk: int,
    shift: float,
    box: int,
    pixel_size: float,
    seed: int,
) -> Cast:
    """Particles in random poses and random order.

    Parameters
    ----------
    densities : mapping of str to Density
        One per class.
    counts : sequence of int
        Particles of each class, in the same order.
    junk : int
        Number of rows that are no particle.
    shift : float
        The centre is off the middle voxel by up to this many voxels along each axis.
    """
    names = [*densities, JUNK]
    labels = np.repeat(np.array(names, dtype=object), [*counts, junk])
    labels = labels[generator(seed, "order").permutation(len(labels))]
    rows = range(len(labels))
    angles = np.concatenate([random_angles(1, generator(seed, "rotation", row)) for row in rows])
    shifts = [generator(seed, "shift", row).uniform(-shift, shift, 3) for row in rows]
    return Cast(densities, labels, angles, np.array(shifts), box, pixel_size, seed)


def boxes(cast: Cast, rows: Sequence[int] | np.ndarray) -> torch.Tensor:
    """The density of each of these rows by itself, shape (n, z, y, x), float32."""
    chosen = np.asarray(rows)
    labels = cast.labels[chosen]
    result = torch.empty((len(chosen), *(cast.box,) * 3), device=cast.device)
    for label in sorted(set(labels)):
        places = np.flatnonzero(labels == label)
        if label == JUNK:
            volumes = torch.stack([_junk(cast, int(row)) for row in chosen[places]])
        else:
            volumes = _particles(cast, label, chosen[places])
        result[torch.as_tensor(places, device=cast.device)] = volumes
    return result


def _particles(cast: Cast, label: str, rows: np.ndarray) -> torch.Tensor:
    return posed(
        cast.densities[label],
        euler_matrices(cast.angles[rows]),
        cast.shifts[rows],
        box=cast.box,
        pixel_size=cast.pixel_size,
    )


def _junk(cast: Cast, row: int) -> torch.Tensor:
    """A piece of junk, about as large and as dense as the particles; nothing for empty ice."""
    kind = cast.junk_kind(row)
    rng = generator(cast.seed, "junk shape", row)
    like = str(rng.choice(list(cast.densities)))
    if kind == "ice":
        return torch.zeros((cast.box,) * 3, device=cast.device)
    if kind == "fragment":
        return _fragment(_particles(cast, like, np.array([row]))[0], rng)
    radius = min(0.4 * cast.box * cast.pixel_size, 150.0)
    width = max(8.0, 0.7 * cast.pixel_size)
    shape = (membrane if kind == "membrane" else aggregate)(rng, radius, width=width)
    drawn = rasterised(shape, cast.pixel_size, device=cast.device, box=cast.box)
    return drawn * _level(cast.densities[like])


def _fragment(volume: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """The part of a particle on one side of a plane near its middle, moved to the middle."""
    box = volume.shape[0]
    axis = torch.arange(box, device=volume.device, dtype=torch.float32) - box // 2
    normal = rng.normal(size=3)
    z, y, x = (float(part) for part in normal / np.linalg.norm(normal))
    height = z * axis[:, None, None] + y * axis[:, None] + x * axis
    kept = volume * torch.sigmoid(rng.uniform(-1, 3) - height)
    mass = kept.clamp(min=0)
    sums = [mass.sum(dim=others) for others in ((1, 2), (0, 2), (0, 1))]
    centre = [float((axis * each).sum() / each.sum()) for each in sums]
    return torch.roll(kept, [-round(part) for part in centre], dims=(0, 1, 2))


def _level(density: Density) -> float:
    """The density inside a particle: the mean above half of the maximum."""
    values = density.values
    return float(values[values > 0.5 * values.max()].mean())


def stage(cast: Cast, rows: Sequence[int], *, name: str) -> Stage:
    """A tomogram in which these rows lie close together without overlap.

    The largest are placed first. Every box lies inside the tomogram. Where random placement fails,
    the tomogram grows by a tenth and placement starts again.

    Parameters
    ----------
    cast : Cast
        What to place.
    rows : sequence of int
        Which of it.
    name : str
        Of the tomogram; keys the random numbers.
    """
    batches = np.array_split(np.asarray(rows), max(len(rows) // _BATCH, 1))
    masks = [_mask(volume) for batch in batches for volume in boxes(cast, batch).cpu().numpy()]
    width = _width(masks, cast.box)
    while (centres := _placed(cast, rows, masks, width, name)) is None:
        width = _even(width * _GROWTH)
    shape = (_DEPTH * cast.box, width, width)
    density = torch.zeros(shape, device=cast.device)
    volumes = (volume for batch in batches for volume in boxes(cast, batch))
    for centre, volume in zip(centres, volumes, strict=True):
        density[around(centre, cast.box)] += volume
    filled = sum(int(mask.sum()) for mask in masks) / np.prod(shape)
    log.info(f"{name}: {len(rows):,} picks in {width} x {width} x {shape[0]}, {filled:.1%} filled")
    return Stage(density, centres)


def around(centre: np.ndarray, box: int) -> tuple[slice, slice, slice]:
    """The voxels of a box around a voxel, which lies at index ``box // 2``."""
    z, y, x = (slice(int(c) - box // 2, int(c) - box // 2 + box) for c in centre)
    return z, y, x


def _mask(volume: np.ndarray) -> np.ndarray:
    """Voxels taken up, (z, y, x), bool; a small ball for empty ice, which must stay empty."""
    if volume.any():
        return np.asarray(volume > _OCCUPIED * volume.max())
    return np.asarray(_distance(volume.shape[0]) < volume.shape[0] / 5)


def _grown(mask: np.ndarray) -> np.ndarray:
    """A mask with one voxel more all around, so that neighbours do not touch."""
    for axis in range(3):
        mask = mask | np.roll(mask, 1, axis) | np.roll(mask, -1, axis)
    return mask


def _distance(box: int) -> np.ndarray:
    """Distance of each voxel from the centre, (z, y, x)."""
    axis = np.arange(box) - box // 2
    return np.asarray(np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2))


def _width(masks: Sequence[np.ndarray], box: int) -> int:
    """Edge of the tomogram in x and y that makes it as crowded as ``_FILLED`` says."""
    distance = _distance(box)
    radii = np.array([distance[mask].max() for mask in masks])
    balls = 4 / 3 * np.pi * (radii**3).sum()
    margin = box - 2 * radii.mean()  # no particle reaches this rim, on both sides together
    return max(_even(np.sqrt(balls / _FILLED / (_DEPTH * box - margin)) + margin), 2 * box)


def _even(number: float) -> int:
    return 2 * int(np.ceil(number / 2))


def _placed(
    cast: Cast, rows: Sequence[int], masks: Sequence[np.ndarray], width: int, name: str
) -> np.ndarray | None:
    """Centres of all rows, (n, 3) zyx; None where one found no place."""
    half = cast.box // 2
    shape = np.array([_DEPTH * cast.box, width, width])
    taken = np.zeros(shape, dtype=bool)
    centres = np.zeros((len(rows), 3), dtype=int)
    for n in sorted(range(len(rows)), key=lambda n: -int(masks[n].sum())):
        rng = generator(cast.seed, "place", name, width, rows[n])
        grown = _grown(masks[n])
        for centre in rng.integers(half, shape - half + 1, (_TRIES, 3)):
            window = taken[around(centre, cast.box)]
            if not (window & grown).any():
                window |= masks[n]
                centres[n] = centre
                break
        else:
            return None
    return centres
