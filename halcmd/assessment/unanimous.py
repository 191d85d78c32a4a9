"""Shares of 1 and of 0: each resample of such particles is like them, so ask the rule of three.

Their bootstrap interval has no width, however few particles there are.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from halcmd.assessment.metrics import Assessment

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Unanimous:
    """A share of particles of which all are right, or none.

    Attributes
    ----------
    measure : str
        ``accuracy``, ``precision`` or ``recall``.
    class_name : str or None
        None for all classes.
    particles : int
        Of which it is the share.
    """

    measure: str
    class_name: str | None
    particles: int

    @property
    def most_others(self) -> float:
        """Share that may be otherwise, with 95 % confidence, if particles are independent.

        References
        ----------
        Hanley and Lippman-Hand 1983, JAMA 249, 1743: 3 / n.
        """
        return min(3.0 / self.particles, 1.0)


def all_right(found: Assessment) -> list[Unanimous]:
    """Accuracy, precisions and recalls of 1: that of all classes first, then of the fewest.

    F1 and means over classes are no shares of particles, so the rule does not hold for them.
    """
    return _where(found, lambda right, total: right == total)


def none_right(found: Assessment) -> list[Unanimous]:
    """Accuracy, precisions and recalls of 0, in the same order.

    Not of a class that the model does not know, of which none can be right.
    """
    is_blank = np.isnan(found.average_precision.value)
    unknown = is_blank & (found.support > 0) & ~is_blank.all()
    names = {found.classes[row] for row in np.flatnonzero(unknown)}
    shares = _where(found, lambda right, total: right == 0)
    return [share for share in shares if share.class_name not in names]


def _where(found: Assessment, chosen: Callable[[Counts, Counts], Counts]) -> list[Unanimous]:
    right, total = np.diag(found.confusion), found.confusion.sum()
    totals = {"precision": found.confusion.sum(axis=0), "recall": found.support}
    classes = [
        Unanimous(measure, found.classes[row], int(counts[row]))
        for measure, counts in totals.items()
        for row in np.flatnonzero(chosen(right, counts) & (counts > 0))
    ]
    classes.sort(key=lambda share: share.particles)
    whole = [Unanimous("accuracy", None, int(total))] if chosen(right.sum(), total) else []
    return whole + classes
