"""Do the picks lie in their tomogram? What is said about it, and which bin factor would fit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.grouping import groups_of
from halcmd.picks.tomograms import Tomogram

_LARGER = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_SMALLER = tuple(1 / factor for factor in _LARGER)
_POWERS = (8.0, 4.0, 2.0, 0.5, 0.25, 0.125)
"""Bin factors that most people use; of several that fit, the one that fills more comes first."""
_ANGSTROM = 1.0
"""What coordinates count that are no pixels at all."""
_NEAR = 0.05
_MOST, _MUCH = 0.95, 0.75
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


def check_placements(placements: Sequence[Placement], *, producer: str, where: str) -> None:
    """``check_placement`` of each tomogram of a file, and of those with few picks together."""
    for placed in placements:
        check_placement(placed, producer=producer, where=where)
    few = [each for each in placements if len(each.rows) < _FEW and _is_in_pixels(each)]
    shares = np.array([_reach(each) for each in few]).reshape(-1, 2)
    if sum(len(each.rows) for each in few) < _FEW or not 0 < shares.max() < 0.5:
        return
    if not all(each.inside.all() for each in few):
        return
    log.warning(
        f"{where}: the picks of all {len(few)} tomograms with few of them lie in one "
        f"corner ({shares[:, 0].max():.0%} of x, {shares[:, 1].max():.0%} of y); if a bin factor "
        f"is wrong, one up to {1 / shares.max():.3g} would fit: --coords-angpix "
        f"{few[0].scale / shares.max():.4g} or less"
    )


def check_placement(placed: Placement, *, producer: str, where: str) -> None:
    """Log where the picks of one tomogram lie; warn of a wrong unit or bin factor.

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
    tomogram, voxels = placed.tomogram, placed.voxels
    outside = int((~placed.inside).sum())
    spans = "  ".join(
        f"{axis} {low:.0f}..{high:.0f} of {size}"
        for axis, low, high, size in zip(
            "xyz", voxels.min(axis=0), voxels.max(axis=0), tomogram.size_xyz, strict=True
        )
    )
    log.info(
        f"{tomogram.name}: {len(voxels):,} picks, {producer}, {placed.words}; tomogram "
        f"{tomogram.pixel_size:g} A ({tomogram.pixel_size_from}); {spans}; inside "
        f"{len(voxels) - outside:,}"
    )
    if not outside:
        _warn_of_corner(placed)
        return
    where = f"{where}, tomogram {tomogram.name}"
    advice = _advice(placed)
    if outside == len(voxels):
        raise InputError(
            "all picks lie outside their tomogram",
            where=where,
            found=spans,
            hint=advice or "check --coords, --coords-angpix and the tomogram names",
        )
    if outside > len(voxels) / 2 or (advice and outside > (1 - _MOST) * len(voxels)):
        log.warning(
            f"{where}: {outside:,} picks lie outside; "
            f"{advice or 'check --coords, --coords-angpix and the tomogram names'}"
        )


def _advice(placed: Placement) -> str | None:
    """What to try where picks lie outside: the unit or factor that would fit, if one does."""
    if placed.scale is None:
        return _other_centre(placed)
    angstrom = _ANGSTROM / placed.scale
    factor = _likely_factor(placed, placed.scale, (*_SMALLER, angstrom))
    if factor is None:
        return None
    if factor == angstrom:
        return "they would fit if the coordinates were in Angstrom: --coords angst"
    also = "; or if they were in Angstrom: --coords angst" if _fills(placed, angstrom) > 0.5 else ""
    return (
        f"they would fit if the coordinates were {factor:.3g} times as large: --coords-angpix "
        f"{factor * placed.scale:.4g} or less{also}"
    )


def _other_centre(placed: Placement) -> str | None:
    """For coordinates in Angstrom: whether they fit if counted from the other place."""
    half = placed.tomogram.extent_xyz / 2.0
    for shift, option in ((-half, "angst"), (half, "centered-angst")):
        if inside(placed.positions + shift, placed.tomogram).mean() > _MOST:
            return f"they would fit with --coords {option}"
    return None


def _warn_of_corner(placed: Placement) -> None:
    """All picks in the half of x and of y next to the origin: likely a unit or a bin factor."""
    tomogram, voxels, scale = placed.tomogram, placed.voxels, placed.scale
    if scale is None:
        return
    if not _is_in_pixels(placed):
        log.warning(
            f"{tomogram.name}: all coordinates lie between 0 and 1; if they are shares of the "
            "tomogram, as in Warp's template matching, give --coords normalised"
        )
        return
    share = _reach(placed)
    if len(voxels) >= _FEW and 0 < share.max() < 0.5:
        factor = _likely_factor(placed, scale, _LARGER) or np.floor(1 / share.max())
        log.warning(
            f"{tomogram.name}: all picks lie in one corner ({share[0]:.0%} of x, {share[1]:.0%} of "
            f"y); if a bin factor is wrong, a factor of {factor:.4g} (up to {1 / share.max():.3g}) "
            f"would fit: --coords-angpix {factor * scale:.4g}"
        )


def _is_in_pixels(placed: Placement) -> bool:
    """Whether the coordinates are pixels: no Angstrom, and no shares of the tomogram."""
    if placed.scale is None:
        return False
    is_share = placed.voxels.max() * placed.tomogram.pixel_size <= placed.scale
    return not (is_share and len(placed.rows) > 1)


def _reach(placed: Placement) -> np.ndarray:
    """The largest x and y of the picks, as shares of the tomogram's."""
    return np.asarray(placed.voxels[:, :2].max(axis=0) / placed.tomogram.size_xyz[:2])


def warn_of_same_places(names: np.ndarray, positions: np.ndarray, voxel: np.ndarray) -> None:
    """Warn of picks that stand within a voxel of another one of their tomogram.

    Parameters
    ----------
    names : ndarray, shape (n,), object of str
        Tomogram of each pick.
    positions : ndarray, shape (n, 3), **xyz**, Angstrom
    voxel : ndarray, shape (n,), float64
        Voxel size of each pick's tomogram, Angstrom.
    """
    count = 0
    for rows in groups_of(names, np.isfinite(positions).all(axis=1)):
        if len(rows) > 1:
            apart, _ = cKDTree(positions[rows]).query(positions[rows], k=2)
            count += int((apart[:, 1] < voxel[rows]).sum())
    if count:
        log.warning(
            f"{count:,} of {len(names):,} picks stand within a voxel of another one; was a file "
            "given twice? Both of a pair are asked for and counted: take one out of the picks"
        )


def _likely_factor(placed: Placement, scale: float, candidates: tuple[float, ...]) -> float | None:
    """The likely factor on the coordinates under which nearly all picks are inside.

    Ratios of pixel sizes that are known come first, since RELION 5 bins by factors such as 7.407.
    Of other factors, a power of two under which the picks fill most of the tomogram; else the one
    under which they fill it best.
    """
    tomogram = placed.tomogram
    series, voxel = tomogram.tilt_series_pixel_size, tomogram.pixel_size
    known = [voxel / scale, *([series / scale, voxel / series * voxel / scale] if series else [])]
    ratios = [f for f in known if abs(f - 1) > _NEAR and _fills(placed, f) > 0.5]
    if ratios:
        return ratios[0]
    fills = {factor: fill for factor in candidates if (fill := _fills(placed, factor)) > 0}
    powers = [factor for factor in _POWERS if fills.get(factor, 0) > _MUCH]
    return powers[0] if powers else max(fills, key=fills.__getitem__, default=None)


def _fills(placed: Placement, factor: float) -> float:
    """Share of x or y that the picks fill after a factor; 0 where they lie outside."""
    if inside(placed.positions * factor, placed.tomogram).mean() <= _MOST:
        return 0.0
    reach = np.quantile(placed.voxels[:, :2], _MOST, axis=0) / placed.tomogram.size_xyz[:2]
    return float((reach * factor).max())
