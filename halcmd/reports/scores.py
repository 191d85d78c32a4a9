"""What score shows: a map of the embeddings, the most and the least certain particles, a report."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halcmd import __version__
from halcmd.console import log
from halcmd.formats.features import open_features
from halcmd.formats.particle_plots import Slices, plot_map, plot_slices
from halcmd.formats.report import Listing, Picture, write_report
from halcmd.networks.classifier import LoadedModel
from halcmd.particles import UNLABELLED, Particles
from halcmd.reports.choice import extremes, for_map
from halcmd.reports.projection import on_a_plane
from halcmd.reports.slices import middle_planes
from halcmd.reports.wording import about_boxes, plural
from halcmd.subtomograms import Boxes

_POINTS = 2000
_SHOWN, _MOST_SHOWN = 12, 24
_CLEAR = 0.8
_METHODS = {
    "t-SNE": "t-SNE of the embedding, in which neighbours count and wide distances say little",
    "principal component": "the first two principal components of the embedding",
}

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class _Scored:
    """The particles that were scored, row by row of embedding.npy."""

    ids: NDArray[np.bytes_]
    labels: NDArray[np.object_]
    probabilities: Floats
    unfamiliar: Floats
    classes: list[str]

    @cached_property
    def names(self) -> list[str]:
        """The classes, then what else particles are labelled."""
        return [*self.classes, *sorted(set(self.labels) - {*self.classes, UNLABELLED})]

    @cached_property
    def predicted(self) -> Rows:
        """Place of the likeliest class."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @cached_property
    def confidence(self) -> Floats:
        """Its probability."""
        return np.asarray(self.probabilities.max(axis=1))


def write_score_report(
    folder: Path,
    particles: Particles,
    rows: Rows,
    probabilities: Floats,
    *,
    unfamiliar: Floats | None = None,
    boxes: Boxes,
    models: Mapping[Path, LoadedModel],
    seed: int,
) -> None:
    """Write embedding.png, report.html and, where there are classes, particles.png.

    Parameters
    ----------
    folder : Path
        Job folder, with embedding.npy.
    particles : Particles
        The table.
    rows : ndarray, shape (n,), int
        Rows of it that were scored, in the order of embedding.npy.
    probabilities : ndarray, shape (n, n_classes), float64
        Of these rows.
    unfamiliar : ndarray, shape (n,), float64, optional
        halUnfamiliar of these rows.
    boxes : Boxes
        Of the table.
    models : mapping of Path to LoadedModel
        By file; of the first are the classes and the embedding.
    seed : int
        Chooses the particles on the map.
    """
    scored = _Scored(
        _short_ids(particles)[rows],
        particles.labels[rows],
        probabilities,
        np.full(len(rows), np.nan) if unfamiliar is None else unfamiliar,
        list(next(iter(models.values())).info.classes),
    )
    pictures, listings = [_map(folder, scored, seed)], []
    if scored.classes:
        shown = max(_SHOWN, min(len(scored.classes), _MOST_SHOWN))
        most, least = extremes(scored.ids, probabilities, shown)
        groups = {"Most certain, the predicted classes in turn": most, "Least certain": least}
        strangers = _least_familiar(scored, shown)
        if len(strangers):
            groups["Least familiar, perhaps of no known class"] = strangers
        pictures.append(_sheet(folder, scored, groups, boxes, rows))
        listings = [_classes(scored), *(_listing(scored, *group) for group in groups.items())]
    write_report(
        folder / "report.html",
        title="Scores" if scored.classes else "Embeddings",
        summary=_summary(scored),
        facts=_facts(particles, scored, models),
        pictures=pictures,
        listings=listings,
        provenance={"halcmd": __version__, "seed": str(seed)},
    )


def _short_ids(particles: Particles) -> NDArray[np.bytes_]:
    """HalParticleId of every row as UTF-8: a fifth of the memory of as many Python texts."""
    name = "halParticleId"
    width = max((len(text.encode()) for text in particles.each(name)), default=1)
    texts = (text.encode() for text in particles.each(name))
    return np.fromiter(texts, dtype=f"S{width}", count=len(particles))


def _least_familiar(scored: _Scored, count: int) -> Rows:
    """The unlabelled particles of largest halUnfamiliar, which are least like labelled ones."""
    rows = np.flatnonzero((scored.labels == UNLABELLED) & np.isfinite(scored.unfamiliar))
    order = np.lexsort((scored.ids[rows], -scored.unfamiliar[rows]))
    return np.asarray(rows[order[:count]])


def _map(folder: Path, scored: _Scored, seed: int) -> Picture:
    shown = for_map(map(bytes.decode, scored.ids), scored.labels != UNLABELLED, _POINTS, seed)
    log.info(f"report: a map of {plural(len(shown), 'particle')} (--no-report leaves it out)")
    points, method = on_a_plane(open_features(folder / "embedding.npy")[shown], seed)
    places = {name: place for place, name in enumerate(scored.names)}
    panels = {"label": np.array([places.get(label, -1) for label in scored.labels[shown]])}
    if scored.classes:
        panels["predicted class"] = scored.predicted[shown]
    path = folder / "embedding.png"
    plot_map(path, points, panels, names=scored.names, rest=UNLABELLED, axis=method)
    which = "All particles"
    if len(shown) < len(scored.ids):
        which = f"{len(shown):,} of {len(scored.ids):,} particles, labelled ones first"
    return Picture(
        path,
        "Map of the particles",
        "Particles that the network finds alike lie together: classes that overlap are hard for it "
        "to tell apart, and a grey cloud without a colour in it is worth a few labels. "
        f"{which}; {_METHODS[method]}.",
    )


def _sheet(
    folder: Path, scored: _Scored, groups: Mapping[str, Rows], boxes: Boxes, rows: Rows
) -> Picture:
    path = folder / "particles.png"
    edge = boxes.box * boxes.pixel_size / 10
    slices = [
        Slices(title, middle_planes(boxes, rows[chosen]), [_caption(scored, row) for row in chosen])
        for title, chosen in groups.items()
    ]
    plot_slices(path, slices, pixel_size=boxes.pixel_size)
    return Picture(
        path,
        "The most and the least certain particles",
        "The middle slices xy, xz and yz of each box, smoothed a little, with its name, its "
        "predicted class and probability, and the label where it has one: the most certain ones "
        "should look like their class, the least certain ones are what the classifier cannot tell, "
        "and the least familiar ones are unlike all labelled particles. Each box is "
        f"{boxes.box} px, {edge:.1f} nm, wide.",
    )


def _caption(scored: _Scored, row: np.intp) -> tuple[str, str]:
    label = scored.labels[row]
    known = "" if label == UNLABELLED else f", labelled {label}"
    guess = f"{scored.classes[scored.predicted[row]]} {scored.confidence[row]:.2f}"
    return scored.ids[row].decode(), guess + known


def _summary(scored: _Scored) -> str:
    count = plural(len(scored.ids), "particle")
    if not scored.classes:
        return f"The embeddings of {count}; the model has no classes."
    return f"{count}, sorted into {plural(len(scored.classes), 'class', 'classes')}."


def _facts(
    particles: Particles, scored: _Scored, models: Mapping[Path, LoadedModel]
) -> dict[str, str]:
    info = next(iter(models.values())).info
    answered = int((scored.labels != UNLABELLED).sum())
    facts = {
        "particles": f"{len(scored.ids):,} of {len(particles):,} scored, {answered:,} of them "
        "labelled",
        "table": str(particles.path or "none"),
        "model" if len(models) == 1 else "models": ", ".join(
            f"{path} ({model.hash})" for path, model in models.items()
        ),
        "network": info.network,
        "boxes": about_boxes(info.box, info.pixel_size, info.contrast),
    }
    if scored.classes:
        clear = scored.confidence >= _CLEAR
        facts["clear"] = (
            f"{clear.sum():,} particles ({100 * clear.mean():.0f} %) have a class at a probability "
            f"of {_CLEAR:g} or more"
        )
    return facts


def _classes(scored: _Scored) -> Listing:
    """Particles of each class, by label, by prediction and by clear prediction."""
    predicted, clear = (
        np.bincount(places, minlength=len(scored.classes))
        for places in (scored.predicted, scored.predicted[scored.confidence >= _CLEAR])
    )
    rows = []
    for place, name in enumerate(scored.names):
        labelled = f"{(scored.labels == name).sum():,}"
        is_class = place < len(scored.classes)
        found = (predicted[place], clear[place]) if is_class else (0, 0)
        rows.append((name, labelled, *(f"{count:,}" for count in found)))
    return Listing("Classes", ("class", "labelled", "predicted", f"at {_CLEAR:g} or more"), rows)


def _listing(scored: _Scored, title: str, chosen: Rows) -> Listing:
    rows = [
        (
            scored.ids[row].decode(),
            scored.classes[scored.predicted[row]],
            f"{scored.confidence[row]:.3f}",
            f"{scored.unfamiliar[row]:.2f}",
            str(scored.labels[row]),
        )
        for row in chosen
    ]
    names = ("halParticleId", "predicted class", "probability", "halUnfamiliar", "label")
    return Listing(title, names, rows)
