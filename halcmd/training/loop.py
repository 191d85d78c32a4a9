"""The training loop that all fits share, step by step and resumable; and the fit of a classifier.

Every step is a pure function of (seed, step): which particles, how they are turned, which
units drop out. So a run that was killed and resumed ends in the same weights as one that was not.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from halcmd.compute.device import autocast
from halcmd.compute.processes import waiting_signals
from halcmd.console import log, progress
from halcmd.errors import InputError
from halcmd.formats.model import read_checkpoint, write_checkpoint
from halcmd.networks.classifier import Classifier, as_input
from halcmd.training.batches import Source
from halcmd.training.objectives import Objective, consistent, labelled, together
from halcmd.training.recipes import Recipe
from halcmd.training.run import Compute, Rows, Run
from halcmd.training.validation import temperature
from halcmd.transforms import Transform, augmentation

_CHECKPOINT_SECONDS = 10.0
_CACHE_BYTES = 2 * 2**30

Read = Callable[[Rows], NDArray[np.float32]]


@dataclass(frozen=True)
class Examples:
    """Labelled particles.

    Attributes
    ----------
    rows : ndarray, shape (n,), int
        What ``read`` takes. In the order of the particles' ids, so that file order changes nothing.
    classes : ndarray, shape (n,), int
        Place of each one's class among the logits.
    """

    rows: Rows
    classes: Rows

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, chosen: NDArray[np.bool_]) -> "Examples":
        """Some of them."""
        return Examples(self.rows[chosen], self.classes[chosen])


@dataclass(frozen=True)
class Checkpoint:
    """Where the state of the run is kept, and what it belongs to.

    Attributes
    ----------
    path : Path
        The file; rewritten at each evaluation and every ten seconds.
    settings : dict of str to str
        All that the result depends on. A run resumes only from a checkpoint with the same.
    resume : bool
        Go on from the file where there is one.
    """

    path: Path
    settings: dict[str, str]
    resume: bool = False


@dataclass(frozen=True)
class Fit:
    """What training has come to.

    Attributes
    ----------
    network : Classifier
        With the weights that were kept, in evaluation mode.
    steps : int
        Steps done.
    best_step : int
        The step of the weights kept.
    history : dict of str to list of float
        ``step``, ``train_loss``, ``validation_loss``, ``validation_accuracy``; nan = not measured.
    validation_logits : ndarray, shape (n_validation, n_classes), float32
        Not divided by the temperature.
    temperature : float
        Fitted to them; 1 where there are none.
    """

    network: Classifier
    steps: int
    best_step: int
    history: dict[str, list[float]]
    validation_logits: NDArray[np.float32]
    temperature: float

    @property
    def validation_probabilities(self) -> NDArray[np.float64]:
        """Calibrated, shape (n_validation, n_classes)."""
        logits = self.validation_logits.astype(np.float64) / self.temperature
        return np.asarray(softmax(logits, axis=1)) if len(logits) else logits


def fit(
    network: Classifier,
    read: Read,
    *,
    training: Examples,
    validation: Examples,
    recipe: Recipe,
    compute: Compute,
    tilt_range: tuple[float, float] | None = None,
    unlabelled: Rows | None = None,
    checkpoint: Checkpoint | None = None,
) -> Fit:
    """The network fitted to the training particles.

    Parameters
    ----------
    network : Classifier
        With initial weights; changed in place.
    read : function of rows -> ndarray, shape (n, z, y, x), float32
        Particles with zero mean and unit standard deviation.
    training, validation : Examples
        ``validation`` may be empty: then all steps are done and the last weights are kept.
    recipe : Recipe
        How.
    compute : Compute
        Device, precision, seed.
    tilt_range : (float, float), optional
        Degrees; without it no particle is rotated freely.
    unlabelled : ndarray of int, optional
        Rows of particles that are learnt from without labels, where the recipe says so.
    checkpoint : Checkpoint, optional
        Keep the state of the run on disk. The file stays when the function ends.

    Raises
    ------
    DataError
        The loss is not finite.
    InputError
        The checkpoint belongs to other settings or labels.
    """
    run = Run(network, recipe, compute)
    held = source_of(read, validation.rows)
    objective = _objective(read, training, unlabelled, run, tilt_range)

    def look() -> None:
        run.look(_logits(run, held, len(validation)), validation.classes)

    drive(run, objective, look, checkpoint=checkpoint, what="train")
    kept = run.take_best()
    logits = _logits(run, held, len(validation))
    return Fit(
        network=kept,
        steps=run.step,
        best_step=run.best_step or run.step,
        history=run.history,
        validation_logits=logits,
        temperature=temperature(logits, validation.classes),
    )


def drive(
    run: Run,
    objective: Objective,
    look: Callable[[], None],
    *,
    checkpoint: Checkpoint | None,
    what: str,
) -> None:
    """Take the steps of a run that are left.

    Parameters
    ----------
    run : Run
        At its start; moved on to its checkpoint where that is to be resumed.
    objective : Objective
        What each step minimises.
    look : function
        Called at each evaluation.
    checkpoint : Checkpoint, optional
        Where the state of the run is kept.
    what : str
        Name of the progress display.
    """
    recipe = run.recipe
    if checkpoint and checkpoint.resume:
        _resume(run, checkpoint)
        if not run.compute.group.agrees_on(run.step):
            raise InputError(
                "the processes have found different checkpoints",
                where=str(checkpoint.path),
                hint="an --output folder that all machines see alike",
            )
    saved = time.monotonic()

    def save() -> None:
        nonlocal saved
        if checkpoint and run.compute.group.is_first:
            write_checkpoint(checkpoint.path, run.state() | {"settings": checkpoint.settings})
            saved = time.monotonic()

    # Processes that wait for each other in a step must not be stopped at different ones.
    alone = run.compute.group.count == 1
    signals = waiting_signals() if alone else nullcontext(lambda: None)
    with progress(what, recipe.steps, "steps") as advance, signals as let_through:
        advance(run.step)
        while run.step < recipe.steps and not run.is_stale:
            run.take_step(objective)
            looked = run.step % recipe.evaluate_every == 0 or run.step == recipe.steps
            if looked:
                look()
            if looked or time.monotonic() - saved > _CHECKPOINT_SECONDS:
                save()
            try:
                let_through()
                advance(1)
            except BaseException:  # a signal, or RELION's abort file
                save()
                raise


def source_of(read: Read, rows: Rows) -> Source:
    """A function of positions among the rows; the particles stay in memory where that is little."""
    if not len(rows):
        return lambda positions: torch.empty(0)
    if read(rows[:1]).nbytes * len(rows) <= _CACHE_BYTES:
        particles = read(
            rows
        )  # an array: torch would copy with all threads, of which one is enough
        return lambda positions: torch.from_numpy(particles[positions])
    return lambda positions: torch.from_numpy(read(rows[positions]))


def _objective(
    read: Read,
    training: Examples,
    unlabelled: Rows | None,
    run: Run,
    tilt_range: tuple[float, float] | None,
) -> Objective:
    """The loss on the labelled particles, and on the unlabelled ones where the recipe says so."""
    recipe = run.recipe
    source = source_of(read, training.rows)
    box = source(np.array([0])).shape[-1]

    def transform(mode: str) -> Transform:
        return augmentation(mode, box=box, tilt_range=tilt_range, device=run.compute.device)

    balanced = recipe.class_weights == "balanced"
    change = transform(recipe.augment)
    objective = labelled(source, training.classes, change, balanced=balanced)
    if recipe.consistency is None or unlabelled is None or not len(unlabelled):
        return objective
    weak, strong = transform("flips"), transform("full")
    extra = consistent(
        source_of(read, unlabelled),
        len(unlabelled),
        weak=weak,
        strong=strong,
        how=recipe.consistency,
    )
    return together([objective, extra])


def _resume(run: Run, checkpoint: Checkpoint) -> None:
    if not checkpoint.path.exists():
        log.info(f"no {checkpoint.path} to go on from: training starts from the beginning")
        return
    state = read_checkpoint(checkpoint.path)
    before, now = state.get("settings", {}), checkpoint.settings
    different = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if different:
        raise InputError(
            "the checkpoint belongs to a run with other settings or labels",
            where=str(checkpoint.path),
            found="; ".join(
                f"{name} was {before.get(name, 'absent')}, is {now.get(name, 'absent')}"
                for name in different
            ),
            hint="the options and labels of that run, or --overwrite to start afresh",
        )
    run.restore(state)
    log.info(f"resumed at step {run.step:,} of {run.recipe.steps:,}")


def _logits(run: Run, source: Source, count: int) -> NDArray[np.float32]:
    """Logits of ``count`` particles by the averaged network, shape (count, n_classes)."""
    network = run.average.eval()
    size, compute = run.recipe.batch, run.compute
    parts: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        for start in range(0, count, size):
            positions = np.arange(start, min(start + size, count))
            with autocast(compute.device, compute.precision):
                volumes = source(positions).to(compute.device)
                logits = compute.group.shared(lambda own: network(as_input(own)), volumes)
            parts.append(logits.float().cpu().numpy())
    return np.concatenate(parts) if parts else np.empty((0, 0), dtype=np.float32)
