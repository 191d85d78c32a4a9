"""A classifier fitted to all labelled particles and calibrated on folds of them.

Where labels are few, a fifth held out is a fifth of what is known: with 56 labels the accuracy was
0.74 with a split and 0.83 without (14 classes, 24^3, SNR 0.05).
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from halcmd.console import log
from halcmd.training.loop import Checkpoint, Examples, Fit
from halcmd.training.recipes import Recipe
from halcmd.training.run import Rows
from halcmd.training.validation import temperature

NOTHING = Examples(np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp))

FitOne = Callable[[Examples, Examples, Recipe, Checkpoint | None], Fit]
"""Fits a new network, from (training, validation, recipe, checkpoint)."""


def fold_checkpoint(checkpoint: Checkpoint, number: int) -> Checkpoint:
    """Where the state of a fold, counted from 0, is kept: ``checkpoint-fold1.pt`` and so on."""
    path = checkpoint.path
    name = f"{path.stem}-fold{number + 1}{path.suffix}"
    return replace(checkpoint, path=path.with_name(name))


def fit_on_folds(
    fit_one: FitOne,
    examples: Examples,
    held_in: Rows,
    recipe: Recipe,
    checkpoint: Checkpoint | None,
) -> Fit:
    """The fit to all examples, with logits, temperature and curves from folds held out.

    Parameters
    ----------
    fit_one : function
        Fits a new network.
    examples : Examples
        All labelled particles.
    held_in : ndarray, shape (n,), int
        The fold in which each is held out; -1 = in none.
    recipe : Recipe
        Of every fit; all take all their steps, so that the folds tell of the network that is kept.
        Those on folds do without unlabelled particles, which would take three times as long: the
        temperature hardly changes (56 labels, SNR 0.1: 0.67 from the folds, 0.65 would be best for
        the network that is kept; calibration error 0.014 and 0.012, and 0.071 without).
    checkpoint : Checkpoint, optional
        Of the last fit; each fold has one beside it.

    Returns
    -------
    Fit
        ``validation_logits`` are those of the examples with ``held_in >= 0``, in their order.
    """
    recipe = replace(recipe, best_by="last", patience=0)
    on_folds = replace(recipe, consistency=None)
    numbers = range(int(held_in.max()) + 1)
    parts = []
    for number in numbers:
        held = held_in == number
        log.info(f"fold {number + 1} of {len(numbers)}: {held.sum():,} particles held out")
        kept = fold_checkpoint(checkpoint, number) if checkpoint else None
        part = fit_one(examples.where(~held), examples.where(held), on_folds, kept)
        parts.append(part)
    log.info("all labelled particles")
    done = fit_one(examples, NOTHING, recipe, checkpoint)
    logits = np.empty((len(examples), parts[0].validation_logits.shape[1]), dtype=np.float32)
    for number, part in zip(numbers, parts, strict=True):
        logits[held_in == number] = part.validation_logits
    logits = logits[held_in >= 0]
    return replace(
        done,
        history=done.history | _mean_curves(parts),
        validation_logits=logits,
        temperature=temperature(logits, examples.where(held_in >= 0).classes),
    )


def _mean_curves(parts: list[Fit]) -> dict[str, list[float]]:
    """Validation curves averaged over the folds."""
    return {
        name: [float(value) for value in np.mean([part.history[name] for part in parts], axis=0)]
        for name in ("validation_loss", "validation_accuracy")
    }
