"""What the table says of particles: their predictions, and the classes of the answers."""

import numpy as np
from numpy.typing import NDArray

from halcmd.console import log
from halcmd.errors import InputError, first_few
from halcmd.particles import Particles
from halcmd.predictions import PROBABILITY

Rows = NDArray[np.intp]


def what_is_there(particles: Particles) -> frozenset[str]:
    """What a strategy may take if it is there."""
    is_scored = any(name.startswith(PROBABILITY) for name in particles.table.labels)
    return frozenset({"probabilities"} if is_scored else ())


def probabilities_of(
    particles: Particles, candidates: Rows, strategy: str, needs: frozenset[str]
) -> NDArray[np.float64] | None:
    """Class probabilities of the candidates, one model's, or None where none are needed."""
    if "probabilities" not in needs:
        return None
    columns = _columns(particles)
    if not columns:
        raise InputError(
            f"strategy {strategy} needs a scored table",
            where=str(particles.path),
            found="no column halProbability_CLASS",
            hint="halcmd score first, and give its particles.star; for the first labels:"
            " --strategy typiclust, with a pretrained network, or random",
        )
    models = sorted(set(particles.text("halModel", "none")[candidates]) - {"none"})
    if len(models) > 1:
        raise InputError(
            "the particles were scored by different models",
            where=str(particles.path),
            found=f"halModel {first_few(models)}",
            hint="score all of them with one model",
        )
    values = np.stack([particles.number(name)[candidates] for name in columns], axis=1)
    blank = np.isnan(values).any(axis=1)
    if blank.any():
        raise InputError(
            "particles of the pool have no predictions",
            where=str(particles.path),
            found=first_few(particles.ids[candidates[blank]]),
            hint="score the whole table",
        )
    _warn_if_stale(particles, {name.removeprefix(PROBABILITY) for name in columns})
    return values


def _columns(particles: Particles) -> list[str]:
    return [name for name in particles.table.labels if name.startswith(PROBABILITY)]


def labels_of(particles: Particles, answered: Rows) -> Rows:
    """Place of each answer among the predicted classes (without any: among the labels); else -1."""
    labels = particles.labels[answered]
    names = [name.removeprefix(PROBABILITY) for name in _columns(particles)]
    names = names or sorted(set(particles.labels[answered[particles.is_trainable[answered]]]))
    place = {name: number for number, name in enumerate(names)}
    return np.array([place.get(label, -1) for label in labels], dtype=np.intp)


def answered_probabilities(
    particles: Particles, answered: Rows, needs: frozenset[str]
) -> NDArray[np.float64] | None:
    """Class probabilities of the answered rows, or None where none are needed."""
    if "answered_probabilities" not in needs:
        return None
    columns = _columns(particles)
    values = np.stack([particles.number(name)[answered] for name in columns], axis=1)
    blank = np.isnan(values).any(axis=1)
    if blank.any():
        raise InputError(
            "labelled particles have no predictions",
            where=str(particles.path),
            found=first_few(particles.ids[answered[blank]]),
            hint="halcmd score --only all",
        )
    return values


def _warn_if_stale(particles: Particles, classes: set[str]) -> None:
    """Warn where labels have come that the predictions cannot know of."""
    history = particles.star.table("hal_history")
    steps = history.column("halStep") if history is not None else []
    last = {step: place for place, step in enumerate(steps)}
    if "score" in last and last.get("label-import", -1) > last["score"]:
        log.warning("labels were imported after these predictions: train and score again")
    new = set(particles.labels[particles.is_trainable & ~particles.is_test]) - classes
    if new:
        log.warning(
            f"the model does not know the labelled class {', '.join(sorted(new))}:"
            " train and score again"
        )
