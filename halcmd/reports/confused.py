"""The worst confusions as slices: the wrong particle between sure examples of both classes."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halcmd.assessment.metrics import confusion_matrix
from halcmd.console import log
from halcmd.errors import DataError, InputError
from halcmd.formats.particle_plots import Slices, plot_slices
from halcmd.formats.report import Picture
from halcmd.formats.star import Table, text_of
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
    ids : ndarray, shape (n,), object of str
    true, predicted : ndarray, shape (n,), int
        Class numbers.
    classes : tuple of str
    confidence : ndarray, shape (n,), float64
        Probability of the predicted class; NaN where unknown.
    """

    rows: Rows
    ids: NDArray[np.object_]
    true: Rows
    predicted: Rows
    classes: tuple[str, ...]
    confidence: NDArray[np.float64]

    @cached_property
    def worst(self) -> list[tuple[str, Rows]]:
        """A title for each kind of error, and places of up to three particles among the judged.

        The wrong one, then the surest right ones of the true and of the predicted class.
        """
        order = np.lexsort((self.ids, -np.nan_to_num(self.confidence)))
        matrix = confusion_matrix(self.true, self.predicted, len(self.classes))

        def surest(true: int, seen: int) -> Rows:
            found = (self.true[order] == true) & (self.predicted[order] == seen)
            return np.asarray(order[found][:1])

        return [
            (
                f"{self.classes[true]} taken for {self.classes[seen]}: {matrix[true, seen]:,}"
                f" of {matrix[true].sum():,}",
                np.concatenate([surest(true, seen), surest(true, true), surest(seen, seen)]),
            )
            for true, seen in worst_confusions(matrix)[:SHOWN]
        ]


def worst_table(judged: Judged) -> Table | None:
    """Table ``worst_confusions``: the particles that slices are drawn of; None without errors."""
    if not judged.worst:
        return None
    places = np.concatenate([found for _, found in judged.worst])
    ranks = [rank for rank, (_, found) in enumerate(judged.worst, 1) for _ in found]
    return Table.from_columns(
        "worst_confusions",
        {
            "halConfusionRank": ranks,
            "halParticleId": judged.ids[places],
            "halTrueClass": [judged.classes[number] for number in judged.true[places]],
            "halPredictedClass": [judged.classes[number] for number in judged.predicted[places]],
            "halProbability": text_of(judged.confidence[places], 4),
        },
    )


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
    groups = judged.worst
    if not groups:
        return None
    places = np.concatenate([found for _, found in groups])
    try:
        boxes = open_boxes(particles.take(judged.rows[places]))
        planes = middle_planes(boxes, np.arange(len(places)))
    except (InputError, DataError) as reason:
        log.info(f"no slices of confused particles: {reason.render()}")
        return None
    captions = [_caption(judged, place) for place in places]
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


def _caption(judged: Judged, place: np.intp) -> tuple[str, str]:
    numbers = judged.true[place], judged.predicted[place]
    true, seen = (shortened(judged.classes[number], _LONGEST_NAME) for number in numbers)
    sure, name = judged.confidence[place], str(judged.ids[place])
    said = f"{seen} {sure:.2f}" if np.isfinite(sure) else seen
    return name, f"{said}, right" if numbers[0] == numbers[1] else f"{true}: {said}"
