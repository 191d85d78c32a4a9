"""Which strategy saves labels: eight complexes, some 650 particles to ask about, 32 to 224 labels.

python examples/benchmark_strategies.py --maps MAPS --folder DIR [--results DIR2] [--workers N]

MAPS holds density maps, one class each; the first eight are taken. Two pools are simulated (24^3 of
15 Angstrom, SNR 0.1, 640 test particles). *balanced*: 80 particles of each class. *picks*: the most
frequent class 20 times the rarest, 30 % junk, a tenth of the particles there twice. Then `halcmd
benchmark` starts from 32 random labels and asks six times for 32. What is run goes by groups:
`leaders` (random, hal, margin, badge: ten seeds), `explore` (hal with other shares of the query
left to the discriminator, ten seeds), `others` (every other strategy of the paper, dal, tcm,
typiclust, power-margin: two seeds, no more than a description), `unlabelled` (random and hal on the
even pool where the classifier learns from unlabelled particles too, ten seeds, two rounds) and
`paper` (random and hal with the recipe of Du et al. 2021, 60 epochs, two seeds). Each pool and
recipe has a file of results with a line for each training; what is there is not run again, so the
script can be stopped at any time and goes on. At the end tables of all results are printed;
--groups alone prints them and runs nothing. --small shows that it runs.

The leaders take some six hours a pool on 2 cores; --pools, --groups and --seeds choose.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from halcmd.benchmarking.experiment import read_results
from halcmd.benchmarking.learning_curves import Difference
from halcmd.reports.findings import Findings, findings_of, standings

CLASSES = 8
MAP_SUFFIXES = (".mrc", ".map")
POOLS = {
    "balanced": {"per-class": 160, "junk": 0.0, "stress": []},
    "picks": {
        "per-class": 240,
        "junk": 0.45,
        "stress": ["--imbalance", "20", "--junk", "0.3", "--duplicates", "0.1"],
    },
}
MEASURES = {"balanced": ("accuracy",), "picks": ("macro_f1", "balanced_accuracy", "rare_recall")}


@dataclass(frozen=True)
class Group:
    """Strategies that are run alike.

    Attributes
    ----------
    strategies : tuple of str
    seeds : int
        Repeats where --seeds does not say otherwise.
    recipe : str
        Names the file of results.
    options : tuple of str
        Further ones of ``halcmd benchmark``.
    rounds : int
        How often is asked.
    pools : tuple of str
        Where it is run.
    """

    strategies: tuple[str, ...]
    seeds: int
    recipe: str = "default"
    options: tuple[str, ...] = ("--preset", "low")
    rounds: int = 6
    pools: tuple[str, ...] = ("balanced", "picks")


OTHERS = ("entropy", "coreset", "typiclust", "tcm", "power-margin", "dal")
OTHERS += ("bald", "ee-bmal", "vaal", "bgal")  # take minutes: last
GROUPS = {
    "leaders": Group(("random", "hal", "margin", "badge"), 10),
    "explore": Group(("hal:explore=0", "hal:explore=0.25"), 10),
    "others": Group(OTHERS, 2),
    "unlabelled": Group(
        ("random", "hal"),
        10,
        "unlabelled",
        ("--preset", "low", "--semi-supervised"),
        rounds=2,
        pools=("balanced",),
    ),
    "paper": Group(("random", "hal"), 2, "paper", ("--preset", "r1a", "--epochs", "60")),
}


def main() -> None:
    """Run what is not there yet, group by group; then the tables."""
    given = arguments()
    given.folder.mkdir(parents=True, exist_ok=True)
    given.results.mkdir(parents=True, exist_ok=True)
    for pool in given.pools if given.groups else ():
        simulate(given, pool)
    for name in given.groups:
        for pool in [pool for pool in given.pools if pool in GROUPS[name].pools]:
            run(given, pool, GROUPS[name])
    for pool in given.pools:
        for recipe in dict.fromkeys(group.recipe for group in GROUPS.values()):
            show(given.results / results_of(pool, recipe), MEASURES[pool])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", type=Path, help="density maps; default: built-in shapes")
    parser.add_argument("--folder", type=Path, required=True, help="where to work")
    parser.add_argument("--results", type=Path, help="folder of the results; default: --folder")
    parser.add_argument("--pools", nargs="+", choices=POOLS, default=[*POOLS])
    parser.add_argument("--groups", nargs="*", choices=GROUPS, default=[*GROUPS])
    parser.add_argument("--seeds", type=int, help="instead of the groups' own")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--gpu", default="auto", help="as for halcmd")
    parser.add_argument("--small", action="store_true", help="few particles, labels and steps")
    given = parser.parse_args()
    given.results = given.results or given.folder
    return given


def simulate(given: argparse.Namespace, pool: str) -> None:
    """Particles and truth.star in DIR/POOL, unless they are there."""
    out, note = given.folder / pool, given.folder / f"{pool}.txt"
    maps, options = maps_of(given), scene(given, pool)
    said = " ".join([*(path.name for path in maps), *options])
    if is_there(out, note, said):
        return
    kinds = ["--classes", str(3 if given.small else CLASSES)]
    if maps:
        chosen = given.folder / "maps"
        shutil.rmtree(chosen, ignore_errors=True)
        chosen.mkdir()
        for path in maps:
            shutil.copy(path, chosen)
        kinds = ["--maps", str(chosen)]
    halcmd("simulate", "--o", str(out), *kinds, *options, "--overwrite")
    note.write_text(said)


def maps_of(given: argparse.Namespace) -> list[Path]:
    """The density maps that are taken; none for built-in shapes."""
    if not given.maps:
        return []
    found = sorted(path for path in given.maps.glob("*") if path.suffix.lower() in MAP_SUFFIXES)
    if len(found) < 2:
        raise SystemExit(f"ERROR: {given.maps}: two density maps (.mrc, .map) are the least")
    return found[: 3 if given.small else CLASSES]


def scene(given: argparse.Namespace, pool: str) -> list[str]:
    """The options of ``halcmd simulate`` beside the maps."""
    of = POOLS[pool]
    words = ["--per-class", str(24 if given.small else of["per-class"])]
    words += ["--junk", str(of["junk"]), "--test-fraction", f"{80 / of['per-class']:.4f}"]
    size = ["--box", "16", "--angpix", "20"] if given.small else ["--box", "24", "--angpix", "15"]
    return [*words, "--snr", "0.1", *size]


def is_there(out: Path, note: Path, said: str) -> bool:
    """Whether particles are there; ends the script where they are of another scene."""
    if not (out / "RELION_JOB_EXIT_SUCCESS").exists():
        return False
    before = note.read_text() if note.exists() else said
    if before != said:
        raise SystemExit(
            f"ERROR: {out} has particles of another scene: {before}\n"
            f"  now asked for: {said}\n  Take another --folder, or the same --maps."
        )
    return True


def run(given: argparse.Namespace, pool: str, group: Group) -> None:
    """The cells of a group that are missing; the results are brought back whatever happens."""
    data = given.folder / pool
    job = given.folder / f"{pool}_{group.recipe}"
    kept, own = given.results / results_of(pool, group.recipe), job / "results.jsonl"
    job.mkdir(exist_ok=True)
    if kept.exists():
        shutil.copy(kept, own)
    words = ["--i", str(data / "particles.star"), "--truth", str(data / "truth.star")]
    words += [*group.options, "--strategies", ",".join(group.strategies)]
    if not given.small:
        words += ["--initial", "32", "--n", "32", "--rounds", f"{group.rounds}"]
    else:
        words += ["--initial", "6", "--n", "2", "--rounds", "1"]
        words += ["--steps", "2"] if group.recipe != "paper" else ["--network", "compact"]
        words += ["--epochs", "1"] if group.recipe == "paper" else []
    words += ["--seeds", str(given.seeds or group.seeds), *POOLS[pool]["stress"]]
    words += ["--workers", str(given.workers), "--threads", "1", "--gpu", given.gpu, "--resume"]
    try:
        halcmd("benchmark", "--o", str(job), *words)
    finally:
        if own.exists():
            shutil.copy(own, kept)


def results_of(pool: str, recipe: str) -> str:
    """Name of the file of results."""
    return f"strategies_{pool}_{recipe}.jsonl"


def show(path: Path, measures: tuple[str, ...]) -> None:
    """Print a table for each measure of a file of results, if there is one."""
    lines = read_results(path).values()
    if not any(line["round"] for line in lines):
        return
    findings = findings_of([*lines])
    for measure in measures:
        print(f"\n### {path.name}: {measure}; all labels: {100 * findings.full(measure):.1f}\n")
        print("\n".join(rows(findings, measure)))


def rows(findings: Findings, measure: str) -> Iterator[str]:
    """A Markdown table: the mean curve of each strategy in percent, and what it means."""
    points = [f"{labels:,}" for labels in findings.labels]
    heads = ["strategy", "seeds", *points, "area", "to 95 %", "to 97 %", "fewer"]
    heads += ["area minus random"]
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for each in standings(findings, measure):
        points = [f"{100 * value:.1f}" for value in findings.mean(measure, each.strategy)]
        reach = [f"{labels:.0f}" if np.isfinite(labels) else "-" for labels in each.reach[1:3]]
        cells = [each.strategy, f"{each.seeds}", *points, f"{100 * each.area:.1f}", *reach]
        cells.append(str(each.efficiency))
        yield "| " + " | ".join([*cells, against_random(each.difference, each.words)]) + " |"


def against_random(found: Difference | None, words: str) -> str:
    """Mean difference of the areas, its interval, and what the test says."""
    if found is None:
        return ""
    if np.isnan(found.low):
        return f"{100 * found.mean:+.1f}: {words}"
    return f"{100 * found.mean:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f}): {words}"


def halcmd(step: str, *options: str) -> None:
    """Run a step; an error ends the script."""
    done = subprocess.run([sys.executable, "-m", "halcmd", step, *options], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
