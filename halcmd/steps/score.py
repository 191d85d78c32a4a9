"""Class probabilities, uncertainty and embeddings of every particle, in one pass over the boxes."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from halcmd.compute.device import enough_memory, forward_batch
from halcmd.console import log, planned, progress
from halcmd.errors import DataError, DeviceError, InputError, ModelError, OptionError, first_few
from halcmd.formats.features import check_room, open_features
from halcmd.formats.model import check_fits, hash_of_hashes
from halcmd.inference import Passes, looker
from halcmd.labels.familiarity import known_places, unfamiliarity
from halcmd.networks.classifier import LoadedModel, load_model
from halcmd.particles import Particles
from halcmd.predictions import with_predictions
from halcmd.reports.scores import write_score_report
from halcmd.shares import Share
from halcmd.subtomograms import Boxes, open_boxes
from halcmd.tables import write_particles
from halcmd.training.run import Compute
from halcmd.transforms import half_turns

_READERS = 4  # threads; each normalises some 2 GB of boxes a second


@dataclass(frozen=True)
class ScoreResult:
    """The scored table."""

    particles: Particles
    scored: int
    seconds: float

    def summary(self) -> dict[str, object]:
        """What ``--json`` prints."""
        return {"particles": self.scored, "seconds": self.seconds}


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
        Particles per forward pass. Default: by ``forward_batch``.
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
    with enough_memory("--gpu cpu, or another GPU"):
        loaded = _load(models, boxes, compute.device)
        shapes = _shapes(loaded[0], boxes.box, maps=maps)
    turns = _turns(passes, boxes.tilt_range or loaded[0].info.tilt_range)
    _check(loaded, models, passes)
    rows = _rows(particles, only)
    batch = batch or forward_batch(boxes.box, compute.device)
    classes = list(loaded[0].info.classes)
    files_of = {name: (len(rows), *shape) for name, shape in shapes.items()}
    check_room(folder, files_of)
    what = f"probabilities of {len(classes)} classes" if classes else "embeddings only"
    planned(f"score {len(rows):,} of {len(particles):,} particles: {what}, batches of {batch}")
    look = looker(loaded, passes, turns, compute, maps=maps)
    probabilities = np.zeros((len(rows), len(classes)))
    # Whole batches, so that each is what it would be in a single process.
    share = Share(compute.group, boxes.in_file_order(rows), unit=batch)
    with share.feature_files(folder, files_of) as files:

        def work(start: int, volumes: Tensor) -> None:
            part, end = look(volumes), start + len(volumes)
            own = share.own[start:end]
            bad = ~(np.isfinite(part.probabilities).all(1) & np.isfinite(part.kept[0]).all(1))
            if bad.any():
                _complain(particles.ids[rows[own[bad]]])
            probabilities[own] = part.probabilities
            for file, values in zip(files, part.kept, strict=True):
                file[share.places_of(start, end)] = values

        _stream(boxes.read, rows[share.own], batch, work)
    probabilities = share.put_together(probabilities)
    compute.group.leave()
    name = hash_of_hashes([model.hash for model in loaded])
    unfamiliar = _unfamiliar(particles, rows, folder)
    table = with_predictions(
        particles,
        rows,
        probabilities=probabilities,
        classes=loaded[0].info.classes,
        model=name,
        unfamiliar=unfamiliar,
    )
    write_particles(folder / "particles.star", table, model=name)
    if report:
        used = dict(zip(models, loaded, strict=True))
        write_score_report(
            folder,
            table,
            rows,
            probabilities,
            unfamiliar=unfamiliar,
            boxes=boxes,
            models=used,
            seed=compute.seed,
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
        if model.info.provenance.get("validation") == 0:
            log.warning(
                f"{path} was trained with nothing held out: its probabilities are not calibrated,"
                " so 0.8 does not mean that four in five are right"
            )
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


def _unfamiliar(
    particles: Particles, rows: NDArray[np.intp], folder: Path
) -> NDArray[np.float64] | None:
    """HalUnfamiliar of the rows that were scored; None without labelled ones to compare with."""
    known = known_places(particles, rows)
    if len(known) < 2:
        log.info("halUnfamiliar is left out: it compares with labelled particles that are scored")
        return None
    found = unfamiliarity(open_features(folder / "embedding.npy"), known)
    if np.isnan(found).all():  # every embedding is zero
        return found
    middle, high, most = np.nanquantile(found, (0.5, 0.99, 1.0))
    log.info(
        f"halUnfamiliar, large where a particle is like none of the {len(known):,} labelled ones: "
        f"half are below {middle:.2f}, 99 % below {high:.2f}, the largest is {most:.2f}"
    )
    return found


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


def _complain(ids: NDArray[np.object_]) -> None:
    raise DataError(
        "the model's answer is not a finite number",
        found=first_few(ids),
        hint="look at these boxes; with --precision 16 try --precision 32",
    )


def _shapes(model: LoadedModel, box: int, *, maps: bool) -> dict[str, tuple[int, ...]]:
    """Of one particle in ``embedding.npy`` and, where asked for, ``features.npy``."""
    device = next(model.network.parameters()).device
    with torch.inference_mode():
        pooled = model.network.features(torch.zeros(1, 1, box, box, box, device=device))
        vector = model.network.neck(pooled)
    shapes = {"embedding.npy": tuple(vector.shape[1:])}
    if maps:
        shapes["features.npy"] = tuple(pooled.shape[1:])
    return shapes


def _stream(
    read: Callable[[NDArray[np.intp]], NDArray[np.float32]],
    rows: NDArray[np.intp],
    batch: int,
    work: Callable[[int, Tensor], None],
) -> None:
    """Read batch after batch, some ahead; ``work`` takes the place of the first row, and the boxes.

    Where the device runs out of memory, the batch is halved once.
    """
    readers = min(torch.get_num_threads(), _READERS)
    coming: deque[Future[NDArray[np.float32]]] = deque()
    done = asked = 0
    halved = False
    with ThreadPoolExecutor(readers) as pool, progress("score", len(rows)) as advance:
        while done < len(rows):
            while asked < len(rows) and len(coming) <= readers:
                coming.append(pool.submit(read, rows[asked : asked + batch]))
                asked += batch
            volumes = torch.from_numpy(coming.popleft().result())
            try:
                work(done, volumes)
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
            done += len(volumes)
            advance(len(volumes))
