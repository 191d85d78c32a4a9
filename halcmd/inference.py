"""What models say of particles: probabilities, embeddings, maps; means over turns and dropout."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor

from halcmd.compute.device import autocast, torch_generator
from halcmd.networks.classifier import Classifier, LoadedModel, as_input, halves
from halcmd.networks.dropout import dropping
from halcmd.training.run import Compute
from halcmd.transforms import half_turn

Floats = NDArray[np.float64]
Halves = NDArray[np.float16]


@dataclass(frozen=True)
class Passes:
    """How often each particle is looked at.

    Attributes
    ----------
    augmentations : int
        Half turns over which the probabilities are averaged, 1 to 4; at most 2 where the tilt range
        is not symmetric or unknown.
    dropout_samples : int
        Passes with dropout over which they are averaged; 0 = none, without dropout.
    """

    augmentations: int = 1
    dropout_samples: int = 0


@dataclass(frozen=True)
class Answers:
    """What the models say of some particles."""

    probabilities: Floats
    kept: list[Halves]  # embedding, and maps where they are asked for


def looker(
    models: Sequence[LoadedModel],
    passes: Passes,
    turns: Sequence[int],
    compute: Compute,
    *,
    maps: bool,
) -> Callable[[Tensor], Answers]:
    """A function from particles, Tensor of shape (n, z, y, x), to what the models say of them.

    Parameters
    ----------
    models : sequence of LoadedModel
        Several = mean of their probabilities; what is kept is the first one's.
    passes : Passes
        Dropout samples.
    turns : sequence of int
        Half turns to average over, as in ``halcmd.transforms.half_turns``; what is kept is of the
        first one.
    compute : Compute
        Device, precision; the seed draws dropout masks.
    maps : bool
        Keep the last pooled maps too.
    """
    order = list(models[0].info.classes)

    def look(volumes: Tensor) -> Answers:
        volumes = volumes.to(compute.device)
        shares: list[Floats] = []
        kept: list[Tensor] = []
        with torch.inference_mode(), autocast(compute.device, compute.precision):
            for model in models:
                places = list(model.info.classes)
                columns = [places.index(name) for name in order]
                for turn in turns:
                    turned = half_turn(volumes, turn) if turn else volumes
                    pooled = model.network.features(as_input(turned))
                    vectors = model.network.neck(pooled)
                    kept = kept or ([vectors, pooled] if maps else [vectors])
                    found = _logits(model.network, pooled, vectors, passes=passes, compute=compute)
                    for logits in found if order else ():
                        shares.append(_softmax(logits, model.info.temperature)[:, columns])
        mean = np.mean(shares, axis=0) if shares else np.empty((len(volumes), 0))
        return Answers(mean, [halves(values) for values in kept])

    return look


def _logits(
    network: Classifier, maps: Tensor, vectors: Tensor, *, passes: Passes, compute: Compute
) -> Iterator[Tensor]:
    """Logits from maps and their vectors, without dropout, or one for each dropout sample.

    In samples only neck and head are repeated, and the same units drop out for all particles.
    """
    if not passes.dropout_samples:
        yield network.head(vectors)
        return
    for sample in range(passes.dropout_samples):
        generator = torch_generator(compute.device, compute.seed, "dropout sample", sample)
        with dropping(network, generator):
            logits = network.head(network.neck(maps))
        yield logits


def _softmax(logits: Tensor, temperature: float) -> Floats:
    """Calibrated probabilities, shape (n, n_classes), float64."""
    probabilities: Floats = softmax(logits.double().cpu().numpy() / temperature, axis=1)
    return probabilities
