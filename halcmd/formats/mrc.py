"""MRC files: tomograms and subtomograms, memory-mapped both ways, always with a pixel size.

RELION decides by the extension: ``.mrc`` is one volume, ``.mrcs`` a stack. A volume stack (space
group 401, as in MRC2014) is private to halcmd and other Python programs.
"""

import errno
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from halcmd import __version__
from halcmd.console import log
from halcmd.errors import DataError, InputError, first_few
from halcmd.formats.files import atomic, unreadable

_HEADER_BYTES = 1024
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


class StackWriter:
    """A volume stack that is being filled, and the statistics of its boxes for the header.

    Attributes
    ----------
    boxes : ndarray, shape (n, z, y, x)
        The stack, memory-mapped; may be read, and written without counting.
    """

    def __init__(self, boxes: np.ndarray, file: int) -> None:
        self.boxes = boxes
        self._file = file
        self._statistics = np.zeros((len(boxes), 4))

    def fill(self, places: np.ndarray, boxes: np.ndarray) -> None:
        """Put boxes, shape (n, z, y, x), at these places (from 0); threads may fill others.

        They are written to the file itself: through its map each new page would cost a fault.
        """
        for place, box in zip(places, boxes, strict=True):
            data = np.ascontiguousarray(box, dtype=self.boxes.dtype)
            start = _HEADER_BYTES + int(place) * data.nbytes
            if os.pwrite(self._file, data.data, start) < data.nbytes:
                raise OSError(errno.ENOSPC, "no space left on the disk")
            self._statistics[place] = _statistics(box)

    @property
    def statistics(self) -> tuple[float, float, float, float]:
        """Minimum, maximum, mean and standard deviation of all boxes."""
        lows, highs, means, spreads = self._statistics.T
        mean = means.mean()
        spread = np.sqrt(np.mean(spreads**2 + (means - mean) ** 2))
        return lows.min(), highs.max(), mean, spread


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


def write_volume(path: Path, volume: np.ndarray, pixel_size: float) -> None:
    """Write one (z, y, x) volume as float32, or float16 where the array is float16."""
    with atomic(path) as temporary, mrcfile.new(temporary, overwrite=True) as file:
        data = volume if volume.dtype == np.float16 else volume.astype(np.float32, copy=False)
        file.set_data(data)
        file.set_volume()
        _finish(file, pixel_size)


@contextmanager
def volume_stack(
    path: Path, count: int, box: int, *, pixel_size: float, float16: bool = False
) -> Iterator[StackWriter]:
    """A stack of ``count`` cubic volumes to fill; complete or absent."""
    mode = 12 if float16 else 2
    with atomic(path) as temporary:
        file = mrcfile.new_mmap(temporary, (count, box, box, box), mrc_mode=mode, overwrite=True)
        with file, temporary.open("r+b") as raw:
            stack = StackWriter(file.data, raw.fileno())
            yield stack
            _finish(file, pixel_size, stack.statistics)


def write_stack(
    path: Path,
    batches: Iterable[np.ndarray],
    count: int,
    box: int,
    *,
    pixel_size: float,
    float16: bool = False,
) -> list[str]:
    """Image names ``000001@path`` ... of boxes written as one volume stack.

    Parameters
    ----------
    batches : iterable of ndarray, shape (n, box, box, box)
        ``count`` boxes in all.
    """
    with volume_stack(path, count, box, pixel_size=pixel_size, float16=float16) as stack:
        start = 0
        for batch in batches:
            stack.fill(np.arange(start, start + len(batch)), batch)
            start += len(batch)
    return stack_names(path, count)


def stack_names(path: Path, count: int) -> list[str]:
    """Image names ``000001@path`` ... of the boxes of a stack."""
    return [f"{number:06d}@{path}" for number in range(1, count + 1)]


def write_singles(
    paths: Sequence[Path],
    batches: Iterable[np.ndarray],
    *,
    pixel_size: float,
    float16: bool = False,
) -> list[str]:
    """Image names of boxes written as one file each, which is what RELION reads.

    Parameters
    ----------
    batches : iterable of ndarray, shape (n, box, box, box)
        One box for each path in all.

    Raises
    ------
    InputError
        Two boxes would go into the same file.
    """
    check_paths(paths)
    write = SingleWriter(pixel_size, float16=float16)
    boxes = (box for batch in batches for box in batch)
    for path, box in zip(paths, boxes, strict=True):
        write(path, box)
    return [str(path) for path in paths]


def check_paths(paths: Sequence[Path]) -> None:
    """Raise InputError where two boxes would go into the same file."""
    if len(set(paths)) < len(paths):
        twice = [path.name for path, count in Counter(paths).items() if count > 1]
        raise InputError("two particles would be written to the same file", found=first_few(twice))


class SingleWriter:
    """Writes boxes of one size, each into a file of its own.

    The first goes through mrcfile; the others take its header, but for the statistics, which is
    several times as fast.
    """

    def __init__(self, pixel_size: float, *, float16: bool = False) -> None:
        self._pixel_size = pixel_size
        self._dtype = np.dtype(np.float16 if float16 else np.float32)
        self._header: np.ndarray | None = None

    def __call__(self, path: Path, box: np.ndarray) -> None:
        """Write one (z, y, x) box."""
        box = np.ascontiguousarray(box, dtype=self._dtype)
        if self._header is None:
            write_volume(path, box, self._pixel_size)
            self._header = np.fromfile(path, HEADER_DTYPE, count=1)[0]
            return
        header = self._header.copy()
        header["dmin"], header["dmax"], header["dmean"], header["rms"] = _statistics(box)
        with atomic(path) as temporary:
            temporary.write_bytes(header.tobytes() + box.tobytes())


def single_path(folder: Path, particle_id: str) -> Path:
    """File of one particle: ``TS_01/000012`` becomes ``folder/TS_01_000012.mrc``."""
    return folder / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', particle_id)}.mrc"


def _statistics(box: np.ndarray) -> tuple[float, float, float, float]:
    """Minimum, maximum, mean and standard deviation."""
    mean = box.mean(dtype=np.float64)
    centred = (box - np.float32(mean)).ravel()
    square = np.dot(centred, centred) / box.size
    return float(box.min()), float(box.max()), float(mean), float(square) ** 0.5


def _finish(
    file: mrcfile.mrcfile.MrcFile,
    pixel_size: float,
    statistics: tuple[float, float, float, float] | None = None,
) -> None:
    file.voxel_size = pixel_size
    if statistics is not None:
        header = file.header
        header.dmin, header.dmax, header.dmean, header.rms = statistics
    file.header.label[0] = f"halcmd {__version__}".encode()
    file.header.nlabl = 1


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
    needed = _HEADER_BYTES + int(header.nsymbt) + int(np.prod(shape)) * _itemsize(mode)
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
    offset = _HEADER_BYTES + int(header.nsymbt)
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
