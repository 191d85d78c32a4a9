"""VAAL: ask for what an autoencoder and its adversary cannot pass off as labelled."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from halcmd.compute.device import torch_generator
from halcmd.console import log, progress
from halcmd.networks.generative import (
    Encoder,
    Generator,
    LatentJudge,
    descend,
    divergence,
    initialise,
    sampled,
)
from halcmd.strategies.options import options_of, own
from halcmd.strategies.pool import Pool, QuerySettings, Selection
from halcmd.strategies.volumes import pieces, volumes_of

NEEDS = frozenset({"answers", "boxes"})
RANKS = True

_CHANNELS = (32, 64, 128)
_RATE = 5e-4


@dataclass(frozen=True)
class Options:
    """Parameters; latent, beta and adversary as in sinhasam/vaal."""

    latent: int = own(32, "dimensions of the latent space", low=1)
    beta: float = own(1.0, "weight of the divergence from the unit normal")
    adversary: float = own(1.0, "weight of deceiving the adversary")
    steps: int = own(600, "optimiser steps", low=1)
    batch: int = own(64, "particles of each side per step", low=2)
    sample: int = own(20_000, "unlabelled particles that are learnt from, drawn at random", low=2)
    bin: int = own(2, "boxes are cut down so many times before", low=1, high=4)


def select(pool: Pool, n: int, settings: QuerySettings) -> Selection:
    """Candidates whose latent vectors the adversary is surest not to be of labelled particles.

    A variational autoencoder learns to reconstruct labelled and unlabelled boxes and to make the
    latent vectors of both look labelled; an adversary learns to tell them apart.

    Parameters
    ----------
    pool : Pool
        Uses ``boxes`` and ``answered``.
    n : int
        How many to choose.
    settings : QuerySettings
        ``options``, ``device``.

    Returns
    -------
    Selection
        The score is the adversary's probability that the particle is not labelled, which also
        stands in ``halUnlabelledProbability``.

    References
    ----------
    Sinha, Ebrahimi & Darrell 2019 (1904.00370); sinhasam/vaal. There the images have two
    dimensions; here they have three, three halvings instead of four, and the two terms of the
    autoencoder's loss are both sums per particle (there the mean over voxels and the sum over the
    latent, so that its beta depends on both sizes).
    """
    options = options_of(settings.options, Options)
    device = settings.device or torch.device("cpu")
    score = np.zeros(len(pool))
    if not n or not len(pool):
        return Selection(np.empty(0, dtype=np.intp), score, {"halUnlabelledProbability": score})
    encoder, adversary = _trained(pool, options, device)
    order, start = pool.order, 0
    with torch.inference_mode():
        for volumes in pieces(pool, pool.candidates[order], binning=options.bin):
            mean, _ = encoder(volumes.to(device))
            unlabelled = torch.sigmoid(-adversary(mean)[:, 0].double())
            score[order[start : start + len(volumes)]] = unlabelled.cpu().numpy()
            start += len(volumes)
    return Selection(pool.best(score, n), score, {"halUnlabelledProbability": score})


def _trained(pool: Pool, options: Options, device: torch.device) -> tuple[Encoder, LatentJudge]:
    """Encoder and adversary, in evaluation mode."""
    labelled = volumes_of(pool, pool.answered[pool.answered_order], binning=options.bin)
    sample = pool.candidates[pool.order[: options.sample]]
    unlabelled = volumes_of(pool, sample, binning=options.bin)
    box = labelled.shape[-1]
    encoder = Encoder(box, _CHANNELS, options.latent)
    decoder = Generator(box, _CHANNELS, options.latent)
    adversary = LatentJudge(options.latent)
    weights = torch_generator(torch.device("cpu"), pool.seed_of("vaal weights"))
    for network in (encoder, decoder, adversary):
        initialise(network, weights)
        network.to(device).train()
    coder = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=_RATE)
    judge = torch.optim.Adam(adversary.parameters(), lr=_RATE)
    rng = np.random.default_rng(pool.seed_of("vaal batches"))
    noise = torch_generator(device, pool.seed_of("vaal noise"))
    says_labelled = 0.0
    with progress("query", options.steps, "steps") as advance:
        for _ in range(options.steps):
            sides = [
                volumes[torch.from_numpy(_drawn(rng, len(volumes), options.batch))].to(device)
                for volumes in (labelled, unlabelled)
            ]
            loss = _coding_loss(encoder, decoder, adversary, torch.cat(sides), options, noise)
            descend(loss, coder)
            with torch.no_grad():
                mean, _ = encoder(torch.cat(sides))
            logits = adversary(mean)[:, 0]
            truth = torch.zeros_like(logits)
            truth[: len(sides[0])] = 1.0
            descend(F.binary_cross_entropy_with_logits(logits, truth), judge)
            right = ((logits > 0) == (truth > 0.5)).float().mean()
            says_labelled += 0.05 * (float(right) - says_labelled)
            advance(1)
    log.info(f"adversary: right in {100 * says_labelled:.0f} % of the last batches (50 = chance)")
    return encoder.eval(), adversary.eval()


def _coding_loss(
    encoder: Encoder,
    decoder: Generator,
    adversary: nn.Module,
    volumes: Tensor,
    options: Options,
    noise: torch.Generator,
) -> Tensor:
    """Reconstruction, divergence, and the cross entropy of passing all off as labelled."""
    mean, log_variance = encoder(volumes)
    draws = torch.randn(mean.shape, generator=noise, device=mean.device)
    rebuilt = decoder(sampled(mean, log_variance, draws))
    missed = 0.5 * ((rebuilt - volumes) ** 2).flatten(1).sum(dim=1).mean()
    logits = adversary(mean)[:, 0]
    deceived = F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
    total: Tensor = (
        missed + options.beta * divergence(mean, log_variance) + options.adversary * deceived
    )
    return total


def _drawn(rng: np.random.Generator, count: int, size: int) -> NDArray[np.intp]:
    """So many places, with replacement where there are fewer."""
    return rng.choice(count, size, replace=count < size).astype(np.intp)
