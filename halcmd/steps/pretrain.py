"""A warm start for the classifier, from particles without labels."""

import hashlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halcmd import __version__
from halcmd.compute.device import enough_memory
from halcmd.console import log, planned
from halcmd.errors import InputError
from halcmd.formats.model import ModelInfo, write_model
from halcmd.formats.relion_job import CHECKPOINT
from halcmd.networks.classifier import check_box
from halcmd.particles import Particles
from halcmd.reports.training import write_curves, write_pretraining_report
from halcmd.subtomograms import Boxes, open_boxes
from halcmd.tables import write_particles
from halcmd.training.learnable import by_id, near_test, say_what_is_rotated
from halcmd.training.loop import Checkpoint
from halcmd.training.pretraining import Pretrained
from halcmd.training.pretraining import pretrain as fit
from halcmd.training.recipes import Recipe, pretraining_recipe
from halcmd.training.run import Compute

_FEWEST = 16


@dataclass(frozen=True)
class PretrainResult:
    """What was learnt from."""

    model: str
    particles: int
    epochs: float
    steps: int
    loss: float
    seconds: float

    def summary(self) -> dict[str, object]:
        """What ``--json`` prints."""
        return {
            "particles": self.particles,
            "epochs": self.epochs,
            "steps": self.steps,
            "loss": self.loss,
            "seconds": self.seconds,
        }


def pretrain(
    particles: Particles,
    folder: Path,
    *,
    compute: Compute,
    network: str | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    augment: str | None = None,
    tilt_range: tuple[float, float] | None = None,
    resume: bool = False,
    report: bool = True,
) -> PretrainResult:
    """A network without a head, pretrained on all particles that are not for the test.

    Parameters
    ----------
    particles : Particles
        With boxes. Labels are not looked at.
    folder : Path
        Job folder; gets model.safetensors, training.star, particles.star.
    compute : Compute
        Device, precision, seed.
    network, epochs, batch, augment : optional
        As in ``halcmd.training.recipes.pretraining_recipe``.
    tilt_range : (float, float), optional
        Degrees; wins over halTiltMin and halTiltMax.
    resume : bool
        Go on from the checkpoint in the folder.
    report : bool
        Write report.html and training.png.

    Raises
    ------
    InputError
        Too few particles, or no boxes.
    ModelError
        The network cannot take the boxes.
    """
    started = time.monotonic()
    boxes = open_boxes(particles)
    tilts = tilt_range or boxes.tilt_range
    rows = _rows(particles, boxes.box * boxes.pixel_size / 2)
    recipe = pretraining_recipe(
        len(rows), network=network, epochs=epochs, batch=batch, augment=augment
    )
    check_box(recipe.network, boxes.box)
    say_what_is_rotated(recipe.augment, tilts)
    planned(
        f"pretrain {recipe.network} on {len(rows):,} particles, box {boxes.box} px of "
        f"{boxes.pixel_size:g} A: {recipe.steps:,} steps of {recipe.batch}"
    )
    settings = _settings(particles.ids[rows], recipe, compute, tilts, boxes)
    checkpoint = Checkpoint(folder / CHECKPOINT, settings, resume=resume)
    # Half the batch would be another objective: views are told from those of the same batch.
    few = f"--batch-size {max(recipe.batch // 2, 2)}, --precision bf16 or --gpu cpu"
    with enough_memory(few):
        done = fit(
            boxes.read,
            rows,
            box=boxes.box,
            recipe=recipe,
            compute=compute,
            tilt_range=tilts,
            checkpoint=checkpoint,
        )
    compute.group.leave()
    name = _write(folder, done, boxes, recipe, compute, tilts, len(rows), report=report)
    write_particles(folder / "particles.star", particles, model=name)
    checkpoint.path.unlink(missing_ok=True)
    loss = done.history["train_loss"][-1]
    log.info(f"{done.steps:,} steps, last loss {loss:.3f}")
    return PretrainResult(
        model=name,
        particles=len(rows),
        epochs=round(done.steps * recipe.batch / len(rows), 1),
        steps=done.steps,
        loss=round(loss, 6),
        seconds=round(time.monotonic() - started, 1),
    )


def _rows(particles: Particles, distance: float) -> NDArray[np.intp]:
    """Rows that are not for the test nor that close (Angstrom) to it, in the order of their ids."""
    rows = np.flatnonzero(~particles.is_test)
    near = near_test(particles, rows, distance)
    if near.any():
        log.info(f"left out {near.sum():,} (closer than half a box to a test particle)")
    rows = rows[~near]
    if len(rows) < _FEWEST:
        raise InputError(
            f"pretraining needs at least {_FEWEST} particles that are not for the test",
            where=str(particles.path),
            found=f"{len(rows):,} of {len(particles):,}",
            hint="more picks, or train without a pretrained model",
        )
    return by_id(particles, rows)


def _settings(
    ids: NDArray[np.object_],
    recipe: Recipe,
    compute: Compute,
    tilt_range: tuple[float, float] | None,
    boxes: Boxes,
) -> dict[str, str]:
    """All that the result depends on, as text, for the checkpoint."""
    digest = hashlib.sha256("\n".join(map(str, ids)).encode()).hexdigest()[:12]
    facts = asdict(recipe) | {
        "what": "pretraining",
        "seed": compute.seed,
        "precision": compute.precision,
        "tilt range": tilt_range,
        "box": boxes.box,
        "pixel size": boxes.pixel_size,
        "particles": f"{len(ids)} {digest}",
    }
    return {name: str(value) for name, value in facts.items()}


def _write(
    folder: Path,
    done: Pretrained,
    boxes: Boxes,
    recipe: Recipe,
    compute: Compute,
    tilt_range: tuple[float, float] | None,
    n_particles: int,
    *,
    report: bool,
) -> str:
    """Model, learning curve and report; the model's hash."""
    info = ModelInfo(
        network=recipe.network,
        widths=done.network.widths,
        dropout=done.network.dropout,
        classes={},
        box=boxes.box,
        pixel_size=boxes.pixel_size,
        contrast=boxes.contrast,
        tilt_range=tilt_range,
        provenance={
            "halcmd": __version__,
            "seed": compute.seed,
            "steps": done.steps,
            "pretrained_on": n_particles,
        },
    )
    name = write_model(folder / "model.safetensors", done.network.state_dict(), info)
    write_curves(folder / "training.star", done.history)
    if report:
        write_pretraining_report(folder, done, info, name)
    return name
