"""How accurate the classifier is with few labels: recipes, pretraining, unlabelled particles.

python examples/benchmark_learner.py --maps MAPS --folder DIR [--results FILE] [--workers N]

MAPS holds density maps, one class each (halcmd simulate --maps). The script simulates 150 particles
of each class, a third of them for the test: at SNR 0.1 and at SNR 0.05, as many of each class, and
a pool as picks are (SNR 0.1, the most frequent class 20 times the rarest, 30 % junk). For each
variant, share of labels and seed it labels particles at random (as many of each class; as they come
in the long-tailed pool), trains, scores and evaluates with the commands that a user would type.
Each result is a line of FILE (default: DIR/learner.jsonl); cells that are there already are not run
again, so the script can be stopped and goes on where it was. --table only prints the tables of what
is there. --small is a size for a test.

All cells take some 30 hours on 2 cores, and a quarter of one on a large GPU (--gpu 0 --workers 16);
--variants, --pools, --shares and --seeds choose. With --workers N, N cells run at a time, each in a
process with one thread.
"""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner

from halcmd.cli.app import app
from halcmd.formats.star import read_star
from halcmd.tables import read_particles, write_particles
from halcmd.training.recipes import recipe


@dataclass(frozen=True)
class Variant:
    """A way to train.

    Attributes
    ----------
    title : str
        What its row is called.
    train : tuple of str
        Options of ``halcmd train``.
    pretrain : tuple of str or None
        Options of ``halcmd pretrain`` where it starts so.
    goes_on : bool
        It starts from the model of the next smaller one of ``SHARES``, and so on down.
    steps : float
        Of the recipe's, how many; where it goes on, the first model has them all.
    """

    title: str
    train: tuple[str, ...] = ()
    pretrain: tuple[str, ...] | None = None
    goes_on: bool = False
    steps: float = 1.0


SEMI = ("--semi-supervised",)
ALONE = ("--no-semi-supervised",)
VARIANTS = {
    "paper": Variant(
        "hal2021, no augmentation (the paper's way), 60 epochs",
        ("--preset", "paper", "--epochs", "60"),
    ),
    "hal2021": Variant(
        "hal2021, recipe, 60 epochs",
        ("--network", "hal2021", *ALONE, "--epochs", "60"),
    ),
    "short": Variant("compact, recipe, steps as hal2021", (*ALONE, "--epochs", "60")),
    "none": Variant("compact, recipe without augmentation", (*ALONE, "--augment", "none")),
    "flips": Variant("compact, recipe without rotations", (*ALONE, "--augment", "flips")),
    "compact": Variant("compact, recipe", ALONE),
    "semi": Variant("compact, recipe + semi-supervised", SEMI),
    "pretrain": Variant("compact, recipe + pretrain", ALONE, ()),
    "both": Variant("compact, recipe + pretrain + semi-supervised", SEMI, ()),
    "on": Variant("compact, recipe, from the model of fewer labels", ALONE, goes_on=True),
    "half": Variant("compact, recipe, half of the steps", ALONE, steps=0.5),
    "on_half": Variant(
        "compact, recipe, from the model of fewer labels, half of the steps",
        ALONE,
        goes_on=True,
        steps=0.5,
    ),
}
POOLS = {
    "snr_0.1": ("SNR 0.1", ("--snr", "0.1")),
    "snr_0.05": ("SNR 0.05", ("--snr", "0.05")),
    "long_tail": ("SNR 0.1, long-tailed, 30 % junk", ("--snr", "0.1", "--junk", "0.3")),
}
SHARES = [0.04, 0.12, 0.24, 1.0]
MOST_OVER_RAREST = 20
MEASURES = ("accuracy", "balanced_accuracy", "macro_f1")
# Below this, train deals the labels in folds for calibration and then fits all of them. Only the
# last of these fits tells in the accuracy, so the others are left out here.
FEW_LABELS = 200


@dataclass(frozen=True)
class Cell:
    """One training."""

    variant: str
    pool: str
    share: float
    seed: int


def main() -> None:
    """Run the cells that are not there yet; print the table."""
    given = arguments()
    folder = given.folder
    results = given.results or folder / "learner.jsonl"
    if not given.table:
        folder.mkdir(parents=True, exist_ok=True)
        done = {cell for cell, _ in read_results(results)}
        wanted = [cell for cell in cells(given) if cell not in done]
        starts = sorted({(cell.pool, cell.seed) for cell in wanted if is_pretrained(cell)})
        do_all(partial(simulate, folder, given=given), given.pools, given.workers)
        do_all(partial(pretrained, folder, given=given), starts, given.workers)
        for share in sorted(given.shares):  # the smaller first, from which others go on
            of_share = [cell for cell in wanted if cell.share == share]
            do_all(partial(run, folder, given=given), of_share, given.workers, results)
    print_tables(results)
    if given.plot:
        plot(results, given.plot)


def cells(given: argparse.Namespace) -> list[Cell]:
    """What is asked for.

    Where all are labelled, there is nothing unlabelled to learn from; with the fewest labels,
    nothing to go on from.
    """
    return [
        Cell(variant, pool, share, seed)
        for seed in range(given.seeds)
        for share in given.shares
        for pool in given.pools
        for variant in given.variants
        if share < 1 or "--semi-supervised" not in VARIANTS[variant].train
        if share > SHARES[0] or not VARIANTS[variant].goes_on
    ]


def is_pretrained(cell: Cell) -> bool:
    """Whether it starts from a pretrained model."""
    return VARIANTS[cell.variant].pretrain is not None


def do_all(
    work: Callable[[Any], Any], tasks: Sequence[Any], workers: int, results: Path | None = None
) -> None:
    """Do each task in one of so many processes, with a thread each where there are several.

    What comes out goes to the results, a line each, as soon as it is there. An error ends what has
    not begun.
    """
    if workers > 1:
        os.environ["OMP_NUM_THREADS"] = "1"
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        for one in as_completed([pool.submit(work, task) for task in tasks]):
            found = one.result()
            if results:
                print(json.dumps(found), flush=True)
                with results.open("a") as file:
                    file.write(json.dumps(found) + "\n")
    finally:
        pool.shutdown(cancel_futures=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", type=Path, help="density maps, one class each")
    parser.add_argument("--folder", type=Path, required=True, help="where to work")
    parser.add_argument("--results", type=Path, help="default: learner.jsonl in the folder")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--gpu", default="auto", help="as for halcmd")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=[*VARIANTS])
    parser.add_argument("--pools", nargs="+", choices=POOLS, default=[*POOLS])
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="only print the table")
    parser.add_argument("--plot", type=Path, help="draw accuracy against labels: PNG or SVG")
    parser.add_argument("--small", action="store_true", help="few particles, few steps")
    return parser.parse_args()


def simulate(folder: Path, pool: str, *, given: argparse.Namespace) -> None:
    """Particles and truth.star in DIR/snr_0.1 and so on, unless they are there."""
    out = folder / pool
    if (out / "RELION_JOB_EXIT_SUCCESS").exists():
        return
    maps = ["--maps", str(given.maps)] if given.maps else []
    per_class, box, angpix = ("12", "16", "20") if given.small else ("150", "24", "15")
    scene = ["--per-class", per_class, "--box", box, "--angpix", angpix]
    scene += ["--test-fraction", "0.3333", *POOLS[pool][1]]
    if pool == "long_tail":
        count = len([*given.maps.glob("*.mrc")]) if given.maps else 6
        weights = np.geomspace(MOST_OVER_RAREST, 1, count)
        scene += ["--balance", ",".join(f"{weight:.3f}" for weight in weights)]
    halcmd("simulate", out, *maps, *scene)


def run(folder: Path, cell: Cell, *, given: argparse.Namespace) -> dict[str, Any]:
    """Train, score and evaluate; the line for the results."""
    data, job = folder / cell.pool, job_of(folder, cell)
    start = start_of(folder, cell, given)
    device = ["--gpu", given.gpu, "--no-report"]
    started = time.monotonic()
    labelled = train(folder, cell, start, given)
    facts = asdict(cell) | {"labelled": labelled, "seconds": round(time.monotonic() - started)}
    for turns in (1, 4):
        score = ["--i", str(data / "particles.star"), "--augmentations", str(turns)]
        model = ["--model", str(job / "Train" / "model.safetensors")]
        halcmd("score", job / "Score", *score, *model, *device)
        table, truth = str(job / "Score" / "particles.star"), str(data / "truth.star")
        evaluate = ["--i", table, "--truth", truth, "--bootstrap", "0", "--json", "--no-report"]
        said = halcmd("evaluate", job / "Evaluate", *evaluate)
        for measure in MEASURES:
            facts[f"{measure}_{turns}"] = round(json.loads(said)[measure]["value"], 4)
    return facts


def job_of(folder: Path, cell: Cell) -> Path:
    """Where the cell's jobs are."""
    return folder / f"{cell.pool}_{cell.variant}_{cell.share:g}_{cell.seed}"


def start_of(folder: Path, cell: Cell, given: argparse.Namespace) -> Path | None:
    """The model that training starts from, if any; that of fewer labels is made where missing."""
    if is_pretrained(cell):
        return pretrained_model(folder, cell.pool, cell.seed)
    fewer = [share for share in SHARES if share < cell.share]
    if not VARIANTS[cell.variant].goes_on or not fewer:
        return None
    before = replace(cell, share=fewer[-1])
    model = job_of(folder, before) / "Train" / "model.safetensors"
    if not model.exists():
        train(folder, before, start_of(folder, before, given), given)
    return model


def train(folder: Path, cell: Cell, start: Path | None, given: argparse.Namespace) -> int:
    """Label a share of the pool and train on it; how many labels there are."""
    job, variant = job_of(folder, cell), VARIANTS[cell.variant]
    job.mkdir(exist_ok=True)
    labelled = write_labels(folder / cell.pool, job / "labelled.star", cell)
    options = [*variant.train, "--seed", str(cell.seed)]
    is_first = variant.goes_on and start is None
    if variant.steps != 1 and not is_first:
        trained_on = labelled if labelled < FEW_LABELS else round(0.8 * labelled)
        options += ["--steps", f"{variant.steps * recipe('default', trained_on).steps:.0f}"]
    if "--preset" not in options and labelled < FEW_LABELS:
        options += ["--validation", "0"]
    if given.small:
        options += ["--epochs", "1"]
    if start:
        options += ["--init-model", str(start)]
    device = ["--gpu", given.gpu, "--no-report"]
    halcmd("train", job / "Train", "--i", str(job / "labelled.star"), *options, *device)
    return labelled


def pretrained(folder: Path, start: tuple[str, int], *, given: argparse.Namespace) -> None:
    """Pretrain on a pool with a seed, unless that is done; all shares of labels start from it."""
    pool, seed = start
    if not pretrained_model(folder, pool, seed).exists():
        few = ["--epochs", "1", "--batch-size", "8"] if given.small else []
        options = ["--i", str(folder / pool / "particles.star"), "--seed", str(seed), *few]
        job = pretrained_model(folder, pool, seed).parent
        halcmd("pretrain", job, *options, "--gpu", given.gpu, "--no-report")


def pretrained_model(folder: Path, pool: str, seed: int) -> Path:
    """Where it is kept."""
    return folder / f"{pool}_pretrain_{seed}" / "model.safetensors"


def write_labels(data: Path, path: Path, cell: Cell) -> int:
    """A table with labels of a share of the pool, drawn at random; how many there are."""
    particles = read_particles([data / "particles.star"])
    truth = read_star(data / "truth.star").table("particles")
    columns = truth.column("halParticleId"), truth.column("halLabel")
    label_of = dict(zip(*columns, strict=True))
    labels = np.array([label_of[name] for name in particles.ids], dtype=object)
    pool = np.flatnonzero(~particles.is_test)
    rng = np.random.default_rng(cell.seed)
    if cell.pool == "long_tail":
        chosen = rng.permutation(pool)[: round(cell.share * len(pool))]
    else:
        names = np.unique(labels.astype(str))
        per_class = max(round(cell.share * len(pool) / len(names)), 2)
        chosen = np.concatenate(
            [rng.permutation(pool[labels[pool] == name])[:per_class] for name in names]
        )
    given = np.full(len(labels), "unlabelled", dtype=object)
    given[chosen] = labels[chosen]
    write_particles(path, particles.with_columns({"halLabel": given}))
    return len(chosen)


def halcmd(step: str, out: Path, *options: str) -> str:
    """Run a step as the command line does; what it prints. An error ends the script."""
    words = [step, "--o", str(out), *options, "--overwrite"]
    done = CliRunner().invoke(app, words)
    if done.exit_code:
        raise RuntimeError(f"halcmd {' '.join(words)}\n{done.output}") from done.exception
    return done.stdout


def read_results(path: Path) -> Iterator[tuple[Cell, dict[str, float]]]:
    """Cells that were run, and their lines."""
    for text in path.read_text().splitlines() if path.exists() else []:
        line = json.loads(text)
        yield Cell(line["variant"], line["pool"], line["share"], line["seed"]), line


def print_tables(results: Path) -> None:
    """Mean and standard deviation over the seeds, in percent, per pool: Markdown."""
    lines = [*read_results(results)]
    for pool, (title, _) in POOLS.items():
        measure = "macro_f1" if pool == "long_tail" else "accuracy"
        of_pool = [(cell, line) for cell, line in lines if cell.pool == pool]
        shares = sorted({cell.share for cell, _ in of_pool})
        for turns, what in ((1, "each particle as it is"), (4, "mean of 4 half turns")):
            if not shares:
                continue
            print(f"\n{title}: {measure.replace('_', ' ')}, {what}\n")
            print("| | " + " | ".join(f"{100 * share:g} %" for share in shares) + " |")
            print("|---" * (len(shares) + 1) + "|")
            for key, variant in VARIANTS.items():
                found = [
                    [
                        line[f"{measure}_{turns}"]
                        for cell, line in of_pool
                        if (cell.variant, cell.share) == (key, share)
                    ]
                    for share in shares
                ]
                if any(found):
                    print(f"| {variant.title} | " + " | ".join(map(spread, found)) + " |")


def plot(results: Path, path: Path) -> None:
    """Accuracy against labels of the pools with as many of each class, a line per variant.

    Those that go on from other models or take fewer steps have none.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    lines = [*read_results(results)]
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axes, pool in zip(panels, ("snr_0.1", "snr_0.05"), strict=True):
        for number, (key, variant) in enumerate(VARIANTS.items()):
            found: dict[int, list[float]] = {}
            for cell, line in lines:
                if (cell.variant, cell.pool) == (key, pool):
                    found.setdefault(int(line["labelled"]), []).append(100 * line["accuracy_1"])
            if not found or variant.goes_on or variant.steps != 1:
                continue
            labels = sorted(found)
            means = [np.mean(found[count]) for count in labels]
            spreads = [np.std(found[count], ddof=len(found[count]) > 1) for count in labels]
            axes.errorbar(
                labels, means, spreads, color=f"C{number}", marker="o", ms=4, label=variant.title
            )
        axes.set(xscale="log", xlabel="labels of 1,400", title=POOLS[pool][0], ylim=(0, 100))
        axes.set_xticks([56, 168, 336, 1400], ["56", "168", "336", "1,400"])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("test accuracy, %")
    panels[1].legend(*panels[0].get_legend_handles_labels(), fontsize=8, loc="lower right")
    figure.savefig(path, dpi=110)


def spread(values: list[float]) -> str:
    """``86.1 ± 1.2 (3)``: mean, standard deviation, number of seeds."""
    if not values:
        return ""
    mean = f"{100 * np.mean(values):.1f}"
    return (
        f"{mean} (1)"
        if len(values) < 2
        else (f"{mean} ± {100 * np.std(values, ddof=1):.1f} ({len(values)})")
    )


if __name__ == "__main__":
    main()
