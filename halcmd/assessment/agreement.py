"""How far annotators agree: Cohen's kappa of each two, Fleiss' kappa of all."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Answers = Mapping[str, Mapping[str, str]]
"""Particle to annotator to label."""


@dataclass(frozen=True)
class Pair:
    """Two annotators on the particles that both have answered.

    Attributes
    ----------
    first, second : str
        Their names.
    particles : int
        That both have answered.
    agreement : float
        Share with the same answer.
    kappa : float
        Cohen's; NaN where both gave one and the same answer throughout.
    """

    first: str
    second: str
    particles: int
    agreement: float
    kappa: float


@dataclass(frozen=True)
class Agreement:
    """How far annotators agree.

    Attributes
    ----------
    pairs : tuple of Pair
        Those with particles in common.
    annotators : tuple of str
        All that are in a pair.
    particles : int
        Answered by all of them.
    fleiss : float or None
        Fleiss' kappa on these; None for two annotators or no such particle.
    disputed : tuple of str
        Particles on which two annotators differ.
    """

    pairs: tuple[Pair, ...]
    annotators: tuple[str, ...]
    particles: int
    fleiss: float | None
    disputed: tuple[str, ...]

    def summary(self) -> dict[str, object]:
        """What ``--json`` prints; null where kappa cannot be told."""
        return {
            "pairs": [vars(pair) | {"kappa": _json_number(pair.kappa)} for pair in self.pairs],
            "particles": self.particles,
            "fleiss": None if self.fleiss is None else _json_number(self.fleiss),
            "disputed": len(self.disputed),
        }


def agreement(answers: Answers) -> Agreement | None:
    """How far annotators agree; None where no two have answered the same particle."""
    several = {name: given for name, given in answers.items() if len(given) > 1}
    together = Counter(
        pair for given in several.values() for pair in combinations(sorted(given), 2)
    )
    if not together:
        return None
    pairs = tuple(_pair(first, second, several) for first, second in sorted(together))
    annotators = tuple(sorted({name for pair in together for name in pair}))
    full = [given for given in several.values() if set(annotators) <= set(given)]
    classes = sorted({label for given in full for label in given.values()})
    counts = np.array([[[*given.values()].count(name) for name in classes] for given in full])
    disputed = sorted(name for name, given in several.items() if len(set(given.values())) > 1)
    return Agreement(
        pairs,
        annotators,
        len(full),
        fleiss_kappa(counts) if len(full) and len(annotators) > 2 else None,
        tuple(disputed),
    )


def fleiss_kappa(counts: NDArray[np.integer]) -> float:
    """Agreement of several annotators beyond chance: 1 = full, 0 = as by chance.

    Parameters
    ----------
    counts : ndarray, shape (n_particles, n_classes), int
        How many annotators gave each answer; every row has the same sum of at least 2.

    Returns
    -------
    float
        NaN where all answers are of one class.

    References
    ----------
    Fleiss 1971, Psychological Bulletin 76, 378, equations 1 to 7.
    """
    raters = counts.sum(axis=1)[0]
    agreeing = (counts * (counts - 1)).sum(axis=1) / (raters * (raters - 1))
    chance = float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
    return float((agreeing.mean() - chance) / (1 - chance)) if chance < 1 else float("nan")


def _pair(first: str, second: str, answers: Answers) -> Pair:
    from sklearn.metrics import cohen_kappa_score  # a second to load, and often not needed

    both = [given for given in answers.values() if first in given and second in given]
    ours, theirs = [given[first] for given in both], [given[second] for given in both]
    same = sum(one == other for one, other in zip(ours, theirs, strict=True)) / len(both)
    one_class = len({*ours, *theirs}) == 1
    kappa = float("nan") if one_class else float(cohen_kappa_score(ours, theirs))
    return Pair(first, second, len(both), same, kappa)


def _json_number(value: float) -> float | None:
    return value if np.isfinite(value) else None
