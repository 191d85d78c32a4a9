"""The columns that score adds to a particle table."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from halcmd.formats.star import text_of
from halcmd.particles import Particles

_DECIMALS = 6

Floats = NDArray[np.float64]


def with_predictions(
    particles: Particles,
    rows: NDArray[np.intp],
    *,
    probabilities: Floats,
    classes: Mapping[str, int],
    model: str,
) -> Particles:
    """The table with the columns that score owns; other rows hold their empty values.

    Parameters
    ----------
    particles : Particles
        Predictions in it are replaced; rlnClassNumber only where an earlier score put it there.
    rows : ndarray, shape (n,), int
        Rows that were scored.
    probabilities : ndarray, shape (n, n_classes), float64
        Summing to 1; entropy is in nats.
    classes : mapping of str to int
        Class name to number in the model, in the order of the probabilities; may be empty.
    model : str
        Hash of the model.
    """
    columns: dict[str, NDArray[np.object_]] = {}

    def put(name: str, values: Sequence[str] | NDArray[np.object_], empty: str) -> None:
        columns[name] = np.full(len(particles), empty, dtype=object)
        columns[name][rows] = values

    numbers = _class_numbers(particles, classes)
    if classes:
        names = np.array(list(classes), dtype=object)
        likeliest = probabilities.argmax(axis=1)
        top = -np.partition(-probabilities, 1, axis=1)[:, :2]
        number = np.array([str(numbers[name]) for name in classes], dtype=object)
        put("halPredictedClass", names[likeliest], "none")
        put("halClassNumber", number[likeliest], "0")
        put("halProbability", text_of(top[:, 0], _DECIMALS), "nan")
        for place, name in enumerate(names):
            put(f"halProbability_{name}", text_of(probabilities[:, place], _DECIMALS), "nan")
        put("halEntropy", text_of(entr(probabilities).sum(axis=1), _DECIMALS), "nan")
        put("halMargin", text_of(top[:, 0] - top[:, 1], _DECIMALS), "nan")
        if _may_set_class_number(particles):
            columns["rlnClassNumber"] = columns["halClassNumber"]
    put("halModel", [model] * len(rows), "none")
    put("halFeature", [str(place) for place in range(1, len(rows) + 1)], "0")
    table = particles.with_columns(columns, owner="score")
    return table.with_class_numbers(numbers) if numbers else table


def _class_numbers(particles: Particles, classes: Mapping[str, int]) -> dict[str, int]:
    """Those of the table; a class it lacks has the model's number, or the next free one."""
    numbers = particles.class_numbers()
    for name, number in classes.items():
        if name not in numbers:
            taken = number in numbers.values()
            numbers[name] = max(numbers.values()) + 1 if taken else number
    return numbers


def _may_set_class_number(particles: Particles) -> bool:
    """Whether rlnClassNumber is absent, or is what an earlier score put there."""
    if not particles.has("rlnClassNumber"):
        return True
    if not particles.has("halClassNumber"):
        return False
    return bool((particles.text("rlnClassNumber") == particles.text("halClassNumber")).all())
