"""``query.csv``: the particles asked for as a table for a spreadsheet, with a column to fill in."""

from pathlib import Path

from halcmd.columns import COLUMNS
from halcmd.formats.files import write_csv
from halcmd.particles import Particles

_COLUMNS = (
    "halParticleId",
    "halTomogram",
    "halPositionXAngst",
    "halPositionYAngst",
    "halPositionZAngst",
    "halPredictedClass",
    "halProbability",
    "halQueryRank",
    "halQueryStrategy",
)


def check(particles: Particles) -> None:
    """Any table will do."""


def write(particles: Particles, folder: Path) -> list[Path]:
    """Write ``query.csv``, its last column empty for the label."""
    table = particles.with_columns({"halTomogram": particles.tomograms})
    columns = [table.text(name, COLUMNS[name].empty) for name in _COLUMNS]
    rows = ([*row, ""] for row in zip(*columns, strict=True))
    path = folder / "query.csv"
    write_csv(path, [*_COLUMNS, "halLabel"], rows)
    return [path]
