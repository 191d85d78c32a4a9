"""What score keeps of each particle for later: ``embedding.npy`` and ``features.npy``.

Row ``halFeature - 1`` belongs to a particle. float16, memory-mapped both ways.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from halcmd.errors import InputError
from halcmd.formats.files import TEMPORARY, atomic, unreadable


@contextmanager
def feature_file(path: Path, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """A float16 array to fill row by row, memory-mapped; complete or absent.

    Parameters
    ----------
    path : Path
        The .npy file.
    shape : tuple of int
        Particles first: (n, d) for embeddings, (n, c, z, y, x) for maps.
    """
    with atomic(path) as temporary:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=shape)
        yield array
        array.flush()


def part_path(path: Path, rank: int) -> Path:
    """Where a process of several keeps its rows of a feature file, until they are put together."""
    return path.with_name(f"{TEMPORARY}{path.stem}-part{rank}{path.suffix}")


def take_part(whole: np.ndarray, path: Path) -> None:
    """Move the rows of a part, which has as many, into the whole array or a slice of it."""
    if len(whole):
        whole[:] = open_features(path)
    path.unlink()


def open_features(path: Path) -> np.ndarray:
    """The array of ``embedding.npy`` or ``features.npy``, memory-mapped, read only, float16.

    Raises
    ------
    InputError
        The file is missing, damaged or holds something else.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, EOFError) as error:
        raise InputError(
            "this is no array of features, or it is cut off",
            where=str(path),
            found=str(error)[:120],
            hint="score again",
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype != np.float16 or array.ndim < 2:
        raise InputError("this is no array of features", where=str(path), hint="score again")
    return array
