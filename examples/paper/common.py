"""What the scripts of the paper's tables share: data sets, and the rows of results.jsonl."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from halcmd.benchmarking.experiment import FULL, read_results
from halcmd.benchmarking.learning_curves import (
    NO_PAIRS,
    Difference,
    band,
    difference,
    holm,
    in_words,
    mean_and_sd,
)
from halcmd.errors import HalcmdError
from halcmd.reports.findings import Findings, findings_of


@dataclass(frozen=True)
class DataSet:
    """A data set of Du et al. 2021; ``snr`` is None where it is real particles."""

    title: str
    snr: float | None = None


# The text has S1 at SNR 0.03 and S2 at 0.05; the head of its Table 1 has it the other way round.
SETS = {
    "s1": DataSet("S1 (simulated, SNR 0.03)", 0.03),
    "s2": DataSet("S2 (simulated, SNR 0.05)", 0.05),
    "r1a": DataSet("R1a (real, 2 classes)"),
    "r1b": DataSet("R1b (real, 6 classes)"),
    "r2": DataSet("R2 (real, 7 classes)"),
}
ALL = "all labels"
# What can still be read of the paper's tables: final accuracies, in its text.
PAPER = {
    ("s2", FULL): 0.9536,
    ("s2", "hal"): 0.9386,
    ("r1a", FULL): 0.8724,
    ("r1a", "hal"): 0.8548,
    ("r1a", "bgal"): 0.8218,
    ("r1b", "hal"): 0.7480,
    ("r1b", "hal:subsets=1"): 0.6350,
}


@dataclass(frozen=True)
class Row:
    """Final accuracy of one strategy on one data set, or of full supervision.

    ``values`` is the accuracy, 0 to 1, by seed; ``minus`` its mean difference to the row that the
    table compares with. ``facts`` are further columns, by their name in the STAR file.
    """

    data: str
    name: str
    labels: int
    pool: int
    values: Mapping[int, float]
    paper: float = float("nan")
    minus: Difference = NO_PAIRS
    p: float = float("nan")
    facts: Mapping[str, float] = field(default_factory=dict)

    @property
    def accuracy(self) -> tuple[float, float]:
        """Mean and half of its 95 % interval."""
        mean, half = band(np.array([*self.values.values()]))
        return float(mean), float(half)

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds; NaN of a single one."""
        return float(mean_and_sd(np.array([*self.values.values()]))[1])

    @property
    def words(self) -> str:
        """Whether it differs from the row compared with; empty of that row itself."""
        return in_words(self.minus, self.p) if self.minus.pairs else ""


@dataclass(frozen=True)
class Entry:
    """A row that a table wants: a strategy, the name it is shown under, and further columns."""

    strategy: str
    name: str
    facts: Mapping[str, float] = field(default_factory=dict)


Blocks = Mapping[str, Sequence[Row]]
"""Data set -> its rows."""


def job_of(folder: Path, name: str, initial: float | None = None) -> Path:
    """Where the experiment of a data set is, with its own or another share of first labels."""
    return folder / name / ("Benchmark" if initial is None else f"Benchmark_initial_{initial:g}")


def stop(message: str, *, where: Path, found: str = "", hint: str = "") -> NoReturn:
    """End the script with what is wrong, where, what was found and what to try."""
    error = HalcmdError(message, where=str(where), found=found, hint=hint)
    raise SystemExit(f"ERROR: {error.render()}")


def no_results(folder: Path) -> NoReturn:
    """End the script where there is nothing to show."""
    found = "no data set that has full supervision and something of this table"
    stop("no results yet", where=folder, found=found, hint="leave out --table")


def has_full(job: Path) -> bool:
    """Whether an experiment has full supervision, which tells the size of its pool."""
    return any(strategy == FULL for strategy, _, _ in read_results(job / "results.jsonl"))


def sets_there(folder: Path) -> list[str]:
    """The data sets that were worked at, by whichever script, and have full supervision."""
    return [name for name in SETS if has_full(job_of(folder, name))]


def blocks_of(folder: Path, rows: Callable[[str], Sequence[Row]]) -> Blocks:
    """The rows of each data set that has any beside full supervision; ends where none has.

    Parameters
    ----------
    folder : Path
        That of all tables.
    rows : function of str
        The rows of a data set.
    """
    blocks = {name: rows(name) for name in sets_there(folder)}
    shown = {
        name: found
        for name, found in blocks.items()
        if any(row.values for row in found if row.name != ALL)
    }
    return shown or no_results(folder)


def findings(job: Path) -> tuple[Findings, int]:
    """Learning curves of an experiment, and the particles of its pool."""
    lines = read_results(job / "results.jsonl")
    pool = max(line["labels"] for key, line in lines.items() if key[0] == FULL)
    return findings_of([lines[key] for key in sorted(lines)]), pool


def rows_of(job: Path, data: str, entries: Sequence[Entry]) -> list[Row]:
    """The rows of the strategies that are there, and of full supervision."""
    found, pool = findings(job)
    ends = {name: curves[:, -1] for name, curves in found.curves["accuracy"].items()}
    ends[FULL] = found.ceiling["accuracy"]
    return [
        Row(
            data,
            entry.name,
            pool if entry.strategy == FULL else found.labels[-1],
            pool,
            {
                seed: float(value)
                for seed, value in zip(found.seeds, ends[entry.strategy], strict=True)
                if np.isfinite(value)
            },
            PAPER.get((data, entry.strategy), float("nan")),
            facts={"halQuerySeconds": found.seconds[entry.strategy].query, **entry.facts},
        )
        for entry in [*entries, Entry(FULL, ALL)]
        if entry.strategy in ends
    ]


def against(rows: Sequence[Row], reference: str) -> list[Row]:
    """The rows with their differences to one of them, paired by seed; p corrected by Holm."""
    base = next((row.values for row in rows if row.name == reference), {})
    found = []
    for row in rows:
        is_compared = row.name not in (reference, ALL)
        seeds = sorted(set(row.values) & set(base)) if is_compared else []
        ours, theirs = (np.array([values[s] for s in seeds]) for values in (row.values, base))
        found.append(replace(row, minus=difference(ours, theirs)))
    corrected = holm([row.minus.p for row in found])
    return [replace(row, p=p) for row, p in zip(found, corrected, strict=True)]
