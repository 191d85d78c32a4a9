"""EE-BMAL: part of the query uncertain and unlike each other, part far from all labelled ones."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halcmd.chance import generator
from halcmd.compute.device import torch_generator
from halcmd.strategies.entropy import entropy
from halcmd.strategies.limits import Basket
from halcmd.strategies.one_by_one import (
    Vectors,
    farthest,
    nearest_of,
    one_after_another,
    squared_distances,
    vectors_of,
)
from halcmd.strategies.options import options_of, own
from halcmd.strategies.pool import Floats, Pool, QuerySettings, Rows, Selection, highest

NEEDS = frozenset({"probabilities", "embeddings", "answers", "labels"})
RANKS = False

_WIDTH = 256
_STEPS, _BATCH, _RATE = 300, 128, 1e-3


@dataclass(frozen=True)
class Options:
    """Parameters; the share of exploration is that of a reading, see the reference."""

    explore: str = own(
        "farthest",
        "the exploring part: farthest from all labelled ones, or random",
        choices=("farthest", "random"),
    )
    alpha: float = own(1.0, "weight of the likeness to those chosen before, beside entropy")
    prefilter: float = own(50.0, "uncertain particles that are looked at, per one", low=1.0)
    start: float = own(0.5, "share of exploration in the first query", high=1.0)
    decay: float = own(0.8, "factor by which that share shrinks with each query", high=1.0)
    least: float = own(0.1, "least share of exploration", high=1.0)


def select(pool: Pool, n: int, settings: QuerySettings) -> Selection:
    """Candidates that exploit what the classifier is unsure of, then ones that explore.

    A pairwise network learns from the labelled embeddings to put particles of one class near each
    other and of different classes apart; the likeness of two is the product of its unit vectors.
    Exploitation takes, one by one, the largest ``H / ln C - alpha * mean likeness to those chosen``
    among the most uncertain; exploration takes what is least like all that is labelled or chosen.

    Parameters
    ----------
    pool : Pool
        Uses ``probabilities``, ``embeddings``, ``answered`` and ``labels``.
    n : int
        How many to choose.
    settings : QuerySettings
        ``options``, ``device``.

    Returns
    -------
    Selection
        The score is the value at the time of choice (of exploration: the squared distance), and
        NaN of all others.

    References
    ----------
    Yin et al. 2017 (ICDM, 10.1109/ICDM.2017.67); no code is public, and the abstract and Du et al.
    2021 describe it differently. This is a reading of it, not a reproduction.
    """
    options = options_of(settings.options, Options)
    assert pool.probabilities is not None
    assert pool.labels is not None
    basket = pool.basket(n)
    score = np.full(len(pool), np.nan)
    if not n or not len(pool):
        return Selection(basket.content(), score)
    uncertainty = entropy(pool.probabilities) / np.log(max(pool.probabilities.shape[1], 2))
    labelled = vectors_of(pool, pool.answered[pool.answered_order])
    project = fit(labelled, pool.labels[pool.answered_order], pool, settings.device)
    share = max(options.least, options.start * options.decay ** (pool.round - 1))
    exploited = n - round(share * n)
    most = (
        len(pool) if pool.limits else min(round(options.prefilter * max(exploited, 1)), len(pool))
    )
    uncertain = highest(uncertainty, most, pool.keys)
    _exploit(pool, basket, uncertain, uncertainty, project, (exploited, options.alpha), score)
    explore = _explore_random if options.explore == "random" else _explore_far
    explore(pool, basket, project(labelled), project, score)
    return Selection(basket.content(), score)


def fit(
    vectors: Vectors, labels: Rows, pool: Pool, device: torch.device | None
) -> Callable[[Vectors], Vectors]:
    """A function from embeddings to unit vectors, near each other where the class is the same.

    Cross entropy of a linear classifier of the unit vectors plus, over the pairs of a batch,
    ``(1 - s)^2`` for the same class and ``max(s, 0)^2`` for different ones, s their likeness.

    Parameters
    ----------
    vectors : ndarray, shape (n, d)
        Embeddings of answered particles.
    labels : ndarray of int, shape (n,)
        Their classes; -1 is not learnt from.
    pool : Pool
        Seeds it.
    device : torch.device or None
    """
    device = device or torch.device("cpu")
    draws = torch_generator(torch.device("cpu"), pool.seed_of("pairwise"))
    middle = vectors.mean(axis=0)
    scale = 1.0 / max(float((vectors - middle).std()), 1e-6)
    known = np.flatnonzero(labels >= 0)
    head = nn.Linear(vectors.shape[1], _WIDTH)
    classes = nn.Linear(_WIDTH, int(labels.max(initial=0)) + 1)
    for layer in (head, classes):
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear", generator=draws)
        nn.init.zeros_(layer.bias)
    layers = nn.ModuleList([head, classes]).to(device)

    def unit(batch: Vectors) -> Tensor:
        return F.normalize(
            head(torch.from_numpy((batch - middle) * scale).float().to(device)), dim=1
        )

    optimiser = torch.optim.Adam(layers.parameters(), lr=_RATE)
    rng = generator(pool.seed_of("pairs"))
    for _ in range(_STEPS if len(known) else 0):
        chosen = known[rng.integers(0, len(known), min(_BATCH, 2 * len(known)))]
        wanted = torch.from_numpy(labels[chosen]).to(device)
        found = unit(vectors[chosen])
        likeness = found @ found.T
        same = wanted[:, None] == wanted[None, :]
        pairs = torch.where(same, (1.0 - likeness) ** 2, likeness.clamp(min=0.0) ** 2).mean()
        loss = F.cross_entropy(10.0 * classes(found), wanted) + pairs
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    def project(batch: Vectors) -> Vectors:
        with torch.inference_mode():
            return np.asarray(unit(batch).cpu().numpy())

    return project


def likeness_penalised(
    value: Floats, units: Vectors, alpha: float, count: int, take: Callable[[int], bool]
) -> list[tuple[int, float]]:
    """Places of the largest ``value - alpha * mean likeness to those taken``, one by one.

    Parameters
    ----------
    value : ndarray, shape (n,)
    units : ndarray, shape (n, d), float32
        Unit vectors.
    alpha : float
    count : int
        How many to take.
    take : function
        Place -> whether it may be taken.

    Returns
    -------
    list of (place, its value when it was taken)
    """
    is_open = np.ones(len(value), dtype=bool)
    likeness = np.zeros(len(value))
    taken: list[tuple[int, float]] = []
    while len(taken) < count and is_open.any():
        now = np.where(is_open, value - alpha * likeness / max(len(taken), 1), -np.inf)
        place = int(now.argmax())
        is_open[place] = False
        if take(place):
            taken.append((place, float(now[place])))
            likeness += units @ units[place]
    return taken


def _exploit(
    pool: Pool,
    basket: Basket,
    uncertain: Rows,
    uncertainty: Floats,
    project: Callable[[Vectors], Vectors],
    how: tuple[int, float],
    score: Floats,
) -> None:
    count, alpha = how
    units = project(vectors_of(pool, pool.candidates[uncertain]))

    def take(place: int) -> bool:
        return basket.take(int(uncertain[place]))

    for place, value in likeness_penalised(uncertainty[uncertain], units, alpha, count, take):
        score[uncertain[place]] = value


def _explore_far(
    pool: Pool,
    basket: Basket,
    labelled: Vectors,
    project: Callable[[Vectors], Vectors],
    score: Floats,
) -> None:
    """Fill the basket with what is farthest from all labelled and taken."""
    units = project(vectors_of(pool, pool.candidates[pool.order]))
    is_taken = np.isin(pool.order, basket.new)
    nearest = nearest_of(units, np.concatenate([labelled, units[is_taken]]))
    nearest[is_taken] = -1.0
    ones, before = np.ones(len(units)), len(basket.new)
    distances = one_after_another(
        pool, basket, nearest, lambda place: squared_distances(units, ones, place), farthest
    )
    explored = basket.new[before:]
    score[explored] = distances[explored]


def _explore_random(
    pool: Pool,
    basket: Basket,
    labelled: Vectors,
    project: Callable[[Vectors], Vectors],
    score: Floats,
) -> None:
    """Fill the basket at random."""
    taken = set(basket.new)
    for position in pool.order.tolist():
        if basket.full:
            return
        if position not in taken and basket.take(position):
            score[position] = 0.0
