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
    places: Places | None,
    *,
    taken: NDArray[np.intp],
    total: int,
) -> NDArray[np.intp]:
    """The first ``n`` of the ranking that keep to the limits.

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
    reachable = np.concatenate([taken, ranking])
    basket = Basket(limits, places, n, reachable=reachable, taken=taken, total=total)
    for position in ranking.tolist():
        if basket.full:
            break
        basket.take(position)
    return basket.content()


class Basket:
    """What a query has taken so far; it takes a further candidate only if the limits allow it.

    ``min_per_class`` is kept by holding places back: once as many places are left as particles are
    owed to classes below their share, only candidates of those classes are taken. So the order in
    which candidates are offered decides for as long as it can. Where a class cannot be given its
    share (its candidates break another limit), the places held back go to the first ones passed
    over.

    Parameters
    ----------
    limits : Limits
    places : Places or None
        What the limits look at; None where there are none.
    n : int
        How many to take.
    reachable : ndarray of int
        Positions that may be offered.
    taken : ndarray of int
        Positions taken earlier in the same query.
    total : int, optional
        Size of the whole query, ``taken`` included. Default: this basket is the whole query.
    """

    def __init__(
        self,
        limits: Limits,
        places: Places | None,
        n: int,
        *,
        reachable: NDArray[np.intp],
        taken: NDArray[np.intp],
        total: int | None = None,
    ) -> None:
        if limits and places is None:
            raise ValueError("limits need the places of the candidates")
        self.limits, self.n = limits, n
        self.places = places
        self.left = n + len(taken) if total is None else total
        self.is_last = n >= self.left - len(taken)
        self.new: list[int] = []
        self.passed_over: list[int] = []
        self.per_tomogram: Counter[str] = Counter()
        self.points: dict[str, list[NDArray[np.float64]]] = {}
        self.owed: dict[int, int] = {}
        if limits.min_per_class and places is not None:
            classes = places.predicted[reachable]
            for number, there in Counter(classes[classes >= 0].tolist()).items():
                self.owed[number] = min(limits.min_per_class, there)
        for position in taken.tolist():
            self._count(position)

    @property
    def full(self) -> bool:
        """Whether as many were taken as asked for."""
        return len(self.new) >= self.n

    def take(self, position: int) -> bool:
        """Take a candidate that was not offered before, if the limits allow it; whether it was."""
        if self.full or not self._is_allowed(position):
            return False
        if self._is_held_back(position):
            self.passed_over.append(position)
            return False
        self._add(position)
        return True

    def content(self) -> NDArray[np.intp]:
        """Positions taken, in order; places still held back go to those passed over."""
        # places held back by an earlier subset of the query stay for the later ones
        for position in self.passed_over if self.is_last else ():
            if not self.full and self._is_allowed(position):
                self._add(position)
        return np.array(self.new, dtype=np.intp)

    def _add(self, position: int) -> None:
        self.new.append(position)
        self._count(position)

    def _count(self, position: int) -> None:
        self.left -= 1
        if self.places is None:
            return
        tomogram = self.places.tomograms[position]
        self.per_tomogram[tomogram] += 1
        if self.limits.min_distance is not None:
            self.points.setdefault(tomogram, []).append(self.places.positions[position])
        number = int(self.places.predicted[position])
        if self.owed.get(number, 0):
            self.owed[number] -= 1

    def _is_allowed(self, position: int) -> bool:
        if self.places is None:
            return True
        tomogram = self.places.tomograms[position]
        most = self.limits.max_per_tomogram
        if most is not None and self.per_tomogram[tomogram] >= most:
            return False
        least = self.limits.min_distance
        if least is None or tomogram not in self.points:
            return True
        offsets = np.array(self.points[tomogram]) - self.places.positions[position]
        return not (np.linalg.norm(offsets, axis=1) < least).any()

    def _is_held_back(self, position: int) -> bool:
        """Whether every place left is owed to other classes than this candidate's."""
        if self.places is None or not self.owed:
            return False
        owed = self.owed.get(int(self.places.predicted[position]), 0)
        return not owed and self.left <= sum(self.owed.values())
