"""Subtomograms in, subtomograms out: turns, shifts, rotations, missing wedge; batched tensors.

Volumes are ``(n, z, y, x)``; a box's centre is voxel ``box // 2`` on each axis, as in RELION. The
beam runs along z and the tilt axis along y.
"""

from collections.abc import Callable, Sequence
from functools import cache
from math import ceil

import torch
import torch.nn.functional as F

MODES = ("full", "flips", "none")

# Share of the particles that "full" rotates. Rotating all of them costs accuracy: a rotated
# particle has lost two wedges, a particle to be scored only one (14 classes, 24^3, SNR 0.05, 56 and
# 168 labels, 600 steps: none rotated 0.49 and 0.70, half 0.69 and 0.74, all 0.07 and 0.16).
# Filling what is lost with noise of the right power costs more than it mends: 0.61 and 0.71.
_ROTATED_SHARE = 0.5

# Picks are centred to within about a voxel of the binned tomogram; one more voxel per 32 of box.
_SHIFT_PER_BOX = 1 / 32

# The four turns of a box by 0 or 180 degrees about x, y or z: the signs of (z, y, x).
_HALF_TURNS = ((1, 1, 1), (-1, -1, 1), (-1, 1, -1), (1, -1, -1))

# A tilt range may miss its mirror image by one usual step of a tilt series.
_ASYMMETRY = 3.0

Transform = Callable[[torch.Tensor, torch.Generator], list[torch.Tensor]]


def augmentation(
    mode: str,
    *,
    box: int,
    tilt_range: tuple[float, float] | None,
    device: torch.device,
    noise: float = 0.0,
) -> Transform:
    """A function that changes a batch of particles the way ``--augment`` says.

    Parameters
    ----------
    mode : str
        ``full`` (half turns and shifts; half of the particles take any rotation and a shift within
        the voxel, after which the missing wedge is cut out again), ``flips`` (half turns and
        shifts) or ``none``.
    box : int
        Edge length of the particles in voxels.
    tilt_range : (float, float) or None
        Smallest and largest tilt in degrees; decides which half turns are taken. Where it is None,
        ``full`` does no more than ``flips``: a particle whose wedge was rotated with it looks like
        none that will be scored.
    device : torch.device
        Where the particles are.
    noise : float
        Largest standard deviation of the noise that ``full`` adds, that of a particle being 1; each
        particle gets its own between 0 and this. 0 = none.

    Returns
    -------
    function of (Tensor of shape (n, z, y, x), Generator on the same device)
        The particles in the same order, in one part or two: first those that look like particles to
        be scored, then those that were rotated. Each keeps zero mean and unit deviation.
    """
    reach, turns = ceil(box * _SHIFT_PER_BOX), half_turns(tilt_range)
    if mode == "none":
        return lambda volumes, generator: [volumes]

    def flips(volumes: torch.Tensor, generator: torch.Generator) -> list[torch.Tensor]:
        return [turn_and_shift(volumes, generator, reach=reach, turns=turns)]

    if mode == "flips":
        return flips
    mask = None if tilt_range is None else wedge_mask(box, tilt_range, device=device)

    def full(volumes: torch.Tensor, generator: torch.Generator) -> list[torch.Tensor]:
        [volumes] = flips(volumes, generator)
        # The batch is in random order already, so its second half is as good as any.
        n_rotated = int(len(volumes) * _ROTATED_SHARE)
        if mask is None or n_rotated == 0:
            return [add_noise(volumes, generator, noise, mask)]
        as_is, chosen = volumes[:-n_rotated], volumes[-n_rotated:]
        within = torch.rand(n_rotated, 3, generator=generator, device=device) - 0.5
        rotated = rotate(chosen, random_rotations(n_rotated, generator), shifts=within)
        rotated = standardise(impose_wedge(rotated, mask))
        return [add_noise(part, generator, noise, mask) for part in (as_is, rotated)]

    return full


def half_turns(tilt_range: tuple[float, float] | None) -> tuple[int, ...]:
    """The half turns that keep the missing wedge: 0 (none), 2 (about y), and 1, 3 (about x, z).

    A half turn about the tilt axis y keeps every wedge. One about x or z takes tilt t to -t, so it
    keeps the wedge of a symmetric range alone: -60 to 60 degrees, but not -50 to 70 as from a
    lamella. Where the range is unknown it is not taken for symmetric.
    """
    if tilt_range is not None and abs(tilt_range[0] + tilt_range[1]) <= _ASYMMETRY:
        return (0, 2, 1, 3)
    return (0, 2)


def turn_and_shift(
    volumes: torch.Tensor,
    generator: torch.Generator,
    *,
    reach: int,
    turns: Sequence[int],
) -> torch.Tensor:
    """Each particle after a half turn and a shift by whole voxels, wrapped around.

    Whole voxels need no interpolation, so the texture of the noise stays what it is in particles to
    be scored. Shifts by any amount gave no more (14 classes, SNR 0.05, 56 labels: 0.82 and 0.83).

    Parameters
    ----------
    volumes : Tensor, shape (n, z, y, x)
        Cubic boxes.
    generator : Generator
        Draws turns and shifts.
    reach : int
        Largest shift along each axis in voxels.
    turns : sequence of int
        Half turns to choose from, as in ``half_turns``.
    """
    n, device = len(volumes), volumes.device
    choice = torch.randint(len(turns), (n,), generator=generator, device=device)
    shifts = torch.randint(-reach, reach + 1, (n, 3), generator=generator, device=device)
    taken = _constant(tuple(turns), device)[choice]
    return turned_and_shifted(volumes, turns=taken, shifts=shifts)


def turned_and_shifted(
    volumes: torch.Tensor, *, turns: torch.Tensor, shifts: torch.Tensor
) -> torch.Tensor:
    """Particles after half turns and shifts that are given.

    Parameters
    ----------
    volumes : Tensor, shape (n, z, y, x)
        Cubic boxes of even size.
    turns : Tensor, shape (n,), int
        0 none, 1 about x, 2 about y, 3 about z; the centre voxel stays where it is.
    shifts : Tensor, shape (n, 3), int
        Voxels along z, y, x, wrapped around.
    """
    box = volumes.shape[-1]
    signs = _constant(_HALF_TURNS, volumes.device)[turns]  # (n, 3)
    voxels = torch.arange(box, device=volumes.device) - box // 2
    # Where each voxel of the new box comes from, per axis: (n, 3, box)
    source = (signs[:, :, None] * (voxels - shifts[:, :, None]) + box // 2) % box
    particle = torch.arange(len(volumes), device=volumes.device)[:, None, None, None]
    z, y, x = source[:, 0, :, None, None], source[:, 1, None, :, None], source[:, 2, None, None, :]
    return volumes[particle, z, y, x]


@cache
def _constant(values: tuple[object, ...], device: torch.device) -> torch.Tensor:
    """Integers on the device; sent once, since a GPU is waited for when numbers are sent to it."""
    with torch.inference_mode(False):
        return torch.tensor(values, device=device)


def random_rotations(n: int, generator: torch.Generator) -> torch.Tensor:
    """Rotation matrices, uniform over all orientations.

    Returns
    -------
    Tensor, shape (n, 3, 3), float32
        They act on (z, y, x) vectors.

    References
    ----------
    A unit quaternion from four normal deviates is uniform on the sphere (Muller 1959).
    """
    quaternions = torch.randn(n, 4, generator=generator, device=generator.device)
    w, i, j, k = F.normalize(quaternions, dim=1).unbind(1)
    rows = [
        [1 - 2 * (j * j + k * k), 2 * (i * j - k * w), 2 * (i * k + j * w)],
        [2 * (i * j + k * w), 1 - 2 * (i * i + k * k), 2 * (j * k - i * w)],
        [2 * (i * k - j * w), 2 * (j * k + i * w), 1 - 2 * (i * i + j * j)],
    ]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def rotate(
    volumes: torch.Tensor, rotations: torch.Tensor, *, shifts: torch.Tensor | None = None
) -> torch.Tensor:
    """Particles rotated about their centre voxel, by trilinear interpolation, zero outside.

    Parameters
    ----------
    volumes : Tensor, shape (n, z, y, x)
        Cubic boxes.
    rotations : Tensor, shape (n, 3, 3)
        ``new(r) = old(R^T r)`` for r = (z, y, x) from the centre voxel: density at r moves to R r.
    shifts : Tensor, shape (n, 3), optional
        Voxels along z, y, x, any fraction, after the rotation: density at r moves to R r + shift.
    """
    box = volumes.shape[-1]
    axis = torch.arange(box, device=volumes.device, dtype=volumes.dtype) - box // 2
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)  # z y x 3
    turns = rotations.to(volumes.dtype)
    source = torch.einsum("zyxi,nij->nzyxj", points, turns) + box // 2
    if shifts is not None:
        back = torch.einsum("ni,nij->nj", shifts.to(volumes.dtype), turns)
        source = source - back[:, None, None, None, :]
    # grid_sample wants (x, y, z) with -1 and 1 at the centres of the first and last voxel.
    grid = 2 * source.flip(-1) / (box - 1) - 1
    rotated: torch.Tensor = F.grid_sample(volumes[:, None], grid, align_corners=True)
    return rotated[:, 0]


def wedge_mask(
    box: int, tilt_range: tuple[float, float], *, device: torch.device | None = None
) -> torch.Tensor:
    """Which Fourier components a tilt series holds.

    The image at tilt t holds the components with ``kz = kx tan(t)`` (tilt axis y, beam z), so those
    between the two extreme tilts are there and those near the kz axis are missing.

    Parameters
    ----------
    box : int
        Edge length in voxels.
    tilt_range : (float, float)
        Smallest and largest tilt, degrees, within -90 to 90.
    device : torch.device, optional
        Where the mask is made. Default: CPU.

    Returns
    -------
    Tensor, shape (box, box, box // 2 + 1), bool
        In the layout of ``torch.fft.rfftn``: zero frequency first, last axis halved. True = held.
    """
    kz = (torch.fft.fftfreq(box, device=device) * box)[:, None].double()
    kx = (torch.fft.rfftfreq(box, device=device) * box)[None, :].double()
    low, high = (torch.deg2rad(torch.tensor(tilt, dtype=torch.float64)) for tilt in tilt_range)

    def held(kz: torch.Tensor, kx: torch.Tensor) -> torch.Tensor:
        tilt, slack = torch.atan2(kz, kx), 1e-9  # kx >= 0 in this half
        return ((tilt >= low - slack) & (tilt <= high + slack)) | ((kz == 0) & (kx == 0))

    mask = held(kz, kx)
    # Components k and -k are one: on the axis kx = 0, and where a Nyquist frequency has no sign.
    no_sign = (kx == 0) | (2 * kz.abs() == box) | (2 * kx == box)
    mask = mask | (no_sign & held(-kz, kx))
    return torch.stack([mask] * box, dim=1)


def impose_wedge(volumes: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Particles without the Fourier components that the mask calls missing.

    Parameters
    ----------
    volumes : Tensor, shape (n, z, y, x)
        Cubic boxes.
    mask : Tensor, shape (box, box, box // 2 + 1)
        From ``wedge_mask``.
    """
    spectrum = torch.fft.rfftn(volumes, dim=(-3, -2, -1)) * mask
    cut: torch.Tensor = torch.fft.irfftn(spectrum, s=volumes.shape[-3:], dim=(-3, -2, -1))
    return cut


def add_noise(
    volumes: torch.Tensor,
    generator: torch.Generator,
    most: float,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Particles with white noise, of which the wedge is missing too; standardised.

    Parameters
    ----------
    volumes : Tensor, shape (n, z, y, x)
        Cubic boxes of unit standard deviation.
    generator : Generator
        Draws the noise, and how much of it each particle gets.
    most : float
        Its largest standard deviation; 0 = none, and nothing is drawn.
    mask : Tensor, optional
        From ``wedge_mask``.
    """
    if not most:
        return volumes
    device = volumes.device
    amount = most * torch.rand(len(volumes), 1, 1, 1, generator=generator, device=device)
    noise = amount * torch.randn(volumes.shape, generator=generator, device=device)
    return standardise(volumes + (noise if mask is None else impose_wedge(noise, mask)))


def standardise(volumes: torch.Tensor) -> torch.Tensor:
    """Particles with zero mean and unit standard deviation; a constant one becomes zero."""
    centred = volumes - volumes.mean(dim=(-3, -2, -1), keepdim=True)
    sd = centred.square().mean(dim=(-3, -2, -1), keepdim=True).sqrt()
    return centred / sd.clamp_min(torch.finfo(volumes.dtype).tiny)


def half_turn(volumes: torch.Tensor, number: int) -> torch.Tensor:
    """All particles after half turn 0 (none), 1 (about x), 2 (about y) or 3 (about z)."""
    n = len(volumes)
    turns = torch.full((n,), number, device=volumes.device)
    return turned_and_shifted(
        volumes, turns=turns, shifts=torch.zeros(n, 3, dtype=torch.long, device=volumes.device)
    )
