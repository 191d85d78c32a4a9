"""How good predictions are: numbers from confusion matrices and probabilities, with intervals.

A confusion matrix counts true class (row) by predicted class (column). The functions of it take
any leading axes, shape (..., n_classes, n_classes): a thousand resampled matrices cost one call.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from halcmd.assessment.ranking import average_precisions
from halcmd.assessment.resampling import Counts, Floats, drawn_matrices, drawn_particles, tails
from halcmd.calibration import calibration_errors
from halcmd.console import progress

Metric = Callable[[Counts], Floats]

LEAST_TOMOGRAMS = 5  # fewer cannot be resampled in a way that says anything
_LONG = 2 * 10**8  # particles x classes x resamples: some ten seconds


@dataclass(frozen=True)
class Interval:
    """Numbers with their 95 % bootstrap percentile intervals; NaN where it cannot be told.

    Each a scalar array, or one of shape (n_classes,) for a metric of each class.
    """

    value: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Assessment:
    """How good the predictions are of particles whose class is known.

    Attributes
    ----------
    classes : tuple of str
        The model's classes, then those that only the truth has.
    counts : ndarray, shape (n_tomograms, n_classes, n_classes), int64
        Confusion matrix of each tomogram.
    overall : dict of str to Interval
        ``accuracy``, ``balanced_accuracy``, ``macro_f1``.
    per_class : dict of str to Interval
        ``precision``, ``recall``, ``f1``, each of shape (n_classes,).
    average_precision : Interval
        Shape (n_classes,); NaN for classes without probabilities or without particles.
    mean_average_precision : Interval
        Over the classes that have one.
    calibration_error : Interval
        NaN without probabilities.
    resampled_by : str
        ``tomogram`` or ``particle``: what the intervals draw.
    class_resampled_by : tuple of str
        The same for each class: ``particle`` where fewer than 5 tomograms hold it.
    resamples : int
        How often; 0 = no intervals.
    """

    classes: tuple[str, ...]
    counts: Counts
    overall: dict[str, Interval]
    per_class: dict[str, Interval]
    average_precision: Interval
    mean_average_precision: Interval
    calibration_error: Interval
    resampled_by: str
    class_resampled_by: tuple[str, ...]
    resamples: int

    @property
    def confusion(self) -> Counts:
        """True class by predicted class over all tomograms, shape (n_classes, n_classes)."""
        return np.asarray(self.counts.sum(axis=0))

    @property
    def support(self) -> Counts:
        """Particles of each true class, shape (n_classes,)."""
        return np.asarray(self.confusion.sum(axis=1))


def assess(
    true: NDArray[np.intp],
    predicted: NDArray[np.intp],
    tomogram: NDArray[np.intp],
    *,
    classes: tuple[str, ...],
    probabilities: Floats,
    resamples: int,
    rng: np.random.Generator,
) -> Assessment:
    """All metrics of predictions whose truth is known, with intervals.

    Parameters
    ----------
    true, predicted, tomogram : ndarray, shape (n,), int
        Class numbers and tomogram number of each particle, from 0.
    classes : tuple of str
        Names of the classes.
    probabilities : ndarray, shape (n, n_classes), float64
        NaN in columns of classes that the model does not know.
    resamples : int
        Bootstrap resamples; 0 = no intervals.
    rng : numpy.random.Generator
        Draws the resamples: of tomograms where there are at least 5 (for a class, that hold it),
        else of particles.
    """
    n, tomograms = len(classes), int(tomogram.max()) + 1
    cell = (tomogram * n + true) * n + predicted
    counts = np.bincount(cell, minlength=tomograms * n * n).reshape(tomograms, n, n)
    is_enough = tomograms >= LEAST_TOMOGRAMS
    units = counts if is_enough else counts.sum(axis=0, keepdims=True)
    found = intervals(OVERALL | PER_CLASS, units, resamples, rng)
    draws = drawn_particles(tomogram if is_enough else None, len(true), resamples, rng)
    if len(true) * n * resamples > _LONG:
        draws = _shown(draws, resamples)
    precisions, mean, error = _of_probabilities(probabilities, true, predicted, draws)
    holding = (counts.sum(axis=2) > 0).sum(axis=0)
    is_in_few = is_enough & (holding > 0) & (holding < LEAST_TOMOGRAMS)
    if is_in_few.any():  # else a class of one tomogram would have an interval without width
        others = intervals(PER_CLASS, counts.sum(axis=0, keepdims=True), resamples, rng)
        found |= {name: _where(is_in_few, others[name], found[name]) for name in PER_CLASS}
        draws = drawn_particles(None, len(true), resamples, rng)
        again = _precisions(probabilities, true, np.flatnonzero(is_in_few), draws)
        precisions = _where(is_in_few, again, precisions)
    by = np.where(is_in_few | (not is_enough), "particle", "tomogram")
    return Assessment(
        classes=classes,
        counts=counts,
        overall={name: found[name] for name in OVERALL},
        per_class={name: found[name] for name in PER_CLASS},
        average_precision=precisions,
        mean_average_precision=mean,
        calibration_error=error,
        resampled_by="tomogram" if is_enough else "particle",
        class_resampled_by=tuple(by.tolist()),
        resamples=resamples,
    )


def _shown(draws: Iterator[NDArray[np.int64]], resamples: int) -> Iterator[NDArray[np.int64]]:
    """The same, with a display of how many are done."""
    with progress("intervals", resamples, "resamples") as advance:
        for draw in draws:
            yield draw
            advance(len(draw))


def _where(is_first: NDArray[np.bool_], first: Interval, second: Interval) -> Interval:
    """Of each class, one of two intervals."""
    return Interval(
        second.value,
        np.where(is_first, first.low, second.low),
        np.where(is_first, first.high, second.high),
    )


def confusion_matrix(true: NDArray[np.intp], predicted: NDArray[np.intp], classes: int) -> Counts:
    """Counts of true by predicted class, shape (classes, classes), int64.

    Parameters
    ----------
    true, predicted : ndarray, shape (n,), int
        Class numbers from 0.
    classes : int
        How many classes there are.
    """
    counts = np.bincount(true * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def accuracy(counts: Counts) -> Floats:
    """Share of the particles that are predicted right; NaN where there are none."""
    right = np.trace(counts, axis1=-2, axis2=-1)
    return _share(right, counts.sum(axis=(-2, -1)))


def recall(counts: Counts) -> Floats:
    """Share of each true class that is found, shape (..., n_classes); NaN where it is absent."""
    return _share(_diagonal(counts), counts.sum(axis=-1))


def precision(counts: Counts) -> Floats:
    """Share of each predicted class that is right; NaN where it is never predicted."""
    return _share(_diagonal(counts), counts.sum(axis=-2))


def f1(counts: Counts) -> Floats:
    """Harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN), of each class."""
    return _share(2 * _diagonal(counts), counts.sum(axis=-1) + counts.sum(axis=-2))


def balanced_accuracy(counts: Counts) -> Floats:
    """Mean recall over the classes that occur."""
    return _mean_known(recall(counts))


def macro_f1(counts: Counts) -> Floats:
    """Mean F1 over the classes that occur or are predicted."""
    return _mean_known(f1(counts))


OVERALL: dict[str, Metric] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
}
PER_CLASS: dict[str, Metric] = {"precision": precision, "recall": recall, "f1": f1}


def intervals(
    metrics: Mapping[str, Metric], units: Counts, resamples: int, rng: np.random.Generator
) -> dict[str, Interval]:
    """Each metric with a bootstrap percentile interval.

    Parameters
    ----------
    metrics : mapping of str to callable
        Name -> function of confusion matrices, giving one number for each, or one per class.
    units : ndarray, shape (n_units, n_classes, n_classes), int
        Matrices of the units that are drawn with replacement, such as tomograms: particles of one
        tomogram share its thickness, defocus and alignment, so they are no independent evidence.
        One unit alone means that its particles are drawn.
    resamples : int
        How many; 0 = no intervals.
    rng : numpy.random.Generator

    Returns
    -------
    dict of str to Interval

    Notes
    -----
    Drawing n particles with replacement and counting is drawing the counts from a multinomial with
    the observed shares, so no particle is ever touched. A mean over classes is over those that a
    resample has: to keep only resamples with all of them makes intervals still narrower.
    """
    total = units.sum(axis=0)
    drawn = drawn_matrices(units, resamples, rng)
    return {
        name: Interval(metric(total), *tails(metric(drawn))) for name, metric in metrics.items()
    }


def kappa(counts: Counts) -> Floats:
    """Agreement of two classifications beyond chance: 1 = full, 0 = as by chance.

    NaN where both put all particles in one class, or there are none.

    References
    ----------
    Cohen 1960, Educational and Psychological Measurement 20, 37.
    """
    total = counts.sum(axis=(-2, -1))
    by_chance = (counts.sum(axis=-1) * _share(counts.sum(axis=-2), total[..., None])).sum(axis=-1)
    return _share(np.trace(counts, axis1=-2, axis2=-1) - by_chance, total - by_chance)


def _of_probabilities(
    probabilities: Floats,
    true: NDArray[np.intp],
    predicted: NDArray[np.intp],
    draws: Iterator[NDArray[np.int64]],
) -> tuple[Interval, Interval, Interval]:
    """Average precision of each class, its mean, calibration error; resampled as drawn."""
    confidence, right = probabilities[np.arange(len(true)), predicted], true == predicted

    def measured(weights: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
        each = [
            average_precisions(scores, true == number, weights)
            for number, scores in enumerate(probabilities.T)
        ]
        precisions = np.stack(each, axis=1)
        return precisions, _mean_known(precisions), calibration_errors(confidence, right, weights)

    whole = measured(np.ones((1, len(true)), dtype=np.int64))
    parts = [[values[:0] for values in whole], *map(measured, draws)]
    resampled = (np.concatenate(part) for part in zip(*parts, strict=True))
    precisions, mean, error = (
        Interval(value[0], *tails(values)) for value, values in zip(whole, resampled, strict=True)
    )
    return precisions, mean, _reflected(error)


def _precisions(
    probabilities: Floats,
    true: NDArray[np.intp],
    classes: NDArray[np.intp],
    draws: Iterator[NDArray[np.int64]],
) -> Interval:
    """Average precision of some classes, resampled as drawn; NaN for the others."""
    low, high = np.full((2, probabilities.shape[1]), np.nan)
    parts = [
        np.stack([average_precisions(probabilities[:, n], true == n, w) for n in classes], axis=1)
        for w in draws
    ]
    if parts:
        low[classes], high[classes] = tails(np.concatenate(parts))
    return Interval(low, low, high)


def _reflected(it: Interval) -> Interval:
    """The basic bootstrap interval of an error, from its percentiles.

    Resampling adds noise to each bin, so that resampled calibration errors are too large, by about
    as much as the error itself is (Davison and Hinkley 1997, section 5.2.1).
    """
    low, high = 2 * it.value - it.high, 2 * it.value - it.low
    return Interval(it.value, np.clip(low, 0.0, it.value), np.maximum(high, it.value))


def _diagonal(counts: Counts) -> Counts:
    return np.asarray(np.diagonal(counts, axis1=-2, axis2=-1))


def _share(part: Counts, whole: Counts) -> Floats:
    """Part over whole, NaN where the whole is 0."""
    share: Floats = np.full(np.shape(part), np.nan)
    np.divide(part, whole, out=share, where=np.asarray(whole) > 0)
    return share


def _mean_known(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN; NaN where nothing is known."""
    known = ~np.isnan(values)
    return _share(np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1))
