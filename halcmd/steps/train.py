"""Fit the classifier to the labelled particles."""

import hashlib
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from halcmd import __version__
from halcmd.calibration import calibration_error
from halcmd.console import log, planned
from halcmd.errors import DeviceError, ModelError
from halcmd.formats.model import ModelInfo, StoredModel, check_fits, read_model, write_model
from halcmd.formats.relion_job import CHECKPOINT
from halcmd.networks.classifier import Classifier, check_box
from halcmd.particles import Particles
from halcmd.reports.training import write_curves, write_training_report
from halcmd.subtomograms import Boxes, open_boxes
from halcmd.tables import write_particles
from halcmd.training.learnable import classes_of, rows_to_learn_from
from halcmd.training.loop import Checkpoint, Examples, Fit, fit, initial_network
from halcmd.training.recipes import Changes, Recipe, recipe
from halcmd.training.run import Compute
from halcmd.training.validation import hold_out, negative_log_likelihood


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
    training: Examples
    validation: Examples
    recipe: Recipe
    tilt_range: tuple[float, float] | None

    @property
    def counts(self) -> dict[str, int]:
        """Labelled particles of each class."""
        both = np.concatenate([self.training.classes, self.validation.classes])
        return {name: int((both == place).sum()) for place, name in enumerate(self.classes)}


def train(
    particles: Particles,
    folder: Path,
    *,
    compute: Compute,
    preset: str = "default",
    changes: Changes | None = None,
    validation: float = 0.2,
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
    validation : float
        Share of the labelled particles that is held out.
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
    rows = rows_to_learn_from(particles, distance=boxes.box * boxes.pixel_size / 2)
    classes = classes_of(particles, rows)
    training, held = _split(particles, rows, classes, validation, compute.seed)
    plan = _Plan(
        boxes=boxes,
        classes=classes,
        training=training,
        validation=held,
        recipe=recipe(preset, len(training), changes=changes),
        tilt_range=tilt_range or boxes.tilt_range,
    )
    check_box(plan.recipe.network, boxes.box)
    start = _read_init(init_model, plan) if init_model else None
    planned(_intention(plan))
    settings = _settings(plan, particles, compute, start)
    checkpoint = Checkpoint(folder / CHECKPOINT, settings, resume=resume)
    done = _fit(plan, compute, start, checkpoint)
    info = _info(plan, done, compute.seed, preset)
    name = write_model(folder / "model.safetensors", done.network.state_dict(), info)
    write_curves(folder / "training.star", done)
    result = _result(plan, done, name, time.monotonic() - started)
    write_particles(folder / "particles.star", particles, model=name)
    checkpoint.path.unlink(missing_ok=True)
    if report:
        write_training_report(folder, done, info, held=held.classes, model=name)
    return result


def _split(
    particles: Particles,
    rows: NDArray[np.intp],
    classes: dict[str, int],
    fraction: float,
    seed: int,
) -> tuple[Examples, Examples]:
    """Training and validation particles."""
    labels = particles.labels[rows]
    held, by = hold_out(
        particles.ids[rows],
        labels=labels,
        tomograms=particles.tomograms[rows],
        fraction=fraction,
        seed=seed,
    )
    place = {name: number for number, name in enumerate(classes)}
    numbers = np.array([place[label] for label in labels], dtype=np.intp)
    if by == "none":
        log.info(
            "validation: none"
            + (" (too few labels)" if fraction > 0 else "")
            + ": all labelled particles are trained on for a fixed number of steps, and "
            "probabilities are not calibrated"
        )
    else:
        log.info(f"validation: {held.sum():,} of {len(rows):,} labelled particles, by {by}")
    return Examples(rows[~held], numbers[~held]), Examples(rows[held], numbers[held])


def _read_init(path: Path, plan: _Plan) -> StoredModel:
    """The model to start from, if it fits."""
    stored = read_model(path)
    boxes = plan.boxes
    check_fits(
        stored.info, box=boxes.box, pixel_size=boxes.pixel_size, contrast=boxes.contrast, where=path
    )
    if stored.info.network != plan.recipe.network:
        raise ModelError(
            "the initial model is another network",
            where=str(path),
            found=f"{stored.info.network} there, {plan.recipe.network} here",
            hint=f"--network {stored.info.network}",
        )
    return stored


def _intention(plan: _Plan) -> str:
    how, classes = plan.recipe, ", ".join(f"{n} {c:,}" for n, c in plan.counts.items())
    if how.augment == "full" and plan.tilt_range is None:
        log.info(
            "tilt range unknown: particles are turned and shifted but not rotated freely "
            "(--tilt-range MIN,MAX allows that)"
        )
    return (
        f"train {how.network} on {len(plan.training):,} particles of {len(plan.classes)} "
        f"classes ({classes}), box {plan.boxes.box} px of {plan.boxes.pixel_size:g} A: "
        f"at most {how.steps:,} steps of {how.batch}"
    )


def _settings(
    plan: _Plan, particles: Particles, compute: Compute, start: StoredModel | None
) -> dict[str, str]:
    """All that the result depends on, as text, for the checkpoint."""
    digest = hashlib.sha256()
    for examples in (plan.training, plan.validation):
        ids = particles.ids[examples.rows]
        for name, place in zip(ids, examples.classes, strict=True):
            digest.update(f"{name} {place}\n".encode())
        digest.update(b"\n")
    facts = asdict(plan.recipe) | {
        "seed": compute.seed,
        "precision": compute.precision,
        "tilt range": plan.tilt_range,
        "box": plan.boxes.box,
        "pixel size": plan.boxes.pixel_size,
        "classes": ", ".join(plan.classes),
        "labelled particles": len(plan.training) + len(plan.validation),
        "labels": digest.hexdigest()[:12],
        "initial model": start.hash if start else "none",
    }
    return {name: str(value) for name, value in facts.items()}


def _fit(plan: _Plan, compute: Compute, start: StoredModel | None, checkpoint: Checkpoint) -> Fit:
    """The fit; with half the batch where the device's memory is too small for the whole one."""
    for attempt in (plan.recipe, replace(plan.recipe, batch=max(plan.recipe.batch // 2, 1))):
        network = initial_network(
            attempt, box=plan.boxes.box, n_classes=len(plan.classes), compute=compute
        )
        if start:
            _start_from(network, start, plan)
        try:
            return fit(
                network,
                plan.boxes.read,
                training=plan.training,
                validation=plan.validation,
                recipe=attempt,
                compute=compute,
                tilt_range=plan.tilt_range,
                checkpoint=checkpoint,
            )
        except torch.OutOfMemoryError:
            log.warning(f"the device's memory is too small for batches of {attempt.batch}")
    raise DeviceError(
        "the device's memory is too small",
        hint=f"--batch-size {max(plan.recipe.batch // 4, 1)}, --precision bf16 or --gpu cpu",
    )


def _start_from(network: Classifier, start: StoredModel, plan: _Plan) -> None:
    """Trunk and neck of the initial model; its head too where the classes are the same."""
    same = list(start.info.classes) == list(plan.classes)
    tensors = {
        name: tensor
        for name, tensor in start.tensors.items()
        if same or not name.startswith("head.")
    }
    network.load_state_dict(tensors, strict=same)
    log.info(f"started from {start.hash}: {'all of it' if same else 'all but the head'}")


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
            "validation": len(plan.validation),
        },
    )


def _result(plan: _Plan, done: Fit, model: str, seconds: float) -> TrainResult:
    counts, true = plan.counts, plan.validation.classes
    accuracy = loss = ece = None
    if len(true):
        logits = done.validation_logits.astype(np.float64) / done.temperature
        probabilities = softmax(logits, axis=1)
        right = probabilities.argmax(axis=1) == true
        accuracy, loss = float(right.mean()), negative_log_likelihood(logits, true)
        ece = float(calibration_error(probabilities.max(axis=1), right))
        log.info(
            f"kept the weights of step {done.best_step:,} of {done.steps:,}: validation accuracy "
            f"{accuracy:.3f}, loss {loss:.3f}, calibration error {ece:.3f}, "
            f"temperature {done.temperature:.2f}"
        )
    seen = done.steps * plan.recipe.batch / len(plan.training)
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
