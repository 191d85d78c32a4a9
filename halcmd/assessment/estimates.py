"""Means over particles with intervals, and the accuracy of particles that nobody has labelled."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from halcmd.assessment.metrics import CONFIDENCE, LEAST_TOMOGRAMS, Interval

_NAN = float("nan")

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


def mean_of(values: Floats, tomogram: Rows) -> Interval:
    """Mean with a normal 95 % interval; NaN where there are none or one is not known.

    Particles of one tomogram are no independent evidence: from 5 tomograms on the variance is that
    of their sums (Liang and Zeger 1986, the sandwich with clusters), else that of the particles.

    Parameters
    ----------
    values : ndarray, shape (n,), float64
        Of each particle, such as a probability.
    tomogram : ndarray, shape (n,), int
        From 0.
    """
    return _around(*_mean_and_variance(values, tomogram))


def corrected_mean(confidence: Floats, tomogram: Rows, gap: Floats, gap_tomogram: Rows) -> Interval:
    """Accuracy of unlabelled particles: mean confidence, corrected by held-out labelled ones.

    ``mean(confidence) + mean(right - confidence of the held-out)``, which is right on average even
    where the probabilities are not calibrated, if both are drawn from the same particles.

    Parameters
    ----------
    confidence : ndarray, shape (n,), float64
        Of the unlabelled particles.
    tomogram : ndarray, shape (n,), int
        Theirs.
    gap : ndarray, shape (n_held,), float64
        Right (1 or 0) minus confidence, of particles that the model was not trained on.
    gap_tomogram : ndarray, shape (n_held,), int
        Theirs.

    References
    ----------
    Angelopoulos et al. 2023 (2301.09633), prediction-powered inference of a mean; variances add.
    """
    mean, variance = _mean_and_variance(confidence, tomogram)
    shift, more = _mean_and_variance(gap, gap_tomogram)
    return _around(mean + shift, variance + more)


def _mean_and_variance(values: Floats, tomogram: Rows) -> tuple[float, float]:
    """Mean, and the variance of the mean."""
    n = len(values)
    if not n:
        return _NAN, _NAN
    mean = float(values.mean())
    units = np.unique(tomogram, return_inverse=True)[1]
    sums: Floats = values - mean
    if int(units.max()) + 1 >= LEAST_TOMOGRAMS:
        sums = np.bincount(units, weights=sums).astype(np.float64)
    count = len(sums)
    if count < 2:
        return mean, _NAN
    return mean, float((sums**2).sum()) * count / (count - 1) / n**2


def _around(mean: float, variance: float) -> Interval:
    """A share, 0 to 1, with its interval."""
    half = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * np.sqrt(variance)
    ends = np.clip((mean, mean - half, mean + half), 0.0, 1.0)
    return Interval(*(np.asarray(end) for end in ends))
