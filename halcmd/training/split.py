"""Which labelled particles are trained on and which are held out: one split, folds, or none."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from halcmd.console import log
from halcmd.particles import Particles
from halcmd.training.loop import Examples
from halcmd.training.recipes import folds
from halcmd.training.validation import deal_folds, hold_out

_DEFAULT_SHARE = 0.2


@dataclass(frozen=True)
class Split:
    """Labelled particles, and what of them is held out.

    Attributes
    ----------
    examples : Examples
        All labelled particles.
    held_in : ndarray, shape (n,), int
        The fold in which each is held out, from 0; -1 = in none. Without folds, 0 = for validation.
    n_folds : int
        0 = one split.
    """

    examples: Examples
    held_in: NDArray[np.intp]
    n_folds: int

    @property
    def training(self) -> Examples:
        """What the network that is kept is trained on: with folds, all."""
        return self.examples if self.n_folds else self.examples.where(self.held_in < 0)

    @property
    def validation(self) -> Examples:
        """What is held out at some time."""
        return self.examples.where(self.held_in >= 0)


def split_for(
    particles: Particles,
    rows: NDArray[np.intp],
    classes: dict[str, int],
    *,
    preset: str,
    share: float | None,
    n_folds: int | None = None,
    seed: int,
) -> Split:
    """The split of labelled particles that a preset makes.

    Parameters
    ----------
    particles : Particles
        With halLabel.
    rows : ndarray of int
        Labelled rows that may be trained on.
    classes : dict of str to int
        Class names in the order of the logits.
    preset : str
        ``default``, ``paper`` or ``code``.
    share : float, optional
        To be held out; 0 = none. Default: a fifth, or a third in turn where labels are few.
    n_folds : int, optional
        Parts to be held out in turn, however many labels there are; ``share`` has no say then.
    seed : int
        Chooses, with ids and tomogram names.
    """
    labels = particles.labels[rows]
    place = {name: number for number, name in enumerate(classes)}
    examples = Examples(rows, np.array([place[label] for label in labels], dtype=np.intp))
    ids, tomograms = particles.ids[rows], particles.tomograms[rows]
    held_in, by, count = np.full(len(rows), -1, dtype=np.intp), "none", 0
    if share != 0:
        count = n_folds or folds(preset, len(rows), share)
        if count:
            held_in, by = deal_folds(
                ids, labels=labels, tomograms=tomograms, count=count, seed=seed
            )
        else:
            held, by = hold_out(
                ids,
                labels=labels,
                tomograms=tomograms,
                fraction=share or _DEFAULT_SHARE,
                seed=seed,
            )
            held_in[held] = 0
    if by == "none":
        log.info(
            "validation: none"
            + (" (too few labels)" if share != 0 else "")
            + ": all labelled particles are trained on for a fixed number of steps, and "
            "probabilities are not calibrated"
        )
        return Split(examples, held_in, 0)
    held = held_in >= 0
    how = f"in {count} folds, by {by}; then all are trained on" if count else f"by {by}"
    log.info(f"validation: {held.sum():,} of {len(rows):,} labelled particles, {how}")
    return Split(examples, held_in, count)
