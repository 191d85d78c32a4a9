"""Particle tables from files and to files: first contact, joining, history."""

import os
from collections import Counter
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from halcmd.errors import InputError, first_few
from halcmd.formats.star import Table, read_star, write_star
from halcmd.formats.star_values import OnDemand
from halcmd.particles import Particles, group_key, new_ids, particles_of


@dataclass(frozen=True)
class HistoryRow:
    """One line of block ``hal_history``: which command made this table."""

    step: str
    command: str
    version: str
    seed: int
    date: str


running: ContextVar[HistoryRow | None] = ContextVar("running", default=None)
"""The command that runs now; ``write_particles`` notes it in ``hal_history``."""


def read_particles(paths: Sequence[Path]) -> Particles:
    """One particle table from one file or several with the same columns.

    Rows without halParticleId get one; images named relative to the STAR file are made to be found
    from the working directory.

    Raises
    ------
    InputError
        A file cannot be read, columns differ between files, or an id stands twice.
    """
    tables = [_first_contact(particles_of(read_star(path))) for path in paths]
    particles = join(tables)
    check_ids(particles)
    return particles


def write_particles(path: Path, particles: Particles, *, model: str = "none") -> None:
    """Write the table with all blocks of its file, the running command noted in ``hal_history``.

    Parameters
    ----------
    path : Path
        Where.
    particles : Particles
        What.
    model : str
        Hash of the model that this command made or used.
    """
    write_star(path, _with_history(particles, model).star)


def check_ids(particles: Particles) -> None:
    """Raise InputError where a halParticleId stands twice."""
    hashes = np.fromiter(map(hash, particles.each("halParticleId")), np.int64, len(particles))
    hashes.sort()  # a million of them take 8 MB; a set of the ids 130 MB
    if not (hashes[1:] == hashes[:-1]).any():
        return
    counts = Counter(particles.each("halParticleId"))
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise InputError(
            "halParticleId stands more than once",
            where=str(particles.path),
            found=first_few(twice),
            hint="the same table may have been given twice; tables of two extractions count their "
            "picks from 1 each, so extract the picks of one tomogram together",
        )


def _first_contact(particles: Particles) -> Particles:
    particles = _find_images(particles)
    if particles.has("halParticleId"):
        return particles
    names = particles.tomograms
    stem = particles.path.stem if particles.path else "particles"
    ids = new_ids(stem if name == "none" else name for name in names)
    return replace(particles.with_columns({"halParticleId": ids}), ids_are_new=True)


def _find_images(particles: Particles) -> Particles:
    """Image names that hold from the working directory, in halImageName where they must change."""
    column = "halImageName" if particles.has("halImageName") else "rlnImageName"
    if particles.path is None or not particles.has(column):
        return particles
    first = next(particles.each(column)).rsplit("@", 1)[-1]
    if Path(first).exists():
        return particles
    folders = particles.path.absolute().parents
    folder = next((folder for folder in folders if (folder / first).exists()), None)
    if folder is None:
        return particles
    prefix = os.path.relpath(folder)

    @lru_cache
    def moved(path: str) -> str:
        return str(Path(prefix) / path)

    def names(rows: slice) -> list[str]:
        parts = [name.rpartition("@") for name in particles.table.some(column, rows)]
        return [f"{number}{at}{moved(path)}" for number, at, path in parts]

    return particles.with_columns({"halImageName": OnDemand(len(particles), names)})


def join(tables: Sequence[Particles]) -> Particles:
    """One table from several with the same columns; optics groups renumbered.

    Raises
    ------
    InputError
        Columns or class numbers differ.
    """
    first = tables[0]
    if len(tables) == 1:
        return first
    labels = set(first.table.labels)
    parts: list[Table] = []
    optics: list[Table] = []
    groups = 0
    for particles in tables:
        different = labels ^ set(particles.table.labels)
        if different:
            raise InputError(
                "tables with different columns cannot be joined",
                where=f"{first.path} and {particles.path}",
                found=f"only in one of them: {first_few(sorted(different), 5)}",
                hint="take them through the same steps first; picks of several programs go "
                "together as CSV tables with tomogram,x,y,z",
            )
        table = particles.table
        own = particles.star.table("optics")
        if own is not None and "rlnOpticsGroup" in own and "rlnOpticsGroup" in table:
            table, own = _renumber(table, own, groups)
            groups += len(own)
            optics.append(own)
        parts.append(table)
    star = first.star.with_table(parts[0].followed_by(parts[1:]))
    if optics:
        shared = [label for label in optics[0].labels if all(label in own for own in optics)]
        merged = {label: [v for own in optics for v in own.column(label)] for label in shared}
        star = star.with_table(Table.from_columns("optics", merged))
    answers = _joined_answers(tables)
    if answers is not None:
        star = star.with_table(answers)
    numbers = _joined_classes(tables)
    result = Particles(star, first.block, any(table.ids_are_new for table in tables))
    return result.with_class_numbers(numbers) if numbers else result


def _renumber(table: Table, optics: Table, start: int) -> tuple[Table, Table]:
    """Particles and optics with groups counted on from ``start``."""
    old = [group_key(text) for text in optics.column("rlnOpticsGroup")]
    new = {text: str(start + place) for place, text in enumerate(old, 1)}
    groups = [group_key(text) for text in table.column("rlnOpticsGroup")]
    changed = {"rlnOpticsGroup": [new.get(text, text) for text in groups]}
    optics_columns = {"rlnOpticsGroup": [new[text] for text in old]}
    if "rlnOpticsGroupName" in optics:
        optics_columns["rlnOpticsGroupName"] = [f"opticsGroup{new[text]}" for text in old]
    return table.with_columns(changed), optics.with_columns(optics_columns)


def _joined_answers(tables: Sequence[Particles]) -> Table | None:
    """Block ``hal_labels`` of all tables, one after the other; None where there is none."""
    found = [table for particles in tables if (table := particles.star.table("hal_labels"))]
    if not found:
        return None
    names = dict.fromkeys(name for table in found for name in table.labels)
    return Table.from_columns(
        "hal_labels",
        {
            name: [
                text
                for table in found
                for text in (table.column(name) if name in table else ["none"] * len(table))
            ]
            for name in names
        },
    )


def _joined_classes(tables: Sequence[Particles]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for particles in tables:
        for name, number in particles.class_numbers().items():
            if numbers.get(name, number) != number or (
                name not in numbers and number in numbers.values()
            ):
                raise InputError(
                    "class numbers differ between the tables",
                    where=f"{particles.path}, table data_hal_classes",
                    found=f"{name} = {number}",
                    hint="score both with the same model first",
                )
            numbers[name] = number
    return numbers


def _with_history(particles: Particles, model: str) -> Particles:
    entry = running.get()
    if entry is None:
        return particles
    row = {
        "halStep": entry.step,
        "halCommand": entry.command,
        "halVersion": entry.version,
        "halSeed": str(entry.seed),
        "halDate": entry.date,
        "halModel": model,
    }
    old = particles.star.table("hal_history")
    before = {name: (old.column(name) if old and name in old else []) for name in row}
    count = len(old) if old else 0
    columns = {name: [*(before[name] or ["none"] * count), value] for name, value in row.items()}
    table = Table.from_columns("hal_history", columns)
    return replace(particles, star=particles.star.with_table(table))
