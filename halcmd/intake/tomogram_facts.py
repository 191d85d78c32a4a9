"""What a tomograms.star is, as ``halcmd info`` prints it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from halcmd.errors import InputError, first_few
from halcmd.formats.star import Star, Table
from halcmd.particles import numbers_of
from halcmd.picks.tomograms import VOLUME_COLUMNS

Facts = dict[str, Any]
_T = TypeVar("_T")


def tomogram_facts(star: Star) -> Facts:
    """Names, sizes in pixels of the tilt series, voxel sizes and which volumes there are."""
    table = star.table("global")
    assert table is not None
    warnings: list[str] = []

    def column(label: str) -> np.ndarray:
        return _numbers(table, label, star.path, warnings)

    volumes = [label for label in table.labels if label in VOLUME_COLUMNS]
    pixels, binnings = column("rlnTomoTiltSeriesPixelSize"), column("rlnTomoTomogramBinning")
    if volumes and "rlnTomoTomogramBinning" not in table:
        binnings = np.ones(len(table))
    sizes = np.stack([column(f"rlnTomoSize{axis}") for axis in "XYZ"], axis=1)
    whole = sizes[np.isfinite(sizes).all(axis=1)].astype(int)
    facts: Facts = {
        "file": str(star.path),
        "type": "tomograms",
        "producer": "relion",
        "tomograms": dict.fromkeys(table.column("rlnTomoName"), 1),
        "tilt_series_pixel_size": _distinct(pixels.round(5)),
        "size": [list(size) for size in sorted(set(map(tuple, whole.tolist())))],
        "binning": _distinct(binnings),
        "voxel_size": _distinct((pixels * binnings).round(4)),
        "volumes": volumes,
        "columns": table.labels,
        "warnings": warnings,
    }
    if "rlnTomoTiltSeriesStarFile" in table and not (volumes or facts["size"]):
        warnings.append(
            "these are tilt series, not tomograms: as --tomograms give the tomograms.star of the "
            "reconstruction job, or this file and the folder of the tomograms"
        )
        return facts | {"type": "tilt_series"}
    return facts


def _numbers(table: Table, label: str, path: Path | None, warnings: list[str]) -> np.ndarray:
    """A column as numbers, shape (n,); nan, with a warning, where it has none."""
    if label not in table:
        return np.full(len(table), np.nan)
    values = or_warning(lambda: numbers_of(table, label, path), warnings)
    if values is None:
        return np.full(len(table), np.nan)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        names = np.array(table.column("rlnTomoName"), dtype=object)[bad]
        warnings.append(f"{label} is missing for {first_few(names)}")
    return values


def _distinct(values: np.ndarray) -> list[float]:
    return sorted(set(values[np.isfinite(values)].tolist()))


def or_warning(read: Callable[[], _T], warnings: list[str]) -> _T | None:
    """What a function returns; None and a warning where it cannot be read."""
    try:
        return read()
    except InputError as error:
        warnings.append(f"{error.message} ({error.where})")
        return None
