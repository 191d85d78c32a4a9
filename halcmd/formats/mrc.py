"""MRC files in: tomograms and subtomograms, memory-mapped; axes as z, y, x.

RELION decides by the extension: ``.mrc`` is one volume, ``.mrcs`` a stack. A volume stack (space
group 401, as in MRC2014) is private to halcmd and other Python programs.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np

from halcmd.console import log
from halcmd.errors import DataError, InputError
from halcmd.formats.files import unreadable

HEADER_BYTES = 1024
_MODES = {0: np.int8, 1: np.int16, 2: np.float32, 6: np.uint16, 12: np.float16}
_AXES_TOLERANCE = 0.005


@dataclass(frozen=True)
class Volume:
    """One open MRC file.

    Attributes
    ----------
    path : Path
        The file.
    data : ndarray, shape (z, y, x) or (n, z, y, x)
        Memory-mapped, read only.
    voxel_size : tuple of float
        x, y, z in Angstrom as in the header; 0 where it is not set.
    kind : str
        ``volume``, ``volume_stack`` or ``image_stack``.
    mode : int
        Number format: 0 int8, 1 int16, 2 float32, 6 uint16, 12 float16.
    """

    path: Path
    data: np.ndarray
    voxel_size: tuple[float, float, float]
    kind: str
    mode: int

    @property
    def pixel_size(self) -> float | None:
        """Voxel edge in Angstrom; None where the header says 0 or 1.0, which means never set.

        Raises
        ------
        DataError
            The axes differ by more than 0.5 %.
        """
        x, y, z = self.voxel_size
        if min(x, y, z) <= 0 or (x == y == z == 1.0):
            return None
        if max(x, y, z) / min(x, y, z) > 1 + _AXES_TOLERANCE:
            raise DataError(
                "voxels are not cubic",
                where=str(self.path),
                found=f"{x:.4f} x {y:.4f} x {z:.4f} A in the header",
                hint="rescale the volume to cubic voxels, or mend its header",
            )
        return round(x, 5)


def open_volume(path: Path) -> Volume:
    """An MRC file, memory-mapped.

    Raises
    ------
    InputError
        The file is missing, compressed, no MRC file, of a number format that is not used for maps,
        or shorter than its header says.
    """
    if path.suffix in {".gz", ".bz2"}:
        raise InputError(
            "a compressed MRC file cannot be mapped",
            where=str(path),
            hint=f"gunzip {path.name}, then name the unpacked file",
        )
    try:
        size = path.stat().st_size
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with mrcfile.open(path, header_only=True, permissive=True) as file:
                header = file.header
                _check_header(header, size, path)
                kind = _kind(header, path)
                voxel = tuple(float(header.cella[axis]) for axis in "xyz")
                data = _map(header, path, kind)
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise InputError("this is no MRC file", where=str(path), found=str(error)) from error
    for warning in caught:
        log.debug(f"{path}: {warning.message}")
    counts = (int(header.mx), int(header.my), int(header.mz))
    x, y, z = (
        edge / count if count > 0 else 0.0 for edge, count in zip(voxel, counts, strict=True)
    )
    return Volume(path, data, (x, y, z), kind, int(header.mode))


def _check_header(header: np.recarray, size: int, path: Path) -> None:
    shape = (int(header.nz), int(header.ny), int(header.nx))
    mode = int(header.mode)
    if min(shape) < 1 or not 0 <= mode <= 101 or int(header.nsymbt) < 0:
        raise InputError(
            "this is no MRC file",
            where=str(path),
            found=f"size {shape[2]} x {shape[1]} x {shape[0]}, mode {mode} in the header",
            hint="the file may be damaged or of another format",
        )
    if mode not in _MODES:
        raise InputError(
            f"MRC mode {mode} cannot be read as a map",
            where=str(path),
            hint="convert it to mode 2 (float32), with newstack -mode 2 or relion_image_handler",
        )
    if sorted(_axes(header)) != [1, 2, 3]:
        raise InputError(
            "this is no MRC file: its axes are not x, y, z in any order",
            where=str(path),
            found=f"mapc, mapr, maps = {_axes(header)}",
        )
    needed = HEADER_BYTES + int(header.nsymbt) + int(np.prod(shape)) * _itemsize(mode)
    if size < needed:
        raise InputError(
            "this MRC file is cut off",
            where=str(path),
            found=f"{size:,} bytes of the {needed:,} that its header announces",
            hint="copy it again; the disk may have been full",
        )


def _itemsize(mode: int) -> int:
    return np.dtype(_MODES[mode]).itemsize


def _kind(header: np.recarray, path: Path) -> str:
    if 401 <= int(header.ispg) <= 630 and int(header.mz) > 0:
        return "volume_stack"
    return "image_stack" if path.suffix in {".mrcs", ".st"} else "volume"


def _map(header: np.recarray, path: Path, kind: str) -> np.ndarray:
    dtype = np.dtype(_MODES[int(header.mode)]).newbyteorder(header.mode.dtype.byteorder)
    shape: tuple[int, ...] = (int(header.nz), int(header.ny), int(header.nx))
    if kind == "volume_stack":
        depth = int(header.mz)
        if shape[0] % depth:
            raise InputError(
                "this volume stack does not hold a whole number of volumes",
                where=str(path),
                found=f"{shape[0]} sections in volumes of {depth}",
            )
        shape = (shape[0] // depth, depth, *shape[1:])
    offset = HEADER_BYTES + int(header.nsymbt)
    data = np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)
    return _as_zyx(data, _axes(header), path)


def _axes(header: np.recarray) -> tuple[int, int, int]:
    """Which of x, y, z (1, 2, 3) runs along columns, rows and sections."""
    axes = (int(header.mapc), int(header.mapr), int(header.maps))
    return (1, 2, 3) if axes == (0, 0, 0) else axes


def _as_zyx(data: np.ndarray, axes: tuple[int, int, int], path: Path) -> np.ndarray:
    """A view of the same voxels as (z, y, x), where they are stored in another order."""
    if axes == (1, 2, 3):
        return data
    if data.ndim != 3:
        raise InputError(
            "a volume stack must be stored with x fastest, then y, then z",
            where=str(path),
            found=f"mapc, mapr, maps = {axes}",
        )
    log.debug(f"{path}: axes are stored as mapc, mapr, maps = {axes}; read as x, y, z")
    stored = axes[::-1]
    return data.transpose([stored.index(axis) for axis in (3, 2, 1)])
