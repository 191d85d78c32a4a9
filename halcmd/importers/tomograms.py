"""The tomograms that picks lie in: from tomograms.star, a folder, or one MRC file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from halcmd.errors import InputError, did_you_mean, first_few
from halcmd.formats.files import unreadable
from halcmd.formats.mrc import Volume, open_volume
from halcmd.formats.star import Star, Table, number_of, read_star
from halcmd.particles import tomogram_name
from halcmd.pixel_size import is_set, resolve_pixel_size

_VOLUME_SUFFIXES = (".mrc", ".rec", ".map")
# RELION 5 writes one or several of these; its C++ label table spells the denoised one differently.
_VOLUME_COLUMNS = (
    "rlnTomoReconstructedTomogram",
    "rlnTomoReconstructedTomogramDenoised",
    "rlnTomoDenoisedTomogram",
    "rlnTomoReconstructedTomogramHalf1",
)


@dataclass(frozen=True)
class Tomogram:
    """One tomogram.

    Attributes
    ----------
    name : str
        Normalised.
    volume : Volume
        Memory-mapped voxels, (z, y, x).
    pixel_size, pixel_size_from : float, str
        Voxel edge in Angstrom and the source that it came from.
    tilt_range : (float, float)
        Degrees; nan where unknown.
    contrast : str
        ``bright``, ``dark`` or ``unknown``.
    optics : dict of str to str
        rlnVoltage, rlnSphericalAberration, rlnAmplitudeContrast where tomograms.star has them.
    """

    name: str
    volume: Volume
    pixel_size: float
    pixel_size_from: str
    tilt_range: tuple[float, float]
    contrast: str
    optics: dict[str, str]

    @property
    def size_xyz(self) -> np.ndarray:
        """Voxels along x, y, z."""
        return np.array(self.volume.data.shape[::-1])


def find_tomograms(path: Path, *, pixel_size: float | None = None) -> dict[str, Tomogram]:
    """Tomograms by normalised name.

    Parameters
    ----------
    path : Path
        RELION's tomograms.star, a folder of MRC files, or one MRC file.
    pixel_size : float, optional
        Voxel edge in Angstrom; beats all other sources.

    Raises
    ------
    InputError
        There is none, two are of one name, or a pixel size is missing or contradictory.
    """
    if path.is_dir():
        files = sorted(item for item in path.iterdir() if item.suffix in _VOLUME_SUFFIXES)
        if not files:
            raise InputError(
                "no tomograms in this folder",
                where=str(path),
                hint=f"files that end in {', '.join(_VOLUME_SUFFIXES)}",
            )
        found = [_from_file(file, pixel_size) for file in files]
    elif path.suffix == ".star":
        found = _from_star(read_star(path), pixel_size)
    elif path.exists():
        found = [_from_file(path, pixel_size)]
    else:
        raise unreadable(path, FileNotFoundError())
    names = [tomogram.name for tomogram in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            "two tomograms are of the same name",
            where=str(path),
            found=first_few(twice),
            hint="name the tomograms in a tomograms.star, one row each",
        )
    return dict(zip(names, found, strict=True))


def tomograms_of(
    names: np.ndarray, tomograms: dict[str, Tomogram], *, where: str, tomograms_path: Path
) -> np.ndarray:
    """Normalised tomogram name for each pick, shape (n,), object.

    Raises
    ------
    InputError
        A pick names a tomogram that is not there, or none where there are several.
    """
    plain = {name: tomogram_name(name) for name in set(names)}
    only = next(iter(tomograms)) if len(tomograms) == 1 else None
    if "" in plain:
        if only is None:
            raise InputError(
                "the picks name no tomogram, and there are several",
                where=where,
                found=f"{len(tomograms)} tomograms in {tomograms_path}",
                hint="a column rlnTomoName (STAR) or tomogram (CSV), or --tomograms with one file",
            )
        plain[""] = only
    missing = sorted({name for name in plain.values() if name not in tomograms})
    if missing:
        raise InputError(
            f"no tomogram for {missing[0]}",
            where=where,
            found=f"{first_few(missing)} without a tomogram in {tomograms_path}",
            hint=did_you_mean(missing[0], tomograms),
        )
    return np.array([plain[name] for name in names], dtype=object)


def _from_file(path: Path, option: float | None) -> Tomogram:
    volume = _open(path)
    size, source = resolve_pixel_size(
        "the tomogram",
        [("MRC header", _header_size(volume, option))],
        option=option,
        option_name="--tomo-angpix",
        where=str(path),
    )
    unknown = (float("nan"), float("nan"))
    return Tomogram(tomogram_name(path.name), volume, size, source, unknown, "unknown", {})


def _from_star(star: Star, option: float | None) -> list[Tomogram]:
    table = star.table("global")
    if table is None or "rlnTomoName" not in table:
        raise InputError(
            "this is no tomograms.star",
            where=str(star.path),
            found=", ".join(f"data_{t.name}" for t in star.tables),
            hint="a block data_global with rlnTomoName and rlnTomoReconstructedTomogram",
        )
    column = next((name for name in _VOLUME_COLUMNS if name in table), None)
    if column is None:
        raise InputError(
            "this tomograms.star names no volumes",
            where=str(star.path),
            hint="reconstruct the tomograms first, or --tomograms with their folder",
        )
    return [_from_row(star, table, row, column, option) for row in range(len(table))]


def _from_row(star: Star, table: Table, row: int, column: str, option: float | None) -> Tomogram:
    def value(label: str) -> float | None:
        return number_of(table.column(label)[row]) if label in table else None

    name = table.column("rlnTomoName")[row]
    volume = _open(_locate(table.column(column)[row], star))
    series, binning = value("rlnTomoTiltSeriesPixelSize"), value("rlnTomoTomogramBinning")
    stated = series * (binning or 1.0) if is_set(series) and series is not None else None
    size, source = resolve_pixel_size(
        f"tomogram {name}",
        [("tomograms.star", stated), ("MRC header", _header_size(volume, option))],
        option=option,
        option_name="--tomo-angpix",
        where=str(star.path),
    )
    low, high = value("halTiltMin"), value("halTiltMax")
    if low is None or high is None:
        low, high = _series_tilts(star, table, row)
    contrast = table.column("halContrast")[row] if "halContrast" in table else "unknown"
    labels = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
    optics = {label: table.column(label)[row] for label in labels if label in table}
    return Tomogram(tomogram_name(name), volume, size, source, (low, high), contrast, optics)


def _series_tilts(star: Star, table: Table, row: int) -> tuple[float, float]:
    """First and last nominal tilt of RELION 5's tilt series file; nan where there is none."""
    unknown = (float("nan"), float("nan"))
    if "rlnTomoTiltSeriesStarFile" not in table:
        return unknown
    path = _search(table.column("rlnTomoTiltSeriesStarFile")[row], star)
    if path is None:
        return unknown
    series = next(iter(read_star(path).tables))
    if "rlnTomoNominalStageTiltAngle" not in series:
        return unknown
    tilts = [number_of(text) for text in series.column("rlnTomoNominalStageTiltAngle")]
    return min(tilts), max(tilts)


def _locate(name: str, star: Star) -> Path:
    path = _search(name, star)
    if path is None:
        raise InputError(
            "a tomogram is not where tomograms.star says",
            where=str(star.path),
            found=name,
            hint="run halcmd in the project folder, or --tomograms with the folder of the volumes",
        )
    return path


def _search(name: str, star: Star) -> Path | None:
    """The file, relative to the working directory or to a folder above the STAR file."""
    if Path(name).exists():
        return Path(name)
    folders = star.path.absolute().parents if star.path else ()
    return next((folder / name for folder in folders if (folder / name).exists()), None)


def _header_size(volume: Volume, option: float | None) -> float:
    """Voxel edge as the header has it; unequal ones are no error where an option wins anyway."""
    size = volume.pixel_size if option is None else None
    return size if size is not None else min(volume.voxel_size)


def _open(path: Path) -> Volume:
    volume = open_volume(path)
    if volume.data.ndim != 3:
        raise InputError("this is a stack of volumes, not a tomogram", where=str(path))
    return volume
