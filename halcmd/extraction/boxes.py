"""Boxes of a plan, cut tomogram by tomogram and written as stacks or single files."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from halcmd.console import progress
from halcmd.cropping import crop, crop_turned, finish_boxes
from halcmd.extraction.plan import Plan
from halcmd.formats.mrc_writing import (
    SingleWriter,
    check_paths,
    single_path,
    stack_names,
    volume_stack,
)
from halcmd.picks.tomograms import Tomogram

_Write = Callable[[np.ndarray, np.ndarray], None]
_BATCH_VOXELS = 2**20
"""Few, so that they stay in the processor's cache."""


def image_names(plan: Plan, kept: np.ndarray, folder: Path, layout: str) -> np.ndarray:
    """Image name of each box to be written, shape (n,), object.

    Raises
    ------
    InputError
        Two boxes would go into the same file.
    """
    target = folder / "Subtomograms"
    if layout == "single":
        paths = [single_path(target, plan.particles.ids[row]) for row in kept]
        check_paths(paths)
        return np.array([str(path) for path in paths], dtype=object)
    names = np.empty(len(kept), dtype=object)
    for name in dict.fromkeys(plan.names[kept]):
        places = np.flatnonzero(plan.names[kept] == name)
        names[places] = stack_names(target / f"{name}.mrcs", len(places))
    return names


def write_boxes(
    plan: Plan,
    kept: np.ndarray,
    images: np.ndarray,
    *,
    sign: float,
    float16: bool,
    threads: int,
) -> None:
    """Write the boxes of the kept rows to where their image names say."""
    with progress("extracting", len(kept)) as advance, ThreadPoolExecutor(threads) as pool:
        for name in dict.fromkeys(plan.names[kept]):
            places = np.flatnonzero(plan.names[kept] == name)
            tomogram = plan.tomograms[name]
            size = plan.output_pixel_size(tomogram)
            with _writer(images[places], plan.geometry.box, size, float16) as write:
                make = partial(_make, plan, tomogram, sign, write)
                batches = _batches(plan, kept[places], tomogram)
                for count in _each(pool, make, batches, held=2 * threads):
                    advance(count)


@dataclass(frozen=True)
class _Batch:
    """Boxes that are made at a time: rows of the table, and which of the tomogram's (from 0)."""

    rows: np.ndarray
    order: np.ndarray


def _batches(plan: Plan, rows: np.ndarray, tomogram: Tomogram) -> Iterator[_Batch]:
    """The rows of one tomogram in the order of its sections, so that it is read once."""
    order = np.argsort(plan.positions_xyz[rows, 2], kind="stable")
    count = max(1, _BATCH_VOXELS // plan.source_box(tomogram) ** 3)
    for start in range(0, len(rows), count):
        chosen = order[start : start + count]
        yield _Batch(rows[chosen], chosen)


def _make(plan: Plan, tomogram: Tomogram, sign: float, write: _Write, batch: _Batch) -> int:
    """Cut, finish and write the boxes of a batch; how many they are."""
    boxes = finish_boxes(
        _cut(plan, batch.rows, tomogram),
        pixel_size=plan.output_pixel_size(tomogram),
        sign=sign,
        geometry=plan.geometry,
        intensity=plan.intensity,
        names=[str(plan.particles.ids[row]) for row in batch.rows],
    )
    write(batch.order, boxes)
    return len(boxes)


def _each(
    pool: ThreadPoolExecutor,
    make: Callable[[_Batch], int],
    batches: Iterable[_Batch],
    *,
    held: int,
) -> Iterator[int]:
    """What the threads return for each batch, in order; only so many wait at a time."""
    waiting: deque[Future[int]] = deque()
    for batch in batches:
        waiting.append(pool.submit(make, batch))
        if len(waiting) > held:
            yield waiting.popleft().result()
    for future in waiting:
        yield future.result()


@contextmanager
def _writer(images: np.ndarray, box: int, pixel_size: float, float16: bool) -> Iterator[_Write]:
    """What writes boxes of one tomogram at these places: into its stack, or each into its file."""
    _, is_stack, path = images[0].rpartition("@")
    if is_stack:
        count = len(images)
        with volume_stack(Path(path), count, box, pixel_size=pixel_size, float16=float16) as stack:
            yield stack.fill
        return
    paths = [Path(image) for image in images]
    write_one = SingleWriter(pixel_size, float16=float16)

    def write(places: np.ndarray, boxes: np.ndarray) -> None:
        for place, one in zip(places, boxes, strict=True):
            write_one(paths[place], one)

    yield write


def _cut(plan: Plan, rows: np.ndarray, tomogram: Tomogram) -> np.ndarray:
    """Boxes as they stand in the tomogram, shape (n, z, y, x); the mean of those of half-maps."""
    edge = plan.source_box(tomogram)
    sets = []
    for volume in tomogram.volumes:
        if plan.turned is None:
            centres = plan.centres_xyz(rows, tomogram)[:, ::-1]
            boxes = [crop(volume.data, centre, edge)[0] for centre in centres]
        else:
            exact = plan.exact_centres_zyx(rows, tomogram)
            boxes = [
                crop_turned(volume.data, centre, edge, turn)
                for centre, turn in zip(exact, plan.turned[rows], strict=True)
            ]
        sets.append(np.stack(boxes))
    return sets[0] if len(sets) == 1 else np.asarray(np.mean(sets, axis=0, dtype=np.float32))
