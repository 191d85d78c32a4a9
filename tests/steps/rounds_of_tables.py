"""Scored tables of successive rounds, as evaluate and query read them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from halcmd.formats.mrc_writing import write_stack
from halcmd.particles import new_particles
from halcmd.tables import write_particles

CLASSES = ("apo", "ribo", "thermo")
ROWS, BOX = 800, 16


def written(
    folder: Path,
    changes: Sequence[float],
    *,
    classes: Sequence[str] = CLASSES,
    boxes: bool = False,
    rows: int = ROWS,
    right: float = 0.75,
) -> list[Path]:
    """A table per round in files Score1.star and so on; each changes a share of the predictions.

    A fifth of the particles are labelled test particles, 40 of the pool are labelled in the first
    round and 30 more in each; the share ``right`` of the predictions is right.
    """
    rng = np.random.default_rng(0)
    true = rng.integers(0, len(classes), rows)
    is_test = rng.random(rows) < 0.2
    order = rng.permutation(np.flatnonzero(~is_test))
    predicted = np.where(rng.random(rows) < right, true, (true + 1) % len(classes))
    names = np.array(classes, dtype=object)
    tomograms = [f"TS_{row % 6}" for row in range(rows)]
    fixed: dict[str, list[str]] = {
        "halParticleId": [f"{name}/{row:06d}" for row, name in enumerate(tomograms)],
        "halTomogram": tomograms,
        "halSplit": ["test" if test else "pool" for test in is_test],
    }
    if boxes:
        volumes = rng.normal(size=(rows, BOX, BOX, BOX)).astype(np.float32)
        stack = folder / "boxes.mrcs"
        fixed["halImageName"] = write_stack(stack, iter([volumes]), rows, BOX, pixel_size=10.0)
    paths = []
    for number, share in enumerate([0.0, *changes]):
        moved = rng.permutation(rows)[: round(share * rows)]
        predicted[moved] = (predicted[moved] + 1) % len(classes)
        labels = np.where(is_test, names[true], "unlabelled")
        asked = order[: 40 + 30 * number]
        labels[asked] = names[true[asked]]
        sure = rng.uniform(0.5, 0.99, rows)
        probabilities = (
            np.full((rows, len(classes)), 1.0) * ((1 - sure) / (len(classes) - 1))[:, None]
        )
        probabilities[np.arange(rows), predicted] = sure
        columns = {
            "halLabel": list(labels),
            "halPredictedClass": list(names[predicted]),
            "halProbability": [f"{value:.6f}" for value in sure],
            "halModel": [f"model{number}"] * rows,
        }
        for name, values in zip(classes, probabilities.T, strict=True):
            columns[f"halProbability_{name}"] = [f"{value:.6f}" for value in values]
        paths.append(folder / f"Score{number + 1}.star")
        write_particles(paths[-1], new_particles(fixed | columns))
    return paths
