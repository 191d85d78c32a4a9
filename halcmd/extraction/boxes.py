"""Boxes of a plan, cut tomogram by tomogram and written as stacks or single files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from halcmd.console import Advance, progress
from halcmd.cropping import crop, crop_turned, finish_boxes
from halcmd.extraction.plan import Plan
from halcmd.formats.mrc import single_path, stack_names, volume_stack, write_singles
from halcmd.importers.tomograms import Tomogram

_BATCH_VOXELS = 2**24


def image_names(plan: Plan, kept: np.ndarray, folder: Path, layout: str) -> np.ndarray:
    """Image name of each box to be written, shape (n,), object."""
    target = folder / "Subtomograms"
    if layout == "single":
        return np.array([str(single_path(target, plan.particles.ids[row])) for row in kept])
    names = np.empty(len(kept), dtype=object)
    for name in dict.fromkeys(plan.names[kept]):
        places = np.flatnonzero(plan.names[kept] == name)
        names[places] = stack_names(target / f"{name}.mrcs", len(places))
    return names


def write_boxes(
    plan: Plan, kept: np.ndarray, images: np.ndarray, *, sign: float, float16: bool
) -> None:
    """Write the boxes of the kept rows to where their image names say."""
    with progress("extracting", len(kept)) as advance:
        for name in dict.fromkeys(plan.names[kept]):
            places = np.flatnonzero(plan.names[kept] == name)
            tomogram = plan.tomograms[name]
            size = plan.output_pixel_size(tomogram)
            batches = _batches(plan, kept[places], tomogram, sign, advance)
            _, is_stack, path = images[places[0]].rpartition("@")
            if is_stack:
                box, count = plan.geometry.box, len(places)
                with volume_stack(
                    Path(path), count, box, pixel_size=size, float16=float16
                ) as stack:
                    for rows, boxes in batches:
                        stack.fill(rows, boxes)
            else:
                for rows, boxes in batches:
                    paths = [Path(image) for image in images[places[rows]]]
                    write_singles(paths, [boxes], pixel_size=size, float16=float16)


def _batches(
    plan: Plan, rows: np.ndarray, tomogram: Tomogram, sign: float, advance: Advance
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Finished boxes of one tomogram in the order of its sections, so that it is read once.

    Which of the rows (from 0), shape (n,), and their boxes, shape (n, box, box, box).
    """
    order = np.argsort(plan.positions_xyz[rows, 2], kind="stable")
    count = max(1, _BATCH_VOXELS // plan.source_box(tomogram) ** 3)
    for start in range(0, len(rows), count):
        batch = order[start : start + count]
        boxes = finish_boxes(
            _cut(plan, rows[batch], tomogram),
            pixel_size=plan.output_pixel_size(tomogram),
            sign=sign,
            geometry=plan.geometry,
            intensity=plan.intensity,
            names=[str(plan.particles.ids[row]) for row in rows[batch]],
        )
        yield batch, boxes
        advance(len(batch))


def _cut(plan: Plan, rows: np.ndarray, tomogram: Tomogram) -> np.ndarray:
    """Boxes as they stand in the tomogram, shape (n, z, y, x); the mean of those of half-maps."""
    edge = plan.source_box(tomogram)
    boxes = np.zeros((len(rows), edge, edge, edge), dtype=np.float32)
    for volume in tomogram.volumes:
        if plan.turned is None:
            centres = plan.centres_xyz(rows, tomogram)[:, ::-1]
            for box, centre in zip(boxes, centres, strict=True):
                box += crop(volume.data, centre, edge)[0]
        else:
            centres = plan.exact_centres_zyx(rows, tomogram)
            for box, centre, turn in zip(boxes, centres, plan.turned[rows], strict=True):
                box += crop_turned(volume.data, centre, edge, turn)
    if len(tomogram.volumes) > 1:
        boxes /= len(tomogram.volumes)
    return boxes
