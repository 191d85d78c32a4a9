"""Boxes of a plan, cut tomogram by tomogram and written as stacks or single files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from halcmd.console import Advance, progress
from halcmd.cropping import cut_boxes
from halcmd.extraction.plan import Plan
from halcmd.formats.mrc import single_path, stack_names, write_singles, write_stack
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
    edge = plan.geometry.box
    with progress("extracting", len(kept)) as advance:
        for name in dict.fromkeys(plan.names[kept]):
            places = np.flatnonzero(plan.names[kept] == name)
            tomogram = plan.tomograms[name]
            size = plan.output_pixel_size(tomogram)
            boxes = _boxes(plan, kept[places], tomogram, sign, advance)
            _, is_stack, path = images[places[0]].rpartition("@")
            if is_stack:
                write_stack(Path(path), boxes, len(places), edge, pixel_size=size, float16=float16)
            else:
                paths = [Path(image) for image in images[places]]
                write_singles(paths, boxes, pixel_size=size, float16=float16)


def _boxes(
    plan: Plan, rows: np.ndarray, tomogram: Tomogram, sign: float, advance: Advance
) -> Iterator[np.ndarray]:
    """Finished boxes of one tomogram, in batches of shape (n, box, box, box)."""
    edge = plan.source_box(tomogram)
    size = max(1, _BATCH_VOXELS // edge**3)
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        yield cut_boxes(
            tomogram.volumes[0].data,
            plan.centres_xyz(batch, tomogram)[:, ::-1],
            source_box=edge,
            pixel_size=plan.output_pixel_size(tomogram),
            sign=sign,
            geometry=plan.geometry,
            intensity=plan.intensity,
            names=[str(plan.particles.ids[row]) for row in batch],
        )
        advance(len(batch))
