"""The state of one training run: network, optimiser, history, best weights."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from halcmd.chance import derive
from halcmd.device import autocast, torch_generator
from halcmd.errors import DataError
from halcmd.networks.classifier import Classifier, in_parts
from halcmd.training.batches import batch_of
from halcmd.training.recipes import Recipe, learning_rate
from halcmd.training.validation import negative_log_likelihood
from halcmd.transforms import Transform

Rows = NDArray[np.intp]
State = dict[str, Any]

HISTORY = ("step", "train_loss", "validation_loss", "validation_accuracy")


@dataclass(frozen=True)
class Compute:
    """Where and how exactly to compute."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "auto"
    seed: int = 0


@contextmanager
def seeded(compute: Compute, *keys: object) -> Iterator[None]:
    """A context in which torch's own generator starts from (seed, keys); restored at the end."""
    devices = [] if compute.device.type == "cpu" else [compute.device]
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive(compute.seed, *keys))
        yield


class Run:
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


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases and the scales of normalisation layers do not."""
    decaying = [weight for weight in network.parameters() if weight.ndim > 1]
    others = [weight for weight in network.parameters() if weight.ndim <= 1]
    return [
        {"params": decaying, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
