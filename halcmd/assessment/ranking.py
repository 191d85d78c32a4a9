"""Whether probabilities put the particles of a class first."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def average_precision(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """Area under the precision-recall steps of one class against all others.

    NaN where there are no positives or a score is not known.
    ``sum over thresholds of (recall gained) x precision``; equal scores count as one threshold.

    Parameters
    ----------
    scores : ndarray, shape (n,), float64
        Probability of the class.
    positive : ndarray, shape (n,), bool
        Whether it is the true one.
    """
    return float(average_precisions(scores, positive, np.ones((1, len(scores))))[0])


def average_precisions(
    scores: Floats, positive: NDArray[np.bool_], weights: NDArray[np.generic]
) -> Floats:
    """``average_precision`` of resampled particles, shape (n_resamples,), float64.

    Parameters
    ----------
    scores, positive : ndarray, shape (n,)
        As there.
    weights : ndarray, shape (n_resamples, n)
        How often each particle counts.
    """
    if not positive.any() or np.isnan(scores).any():
        return np.full(len(weights), np.nan)
    order = np.argsort(-scores, kind="stable")
    last_of_value = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    times = np.asarray(weights, dtype=np.float64)[:, order]
    found = np.cumsum(times, axis=1)[:, last_of_value]
    hits = np.cumsum(times * positive[order], axis=1)[:, last_of_value]
    precisions = np.divide(hits, found, out=np.zeros_like(hits), where=found > 0)
    gained = np.diff(hits, axis=1, prepend=0.0)
    total = hits[:, -1]
    area: Floats = (gained * precisions).sum(axis=1)
    blank = np.full_like(total, np.nan)
    return np.asarray(np.divide(area, total, out=blank, where=total > 0))
