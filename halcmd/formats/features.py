"""What score keeps of each particle for later: ``embedding.npy`` and ``features.npy``.

Row ``halFeature - 1`` belongs to a particle. float16, memory-mapped both ways.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.formats.files import TEMPORARY, atomic, free_bytes, take_room, unreadable


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
        take_room(temporary)
        yield array
        array.flush()


def check_room(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Say how much disk the arrays will take, and make sure that it is there.

    Parameters
    ----------
    folder : Path
        Where they will be written; need not be there yet.
    shapes : mapping of str to tuple of int
        File name to shape.

    Raises
    ------
    InputError
        They are larger than the free space of that disk.
    """
    sizes = {name: prod(shape) * np.dtype(np.float16).itemsize for name, shape in shapes.items()}
    needed, free = sum(sizes.values()), free_bytes(folder)
    each = ", ".join(f"{name} {_gigabytes(size)}" for name, size in sizes.items())
    if needed > free:
        raise InputError(
            "the disk is too small for what will be written",
            where=str(folder),
            found=f"{_gigabytes(free)} free, {_gigabytes(needed)} needed: {each}",
            hint="free some space, another --output folder, or leave out --maps"
            if len(sizes) > 1
            else "free some space, or another --output folder",
        )
    log.info(f"will write {each}; {_gigabytes(free)} are free")


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB" if size > 5e6 else f"{size / 1e6:.3g} MB"


def part_path(path: Path, rank: int) -> Path:
    """Where a process of several keeps its rows of a feature file, until they are put together."""
    return path.with_name(f"{TEMPORARY}{path.stem}-part{rank}{path.suffix}")


def take_part(whole: np.ndarray, places: np.ndarray, path: Path) -> None:
    """Move the rows of a part to their places in the whole array."""
    if len(places):
        whole[places] = open_features(path)
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
