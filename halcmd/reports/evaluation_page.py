"""The page of an evaluation: the stop advice, all plots as drawings, tables, the worst errors."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from halcmd import __version__
from halcmd.assessment.metrics import Assessment, Interval
from halcmd.assessment.stopping import NO_ROUNDS, STEADY, Stability
from halcmd.formats.drawings import (
    Series,
    draw_calibration,
    draw_confusion,
    draw_curve,
    draw_intervals,
)
from halcmd.formats.report import Drawing, Listing, Picture, write_report
from halcmd.particles import Particles
from halcmd.reports.evaluation import (
    Evaluation,
    caveats,
    contradiction,
    in_words,
    overall_of,
    resampling,
    rounds_of,
    spoken,
    tomogram_columns,
    with_ends,
)
from halcmd.reports.wording import plural
from halcmd.tables import running

_MOST_TOMOGRAMS, _MOST_DOUBTS = 60, 40
_DASH = "\N{EN DASH}"


def write_evaluation_report(
    path: Path,
    found: Evaluation,
    particles: Particles,
    *,
    inputs: Mapping[str, str],
    slices: Picture | None,
    seed: int,
) -> None:
    """Write report.html of an evaluation.

    Parameters
    ----------
    path : Path
        The HTML file.
    found : Evaluation
        All numbers.
    particles : Particles
        The table.
    inputs : mapping of str to str
        What was read, by what it is.
    slices : Picture, optional
        The worst confusions.
    seed : int
    """
    numbers = found.assessment
    count = int(numbers.confusion.sum())
    pictures: list[Drawing | Picture] = [*_of_classes(numbers)]
    pictures += [] if slices is None else [slices]
    pictures += _of_tomograms(found) + _of_calibration(found)
    pictures += [] if found.stability is None else _of_rounds(found, found.stability)
    advice = NO_ROUNDS if found.stability is None else found.stability.advice
    write_report(
        path,
        title="Evaluation",
        summary=f"{plural(count, 'particle')} whose class is known: accuracy"
        f" {with_ends(numbers.overall['accuracy'])}, balanced accuracy"
        f" {with_ends(numbers.overall['balanced_accuracy'])}.",
        notice=f"Label more? {advice.text}.",
        facts=dict(inputs) | _facts(found),
        pictures=pictures,
        listings=_listings(found),
        provenance=_provenance(particles, seed),
    )


def _facts(found: Evaluation) -> dict[str, str]:
    facts = {
        "left out": ", ".join(f"{n:,} ({why})" for why, n in found.left_out.items()) or "none",
        "intervals": resampling(found.assessment) if found.assessment.resamples else "none",
    }
    facts |= caveats(found.assessment)
    if found.pool is not None and np.isfinite(found.pool.estimated.value):
        facts["unlabelled particles"] = in_words(found.pool)
        doubt = contradiction(found.pool)
        return facts if doubt is None else facts | {"beware": doubt}
    return facts


def _provenance(particles: Particles, seed: int) -> dict[str, str]:
    now = running.get()
    models = sorted(set(particles.each("halModel", "none")) - {"none"})
    facts = {"halcmd": __version__, "seed": str(seed), "model": ", ".join(models) or "unknown"}
    return facts if now is None else facts | {"command": now.command}


def _of_classes(found: Assessment) -> list[Drawing]:
    series = [
        Series(title, it.value, it.low, it.high)
        for title, it in (
            ("precision", found.per_class["precision"]),
            ("recall", found.per_class["recall"]),
            ("F1", found.per_class["f1"]),
        )
    ]
    return [
        Drawing(
            draw_confusion(found.confusion, found.classes),
            "Confusion",
            "Each row is a true class; the shade is the share of it that is taken for the class of"
            " the column. What lies off the diagonal is wrong.",
        ),
        Drawing(
            draw_intervals(found.classes, series, "precision, recall and F1 of each class"),
            "Classes",
            "Precision: the share of those sorted into the class that are right. Recall: the share"
            " of the class that is found. F1: between the two. Lines are 95 % intervals.",
        ),
    ]


def _of_tomograms(found: Evaluation) -> list[Drawing]:
    if found.by != "tomogram":
        return []
    columns = tomogram_columns(found)
    order = np.argsort(columns["accuracy"], kind="stable")[:_MOST_TOMOGRAMS]
    numbers = (columns[name][order] for name in ("accuracy", "accuracy_low", "accuracy_high"))
    which = "the least accurate first"
    if len(order) < len(found.tomograms):
        which += f", {len(order)} of {len(found.tomograms):,}"
    return [
        Drawing(
            draw_intervals(
                [found.tomograms[row] for row in order],
                [Series("accuracy", *numbers)],
                "accuracy in each tomogram",
            ),
            "Tomograms",
            f"Accuracy in each tomogram, {which}. Lines are 95 % intervals (Wilson).",
        )
    ]


def _of_calibration(found: Evaluation) -> list[Drawing]:
    if not found.reliability:
        return []
    return [
        Drawing(
            draw_calibration(found.reliability),
            "Calibration",
            "On the dashed line probabilities mean what they say; beneath it the classifier is too"
            " sure, above it too cautious. The calibration error is the mean gap to the line,"
            f" {with_ends(found.assessment.calibration_error)}. Lines are 95 % intervals (Wilson).",
        )
    ]


def _of_rounds(found: Evaluation, stability: Stability) -> list[Drawing]:
    labels, held = stability.curve.labels, found.held_out
    curves = [_series("estimated, unlabelled particles", stability.curve.values)]
    curves += [] if held is None else [_series("held-out labels", held.values)]
    kappas = [each.kappa for each in stability.agreements]
    return [
        Drawing(
            draw_curve(labels, curves, "accuracy"),
            "Accuracy from round to round",
            "Estimated: the mean probability of the predicted classes, over the same"
            f" {plural(stability.particles, 'particle')} without a label in each round; it is as"
            " good as the calibration. Held-out labels are for you to see; the advice does not use"
            " them, since whoever stops by them measures too well with them afterwards.",
        ),
        Drawing(
            draw_curve(labels[1:], [_series("kappa", kappas)], "kappa", reference=STEADY),
            "Agreement with the round before",
            "Cohen's kappa of the predicted classes: 1 = no label changed any prediction, 0 = as by"
            f" chance. The dashed line, {STEADY:g}, is where predictions count as steady.",
        ),
    ]


def _series(name: str, its: "list[Interval] | tuple[Interval, ...]") -> Series:
    ends = ([float(getattr(it, end)) for it in its] for end in ("value", "low", "high"))
    return Series(name, *ends)


def _listings(found: Evaluation) -> list[Listing]:
    numbers, doubts = found.assessment, found.doubts
    overall = [(spoken(name), with_ends(it)) for name, it in overall_of(numbers).items()]
    listings = [Listing("All classes", ("measure", "value"), overall), _classes(numbers)]
    if found.stability is not None:
        rows = [
            (f"{labels:,}", *(with_ends(it) for it in row.values()))
            for labels, row in rounds_of(found)
        ]
        names = ("labels", "estimated accuracy", "accuracy", "kappa", "changed")
        listings.append(Listing("Rounds", names, rows))
    if found.by == "tomogram":
        listings.append(_tomograms(found))
    if doubts is not None:
        asked = ("halParticleId", "halLabel", "halSuspectedClass", "halLabelProbability")
        cells = list(zip(*(doubts.column(name) for name in asked), strict=True))[:_MOST_DOUBTS]
        listings.append(Listing("Labels that are perhaps wrong", asked, cells))
    return listings


def _classes(found: Assessment) -> Listing:
    measures = (*found.per_class.values(), found.average_precision)
    rows = [
        (
            name,
            f"{found.support[row]:,}",
            *(with_ends(Interval(it.value[row], it.low[row], it.high[row])) for it in measures),
        )
        for row, name in enumerate(found.classes)
    ]
    names = ("class", "particles", "precision", "recall", "F1", "average precision")
    return Listing("Each class", names, rows)


def _tomograms(found: Evaluation) -> Listing:
    columns = tomogram_columns(found)
    rows = [
        (
            name,
            f"{columns['count'][row]:,.0f}",
            *(_short(columns[key][row]) for key in ("accuracy", "balanced_accuracy", "macro_f1")),
        )
        for row, name in enumerate(found.tomograms)
    ]
    names = ("tomogram", "particles", "accuracy", "balanced accuracy", "macro F1")
    return Listing("Each tomogram", names, rows)


def _short(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else _DASH
