"""Where a strategy's arrays come from: files of the score job, the model, the boxes."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from halcmd.compute.device import autocast, forward_batch, torch_generator
from halcmd.console import log, progress
from halcmd.errors import InputError, ModelError
from halcmd.formats.features import feature_file, open_features
from halcmd.formats.model import check_fits
from halcmd.networks.classifier import LoadedModel, as_input, halves, load_model
from halcmd.networks.dropout import after_maps, dropping, is_in_head_only
from halcmd.particles import Particles
from halcmd.strategies.pool import Passes, Pool, ReadMaps, Rows
from halcmd.subtomograms import Boxes, open_boxes

MAPS, EMBEDDINGS = "features.npy", "embedding.npy"

_MEMORY_BYTES = 2**30
_SCRATCH = "scratch_"


@dataclass(frozen=True)
class Sources:
    """Where to look.

    Attributes
    ----------
    particles : Particles
        The whole table.
    rows : ndarray of int
        Rows that a strategy may look at.
    folder : Path
        Where there is room for arrays that do not fit in memory.
    scored : Path or None
        The folder of the score job, with ``embedding.npy`` and perhaps ``features.npy``.
    model : Path or None
        Computes what the score job did not keep.
    device : torch.device or None
        Of the model; None = CPU.
    batch : int or None
        Particles per forward pass; None = by ``forward_batch``.
    seed : int
        Draws what drops out.
    """

    particles: Particles
    rows: Rows
    folder: Path
    scored: Path | None = None
    model: Path | None = None
    device: torch.device | None = None
    batch: int | None = None
    seed: int = 0


@contextmanager
def opened(sources: Sources, needs: frozenset[str]) -> Iterator[Callable[[Pool], Pool]]:
    """A context that gives a function which, once, fills a pool with what a strategy needs.

    Parameters
    ----------
    sources : Sources
        Where to look.
    needs : set of str
        ``features``, ``embeddings``, ``passes``, ``boxes``; others are not looked at.

    Raises
    ------
    InputError, ModelError
        Something is not to be had, or does not fit the particles; before anything is computed,
        which is when the pool is filled.
    """
    model = _Model(sources)
    found: dict[str, AbstractContextManager[object]] = {}
    if "boxes" in needs:
        found["boxes"] = nullcontext(open_boxes(sources.particles).read)
    for need, name in (("features", MAPS), ("embeddings", EMBEDDINGS)):
        if need in needs:
            found[need] = _array(sources, name, model)
    if "passes" in needs:
        found["passes"] = _passes(sources, model)
    with ExitStack() as stack:

        def filled(pool: Pool) -> Pool:
            arrays = {need: stack.enter_context(source) for need, source in found.items()}
            return replace(pool, **arrays)  # type: ignore[arg-type]

        yield filled


def stored(particles: Particles, path: Path) -> ReadMaps:
    """A function that reads rows of the table from a score job's array.

    Raises
    ------
    InputError
        The file does not belong to the table.
    """
    array = open_features(path)
    place = particles.number("halFeature", 0.0).astype(np.intp) - 1
    if array.ndim != (5 if path.name == MAPS else 2) or place.max() >= len(array):
        raise InputError(
            f"{path.name} does not belong to this table",
            where=str(path),
            found=f"an array of shape {array.shape}; halFeature goes up to {place.max() + 1}",
            hint="score again, or give --model",
        )
    return lambda rows: array[place[rows]]


def has_features(particles: Particles, rows: Rows) -> bool:
    """Whether the score job kept something of each of these rows."""
    return bool((particles.number("halFeature", 0.0)[rows] >= 1).all())


class _Model:
    """The model, loaded and checked when it is first needed."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.device = sources.device or torch.device("cpu")
        self._loaded: tuple[LoadedModel, Boxes] | None = None

    def get(self, wanted: str) -> tuple[LoadedModel, Boxes]:
        """Model and boxes; ``wanted`` is what for, for the message."""
        sources = self.sources
        if self._loaded is not None:
            return self._loaded
        if sources.model is None:
            raise InputError(
                f"this strategy needs {wanted}",
                where=str(sources.particles.path),
                found="no model, and no file beside the table that has all of them",
                hint="halcmd query --model Train/job002/model.safetensors"
                + (", or halcmd score --maps" if wanted.startswith("the feature maps") else ""),
            )
        loaded = load_model(sources.model, device=self.device)
        boxes = open_boxes(sources.particles)
        check_fits(
            loaded.info,
            box=boxes.box,
            pixel_size=boxes.pixel_size,
            contrast=boxes.contrast,
            where=sources.model,
        )
        known = {*sources.particles.text("halModel", "none")[sources.rows]} - {"none"}
        if known and loaded.hash not in known:
            log.warning(f"{sources.model} is not the model that made the predictions of this table")
        self._loaded = loaded, boxes
        return self._loaded

    def check_passes(self) -> None:
        """Raise where the model has no classes, or nothing that drops out."""
        loaded, _ = self.get("a classifier with dropout")
        if not loaded.info.classes or not loaded.info.dropout:
            raise ModelError(
                "this strategy needs a classifier with dropout",
                where=str(self.sources.model),
                found="a pretrained network"
                if not loaded.info.classes
                else "a network trained with --dropout 0",
                hint="halcmd train --dropout 0.2, or another --strategy",
            )


def _array(sources: Sources, name: str, model: _Model) -> AbstractContextManager[ReadMaps]:
    """Reads what the score job kept under this name, or what the model computes on entry."""
    path = sources.scored / name if sources.scored is not None else None
    if path is not None and path.exists() and has_features(sources.particles, sources.rows):
        log.info(f"{'feature maps' if name == MAPS else 'embeddings'} from {path}")
        return nullcontext(stored(sources.particles, path))
    what = "the feature maps of the particles" if name == MAPS else "embeddings of the particles"
    loaded, boxes = model.get(what)
    network = loaded.network
    look = network.features if name == MAPS else network.embedding
    return _computed(sources, name, look, boxes, model.device)


@contextmanager
def _computed(
    sources: Sources,
    name: str,
    look: Callable[[Tensor], Tensor],
    boxes: Boxes,
    device: torch.device,
) -> Iterator[ReadMaps]:
    """Reads what the network says of the rows, all computed on entry, in memory or in a file."""
    rows, batch = sources.rows, sources.batch or forward_batch(boxes.box, device)

    def looked(part: Rows) -> NDArray[np.float16]:
        particles = as_input(torch.from_numpy(boxes.read(part)).to(device))
        with torch.inference_mode(), autocast(device, "auto"):
            values = look(particles)
        return halves(values)

    place = np.full(int(rows.max()) + 1, -1, dtype=np.intp)
    place[rows] = np.arange(len(rows))
    shape = (len(rows), *looked(rows[:1]).shape[1:])
    with _room(shape, sources.folder / f"{_SCRATCH}{name}") as kept:
        with progress("looking at the particles", len(rows)) as advance:
            for start in range(0, len(rows), batch):
                part = rows[start : start + batch]
                kept[start : start + len(part)] = looked(part)
                advance(len(part))
        yield lambda wanted: kept[place[wanted]]


def _passes(sources: Sources, model: _Model) -> AbstractContextManager[Passes]:
    """Passes with dropout through what follows it, from embeddings, or maps where it must be."""
    model.check_passes()
    loaded, _ = model.get("a classifier with dropout")
    name = EMBEDDINGS if is_in_head_only(loaded.network) else MAPS
    return _passing(sources, name, _array(sources, name, model), loaded, model.device)


@contextmanager
def _passing(
    sources: Sources,
    name: str,
    array: AbstractContextManager[ReadMaps],
    loaded: LoadedModel,
    device: torch.device,
) -> Iterator[Passes]:
    network, temperature = loaded.network, loaded.info.temperature
    before, after = after_maps(network)
    with array as read:

        def passes(rows: Rows, samples: int, rate: float | None) -> Iterator[NDArray[np.floating]]:
            with torch.inference_mode():
                values = torch.from_numpy(read(rows).astype(np.float32)).to(device)
                units = before(values) if name == MAPS else values
                for sample in range(samples):
                    draws = torch_generator(device, sources.seed, "query pass", sample)
                    with dropping(after, draws, rate=rate):
                        logits = after(units)
                    yield (logits.float() / temperature).softmax(dim=1).cpu().numpy()

        yield passes


@contextmanager
def _room(shape: tuple[int, ...], path: Path) -> Iterator[np.ndarray]:
    """An array to fill, float16: in memory, or on disk where it is large."""
    if 2 * np.prod(shape, dtype=np.int64) <= _MEMORY_BYTES:
        yield np.empty(shape, dtype=np.float16)
        return
    try:
        with feature_file(path, shape) as array:
            yield array
    finally:
        path.unlink(missing_ok=True)
