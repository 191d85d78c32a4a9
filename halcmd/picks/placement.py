"""Do the picks lie in their tomogram? What is said about it, and which bin factor would fit."""

from dataclasses import dataclass

import numpy as np

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.picks.tomograms import Tomogram

_LIKELY_FACTORS = (2, 3, 4, 5, 6, 8, 10, 0.5, 1 / 3, 0.25, 0.2, 1 / 6, 0.125, 0.1)
_ANGSTROM = 1.0
"""What coordinates count that are no pixels at all."""
_NEAR = 0.05
_MOST = 0.95
_FEW = 20
"""With fewer picks, an empty half of the tomogram says nothing."""


@dataclass(frozen=True)
class Placement:
    """The picks of one tomogram, placed in it.

    Attributes
    ----------
    tomogram : Tomogram
        Where.
    rows : ndarray, shape (n,), int
        Which picks of the file.
    positions : ndarray, shape (n, 3), **xyz**, Angstrom
        From the centre of the first voxel, after shifts.
    words : str
        How the coordinates were read, for people.
    scale : float or None
        Angstrom per pixel of the coordinates; None where they are no pixels.
    shifts : ndarray, shape (n, 3), **xyz**, Angstrom, or None
        What was added to the coordinates.
    """

    tomogram: Tomogram
    rows: np.ndarray
    positions: np.ndarray
    words: str
    scale: float | None
    shifts: np.ndarray | None = None

    @property
    def voxels(self) -> np.ndarray:
        """Positions in voxels, shape (n, 3), **xyz**, float64."""
        return np.asarray(self.positions / self.tomogram.pixel_size)

    @property
    def inside(self) -> np.ndarray:
        """Whether each pick lies in the tomogram, shape (n,), bool."""
        return inside(self.positions, self.tomogram)


def inside(positions_xyz: np.ndarray, tomogram: Tomogram) -> np.ndarray:
    """Whether the voxel nearest to each position lies in the tomogram, shape (n,), bool."""
    voxels = np.rint(positions_xyz / tomogram.pixel_size)
    return np.asarray(np.all((voxels >= 0) & (voxels < tomogram.size_xyz), axis=1))


def check_placement(placed: Placement, *, producer: str, where: str) -> None:
    """Log where the picks of one tomogram lie; warn of a wrong bin factor.

    Parameters
    ----------
    placed : Placement
        The picks.
    producer, where : str
        Importer and file, for the log.

    Raises
    ------
    InputError
        All picks lie outside.
    """
    tomogram, voxels, scale = placed.tomogram, placed.voxels, placed.scale
    count = int(placed.inside.sum())
    spans = "  ".join(
        f"{axis} {low:.0f}..{high:.0f} of {size}"
        for axis, low, high, size in zip(
            "xyz", voxels.min(axis=0), voxels.max(axis=0), tomogram.size_xyz, strict=True
        )
    )
    log.info(
        f"{tomogram.name}: {len(voxels):,} picks, {producer}, {placed.words}; tomogram "
        f"{tomogram.pixel_size:g} A ({tomogram.pixel_size_from}); {spans}; inside {count:,}"
    )
    if count == len(voxels):
        if scale is not None:
            _warn_of_corner(tomogram, voxels, scale)
        return
    where = f"{where}, tomogram {tomogram.name}"
    advice = _advice(placed)
    if count == 0:
        raise InputError(
            "all picks lie outside their tomogram", where=where, found=spans, hint=advice
        )
    if count < len(voxels) / 2:
        log.warning(f"{where}: {len(voxels) - count:,} picks lie outside; {advice}")


def _advice(placed: Placement) -> str:
    """What to try where picks lie outside: the bin factor that would fit, if one does."""
    scale = placed.scale
    factor = _fitting_factor(placed, scale) if scale is not None else None
    if factor is None or scale is None:
        return "check --coords, --coords-angpix and the tomogram names"
    if abs(factor * scale - _ANGSTROM) < _NEAR:
        return "they would fit if the coordinates were in Angstrom: --coords angst"
    return (
        f"they would fit if the coordinates were {factor:.3g} times as large: --coords-angpix "
        f"{factor * scale:.4g}"
    )


def _warn_of_corner(tomogram: Tomogram, voxels: np.ndarray, scale: float) -> None:
    """All picks in the half of x and of y next to the origin: likely a bin factor."""
    if len(voxels) > 1 and voxels.max() * tomogram.pixel_size <= scale:
        log.warning(
            f"{tomogram.name}: all coordinates lie between 0 and 1; if they are shares of the "
            "tomogram, as in Warp's template matching, give --coords normalised"
        )
        return
    share = voxels[:, :2].max(axis=0) / tomogram.size_xyz[:2]
    if len(voxels) >= _FEW and 0 < share.max() < 0.5:
        factor = np.floor(1 / share.max())
        log.warning(
            f"{tomogram.name}: all picks lie in one corner ({share[0]:.0%} of x, {share[1]:.0%} of "
            f"y); if a bin factor is wrong, a factor of up to {factor:.0f} would fit: "
            f"--coords-angpix {factor * scale:.4g}"
        )


def _fitting_factor(placed: Placement, scale: float) -> float | None:
    """The likely factor under which nearly all picks are inside, and fill the tomogram best.

    Real pixel sizes first, since RELION 5 bins by factors such as 7.407; then round factors; then
    Angstrom. A factor that leaves half of x and y empty counts only where no other fits.
    """
    tomogram = placed.tomogram
    known = [size for size in (tomogram.tilt_series_pixel_size, tomogram.pixel_size) if size]
    factors = [*(size / scale for size in known), *_LIKELY_FACTORS, _ANGSTROM / scale]
    fitting = [f for f in factors if inside(placed.positions * f, tomogram).mean() > _MOST]
    reach = np.quantile(placed.voxels[:, :2], _MOST, axis=0) / tomogram.size_xyz[:2]
    filling = [factor for factor in fitting if (reach * factor).max() > 0.5]
    return next(iter(filling or fitting), None)
