"""What the lines of a benchmark say: learning curves of strategies, paired by seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halcmd.benchmarking.experiment import FULL, START
from halcmd.benchmarking.learning_curves import (
    NO_PAIRS,
    NOT_REACHED,
    Difference,
    Efficiency,
    area,
    difference,
    holm,
    in_words,
    label_efficiency,
    labels_to_reach,
    mean_and_sd,
    mean_ranks,
)
from halcmd.particles import JUNK
from halcmd.reports.findings_by_class import ByClass, by_class

MEASURES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "rare_recall": "recall of the rarest third",
}
CALIBRATION = "ece"  # has curves, but the lower the better
TARGETS = (0.90, 0.95, 0.97, 0.99)
RANDOM = "random"
_EFFICIENT_AT = 0.95
_CURVED = (*MEASURES, CALIBRATION)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Seconds:
    """Mean of the trainings and of the queries of a strategy; NaN where there is none."""

    train: float
    query: float


@dataclass(frozen=True)
class Findings:
    """Learning curves of a benchmark.

    Attributes
    ----------
    strategies : tuple of str
    seeds : tuple of int
    labels : tuple of int
        At each point of the curves.
    curves : dict of str to dict of str to ndarray, shape (n_seeds, n_points)
        Measure -> strategy -> values; NaN where a cell is missing.
    ceiling : dict of str to ndarray, shape (n_seeds,)
        Measure -> with all labels.
    seconds : dict of str to Seconds
        Strategy or ``full`` -> how long it took.
    by_class : ByClass
        What was asked for, and the recall of each class in the end.
    """

    strategies: tuple[str, ...]
    seeds: tuple[int, ...]
    labels: tuple[int, ...]
    curves: dict[str, dict[str, Floats]]
    ceiling: dict[str, Floats]
    seconds: dict[str, Seconds]
    by_class: ByClass

    def mean(self, measure: str, strategy: str) -> Floats:
        """Mean curve over the seeds that have every point, else over what there is of each."""
        return mean_and_sd(self.values(measure, strategy))[0]

    def values(self, measure: str, strategy: str) -> Floats:
        """Curves of the seeds that have every point; of all, where none has."""
        values, whole = self.curves[measure][strategy], self.whole(measure, strategy)
        return values[whole] if whole.any() else values

    def whole(self, measure: str, *strategies: str) -> NDArray[np.bool_]:
        """Which seeds have every point of all these strategies, shape (n_seeds,)."""
        curves = [self.curves[measure][name] for name in strategies]
        return np.asarray(np.isfinite(np.concatenate(curves, axis=1)).all(axis=1))

    def full(self, measure: str, *strategies: str) -> float:
        """Mean over the seeds with all labels; NaN where none is there.

        With strategies: over the seeds that have every point of them, if full supervision has any.
        """
        values = self.ceiling[measure]
        if strategies:
            whole = self.whole(measure, *strategies) & np.isfinite(values)
            values = values[whole] if whole.any() else values
        return float(mean_and_sd(values)[0])

    def summary(self) -> dict[str, object]:
        """What ``--json`` prints."""
        return {
            "labels": list(self.labels),
            "seeds": list(self.seeds),
            "strategies": {
                name: {
                    measure: [_number(value) for value in self.mean(measure, name)]
                    for measure in _CURVED
                }
                for name in self.strategies
            },
            "full": {measure: _number(self.full(measure)) for measure in _CURVED},
            "full_seeds": int(np.isfinite(self.ceiling[next(iter(MEASURES))]).sum()),
            "friedman_p": {m: _probability(ranks_over_seeds(self, m)[1]) for m in MEASURES},
            "nemenyi_gap": {m: _number(ranks_over_seeds(self, m)[2]) for m in MEASURES},
            "classes": self.by_class.summary(),
            "seconds": {
                name: {"train": _number(each.train), "query": _number(each.query)}
                for name, each in self.seconds.items()
            },
            "standings": {
                measure: {each.strategy: each.summary() for each in standings(self, measure)}
                for measure in MEASURES
            },
        }


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

    def summary(self) -> dict[str, object]:
        """What ``--json`` prints; null = never, or not to be told."""
        found, of = self.difference or NO_PAIRS, self.efficiency or NOT_REACHED
        return {
            "seeds": self.seeds,
            "final": _number(self.final),
            "area": _number(self.area),
            "log_area": _number(self.log_area),
            "labels_to": {
                f"{share:g}": _number(labels)
                for share, labels in zip(TARGETS, self.reach, strict=True)
            },
            "label_efficiency": _number(of.factor),
            "label_efficiency_is": of.bound,
            "mean_rank": _number(self.rank),
            "area_minus_random": _number(found.mean),
            "interval": [_number(found.low), _number(found.high)],
            "p": _probability(self.p),
            "in_words": self.words,
        }


def findings_of(lines: Sequence[Mapping[str, Any]]) -> Findings:
    """The curves of the lines of results.jsonl.

    A curve begins with the first training, which all strategies of a seed share (``start``).
    ``rare_recall`` is the mean recall of the third of the classes that has the fewest particles in
    the pool of that seed, which full supervision tells.
    """
    seeds = tuple(sorted({line["seed"] for line in lines}))
    names = [line["strategy"] for line in lines]
    strategies = tuple(
        n for n in dict.fromkeys(sorted(names, key=_random_first)) if n not in (START, FULL)
    )
    at = {(line["strategy"], line["seed"], line["round"]): line for line in lines}
    curved = [line for line in lines if line["strategy"] != FULL]
    rounds = sorted({line["round"] for line in curved})
    labels = [[line["labels"] for line in curved if line["round"] == number] for number in rounds]
    rare = {seed: _rare(at.get((FULL, seed, 0))) for seed in seeds}

    def value(measure: str, strategy: str, seed: int, number: int) -> float:
        line = at.get((strategy if number else START, seed, number))
        return _value(line, measure, rare[seed])

    curves = {
        measure: {
            name: np.array([[value(measure, name, s, r) for r in rounds] for s in seeds])
            for name in strategies
        }
        for measure in _CURVED
    }
    ceiling = {
        measure: np.array([_value(at.get((FULL, seed, 0)), measure, rare[seed]) for seed in seeds])
        for measure in _CURVED
    }
    return Findings(
        strategies,
        seeds,
        tuple(round(float(np.median(each))) for each in labels),
        curves,
        ceiling,
        {name: _seconds(lines, name) for name in (*strategies, FULL)},
        by_class(lines, strategies),
    )


def compared(findings: Findings, measure: str) -> dict[str, tuple[Difference, float]]:
    """Each strategy's area under the curve minus that of random, and p corrected by Holm's rule."""
    areas = {
        name: area(findings.labels, values) for name, values in findings.curves[measure].items()
    }
    if RANDOM not in areas:
        return {}
    others = [name for name in findings.strategies if name != RANDOM]
    found = [difference(areas[name], areas[RANDOM]) for name in others]
    corrected = holm([each.p for each in found])
    return {name: (each, p) for name, each, p in zip(others, found, corrected, strict=True)}


def standings(findings: Findings, measure: str) -> list[Standing]:
    """What a measure says of each strategy."""
    pairs = compared(findings, measure)
    ranks, _, _ = ranks_over_seeds(findings, measure)
    labels, found = findings.labels, []
    for name in findings.strategies:
        mean, full = findings.mean(measure, name), findings.full(measure, name)
        pair, p = pairs.get(name, (None, float("nan")))
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
                difference=pair,
                p=p,
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
        return NOT_REACHED
    ours, random = (findings.curves[measure][each][both].mean(axis=0) for each in (name, RANDOM))
    target = _EFFICIENT_AT * findings.full(measure, name, RANDOM)
    return label_efficiency(findings.labels, ours, random, target)


def ranks_over_seeds(findings: Findings, measure: str) -> tuple[dict[str, float], float, float]:
    """Mean ranks of the areas, with Friedman's p and Nemenyi's gap.

    Over the seeds that every strategy has; all NaN where there is none.
    """
    areas = np.array([area(findings.labels, each) for each in findings.curves[measure].values()])
    whole = areas[:, ~np.isnan(areas).any(axis=0)]
    if not whole.size:
        return dict.fromkeys(findings.strategies, float("nan")), float("nan"), float("nan")
    return mean_ranks(dict(zip(findings.curves[measure], whole.tolist(), strict=True)))


def _value(line: Mapping[str, Any] | None, measure: str, rare: Sequence[str]) -> float:
    if line is None:
        return float("nan")
    if measure == "rare_recall":
        recalls = [line["recall"][name] for name in rare if line["recall"][name] is not None]
        return _mean(recalls)
    return float(line[measure])


def _rare(full: Mapping[str, Any] | None) -> list[str]:
    """The third of the classes with the fewest particles in the pool, junk left out.

    From the line of full supervision; where that is missing, none.
    """
    if full is None:
        return []
    counts = {name: full["asked"].get(name, 0) for name in full["recall"] if name != JUNK}
    ordered = sorted(counts, key=lambda name: (counts[name], name))
    return ordered[: max(len(ordered) // 3, 1)]


def _seconds(lines: Sequence[Mapping[str, Any]], name: str) -> Seconds:
    own = [line["seconds"] for line in lines if line["strategy"] == name]
    train, query = ([each[of] for each in own if each[of] is not None] for of in ("train", "query"))
    return Seconds(_mean(train), _mean(query))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _random_first(name: str) -> tuple[bool, str]:
    return name != RANDOM, name


def _probability(p: float) -> float | None:
    return float(f"{p:.3g}") if np.isfinite(p) else None


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
