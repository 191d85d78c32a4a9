"""BGAL: BALD by a classifier that learns from labelled particles and from generated ones."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from halcmd.compute.device import torch_generator
from halcmd.console import log, progress
from halcmd.networks.generative import (
    Encoder,
    Generator,
    Judge,
    descend,
    divergence,
    initialise,
    sampled,
)
from halcmd.strategies import bald
from halcmd.strategies.options import options_of, own
from halcmd.strategies.pool import Passes, Pool, QuerySettings, Rows, Selection
from halcmd.strategies.volumes import pieces, volumes_of
from halcmd.training.run import Compute, seeded

NEEDS = frozenset({"answers", "boxes", "labels"})
RANKS = True

_CHANNELS = (64, 128, 256)
_RATE = 2e-4
_RECONSTRUCTION = 0.75


@dataclass(frozen=True)
class Options:
    """Parameters; latent, samples and candidates as in toantm/BGADL."""

    latent: int = own(100, "dimensions of the latent space", low=1)
    steps: int = own(400, "optimiser steps", low=1)
    batch: int = own(32, "labelled particles per step", low=2)
    dropout: float = own(0.5, "share of the classifier's units dropped", low=0.01, high=0.99)
    samples: int = own(20, "passes with dropout", low=2)
    candidates: int = own(2000, "candidates that are looked at, drawn at random", low=1)
    bin: int = own(2, "boxes are cut down so many times before", low=1, high=4)


def select(pool: Pool, n: int, settings: QuerySettings) -> Selection:
    """Candidates with the largest BALD of a classifier that was trained with a generator.

    Encoder, conditional generator, judge of real and generated, and classifier learn together from
    the labelled boxes. The generator makes of each labelled box another one near it, with the same
    label, which the classifier learns from too.

    Parameters
    ----------
    pool : Pool
        Uses ``boxes``, ``answered`` and ``labels``.
    n : int
        How many to choose.
    settings : QuerySettings
        ``options``, ``device``.

    Returns
    -------
    Selection
        The score is BALD in nats; ``-inf`` of candidates that were not drawn.

    References
    ----------
    Tran et al. 2019 (1904.11643), losses as in toantm/BGADL (demo_mnist.py), whose acquisition is
    in effect random (its scores are summed by place in a shuffled list, and its classifier has no
    dropout). Not defined there for volumes: networks, Adam instead of Adadelta and the number of
    steps are this program's.
    """
    options = options_of(settings.options, Options)
    assert pool.labels is not None
    score = np.full(len(pool), np.nan)
    known = pool.labels >= 0
    if not n or not len(pool):
        return Selection(np.empty(0, dtype=np.intp), score)
    device = settings.device or torch.device("cpu")
    looked_at = pool.order if pool.limits else pool.order[: max(options.candidates, n)]
    order = pool.answered_order[known[pool.answered_order]]
    boxes = volumes_of(pool, pool.answered[order], binning=options.bin)
    with seeded(Compute(device, seed=pool.seed_of("bgal")), "dropout"):
        classifier = _trained(boxes, pool.labels[order], pool, options, device)
    passes = _passes(classifier, pool, options, device)
    rows = pool.candidates[looked_at]
    score[looked_at] = bald.acquired(passes, rows, "bald", options.samples)
    ranked = np.where(np.isnan(score), -np.inf, score)
    return Selection(pool.best(ranked, n), score)


def _trained(
    boxes: Tensor, labels: Rows, pool: Pool, options: Options, device: torch.device
) -> Judge:
    """The classifier, in evaluation mode."""
    edge, n_classes = boxes.shape[-1], int(labels.max()) + 1
    encoder = Encoder(edge, _CHANNELS, options.latent)
    maker = Generator(edge, _CHANNELS, options.latent, n_classes)
    judge = Judge(edge, _CHANNELS, 1)
    classifier = Judge(edge, _CHANNELS, n_classes, dropout=options.dropout)
    weights = torch_generator(torch.device("cpu"), pool.seed_of("bgal weights"))
    for network in (encoder, maker, judge, classifier):
        initialise(network, weights)
        network.to(device).train()
    optimisers = {
        network: torch.optim.Adam(network.parameters(), lr=_RATE, betas=(0.5, 0.999))
        for network in (encoder, maker, judge, classifier)
    }
    rng = np.random.default_rng(pool.seed_of("bgal batches"))
    noise = torch_generator(device, pool.seed_of("bgal noise"))
    right = 0.0
    with progress("query", options.steps, "steps") as advance:
        for _ in range(options.steps):
            chosen = _balanced(labels, options.batch, rng)
            real = boxes[torch.from_numpy(chosen)].to(device)
            classes = torch.from_numpy(labels[chosen]).to(device)
            near, free, spread = _made(encoder, maker, real, classes, noise)
            deceived = _maker_loss(judge, classifier, (real, near, free), classes)
            descend(deceived + spread, optimisers[encoder], optimisers[maker])
            near, free = near.detach(), free.detach()
            descend(_judge_loss(judge, real, near, free), optimisers[judge])
            logits = [classifier(volumes) for volumes in (real, near, free)]
            told_apart = torch.stack([F.cross_entropy(each, classes) for each in logits]).sum()
            descend(told_apart, optimisers[classifier])
            right += 0.05 * (float((logits[0].argmax(1) == classes).float().mean()) - right)
            advance(1)
    log.info(f"classifier with generated particles: right in {100 * right:.0f} % of what it learnt")
    return classifier.eval()


def _made(
    encoder: Encoder,
    maker: Generator,
    real: Tensor,
    classes: Tensor,
    noise: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """A box near each real one, one from nothing but its class, and the encoder's divergence."""
    mean, log_variance = encoder(real)
    draws = torch.randn((2, *mean.shape), generator=noise, device=mean.device)
    near = maker(sampled(mean, log_variance, draws[0]), classes)
    # the divergence weighs as much as a voxel does in the mean square beside it
    spread = divergence(mean, log_variance) / real[0].numel()
    return near, maker(draws[1], classes), spread


def _maker_loss(
    judge: Judge, classifier: Judge, boxes: tuple[Tensor, Tensor, Tensor], classes: Tensor
) -> Tensor:
    """What encoder and generator minimise: be taken for real and for its class, and be near."""
    real, near, free = boxes
    verdict = judge(free)
    return (
        F.binary_cross_entropy_with_logits(verdict, torch.ones_like(verdict))
        + F.cross_entropy(classifier(free), classes)
        + _RECONSTRUCTION * F.mse_loss(near, real)
    )


def _judge_loss(judge: Judge, real: Tensor, near: Tensor, free: Tensor) -> Tensor:
    """What the judge minimises: real ones are real, both kinds of generated ones are not."""
    verdicts = [judge(volumes) for volumes in (real, near, free)]
    losses = [
        F.binary_cross_entropy_with_logits(
            verdict, torch.full_like(verdict, 1.0 if number == 0 else 0.0)
        )
        for number, verdict in enumerate(verdicts)
    ]
    return torch.stack(losses).sum()


def _passes(classifier: Judge, pool: Pool, options: Options, device: torch.device) -> Passes:
    """As ``Pool.passes``, of this classifier; the trunk is computed once."""

    def passes(rows: Rows, samples: int, rate: float | None) -> Iterator[NDArray[np.floating]]:
        share = options.dropout if rate is None else rate
        with torch.inference_mode():
            vectors = torch.cat(
                [
                    classifier.dense(classifier.trunk(volumes.to(device)))
                    for volumes in pieces(pool, rows, binning=options.bin)
                ]
            )
        for sample in range(samples):
            draws = torch_generator(device, pool.seed_of(f"bgal pass {sample}"))
            with torch.inference_mode():
                kept = torch.rand(vectors.shape[1], generator=draws, device=device) >= share
                logits = classifier.last(vectors * kept / (1.0 - share))
                yield logits.double().softmax(dim=1).cpu().numpy()

    return passes


def _balanced(labels: Rows, size: int, rng: np.random.Generator) -> Rows:
    """Places of a batch with as many particles of each class, drawn with replacement."""
    counts = np.bincount(labels)
    weights = 1.0 / counts[labels]
    return rng.choice(len(labels), size, p=weights / weights.sum()).astype(np.intp)
