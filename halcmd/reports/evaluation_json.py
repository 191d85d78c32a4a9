"""Numbers and rows of an evaluation as JSON; None where a number cannot be told."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from halcmd.assessment.metrics import Interval
from halcmd.assessment.stopping import Slope
from halcmd.assessment.unanimous import Unanimous
from halcmd.formats.star import Table, number_of

Floats = NDArray[np.float64]

DOUBTS = {
    "id": "halParticleId",
    "label": "halLabel",
    "suspected_class": "halSuspectedClass",
    "probability": "halLabelProbability",
}
"""Keys and columns of a suspected label."""
WORST = {
    "rank": "halConfusionRank",
    "id": "halParticleId",
    "true_class": "halTrueClass",
    "predicted_class": "halPredictedClass",
    "probability": "halProbability",
}
"""Keys and columns of a particle of the worst confusions."""


def json_interval(it: Interval | Slope) -> dict[str, float | None]:
    """Value, low and high; None where it cannot be told."""
    return {key: json_number(getattr(it, key)) for key in ("value", "low", "high")}


def json_class(per_class: dict[str, Interval], row: int) -> dict[str, float | None]:
    """Measures of one class, each with the ends of its interval."""
    facts = {}
    for name, it in per_class.items():
        facts[name] = json_number(it.value[row])
        facts[f"{name}_low"], facts[f"{name}_high"] = (
            json_number(end[row]) for end in (it.low, it.high)
        )
    return facts


def json_unanimous(share: Unanimous, most: str) -> dict[str, object]:
    """A share of 1 or of 0; ``most`` names how much of it may still be otherwise."""
    return {
        "measure": share.measure,
        "class": share.class_name,
        "particles": share.particles,
        most: share.most_others,
    }


def json_rows(table: Table | None, keys: Mapping[str, str]) -> list[dict[str, object]] | None:
    """The rows of a table by key and column; None without a table."""
    if table is None:
        return None
    kinds: dict[str, Callable[[str], object]] = {
        "rank": int,
        "probability": lambda text: json_number(number_of(text)),
    }
    columns = [map(kinds.get(key, str), table.column(label)) for key, label in keys.items()]
    return [dict(zip(keys, cells, strict=True)) for cells in zip(*columns, strict=True)]


def json_number(value: float | Floats) -> float | None:
    """The number; None where it is not finite."""
    return float(value) if np.isfinite(value) else None
