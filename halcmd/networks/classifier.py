"""What every network is: trunk, neck and head; and a network taken from its model file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from halcmd.compute.group import Group
from halcmd.errors import ModelError, OptionError
from halcmd.formats.model import ModelInfo, read_model
from halcmd.networks import NETWORKS
from halcmd.networks.normalisation import normalised_over
from halcmd.registry import load

_LARGEST_HALF = 65504.0


class Classifier(nn.Module):
    """A network in three parts, so that each can be used, stored and replaced alone.

    Parameters
    ----------
    trunk : Module
        Particles (n, 1, z, y, x) -> last pooled maps (n, c, z, y, x).
    neck : Module
        Maps -> embedding (n, d), the penultimate vector.
    head : Module
        Embedding -> logits (n, classes); ``Identity`` where there are no classes (pretraining).
    widths : sequence of int
        Channels of the stages, kept in the model file.
    dropout : float
        Share of units dropped.
    """

    def __init__(
        self,
        trunk: nn.Module,
        *,
        neck: nn.Module,
        head: nn.Module,
        widths: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.trunk, self.neck, self.head = trunk, neck, head
        self.widths = tuple(widths)
        self.dropout = dropout

    def features(self, particles: Tensor) -> Tensor:
        """Last pooled maps, shape (n, c, z, y, x)."""
        maps: Tensor = self.trunk(particles)
        return maps

    def embedding(self, particles: Tensor) -> Tensor:
        """Penultimate vectors, shape (n, d)."""
        vectors: Tensor = self.neck(self.trunk(particles))
        return vectors

    def forward(self, particles: Tensor) -> Tensor:
        """Logits, shape (n, classes), of particles of shape (n, 1, z, y, x)."""
        logits: Tensor = self.head(self.embedding(particles))
        return logits


@dataclass(frozen=True)
class LoadedModel:
    """A model file, ready to use.

    Attributes
    ----------
    network : Classifier
        In evaluation mode, normalisation folded into the convolutions, on the device asked for.
    info : ModelInfo
        What the file says about it.
    hash : str
        Names its tensors.
    """

    network: Classifier
    info: ModelInfo
    hash: str


def check_box(name: str, box: int) -> None:
    """Raise ModelError where the network of this name cannot take the box."""
    load(NETWORKS, name, "network").check_box(box)


def new_network(
    name: str,
    *,
    box: int,
    n_classes: int,
    widths: Sequence[int] | None = None,
    dropout: float | None = None,
) -> Classifier:
    """A network with weights drawn from torch's generator, which the caller seeds.

    Parameters
    ----------
    name : str
        A key of ``NETWORKS``.
    box : int
        Edge of the particles in voxels.
    n_classes : int
        0 = no head, for pretraining.
    widths : sequence of int, optional
        Channels per stage. Default: the network's own.
    dropout : float, optional
        Share of units dropped, 0 to 1. Default: the network's own.

    Raises
    ------
    ModelError
        It cannot take such a box.
    OptionError
        There is no such network.
    """
    module = load(NETWORKS, name, "network")
    module.check_box(box)
    made: Classifier = module.build(box=box, n_classes=n_classes, widths=widths, dropout=dropout)
    return made


def as_input(volumes: Tensor) -> Tensor:
    """Particles (n, z, y, x) as a network takes them: (n, 1, z, y, x), channels last."""
    return volumes[:, None].contiguous(memory_format=torch.channels_last_3d)


def halves(values: Tensor) -> NDArray[np.float16]:
    """Values as float16, those out of its range at its ends; not a number stays so."""
    return values.float().clamp(-_LARGEST_HALF, _LARGEST_HALF).cpu().numpy().astype(np.float16)


def in_parts(
    network: Classifier, parts: Sequence[Tensor], *, counted: int = 1, group: Group | None = None
) -> Tensor:
    """Logits of a batch in parts, of which the first ones alone count for the running statistics.

    Rotated particles differ in texture from those to be scored (they are smoother and have lost a
    second wedge), so batch normalisation sees them apart (Xie et al. 2020, 1911.09665): accuracy
    0.685 instead of 0.654 with 56 labels, 0.735 instead of 0.722 with 168 (14 classes, SNR 0.05).

    Parameters
    ----------
    network : Classifier
        In training mode.
    parts : sequence of Tensor, each of shape (n, z, y, x)
        The batch.
    counted : int
        How many of the parts count.
    group : Group, optional
        Processes that share the passes through the trunk; all of them have the whole batch, and
        get all logits.
    """
    group = group or Group()

    def embedding(part: Tensor) -> Tensor:
        with normalised_over(group, network.trunk, len(part)):
            maps = group.shared(lambda own: network.trunk(as_input(own)), part)
        vectors: Tensor = network.neck(maps)
        return vectors

    vectors = [embedding(part) for part in parts[:counted]]
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    vectors += [embedding(part) for part in parts[counted:]]
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    logits: Tensor = network.head(torch.cat(vectors))
    return logits


def fold_normalisation(network: nn.Module) -> None:
    """Make each batch normalisation part of the convolution before it; for evaluation only.

    The answers change by rounding; a pass takes about three quarters of the time on a CPU.
    """
    for module in list(network.modules()):
        if not isinstance(module, nn.Sequential):
            continue
        for place in range(len(module) - 1):
            convolution, norm = module[place], module[place + 1]
            if isinstance(convolution, nn.Conv3d) and isinstance(norm, nn.BatchNorm3d):
                module[place] = nn.utils.fuse_conv_bn_eval(convolution, norm)
                module[place + 1] = nn.Identity()


def load_model(path: Path, *, device: torch.device) -> LoadedModel:
    """A model from its file.

    Raises
    ------
    ModelError
        The file is no model of halcmd, is damaged, of a later version, or does not fit its network.
    """
    stored = read_model(path)
    info = stored.info
    try:
        network = new_network(
            info.network,
            box=info.box,
            n_classes=len(info.classes),
            widths=info.widths,
            dropout=info.dropout,
        )
        network.load_state_dict(stored.tensors)
    except OptionError as error:
        raise ModelError(
            "the network of this model is not known here",
            where=str(path),
            found=info.network,
            hint="a newer halcmd may know it",
        ) from error
    except RuntimeError as error:
        raise ModelError(
            "the tensors of this model do not fit its network",
            where=str(path),
            found=str(error).split("\n", 2)[1].strip()[:120],
        ) from error
    fold_normalisation(network.eval())
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return LoadedModel(network.to(device), info, stored.hash)
