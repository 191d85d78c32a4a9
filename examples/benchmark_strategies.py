"""Which strategy saves labels: eight complexes, some 650 particles to ask about, 32 to 224 labels.

python examples/benchmark_strategies.py --maps MAPS --folder DIR [--results DIR2] [--workers N]

MAPS holds density maps, one class each; the first eight are taken, for picks3 the last eight. Four
pools are simulated (24^3 of 15 Angstrom, SNR 0.1, 640 test particles and more):

balanced  80 particles of each class
picks     the most frequent class 20 times the rarest, 30 % junk, a tenth of the particles twice,
          as exact copies
picks2    the same with other particles, test particles and seeds, which nothing was chosen on
picks3    the same once more, of the last eight maps, the second picks moved by a tenth of the box

Then `halcmd benchmark` starts from 32 random labels and asks six times for 32. What is run goes by
groups, of ten seeds where nothing else is said:

leaders     random, hal, margin, badge
explore     hal with other shares of the query left to the discriminator
settings    hal, and hal with other weights, norms and subsets, three rounds (picks2)
n64         hal asking once for 64 (picks2)
shares      random, and hal with three shares of the query left to the discriminator, three rounds
            (picks3)
further     random choice with 256 and 304 labels (picks2)
others      every other strategy of the paper, dal, tcm, typiclust, power-margin (balanced, picks):
            two seeds, no more than a description
unlabelled  random and hal, learning from unlabelled particles too, two rounds (balanced)
paper       random and hal with the recipe of Du et al. 2021, 60 epochs, two seeds (balanced, picks)

Each pool and recipe has a file of results with a line for each training; what is there is not run
again, so the script can be stopped at any time and goes on. At the end tables of all results are
printed; --groups alone prints them and runs nothing. --small shows that it runs.

The leaders take some six hours a pool on 2 cores; --pools, --groups and --seeds choose.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halcmd.benchmarking.experiment import read_results
from halcmd.benchmarking.learning_curves import (
    Difference,
    area,
    difference,
    holm,
    labels_to_reach,
    reach_text,
)
from halcmd.formats.curve_plots import plot_curves
from halcmd.reports.benchmark import panel
from halcmd.reports.findings import MEASURES as TITLES
from halcmd.reports.findings import Findings, findings_of
from halcmd.reports.standings import standings

CLASSES = 8
MAP_SUFFIXES = (".mrc", ".map")
POOLS = {
    "balanced": {"per-class": 160, "junk": 0.0, "stress": [], "seed": 0},
    "picks": {
        "per-class": 240,
        "junk": 0.45,
        "stress": [
            *("--imbalance", "20", "--junk", "0.3"),
            *("--duplicates", "0.1", "--duplicate-shift", "0"),
        ],
        "seed": 0,
    },
}
POOLS["picks2"] = POOLS["picks"] | {"seed": 10}
POOLS["picks3"] = POOLS["picks"] | {
    "stress": ["--imbalance", "20", "--junk", "0.3", "--duplicates", "0.1"],
    "seed": 20,
}
PICKS = ("picks", "picks2", "picks3")
LAST_MAPS = ("picks3",)  # of the others the first ones; with fewer than 16, some are the same
DRAWN = ("picks", "picks2")  # pools in the picture
LEAST_SEEDS = 6  # below, no difference can be told
MEASURES = {"balanced": ("accuracy",), "picks": ("macro_f1", "balanced_accuracy", "rare_recall")}
MEASURES["picks2"] = MEASURES["picks3"] = MEASURES["picks"]

Line = Mapping[str, Any]
Floats = NDArray[np.float64]


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
    initial, n, rounds : int
        First labels, then how many are asked for, and how often.
    pools : tuple of str
        Where it is run.
    is_beside : bool
        Its tables show random choice, hal and full supervision of other groups too, where it has
        none.
    """

    strategies: tuple[str, ...]
    seeds: int
    recipe: str = "default"
    options: tuple[str, ...] = ("--preset", "low")
    initial: int = 32
    n: int = 32
    rounds: int = 6
    pools: tuple[str, ...] = ("balanced", "picks", "picks2")
    is_beside: bool = False


OTHERS = ("entropy", "coreset", "typiclust", "tcm", "power-margin", "dal")
OTHERS += ("bald", "ee-bmal", "vaal", "bgal")  # take minutes: last
SETTINGS = ("hal", "hal:lambda=4", "hal:lambda=0.25", "hal:subsets=2", "hal:entropy-norm=rank")
SETTINGS += ("hal:explore=0.25",)
GROUPS = {
    "leaders": Group(("random", "hal", "margin", "badge"), 10),
    "explore": Group(("hal:explore=0", "hal:explore=0.25"), 10),
    "settings": Group(SETTINGS, 10, "settings", rounds=3, pools=("picks2",), is_beside=True),
    "n64": Group(("hal",), 10, "n64", n=64, rounds=1, pools=("picks2",), is_beside=True),
    "shares": Group(
        ("hal", "hal:explore=0.25", "hal:explore=0", "random"), 10, rounds=3, pools=("picks3",)
    ),
    "further": Group(("random",), 10, "further", initial=256, n=48, rounds=1, pools=("picks2",)),
    "others": Group(OTHERS, 2, pools=("balanced", "picks")),
    "unlabelled": Group(
        ("random", "hal"),
        10,
        "unlabelled",
        ("--preset", "low", "--semi-supervised"),
        rounds=2,
        pools=("balanced",),
    ),
    "paper": Group(
        ("random", "hal"),
        2,
        "paper",
        ("--preset", "r1a", "--epochs", "60"),
        pools=("balanced", "picks"),
    ),
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
        others = [line for name in ("leaders", "settings") for line in lines_of(given, pool, name)]
        for name, group in {group.recipe: (name, group) for name, group in GROUPS.items()}.values():
            lines = lines_of(given, pool, name)
            if group.is_beside:
                lines = beside(others, lines, f", {group.n} at a time" if group.n != 32 else "")
            show(results_of(pool, group.recipe), lines, MEASURES[pool])
    print("\n".join(missed_table(given)))
    if given.picture:
        draw(given)


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
    parser.add_argument("--picture", type=Path, help="a PNG file: curves of the leaders on picks")
    parser.add_argument("--small", action="store_true", help="few particles, labels and steps")
    given = parser.parse_args()
    given.results = given.results or given.folder
    return given


def simulate(given: argparse.Namespace, pool: str) -> None:
    """Particles and truth.star in DIR/POOL, unless they are there."""
    out, note = given.folder / pool, given.folder / f"{pool}.txt"
    maps, options = maps_of(given, pool), scene(given, pool)
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


def maps_of(given: argparse.Namespace, pool: str) -> list[Path]:
    """The density maps that are taken for a pool; none for built-in shapes."""
    if not given.maps:
        return []
    found = sorted(path for path in given.maps.glob("*") if path.suffix.lower() in MAP_SUFFIXES)
    if len(found) < 2:
        raise SystemExit(f"ERROR: {given.maps}: two density maps (.mrc, .map) are the least")
    n = 3 if given.small else CLASSES
    return found[-n:] if pool in LAST_MAPS else found[:n]


def scene(given: argparse.Namespace, pool: str) -> list[str]:
    """The options of ``halcmd simulate`` beside the maps."""
    of = POOLS[pool]
    words = ["--per-class", str(24 if given.small else of["per-class"])]
    words += ["--junk", str(of["junk"]), "--test-fraction", f"{80 / of['per-class']:.4f}"]
    words += ["--seed", str(of["seed"])] if of["seed"] else []
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
        words += ["--initial", f"{group.initial}", "--n", f"{group.n}"]
        words += ["--rounds", f"{group.rounds}"]
    else:
        words += ["--initial", "6", "--n", "2", "--rounds", "1"]
        words += ["--steps", "2"] if group.recipe != "paper" else ["--network", "compact"]
        words += ["--epochs", "1"] if group.recipe == "paper" else []
    words += ["--seeds", str(given.seeds or group.seeds), "--seed", str(POOLS[pool]["seed"])]
    words += POOLS[pool]["stress"]
    words += ["--workers", str(given.workers), "--threads", "1", "--gpu", given.gpu, "--resume"]
    try:
        halcmd("benchmark", "--o", str(job), *words)
    finally:
        if own.exists():
            shutil.copy(own, kept)


def results_of(pool: str, recipe: str) -> str:
    """Name of the file of results."""
    return f"strategies_{pool}_{recipe}.jsonl"


def show(title: str, lines: list[Line], measures: tuple[str, ...]) -> None:
    """Print the tables of each measure, if there are results."""
    if not any(line["round"] for line in lines):
        return
    findings = findings_of(lines)
    for measure in measures:
        if all(np.isnan(each).all() for each in findings.curves[measure].values()):
            continue  # which classes are rare is not known without full supervision
        full = findings.full(measure)
        said = "not run" if np.isnan(full) else f"{100 * full:.1f}"
        print(f"\n### {title}: {measure}; all labels: {said}\n")
        print("\n".join(rows(findings, measure)))
        pairs = [*against_hal(findings, measure)]
        if len(pairs) > 2:
            print("\n" + "\n".join(pairs))
    print("\nClasses missed to the end: " + ("; ".join(missed_by(lines)) or "none"))


def lines_of(given: argparse.Namespace, pool: str, group: str) -> list[Line]:
    """The results of a pool and a group, others with its recipe included; none if nothing ran."""
    return [*read_results(given.results / results_of(pool, GROUPS[group].recipe)).values()]


def beside(others: list[Line], own: list[Line], called: str) -> list[Line]:
    """A group's results and, with as many labels and in the same seeds, those of other groups.

    Of these random choice, hal, HAL as published and full supervision, where the group has none;
    the later ones count. The group's strategies get ``called`` after their names.
    """
    last = max((line["round"] for line in own), default=0)
    seeds = {line["seed"] for line in own if line["round"] == last and line["strategy"] != "full"}
    number = {line["labels"]: line["round"] for line in own if line["strategy"] != "full"}
    found: dict[tuple[str, int, int], Line] = {}
    for line in others:
        at = 0 if line["strategy"] == "full" else number.get(line["labels"])
        if line["strategy"] in ("full", "random", "hal", "hal:explore=0") and at is not None:
            found[line["strategy"], line["seed"], at] = {**line, "round": at}
    for line in own:
        name = line["strategy"] + (called if line["round"] else "")
        found[name, line["seed"], line["round"]] = {**line, "strategy": name}
    return [line for line in found.values() if line["seed"] in seeds]


def draw(given: argparse.Namespace) -> None:
    """The curves of the leaders on the pools like picks, one below the other."""
    panels = []
    for pool in DRAWN:
        lines = lines_of(given, pool, "leaders")
        wanted = ("start", "full", *GROUPS["leaders"].strategies)
        findings = findings_of([line for line in lines if line["strategy"] in wanted])
        for measure in ("macro_f1", "rare_recall"):
            panels.append(panel(findings, measure, f"{pool}: {TITLES[measure]}"))
    plot_curves(given.picture, panels)


def rows(findings: Findings, measure: str) -> Iterator[str]:
    """A Markdown table: the mean curve of each strategy in percent, and what it means."""
    points = [f"{labels:,}" for labels in findings.labels]
    heads = ["strategy", "seeds", *points, "area", "to 95 %", "to 97 %", "fewer"]
    heads += ["area minus random"]
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for each in standings(findings, measure):
        points = [f"{100 * value:.1f}" for value in findings.mean(measure, each.strategy)]
        cells = [each.strategy, f"{each.seeds}", *points, f"{100 * each.area:.1f}"]
        if each.seeds >= LEAST_SEEDS:
            cells += [reached(findings, measure, each.strategy, share) for share in (0.95, 0.97)]
            cells.append("" if each.efficiency is None else str(each.efficiency))
        else:
            cells += [""] * 3
        yield "| " + " | ".join([*cells, against_random(each.difference, each.words)]) + " |"


def against_random(found: Difference | None, words: str) -> str:
    """Mean difference of the areas, its interval, and what the test says."""
    if found is None:
        return ""
    if np.isnan(found.low):
        return f"{100 * found.mean:+.1f}: {words}"
    return f"{100 * found.mean:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f}): {words}"


def reached(findings: Findings, measure: str, name: str, share: float) -> str:
    """Labels to a share of full supervision, with a 95 % bootstrap interval over the seeds."""
    whole = findings.whole(measure, name) & np.isfinite(findings.ceiling[measure])
    if whole.sum() < LEAST_SEEDS:
        return ""
    curves, full = findings.curves[measure][name][whole], findings.ceiling[measure][whole]
    rng = np.random.default_rng(0)
    drawn = [np.arange(len(curves)), *rng.integers(0, len(curves), (500, len(curves)))]
    found = [
        labels_to_reach(findings.labels, curves[rows].mean(axis=0), share * full[rows].mean())
        for rows in drawn
    ]
    low, high = np.percentile(found[1:], [2.5, 97.5], method="inverted_cdf")
    value, start, end = (reach_text(findings.labels, each) for each in (found[0], low, high))
    return value if start == end else f"{value} ({start} to {end})"


def missed_by(lines: list[Line]) -> Iterator[str]:
    """Each strategy with the seeds and classes it has no recall of after its last query."""
    for name, mine in ends_of(lines).items():
        found = [f"{each} (seed {line['seed']})" for line in mine for each in missed(line)]
        if found:
            yield f"{name} {len(found)} in {len(mine)} seeds: {', '.join(found)}"


def missed_table(given: argparse.Namespace) -> Iterator[str]:
    """A Markdown table: in how many repeats a strategy missed a class to the end, by experiment."""
    ends: dict[str, dict[str, list[Line]]] = {}
    for pool in [pool for pool in PICKS if pool in given.pools]:
        for name in ("leaders", "settings"):
            lines = lines_of(given, pool, name)
            if mine := ends_of(lines):
                last = max(line["labels"] for line in lines if line["round"])
                of = "" if name == "leaders" else f" ({name})"
                ends[f"{pool}{of}, {last} labels"] = mine
    if not ends:
        return
    yield "\n### Repeats in which a class was missed to the end\n"
    names = sorted({name for each in ends.values() for name in each})
    yield "| strategy | " + " | ".join(ends) + " |"
    yield "|---|" + "---|" * len(ends)
    for name in names:
        cells = [share_missed(each.get(name, [])) for each in ends.values()]
        yield f"| {name} | " + " | ".join(cells) + " |"


def ends_of(lines: list[Line]) -> dict[str, list[Line]]:
    """Strategy -> the lines after its last query."""
    last = max((line["round"] for line in lines), default=0)
    ends = [line for line in lines if line["round"] == last > 0]
    names = dict.fromkeys(line["strategy"] for line in ends)
    return {name: [line for line in ends if line["strategy"] == name] for name in names}


def missed(line: Line) -> list[str]:
    """Classes of which no test particle was recognised."""
    return [name for name, recall in line["recall"].items() if recall == 0]


def share_missed(lines: list[Line]) -> str:
    """Such as ``2 of 10``: repeats that missed a class."""
    return f"{sum(bool(missed(line)) for line in lines)} of {len(lines)}" if lines else ""


def against_hal(findings: Findings, measure: str) -> Iterator[str]:
    """A Markdown table: how far hal lies above the others that have six seeds in common with it."""
    curves = findings.curves[measure]
    if "hal" not in curves:
        return
    others = [name for name in curves if name not in ("hal", "random")]
    areas = {name: area(findings.labels, values) for name, values in curves.items()}
    ends = {name: values[:, -1] for name, values in curves.items()}
    by_area, at_end = (
        above(of["hal"], {name: of[name] for name in others}) for of in (areas, ends)
    )
    yield f"| hal minus | area | with {findings.labels[-1]:,} labels |"
    yield "|---|---|---|"
    for name in by_area:
        yield f"| {name} | {by_area[name]} | {at_end[name]} |"


def above(hal: Floats, others: Mapping[str, Floats]) -> dict[str, str]:
    """Paired differences in percent, their intervals, and p by Wilcoxon's test with Holm's rule."""
    found = {name: difference(hal, each) for name, each in others.items()}
    told = {name: each for name, each in found.items() if np.isfinite(each.low)}
    corrected = holm([each.p for each in told.values()])
    return {
        name: f"{100 * each.mean:+.1f} ({100 * each.low:+.1f} to {100 * each.high:+.1f}), p {p:.2g}"
        for (name, each), p in zip(told.items(), corrected, strict=True)
    }


def halcmd(step: str, *options: str) -> None:
    """Run a step; an error ends the script."""
    done = subprocess.run([sys.executable, "-m", "halcmd", step, *options], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
