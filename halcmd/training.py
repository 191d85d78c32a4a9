"""The training loop: a network fitted to labelled particles, step by step, and resumable.

Every step is a pure function of (seed, step): which particles, how they are turned, which
units drop out. So a run that was killed and resumed ends in the same weights as one that was not.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from halcmd.batches import batch_of
from halcmd.chance import derive
from halcmd.console import log, progress
from halcmd.device import autocast, torch_generator
from halcmd.errors import DataError, InputError
from halcmd.formats.model import read_checkpoint, write_checkpoint
from halcmd.networks.classifier import Classifier, as_input, in_parts, new_network
from halcmd.recipes import Recipe, learning_rate
from halcmd.transforms import Transform, augmentation
from halcmd.validation import negative_log_likelihood, temperature

_CHECKPOINT_SECONDS = 10.0
_CACHE_BYTES = 2 * 2**30

Rows = NDArray[np.intp]
Read = Callable[[Rows], NDArray[np.float32]]
State = dict[str, Any]

HISTORY = ("step", "train_loss", "validation_loss", "validation_accuracy")


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


@dataclass(frozen=True)
class Compute:
    """Where and how exactly to compute."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "auto"
    seed: int = 0


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


@contextmanager
def seeded(compute: Compute, *keys: object) -> Iterator[None]:
    """A context in which torch's own generator starts from (seed, keys); restored at the end."""
    devices = [] if compute.device.type == "cpu" else [compute.device]
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive(compute.seed, *keys))
        yield


def initial_network(recipe: Recipe, *, box: int, n_classes: int, compute: Compute) -> Classifier:
    """A network with weights that depend on the seed alone.

    Raises
    ------
    ModelError
        It cannot take such a box.
    """
    with seeded(compute, "initial weights"):
        return new_network(recipe.network, box=box, n_classes=n_classes, dropout=recipe.dropout)


def fit(
    network: Classifier,
    read: Read,
    *,
    training: Examples,
    validation: Examples,
    recipe: Recipe,
    compute: Compute,
    tilt_range: tuple[float, float] | None = None,
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
    checkpoint : Checkpoint, optional
        Keep the state of the run on disk. The file stays when the function ends.

    Raises
    ------
    DataError
        The loss is not finite.
    InputError
        The checkpoint belongs to other settings or labels.
    """
    run = _Run(network, recipe, compute)
    if checkpoint and checkpoint.resume:
        _resume(run, checkpoint)
    source, held = _source(read, training.rows), _source(read, validation.rows)
    box = source(np.array([0])).shape[-1]
    transform = augmentation(recipe.augment, box=box, tilt_range=tilt_range, device=compute.device)
    saved = time.monotonic()
    with progress("train", recipe.steps, "steps") as advance:
        advance(run.step)
        while run.step < recipe.steps and not run.is_stale:
            run.take_step(source, training.classes, transform)
            looked = run.step % recipe.evaluate_every == 0 or run.step == recipe.steps
            if looked:
                run.look(_logits(run, held, len(validation)), validation.classes)
            if checkpoint and (looked or time.monotonic() - saved > _CHECKPOINT_SECONDS):
                write_checkpoint(checkpoint.path, run.state() | {"settings": checkpoint.settings})
                saved = time.monotonic()
            advance(1)
    run.take_best()
    logits = _logits(run, held, len(validation))
    return Fit(
        network=network.eval(),
        steps=run.step,
        best_step=run.best_step or run.step,
        history=run.history,
        validation_logits=logits,
        temperature=temperature(logits, validation.classes),
    )


class _Run:
    """The state of one training run, all of which goes into a checkpoint."""

    def __init__(self, network: Classifier, recipe: Recipe, compute: Compute) -> None:
        self.recipe, self.compute = recipe, compute
        # The copy of the weights in this layout is what oneDNN and cuDNN convolve fastest with:
        # training steps of both networks took 0.6 to 0.9 of the time on CPUs with AVX-512.
        self.network = network.to(compute.device).to(
            memory_format=torch.channels_last_3d  # type: ignore[call-overload]
        )
        self.optimiser = torch.optim.AdamW(_groups(network, recipe.weight_decay), lr=1.0)
        self.scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.precision == "16")
        self.step = 0
        self.losses = [0.0, 0.0]  # sum and number since the last look
        self.history: dict[str, list[float]] = {name: [] for name in HISTORY}
        self.best: dict[str, Tensor] = {}
        self.best_value = math.inf
        self.best_step = 0
        self.looks_since_best = 0

    @property
    def is_stale(self) -> bool:
        """Whether patience is at its end."""
        return 0 < self.recipe.patience <= self.looks_since_best

    def take_step(
        self, source: Callable[[Rows], Tensor], classes: Rows, transform: Transform
    ) -> None:
        """One step of the optimiser."""
        recipe, compute = self.recipe, self.compute
        positions = batch_of(
            classes,
            recipe.batch,
            step=self.step,
            seed=compute.seed,
            balanced=recipe.class_weights == "balanced",
        )
        turns = torch_generator(compute.device, compute.seed, "augment", self.step)
        parts = transform(source(positions).to(compute.device), turns)
        wanted = torch.from_numpy(classes[positions]).to(compute.device)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(recipe, self.step)
        self.network.train()
        with seeded(compute, "dropout", self.step), autocast(compute.device, compute.precision):
            logits = in_parts(self.network, parts)
        loss = F.cross_entropy(logits.float(), wanted, label_smoothing=recipe.label_smoothing)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DataError(
                f"training came apart: the loss at step {self.step + 1} is {value}",
                hint=f"a smaller --lr than {recipe.learning_rate:g}, or --precision 32",
            )
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.step += 1
        self.losses = [self.losses[0] + value, self.losses[1] + 1]

    def look(self, logits: NDArray[np.float32], classes: Rows) -> None:
        """Note the losses; keep the weights where they are the best so far."""
        loss, accuracy = math.nan, math.nan
        if len(classes):
            loss = negative_log_likelihood(logits, classes)
            accuracy = float((logits.argmax(axis=1) == classes).mean())
        row = (self.step, self.losses[0] / self.losses[1], loss, accuracy)
        for name, value in zip(HISTORY, row, strict=True):
            self.history[name].append(value)
        self.losses = [0.0, 0.0]
        if not len(classes) or self.step <= self.recipe.best_after:
            return
        value = loss if self.recipe.best_by == "loss" else -accuracy
        self.looks_since_best += 1
        if value <= self.best_value:
            self.best_value, self.best_step, self.looks_since_best = value, self.step, 0
            self.best = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}

    def take_best(self) -> None:
        """Go back to the weights that were kept, if any were."""
        if self.best:
            self.network.load_state_dict(self.best)

    def state(self) -> State:
        """All of it, as ``restore`` takes it."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best": self.best,
            "best_value": self.best_value,
            "best_step": self.best_step,
            "looks_since_best": self.looks_since_best,
            "step": self.step,
            "losses": self.losses,
            "history": self.history,
        }

    def restore(self, state: State) -> None:
        """Go on from a state."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.best = {name: tensor.to(self.compute.device) for name, tensor in state["best"].items()}
        for name in (
            "best_value",
            "best_step",
            "looks_since_best",
            "step",
            "losses",
            "history",
        ):
            setattr(self, name, state[name])


def _resume(run: _Run, checkpoint: Checkpoint) -> None:
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


def _source(read: Read, rows: Rows) -> Callable[[Rows], Tensor]:
    """A function of positions among the rows; the particles stay in memory where that is little."""
    if not len(rows):
        return lambda positions: torch.empty(0)
    if read(rows[:1]).nbytes * len(rows) <= _CACHE_BYTES:
        particles = torch.from_numpy(read(rows))
        return lambda positions: particles[positions]
    return lambda positions: torch.from_numpy(read(rows[positions]))


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases and the scales of normalisation layers do not."""
    decaying = [weight for weight in network.parameters() if weight.ndim > 1]
    others = [weight for weight in network.parameters() if weight.ndim <= 1]
    return [
        {"params": decaying, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _logits(run: _Run, source: Callable[[Rows], Tensor], count: int) -> NDArray[np.float32]:
    """Logits of ``count`` particles in evaluation mode, shape (count, n_classes)."""
    run.network.eval()
    size, compute = run.recipe.batch, run.compute
    parts: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        for start in range(0, count, size):
            positions = np.arange(start, min(start + size, count))
            with autocast(compute.device, compute.precision):
                logits = run.network(as_input(source(positions).to(compute.device)))
            parts.append(logits.float().cpu().numpy())
    return np.concatenate(parts) if parts else np.empty((0, 0), dtype=np.float32)
