"""Small networks of the strategies that learn from the boxes themselves: VAAL and BGAL.

Encoders and discriminators halve the box three times by convolutions of stride 2, generators double
it three times by transposed ones. They are made for one query and thrown away.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

HALVINGS = 3


def trunk(channels: Sequence[int]) -> nn.Sequential:
    """Boxes (n, 1, z, y, x) -> maps (n, channels[-1], ...), each axis halved (rounded up) thrice.

    Parameters
    ----------
    channels : sequence of 3 int
    """
    layers: list[nn.Module] = []
    for before, after in pairwise((1, *channels)):
        layers += [
            nn.Conv3d(before, after, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm3d(after),
            nn.LeakyReLU(0.2, inplace=True),
        ]
    return nn.Sequential(*layers)


def smallest_edge(box: int) -> int:
    """Edge of the maps that a trunk makes of such a box."""
    for _ in range(HALVINGS):
        box = -(-box // 2)
    return box


class Encoder(nn.Module):
    """Boxes (n, 1, z, y, x) -> mean and logarithm of the variance, (n, latent) each."""

    def __init__(self, box: int, channels: Sequence[int], latent: int) -> None:
        super().__init__()
        self.trunk = trunk(channels)
        size = channels[-1] * smallest_edge(box) ** 3
        self.mean, self.log_variance = nn.Linear(size, latent), nn.Linear(size, latent)

    def forward(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance."""
        flat = self.trunk(boxes).flatten(1)
        return self.mean(flat), self.log_variance(flat).clamp(-10.0, 10.0)


class Generator(nn.Module):
    """Latent vectors (n, latent) -> boxes (n, 1, z, y, x); given a class each where there are some.

    Parameters
    ----------
    box : int
        Edge in voxels.
    channels : sequence of 3 int
        As the encoder's, which it mirrors.
    latent : int
    n_classes : int
        0 = unconditional. A class is embedded into a vector that multiplies the latent one.
    """

    def __init__(self, box: int, channels: Sequence[int], latent: int, n_classes: int = 0) -> None:
        super().__init__()
        self.box, self.edge, self.deep = box, smallest_edge(box), channels[-1]
        self.embedding = nn.Embedding(n_classes, latent) if n_classes else None
        self.start = nn.Linear(latent, self.deep * self.edge**3)
        layers: list[nn.Module] = []
        for before, after in pairwise((*reversed(channels), 1)):
            layers += [
                nn.BatchNorm3d(before),
                nn.ReLU(inplace=True),
                nn.ConvTranspose3d(before, after, 4, stride=2, padding=1),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, latent: Tensor, classes: Tensor | None = None) -> Tensor:
        """Boxes of latent vectors and, where it is conditional, classes (n,)."""
        if self.embedding is not None:
            latent = latent * self.embedding(classes)
        shape = (len(latent), self.deep, self.edge, self.edge, self.edge)
        grown: Tensor = self.layers(self.start(latent).view(shape))
        first = (grown.shape[-1] - self.box) // 2
        window = slice(first, first + self.box)
        return grown[:, :, window, window, window]


class Judge(nn.Module):
    """Boxes (n, 1, z, y, x) -> logits (n, outputs), with dropout before the last layer."""

    def __init__(
        self, box: int, channels: Sequence[int], outputs: int, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.trunk = trunk(channels)
        size = channels[-1] * smallest_edge(box) ** 3
        self.dense = nn.Sequential(nn.Flatten(), nn.Linear(size, 256), nn.ReLU(inplace=True))
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(256, outputs)

    def forward(self, boxes: Tensor) -> Tensor:
        """Logits of boxes."""
        logits: Tensor = self.last(self.dropout(self.dense(self.trunk(boxes))))
        return logits


class LatentJudge(nn.Sequential):
    """Latent vectors (n, latent) -> logits (n, 1) through two layers of 512, as VAAL's."""

    def __init__(self, latent: int) -> None:
        super().__init__(
            nn.Linear(latent, 512),
            nn.ReLU(inplace=True),
            nn.Linear(512, 512),
            nn.ReLU(inplace=True),
            nn.Linear(512, 1),
        )


def sampled(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Draws from normal distributions, through which gradients flow (reparametrisation)."""
    return mean + noise * torch.exp(0.5 * log_variance)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence from the unit normal, summed over the latent, mean over n."""
    each = 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance)
    return each.sum(dim=1).mean()


def descend(loss: Tensor, *optimisers: torch.optim.Optimizer) -> None:
    """One step of these optimisers down the loss."""
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    for optimiser in optimisers:
        optimiser.step()


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights anew, on the CPU, from this generator alone."""
    for each in module.modules():
        if isinstance(each, nn.Conv3d | nn.ConvTranspose3d | nn.Linear):
            nn.init.kaiming_normal_(each.weight, a=0.2, generator=generator)
            if each.bias is not None:
                nn.init.zeros_(each.bias)
        elif isinstance(each, nn.Embedding):
            nn.init.normal_(each.weight, 1.0, 0.5, generator=generator)
