"""The boxes of second picks, which lie some Angstrom beside the first."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halcmd.benchmarking.stress import AGAIN
from halcmd.chance import generator
from halcmd.formats.mrc_writing import write_stack
from halcmd.particles import Particles
from halcmd.subtomograms import image_names, open_boxes

_SHARE_OF_BOX = 0.1
_VOXELS_AT_A_TIME = 2**24


def write_copies(
    path: Path, table: Particles, known: Particles, *, shift: float | None, seed: int
) -> None:
    """Write the boxes that a table has in this stack, each moved by whole voxels some way.

    What leaves a box on one side comes in on the other: a strip of noise, as a second extraction
    would have there.

    Parameters
    ----------
    path : Path
        An .mrcs file; its folder is made.
    table : Particles
        With second picks.
    known : Particles
        With the boxes of the first ones.
    shift : float or None
        Angstrom, rounded to whole voxels, one at least; None = a tenth of the box.
    seed : int
    """
    is_copy = [name.endswith(f"@{path}") for name in image_names(table)]
    row_of = {name: row for row, name in enumerate(known.ids)}
    rows = np.array([row_of[name.removesuffix(AGAIN)] for name in table.ids[is_copy]])
    if not len(rows):
        return
    boxes = open_boxes(known)
    far = _SHARE_OF_BOX * boxes.box if shift is None else shift / boxes.pixel_size
    by = displacements(len(rows), far, seed=seed)
    step = max(_VOXELS_AT_A_TIME // boxes.box**3, 1)

    def moved() -> Iterator[np.ndarray]:
        for start in range(0, len(rows), step):
            some = slice(start, start + step)
            read = boxes.read(rows[some])
            yield np.stack(
                [np.roll(box, tuple(d), (0, 1, 2)) for box, d in zip(read, by[some], strict=True)]
            )

    path.parent.mkdir(parents=True, exist_ok=True)
    write_stack(path, moved(), len(rows), boxes.box, pixel_size=boxes.pixel_size)


def displacements(count: int, far: float, *, seed: int) -> NDArray[np.int64]:
    """Whole voxels (z, y, x), shape (count, 3), of about this length and never zero."""
    arrows = generator(seed, "copies").normal(size=(count, 3))
    arrows *= far / np.linalg.norm(arrows, axis=1, keepdims=True)
    found = np.rint(arrows).astype(np.int64)
    still = np.flatnonzero(~found.any(axis=1))
    longest = np.abs(arrows[still]).argmax(axis=1)
    found[still, longest] = np.sign(arrows[still, longest]).astype(np.int64)
    return found
