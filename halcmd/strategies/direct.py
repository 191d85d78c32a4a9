"""DIRECT: ask around the border of each class, as many for a rare class as for a common one."""

from collections.abc import Iterator
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from halcmd.strategies.clusters import take_in_turn
from halcmd.strategies.pool import Floats, Pool, QuerySettings, Rows, Selection

NEEDS = frozenset({"probabilities", "answers", "labels", "answered_probabilities"})
RANKS = False


def select(pool: Pool, n: int, settings: QuerySettings) -> Selection:
    """Candidates nearest to the border of each class, from both sides, the classes in turn.

    For a class, all particles stand in the order of its probability minus the largest other one.
    Its border is the place that parts the labelled particles of the class from the other labelled
    ones with the fewest errors; of equal places, the middle of the widest gap.

    Parameters
    ----------
    pool : Pool
        Uses ``probabilities``, ``labels`` and ``answered_probabilities``.
    n : int
        How many to choose.
    settings : QuerySettings
        Not used.

    Returns
    -------
    Selection
        The score is 1 minus the distance to the nearest border, as a share of the pool's length.

    References
    ----------
    Nuggehalli et al. 2023 (2312.09196). There labels come one by one, and half of them narrow the
    borders down; here the whole query is chosen at once, from the labels of the rounds before.
    """
    assert pool.probabilities is not None
    assert pool.answered_probabilities is not None
    assert pool.labels is not None
    pool.refuse(pool.probabilities, pool.candidates, "a probability")
    score = np.full(len(pool), -np.inf)
    probabilities = pool.probabilities[pool.order]
    is_known = pool.labels >= 0
    labels, known = pool.labels[is_known], pool.answered_probabilities[is_known]
    offered = np.zeros(len(pool), dtype=bool)

    def outwards(order: Rows, border: int) -> Iterator[int]:
        below, above = order[:border][::-1], order[border:]
        for pair in zip_longest(above.tolist(), below.tolist()):
            for place in pair:
                if place is None or offered[place]:
                    continue
                offered[place] = True
                yield int(pool.order[place])

    n_classes = probabilities.shape[1]
    queues = []
    for number in np.argsort(np.bincount(labels, minlength=n_classes), kind="stable").tolist():
        lead = leads(probabilities, number)
        order = np.argsort(lead, kind="stable")
        border = best_border(lead[order], leads(known, number), labels == number)
        distance = np.abs(np.arange(len(order)) - border + 0.5)
        own = pool.order[order]
        score[own] = np.maximum(score[own], 1.0 - distance / max(len(order), 1))
        queues.append(outwards(order, border))
    basket = pool.basket(n)
    take_in_turn(basket, queues)
    return Selection(basket.content(), score)


def leads(probabilities: Floats, number: int) -> Floats:
    """Probability of one class minus the largest of the others, shape (n,)."""
    if probabilities.shape[1] < 2:
        return probabilities[:, 0]
    others = np.delete(probabilities, number, axis=1).max(axis=1)
    return np.asarray(probabilities[:, number] - others)


def best_border(candidates: Floats, known: Floats, is_class: NDArray[np.bool_]) -> int:
    """How many of the candidates lie below the border that errs least on the labelled particles.

    Parameters
    ----------
    candidates : ndarray, shape (n,)
        Leads of the candidates, rising.
    known : ndarray, shape (m,)
        Leads of the labelled particles.
    is_class : ndarray of bool, shape (m,)
        Whether they are of the class: they should lie above.
    """
    if not len(known):
        return int(np.searchsorted(candidates, 0.0))
    order = np.argsort(known, kind="stable")
    known, is_class = known[order], is_class[order]
    missed = np.concatenate([[0], np.cumsum(is_class)])
    wrong = np.concatenate([[0], np.cumsum(~is_class)])
    errors = missed + (wrong[-1] - wrong)
    # border k lies between the labelled particles k - 1 and k; the first and last have one side
    ends = np.concatenate([candidates, known])
    low = np.concatenate([[min(ends.min(), known[0])], known])
    high = np.concatenate([known, [max(ends.max(), known[-1])]])
    is_place = np.concatenate([[True], known[1:] > known[:-1], [True]])
    best = np.flatnonzero(is_place & (errors == errors[is_place].min()))
    widest = best[np.argmax(high[best] - low[best])]
    return int(np.searchsorted(candidates, (low[widest] + high[widest]) / 2))
