"""Feature maps of particles: as the score job kept them, or computed with its model."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch

from halcmd.console import log, progress
from halcmd.device import autocast
from halcmd.errors import InputError
from halcmd.formats.features import feature_file, open_features
from halcmd.formats.model import check_fits
from halcmd.networks.classifier import LoadedModel, as_input, load_model
from halcmd.particles import Particles
from halcmd.strategies.pool import ReadMaps, Rows
from halcmd.subtomograms import Boxes, open_boxes

_MEMORY_BYTES = 2**30
_SCRATCH = "maps.npy"
_BATCH_VOXELS = 2**20  # as score: enough to fill a CPU, little memory
_LARGEST_HALF = 65504.0


def feature_maps(
    particles: Particles,
    rows: Rows,
    folder: Path,
    model: Path | None,
    *,
    stored: Path | None,
    device: torch.device | None,
    batch: int | None,
) -> AbstractContextManager[ReadMaps]:
    """A context that gives the function to read the maps of these rows; all checks come before.

    Parameters
    ----------
    particles : Particles
        Scored.
    rows : ndarray of int
        Rows of the table whose maps are wanted.
    folder : Path
        Where there is room for maps that do not fit in memory.
    model : Path or None
        Computes the maps, where ``stored`` does not have all of them.
    stored : Path or None
        ``features.npy`` of the score job; may be absent.
    device : torch.device or None
        Of the model; None = CPU.
    batch : int or None
        Particles per forward pass; None = about a million voxels.

    Raises
    ------
    InputError, ModelError
        There are neither stored maps nor a model, or the model does not fit the particles.
    """
    if stored is not None and stored.exists() and has_maps(particles, rows):
        log.info(f"feature maps from {stored}")
        return nullcontext(stored_maps(particles, stored))
    if model is None:
        raise InputError(
            "this strategy needs the feature maps of the particles",
            where=str(particles.path),
            found="no features.npy beside the table that has all of them",
            hint="halcmd score --maps, or query --model Train/job002/model.safetensors",
        )
    device = device or torch.device("cpu")
    loaded, boxes = load_model(model, device=device), open_boxes(particles)
    check_fits(
        loaded.info,
        box=boxes.box,
        pixel_size=boxes.pixel_size,
        contrast=boxes.contrast,
        where=model,
    )
    if loaded.hash not in set(particles.text("halModel", "none")[rows]):
        log.warning(f"{model} is not the model that made the predictions of this table")
    batch = batch or max(_BATCH_VOXELS // boxes.box**3, 1)
    return computed_maps(loaded, boxes, rows, folder, device=device, batch=batch)


def stored_maps(particles: Particles, path: Path) -> ReadMaps:
    """A function that reads the maps of rows of the table from a score job's ``features.npy``.

    Raises
    ------
    InputError
        The file does not belong to the table.
    """
    maps = open_features(path)
    place = particles.number("halFeature", 0.0).astype(np.intp) - 1
    if maps.ndim != 5 or place.max() >= len(maps):
        raise InputError(
            "features.npy does not belong to this table",
            where=str(path),
            found=f"an array of shape {maps.shape}; halFeature goes up to {place.max() + 1}",
            hint="score again with --maps, or give --model",
        )
    return lambda rows: maps[place[rows]]


def has_maps(particles: Particles, rows: Rows) -> bool:
    """Whether the score job kept something of each of these rows."""
    return bool((particles.number("halFeature", 0.0)[rows] >= 1).all())


@contextmanager
def computed_maps(
    model: LoadedModel,
    boxes: Boxes,
    rows: Rows,
    folder: Path,
    *,
    device: torch.device,
    batch: int,
) -> Iterator[ReadMaps]:
    """A function that gives the maps of these rows, which are computed at once.

    Maps of up to 1 GB are kept in memory; more go to a file in the folder, which is removed.

    Parameters
    ----------
    model : LoadedModel
        The classifier.
    boxes : Boxes
        The particles.
    rows : ndarray of int
        Rows of the table whose maps are wanted.
    folder : Path
        Where there is room.
    batch : int
        Particles per forward pass.
    """
    place = np.full(int(rows.max()) + 1, -1, dtype=np.intp)
    place[rows] = np.arange(len(rows))
    shape = _maps(model, boxes, rows[:1], device).shape[1:]
    with _room((len(rows), *shape), folder) as kept:
        with progress("computing maps", len(rows)) as advance:
            for start in range(0, len(rows), batch):
                part = rows[start : start + batch]
                kept[start : start + len(part)] = _maps(model, boxes, part, device)
                advance(len(part))
        yield lambda wanted: kept[place[wanted]]


def _maps(model: LoadedModel, boxes: Boxes, rows: Rows, device: torch.device) -> np.ndarray:
    particles = as_input(torch.from_numpy(boxes.read(rows)).to(device))
    with torch.inference_mode(), autocast(device, "auto"):
        maps = model.network.features(particles)
    return maps.float().clamp(-_LARGEST_HALF, _LARGEST_HALF).cpu().numpy().astype(np.float16)


@contextmanager
def _room(shape: tuple[int, ...], folder: Path) -> Iterator[np.ndarray]:
    """An array to fill, float16: in memory, or on disk where it is large."""
    if 2 * np.prod(shape, dtype=np.int64) <= _MEMORY_BYTES:
        yield np.empty(shape, dtype=np.float16)
        return
    path = folder / _SCRATCH
    try:
        with feature_file(path, shape) as array:
            yield array
    finally:
        path.unlink(missing_ok=True)
