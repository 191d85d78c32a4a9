"""The particles of a query on paper: which are drawn, and what stands beside each."""

from pathlib import Path

import numpy as np

from halcmd.console import log
from halcmd.errors import DataError, InputError
from halcmd.formats.montage import PER_PAGE, Card, write_montage
from halcmd.particles import Particles
from halcmd.subtomograms import open_boxes

MOST = 200
_SLAB = 4  # of the box, in z


def montage(asked: Particles, folder: Path, strategy: str) -> None:
    """Draw ``montage.pdf`` and its first page, ``montage.png``; say why where there is none.

    Parameters
    ----------
    asked : Particles
        Those asked for, most wanted first; the first 200 are drawn.
    folder : Path
        Job folder.
    strategy : str
        For the heading.
    """
    if not len(asked):
        return
    drawn = asked.take(range(min(len(asked), MOST)))
    if not (asked.has("halImageName") or asked.has("rlnImageName")):
        log.info("no montage: these are picks without boxes (halcmd extract cuts them)")
        return
    try:
        boxes = open_boxes(drawn)
        volumes = boxes.read(np.arange(len(drawn)))
    except (InputError, DataError) as reason:
        log.warning(f"no montage: {reason.render()}")
        return
    shown = f"the first {MOST:,} of " if len(asked) > MOST else ""
    heading = f"{shown}{len(asked):,} particles to label, chosen by {strategy}"
    write_montage(
        folder / "montage.pdf",
        folder / "montage.png",
        _cards(drawn, volumes),
        heading=f"{heading}  ({folder})",
        note=f"central slices xy, xz, yz; mean of {2 * _half(boxes.box)} px in z",
        pixel_size=boxes.pixel_size,
    )
    pages = -(-len(drawn) // PER_PAGE)
    png = "" if pages == 1 else " (the first of them: montage.png)"
    log.info(f"to label on paper: {folder / 'montage.pdf'}, {pages} page{'s'[: pages > 1]}{png}")


def _cards(drawn: Particles, volumes: np.ndarray) -> list[Card]:
    ranks = drawn.text("halQueryRank", "")
    classes = drawn.text("halPredictedClass", "none")
    probabilities = drawn.number("halProbability")
    cards = []
    for row, volume in enumerate(volumes):
        sure = f" {probabilities[row]:.2f}" if np.isfinite(probabilities[row]) else ""
        predicted = "" if classes[row] == "none" else f"{classes[row]}{sure}"
        cards.append(Card(ranks[row], drawn.ids[row], predicted, _planes(volume)))
    return cards


def _planes(volume: np.ndarray) -> np.ndarray:
    """Central xy, xz and yz slice and the mean of the central quarter in z, shape (4, n, n)."""
    middle = len(volume) // 2
    half = _half(len(volume))
    slab = volume[middle - half : middle + half].mean(axis=0)
    return np.stack([volume[middle], volume[:, middle], volume[:, :, middle], slab])


def _half(box: int) -> int:
    """Half the thickness of the slab in pixels."""
    return max(box // _SLAB // 2, 1)
