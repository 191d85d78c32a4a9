"""Say how good the predictions are, on particles whose class is known."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halcmd import metrics
from halcmd.chance import generator
from halcmd.console import log, planned
from halcmd.errors import InputError, first_few
from halcmd.formats.plots import plot_confusion
from halcmd.formats.star import Star, Table, text_of, write_star
from halcmd.metrics import Assessment, assess
from halcmd.particles import NOT_TRAINED, UNLABELLED, Particles
from halcmd.reports.doubts import say_suspected, suspected_labels
from halcmd.tables import read_particles, write_particles

NOT_PREDICTED = "none"

_PROBABILITY = "halProbability_"


@dataclass(frozen=True)
class Evaluation:
    """The numbers, how many rows of the split do not count, by reason, and suspected labels."""

    assessment: Assessment
    left_out: dict[str, int]
    suspected_labels: int | None = None

    def summary(self) -> dict[str, object]:
        """What ``--json`` prints; null where a number cannot be told."""
        found = self.assessment
        overall = {
            name: {key: _json_number(getattr(interval, key)) for key in ("value", "low", "high")}
            for name, interval in found.overall.items()
        }
        per_class = {
            name: {key: _json_number(i.value[row]) for key, i in found.per_class.items()}
            | {"support": int(found.support[row])}
            for row, name in enumerate(found.classes)
        }
        return {
            "particles": int(found.confusion.sum()),
            **overall,
            "per_class": per_class,
            "confusion": {"classes": list(found.classes), "counts": found.confusion.tolist()},
            "calibration_error": _json_number(found.calibration_error),
            "resampled_by": found.resampled_by,
            "left_out": self.left_out,
            "suspected_labels": self.suspected_labels,
        }


@dataclass(frozen=True)
class _Known:
    """Rows that count, with true and predicted class numbers and tomograms."""

    rows: NDArray[np.intp]
    true: NDArray[np.intp]
    predicted: NDArray[np.intp]
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
    seed: int = 0,
) -> Evaluation:
    """Metrics of the predictions against known classes, with tables and a plot in the folder.

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
    seed : int

    Raises
    ------
    InputError
        No predictions, no row with a known class, or ids that match nothing.
    """
    labels = particles.labels if truth is None else true_labels(particles, truth)
    known = _known(particles, labels, split, truth)
    planned(
        f"{len(known.rows):,} particles with a known class"
        + "".join(f", {count:,} left out ({why})" for why, count in known.left_out.items())
    )
    _warn(particles, known)
    names, tomogram = np.unique(known.tomograms.astype(str), return_inverse=True)
    assessment = assess(
        known.true,
        known.predicted,
        tomogram,
        classes=known.classes,
        probabilities=_probabilities(particles, known),
        resamples=bootstrap,
        rng=generator(seed, "evaluate"),
    )
    tables = [*_overall_tables(assessment), _confusion_table(assessment)]
    if by == "tomogram":
        tables.append(_tomogram_table(assessment, names))
    doubts = suspected_labels(particles)
    if doubts is not None and len(doubts):
        tables.append(doubts)
    write_star(folder / "evaluation.star", Star(tuple(tables)))
    plot_confusion(folder / "confusion.png", assessment.confusion, assessment.classes)
    write_particles(folder / "particles.star", particles)
    _log(assessment, bootstrap)
    say_suspected(doubts)
    return Evaluation(assessment, known.left_out, None if doubts is None else len(doubts))


def true_labels(particles: Particles, path: Path) -> NDArray[np.object_]:
    """Label of each particle as the truth file has it, ``unlabelled`` where it says nothing."""
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
    known = dict(zip(truth.ids, truth.labels, strict=True))
    labels = np.array([known.get(name, UNLABELLED) for name in particles.ids], dtype=object)
    if not (labels != UNLABELLED).any():
        raise InputError(
            "no particle of the table is in the truth",
            where=str(path),
            found=f"{truth.ids[0]} there, {particles.ids[0]} in the table",
            hint="both must come from the same extraction",
        )
    return labels


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
    return [name.removeprefix(_PROBABILITY) for name in labels if name.startswith(_PROBABILITY)]


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
    columns = [particles.number(_PROBABILITY + name)[known.rows] for name in known.classes]
    return np.stack(columns, axis=1)


def _overall_tables(found: Assessment) -> tuple[Table, Table]:
    """Tables ``summary`` and ``per_class``; low and high are ``nan`` for what is not resampled."""
    known = found.average_precision[np.isfinite(found.average_precision)]
    mean = float(known.mean()) if len(known) else np.nan
    plain = {"mean_average_precision": mean, "calibration_error": found.calibration_error}
    blank = ["nan"] * len(plain)
    overall = list(found.overall.values())
    summary: dict[str, Any] = {
        "halMetric": [*found.overall, *plain],
        "halValue": text_of([*(float(i.value) for i in overall), *plain.values()], 4),
        "halLow": [*text_of([float(i.low) for i in overall], 4), *blank],
        "halHigh": [*text_of([float(i.high) for i in overall], 4), *blank],
        "halCount": [int(found.confusion.sum())] * (len(overall) + len(plain)),
        "halResampledBy": [found.resampled_by] * (len(overall) + len(plain)),
    }
    per_class: dict[str, Any] = {
        "halClassName": list(found.classes),
        "halCount": list(found.support),
    }
    for name, title in (("precision", "Precision"), ("recall", "Recall"), ("f1", "F1")):
        per_class[f"hal{title}"] = text_of(found.per_class[name].value, 4)
        per_class[f"hal{title}Low"] = text_of(found.per_class[name].low, 4)
        per_class[f"hal{title}High"] = text_of(found.per_class[name].high, 4)
    per_class["halAveragePrecision"] = text_of(found.average_precision, 4)
    return Table.from_columns("summary", summary), Table.from_columns("per_class", per_class)


def _tomogram_table(found: Assessment, names: NDArray[np.str_]) -> Table:
    return Table.from_columns(
        "per_tomogram",
        {
            "halTomogram": list(names),
            "halCount": list(found.counts.sum(axis=(1, 2))),
            "halAccuracy": text_of(metrics.accuracy(found.counts), 4),
            "halBalancedAccuracy": text_of(metrics.balanced_accuracy(found.counts), 4),
            "halMacroF1": text_of(metrics.macro_f1(found.counts), 4),
        },
    )


def _confusion_table(found: Assessment) -> Table:
    names = np.array(found.classes, dtype=object)
    return Table.from_columns(
        "confusion",
        {
            "halTrueClass": list(np.repeat(names, len(names))),
            "halPredictedClass": list(np.tile(names, len(names))),
            "halCount": list(found.confusion.ravel()),
        },
    )


def _log(found: Assessment, bootstrap: int) -> None:
    log.info(f"{'':<20} value  95 % interval" if bootstrap else f"{'':<20} value")
    for name, it in found.overall.items():
        interval = f"  {float(it.low):.3f} to {float(it.high):.3f}" if bootstrap else ""
        log.info(f"{name.replace('_', ' '):<20} {float(it.value):.3f}{interval}")
    if np.isfinite(found.calibration_error):
        log.info(f"{'calibration error':<20} {found.calibration_error:.3f}")
    if bootstrap:
        log.info(f"intervals: bootstrap, {bootstrap:,} times, by {found.resampled_by}")
    n = int(found.confusion.sum())
    if np.trace(found.confusion) == n:  # no resample of no errors has one; Hanley 1983, "3 / n"
        log.info(
            f"no error in {n:,} particles: up to {min(3 / n, 1):.1%} of all may still be wrong"
        )
    width = max(len("class"), *map(len, found.classes))
    log.info(f"{'class':<{width}} {'true':>7}  precision  recall     F1")
    numbers = [found.per_class[name].value for name in ("precision", "recall", "f1")]
    for row, name in enumerate(found.classes):
        three = [_short(values[row]) for values in numbers]
        count = f"{found.support[row]:,}"
        log.info(f"{name:<{width}} {count:>7}  {three[0]:>9}  {three[1]:>6}  {three[2]:>5}")
    wrong = _worst_confusions(found)
    if wrong:
        log.info(f"most often confused: {first_few(wrong)}")


def _worst_confusions(found: Assessment) -> list[str]:
    """Pairs ``true taken for predicted (count)``, most frequent first."""
    errors = found.confusion - np.diag(np.diag(found.confusion))
    order = np.argsort(-errors, axis=None, kind="stable")[: int((errors > 0).sum())]
    pairs = zip(*np.unravel_index(order, errors.shape), strict=True)
    names = found.classes
    return [
        f"{names[true]} taken for {names[seen]}: {errors[true, seen]:,}" for true, seen in pairs
    ]


def _short(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "-"


def _json_number(value: float | NDArray[np.float64]) -> float | None:
    return float(value) if np.isfinite(value) else None
