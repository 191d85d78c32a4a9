"""One experiment of a benchmark: what it is, its particles, first labels and measures."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halcmd.assessment import metrics
from halcmd.benchmarking.protocols import Counts, Protocol
from halcmd.benchmarking.stress import Stress, stressed
from halcmd.calibration import calibration_error
from halcmd.chance import keyed_uniform
from halcmd.console import log
from halcmd.formats.files import read_lines
from halcmd.formats.model import read_model
from halcmd.particles import Particles
from halcmd.splitting import split_test

Labels = NDArray[np.object_]
Key = tuple[str, int, int]

# Stand as strategies in results.jsonl: the first training of a seed, and full supervision.
START, FULL = "start", "full"

CELLS = "Cells"  # what is kept of unfinished work

_ENOUGH_TOMOGRAMS = 5
_MEASURED = ("accuracy", "balanced_accuracy", "macro_f1", "ece", "recall")
_NEEDED = ("labels", *_MEASURED, "asked", "seconds")


@dataclass(frozen=True)
class Training:
    """How each classifier is trained; values as for ``train``, None = the preset's.

    ``changes`` are the arguments of ``halcmd.training.recipes.Changes``.
    """

    preset: str = "default"
    changes: Mapping[str, Any] = field(default_factory=dict)
    validation: float | None = 0.0
    init_model: Path | None = None


@dataclass(frozen=True)
class Experiment:
    """All that a cell needs to know; pickled to the process that does it."""

    folder: Path
    protocol: Protocol
    training: Training
    stress: Stress
    gpu: str
    threads: int
    seed: int


def in_words(known: Particles, experiment: Experiment, counts: Counts) -> dict[str, str]:
    """What was done, for the report."""
    protocol, training = experiment.protocol, experiment.training
    changes = {name: value for name, value in training.changes.items() if value is not None}
    said = [f"{name.replace('_', ' ')} {value}" for name, value in changes.items()]
    start = [f"from {training.init_model}"] if training.init_model else []
    table, truth = table_of_seed(known, experiment, experiment.seed)
    split = "as in the table" if known.is_test.any() else f"by {split_by(known, experiment)}"
    tests = int(table.is_test.sum())
    return {
        "particles": f"{len(table) - tests:,} in the pool, {tests:,} to test on ({split});"
        f" {len(set(truth))} classes",
        "labels asked": f"{counts.initial:,} at first,"
        f" {'evenly of the classes' if counts.stratified else 'at random'};"
        f" {protocol.rounds} times {counts.n:,}, HAL in {min(protocol.subsets, counts.n)} subsets"
        f" (preset {protocol.query})",
        "stress": ", ".join(_harder(experiment.stress)) or "none",
        "training": ", ".join([f"preset {training.preset}", *said, *start]),
    }


def _harder(stress: Stress) -> Iterator[str]:
    """What makes it harder, in words."""
    for name in ("imbalance", "junk", "duplicates", "label_noise"):
        if value := getattr(stress, name):
            yield f"{name.replace('_', ' ')} {value:g}"
    if not stress.duplicates:
        return
    if not stress.moves:
        yield "exact copies"
    elif stress.duplicate_shift is None:
        yield "second picks a tenth of the box beside the first"
    else:
        yield f"second picks {stress.duplicate_shift:g} A beside the first"


def table_of_seed(known: Particles, experiment: Experiment, seed: int) -> tuple[Particles, Labels]:
    """Particles of a seed, unlabelled, with their split; and their true labels."""
    table = known
    if not table.is_test.any():
        fraction = experiment.protocol.test_fraction
        by = split_by(known, experiment)
        table = split_test(table, fraction=fraction, by=by, seed=seed, silent=True)
    copies = copies_of(experiment, seed) if experiment.stress.moves else None
    table = stressed(table, experiment.stress, seed=seed, copies=copies)
    return table, table.labels


def copies_of(experiment: Experiment, seed: int) -> Path:
    """The stack with the boxes of second picks."""
    return experiment.folder / CELLS / f"seed-{seed}" / "copies.mrcs"


def split_by(known: Particles, experiment: Experiment) -> str:
    """What test particles are drawn by where the table has none: tomograms, if there are enough.

    The paper's experiments drew particles, whatever their tomogram.
    """
    tomograms = len(set(known.tomograms))
    is_ours = experiment.protocol.train == "default"
    return "tomogram" if is_ours and tomograms >= _ENOUGH_TOMOGRAMS else "particle"


def fingerprint(known: Particles, experiment: Experiment) -> str:
    """Names what decides the results: not where, nor how many at a time."""
    facts = [asdict(experiment.protocol), asdict(experiment.training), asdict(experiment.stress)]
    facts[0] = {key: value for key, value in facts[0].items() if key not in ("seeds", "strategies")}
    if not experiment.stress.moves:  # as before there was such a thing
        del facts[2]["duplicate_shift"]
    if experiment.training.init_model is not None:
        facts[1]["init_model"] = read_model(experiment.training.init_model).hash
    rows = [known.ids.tolist(), known.labels.tolist(), known.is_test.tolist()]
    text = json.dumps([facts, rows, experiment.seed], sort_keys=True, default=str)
    return sha256(text.encode()).hexdigest()[:12]


def first_labels(
    ids: Labels, truth: Labels, pool: NDArray[np.intp], counts: Counts, seed: int
) -> NDArray[np.intp]:
    """Rows of the first labels: in a random order, or one of each class in turn."""
    keys = keyed_uniform(seed, "first labels", ids[pool])
    order = pool[np.argsort(keys)]
    if counts.stratified:
        turn = np.zeros(len(order), dtype=int)
        for name in set(truth[order]):
            members = truth[order] == name
            turn[members] = np.arange(members.sum())
        order = order[np.argsort(turn, kind="stable")]
    return np.asarray(order[: counts.initial])


def assessed(scored: Particles, truth: Labels) -> dict[str, Any]:
    """Measures on the test particles."""
    rows = np.flatnonzero(scored.is_test)
    classes = sorted(set(truth))
    number = {name: place for place, name in enumerate(classes)}
    true = np.array([number[name] for name in truth[rows]])
    predicted = np.array([number[name] for name in scored.text("halPredictedClass")[rows]])
    counts = metrics.confusion_matrix(true, predicted, len(classes))
    found: dict[str, Any] = {
        name: round(float(measure(counts)), 6) for name, measure in metrics.OVERALL.items()
    }
    confidence = scored.number("halProbability")[rows]
    found["ece"] = round(calibration_error(confidence, true == predicted), 6)
    recalls = metrics.recall(counts)
    found["recall"] = {name: _or_none(recalls[number[name]]) for name in classes}
    return found


def _or_none(recall: float) -> float | None:
    """Rounded; None of a class that the test lacks."""
    return round(float(recall), 6) if np.isfinite(recall) else None


def read_results(path: Path) -> dict[Key, dict[str, Any]]:
    """Lines of results.jsonl by strategy, seed and round; one that is cut off is left out."""
    found = {}
    for number, text in enumerate(read_lines(path) if path.exists() else [], start=1):
        line = _result(text)
        if line is not None:
            found[line["strategy"], line["seed"], line["round"]] = line
        elif text:
            log.warning(f"{path}, line {number} is not a whole result; that cell is done again")
    return found


def _result(text: str) -> dict[str, Any] | None:
    """What a line says; None where it is cut off, or no result."""
    try:
        line = json.loads(text)
    except json.JSONDecodeError:
        return None
    if not isinstance(line, dict) or any(name not in line for name in (*_NEEDED, "experiment")):
        return None
    key = line.get("strategy"), line.get("seed"), line.get("round")
    return line if [type(each) for each in key] == [str, int, int] else None
