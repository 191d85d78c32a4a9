"""The page that a biologist labels the particles of a query on: what it shows of them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halcmd import __version__
from halcmd.console import log
from halcmd.errors import DataError, InputError, OptionError, first_few
from halcmd.formats.label_page import write_label_page
from halcmd.labels.label_quality import ASKED_AGAIN
from halcmd.particles import (
    LABEL,
    NO_LABELS,
    RESERVED,
    Particles,
    as_class,
    valid_label,
)
from halcmd.reports.label_context import context_edge, crops, sign_of
from halcmd.reports.label_references import (
    EXAMPLES,
    Reference,
    box_axes,
    classes_of,
    from_labels,
    from_map,
    labelled,
    map_files,
    turned,
    turns_of,
)
from halcmd.reports.label_volumes import as_text, edge_that_fits, read_reduced
from halcmd.reports.wording import plural
from halcmd.subtomograms import Boxes, open_boxes

MOST_PARTICLES = 1000
_WHY = {
    "halQueryRank": "rank",
    "halQuerySubset": "subset",
    "halScore": "score",
    "halEntropy": "entropy",
    "halMargin": "margin",
    "halUnlabelledProbability": "p unlabelled",
}

Floats = NDArray[np.float32]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class PageSettings:
    """What the page offers and shows.

    Attributes
    ----------
    classes : tuple of str
        Offered, in this order; none = those that the table and the maps know.
    maps : dict of str to Path
        Class name to a map of it.
    context : float
        Width of the crop of the tomogram in boxes; 0 = none.
    """

    classes: tuple[str, ...] = ()
    maps: dict[str, Path] = field(default_factory=dict)
    context: float = 2.5


def page_settings(classes: str | None, references: Path | None, context: float) -> PageSettings:
    """The settings of the command line, checked.

    Raises
    ------
    OptionError, InputError
        A class may not be called so, or there are no maps in the folder.
    """
    names = list(dict.fromkeys(name.strip() for name in (classes or "").split(",")))
    names = [name for name in names if name]
    if classes is not None and not names:
        raise OptionError("--classes names no class", hint="--classes ribosome,proteasome")
    bad = [name for name in names if not valid_label(name) or as_class(name) in RESERVED]
    if bad:
        raise OptionError(
            "a class may not be called so",
            found=first_few(bad),
            hint="letters first, then letters, digits, _ . -; junk, unknown and skip are there "
            "always",
        )
    if 0.0 < context < 1.0:
        raise OptionError(
            "--context must be at least 1 box, or 0 for none",
            found=f"{context:g}",
            hint="--context 2.5",
        )
    return PageSettings(tuple(names), map_files(references) if references else {}, context)


def label_page(folder: Path, table: Particles, asked: Rows, settings: PageSettings) -> bool:
    """Write ``labels.html`` where there are boxes to show; else say why there is none.

    Parameters
    ----------
    folder : Path
        Job folder.
    table : Particles
        With the columns of the query.
    asked : ndarray of int
        Rows asked for, most wanted first.
    settings : PageSettings

    Returns
    -------
    bool
        Whether it was written.
    """
    if not (table.has("halImageName") or table.has("rlnImageName")):
        log.info("no labels.html: the table names no subtomograms to show (halcmd extract)")
        return False
    if not len(asked):
        return False
    if len(asked) > MOST_PARTICLES:
        log.warning(
            f"labels.html shows the first {MOST_PARTICLES:,} of {len(asked):,} particles; the "
            "others are in query.star alone"
        )
        asked = asked[:MOST_PARTICLES]
    try:
        data = _data(table, asked, open_boxes(table), settings)
        data["table"] = str(folder / "particles.star")
    except (InputError, DataError) as error:
        log.warning(f"no labels.html: {error.render()}")
        return False
    size = write_label_page(folder / "labels.html", data)
    log.info(f"labels.html: {plural(len(asked), 'particle')}, {size / 1e6:.1f} MB")
    return True


def _data(table: Particles, asked: Rows, boxes: Boxes, settings: PageSettings) -> dict[str, Any]:
    """All that the page shows."""
    classes = settings.classes or tuple(classes_of(table, settings.maps))
    has_context = settings.context > 0 and table.has("halTomogramFile")
    pixels = context_edge(len(asked)) if has_context else 0
    shown = sum(
        1 if name in settings.maps else min(len(labelled(table, name)), EXAMPLES) + 1
        for name in classes
    )
    edge = edge_that_fits(
        boxes.box, len(asked) + shown, particles=len(asked), context_pixels=pixels**2
    )
    volumes = read_reduced(boxes, asked, edge)
    width = boxes.box * boxes.pixel_size
    planes: Sequence[Floats | None] = [None] * len(asked)
    if has_context:
        planes = _surroundings(table, asked, volumes, width, settings.context, pixels)
    particles = [
        {**facts, "box": as_text(volume), "context": None if plane is None else as_text(plane)}
        for facts, volume, plane in zip(_facts(table, asked), volumes, planes, strict=True)
    ]
    named = "\n".join(f"{particle['id']} {particle['box']}" for particle in particles)
    return {
        "title": f"Label {plural(len(asked), 'particle')}",
        "query": hashlib.sha256(named.encode()).hexdigest()[:32],
        "strategy": str(table.text("halQueryStrategy", "none")[asked[0]]),
        "relabels": bool((table.text("halQueryStrategy", "none")[asked] == ASKED_AGAIN).any()),
        "round": str(table.text("halQueryRound", "0")[asked[0]]),
        "version": __version__,
        "rules": {"pattern": LABEL.pattern, "never": sorted({*NO_LABELS, *RESERVED})},
        "classes": list(classes),
        "edge": edge,
        "box": boxes.box,
        "nm": width / 10,
        "contrast": boxes.contrast,
        "contextWidth": settings.context,
        "particles": particles,
        "references": _references(table, boxes, classes, settings, edge),
    }


def _surroundings(
    table: Particles, asked: Rows, volumes: Floats, width: float, context: float, pixels: int
) -> list[Floats | None]:
    """Crops of the tomograms, with the contrast of the boxes where that can be told."""
    planes = crops(table, asked, box_edge=width, width=context, pixels=pixels)
    turns, axes = turns_of(table, asked), box_axes(table, asked)
    for name in dict.fromkeys(table.tomograms[asked]):
        there = np.flatnonzero(table.tomograms[asked] == name)
        known = [place for place in there if axes[place] == "tomogram" or turns[place] is not None]
        upright = [_upright(volumes[place], turns[place], str(axes[place])) for place in known]
        if sign_of([planes[place] for place in known], upright, context) < 0:
            for place in there:
                plane = planes[place]
                planes[place] = None if plane is None else -plane
    return planes


def _upright(volume: Floats, turn: np.ndarray | None, axes: str) -> Floats:
    """A box with the axes of the tomogram."""
    return volume if axes == "tomogram" or turn is None else turned(volume, turn.T)


def _facts(table: Particles, asked: Rows) -> list[dict[str, Any]]:
    """What is said of each particle: names, prediction, why it was asked, how it is turned."""
    predicted = table.text("halPredictedClass", "none")
    probability = table.number("halProbability")
    why = {words: table.text(name, "") for name, words in _WHY.items() if table.has(name)}
    if "random" in table.text("halQueryStrategy", "none")[asked]:
        why.pop("score", None)  # a random number
    where = [table.text(f"halPosition{axis}Angst", "nan") for axis in "XYZ"]
    facts = []
    poses = zip(turns_of(table, asked), box_axes(table, asked), strict=True)
    for row, (turn, axes) in zip(asked, poses, strict=True):
        if turn is not None and axes != "tomogram":
            turn = turn.T
        position = table.positions[row] / 10
        facts.append(
            {
                "id": str(table.ids[row]),
                "tomogram": str(table.tomograms[row]),
                "place": [str(table.tomograms[row]), *(str(values[row]) for values in where)],
                "position": position.round(1).tolist() if np.isfinite(position).all() else None,
                "predicted": None if predicted[row] == "none" else str(predicted[row]),
                "probability": round(float(probability[row]), 3)
                if np.isfinite(probability[row])
                else None,
                "why": [
                    [words, str(values[row])]
                    for words, values in why.items()
                    if values[row] not in ("", "nan", "0", "none")
                ],
                "turn": None if turn is None else turn.round(5).ravel().tolist(),
                "axes": str(axes),
            }
        )
    return facts


def _references(
    table: Particles, boxes: Boxes, classes: Sequence[str], settings: PageSettings, edge: int
) -> dict[str, Any]:
    """For each class its map or mean, and examples; of classes that have any."""
    sign = -1.0 if boxes.contrast == "dark" else 1.0
    size = boxes.box * boxes.pixel_size / edge
    found: dict[str, Any] = {}
    for name in classes:
        reference: Reference | None
        if name in settings.maps:
            reference = from_map(settings.maps[name], edge=edge, pixel_size=size, sign=sign)
        else:
            reference = from_labels(table, boxes, name, edge)
        if reference is not None:
            found[name] = {
                "title": reference.title,
                "volume": as_text(reference.volume),
                "isMap": name in settings.maps,
                "examples": [
                    {"id": label, "box": as_text(volume)}
                    for label, volume in zip(reference.names, reference.examples, strict=True)
                ],
            }
    return found
