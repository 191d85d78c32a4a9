"""What learning curves say of each strategy, and of each two of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from halcmd.benchmarking.learning_curves import (
    UNKNOWN_EFFICIENCY,
    Difference,
    Efficiency,
    area,
    compared_points,
    difference,
    holm,
    in_words,
    label_efficiency,
    labels_to_reach,
    mean_ranks,
    penalties,
)
from halcmd.reports.findings import RANDOM, Findings

TARGETS = (0.90, 0.95, 0.97, 0.99)
_EFFICIENT_AT = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Standing:
    """What one measure says of one strategy.

    Attributes
    ----------
    strategy : str
    seeds : int
        How many have every point of the curve; the means are over these.
    final, area, log_area : float
        Of the mean curve: its last point; the area under it over labels and over their logarithm.
    reach : tuple of float
        Labels to each of ``TARGETS``, shares of full supervision; infinity = never, NaN = what
        tells it was not run.
    efficiency : Efficiency or None
        Against random choice, at 95 % of full supervision, over the seeds that both have.
    rank : float
        Mean over the seeds, 1 = best.
    difference : Difference or None
        Area minus that of random choice; None of random choice itself.
    p : float
        Of the difference, corrected by Holm's rule.
    """

    strategy: str
    seeds: int
    final: float
    area: float
    log_area: float
    reach: tuple[float, ...]
    efficiency: Efficiency | None
    rank: float
    difference: Difference | None
    p: float

    @property
    def words(self) -> str:
        """Whether it is better than random choice."""
        return "" if self.difference is None else in_words(self.difference, self.p)


@dataclass(frozen=True)
class Pair:
    """Two strategies, and how much larger the area of the first one is.

    Attributes
    ----------
    ours, theirs : str
    difference : Difference
    p : float
        Corrected by Holm's rule for the number of pairs.
    """

    ours: str
    theirs: str
    difference: Difference
    p: float

    @property
    def words(self) -> str:
        """Whether the first one is better."""
        return in_words(self.difference, self.p)


def compared(findings: Findings, measure: str) -> dict[str, Pair]:
    """Each other strategy beside random choice, by the areas under their curves."""
    if RANDOM not in findings.strategies:
        return {}
    names = [(name, RANDOM) for name in findings.strategies if name != RANDOM]
    return {each.ours: each for each in _paired(findings, measure, names)}


def pairs_of(findings: Findings, measure: str) -> list[Pair]:
    """Every two strategies, by the areas under their curves."""
    return _paired(findings, measure, [*combinations(findings.strategies, 2)])


def _paired(findings: Findings, measure: str, names: Sequence[tuple[str, str]]) -> list[Pair]:
    """Paired by seed; Holm's rule is for as many as there are."""
    areas = _areas(findings, measure)
    found = [difference(areas[ours], areas[theirs]) for ours, theirs in names]
    corrected = holm([each.p for each in found])
    return [Pair(*both, each, p) for both, each, p in zip(names, found, corrected, strict=True)]


def _areas(findings: Findings, measure: str) -> dict[str, Floats]:
    """Strategy -> area under the curve of each seed, NaN where a point is missing."""
    curves = findings.curves[measure]
    return {name: area(findings.labels, values) for name, values in curves.items()}


def beats(findings: Findings, measure: str) -> Floats:
    """Share of the points at which the row's strategy beats the column's, shape (n, n); or NaN.

    Of the points until random choice is at 99 % of its end, where it is there.
    """
    points = [*range(len(findings.labels))]
    if RANDOM in findings.strategies:
        mean = findings.mean(measure, RANDOM)
        points = compared_points(findings.labels, mean, float(mean[-1]))
    return penalties(findings.curves[measure], points)


def standings(findings: Findings, measure: str) -> list[Standing]:
    """What a measure says of each strategy."""
    pairs = compared(findings, measure)
    ranks, _, _ = ranks_over_seeds(findings, measure)
    labels, found = findings.labels, []
    for name in findings.strategies:
        mean, full = findings.mean(measure, name), findings.full(measure, name)
        pair = pairs.get(name)
        found.append(
            Standing(
                strategy=name,
                seeds=int(findings.whole(measure, name).sum()),
                final=float(mean[-1]),
                area=float(area(labels, mean)),
                log_area=float(area(labels, mean, log=True)),
                reach=tuple(_reach(labels, mean, share * full) for share in TARGETS),
                efficiency=_efficiency(findings, measure, name),
                rank=ranks[name],
                difference=None if pair is None else pair.difference,
                p=float("nan") if pair is None else pair.p,
            )
        )
    return found


def _reach(labels: Sequence[int], mean: Floats, target: float) -> float:
    """Labels to the target; NaN where the curve may yet get there."""
    found = labels_to_reach(labels, mean, target)
    return float("nan") if np.isinf(found) and np.isnan(mean).any() else found


def _efficiency(findings: Findings, measure: str, name: str) -> Efficiency | None:
    """Labels that random choice needs over those of a strategy, in the seeds that both have."""
    if RANDOM not in findings.strategies:
        return None
    both = findings.whole(measure, name, RANDOM)
    if not both.any():
        return UNKNOWN_EFFICIENCY
    ours, random = (findings.curves[measure][each][both].mean(axis=0) for each in (name, RANDOM))
    target = _EFFICIENT_AT * findings.full(measure, name, RANDOM)
    return label_efficiency(findings.labels, ours, random, target)


def ranks_over_seeds(findings: Findings, measure: str) -> tuple[dict[str, float], float, float]:
    """Mean ranks of the areas, with Friedman's p and Nemenyi's gap.

    Over the seeds that every strategy has; all NaN where there is none.
    """
    areas = np.array([*_areas(findings, measure).values()])
    whole = areas[:, ~np.isnan(areas).any(axis=0)]
    if not whole.size:
        return dict.fromkeys(findings.strategies, float("nan")), float("nan"), float("nan")
    return mean_ranks(dict(zip(findings.curves[measure], whole.tolist(), strict=True)))
