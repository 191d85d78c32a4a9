"""The worst confusions as slices: the wrong particle between sure examples of both classes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halcmd.assessment.metrics import confusion_matrix
from halcmd.console import log
from halcmd.errors import DataError, InputError
from halcmd.formats.particle_plots import Slices, plot_slices
from halcmd.formats.report import Picture
from halcmd.particles import Particles
from halcmd.reports.evaluation import worst_confusions
from halcmd.reports.slices import middle_planes
from halcmd.reports.wording import shortened
from halcmd.subtomograms import open_boxes

SHOWN = 4
"""Kinds of error that are drawn."""
_LONGEST_NAME = 18

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Judged:
    """Particles whose class is known.

    Attributes
    ----------
    rows : ndarray, shape (n,), int
        Of the table.
    true, predicted : ndarray, shape (n,), int
        Class numbers.
    classes : tuple of str
    confidence : ndarray, shape (n,), float64
        Probability of the predicted class; NaN where unknown.
    """

    rows: Rows
    true: Rows
    predicted: Rows
    classes: tuple[str, ...]
    confidence: NDArray[np.float64]


def confused(particles: Particles, judged: Judged, path: Path) -> Picture | None:
    """Draw the most frequent errors, a row for each; None where there are none, or no boxes.

    Parameters
    ----------
    particles : Particles
        The table.
    judged : Judged
        Those of it that count.
    path : Path
        The PNG file to write.
    """
    if not (particles.has("halImageName") or particles.has("rlnImageName")):
        return None
    groups = chosen(judged, particles.ids)
    if not groups:
        return None
    places = np.concatenate([found for _, found in groups])
    try:
        boxes = open_boxes(particles.take(judged.rows[places]))
        planes = middle_planes(boxes, np.arange(len(places)))
    except (InputError, DataError) as reason:
        log.info(f"no slices of confused particles: {reason.render()}")
        return None
    captions = [_caption(particles, judged, place) for place in places]
    ends = np.cumsum([0, *(len(found) for _, found in groups)])
    slices = [
        Slices(title, planes[start:end], captions[start:end])
        for (title, _), start, end in zip(groups, ends, ends[1:], strict=False)
    ]
    plot_slices(path, slices, pixel_size=boxes.pixel_size)
    return Picture(
        path,
        "The worst confusions",
        "Of each kind of error, left: the particle that is wrong with the highest probability; then"
        " the surest right one of its own class, and of the class that it was taken for. If the"
        " wrong one looks like the class that it was taken for, its label may be wrong. Middle"
        " slices xy, xz and yz, smoothed a little.",
    )


def chosen(judged: Judged, ids: NDArray[np.object_]) -> list[tuple[str, Rows]]:
    """A title for each kind of error, and places of up to three particles among the judged.

    The wrong one, then the surest right ones of the true and of the predicted class.
    """
    sure = np.nan_to_num(judged.confidence)
    order = np.lexsort((ids[judged.rows], -sure))
    matrix = confusion_matrix(judged.true, judged.predicted, len(judged.classes))

    def surest(true: int, seen: int) -> Rows:
        found = (judged.true[order] == true) & (judged.predicted[order] == seen)
        return np.asarray(order[found][:1])

    return [
        (
            f"{judged.classes[true]} taken for {judged.classes[seen]}: {matrix[true, seen]:,}"
            f" of {matrix[true].sum():,}",
            np.concatenate([surest(true, seen), surest(true, true), surest(seen, seen)]),
        )
        for true, seen in worst_confusions(matrix)[:SHOWN]
    ]


def _caption(particles: Particles, judged: Judged, place: np.intp) -> tuple[str, str]:
    numbers = judged.true[place], judged.predicted[place]
    true, seen = (shortened(judged.classes[number], _LONGEST_NAME) for number in numbers)
    sure, name = judged.confidence[place], str(particles.ids[judged.rows[place]])
    said = f"{seen} {sure:.2f}" if np.isfinite(sure) else seen
    return name, f"{said}, right" if numbers[0] == numbers[1] else f"{true}: {said}"
