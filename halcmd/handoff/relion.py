"""``relion.star``: the particles asked for as RELION reads them, one .mrc per particle.

The image files of ``extract --layout single`` serve as they are; boxes of stacks are written to
``Subtomograms/``. rlnClassNumber is that of the predicted class; halLabel stands beside it, empty,
so that a prediction does not come back as an answer.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from halcmd.console import Advance, progress
from halcmd.formats.mrc_writing import single_path, write_singles
from halcmd.formats.star import text_of
from halcmd.handoff.places import write_classes
from halcmd.particles import Particles
from halcmd.relion_view import relion_particles
from halcmd.subtomograms import Boxes, open_boxes
from halcmd.tables import write_particles

_BATCH = 64


def check(particles: Particles) -> None:
    """Raise InputError where there are no subtomograms."""
    open_boxes(particles)


def write(particles: Particles, folder: Path) -> list[Path]:
    """Write ``relion.star`` and the boxes that it names, and ``classes.csv`` if there are any."""
    table = particles.with_columns({"halLabel": particles.labels})
    if any("@" in name for name in table.each("halImageName", "")):
        table = with_singles(table, open_boxes(table), folder)
    path = folder / "relion.star"
    view = relion_particles(table, assume_optics=True)
    write_particles(path, view)
    return [path, *write_classes(view, folder)]


def with_singles(particles: Particles, boxes: Boxes, folder: Path) -> Particles:
    """The table with each of its boxes written as ``Subtomograms/<id>.mrc``.

    Parameters
    ----------
    particles : Particles
        The rows to write.
    boxes : Boxes
        Theirs.
    folder : Path
        Job folder.
    """
    paths = [single_path(folder / "Subtomograms", str(name)) for name in particles.ids]
    with progress("writing", len(particles)) as advance:
        batches = _read_batches(boxes, len(particles), advance)
        names = write_singles(paths, batches, pixel_size=boxes.pixel_size)
    columns = {
        "halImageName": names,
        "halImagePixelSize": text_of([boxes.pixel_size] * len(names), 5),
        "halImageSize": [str(boxes.box)] * len(names),
    }
    return particles.with_columns(columns)


def _read_batches(boxes: Boxes, count: int, advance: Advance) -> Iterator[np.ndarray]:
    for start in range(0, count, _BATCH):
        rows = np.arange(start, min(start + _BATCH, count))
        yield boxes.read(rows)
        advance(len(rows))
