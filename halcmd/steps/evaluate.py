"""Say how good the predictions are, on particles whose class is known."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halcmd.assessment.estimates import corrected_mean, mean_confidence
from halcmd.assessment.metrics import assess
from halcmd.assessment.rounds import read_rounds, unlabelled_rows
from halcmd.assessment.stopping import Curve, Rounds, Stability, curve_of, stability
from halcmd.calibration import reliability
from halcmd.chance import generator
from halcmd.console import log, planned
from halcmd.errors import InputError
from halcmd.formats.plots import plot_calibration, plot_confusion
from halcmd.formats.star import Star, write_star
from halcmd.labels.matching import check_same_particles
from halcmd.particles import NO_LABELS, NOT_TRAINED, UNLABELLED, Particles
from halcmd.predictions import NOT_PREDICTED, PROBABILITY
from halcmd.reports.confused import Judged, confused, worst_table
from halcmd.reports.doubts import say_suspected, suspected_labels
from halcmd.reports.evaluation import Evaluation, PoolEstimate, say
from halcmd.reports.evaluation_page import write_evaluation_report
from halcmd.reports.evaluation_tables import tables_of
from halcmd.reports.wording import plural
from halcmd.tables import read_particles, write_particles

_LEAST_HELD = 30
"""Held-out labels that correct an estimate: the interval is a normal one."""

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class _Known:
    """Rows that count, with true and predicted class numbers and tomograms."""

    rows: Rows
    true: Rows
    predicted: Rows
    tomograms: NDArray[np.object_]
    classes: tuple[str, ...]
    left_out: dict[str, int]


def evaluate(
    particles: Particles,
    folder: Path,
    *,
    truth: Path | None = None,
    split: str = "test",
    by: str = "none",
    bootstrap: int = 1000,
    previous: Sequence[Path] = (),
    report: bool = True,
    seed: int = 0,
) -> Evaluation:
    """Metrics of the predictions against known classes, with tables, plots and the stop advice.

    Parameters
    ----------
    particles : Particles
        With halPredictedClass, and probabilities for calibration and average precision.
    folder : Path
        Job folder.
    truth : Path, optional
        Table with halParticleId and halLabel. Default: halLabel of the particles themselves.
    split : str
        ``test``, ``pool`` or ``all``: which rows count.
    by : str
        ``tomogram``: a table per tomogram too.
    bootstrap : int
        Resamples for the intervals; 0 = none.
    previous : sequence of Path
        Scored tables of earlier rounds.
    report : bool
        Write report.html and the plots.
    seed : int

    Raises
    ------
    InputError
        No predictions, no row with a known class, ids that match nothing, or a previous table that
        is of no earlier round.
    """
    labels = particles.labels if truth is None else true_labels(particles, truth)
    known = _known(particles, labels, split, truth)
    unseen = (particles.is_test | ~particles.is_answered)[known.rows]
    rounds = None
    if previous:
        rows = np.union1d(unlabelled_rows(particles), known.rows[unseen])
        rounds = read_rounds(particles, previous, rows)
    planned(
        f"{len(known.rows):,} particles with a known class"
        + "".join(f", {count:,} left out ({why})" for why, count in known.left_out.items())
    )
    _warn(particles, known)
    found, judged = _found(particles, known, unseen, rounds, by=by, bootstrap=bootstrap, seed=seed)
    write_star(folder / "evaluation.star", Star(tuple(tables_of(found))))
    if report:
        _draw(folder, found)
        write_evaluation_report(
            folder / "report.html",
            found,
            particles,
            inputs=_inputs(particles, truth, split, previous),
            slices=confused(particles, judged, folder / "confused.png"),
            seed=seed,
        )
    write_particles(folder / "particles.star", particles)
    say(found)
    say_suspected(found.doubts)
    return found


def _found(
    particles: Particles,
    known: _Known,
    unseen: NDArray[np.bool_],
    rounds: Rounds | None,
    *,
    by: str,
    bootstrap: int,
    seed: int,
) -> tuple[Evaluation, Judged]:
    """All numbers, and the particles whose class is known."""
    names, tomogram = np.unique(known.tomograms.astype(str), return_inverse=True)
    probabilities = _probabilities(particles, known)
    confidence = probabilities[np.arange(len(known.rows)), known.predicted]
    right = known.true == known.predicted
    assessment = assess(
        known.true,
        known.predicted,
        tomogram,
        classes=known.classes,
        probabilities=probabilities,
        resamples=bootstrap,
        rng=generator(seed, "evaluate"),
    )
    ids = particles.ids[known.rows]
    judged = Judged(known.rows, ids, known.true, known.predicted, known.classes, confidence)
    found = Evaluation(
        assessment,
        tuple(names),
        known.left_out,
        reliability(confidence, right) if np.isfinite(confidence).all() else {},
        _pool(particles, known.rows[unseen], (right - confidence)[unseen], tomogram[unseen]),
        None if rounds is None else _stability(particles, rounds, bootstrap, seed),
        None if rounds is None else _held_out(known, unseen, rounds),
        by,
        suspected_labels(particles),
        worst_table(judged),
    )
    return found, judged


def _pool(
    particles: Particles, held: Rows, gap: NDArray[np.float64], tomogram: Rows
) -> PoolEstimate | None:
    """Accuracy of the unlabelled particles by their probabilities, corrected by held-out labels."""
    rows = unlabelled_rows(particles)
    rows = rows[particles.text("halPredictedClass")[rows] != NOT_PREDICTED]
    if not len(rows):
        return None
    confidence = particles.number("halProbability")[rows]
    own = np.unique(particles.tomograms[rows].astype(str), return_inverse=True)[1]
    is_enough = len(held) >= _LEAST_HELD and bool(np.isfinite(gap).all())
    return PoolEstimate(
        len(rows),
        mean_confidence(confidence),
        corrected_mean(confidence, own, gap, tomogram) if is_enough else None,
        len(held),
    )


def _stability(particles: Particles, rounds: Rounds, bootstrap: int, seed: int) -> Stability:
    chance = generator(seed, "evaluate rounds")
    return stability(rounds.of(unlabelled_rows(particles)), resamples=bootstrap, rng=chance)


def _held_out(known: _Known, unseen: NDArray[np.bool_], rounds: Rounds) -> Curve | None:
    """Accuracy in each round on particles that no model was trained on; None without any."""
    held = rounds.of(known.rows[unseen])
    if not len(held.rows):
        return None
    number = {name: place for place, name in enumerate(held.classes)}
    true_class = np.array([number.get(name, -1) for name in known.classes], dtype=np.intp)
    true = true_class[known.true[np.searchsorted(known.rows, held.rows)]]
    return curve_of(held.labels, (held.predicted == true).astype(np.float64), held.tomogram)


def _draw(folder: Path, found: Evaluation) -> None:
    """Write confusion.png and calibration.png."""
    numbers = found.assessment
    plot_confusion(folder / "confusion.png", numbers.confusion, numbers.classes)
    note, curves = "no probabilities:\ncalibration cannot be judged", {}
    if found.reliability:
        note = plural(int(numbers.confusion.sum()), "particle")
        error = float(numbers.calibration_error.value)
        curves = {f"calibration error {error:.3f}": found.reliability}
    plot_calibration(folder / "calibration.png", curves, note=note)


def _inputs(
    particles: Particles, truth: Path | None, split: str, previous: Sequence[Path]
) -> dict[str, str]:
    """What was read, for the report."""
    facts = {
        "particles": f"{particles.path or 'a table'}, split {split}",
        "true classes": "halLabel of the particles" if truth is None else str(truth),
    }
    return facts | ({"earlier rounds": ", ".join(map(str, previous))} if previous else {})


def true_labels(particles: Particles, path: Path) -> NDArray[np.object_]:
    """Label of each particle as the truth file has it, ``unlabelled`` where it says no class."""
    truth = read_particles([path])
    if not truth.has("halLabel"):
        raise InputError(
            "the truth has no column halLabel",
            where=str(path),
            hint="a table with halParticleId and halLabel, such as truth.star of simulate",
        )
    if truth.ids_are_new or particles.ids_are_new:
        where = str(path) if truth.ids_are_new else str(particles.path)
        raise InputError(
            "particles without halParticleId cannot be matched",
            where=where,
            hint="halcmd label-import matches by name or coordinates",
        )
    own = {name: row for row, name in enumerate(particles.ids)}
    rows = np.array([own.get(name, -1) for name in truth.ids], dtype=np.intp)
    check_same_particles(particles, truth, rows)
    labels = np.full(len(particles), UNLABELLED, dtype=object)
    labels[rows[rows >= 0]] = truth.labels[rows >= 0]
    if not (labels != UNLABELLED).any():
        raise InputError(
            "no particle of the table is in the truth",
            where=str(path),
            found=f"{truth.ids[0]} there, {particles.ids[0]} in the table",
            hint="both must come from the same extraction",
        )
    return _known_labels(labels, particles.ids, path)


def _known_labels(
    labels: NDArray[np.object_], ids: NDArray[np.object_], path: Path
) -> NDArray[np.object_]:
    """The labels, ``unlabelled`` for words that say there is none, such as ``nan``."""
    is_none = np.array([name.strip().lower() in {"", *NO_LABELS} for name in labels.astype(str)])
    if is_none.any():
        first = int(is_none.argmax())
        log.warning(
            f"{path}: {plural(int(is_none.sum()), 'particle')} left out, whose label is no name of"
            f" a class, such as {str(labels[first])!r} of {ids[first]}"
        )
    return np.where(is_none, UNLABELLED, labels)


def _known(
    particles: Particles, labels: NDArray[np.object_], split: str, truth: Path | None
) -> _Known:
    """The rows of the split whose class is known and predicted."""
    if not particles.has("halPredictedClass"):
        raise InputError(
            "there are no predictions in this table",
            where=str(particles.path),
            hint="halcmd score first, and give its particles.star",
        )
    predictions = particles.text("halPredictedClass")
    in_split = {
        "test": particles.is_test,
        "pool": ~particles.is_test,
        "all": np.ones(len(particles), dtype=bool),
    }[split]
    is_open = labels == UNLABELLED
    is_unusable = np.isin(labels, NOT_TRAINED)
    is_blank = predictions == NOT_PREDICTED
    reasons = {
        "no known class": in_split & is_open,
        " or ".join(NOT_TRAINED): in_split & is_unusable,
        "not predicted": in_split & ~is_open & ~is_unusable & is_blank,
    }
    rows = np.flatnonzero(in_split & ~is_open & ~is_unusable & ~is_blank)
    if not len(rows):
        raise InputError(
            "no particle with a known class to evaluate on",
            where=str(truth or particles.path),
            found=f"{int(in_split.sum()):,} rows of split {split}, none of them usable",
            hint="label test particles, give --truth, or --split pool or all",
        )
    classes = _classes(particles, predictions[rows], labels[rows])
    number = {name: place for place, name in enumerate(classes)}
    return _Known(
        rows,
        np.array([number[name] for name in labels[rows]], dtype=np.intp),
        np.array([number[name] for name in predictions[rows]], dtype=np.intp),
        particles.tomograms[rows],
        classes,
        {why: int(mask.sum()) for why, mask in reasons.items() if mask.any()},
    )


def _classes(
    particles: Particles, predictions: NDArray[np.object_], labels: NDArray[np.object_]
) -> tuple[str, ...]:
    """The model's classes by number, then others by name."""
    modelled = set(_modelled(particles)) | set(predictions)
    numbers = particles.class_numbers()
    own = sorted(modelled, key=lambda name: (numbers.get(name, len(numbers) + 1), name))
    return (*own, *sorted(set(labels) - modelled))


def _modelled(particles: Particles) -> list[str]:
    """Classes that the table has a probability column for."""
    labels = particles.table.labels
    return [name.removeprefix(PROBABILITY) for name in labels if name.startswith(PROBABILITY)]


def _warn(particles: Particles, known: _Known) -> None:
    modelled = set(_modelled(particles))
    new = Counter(known.classes[number] for number in known.true)
    for name, count in sorted(new.items()):
        if modelled and name not in modelled:
            log.warning(f"class {name} ({count:,} particles) is unknown to the model: all errors")
    trained = particles.is_trainable & ~particles.is_test
    seen = int(trained[known.rows].sum())
    if seen:
        log.warning(
            f"{seen:,} of these particles are labelled and in the pool, so the model may have been"
            " trained on them: the numbers are too good. --split test keeps to held-out particles"
        )


def _probabilities(particles: Particles, known: _Known) -> NDArray[np.float64]:
    """Class probabilities, shape (n, n_classes), NaN for classes without a column."""
    columns = [particles.number(PROBABILITY + name)[known.rows] for name in known.classes]
    return np.stack(columns, axis=1)
