"""MRC files out: tomograms, and subtomograms as stacks or single files, always with a pixel size.

RELION decides by the extension: ``.mrc`` is one volume, ``.mrcs`` a stack. A volume stack (space
group 401, as in MRC2014) is private to halcmd and other Python programs.
"""

import errno
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import mrcfile
import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from halcmd import __version__
from halcmd.errors import InputError, first_few
from halcmd.formats.files import atomic, take_room
from halcmd.formats.mrc import HEADER_BYTES


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
            start = HEADER_BYTES + int(place) * data.nbytes
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


def write_volume(path: Path, volume: np.ndarray, pixel_size: float) -> None:
    """Write one (z, y, x) volume as float32, or float16 where the array is float16."""
    with atomic(path) as temporary, mrcfile.new(temporary, overwrite=True) as file:
        data = volume if volume.dtype == np.float16 else volume.astype(np.float32, copy=False)
        file.set_data(data)
        file.set_volume()
        _finish(file, pixel_size, _statistics(data))


@contextmanager
def volume_stack(
    path: Path,
    count: int,
    box: int,
    *,
    pixel_size: float,
    float16: bool = False,
    by_map: bool = False,
) -> Iterator[StackWriter]:
    """A stack of ``count`` cubic volumes to fill; complete or absent.

    ``by_map`` says that some are written through ``boxes``: their disk space is then taken first.
    """
    mode = 12 if float16 else 2
    with atomic(path) as temporary:
        file = mrcfile.new_mmap(temporary, (count, box, box, box), mrc_mode=mode, overwrite=True)
        with file, temporary.open("r+b") as raw:
            if by_map:
                take_room(temporary)
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
        raise InputError(
            "two particles would be written to the same file",
            found=first_few(twice),
            hint="names of tomograms that differ in more than blanks and special characters",
        )


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
    statistics: tuple[float, float, float, float],
) -> None:
    file.voxel_size = pixel_size
    header = file.header
    header.dmin, header.dmax, header.dmean, header.rms = statistics
    header.label[0] = f"halcmd {__version__}".encode()
    header.nlabl = 1
