"""The tables of a query: who is asked, why, and how that differs from the pool."""

from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halcmd.columns import COLUMNS
from halcmd.console import log
from halcmd.formats.star import text_of
from halcmd.labels.label_quality import ASKED_AGAIN
from halcmd.particles import Particles
from halcmd.strategies.pool import Pool, Rows, Selection
from halcmd.tables import write_particles


def write_query(
    particles: Particles,
    pool: Pool,
    selection: Selection,
    folder: Path,
    strategy: str,
    again: Rows,
) -> Particles:
    """Write ``particles.star`` and ``query.star``; the table with query columns.

    Rows of earlier queries keep their round and strategy. ``again`` are rows that have a label and
    come last.
    """
    asked = np.concatenate([pool.candidates[selection.chosen], again])
    table = _with_query(particles, pool, selection, strategy, again)
    write_particles(folder / "particles.star", table)
    write_particles(folder / "query.star", table.take(asked))
    return table


def predicted_classes(particles: Particles, rows: Rows) -> NDArray[np.str_]:
    """The predicted class (halPredictedClass) of these rows, ``none`` where there is none."""
    return particles.text("halPredictedClass", "none")[rows].astype(str)


def report_classes(particles: Particles, pool: Pool, chosen: Rows) -> dict[str, int]:
    """Say which predicted classes are asked for, beside their shares of the pool; the counts."""
    if not particles.has("halPredictedClass"):
        return {}
    there = Counter(predicted_classes(particles, pool.candidates).tolist())
    counts = Counter(predicted_classes(particles, pool.candidates[chosen]).tolist())
    if not len(chosen):
        return dict(sorted(counts.items()))
    log.info(f"predicted classes of the {len(chosen):,} asked, and of the {len(pool):,} left:")
    width = max(len(name) for name in there)
    for name, of_pool in sorted(there.items(), key=lambda item: (-counts[item[0]], -item[1])):
        share, before = counts[name] / len(chosen), of_pool / len(pool)
        log.info(
            f"  {name:{width}}  {counts[name]:4,} asked, {100 * share:3.0f} %"
            f" of the query, {100 * before:3.0f} % of the pool"
        )
    return dict(sorted(counts.items()))


def _with_query(
    particles: Particles, pool: Pool, selection: Selection, strategy: str, again: Rows
) -> Particles:
    asked = np.concatenate([pool.candidates[selection.chosen], again])
    rank = np.zeros(len(particles), dtype=int)
    rank[asked] = np.arange(1, len(asked) + 1)
    rounds = particles.number("halQueryRound", 0.0)
    rounds = np.nan_to_num(rounds).astype(int)
    rounds[asked] = pool.round
    strategies = particles.text("halQueryStrategy", COLUMNS["halQueryStrategy"].empty)
    strategies[asked] = strategy
    strategies[again] = ASKED_AGAIN
    columns: dict[str, list[str]] = {
        "halQueryRank": [str(value) for value in rank],
        "halQueryRound": [str(value) for value in rounds],
        "halQueryStrategy": strategies.tolist(),
    }
    for name, values in {"halScore": selection.score, **selection.columns}.items():
        full = np.full(len(particles), np.nan)
        full[pool.candidates] = values
        if COLUMNS[name].kind == "integer":
            columns[name] = [str(value) for value in np.nan_to_num(full).astype(int)]
        else:
            columns[name] = text_of(full, 6)
    return particles.with_columns(columns, owner="query")
