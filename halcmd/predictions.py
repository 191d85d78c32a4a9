"""The columns that score adds to a particle table."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from halcmd.formats.star_values import OnDemand, text_of
from halcmd.particles import Particles

NOT_PREDICTED = "none"
"""What halPredictedClass holds in rows that were not scored."""

PROBABILITY = "halProbability_"
"""How the column of the probability of a class begins; its name follows."""
_DECIMALS = 6

Floats = NDArray[np.float64]


def with_predictions(
    particles: Particles,
    rows: NDArray[np.intp],
    *,
    probabilities: Floats,
    classes: Mapping[str, int],
    model: str,
    unfamiliar: Floats | None = None,
) -> Particles:
    """The table with the columns that score owns; other rows hold their empty values.

    The texts are made while the table is written: of a million rows they would take a gigabyte.

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
    unfamiliar : ndarray, shape (n,), float64, optional
        halUnfamiliar; the column is left out where it is not known.
    """
    count, columns = len(particles), dict[str, OnDemand]()
    place = np.full(count, -1, dtype=np.intp)
    place[rows] = np.arange(len(rows))

    def put(name: str, empty: str, make: Callable[[NDArray[np.intp]], Sequence[str]]) -> None:
        """A column of what ``make`` says of places among the rows that were scored."""

        def texts(part: slice) -> list[str]:
            where = place[part]
            values = np.full(len(where), empty, dtype=object)
            values[where >= 0] = make(where[where >= 0])
            return list(values)

        columns[name] = OnDemand(count, texts)

    def top(where: NDArray[np.intp]) -> Floats:
        """The two largest probabilities."""
        return -np.partition(-probabilities[where], 1, axis=1)[:, :2]

    def share(column: int, where: NDArray[np.intp]) -> list[str]:
        return text_of(probabilities[where, column], _DECIMALS)

    numbers = _class_numbers(particles, classes)
    if classes:
        names = np.array(list(classes), dtype=object)
        number = np.array([str(numbers[name]) for name in classes], dtype=object)
        put("halPredictedClass", NOT_PREDICTED, lambda at: names[probabilities[at].argmax(axis=1)])
        put("halClassNumber", "0", lambda at: number[probabilities[at].argmax(axis=1)])
        put("halProbability", "nan", lambda at: text_of(top(at)[:, 0], _DECIMALS))
        for column, name in enumerate(names):
            put(f"halProbability_{name}", "nan", partial(share, column))
        put("halEntropy", "nan", lambda at: text_of(entr(probabilities[at]).sum(1), _DECIMALS))
        put("halMargin", "nan", lambda at: text_of(-np.diff(top(at))[:, 0], _DECIMALS))
        if _may_set_class_number(particles):
            columns["rlnClassNumber"] = columns["halClassNumber"]
    if unfamiliar is not None:
        put("halUnfamiliar", "nan", lambda at: text_of(unfamiliar[at], 4))
    put("halModel", "none", lambda at: [model] * len(at))
    put("halFeature", "0", lambda at: [str(n) for n in (at + 1).tolist()])
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
    both = particles.each("rlnClassNumber"), particles.each("halClassNumber")
    return all(ours == theirs for ours, theirs in zip(*both, strict=True))
