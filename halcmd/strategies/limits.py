"""Limits on what one query may ask for: per tomogram, by distance, per predicted class."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Limits:
    """What the particles of one query must keep to, all of them together.

    Attributes
    ----------
    max_per_tomogram : int or None
        At most so many particles of one tomogram.
    min_distance : float or None
        Angstrom; at least so far from every other particle of the query in the same tomogram.
    min_per_class : int or None
        At least so many particles of each predicted class, as far as there are any.
    """

    max_per_tomogram: int | None = None
    min_distance: float | None = None
    min_per_class: int | None = None

    def __bool__(self) -> bool:
        """Whether there is any limit."""
        return any(
            value is not None
            for value in (self.max_per_tomogram, self.min_distance, self.min_per_class)
        )


@dataclass(frozen=True)
class Places:
    """Where the candidates lie and what they are taken for, each of length n_candidates.

    Attributes
    ----------
    tomograms : ndarray of str
    positions : ndarray, shape (n_candidates, 3), float64
        x, y, z in Angstrom; NaN = unknown, which no distance rules out.
    predicted : ndarray of int
        Number of the likeliest class; -1 = not predicted.
    """

    tomograms: NDArray[np.object_]
    positions: NDArray[np.float64]
    predicted: NDArray[np.intp]


def greedy(
    ranking: NDArray[np.intp],
    n: int,
    limits: Limits,
    places: Places,
    *,
    taken: NDArray[np.intp],
    total: int,
) -> NDArray[np.intp]:
    """The first ``n`` of the ranking that keep to the limits.

    One pass down the ranking takes each candidate that the limits allow. ``min_per_class`` is kept
    by holding places back: once as many places are left as particles are owed to classes below
    their share, only candidates of those classes are taken. So the ranking decides for as long as
    it can. Where a class cannot be given its share (its candidates break another limit), the places
    held back go to the best candidates passed over.

    Parameters
    ----------
    ranking : ndarray of int
        Positions among the candidates, most wanted first, without those taken.
    n : int
        How many to take now.
    limits, places
        The limits, and what they look at.
    taken : ndarray of int
        Positions taken earlier in the same query.
    total : int
        Size of the whole query, ``taken`` included.

    Returns
    -------
    ndarray of int
        Positions, in the order taken; fewer than ``n`` where the limits allow no more.
    """
    basket = _Basket(limits, places, taken, total, reachable=np.concatenate([taken, ranking]))
    for keep_share in (True, False):
        for position in ranking:
            if len(basket.new) == n:
                break
            if position not in basket.new and basket.allows(position, keep_share=keep_share):
                basket.add(position)
        if not limits.min_per_class or n < total - len(taken):
            break  # places held back by an earlier subset of the query stay for the later ones
    return np.array(list(basket.new), dtype=np.intp)


class _Basket:
    """What has been taken so far, and whether one more may be."""

    def __init__(
        self,
        limits: Limits,
        places: Places,
        taken: NDArray[np.intp],
        total: int,
        *,
        reachable: NDArray[np.intp],
    ) -> None:
        self.limits, self.places = limits, places
        self.left = total
        self.new: dict[np.intp, None] = {}  # an ordered set
        self.per_tomogram: Counter[str] = Counter()
        self.points: dict[str, list[NDArray[np.float64]]] = {}
        self.owed: dict[int, int] = {}
        if limits.min_per_class:
            classes = places.predicted[reachable]
            for number, there in Counter(classes[classes >= 0].tolist()).items():
                self.owed[number] = min(limits.min_per_class, there)
        for position in taken:
            self._count(position)

    def allows(self, position: np.intp, *, keep_share: bool) -> bool:
        tomogram = self.places.tomograms[position]
        most = self.limits.max_per_tomogram
        if most is not None and self.per_tomogram[tomogram] >= most:
            return False
        if keep_share and self._is_held_back(int(self.places.predicted[position])):
            return False
        return not self._is_near(position, tomogram)

    def add(self, position: np.intp) -> None:
        self.new[position] = None
        self._count(position)

    def _count(self, position: np.intp) -> None:
        self.left -= 1
        tomogram = self.places.tomograms[position]
        self.per_tomogram[tomogram] += 1
        if self.limits.min_distance is not None:
            self.points.setdefault(tomogram, []).append(self.places.positions[position])
        number = int(self.places.predicted[position])
        if self.owed.get(number, 0):
            self.owed[number] -= 1

    def _is_held_back(self, number: int) -> bool:
        """Whether every place left is owed to other classes than this one."""
        return self.left <= sum(self.owed.values()) and not self.owed.get(number, 0)

    def _is_near(self, position: np.intp, tomogram: str) -> bool:
        least = self.limits.min_distance
        if least is None or tomogram not in self.points:
            return False
        offsets = np.array(self.points[tomogram]) - self.places.positions[position]
        return bool((np.linalg.norm(offsets, axis=1) < least).any())
