"""When the advice to stop labelling comes, and how good the classifier is then and later.

python examples/benchmark_stopping.py --folder DIR [--results FILE] [--seeds N] [--strategies ...]
                                      [--table] [--small]

1,600 simulated particles of five built-in shapes (box 16 px of 18 A, SNR 0.2), a quarter of them
held out. From 40 labels on, 40 are asked for in each of 14 rounds; each classifier is trained anew
for 300 steps, and `halcmd evaluate` says whether to go on. FILE gets a line for each round: labels,
particles without one, the share of them that is right (their true classes are known here) and what
evaluate says of it. What is there is not run again. At the end two tables: every round of the first
seed of the first strategy, and where the advice came in each run. --table prints these alone.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from halcmd.formats.files import append_line
from halcmd.imaging.simulated import Acquisition, Scene
from halcmd.particles import UNLABELLED, Particles
from halcmd.steps.evaluate import evaluate
from halcmd.steps.query import query
from halcmd.steps.score import score
from halcmd.steps.simulate import simulate
from halcmd.steps.train import train
from halcmd.strategies.pool import QuerySettings
from halcmd.tables import read_particles
from halcmd.training.recipes import Changes
from halcmd.training.run import Compute

BOX, PIXEL_SIZE, SNR = 16, 18.0, 0.2
FULL = argparse.Namespace(classes=5, per_class=320, labels=40, rounds=14, steps=300)
SMALL = argparse.Namespace(classes=3, per_class=40, labels=10, rounds=5, steps=10)

Labels = NDArray[np.object_]
Line = dict[str, Any]


def main() -> None:
    """Run what is not there yet; then the tables."""
    given = arguments()
    lines = read(given.results)
    for strategy in given.strategies if not given.table else ():
        for seed in range(given.seeds):
            if not any((line["strategy"], line["seed"]) == (strategy, seed) for line in lines):
                found = loop(given.folder / f"{strategy}-{seed}", strategy, seed, given.size)
                # at once: a run that is cut short leaves nothing, and is run again
                append_line(given.results, "\n".join(json.dumps(line) for line in found))
                lines += found
    runs = [
        [line for line in lines if (line["strategy"], line["seed"]) == run]
        for run in dict.fromkeys((line["strategy"], line["seed"]) for line in lines)
    ]
    if runs:
        show_rounds(runs[0])
        show_moments(runs)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where to work")
    parser.add_argument("--results", type=Path, help="default: stopping.jsonl in --folder")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--strategies", nargs="+", default=["margin"])
    parser.add_argument("--table", action="store_true", help="only print what is there")
    parser.add_argument("--small", action="store_true", help="few particles, labels and steps")
    given = parser.parse_args()
    given.results = given.results or given.folder / "stopping.jsonl"
    given.size = SMALL if given.small else FULL
    return given


def read(path: Path) -> list[Line]:
    """The lines of a file of results, if it is there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def loop(folder: Path, strategy: str, seed: int, size: argparse.Namespace) -> list[Line]:
    """All rounds of one strategy and seed; the folder is removed at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    table, truth = data(folder / "Simulate", seed, size)
    compute = Compute(seed=seed)
    labels, rounds = table.labels.copy(), np.zeros(len(table), dtype=int)
    lines, tables = [], []
    asked = ask(table, folder / "Query0", "random", size, seed)
    for number in range(size.rounds):
        place = folder / f"Round{number}"
        labels[asked], rounds[asked] = truth[asked], number
        table = table.with_columns({"halLabel": labels, "halQueryRound": list(map(str, rounds))})
        changes = Changes(steps=size.steps, semi_supervised=False)
        place.mkdir()
        train(table, place, compute=compute, changes=changes, report=False)
        model = place / "model.safetensors"
        scored = score(table, place, models=[model], compute=compute, report=False).particles
        found = evaluate(scored, place / "Evaluate", previous=tables, report=False, seed=seed)
        lines.append(line_of(found.summary(), scored, truth, strategy, seed))
        tables.append(place / "particles.star")
        asked = ask(scored, place / "Query", strategy, size, seed, model)
    shutil.rmtree(folder)
    return lines


def data(folder: Path, seed: int, size: argparse.Namespace) -> tuple[Particles, Labels]:
    """Particles, of which those held out have their labels, and the class of each."""
    scene = Scene(classes=size.classes, per_class=size.per_class, box=BOX, pixel_size=PIXEL_SIZE)
    device = torch.device("cpu")
    simulate(folder, scene=scene, acquisition=Acquisition(snr=SNR), seed=seed, device=device)
    particles, truth = (read_particles([folder / f"{n}.star"]) for n in ("particles", "truth"))
    labels = np.where(particles.is_test, truth.labels, UNLABELLED).astype(object)
    return particles.with_columns({"halLabel": labels}), truth.labels


def ask(
    table: Particles,
    folder: Path,
    strategy: str,
    size: argparse.Namespace,
    seed: int,
    model: Path | None = None,
) -> NDArray[np.intp]:
    """The rows that a strategy asks for."""
    folder.mkdir(parents=True)
    settings = QuerySettings(device=torch.device("cpu"))
    scored = None if model is None else model.parent
    words: dict[str, Any] = {"strategy": strategy, "n": size.labels, "settings": settings}
    words |= {"model": model, "scored": scored, "hand_off": (), "montage": False, "seed": seed}
    return query(table, folder, **words).asked


def line_of(
    facts: dict[str, Any], scored: Particles, truth: Labels, strategy: str, seed: int
) -> Line:
    """What is kept of a round."""
    rest = (scored.labels == UNLABELLED) & ~scored.is_test
    right = scored.text("halPredictedClass")[rest] == truth[rest]
    advice = facts["stop_advice"]
    last = advice["rounds"][-1] if advice else {}
    return {
        "strategy": strategy,
        "seed": seed,
        "labels": int((~rest & ~scored.is_test).sum()),
        "unlabelled": int(rest.sum()),
        "right": round(float(right.mean()), 4),
        "estimated": facts["pool"]["estimated_accuracy"],
        "corrected": facts["pool"]["corrected_accuracy"],
        "kappa": last.get("kappa"),
        "changed": last.get("changed"),
        "verdict": advice["verdict"] if advice else "cannot_tell",
        "reason": advice["text"] if advice else "",
    }


def show_rounds(run: list[Line]) -> None:
    """Every round of one run."""
    print(f"\n{run[0]['strategy']}, seed {run[0]['seed']}\n")
    print("| labels | unlabelled | right | estimated | corrected | kappa | changed | advice |")
    print("|---|---|---|---|---|---|---|---|")
    for line in run:
        corrected = line["corrected"]
        cells = [f"{line['labels']}", f"{line['unlabelled']:,}", f"{line['right']:.3f}"]
        cells += [f"{line['estimated']['value']:.3f}"]
        cells += [
            f"{corrected['value']:.3f} ({corrected['low']:.3f} to {corrected['high']:.3f})"
            if corrected["value"] is not None
            else ""
        ]
        cells += [f"{line['kappa']['value']:.2f}" if line["kappa"] else ""]
        cells += [f"{100 * line['changed']['value']:.0f} %" if line["changed"] else ""]
        print("| " + " | ".join([*cells, line["verdict"].replace("_", " ")]) + " |")


def show_moments(runs: list[list[Line]]) -> None:
    """Where the advice to stop came first, and what came after."""
    print(
        "\n| strategy | seed | stop at | right then | right at the end | labels at the end | best |"
    )
    print("|---|---|---|---|---|---|---|")
    for run in runs:
        stop = next((line for line in run if line["verdict"] == "stop"), None)
        cells = [run[0]["strategy"], f"{run[0]['seed']}"]
        cells += [f"{stop['labels']}", f"{stop['right']:.3f}"] if stop else ["never", ""]
        cells += [f"{run[-1]['right']:.3f}", f"{run[-1]['labels']}"]
        print("| " + " | ".join([*cells, f"{max(line['right'] for line in run):.3f}"]) + " |")


if __name__ == "__main__":
    main()
