"""Class probabilities, uncertainty and embeddings of every particle, in one pass over the boxes."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor, nn

from halcmd.console import log, planned, progress
from halcmd.device import autocast, torch_generator
from halcmd.errors import DataError, DeviceError, InputError, ModelError, OptionError, first_few
from halcmd.formats.features import check_room, feature_file
from halcmd.formats.model import check_fits, hash_of_hashes
from halcmd.networks.classifier import Classifier, LoadedModel, as_input, load_model
from halcmd.particles import Particles
from halcmd.predictions import with_predictions
from halcmd.subtomograms import Boxes, open_boxes
from halcmd.tables import write_particles
from halcmd.training.run import Compute
from halcmd.transforms import half_turn

# About the axis y first: that turn keeps the wedge whatever the tilt range is.
_TURNS = (0, 2, 1, 3)
_LARGEST_HALF = 65504.0
_BATCH_VOXELS = 2**20  # 64 particles of 24^3 or 16 of 40^3: enough to fill a CPU, little memory
_LARGEST_BATCH = 512
_GPU_FACTOR = 16
_READERS = 4  # threads; each normalises some 2 GB of boxes a second

Floats = NDArray[np.float64]
Halves = NDArray[np.float16]


@dataclass(frozen=True)
class Passes:
    """How often each particle is looked at.

    Attributes
    ----------
    augmentations : int
        Half turns over which the probabilities are averaged, 1 to 4.
    dropout_samples : int
        Passes with dropout over which they are averaged; 0 = none, without dropout.
    """

    augmentations: int = 1
    dropout_samples: int = 0


@dataclass(frozen=True)
class ScoreResult:
    """The scored table."""

    particles: Particles
    scored: int
    seconds: float

    def summary(self) -> dict[str, object]:
        """What ``--json`` prints."""
        return {"particles": self.scored, "seconds": self.seconds}


@dataclass(frozen=True)
class _Batch:
    """What the models say of some particles."""

    probabilities: Floats
    kept: list[Halves]  # embedding, and maps where they are asked for


def score(
    particles: Particles,
    folder: Path,
    *,
    models: Sequence[Path],
    compute: Compute,
    batch: int | None = None,
    maps: bool = False,
    passes: Passes | None = None,
    only: str = "all",
) -> ScoreResult:
    """The table with predictions, and ``embedding.npy`` (``features.npy``) beside it.

    Parameters
    ----------
    particles : Particles
        With boxes.
    folder : Path
        Job folder.
    models : sequence of Path
        Several = mean of their probabilities; embeddings and maps are the first one's.
    compute : Compute
        Device, precision; the seed draws dropout masks.
    batch : int, optional
        Particles per forward pass. Default: about a million voxels, 16 times that on a GPU.
    maps : bool
        Write the last pooled maps too.
    passes : Passes, optional
        Turns and dropout.
    only : str
        ``all`` or ``unlabelled`` rows.

    Raises
    ------
    ModelError
        A model does not fit the boxes, or the models differ in their classes.
    DataError
        A box or a result is not finite.
    """
    started = time.monotonic()
    passes = passes or Passes()
    boxes = open_boxes(particles)
    loaded = _load(models, boxes, compute.device)
    _check(loaded, models, passes)
    rows = _rows(particles, only)
    batch = batch or _batch_of(boxes.box, compute.device)
    classes = list(loaded[0].info.classes)
    shapes = _shapes(loaded[0], boxes.box, len(rows), maps=maps)
    check_room(folder, shapes)
    what = f"probabilities of {len(classes)} classes" if classes else "embeddings only"
    planned(f"score {len(rows):,} of {len(particles):,} particles: {what}, batches of {batch}")
    look = _looker(loaded, passes, compute, maps=maps)
    probabilities = np.full((len(rows), len(classes)), np.nan)
    with ExitStack() as stack:
        files = [
            stack.enter_context(feature_file(folder / name, shape))
            for name, shape in shapes.items()
        ]

        def work(places: NDArray[np.intp], volumes: Tensor) -> None:
            part = look(volumes)
            bad = ~(np.isfinite(part.probabilities).all(1) & np.isfinite(part.kept[0]).all(1))
            if bad.any():
                _complain(particles.ids[rows[places[bad]]])
            probabilities[places] = part.probabilities
            for file, values in zip(files, part.kept, strict=True):
                file[places] = values

        _stream(boxes, rows, batch, work)
    name = hash_of_hashes([model.hash for model in loaded])
    table = with_predictions(
        particles, rows, probabilities=probabilities, classes=loaded[0].info.classes, model=name
    )
    write_particles(folder / "particles.star", table, model=name)
    return ScoreResult(table, len(rows), round(time.monotonic() - started, 1))


def _load(paths: Sequence[Path], boxes: Boxes, device: torch.device) -> list[LoadedModel]:
    """The models, each checked against the boxes, in the memory layout that computes fastest."""
    loaded = []
    for path in paths:
        model = load_model(path, device=device)
        check_fits(
            model.info,
            box=boxes.box,
            pixel_size=boxes.pixel_size,
            contrast=boxes.contrast,
            where=path,
        )
        log.info(f"model {model.hash} from {path}: {model.info.network}")
        loaded.append(model)
    return loaded


def _check(models: Sequence[LoadedModel], paths: Sequence[Path], passes: Passes) -> None:
    first = models[0].info
    for model, path in zip(models, paths, strict=True):
        if set(model.info.classes) != set(first.classes):
            raise ModelError(
                "the models differ in their classes",
                where=f"{paths[0]} and {path}",
                found=f"{', '.join(first.classes)} and {', '.join(model.info.classes)}",
                hint="train all of them on the same labels",
            )
    if not 1 <= passes.augmentations <= len(_TURNS):
        raise OptionError(
            f"--augmentations must be from 1 to {len(_TURNS)}",
            found=str(passes.augmentations),
            hint="a box has four half turns that keep the missing wedge where it is",
        )
    dropout = max(model.info.dropout for model in models)
    if passes.dropout_samples and not dropout:
        raise OptionError("--dropout-samples needs a model that was trained with dropout")


def _rows(particles: Particles, only: str) -> NDArray[np.intp]:
    rows = np.arange(len(particles))
    if only == "unlabelled":
        rows = np.flatnonzero(~particles.is_answered)
    if not len(rows):
        raise InputError(
            "there is no particle to score",
            where=str(particles.path),
            found="every particle has an answer",
            hint="--only all",
        )
    return rows


def _batch_of(box: int, device: torch.device) -> int:
    voxels = _BATCH_VOXELS * (1 if device.type == "cpu" else _GPU_FACTOR)
    return min(max(voxels // box**3, 1), _LARGEST_BATCH)


def _looker(
    models: Sequence[LoadedModel], passes: Passes, compute: Compute, *, maps: bool
) -> Callable[[Tensor], _Batch]:
    """A function from particles (n, z, y, x) to what the models say of them."""
    order = list(models[0].info.classes)

    def look(volumes: Tensor) -> _Batch:
        volumes = volumes.to(compute.device)
        shares: list[Floats] = []
        kept: list[Tensor] = []
        with torch.inference_mode(), autocast(compute.device, compute.precision):
            for model in models:
                places = list(model.info.classes)
                columns = [places.index(name) for name in order]
                for turn in _TURNS[: passes.augmentations]:
                    turned = half_turn(volumes, turn) if turn else volumes
                    pooled = model.network.features(as_input(turned))
                    vectors = model.network.neck(pooled)
                    kept = kept or ([vectors, pooled] if maps else [vectors])
                    found = _logits(model.network, pooled, vectors, passes=passes, compute=compute)
                    for logits in found if order else ():
                        shares.append(_softmax(logits, model.info.temperature)[:, columns])
        mean = np.mean(shares, axis=0) if shares else np.empty((len(volumes), 0))
        return _Batch(mean, [_halves(values) for values in kept])

    return look


def _logits(
    network: Classifier, maps: Tensor, vectors: Tensor, *, passes: Passes, compute: Compute
) -> Iterator[Tensor]:
    """Logits from maps and their vectors, without dropout, or one for each dropout sample.

    In samples only neck and head are repeated.
    The units that drop out in a sample are the same for all particles (as in Baal's consistent
    dropout), so that a particle's result does not depend on its neighbours in the table.
    """
    if not passes.dropout_samples:
        yield network.head(vectors)
        return
    layers = [module for module in network.modules() if isinstance(module, nn.Dropout)]
    for sample in range(passes.dropout_samples):
        generator = torch_generator(compute.device, compute.seed, "dropout sample", sample)

        def drop(
            layer: nn.Dropout, _: object, units: Tensor, generator: torch.Generator = generator
        ) -> Tensor:
            draws = torch.rand(units.shape[1:], generator=generator, device=units.device)
            return units * (draws >= layer.p) / (1.0 - layer.p)

        hooks = [layer.register_forward_hook(drop) for layer in layers]
        try:
            yield network.head(network.neck(maps))
        finally:
            for hook in hooks:
                hook.remove()


def _softmax(logits: Tensor, temperature: float) -> Floats:
    """Calibrated probabilities, shape (n, n_classes), float64."""
    probabilities: Floats = softmax(logits.double().cpu().numpy() / temperature, axis=1)
    return probabilities


def _halves(values: Tensor) -> Halves:
    """Values as float16, those out of its range at its ends; not a number stays so."""
    return values.float().clamp(-_LARGEST_HALF, _LARGEST_HALF).cpu().numpy().astype(np.float16)


def _complain(ids: NDArray[np.object_]) -> None:
    raise DataError(
        "the model's answer is not a finite number",
        found=first_few(ids),
        hint="look at these boxes; with --precision 16 try --precision 32",
    )


def _shapes(model: LoadedModel, box: int, count: int, *, maps: bool) -> dict[str, tuple[int, ...]]:
    """The arrays to write: ``embedding.npy`` and, where asked for, ``features.npy``."""
    device = next(model.network.parameters()).device
    with torch.inference_mode():
        pooled = model.network.features(torch.zeros(1, 1, box, box, box, device=device))
        vector = model.network.neck(pooled)
    shapes = {"embedding.npy": (count, *vector.shape[1:])}
    if maps:
        shapes["features.npy"] = (count, *pooled.shape[1:])
    return shapes


def _stream(
    boxes: Boxes,
    rows: NDArray[np.intp],
    batch: int,
    work: Callable[[NDArray[np.intp], Tensor], None],
) -> None:
    """Read the rows in file order, some batches ahead; ``work`` takes their places and boxes.

    Where the device runs out of memory, the batch is halved once.
    """
    order, readers = boxes.in_file_order(rows), min(torch.get_num_threads(), _READERS)
    coming: deque[tuple[NDArray[np.intp], Future[NDArray[np.float32]]]] = deque()
    done = asked = 0
    halved = False
    with ThreadPoolExecutor(readers) as pool, progress("score", len(rows)) as advance:
        while done < len(rows):
            while asked < len(rows) and len(coming) <= readers:
                places = order[asked : asked + batch]
                coming.append((places, pool.submit(boxes.read, rows[places])))
                asked += len(places)
            places, reading = coming.popleft()
            try:
                work(places, torch.from_numpy(reading.result()))
            except torch.OutOfMemoryError as error:
                if halved or batch == 1:
                    raise DeviceError(
                        "the device's memory is too small",
                        hint=f"--batch-size {max(batch // 2, 1)}, --precision bf16 or --gpu cpu",
                    ) from error
                halved, batch = True, batch // 2
                log.warning(f"the device's memory is too small: batches of {batch} from here on")
                coming.clear()
                asked = done
                continue
            done += len(places)
            advance(len(places))
