"""Tables of earlier rounds beside the present one, particle by particle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halcmd.assessment.stopping import Rounds
from halcmd.errors import InputError, first_few
from halcmd.labels.matching import check_same_particles
from halcmd.particles import Particles
from halcmd.predictions import NOT_PREDICTED
from halcmd.tables import read_particles

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class _Table:
    """What one table says of all rows of the present one; class -1 where it says nothing."""

    path: Path | None
    labels: int
    models: frozenset[str]
    predicted: Rows
    confidence: NDArray[np.float64]


def unlabelled_rows(particles: Particles) -> Rows:
    """Rows of the pool without an answer."""
    return np.flatnonzero(~particles.is_answered & ~particles.is_test)


def read_rounds(particles: Particles, previous: Sequence[Path], rows: Rows) -> Rounds:
    """What the models of all rounds say of these rows, where all of them say something.

    Parameters
    ----------
    particles : Particles
        The present table.
    previous : sequence of Path
        Tables of earlier rounds, in any order.
    rows : ndarray of int
        Of the present table.

    Raises
    ------
    InputError
        A table has no predictions, is of no earlier round, or has no particle in common.
    """
    numbers: dict[str, int] = {}
    own = {name: row for row, name in enumerate(particles.ids)}
    now = _said(particles, particles, own, numbers)
    tables = []
    for path in previous:
        table = read_particles([path])
        _check_ids(table, particles, own)
        tables.append(_said(table, particles, own, numbers))
        _check_round(tables[-1], now)
    every = [*sorted(tables, key=lambda table: table.labels), now]
    _check_models(every)
    is_known = np.all([table.predicted[rows] >= 0 for table in every], axis=0)
    if len(rows) and not is_known.any():
        raise InputError(
            "no particle has predictions in all rounds",
            where=" and ".join(str(table.path) for table in every),
            hint="halcmd score the whole table in each round",
        )
    rows = rows[is_known]
    return Rounds(
        rows,
        tuple(table.labels for table in every),
        np.stack([table.predicted[rows] for table in every]),
        np.stack([table.confidence[rows] for table in every]),
        np.unique(particles.tomograms[rows].astype(str), return_inverse=True)[1],
        tuple(numbers),
    )


def _said(
    table: Particles, present: Particles, own: Mapping[str, int], numbers: dict[str, int]
) -> _Table:
    """Predictions of a table for the rows that the present one has; new classes get numbers."""
    if not table.has("halPredictedClass"):
        raise InputError(
            "there are no predictions in this table",
            where=str(table.path),
            hint="of an earlier round, --previous takes the particles.star that score wrote",
        )
    places = np.array([own.get(name, -1) for name in table.ids], dtype=np.intp)
    check_same_particles(present, table, places)
    there = places >= 0
    predicted = np.full(len(own), -1, dtype=np.intp)
    confidence = np.full(len(own), np.nan)
    classes = (
        -1 if name == NOT_PREDICTED else numbers.setdefault(name, len(numbers))
        for name in table.each("halPredictedClass")
    )
    predicted[places[there]] = np.fromiter(classes, np.intp, len(table))[there]
    confidence[places[there]] = table.number("halProbability")[there]
    models = frozenset(table.each("halModel", "none")) - {"none"}
    labels = int((table.is_answered & ~table.is_test).sum())
    return _Table(table.path, labels, models, predicted, confidence)


def _check_ids(table: Particles, present: Particles, own: Mapping[str, int]) -> None:
    for each in (table, present):
        if each.ids_are_new:
            raise InputError(
                "particles without halParticleId cannot be matched",
                where=str(each.path),
                hint="the particles.star that halcmd score wrote has it",
            )
    if not any(name in own for name in table.ids):
        raise InputError(
            "no particle of this table is in the present one",
            where=str(table.path),
            found=f"{table.ids[0]} there, {present.ids[0]} in {present.path}",
            hint="both must come from the same extraction",
        )


def _check_round(table: _Table, present: _Table) -> None:
    if table.labels > present.labels:
        raise InputError(
            "this is no earlier round: it has more labels than the present one",
            where=str(table.path),
            found=f"{table.labels:,} there, {present.labels:,} in {present.path}",
            hint="--previous takes the earlier rounds, --i the present one",
        )


def _check_models(tables: Sequence[_Table]) -> None:
    """Two rounds of one model agree fully, which says nothing."""
    for place, table in enumerate(tables):
        for other in tables[:place]:
            shared = table.models & other.models
            if shared or _is_same(table, other):
                raise InputError(
                    "two rounds have the predictions of one model",
                    where=f"{other.path} and {table.path}",
                    found=f"halModel {first_few(sorted(shared))}" if shared else "equal ones",
                    hint="train and score after each round of labels, and give each table once",
                )


def _is_same(table: _Table, other: _Table) -> bool:
    """Whether two tables have the same probabilities, for tables without halModel."""
    known = np.isfinite(table.confidence).any()
    return bool(known and np.array_equal(table.confidence, other.confidence, equal_nan=True))
