"""Class probabilities, uncertainty and embeddings of every particle, in one pass over the boxes."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from halcmd.formats.model import check_fits, hash_of_hashes
from halcmd.networks.classifier import Classifier, LoadedModel, as_input, load_model
from halcmd.particles import Particles
from halcmd.predictions import with_predictions
from halcmd.reports.scores import write_score_report
from halcmd.shares import Share
from halcmd.subtomograms import Boxes, open_boxes
from halcmd.tables import write_particles
from halcmd.training.run import Compute
from halcmd.transforms import half_turn, half_turns

_LARGEST_HALF = 65504.0
_BATCH_VOXELS = 2**20  # 64 particles of 24^3 or 16 of 40^3: enough to fill a CPU, little memory
_LARGEST_BATCH = 512
_GPU_FACTOR = 16

Floats = NDArray[np.float64]
Halves = NDArray[np.float16]


@dataclass(frozen=True)
class Passes:
    """How often each particle is looked at.

    Attributes
    ----------
    augmentations : int
        Half turns over which the probabilities are averaged, 1 to 4; at most 2 where the tilt range
        is not symmetric or unknown.
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
    embedding: Halves
    maps: Halves


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
    report: bool = True,
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
    report : bool
        Write report.html and its plots too.

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
    turns = _turns(passes, boxes.tilt_range or loaded[0].info.tilt_range)
    _check(loaded, models, passes)
    rows = _rows(particles, only)
    batch = batch or _batch_of(boxes.box, compute.device)
    classes = list(loaded[0].info.classes)
    what = f"probabilities of {len(classes)} classes" if classes else "embeddings only"
    planned(f"score {len(rows):,} of {len(particles):,} particles: {what}, batches of {batch}")
    look = _looker(loaded, passes, turns, compute)
    probabilities = np.zeros((len(rows), len(classes)))
    # Whole batches, so that each is what it would be in a single process.
    share = Share(compute.group, len(rows), unit=batch)
    own, answers = rows[share.own], probabilities[share.own]
    shapes = _shapes(loaded[0], boxes.box)
    with share.feature_files(folder, *shapes, maps=maps) as (vectors, pooled):

        def work(start: int, volumes: Tensor) -> None:
            part = look(volumes)
            end = start + len(volumes)
            bad = ~(np.isfinite(part.probabilities).all(1) & np.isfinite(part.embedding).all(1))
            if bad.any():
                _complain(particles.ids[own[start:end][bad]])
            answers[start:end], vectors[start:end] = part.probabilities, part.embedding
            if pooled is not None:
                pooled[start:end] = part.maps

        _stream(boxes.read, own, batch, work)
    probabilities = share.put_together(probabilities)
    compute.group.leave()
    name = hash_of_hashes([model.hash for model in loaded])
    table = with_predictions(
        particles, rows, probabilities=probabilities, classes=loaded[0].info.classes, model=name
    )
    write_particles(folder / "particles.star", table, model=name)
    if report:
        used = dict(zip(models, loaded, strict=True))
        write_score_report(
            folder, table, rows, probabilities, boxes=boxes, models=used, seed=compute.seed
        )
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
    dropout = max(model.info.dropout for model in models)
    if passes.dropout_samples and not dropout:
        raise OptionError("--dropout-samples needs a model that was trained with dropout")


def _turns(passes: Passes, tilt_range: tuple[float, float] | None) -> tuple[int, ...]:
    """The half turns to average over; those about y come first."""
    turns = half_turns(tilt_range)
    if not 1 <= passes.augmentations <= len(turns):
        known = "unknown" if tilt_range is None else "{:g} to {:g} degrees".format(*tilt_range)
        raise OptionError(
            f"--augmentations must be from 1 to {len(turns)} here",
            found=f"{passes.augmentations}, tilt range {known}",
            hint="half turns about x and z keep the missing wedge of a symmetric tilt range alone",
        )
    return turns[: passes.augmentations]


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
    models: Sequence[LoadedModel], passes: Passes, turns: Sequence[int], compute: Compute
) -> Callable[[Tensor], _Batch]:
    """A function from particles (n, z, y, x) to what the models say of them."""
    order = list(models[0].info.classes)

    def look(volumes: Tensor) -> _Batch:
        volumes = volumes.to(compute.device)
        shares, kept = [], None
        with torch.inference_mode(), autocast(compute.device, compute.precision):
            for model in models:
                places = list(model.info.classes)
                columns = [places.index(name) for name in order]
                for turn in turns:
                    turned = half_turn(volumes, turn) if turn else volumes
                    maps = model.network.features(as_input(turned))
                    kept = kept or (model.network.neck(maps), maps)
                    for logits in _logits(model.network, maps, passes, compute) if order else ():
                        shares.append(_softmax(logits, model.info.temperature)[:, columns])
        assert kept is not None
        mean = np.mean(shares, axis=0) if shares else np.empty((len(volumes), 0))
        return _Batch(mean, _halves(kept[0]), _halves(kept[1]))

    return look


def _logits(
    network: Classifier, maps: Tensor, passes: Passes, compute: Compute
) -> Iterator[Tensor]:
    """Logits from maps: once, or once per dropout sample; only neck and head are repeated.

    The units that drop out in a sample are the same for all particles (as in Baal's consistent
    dropout), so that a particle's result does not depend on its neighbours in the table.
    """
    if not passes.dropout_samples:
        yield network.head(network.neck(maps))
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


def _shapes(model: LoadedModel, box: int) -> tuple[Sequence[int], Sequence[int]]:
    """The shapes of one particle's embedding and maps."""
    device = next(model.network.parameters()).device
    with torch.inference_mode():
        pooled = model.network.features(torch.zeros(1, 1, box, box, box, device=device))
        vector = model.network.neck(pooled)
    return vector.shape[1:], pooled.shape[1:]


def _stream(
    read: Callable[[NDArray[np.intp]], NDArray[np.float32]],
    rows: NDArray[np.intp],
    batch: int,
    work: Callable[[int, Tensor], None],
) -> None:
    """Read batch after batch, the next one while the device works on this one.

    Where the device runs out of memory, the batch is halved once.
    """
    halved = False
    start = 0
    with ThreadPoolExecutor(1) as reader, progress("score", len(rows)) as advance:
        coming = reader.submit(read, rows[:batch])
        while start < len(rows):
            volumes = torch.from_numpy(coming.result())
            end = start + len(volumes)
            coming = reader.submit(read, rows[end : end + batch])
            try:
                work(start, volumes)
            except torch.OutOfMemoryError as error:
                if halved or batch == 1:
                    raise DeviceError(
                        "the device's memory is too small",
                        hint=f"--batch-size {max(batch // 2, 1)}, --precision bf16 or --gpu cpu",
                    ) from error
                halved, batch = True, batch // 2
                log.warning(f"the device's memory is too small: batches of {batch} from here on")
                coming.result()
                coming = reader.submit(read, rows[start : start + batch])
                continue
            start = end
            advance(len(volumes))
