"""The microscope: tilt series with CTF and detector, noise, reconstruction.

Arrays are ``(z, y, x)``; the centre of an axis of n voxels is index ``n // 2``, as in RELION. The
beam runs along z and the tilt axis along y, so that every xz plane is imaged by itself: projection
and back-projection are sums over that plane, done as one matrix product with no interpolation.
``docs/simulate.md`` has the physics at length.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, hypot, pi, sqrt

import numpy as np
import torch

# Elements of the matrix of plane waves held at once: 256 MiB of float32.
_BLOCK_ELEMENTS = 2**26

# Voxels of padding for what reaches sideways without a CTF (detector, ringing of the ramp).
_LEAST_REACH = 4


@dataclass(frozen=True)
class Optics:
    """What the microscope and the detector do to a projection.

    Attributes
    ----------
    defocus_um, voltage_kv, cs_mm, amplitude_contrast : float
        Underfocus is positive; the amplitude contrast is a fraction.
    ctf, mtf : bool
        Whether contrast transfer and detector are applied at all.
    """

    defocus_um: float = 5.0
    voltage_kv: float = 300.0
    cs_mm: float = 2.7
    amplitude_contrast: float = 0.07
    ctf: bool = True
    mtf: bool = True


@dataclass(frozen=True)
class Geometry:
    """A tilt series of a volume and the way back.

    Attributes
    ----------
    shape : tuple of int
        z, y, x of the volume in voxels.
    tilts : tuple of float
        Degrees.
    step : float
        Degrees between tilts.
    reach : int
        Voxels that the point spread function reaches sideways; the images are that much larger.
    """

    shape: tuple[int, int, int]
    tilts: tuple[float, ...]
    step: float
    reach: int

    @property
    def detector(self) -> int:
        """Pixels of an image across the tilt axis: odd, and no ray through the volume misses it."""
        z, _, x = self.shape
        return ceil(hypot(z, x) + self.reach) | 1

    @property
    def rows(self) -> int:
        """Pixels of an image along the tilt axis while the CTF is applied."""
        return self.shape[1] + self.reach

    @property
    def n_waves(self) -> int:
        """Frequencies across the tilt axis that are kept: 0 to ``detector // 2``."""
        return self.detector // 2 + 1


def tilt_series(
    shape: tuple[int, int, int],
    *,
    tilt_range: tuple[float, float],
    tilt_step: float,
    reach: int = _LEAST_REACH,
) -> Geometry:
    """The geometry of a tilt series with a constant step that starts at the first tilt."""
    first, last = tilt_range
    count = int((last - first) / tilt_step + 1e-6) + 1
    tilts = tuple(first + tilt_step * n for n in range(count))
    return Geometry(shape, tilts, tilt_step, reach)


def wavelength(voltage_kv: float) -> float:
    """The relativistic wavelength of the electrons in Angstrom (constants as in RELION)."""
    volts = 1000 * voltage_kv
    return 12.2643247 / float(np.sqrt(volts * (1 + volts * 0.978466e-6)))


def ctf(frequency2: torch.Tensor, optics: Optics) -> torch.Tensor:
    """The contrast transfer function for bright particles: positive at low frequency.

    sin(pi lambda df g^2 - pi/2 Cs lambda^3 g^4 + asin(Q)) with underfocus df positive; the same
    sign as RELION's CTF of particles with inverted contrast.

    Parameters
    ----------
    frequency2 : Tensor
        g^2 in 1/A^2.
    optics : Optics
        Defocus, voltage, Cs, amplitude contrast.
    """
    length = wavelength(optics.voltage_kv)
    defocus, cs = optics.defocus_um * 1e4, optics.cs_mm * 1e7
    phase = pi * length * defocus * frequency2 - pi / 2 * cs * length**3 * frequency2**2
    return torch.sin(phase + float(np.arcsin(optics.amplitude_contrast)))


def reach_of(optics: Optics, pixel_size: float) -> int:
    """Voxels by which the CTF displaces signal at most, up to the Nyquist frequency.

    The displacement is the slope of the phase: lambda df g - Cs lambda^3 g^3.
    """
    if not optics.ctf:
        return _LEAST_REACH
    g = np.linspace(0, 0.5 / pixel_size, 100)
    length = wavelength(optics.voltage_kv)
    shift = length * optics.defocus_um * 1e4 * g - optics.cs_mm * 1e7 * length**3 * g**3
    return _LEAST_REACH + ceil(float(np.abs(shift).max()) / pixel_size)


def transfer(
    geometry: Geometry, optics: Optics, pixel_size: float, *, device: torch.device
) -> torch.Tensor:
    """CTF times detector MTF at every frequency of an image.

    The MTF is that of an ideal square pixel, sinc(fx) sinc(fy) with f in cycles per pixel, 0.64 at
    Nyquist (McMullan et al. 2009, Ultramicroscopy 109, 1126).

    Returns
    -------
    Tensor, shape (n_waves, rows), float32
        Across the tilt axis from 0 up; along it in the order of ``torch.fft.fft``.
    """
    across = torch.arange(geometry.n_waves, dtype=torch.float64, device=device) / geometry.detector
    along = torch.fft.fftfreq(geometry.rows, dtype=torch.float64, device=device)
    result = torch.ones((len(across), len(along)), dtype=torch.float64, device=device)
    if optics.mtf:
        result = result * torch.sinc(across)[:, None] * torch.sinc(along)
    if optics.ctf:
        result = result * ctf((across[:, None] ** 2 + along**2) / pixel_size**2, optics)
    return result.float()


def project(volumes: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """Tilt series, Fourier-transformed across the tilt axis.

    P(theta, k, y) = sum over x and z of f(z, y, x) exp(-2 pi i k u / detector) with the detector
    coordinate u = x cos(theta) - z sin(theta), x and z counted from the centre: RELION's
    projection at rlnAngleTilt = theta.

    Parameters
    ----------
    volumes : Tensor, shape (n, z, y, x), float32
        Density.
    geometry : Geometry
        Its shape must be that of a volume.

    Returns
    -------
    Tensor, shape (tilts, n_waves, n, y), complex64
        One-dimensional spectra of the rows of the images.
    """
    n, z, y, x = volumes.shape
    if (z, y, x) != geometry.shape:
        raise ValueError(f"volumes of {(z, y, x)} in a geometry of {geometry.shape}")
    planes = volumes.permute(1, 3, 0, 2).reshape(z * x, n * y)
    images = [waves @ planes for _, waves in _blocks(geometry, volumes.device)]
    parts = torch.cat(images).view(len(geometry.tilts), geometry.n_waves, 2, n, y)
    return torch.complex(parts[:, :, 0], parts[:, :, 1])


def transmit(spectra: torch.Tensor, transfer_function: torch.Tensor) -> torch.Tensor:
    """Images after CTF and MTF.

    Parameters
    ----------
    spectra : Tensor, shape (tilts, n_waves, n, y), complex
        From ``project``.
    transfer_function : Tensor, shape (n_waves, rows)
        From ``transfer``; rows beyond y are padding with zeros.
    """
    rows = transfer_function.shape[1]
    both = torch.fft.fft(spectra, n=rows, dim=-1) * transfer_function[:, None, :]
    images: torch.Tensor = torch.fft.ifft(both, dim=-1)[..., : spectra.shape[-1]]
    return images


def noise(geometry: Geometry, generators: Sequence[torch.Generator]) -> torch.Tensor:
    """White noise of unit variance in every pixel of the images; same form as ``project``.

    Parameters
    ----------
    geometry : Geometry
        The tilt series.
    generators : sequence of Generator
        One per volume, so that each volume's noise depends on its own generator alone.
    """
    shape = (len(geometry.tilts), geometry.detector, geometry.shape[1])
    images = [torch.randn(shape, generator=each, device=each.device) for each in generators]
    spectra: torch.Tensor = torch.fft.rfft(torch.stack(images, dim=2), dim=1)
    return spectra


def reconstruct(spectra: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """Weighted back-projection: the adjoint of ``project`` behind a ramp across the tilt axis.

    Parameters
    ----------
    spectra : Tensor, shape (tilts, n_waves, n, y), complex64
        Images; the CTF is left in.
    geometry : Geometry
        The same as for ``project``.

    Returns
    -------
    Tensor, shape (n, z, y, x), float32
        The density, as far as the tilts cover it.
    """
    z, y, x = geometry.shape
    n = spectra.shape[2]
    weighted = spectra * ramp(geometry, device=spectra.device)[:, None, None]
    parts = torch.stack([weighted.real, weighted.imag], dim=2)
    planes = torch.zeros((z * x, n * y), device=spectra.device)
    for tilts, waves in _blocks(geometry, spectra.device):
        planes += waves.T @ parts[tilts].reshape(len(waves), n * y)
    return planes.view(z, x, n, y).permute(2, 0, 3, 1).contiguous()


def ramp(geometry: Geometry, *, device: torch.device) -> torch.Tensor:
    """The weight of each wave in the back-projection, shape (n_waves,).

    Area in the Fourier plane that a sample stands for: |k| dk dtheta, twice for k > 0 because -k
    is not stored, and for k = 0 the mean of |k| over its cell, a quarter of dk.
    """
    k = torch.arange(geometry.n_waves, dtype=torch.float64, device=device)
    weights = 2 * k
    weights[0] = 0.25
    return (weights * float(np.deg2rad(geometry.step)) / geometry.detector**2).float()


def noise_variance(geometry: Geometry) -> float:
    """Variance of a voxel reconstructed from ``noise``, exactly.

    A wave with k > 0 has variance detector / 2 in its real and imaginary part each, of which the
    voxel sees one combination; k = 0 has variance detector.
    """
    weights = ramp(geometry, device=torch.device("cpu")).double()
    variances = torch.full_like(weights, geometry.detector / 2)
    variances[0] = geometry.detector
    return len(geometry.tilts) * float((weights**2 * variances).sum())


@dataclass(frozen=True)
class Instrument:
    """A tilt series and its transfer function, for volumes of one shape.

    Attributes
    ----------
    geometry : Geometry
        Tilts and sizes.
    transfer : Tensor, shape (n_waves, rows)
        From ``transfer``.
    """

    geometry: Geometry
    transfer: torch.Tensor

    def signal(self, volumes: torch.Tensor) -> torch.Tensor:
        """What is reconstructed from densities (n, z, y, x) without noise."""
        spectra = transmit(project(volumes, self.geometry), self.transfer)
        return reconstruct(spectra, self.geometry)

    def noise(self, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """What is reconstructed from noise alone, scaled to unit variance, (n, z, y, x)."""
        spectra = noise(self.geometry, generators).to(self.transfer.device)
        return reconstruct(spectra, self.geometry) / sqrt(noise_variance(self.geometry))


def instrument_for(
    shape: tuple[int, int, int],
    optics: Optics,
    *,
    tilt_range: tuple[float, float],
    tilt_step: float,
    pixel_size: float,
    device: torch.device,
) -> Instrument:
    """The instrument for volumes of this shape (z, y, x), with room for what the CTF displaces."""
    reach = reach_of(optics, pixel_size)
    geometry = tilt_series(shape, tilt_range=tilt_range, tilt_step=tilt_step, reach=reach)
    return Instrument(geometry, transfer(geometry, optics, pixel_size, device=device))


def _blocks(geometry: Geometry, device: torch.device) -> Iterator[tuple[slice, torch.Tensor]]:
    """Slices of the tilts and the plane waves of each; kept between calls where they fit."""
    z, _, x = geometry.shape
    per_tilt = 2 * geometry.n_waves * z * x
    size = max(_BLOCK_ELEMENTS // per_tilt, 1)
    count = len(geometry.tilts)
    make = _waves if size >= count else _waves.__wrapped__
    for start in range(0, count, size):
        stop = min(start + size, count)
        yield slice(start, stop), make(geometry, start, stop, device)


@lru_cache(maxsize=2)
def _waves(geometry: Geometry, start: int, stop: int, device: torch.device) -> torch.Tensor:
    """Real and negative imaginary part of exp(2 pi i k u / detector).

    Shape (tilts * n_waves * 2, z * x): one matrix product projects, its transpose projects back.
    """
    depth, _, width = geometry.shape
    theta = torch.deg2rad(torch.tensor(geometry.tilts[start:stop], dtype=torch.float64))
    z = torch.arange(depth, dtype=torch.float64) - depth // 2
    x = torch.arange(width, dtype=torch.float64) - width // 2
    u = x * theta.cos()[:, None, None] - z[:, None] * theta.sin()[:, None, None]
    k = torch.arange(geometry.n_waves, dtype=torch.float64) * (2 * pi / geometry.detector)
    # Whole turns are taken off in float64, so that float32 is exact enough for sine and cosine.
    phase = torch.remainder(k[:, None] * u.flatten(1)[:, None, :], 2 * pi).float().to(device)
    return torch.stack([phase.cos(), -phase.sin()], dim=2).flatten(0, 2)
