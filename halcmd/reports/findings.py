"""What the lines of a benchmark say: learning curves of strategies, paired by seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halcmd.benchmarking.experiment import FULL, START
from halcmd.benchmarking.learning_curves import mean_and_sd
from halcmd.particles import JUNK
from halcmd.reports.findings_by_class import ByClass, by_class

MEASURES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "rare_recall": "recall of the rarest third",
}
CALIBRATION = "ece"  # has curves, but the lower the better
RANDOM = "random"
CURVED = (*MEASURES, CALIBRATION)

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
        for measure in CURVED
    }
    ceiling = {
        measure: np.array([_value(at.get((FULL, seed, 0)), measure, rare[seed]) for seed in seeds])
        for measure in CURVED
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
