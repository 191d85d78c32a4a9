"""Labelled particles held out of training, and the calibration that is learnt from them."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from halcmd.chance import keyed_uniform

# A class with fewer labels gives none away: one less of two is half of what is known of it.
_LABELS_TO_SPARE = 3
# Whole tomograms are held out where that comes so close to the share asked for.
_SHARE_SLACK = 0.5
# A handful of validation particles, all of them right, would ask for a temperature of zero.
_TEMPERATURES = (0.5, 5.0)


def hold_out(
    ids: NDArray[np.object_],
    *,
    labels: NDArray[np.object_],
    tomograms: NDArray[np.object_],
    fraction: float,
    seed: int,
) -> tuple[NDArray[np.bool_], str]:
    """Which labelled particles are for validation, and how they were chosen.

    Whole tomograms where every class keeps particles to train on, every class of three or more
    labels is held out once at least, and the share is within half of what was asked; else
    particles, the same share of each class, at least one of a class of three or more labels.

    Parameters
    ----------
    ids, labels, tomograms : ndarray of str, shape (n,)
        Of the labelled particles, in any order.
    fraction : float
        Share of them, 0 to 1.
    seed : int
        Chooses, with the ids and tomogram names alone.

    Returns
    -------
    ndarray, shape (n,), bool
        All False where labels are too few.
    str
        ``tomogram``, ``particle`` or ``none``.
    """
    if fraction > 0:
        held = _by_tomogram(labels, tomograms, fraction, seed)
        if held is not None:
            return held, "tomogram"
        held = _by_particle(ids, labels, fraction, seed)
        if held.any():
            return held, "particle"
    return np.zeros(len(ids), dtype=bool), "none"


def deal_folds(
    ids: NDArray[np.object_],
    *,
    labels: NDArray[np.object_],
    tomograms: NDArray[np.object_],
    count: int,
    seed: int,
) -> tuple[NDArray[np.intp], str]:
    """In which fold each labelled particle is held out, and how that was chosen.

    Whole tomograms where every class is held out in each fold and keeps particles to train on;
    else particles, those of each class dealt evenly. A class of fewer than three labels is never
    held out.

    Parameters
    ----------
    ids, labels, tomograms : ndarray of str, shape (n,)
        Of the labelled particles, in any order.
    count : int
        Folds.
    seed : int
        Deals, with the ids and tomogram names alone.

    Returns
    -------
    ndarray, shape (n,), int
        From 0; -1 = in no fold.
    str
        ``tomogram``, ``particle`` or ``none``.
    """
    names = np.unique(tomograms.astype(str))
    order = names[np.argsort(keyed_uniform(seed, "fold tomograms", names))]
    fold_of = {name: number % count for number, name in enumerate(order)}
    by_tomogram = np.array([fold_of[str(name)] for name in tomograms], dtype=np.intp)
    by_particle = np.full(len(ids), -1, dtype=np.intp)
    keys = keyed_uniform(seed, "folds", ids)
    dealt = 0
    for label in np.unique(labels.astype(str)):
        rows = np.flatnonzero(labels == label)
        if len(rows) >= _LABELS_TO_SPARE:
            # Classes go on where the one before stopped, so that folds are of one size.
            by_particle[rows[np.argsort(keys[rows])]] = (dealt + np.arange(len(rows))) % count
            dealt += len(rows)
        else:
            by_tomogram[rows] = -1
    spared = by_tomogram >= 0
    pairs = {*zip(labels[spared].astype(str), by_tomogram[spared], strict=True)}
    if spared.any() and len(pairs) == count * len(set(labels[spared].astype(str))):
        return by_tomogram, "tomogram"
    return by_particle, "particle" if (by_particle >= 0).any() else "none"


def temperature(logits: NDArray[np.floating], classes: NDArray[np.integer]) -> float:
    """The number that the logits are to be divided by for the likeliest probabilities.

    Parameters
    ----------
    logits : ndarray, shape (n, n_classes)
        Of particles that were not trained on.
    classes : ndarray, shape (n,), int
        The true class of each.

    Returns
    -------
    float
        Between 0.5 and 5; 1 where there is no particle.

    References
    ----------
    Guo et al. 2017 (1706.04599), temperature scaling.
    """
    if not len(logits):
        return 1.0
    wide = np.asarray(logits, dtype=np.float64)
    low, high = np.log(_TEMPERATURES)

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(wide / np.exp(log_temperature), classes)

    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-4})
    return round(float(np.exp(found.x)), 4)


def negative_log_likelihood(logits: NDArray[np.floating], classes: NDArray[np.integer]) -> float:
    """Mean of -log(probability of the true class), nats."""
    return float(-log_softmax(logits, axis=1)[np.arange(len(classes)), classes].mean())


def _by_tomogram(
    labels: NDArray[np.object_], tomograms: NDArray[np.object_], fraction: float, seed: int
) -> NDArray[np.bool_] | None:
    """Whole tomograms in random order, each taken if its classes can spare it."""
    names = np.unique(tomograms.astype(str))
    if len(names) < 2:
        return None
    classes, numbers, counts = np.unique(
        labels.astype(str), return_inverse=True, return_counts=True
    )
    wanted = fraction * len(labels)
    held = np.zeros(len(labels), dtype=bool)
    for name in names[np.argsort(keyed_uniform(seed, "validation tomograms", names))]:
        tried = held | (tomograms == name)
        left = counts - np.bincount(numbers[tried], minlength=len(classes))
        if tried.sum() <= (1 + _SHARE_SLACK) * wanted and (left > 0).all():
            held = tried
        if held.sum() >= wanted:
            break
    seen = np.bincount(numbers[held], minlength=len(classes)) > 0
    enough = held.sum() >= (1 - _SHARE_SLACK) * wanted
    return held if enough and seen[counts >= _LABELS_TO_SPARE].all() else None


def _by_particle(
    ids: NDArray[np.object_], labels: NDArray[np.object_], fraction: float, seed: int
) -> NDArray[np.bool_]:
    keys = keyed_uniform(seed, "validation", ids)
    held = np.zeros(len(ids), dtype=bool)
    for label in np.unique(labels.astype(str)):
        rows = np.flatnonzero(labels == label)
        if len(rows) >= _LABELS_TO_SPARE:
            count = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
            held[rows[np.argsort(keys[rows])[:count]]] = True
    return held
