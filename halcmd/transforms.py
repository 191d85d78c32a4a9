"""Subtomograms in, subtomograms out: turns, shifts, rotations, missing wedge; batched tensors.

Volumes are ``(n, z, y, x)``; a box's centre is voxel ``box // 2`` on each axis, as in RELION. The
beam runs along z and the tilt axis along y.
"""

from collections.abc import Callable
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

Transform = Callable[[torch.Tensor, torch.Generator], list[torch.Tensor]]


def augmentation(
    mode: str, *, box: int, tilt_range: tuple[float, float] | None, device: torch.device
) -> Transform:
    """A function that changes a batch of particles the way ``--augment`` says.

    Parameters
    ----------
    mode : str
        ``full`` (half turns and shifts; half of the particles take any rotation, after which the
        missing wedge is cut out again), ``flips`` (half turns and shifts) or ``none``.
    box : int
        Edge length of the particles in voxels.
    tilt_range : (float, float) or None
        Smallest and largest tilt in degrees. Where it is None, ``full`` does no more than
        ``flips``: a particle whose wedge was rotated with it looks like none that will be scored.
    device : torch.device
        Where the particles are.

    Returns
    -------
    function of (Tensor of shape (n, z, y, x), Generator on the same device)
        The particles in the same order, in one part or two: first those that look like particles to
        be scored, then those that were rotated. Each keeps zero mean and unit deviation.
    """
    reach = ceil(box * _SHIFT_PER_BOX)
    if mode == "none":
        return lambda volumes, generator: [volumes]
    if mode == "flips" or tilt_range is None:
        return lambda volumes, generator: [turn_and_shift(volumes, generator, reach=reach)]
    mask = wedge_mask(box, tilt_range, device=device)

    def full(volumes: torch.Tensor, generator: torch.Generator) -> list[torch.Tensor]:
        volumes = turn_and_shift(volumes, generator, reach=reach)
        # The batch is in random order already, so its second half is as good as any.
        n_rotated = int(len(volumes) * _ROTATED_SHARE)
        if n_rotated == 0:
            return [volumes]
        as_is, chosen = volumes[:-n_rotated], volumes[-n_rotated:]
        rotated = rotate(chosen, random_rotations(n_rotated, generator))
        return [as_is, standardise(impose_wedge(rotated, mask))]

    return full


def turn_and_shift(
    volumes: torch.Tensor, generator: torch.Generator, *, reach: int
) -> torch.Tensor:
    """Each particle after one of the four half turns and a shift by whole voxels, wrapped around.

    A half turn about x, y or z keeps the handedness, and keeps a missing wedge that is symmetric
    (-60 to 60 degrees) exactly.

    Parameters
    ----------
    volumes : Tensor, shape (n, z, y, x)
        Cubic boxes.
    generator : Generator
        Draws turns and shifts.
    reach : int
        Largest shift along each axis in voxels.
    """
    n, device = len(volumes), volumes.device
    turns = torch.randint(len(_HALF_TURNS), (n,), generator=generator, device=device)
    shifts = torch.randint(-reach, reach + 1, (n, 3), generator=generator, device=device)
    return turned_and_shifted(volumes, turns=turns, shifts=shifts)


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
    signs = torch.tensor(_HALF_TURNS, device=volumes.device)[turns]  # (n, 3)
    voxels = torch.arange(box, device=volumes.device) - box // 2
    # Where each voxel of the new box comes from, per axis: (n, 3, box)
    source = (signs[:, :, None] * (voxels - shifts[:, :, None]) + box // 2) % box
    particle = torch.arange(len(volumes), device=volumes.device)[:, None, None, None]
    z, y, x = source[:, 0, :, None, None], source[:, 1, None, :, None], source[:, 2, None, None, :]
    return volumes[particle, z, y, x]


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


def rotate(volumes: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    """Particles rotated about their centre voxel, by trilinear interpolation, zero outside.

    Parameters
    ----------
    volumes : Tensor, shape (n, z, y, x)
        Cubic boxes.
    rotations : Tensor, shape (n, 3, 3)
        ``new(r) = old(R^T r)`` for r = (z, y, x) from the centre voxel: density at r moves to R r.
    """
    box = volumes.shape[-1]
    axis = torch.arange(box, device=volumes.device, dtype=volumes.dtype) - box // 2
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)  # z y x 3
    source = torch.einsum("zyxi,nij->nzyxj", points, rotations.to(volumes.dtype)) + box // 2
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
