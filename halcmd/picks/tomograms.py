"""The tomograms that picks lie in: from tomograms.star, folders, or MRC files."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.formats.mrc import Volume, open_volume
from halcmd.formats.star import read_star
from halcmd.particles import numbers_of, tomogram_name
from halcmd.picks.optimisation_set import locate
from halcmd.picks.tomogram_names import Entry, Row, entries, entries_of
from halcmd.pixel_size import header_size, is_set, resolve_pixel_size

# RELION 5 names one or several of these; its C++ label table spells the denoised one differently.
_COLUMNS_OF_KIND: dict[str, tuple[tuple[str, ...], ...]] = {
    "full": (("rlnTomoReconstructedTomogram",),),
    "denoised": (("rlnTomoReconstructedTomogramDenoised",), ("rlnTomoDenoisedTomogram",)),
    "halves": (("rlnTomoReconstructedTomogramHalf1", "rlnTomoReconstructedTomogramHalf2"),),
}
VOLUME_COLUMNS = tuple(c for kind in _COLUMNS_OF_KIND.values() for columns in kind for c in columns)
UNKNOWN_TILTS = (float("nan"), float("nan"))


@dataclass(frozen=True)
class Tomogram:
    """One tomogram.

    Attributes
    ----------
    name : str
        Normalised.
    volumes : tuple of Volume
        Memory-mapped voxels, (z, y, x): one volume, or two half-maps that are averaged.
    pixel_size, pixel_size_from : float, str
        Voxel edge in Angstrom and the source that it came from.
    tilt_range : (float, float)
        Degrees; nan where unknown.
    contrast : str
        ``bright``, ``dark`` or ``unknown``.
    optics : dict of str to str
        rlnVoltage, rlnSphericalAberration, rlnAmplitudeContrast where tomograms.star has them.
    tilt_series_pixel_size : float or None
        Angstrom per pixel of the tilt series (bin 1), where tomograms.star has it.
    stated_extent : ndarray, shape (3,), **xyz**, or None
        Edges of the tomogram in Angstrom as tomograms.star has them.
    """

    name: str
    volumes: tuple[Volume, ...]
    pixel_size: float
    pixel_size_from: str
    tilt_range: tuple[float, float] = UNKNOWN_TILTS
    contrast: str = "unknown"
    optics: dict[str, str] = field(default_factory=dict)
    tilt_series_pixel_size: float | None = None
    stated_extent: np.ndarray | None = None

    def __post_init__(self) -> None:
        # As the table will have it: whoever divides by it finds the same voxels.
        object.__setattr__(self, "pixel_size", round(self.pixel_size, 5))

    @property
    def size_xyz(self) -> np.ndarray:
        """Voxels along x, y, z."""
        return np.array(self.volumes[0].data.shape[::-1])

    @property
    def extent_xyz(self) -> np.ndarray:
        """Edges in Angstrom: of the tilt series' own size, since the volume's is rounded."""
        return self.size_xyz * self.pixel_size if self.stated_extent is None else self.stated_extent


def find_tomograms(
    names: np.ndarray,
    paths: Sequence[Path],
    *,
    where: str,
    stems: np.ndarray | None = None,
    pixel_size: float | None = None,
    kind: str = "auto",
) -> tuple[np.ndarray, dict[str, Tomogram]]:
    """The tomogram of each pick.

    Parameters
    ----------
    names : ndarray, shape (n,), object of str
        Tomogram names as they stand in the picks.
    paths : sequence of Path
        tomograms.star (or an optimisation set), folders of MRC files, MRC files. A tomograms.star
        that names no volumes takes those of a folder.
    where : str
        The file of picks, for messages.
    stems : ndarray, shape (n,), object of str, optional
        Name of the file that each pick is from, which stands for its tomogram where the pick names
        none and there are several.
    pixel_size : float, optional
        Voxel edge in Angstrom; beats all other sources.
    kind : str
        Where tomograms.star names several volumes: ``auto``, ``full``, ``denoised`` or ``halves``.

    Returns
    -------
    names : ndarray, shape (n,), object of str
        Normalised.
    tomograms : dict of str to Tomogram
        By normalised name.

    Raises
    ------
    InputError
        A tomogram is missing or ambiguous, or a pixel size is missing or contradictory.
    """
    offered = entries(paths)
    if stems is not None and len(offered) > 1:
        names = np.where(names == "", stems, names)
    shown = ", ".join(map(str, paths))
    found = entries_of(names, offered, where=where, tomograms=shown)
    plain = {name: tomogram_name(entry.name) for name, entry in found.items()}
    opened = {plain[name]: _open(entry, pixel_size, kind) for name, entry in found.items()}
    return np.array([plain[name] for name in names], dtype=object), opened


def _open(entry: Entry, option: float | None, kind: str) -> Tomogram:
    if entry.row is None:
        assert entry.path is not None
        return _from_file(entry.path, option)
    return _from_row(entry, entry.row, option, kind)


def _from_file(path: Path, option: float | None) -> Tomogram:
    volume = _volume(path)
    size, source = resolve_pixel_size(
        "the tomogram",
        [("MRC header", header_size(volume, unequal=option is not None))],
        option=option,
        option_name="--tomo-angpix",
        where=str(path),
    )
    return Tomogram(tomogram_name(path.name), (volume,), size, source)


def _from_row(entry: Entry, row: Row, option: float | None, kind: str) -> Tomogram:
    volumes = tuple(_volume(path) for path in _paths(entry, row, kind))
    series = row.number("rlnTomoTiltSeriesPixelSize")
    series = series if is_set(series) else None
    binning = row.number("rlnTomoTomogramBinning")
    # Without a binning, the volume is one that tomograms.star does not know: its header decides.
    stated = series * binning if series and binning else None
    if binning is None and entry.path is None:
        stated = series
    header = header_size(volumes[0], unequal=option is not None)
    size, source = resolve_pixel_size(
        f"tomogram {entry.name}",
        [("tomograms.star", stated), ("MRC header", header)],
        option=option,
        option_name="--tomo-angpix",
        where=str(row.path),
    )
    labels = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
    optics = {label: text for label in labels if (text := row.text(label)) is not None}
    tomogram = Tomogram(
        tomogram_name(entry.name),
        volumes,
        size,
        source,
        _tilts(row),
        row.text("halContrast") or "unknown",
        optics,
        series,
        _extent(row, series),
    )
    _check_extent(tomogram)
    return tomogram


def _paths(entry: Entry, row: Row, kind: str) -> list[Path]:
    """The volumes of a row: as wanted, or the first of full, denoised and halves that it names."""
    kinds = list(_COLUMNS_OF_KIND) if kind == "auto" else [kind]
    for columns in [columns for name in kinds for columns in _COLUMNS_OF_KIND[name]]:
        names = [row.text(column) for column in columns]
        there = [name for name in names if name is not None]
        if not there:
            continue
        if len(there) > 1:
            log.info(f"{entry.name}: boxes are the mean of those of both half-maps")
        return [_located(name, row) for name in there]
    if entry.path is not None:
        return [entry.path]
    raise InputError(
        "tomograms.star names no volume for a tomogram"
        if kind == "auto"
        else f"tomograms.star names no volume of kind {kind}",
        where=str(row.path),
        found=entry.name,
        hint="--tomograms once more, with the folder of the reconstructed tomograms",
    )


def _located(name: str, row: Row) -> Path:
    path = locate(name, row.path)
    if path is None:
        raise InputError(
            "a tomogram is not where tomograms.star says",
            where=str(row.path),
            found=name,
            hint="run halcmd in the project folder, or --tomograms with the folder of the volumes",
        )
    return path


def _extent(row: Row, series: float | None) -> np.ndarray | None:
    sizes = [row.number(f"rlnTomoSize{axis}") for axis in "XYZ"]
    if series is None or any(size is None for size in sizes):
        return None
    return np.array(sizes, dtype=np.float64) * series


def _check_extent(tomogram: Tomogram) -> None:
    """A volume much larger or smaller than stated is rotated, cropped or of another voxel size."""
    volume = tomogram.size_xyz * tomogram.pixel_size
    gaps = np.abs(tomogram.extent_xyz - volume)
    if np.any(gaps > 0.02 * volume + 2 * tomogram.pixel_size):
        log.warning(
            f"{tomogram.name}: tomograms.star says {_edges(tomogram.extent_xyz)} A, the volume is "
            f"{_edges(volume)} A along x, y, z; it may be cropped, turned or of another voxel size"
        )


def _edges(extent: np.ndarray) -> str:
    return " x ".join(f"{edge:.0f}" for edge in extent)


def _tilts(row: Row) -> tuple[float, float]:
    """First and last tilt in degrees; nan where tomograms.star does not lead to them."""
    low, high = row.number("halTiltMin"), row.number("halTiltMax")
    if low is not None and high is not None:
        return low, high
    tilts = _nominal_tilts(row) or _projected_tilts(row)
    return (min(tilts), max(tilts)) if tilts else UNKNOWN_TILTS


def _nominal_tilts(row: Row) -> list[float]:
    """Tilts of the tilt series file that RELION 5 names."""
    name = row.text("rlnTomoTiltSeriesStarFile")
    path = locate(name, row.path) if name else None
    if path is None:
        return []
    series = next(iter(read_star(path).tables))
    if "rlnTomoNominalStageTiltAngle" not in series:
        return []
    return list(numbers_of(series, "rlnTomoNominalStageTiltAngle", path))


def _projected_tilts(row: Row) -> list[float]:
    """Tilts from the projection matrices of RELION 4 and Warp, one block for each tilt series.

    rlnTomoProjZ is the beam in the axes of the tomogram: (sin tilt, 0, cos tilt, 0) for a tilt
    about y.
    """
    series = read_star(row.path).table(row.text("rlnTomoName") or "")
    if series is None or "rlnTomoProjZ" not in series:
        return []
    beams = [_vector(text, row.path) for text in series.column("rlnTomoProjZ")]
    return [float(np.degrees(np.arctan2(x, z))) for x, _, z, *_ in beams]


def _vector(text: str, path: Path) -> list[float]:
    """The numbers of ``[0.64,0,0.77,0]``."""
    try:
        values = [float(word) for word in text.strip("[]").split(",")]
    except ValueError:
        values = []
    if len(values) < 3:
        raise InputError("rlnTomoProjZ must be [x,y,z,w]", where=str(path), found=text)
    return values


def _volume(path: Path) -> Volume:
    volume = open_volume(path)
    if volume.data.ndim == 4 and len(volume.data) == 1:
        return replace(volume, data=volume.data[0], kind="volume")
    if volume.kind != "volume":
        what = "volumes" if volume.kind == "volume_stack" else "images"
        raise InputError(
            f"this is a stack of {what}, not a tomogram",
            where=str(path),
            hint="the volume of the tomogram, with the extension .mrc, .rec or .map",
        )
    return volume
