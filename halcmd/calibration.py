"""Whether probabilities mean what they say: confidence against accuracy, bin by bin."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CALIBRATION_BINS = 15

_Z = 1.959964  # 95 % of a normal distribution lie within so many standard deviations


def calibration_error(confidence: Floats, right: NDArray[np.bool_]) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over 15 equal bins.

    Parameters
    ----------
    confidence : ndarray, shape (n,), float64
        Probability of the predicted class.
    right : ndarray, shape (n,), bool
        Whether it is the true one.

    Returns
    -------
    float
        NaN where a confidence is not known.

    References
    ----------
    Guo et al. 2017 (1706.04599): 15 bins of equal width on (0, 1], weighted by their counts.
    """
    return float(calibration_errors(confidence, right, np.ones((1, len(confidence))))[0])


def calibration_errors(
    confidence: Floats, right: NDArray[np.bool_], weights: NDArray[np.generic]
) -> Floats:
    """``calibration_error`` of resampled particles, shape (n_resamples,), float64.

    Parameters
    ----------
    confidence, right : ndarray, shape (n,)
        As there.
    weights : ndarray, shape (n_resamples, n)
        How often each particle counts.
    """
    if not len(confidence) or np.isnan(confidence).any():
        return np.full(len(weights), np.nan)
    gaps = np.zeros((len(confidence), CALIBRATION_BINS))
    gaps[np.arange(len(confidence)), _bins(confidence)] = confidence - right
    times = np.asarray(weights, dtype=np.float64)
    return np.asarray(np.abs(times @ gaps).sum(axis=1) / times.sum(axis=1))


def reliability(confidence: Floats, right: NDArray[np.bool_]) -> dict[str, Floats]:
    """The columns of a reliability diagram, one row per bin of ``calibration_error``.

    Parameters
    ----------
    confidence : ndarray, shape (n,), float64
        Probability of the predicted class, known for all.
    right : ndarray, shape (n,), bool
        Whether it is the true one.

    Returns
    -------
    dict of str to ndarray, shape (15,), float64
        ``count``; mean ``confidence``; ``accuracy`` with its 95 % interval, ``low`` to ``high``.
        NaN in bins without particles.
    """
    bins = _bins(confidence)
    each = np.ones(len(bins)), confidence, right
    count, total, hits = (_sums(bins, weights) for weights in each)
    known = np.where(count > 0, count, np.nan)
    low, high = wilson(hits, known)
    return {
        "count": count,
        "confidence": total / known,
        "accuracy": hits / known,
        "low": low,
        "high": high,
    }


def wilson(hits: Floats, count: Floats) -> tuple[Floats, Floats]:
    """Lower and upper end of the 95 % interval of a share, after Wilson 1927.

    Parameters
    ----------
    hits, count : ndarray of float64
        So many of so many.
    """
    middle = (hits + _Z**2 / 2) / (count + _Z**2)
    half = _Z * np.sqrt(hits * (count - hits) / count + _Z**2 / 4) / (count + _Z**2)
    return middle - half, middle + half


def _bins(confidence: Floats) -> NDArray[np.intp]:
    """The bin of each: the first is (0, 1/15]."""
    places = np.ceil(confidence * CALIBRATION_BINS).astype(np.intp) - 1
    return np.clip(places, 0, CALIBRATION_BINS - 1)


def _sums(bins: NDArray[np.intp], weights: NDArray[np.generic]) -> Floats:
    """Sum of the weights in each bin."""
    return np.bincount(bins, weights=weights, minlength=CALIBRATION_BINS).astype(np.float64)
