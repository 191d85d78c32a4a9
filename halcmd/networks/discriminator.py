"""HAL's discriminator: whether a particle looks like the labelled ones or like the unlabelled.

A small classifier of feature maps with two sides, labelled (0) and unlabelled (1). It is made for
one query, trained for seconds, and thrown away; nothing of it is written to disk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_STANDARDISE_ON = 1000  # maps; enough for a mean, and small in memory
_MLP_WIDTHS = (256, 256, 256)


@dataclass(frozen=True)
class Recipe:
    """How a discriminator is built and trained.

    Attributes
    ----------
    convolutions : tuple of int
        Channels of each 3^3 convolution; a 2^3 max pool of stride 1 follows each.
    dense : tuple of int
        Widths of the dense layers before the output.
    optimiser : str
        ``adam``, ``sgd`` (momentum 0.9) or ``rmsprop``.
    learning_rate : float
    batch : int
        Maps per step, half from each side.
    min_steps, max_steps, warm_steps : int
        Least and most optimiser steps; ``warm_steps`` is the most where training goes on from an
        earlier subset of the same query.
    stop_on : str
        ``held-out``: balanced accuracy on maps kept aside, or no more gain in their AUC.
        ``training``: accuracy on the (balanced) training batches.
    stop_accuracy : float
    calibrate : bool
        Fit the probabilities to the held-out maps.
    candidates_per_label : int or None
        Draw so many candidates per answered particle for each subset of the query, and ask among
        those only; None = all.
    """

    convolutions: tuple[int, ...]
    dense: tuple[int, ...]
    optimiser: str
    learning_rate: float
    batch: int
    min_steps: int = 20
    max_steps: int = 200
    warm_steps: int = 60
    stop_on: str = "held-out"
    stop_accuracy: float = 0.98
    calibrate: bool = False
    candidates_per_label: int | None = None


# The paper states 2 convolutions + 2 dense layers, learning rate 0.01, batch 256, no widths and no
# optimiser; the code has 2 + 4 layers and RMSprop at 3e-4 with batches of 32. Widths of `paper` are
# the code's. `default` is narrow so that a query of 10^4 particles takes seconds on a CPU.
RECIPES: dict[str, Recipe] = {
    "default": Recipe((32, 32), (64,), "adam", 1e-3, 64, calibrate=True),
    "paper": Recipe((128, 64), (256,), "sgd", 1e-2, 256),
    "code": Recipe(
        (128, 64),
        (256, 256, 256),
        "rmsprop",
        3e-4,
        32,
        stop_on="training",
        candidates_per_label=100,
    ),
}


class MaxPool(nn.Module):
    """A 2^3 max pool of stride 1, axis by axis: unlike cuDNN's it gives the same gradient twice."""

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (n, c, z, y, x) -> (n, c, z - 1, y - 1, x - 1)."""
        for axis in (2, 3, 4):
            length = maps.shape[axis] - 1
            maps = torch.maximum(maps.narrow(axis, 0, length), maps.narrow(axis, 1, length))
        return maps


class Discriminator(nn.Module):
    """Feature maps -> one logit each, positive = looks unlabelled.

    Parameters
    ----------
    shape : sequence of int
        (c, z, y, x) of one map.
    recipe : Recipe
        Widths.
    kind : str
        ``conv``, or ``mlp``: no convolutions, three dense layers of 256 (ablation V1 of the paper).
    generator : torch.Generator
        CPU generator of the initial weights.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, shape: Sequence[int], recipe: Recipe, kind: str, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        channels, size = shape[0], min(shape[1:])
        lengths = np.array(shape[1:])
        layers: list[nn.Module] = []
        self.pools_left_out = 0
        for width in recipe.convolutions if kind == "conv" else ():
            layers += [_convolution(channels, width), nn.ReLU()]
            channels = width
            if size > 1:
                layers.append(MaxPool())
                size, lengths = size - 1, lengths - 1
            else:
                self.pools_left_out += 1
        layers.append(nn.Flatten())
        widths = recipe.dense if kind == "conv" else _MLP_WIDTHS
        for before, after in pairwise((channels * int(lengths.prod()), *widths)):
            layers += [_dense(before, after), nn.ReLU()]
        layers.append(_dense(widths[-1], 1))
        self.layers = nn.Sequential(*layers)
        self.register_buffer("mean", torch.zeros(1, shape[0], 1, 1, 1))
        self.register_buffer("scale", torch.ones(1, shape[0], 1, 1, 1))
        _initialise(self.layers, generator)

    def forward(self, maps: Tensor) -> Tensor:
        """Logits, shape (batch,), of maps (batch, c, z, y, x)."""
        logits: Tensor = self.layers((maps - self.mean) * self.scale)
        return logits[:, 0]


def standardise(discriminator: Discriminator, maps: NDArray[np.floating]) -> None:
    """Have the discriminator scale each channel to zero mean and unit sd over these maps."""
    wide = maps[:_STANDARDISE_ON].astype(np.float32, copy=False)
    mean = wide.mean(axis=(0, 2, 3, 4), dtype=np.float64)
    spread = wide.std(axis=(0, 2, 3, 4), dtype=np.float64)
    scale = np.where(spread > 1e-6, 1.0 / np.maximum(spread, 1e-6), 0.0)  # 0: a dead channel
    shape = (1, -1, 1, 1, 1)
    discriminator.mean.copy_(torch.as_tensor(mean.reshape(shape)))
    discriminator.scale.copy_(torch.as_tensor(scale.reshape(shape)))


# skip_init: weights come from our generator alone, never from torch's global one
def _convolution(before: int, after: int) -> nn.Module:
    made: nn.Module = nn.utils.skip_init(nn.Conv3d, before, after, 3, padding=1)  # type: ignore[no-untyped-call]
    return made


def _dense(before: int, after: int) -> nn.Module:
    made: nn.Module = nn.utils.skip_init(nn.Linear, before, after)  # type: ignore[no-untyped-call]
    return made


def _initialise(layers: nn.Module, generator: torch.Generator) -> None:
    for module in layers.modules():
        if isinstance(module, nn.Conv3d | nn.Linear):
            nn.init.kaiming_uniform_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
