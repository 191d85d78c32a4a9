"""What the scripts of the paper's tables share: data sets, runs of halcmd, rows, files.

Each script runs ``halcmd benchmark`` as a user would, in DIR/SET/Benchmark, and then writes its
table from results.jsonl. All of them add strategies to the same experiment, so that no training is
done twice and all start from the same first classifiers; a script that was stopped goes on.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from halcmd.benchmarking.experiment import read_results
from halcmd.benchmarking.learning_curves import (
    NO_PAIRS,
    Difference,
    band,
    difference,
    holm,
    in_words,
    mean_and_sd,
)
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
FULL, ALL = "full", "all labels"
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
PARTICLES, BOX, BOX_ANGST, SHAPES = 23_000, 40, 400.0, 13
SMALL_SCENE = ("--classes", "3", "--per-class", "16", "--box", "16", "--angpix", "20", "--snr", "1")
SMALL_INITIAL = 0.15
SMALL_LOOP = ("--initial", f"{SMALL_INITIAL}", "--n", "4", "--rounds", "2", "--seeds", "2")
SMALL_LOOP += ("--steps", "3", "--batch-size", "8")


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


def arguments(about: str, sets: Sequence[str] = ("s1", "s2")) -> argparse.Namespace:
    """The command line; what is not known here is in ``rest``, for ``halcmd benchmark``."""
    parser = argparse.ArgumentParser(
        description=about.splitlines()[0],
        epilog="Any other option is one of halcmd benchmark, such as --epochs 60.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--folder", type=Path, required=True, help="where to work; the same one for all tables")
    add("--sets", nargs="+", choices=SETS, default=[*sets], help="default: %(default)s")
    add("--maps", type=Path, help="folder of density maps for s1 and s2; default: built-in shapes")
    add("--i", type=Path, help="particles with boxes, for one of r1a, r1b and r2")
    add("--truth", type=Path, help="their classes; default: halLabel of the particles")
    add("--scale", type=float, default=1.0, help="of particles and labels; 0.02 suits a laptop")
    add("--box", type=int, default=BOX, help="pixels of a simulated box, which stays 400 A wide")
    add("--seeds", type=int, default=10)
    add("--workers", type=int, default=1, help="experiments at a time")
    add("--gpu", default="auto")
    add("--table", action="store_true", help="only write the table of what is there")
    add("--small", action="store_true", help="a size for a test: no useful numbers")
    given, given.rest = parser.parse_known_args()
    if given.i and len(given.sets) != 1:
        parser.error("--i is of one data set: name it with --sets")
    return given


def preset_of(given: argparse.Namespace, name: str) -> str:
    """The preset of ``halcmd benchmark``: that of the data set."""
    return "quick" if given.small else name


def job_of(folder: Path, name: str, initial: float | None = None) -> Path:
    """Where the experiment of a data set is, with its own or another share of first labels."""
    return folder / name / ("Benchmark" if initial is None else f"Benchmark_initial_{initial:g}")


def run(
    given: argparse.Namespace, name: str, strategies: Iterable[str], initial: float | None = None
) -> None:
    """Run what is missing of an experiment, unless only the table is wanted."""
    if given.table:
        return
    options = [
        "--preset",
        preset_of(given, name),
        "--strategies",
        ",".join(strategies),
        *particles(given, name),
    ]
    options += ["--scale", f"{given.scale:g}", "--seeds", str(given.seeds)]
    options += ["--workers", str(given.workers), "--gpu", given.gpu]
    options += SMALL_LOOP if given.small else ()
    options += [] if initial is None else ["--initial", f"{initial:g}"]
    halcmd("benchmark", job_of(given.folder, name, initial), *options, *given.rest, "--resume")


def particles(given: argparse.Namespace, name: str) -> list[str]:
    """The options that name particles and truth; simulated ones are made unless they are there."""
    snr = SETS[name].snr
    if snr is None:
        if given.i is None:
            raise SystemExit(f"{name} is real particles: --i particles.star --truth truth.star")
        return ["--i", str(given.i), *(["--truth", str(given.truth)] if given.truth else [])]
    out = given.folder / name / "Simulate"
    if not (out / "RELION_JOB_EXIT_SUCCESS").exists():
        maps = [*given.maps.glob("*.mrc")] if given.maps else []
        classes = len(maps) or SHAPES
        scene = ["--classes", str(SHAPES)] if not maps else ["--maps", str(given.maps)]
        scene += ["--per-class", str(max(round(PARTICLES * given.scale / classes), 4))]
        scene += ["--box", str(given.box), "--angpix", f"{BOX_ANGST / given.box:g}"]
        scene += ["--snr", f"{snr:g}", "--gpu", given.gpu]
        halcmd("simulate", out, *(SMALL_SCENE if given.small else scene), "--overwrite")
    return ["--i", str(out / "particles.star"), "--truth", str(out / "truth.star")]


def halcmd(step: str, out: Path, *options: str) -> None:
    """Run a step; an error ends the script."""
    command = [sys.executable, "-m", "halcmd", step, "--o", str(out), *options]
    if subprocess.run(command, env=os.environ, check=False).returncode:
        raise SystemExit(f"this failed; the same command goes on: {' '.join(command)}")


def sets_there(folder: Path) -> list[str]:
    """The data sets that were worked at, by whichever script, and have full supervision."""
    return [
        name
        for name in SETS
        if any(key[0] == FULL for key in read_results(job_of(folder, name) / "results.jsonl"))
    ]


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
            facts={"halQuerySeconds": found.seconds.get(entry.strategy, np.nan), **entry.facts},
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
