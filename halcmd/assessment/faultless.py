"""Shares of 1: a resample of particles without an error has none either, so ask the rule of three.

Their bootstrap interval has no width, however few particles there are.
"""

from dataclasses import dataclass

import numpy as np

from halcmd.assessment.metrics import Assessment


@dataclass(frozen=True)
class Faultless:
    """A share of particles in which no error was seen.

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
    def most_wrong(self) -> float:
        """Share that may still be wrong, with 95 % confidence, if particles are independent.

        References
        ----------
        Hanley and Lippman-Hand 1983, JAMA 249, 1743: 3 / n.
        """
        return min(3.0 / self.particles, 1.0)


def faultless(found: Assessment) -> list[Faultless]:
    """Accuracy, precisions and recalls of 1: that of all classes first, then of the fewest.

    F1 and means over classes are no shares of particles, so the rule does not hold for them.
    """
    right, total = np.diag(found.confusion), int(found.confusion.sum())
    totals = {"precision": found.confusion.sum(axis=0), "recall": found.support}
    classes = [
        Faultless(measure, found.classes[row], int(counts[row]))
        for measure, counts in totals.items()
        for row in np.flatnonzero((counts == right) & (counts > 0))
    ]
    classes.sort(key=lambda share: share.particles)
    whole = [Faultless("accuracy", None, total)] if right.sum() == total else []
    return whole + classes
