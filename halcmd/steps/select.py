"""The particles of the classes wanted, as clean tables for RELION and Warp."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from halcmd.chance import keyed_uniform
from halcmd.console import log, planned
from halcmd.errors import InputError, did_you_mean
from halcmd.handoff.relion import with_singles
from halcmd.intake.labels import read_ids
from halcmd.particles import JUNK, NOT_TRAINED, UNLABELLED, Particles
from halcmd.relion_view import class_of, relion_particles, with_optics
from halcmd.subtomograms import open_boxes
from halcmd.tables import write_particles


@dataclass(frozen=True)
class Wanted:
    """Which particles to keep.

    Attributes
    ----------
    classes : tuple of str
        Empty = all but ``junk``.
    min_probability, min_margin : float
        Of predictions; labelled particles count as certain.
    min_distance : float
        Angstrom; of two particles nearer than that the likelier stays.
    exclude : Path or None
        A file with halParticleId.
    """

    classes: tuple[str, ...] = ()
    min_probability: float = 0.0
    min_margin: float = 0.0
    min_distance: float = 0.0
    exclude: Path | None = None


@dataclass(frozen=True)
class SelectResult:
    """What was kept."""

    particles: Particles
    read: int
    classes: dict[str, int]

    def summary(self) -> dict[str, object]:
        """What ``--json`` prints."""
        return {"read": self.read, "kept": len(self.particles), "classes": self.classes}


def select(
    particles: Particles,
    folder: Path,
    *,
    wanted: Wanted,
    by_class: bool = False,
    layout: str = "keep",
    optics: Mapping[str, str] | None = None,
    seed: int = 0,
) -> SelectResult:
    """The chosen rows with the input's own columns and blocks, and their RELION view.

    Parameters
    ----------
    particles : Particles
        Scored, or labelled.
    folder : Path
        Job folder: ``particles.star``, ``relion.star`` and, by class, ``Classes/<class>.star``.
    layout : str
        ``keep``, or ``single`` to write one .mrc per particle for RELION.
    optics : mapping of str to str, optional
        rlnVoltage (kV), rlnSphericalAberration (mm), ... where the input has none.

    Raises
    ------
    InputError
        There are no classes, one named is not there, or nothing is left.
    """
    if not particles.has("halPredictedClass") and not particles.is_answered.any():
        raise InputError(
            "neither labels nor predictions to select by",
            where=str(particles.path),
            hint="halcmd score, or halcmd label-import",
        )
    classes = class_of(particles)
    names = _names(classes, wanted, particles)
    keep = _keep(particles, classes, names, wanted)
    if wanted.min_distance:
        keep &= _without_near(particles, keep, wanted.min_distance, seed)
    rows = np.flatnonzero(keep)
    counts = {name: int((classes[rows] == name).sum()) for name in names}
    if not len(rows):
        raise InputError(
            "no particle is left",
            where=str(particles.path),
            found=", ".join(f"{name} {(classes == name).sum():,} before" for name in names),
            hint=_easier(wanted),
        )
    chosen = with_optics(particles.take(rows), optics or {})
    boxes = open_boxes(chosen) if layout == "single" else None
    planned(
        f"read {len(particles):,}  kept {len(rows):,}  "
        + "  ".join(f"{name} {count:,}" for name, count in counts.items())
    )
    if boxes is not None:
        chosen = with_singles(chosen, boxes, folder)
    write_particles(folder / "particles.star", chosen)
    view = relion_particles(chosen, assume_optics=True)
    write_particles(folder / "relion.star", view)
    if by_class:
        _write_classes(view, class_of(chosen), counts, folder)
    return SelectResult(chosen, len(particles), counts)


def _names(classes: np.ndarray, wanted: Wanted, particles: Particles) -> list[str]:
    there = sorted(set(classes) - {"none", UNLABELLED, *NOT_TRAINED})
    known = sorted({*there, *particles.class_numbers()})
    for name in wanted.classes:
        if name not in known:
            raise InputError(
                f"no class {name}",
                where=str(particles.path),
                hint=f"--class {' --class '.join(name.split(','))}"
                if "," in name
                else did_you_mean(name, known),
            )
    return list(dict.fromkeys(wanted.classes)) or [name for name in there if name != JUNK]


def _easier(wanted: Wanted) -> str:
    """What to ask less of, of what was asked."""
    asked = {
        "a lower --min-probability": wanted.min_probability > 0,
        "a lower --min-margin": wanted.min_margin > 0,
        "fewer particles in --exclude": wanted.exclude is not None,
    }
    return ", ".join([*(words for words, is_asked in asked.items() if is_asked), "other classes"])


def _keep(
    particles: Particles, classes: np.ndarray, names: list[str], wanted: Wanted
) -> np.ndarray:
    """Rows of the classes that are sure enough, shape (n,), bool."""
    keep = np.isin(classes.astype(str), names)
    sure = particles.is_answered
    if wanted.min_probability > 0:
        keep &= sure | (particles.number("halProbability") >= wanted.min_probability)
    if wanted.min_margin > 0:
        keep &= sure | (particles.number("halMargin") >= wanted.min_margin)
    if wanted.exclude is not None:
        excluded = read_ids(wanted.exclude)
        keep &= ~np.array([name in excluded for name in particles.ids])
    return np.asarray(keep)


def _without_near(particles: Particles, keep: np.ndarray, distance: float, seed: int) -> np.ndarray:
    """False for kept rows that lie nearer than the distance to a likelier kept one."""
    positions = particles.positions
    if not np.isfinite(positions[keep]).all():
        raise InputError(
            "--min-distance needs positions",
            where=str(particles.path),
            found="halPositionXAngst is missing or nan",
            hint="halcmd extract writes them",
        )
    certainty = np.where(particles.is_answered, 2.0, particles.number("halProbability", 0.0))
    keys = keyed_uniform(seed, "select near", particles.ids)
    stays = keep.copy()
    for name in dict.fromkeys(particles.tomograms):
        rows = np.flatnonzero(keep & (particles.tomograms == name))
        if not len(rows):
            continue
        tree = cKDTree(positions[rows])
        for place in np.lexsort((keys[rows], -certainty[rows])):
            if stays[rows[place]]:
                near = tree.query_ball_point(positions[rows[place]], np.nextafter(distance, 0))
                stays[rows[[other for other in near if other != place]]] = False
    log.info(f"{keep.sum() - stays.sum():,} particles lie within {distance:g} A of a likelier one")
    return stays


def _write_classes(
    view: Particles, classes: np.ndarray, counts: dict[str, int], folder: Path
) -> None:
    for name, count in counts.items():
        if count:
            rows = np.flatnonzero(classes == name)
            write_particles(folder / "Classes" / f"{name}.star", view.take(rows))
