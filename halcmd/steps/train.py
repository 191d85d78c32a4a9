"""Fit the classifier to the labelled particles."""

import hashlib
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from halcmd import __version__
from halcmd.calibration import calibration_error
from halcmd.console import log, planned
from halcmd.errors import DeviceError
from halcmd.formats.model import ModelInfo, StoredModel, write_model
from halcmd.formats.relion_job import CHECKPOINT, CHECKPOINTS
from halcmd.labels.label_quality import with_doubts
from halcmd.networks.classifier import check_box
from halcmd.particles import Particles
from halcmd.reports.doubts import say_doubts
from halcmd.reports.training import write_curves, write_training_report
from halcmd.subtomograms import Boxes, open_boxes
from halcmd.tables import write_particles
from halcmd.training.cross_validation import fit_on_folds
from halcmd.training.initial import initial_network, read_start, start_from
from halcmd.training.learnable import (
    classes_of,
    rows_to_learn_from,
    rows_without_label,
    say_what_is_rotated,
)
from halcmd.training.loop import Checkpoint, Examples, Fit, fit
from halcmd.training.recipes import Changes, Recipe, recipe
from halcmd.training.run import Compute
from halcmd.training.split import Split, split_for
from halcmd.training.validation import negative_log_likelihood


@dataclass(frozen=True)
class TrainResult:
    """What was fitted, and how well it does on particles that were held out.

    Attributes
    ----------
    model : str
        Hash of the model's tensors.
    labelled : int
        Particles used, for training and validation.
    classes : dict of str to int
        Labelled particles of each class.
    epochs : float
        Times that each particle was seen, on average.
    steps : int
        Optimiser steps.
    accuracy, loss, ece : float or None
        On the validation particles, calibrated; None where there are none.
    seconds : float
    """

    model: str
    labelled: int
    classes: dict[str, int]
    epochs: float
    steps: int
    accuracy: float | None
    loss: float | None
    ece: float | None
    seconds: float

    def summary(self) -> dict[str, object]:
        """What ``--json`` prints."""
        return {
            "labelled": self.labelled,
            "classes": self.classes,
            "epochs": self.epochs,
            "steps": self.steps,
            "validation": {"accuracy": self.accuracy, "loss": self.loss, "ece": self.ece},
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class _Plan:
    """Everything that is settled before the first step."""

    boxes: Boxes
    classes: dict[str, int]
    split: Split
    unlabelled: NDArray[np.intp]
    recipe: Recipe
    tilt_range: tuple[float, float] | None

    @property
    def counts(self) -> dict[str, int]:
        """Labelled particles of each class."""
        numbers = self.split.examples.classes
        return {name: int((numbers == place).sum()) for place, name in enumerate(self.classes)}


def train(
    particles: Particles,
    folder: Path,
    *,
    compute: Compute,
    preset: str = "default",
    changes: Changes | None = None,
    validation: float | None = None,
    n_folds: int | None = None,
    tilt_range: tuple[float, float] | None = None,
    init_model: Path | None = None,
    resume: bool = False,
    report: bool = True,
) -> TrainResult:
    """A classifier of the labelled particles of the pool, written with its learning curves.

    Parameters
    ----------
    particles : Particles
        With halLabel and boxes.
    folder : Path
        Job folder; gets model.safetensors, training.star, particles.star.
    compute : Compute
        Device, precision, seed.
    preset : str
        ``default``, ``paper`` or ``code``.
    changes : Changes, optional
        What differs from the preset.
    validation : float, optional
        Share of the labelled particles that is held out, 0 = none. Default: a fifth; with fewer
        than 200 labels a third in turn, after which all are trained on.
    n_folds : int, optional
        Parts held out in turn, after which all are trained on; in place of ``validation``.
    tilt_range : (float, float), optional
        Degrees; wins over halTiltMin and halTiltMax.
    init_model : Path, optional
        Start from this model's weights.
    resume : bool
        Go on from the checkpoint in the folder.
    report : bool
        Write report.html, training.png and calibration.png too.

    Raises
    ------
    InputError
        Too few labels or classes, or no boxes.
    ModelError
        The network cannot take the boxes, or the initial model does not fit.
    """
    started = time.monotonic()
    boxes = open_boxes(particles)
    distance = boxes.box * boxes.pixel_size / 2
    rows = rows_to_learn_from(particles, distance=distance)
    classes = classes_of(particles, rows)
    split = split_for(
        particles,
        rows,
        classes,
        preset=preset,
        share=validation,
        n_folds=n_folds,
        seed=compute.seed,
    )
    how = recipe(preset, len(split.training), n_labelled=len(rows), changes=changes)
    plan = _Plan(
        boxes=boxes,
        classes=classes,
        split=split,
        unlabelled=_unlabelled(particles, how, distance),
        recipe=how,
        tilt_range=tilt_range or boxes.tilt_range,
    )
    check_box(plan.recipe.network, boxes.box)
    start = read_start(init_model, boxes, how.network) if init_model else None
    planned(_intention(plan))
    settings = _settings(plan, particles, compute, start)
    checkpoint = Checkpoint(folder / CHECKPOINT, settings, resume=resume)
    done, how = _fit(plan, compute, start, checkpoint)
    plan = replace(plan, recipe=how)
    compute.group.leave()
    info = _info(plan, done, compute.seed, preset)
    name = write_model(folder / "model.safetensors", done.network.state_dict(), info)
    write_curves(folder / "training.star", done.history)
    result = _result(plan, done, name, time.monotonic() - started)
    held = split.validation
    doubted = with_doubts(
        particles, held.rows, held.classes, done.validation_probabilities, list(classes)
    )
    say_doubts(doubted, len(held), len(rows))
    write_particles(folder / "particles.star", doubted, model=name)
    if report:
        write_training_report(folder, done, info, held=held.classes, model=name)
    for kept in CHECKPOINTS:
        (folder / kept).unlink(missing_ok=True)
    return result


def _unlabelled(particles: Particles, recipe: Recipe, distance: float) -> NDArray[np.intp]:
    """Rows that are learnt from without labels."""
    if recipe.consistency is None:
        return np.empty(0, dtype=np.intp)
    rows = rows_without_label(particles, distance=distance)
    first = recipe.consistency.first_step(recipe.steps)
    if first >= recipe.steps:
        log.info(f"unlabelled particles are not learnt from: they come in after {first:,} steps")
        return rows[:0]
    log.info(f"unlabelled particles that are learnt from too: {len(rows):,}, after {first:,} steps")
    return rows


def _intention(plan: _Plan) -> str:
    how, classes = plan.recipe, ", ".join(f"{n} {c:,}" for n, c in plan.counts.items())
    say_what_is_rotated(how.augment, plan.tilt_range)
    return (
        f"train {how.network} on {len(plan.split.training):,} particles of {len(plan.classes)} "
        f"classes ({classes}), box {plan.boxes.box} px of {plan.boxes.pixel_size:g} A: "
        f"at most {how.steps:,} steps of {how.batch}"
    )


def _settings(
    plan: _Plan, particles: Particles, compute: Compute, start: StoredModel | None
) -> dict[str, str]:
    """All that the result depends on, as text, for the checkpoint."""
    split = plan.split
    digest = hashlib.sha256()
    examples = split.examples
    ids = particles.ids[examples.rows]
    for name, place, held in zip(ids, examples.classes, split.held_in, strict=True):
        digest.update(f"{name} {place} {held}\n".encode())
    for name in particles.ids[plan.unlabelled]:
        digest.update(f"{name}\n".encode())
    facts = asdict(plan.recipe) | {
        "seed": compute.seed,
        "precision": compute.precision,
        "tilt range": plan.tilt_range,
        "box": plan.boxes.box,
        "pixel size": plan.boxes.pixel_size,
        "classes": ", ".join(plan.classes),
        "labelled particles": len(examples),
        "unlabelled particles": len(plan.unlabelled),
        "labels": digest.hexdigest()[:12],
        "initial model": start.hash if start else "none",
    }
    return {name: str(value) for name, value in facts.items()}


def _fit(
    plan: _Plan, compute: Compute, start: StoredModel | None, checkpoint: Checkpoint
) -> tuple[Fit, Recipe]:
    """The fit and its recipe: half the batch where the device's memory is too small for all."""
    sizes = [plan.recipe.batch, max(plan.recipe.batch // 2, 1)]
    if compute.group.count > 1:
        del sizes[1]  # the other processes would go on with the whole batch
    for size in sizes:
        how = replace(plan.recipe, batch=size)
        try:
            return _fit_split(plan, how, compute, start, checkpoint), how
        except torch.OutOfMemoryError:
            log.warning(f"the device's memory is too small for batches of {size}")
    raise DeviceError(
        "the device's memory is too small",
        hint=f"--batch-size {max(sizes[-1] // 2, 1)}, --precision bf16 or --gpu cpu",
    )


def _fit_split(
    plan: _Plan,
    recipe: Recipe,
    compute: Compute,
    start: StoredModel | None,
    checkpoint: Checkpoint,
) -> Fit:
    def fit_one(
        training: Examples, validation: Examples, how: Recipe, kept: Checkpoint | None
    ) -> Fit:
        network = initial_network(
            how, box=plan.boxes.box, n_classes=len(plan.classes), compute=compute
        )
        if start:
            start_from(network, start, classes=list(plan.classes))
        return fit(
            network,
            plan.boxes.read,
            training=training,
            validation=validation,
            recipe=how,
            compute=compute,
            tilt_range=plan.tilt_range,
            unlabelled=plan.unlabelled,
            checkpoint=kept,
        )

    split = plan.split
    if split.n_folds:
        return fit_on_folds(fit_one, split.examples, split.held_in, recipe, checkpoint)
    return fit_one(split.training, split.validation, recipe, checkpoint)


def _info(plan: _Plan, done: Fit, seed: int, preset: str) -> ModelInfo:
    return ModelInfo(
        network=plan.recipe.network,
        widths=done.network.widths,
        dropout=done.network.dropout,
        classes=plan.classes,
        box=plan.boxes.box,
        pixel_size=plan.boxes.pixel_size,
        contrast=plan.boxes.contrast,
        tilt_range=plan.tilt_range,
        temperature=done.temperature,
        provenance={
            "halcmd": __version__,
            "preset": preset,
            "seed": seed,
            "steps": done.steps,
            "kept_step": done.best_step,
            "labelled": plan.counts,
            "unlabelled": len(plan.unlabelled),
            "validation": len(plan.split.validation),
            "folds": plan.split.n_folds,
        },
    )


def _result(plan: _Plan, done: Fit, model: str, seconds: float) -> TrainResult:
    counts, true = plan.counts, plan.split.validation.classes
    accuracy = loss = ece = None
    if len(true):
        probabilities = done.validation_probabilities
        right = probabilities.argmax(axis=1) == true
        accuracy = float(right.mean())
        loss = negative_log_likelihood(done.validation_logits / np.float64(done.temperature), true)
        ece = float(calibration_error(probabilities.max(axis=1), right))
        log.info(
            f"kept the weights of step {done.best_step:,} of {done.steps:,}: validation accuracy "
            f"{accuracy:.3f}, loss {loss:.3f}, calibration error {ece:.3f}, "
            f"temperature {done.temperature:.2f}"
        )
    seen = done.steps * plan.recipe.batch / len(plan.split.training)
    return TrainResult(
        model=model,
        labelled=sum(counts.values()),
        classes=counts,
        epochs=round(seen, 1),
        steps=done.steps,
        accuracy=accuracy,
        loss=loss,
        ece=ece,
        seconds=round(seconds, 1),
    )
