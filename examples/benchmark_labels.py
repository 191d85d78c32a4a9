"""How many planted wrong labels train finds, and how well score tells a class it was never shown.

python examples/benchmark_labels.py --folder DIR [--wrong] [--unknown] [--small]

Both on simulated particles of the six built-in shapes, box 16 px of 18 A, SNR 0.1 and 0.3.
--wrong: 30 labels of each class, a tenth of them changed to another class at random; precision and
recall of halSuspectedClass. --unknown: each class in turn gets no label, 20 of each other one do;
the area under the curve of telling its particles from unlabelled ones of known classes, by
halUnfamiliar, by the energy of the logits and by one minus halProbability. Prints tables; leaves
nothing behind.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score

from halcmd.formats.features import open_features
from halcmd.imaging.simulated import Acquisition, Scene
from halcmd.labels.label_quality import suspected_rows
from halcmd.networks.classifier import load_model
from halcmd.particles import UNLABELLED, Particles
from halcmd.steps.score import score
from halcmd.steps.simulate import simulate
from halcmd.steps.train import train
from halcmd.tables import read_particles
from halcmd.training.recipes import Changes
from halcmd.training.run import Compute

BOX, PIXEL_SIZE = 16, 18.0
SHARE = 0.1

Labels = NDArray[np.object_]


def data(folder: Path, snr: float, classes: int, per_class: int) -> tuple[Particles, Labels]:
    """Simulated particles and the class of each."""
    simulate(
        folder,
        scene=Scene(classes=classes, per_class=per_class, box=BOX, pixel_size=PIXEL_SIZE),
        acquisition=Acquisition(snr=snr),
        test_fraction=0.0,
        device=torch.device("cpu"),
    )
    particles, truth = (read_particles([folder / f"{n}.star"]) for n in ("particles", "truth"))
    return particles, truth.labels


def chosen(true: Labels, names: list[str], count: int, seed: int) -> Labels:
    """Labels of so many particles of each of these classes, the rest unlabelled."""
    rng = np.random.default_rng(seed)
    labels = np.full(len(true), UNLABELLED, dtype=object)
    for name in names:
        labels[rng.permutation(np.flatnonzero(true == name))[:count]] = name
    return labels


def wrong(folder: Path, snr: float, seed: int, size: argparse.Namespace) -> list[str]:
    """One row of the table: wrong labels that were planted and found."""
    particles, true = data(folder, snr, size.classes, size.count)
    names = sorted(set(true))
    labels, rng = chosen(true, names, size.count, seed), np.random.default_rng(seed + 1)
    planted = rng.permutation(len(labels))[: round(SHARE * len(labels))]
    for row in planted:
        labels[row] = rng.choice([name for name in names if name != true[row]])
    done = train(
        particles.with_columns({"halLabel": labels}),
        folder,
        compute=Compute(seed=seed),
        changes=Changes(steps=size.steps, semi_supervised=False),
        report=False,
    )
    found = suspected_rows(read_particles([folder / "particles.star"]))
    hits = len(set(found) & set(planted))
    counts = [len(labels), len(planted), len(found), hits]
    rates = [hits / max(len(found), 1), hits / len(planted), done.accuracy or np.nan]
    return [f"{snr:g}", str(seed), *map(str, counts), *(f"{rate:.2f}" for rate in rates)]


def unknown(folder: Path, snr: float, size: argparse.Namespace, semi: bool) -> Iterator[list[str]]:
    """Rows of the table: one for each class that gets no label."""
    particles, true = data(folder, snr, size.classes, 5 * size.few)
    names = sorted(set(true))
    for name in names[: size.left_out]:
        labels = chosen(true, [other for other in names if other != name], size.few, 0)
        table = particles.with_columns({"halLabel": labels})
        train(
            table,
            folder,
            compute=Compute(),
            changes=Changes(steps=size.steps, semi_supervised=semi),
            validation=0.0,
            report=False,
        )
        model = folder / "model.safetensors"
        scored = score(table, folder, models=[model], compute=Compute(), report=False).particles
        vectors = torch.from_numpy(open_features(folder / "embedding.npy").astype(np.float32))
        with torch.inference_mode():
            logits = load_model(model, device=torch.device("cpu")).network.head(vectors).numpy()
        far = {
            "halUnfamiliar": scored.number("halUnfamiliar"),
            "energy": -logsumexp(logits, axis=1),
            "1 - halProbability": 1 - scored.number("halProbability"),
        }
        rest = labels == UNLABELLED
        areas = [roc_auc_score(true[rest] == name, values[rest]) for values in far.values()]
        yield [f"{snr:g}", "yes" if semi else "no", name, *(f"{area:.2f}" for area in areas)]


def show(header: str, rows: list[list[str]]) -> None:
    """Print a table in Markdown."""
    names = header.split(", ")
    for cells in (names, ["---"] * len(names), *rows):
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    for part in ("wrong", "unknown", "small"):
        parser.add_argument(f"--{part}", action="store_true")
    asked = parser.parse_args()
    small = argparse.Namespace(classes=3, count=10, few=4, steps=20, left_out=1, seeds=1)
    full = argparse.Namespace(classes=6, count=30, few=20, steps=600, left_out=6, seeds=2)
    size = small if asked.small else full
    levels = (0.3,) if asked.small else (0.3, 0.1)
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        if asked.wrong or not asked.unknown:
            rows = [wrong(folder, snr, seed, size) for snr in levels for seed in range(size.seeds)]
            header = (
                "SNR, seed, labels, wrong, suspected, of them wrong, precision, recall, accuracy"
            )
            show(header, rows)
        if asked.unknown or not asked.wrong:
            cases = [(snr, False) for snr in levels] + [(levels[0], True)] * (not asked.small)
            rows = [row for snr, semi in cases for row in unknown(folder, snr, size, semi)]
            header = (
                "SNR, unlabelled too, class left out, halUnfamiliar, energy, 1 - halProbability"
            )
            show(header, rows)


if __name__ == "__main__":
    main()
