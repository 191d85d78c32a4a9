"""What the lines of a benchmark say class by class: what was asked for, and what is recognised."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halcmd.benchmarking.experiment import FULL
from halcmd.strategies.entropy import entropy

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ByClass:
    """Shares of the queries and recalls; the name ``full`` stands for the pool and all labels.

    Attributes
    ----------
    classes : tuple of str
        Sorted.
    asked : dict of str to ndarray, shape (n_classes,)
        Strategy -> shares of the true classes in all that it asked for after the first labels, mean
        over the seeds.
    evenness : dict of str to float
        Strategy -> entropy of these shares in a seed, over that of equal ones; mean over the seeds.
    recall : dict of str to ndarray, shape (n_classes,)
        Strategy -> with the most labels, mean over the seeds; NaN where no test particle has it.
    """

    classes: tuple[str, ...]
    asked: dict[str, Floats]
    evenness: dict[str, float]
    recall: dict[str, Floats]

    def summary(self) -> dict[str, object]:
        """What ``--json`` prints; null where no test particle has the class."""
        return {
            name: {
                "evenness": round(self.evenness[name], 4),
                "asked": dict(zip(self.classes, np.round(shares, 4).tolist(), strict=True)),
                "recall": {
                    each: None if np.isnan(value) else round(float(value), 4)
                    for each, value in zip(self.classes, self.recall[name], strict=True)
                },
            }
            for name, shares in self.asked.items()
        }


def by_class(lines: Sequence[Mapping[str, Any]], strategies: Iterable[str]) -> ByClass:
    """Of the lines of results.jsonl, for these strategies and full supervision, where it is."""
    classes = tuple(sorted({name for line in lines for name in [*line["recall"], *line["asked"]]}))
    asked, evenness, recall = {}, {}, {}
    for strategy in [*strategies, FULL]:
        own = [line for line in lines if line["strategy"] == strategy]
        if own:
            shares = _shares(own, classes)
            asked[strategy] = shares.mean(axis=0)
            evenness[strategy] = float(entropy(shares).mean() / np.log(len(classes)))
            recall[strategy] = _recall(own, classes)
    return ByClass(classes, asked, evenness, recall)


def _shares(lines: Iterable[Mapping[str, Any]], classes: Sequence[str]) -> Floats:
    """Of all that was asked for, a row per seed."""
    counts: dict[int, Counter[str]] = {}
    for line in lines:
        counts.setdefault(line["seed"], Counter()).update(line["asked"])
    found = np.array([[count[name] for name in classes] for count in counts.values()], dtype=float)
    return np.asarray(found / np.maximum(found.sum(axis=1, keepdims=True), 1.0))


def _recall(lines: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> Floats:
    last = max(line["round"] for line in lines)
    ends = [line["recall"] for line in lines if line["round"] == last]
    rows = [[end.get(name) for end in ends] for name in classes]
    known = [[value for value in row if value is not None] for row in rows]
    return np.array([np.mean(row) if row else np.nan for row in known])
