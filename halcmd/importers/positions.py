"""One resolver for positions: any pick becomes Angstrom from the centre of the first voxel.

Rules: docs/coordinates.md. What was taken from where is logged for every tomogram.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.importers.picks import Picks
from halcmd.importers.tomograms import Tomogram
from halcmd.pixel_size import differ, is_set

_LIKELY_FACTORS = (2, 3, 4, 6, 8, 0.5, 1 / 3, 0.25, 1 / 6, 0.125)


def resolve_all(
    files: Sequence[Picks],
    names: np.ndarray,
    tomograms: Mapping[str, Tomogram],
    *,
    coords_pixel_size: float | None = None,
    apply_origins: bool = True,
) -> np.ndarray:
    """Positions of the picks of all files, one below the other; see ``resolve_positions``."""
    ends = np.cumsum([len(picks.particles) for picks in files])
    parts = [
        resolve_positions(
            picks,
            own,
            tomograms,
            coords_pixel_size=coords_pixel_size,
            apply_origins=apply_origins,
        )
        for picks, own in zip(files, np.split(names, ends[:-1]), strict=True)
    ]
    return np.concatenate(parts)


def resolve_positions(
    picks: Picks,
    names: np.ndarray,
    tomograms: Mapping[str, Tomogram],
    *,
    coords_pixel_size: float | None = None,
    apply_origins: bool = True,
) -> np.ndarray:
    """Positions in Angstrom from the centre of voxel (0, 0, 0), shape (n, 3), float64, **xyz**.

    Parameters
    ----------
    picks : Picks
        As read.
    names : ndarray, shape (n,), object of str
        Normalised tomogram name of each pick.
    tomograms : mapping of str to Tomogram
        By normalised name; picks of other tomograms get ``nan``.
    coords_pixel_size : float, optional
        Pixel size of the coordinates in Angstrom; beats what the file says.
    apply_origins : bool
        Subtract the shifts that the file gives (RELION's sign).

    Raises
    ------
    InputError
        Two readings fit, or all picks of a tomogram lie outside it.
    """
    positions = np.full_like(picks.coordinates, np.nan)
    for name in dict.fromkeys(names):
        if name not in tomograms:
            continue
        rows = np.flatnonzero(names == name)
        tomogram = tomograms[name]
        scale, reading = _scale(picks, rows, tomogram, coords_pixel_size)
        positions[rows] = _unshifted(picks, rows, tomogram, scale)
        shifted = apply_origins and picks.shifts_angst is not None
        if shifted and picks.shifts_angst is not None:
            positions[rows] -= picks.shifts_angst[rows]
        reading += ", shifts applied" if shifted else ", shifts none"
        _report(picks, tomogram, positions[rows], scale, reading)
    return positions


def inside(positions_xyz: np.ndarray, tomogram: Tomogram) -> np.ndarray:
    """Whether the voxel nearest to each position lies in the tomogram, shape (n,), bool."""
    voxels = np.rint(positions_xyz / tomogram.pixel_size)
    return np.asarray(np.all((voxels >= 0) & (voxels < tomogram.size_xyz), axis=1))


def _unshifted(picks: Picks, rows: np.ndarray, tomogram: Tomogram, scale: float) -> np.ndarray:
    coordinates: np.ndarray = picks.coordinates[rows]
    extent = tomogram.size_xyz * tomogram.pixel_size
    if picks.unit == "angstrom":
        return coordinates
    if picks.unit == "centred_angstrom":
        return np.asarray(coordinates + extent / 2.0)
    if picks.unit == "normalised":
        return np.asarray(coordinates * extent)
    return np.asarray(coordinates * scale)


def _scale(
    picks: Picks, rows: np.ndarray, tomogram: Tomogram, option: float | None
) -> tuple[float, str]:
    """Angstrom per unit of the coordinates, and words for the log."""
    if picks.unit != "voxel":
        return 1.0, {
            "angstrom": "Angstrom from the first voxel",
            "centred_angstrom": "Angstrom from the centre",
            "normalised": "0..1 of the tomogram",
        }[picks.unit]
    stated = [(source, value) for source, value in picks.pixel_sizes if value and is_set(value)]
    if option is not None:
        for source, value in stated:
            if differ(option, value):
                log.warning(
                    f"{picks.path}: --coords-angpix {option:g} A wins over {source} = {value:g} A"
                )
        return option, f"pixels of {option:g} A (--coords-angpix)"
    for source, value in stated:
        return value, f"pixels of {value:g} A ({source})"
    own = tomogram.pixel_size
    image = picks.image_pixel_size
    if image is None or not is_set(image) or not differ(image, own):
        return own, f"voxels of the tomogram, {own:g} A ({tomogram.pixel_size_from})"
    return _tomogram_or_image_pixels(picks, rows, tomogram, image)


def _tomogram_or_image_pixels(
    picks: Picks, rows: np.ndarray, tomogram: Tomogram, image: float
) -> tuple[float, str]:
    """RELION 3.1 counts voxels of the tomogram, Warp's export pixels of the image: which fits."""
    own = tomogram.pixel_size
    readings = [(own, "voxels of the tomogram"), (image, "pixels of the particle images")]
    fits = [
        (scale, words)
        for scale, words in readings
        if inside(picks.coordinates[rows] * scale, tomogram).mean() > 0.5
    ]
    if len(fits) != 1:
        raise InputError(
            "the coordinates can be read in two ways",
            where=f"{picks.path}, tomogram {tomogram.name}",
            found=f"voxels of the tomogram ({own:g} A) or of the images ({image:g} A); "
            + ("both fit" if fits else "neither fits"),
            hint=f"--coords-angpix {own:g} (RELION extraction) or {image:g} (Warp export)",
        )
    scale, words = fits[0]
    return scale, f"{words}, {scale:g} A (the other reading lies outside)"


def _report(
    picks: Picks, tomogram: Tomogram, positions: np.ndarray, scale: float, reading: str
) -> None:
    count = int(inside(positions, tomogram).sum())
    voxels = positions / tomogram.pixel_size
    size = tomogram.size_xyz
    spans = "  ".join(
        f"{axis} {voxels[:, n].min():.0f}..{voxels[:, n].max():.0f} of {size[n]}"
        for n, axis in enumerate("xyz")
    )
    log.info(
        f"{tomogram.name}: {len(voxels):,} picks, {picks.producer}, {reading}; tomogram "
        f"{tomogram.pixel_size:g} A ({tomogram.pixel_size_from}); {spans}; inside {count:,}"
    )
    if count == len(voxels):
        if picks.unit == "voxel":
            _warn_of_corner(tomogram, voxels, scale)
        return
    factor = _fitting_factor(positions, tomogram) if picks.unit == "voxel" else None
    advice = (
        f"they would fit if the coordinates were {factor:.3g} times as large: --coords-angpix "
        f"{factor * scale:.4g}"
        if factor
        else "check --coords, --coords-angpix and the tomogram names"
    )
    where = f"{picks.path}, tomogram {tomogram.name}"
    if count == 0:
        raise InputError(
            "all picks lie outside their tomogram", where=where, found=spans, hint=advice
        )
    if factor and count < len(voxels) / 2:
        log.warning(f"{where}: {len(voxels) - count:,} picks lie outside; {advice}")


def _warn_of_corner(tomogram: Tomogram, voxels: np.ndarray, scale: float) -> None:
    """All picks in the half of x and of y next to the origin: likely a bin factor."""
    if len(voxels) > 1 and voxels.max() * tomogram.pixel_size <= scale:
        log.warning(
            f"{tomogram.name}: all coordinates lie between 0 and 1; if they are shares of the "
            "tomogram, as in Warp's template matching, give --coords normalised"
        )
        return
    share = voxels[:, :2].max(axis=0) / tomogram.size_xyz[:2]
    if len(voxels) >= 20 and 0 < share.max() < 0.5:
        log.warning(
            f"{tomogram.name}: all picks lie in one corner ({share[0]:.0%} of x, {share[1]:.0%} of "
            f"y); if a bin factor is wrong, give --coords-angpix, such as "
            f"{np.floor(1 / share.max()) * scale:.4g}"
        )


def _fitting_factor(positions: np.ndarray, tomogram: Tomogram) -> float | None:
    """The first likely bin factor under which nearly all picks are inside."""
    for factor in _LIKELY_FACTORS:
        if inside(positions * factor, tomogram).mean() > 0.95:
            return factor
    return None
