"""The state of one training run: network, its running average, optimiser, history, best weights."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from halcmd.chance import derive
from halcmd.compute.device import autocast, own_generators, recorded
from halcmd.compute.group import Group
from halcmd.errors import DataError
from halcmd.networks.classifier import Classifier, in_parts
from halcmd.training.recipes import Recipe, learning_rate
from halcmd.training.validation import negative_log_likelihood

Rows = NDArray[np.intp]
State = dict[str, Any]

HISTORY = ("step", "train_loss", "validation_loss", "validation_accuracy")

# What a checkpoint holds besides tensors.
_NUMBERS = ("best_value", "best_step", "looks_since_best", "step", "losses", "history")


@dataclass(frozen=True)
class Compute:
    """Where and how exactly to compute."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "auto"
    seed: int = 0
    group: Group = field(default_factory=Group)


@contextmanager
def seeded(compute: Compute, *keys: object) -> Iterator[None]:
    """A context in which torch's own generator starts from (seed, keys); restored at the end."""
    generators = own_generators(compute.device)
    states = [generator.get_state() for generator in generators]
    try:
        for generator in generators:
            generator.manual_seed(derive(compute.seed, *keys))
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


class Run:
    """The state of one training run, all of which goes into a checkpoint.

    Attributes
    ----------
    network : Classifier
        What the optimiser changes.
    average : Classifier
        Running average of its weights and running statistics, which is what training gives in the
        end; the same object as ``network`` where the recipe asks for none.
    memory : dict of str to Tensor
        What an objective has to remember from step to step.
    """

    def __init__(self, network: Classifier, recipe: Recipe, compute: Compute) -> None:
        self.recipe, self.compute = recipe, compute
        # The copy of the weights in this layout is what oneDNN and cuDNN convolve fastest with:
        # training steps of both networks took 0.6 to 0.9 of the time on CPUs with AVX-512.
        self.network: Classifier = network.to(compute.device).to(
            memory_format=torch.channels_last_3d  # type: ignore[call-overload]
        )
        self.average: Classifier = copy.deepcopy(self.network) if recipe.average else self.network
        self.average.eval()
        self._move_average = _averaging(self.average, self.network)
        self.optimiser = torch.optim.AdamW(
            _groups(network, recipe.weight_decay), lr=1.0, fused=True
        )
        self.scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.precision == "16")
        self._unread: tuple[int, Tensor] | None = None
        self._replay: Callable[..., Tensor] | None = None
        self.memory: dict[str, Tensor] = {}
        self.step = 0
        self.losses = [0.0, 0.0]  # sum and number since the last look
        self.history: dict[str, list[float]] = {name: [] for name in HISTORY}
        self.best: dict[str, Tensor] = {}
        self.best_value = math.inf
        self.best_step = 0
        self.looks_since_best = 0

    @property
    def is_stale(self) -> bool:
        """Whether patience is at its end; never in the first half.

        There the learning rate is high, and a network without normalisation layers stands still for
        hundreds of steps before it learns anything.
        """
        is_late = 2 * self.step >= self.recipe.steps
        return is_late and 0 < self.recipe.patience <= self.looks_since_best

    def logits(self, parts: Sequence[Tensor]) -> Tensor:
        """Logits of a batch in parts, as ``in_parts`` gives them; once a step, in training mode.

        Parameters
        ----------
        parts : sequence of Tensor, each of shape (n, z, y, x)
            Of the same shapes at every step.
        """
        if self.compute.device.type == "cpu" or self.compute.group.count > 1:
            return in_parts(self.network, parts, group=self.compute.group)
        if self._replay is None:
            self._replay = recorded(_InParts(self.network), parts)
        return self._replay(*parts)

    def take_step(self, objective: Callable[["Run"], Tensor]) -> None:
        """One step of the optimiser, down the objective: the loss of step ``run.step``."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step)
        self.network.train()
        compute = self.compute
        with seeded(compute, "dropout", self.step), autocast(compute.device, compute.precision):
            loss = objective(self)
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        compute.group.average_gradients(self.network)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.step += 1
        if self.recipe.average:
            self._move_average(_decay(self.recipe.average, self.step))
        # Read a step late, so that a GPU need not wait for the next step to be thought of.
        self.read_loss()
        self._unread = (self.step, loss.detach())

    def read_loss(self) -> None:
        """Wait for the last step whose loss has not been looked at, and note it.

        Raises
        ------
        DataError
            It is not finite.
        """
        if self._unread is None:
            return
        step, loss = self._unread
        self._unread = None
        value = float(loss)
        if not math.isfinite(value):
            raise DataError(
                f"training came apart: the loss at step {step} is {value}",
                hint=f"a smaller --lr than {self.recipe.learning_rate:g}, or --precision 32",
            )
        self.losses = [self.losses[0] + value, self.losses[1] + 1]

    def look(self, logits: NDArray[np.float32], classes: Rows) -> None:
        """Note the losses; keep the weights where they are the best so far."""
        self.read_loss()
        loss, accuracy = math.nan, math.nan
        if len(classes):
            loss = negative_log_likelihood(logits, classes)
            accuracy = float((logits.argmax(axis=1) == classes).mean())
        row = (self.step, self.losses[0] / self.losses[1], loss, accuracy)
        for name, value in zip(HISTORY, row, strict=True):
            self.history[name].append(value)
        self.losses = [0.0, 0.0]
        if not len(classes) or self.recipe.best_by == "last":
            return
        if self.step <= self.recipe.best_after:
            return
        value = loss if self.recipe.best_by == "loss" else -accuracy
        self.looks_since_best += 1
        if value <= self.best_value:
            self.best_value, self.best_step, self.looks_since_best = value, self.step, 0
            self.best = {name: tensor.clone() for name, tensor in self.average.state_dict().items()}

    def take_best(self) -> Classifier:
        """The network with the weights that were kept, or the last ones, in evaluation mode."""
        if self.best:
            self.average.load_state_dict(self.best)
        self.average.eval()
        return self.average

    def state(self) -> State:
        """All of it, as ``restore`` takes it."""
        self.read_loss()
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict() if self.recipe.average else {},
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "memory": self.memory,
            "best": self.best,
            **{name: getattr(self, name) for name in _NUMBERS},
        }

    def restore(self, state: State) -> None:
        """Go on from a state."""
        device = self.compute.device
        self.network.load_state_dict(state["network"])
        if self.recipe.average:
            self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.memory = {name: tensor.to(device) for name, tensor in state["memory"].items()}
        self.best = {name: tensor.to(device) for name, tensor in state["best"].items()}
        for name in _NUMBERS:
            setattr(self, name, state[name])


class _InParts(nn.Module):
    """A pass of a batch in parts, as a module."""

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, *parts: Tensor) -> Tensor:
        return in_parts(self.network, parts)


def _decay(wanted: float, step: int) -> float:
    """The share of the old average that stays: less in the first steps, which are soon forgotten.

    References
    ----------
    The ramp (1 + step) / (10 + step) is that of TensorFlow's ExponentialMovingAverage.
    """
    return min(wanted, (1 + step) / (10 + step))


def _averaging(average: nn.Module, network: nn.Module) -> Callable[[float], None]:
    """A function that moves the average towards the network, running statistics and all.

    It takes the share of the old average that stays.
    """
    pairs = [*zip(average.state_dict().values(), network.state_dict().values(), strict=True)]
    means, values = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
    counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    def move(decay: float) -> None:
        with torch.no_grad():
            # All of them in one kernel.
            get_ema_multi_avg_fn(decay)(means, values, None)  # type: ignore[no-untyped-call]
            for count, value in counts:
                count.copy_(value)

    return move


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases and the scales of normalisation layers do not."""
    decaying = [weight for weight in network.parameters() if weight.ndim > 1]
    others = [weight for weight in network.parameters() if weight.ndim <= 1]
    return [
        {"params": decaying, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
