"""Means over particles with intervals, and the accuracy of particles that nobody has labelled."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from halcmd.assessment.metrics import LEAST_TOMOGRAMS, Interval
from halcmd.assessment.resampling import CONFIDENCE

_NAN = float("nan")
_UNKNOWN = np.asarray(_NAN), np.asarray(_NAN)

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


def mean_confidence(confidence: Floats) -> Interval:
    """Mean probability of the predicted classes, without an interval; NaN where there is none.

    All particles that it is of are there, so that it has no sampling error; how far it lies from
    their accuracy depends on the calibration, which it says nothing of.
    """
    return Interval(np.asarray(confidence.mean() if len(confidence) else _NAN), *_UNKNOWN)


def mean_of(values: Floats, tomogram: Rows) -> Interval:
    """Mean with a 95 % interval; NaN where there are none or one is not known.

    Particles of one tomogram are no independent evidence: from 5 tomograms on the variance is that
    of their sums (Liang and Zeger 1986, the sandwich with clusters), else that of the particles.

    Parameters
    ----------
    values : ndarray, shape (n,), float64
        Of each particle, such as whether it is predicted right.
    tomogram : ndarray, shape (n,), int
        From 0.
    """
    return _around(_mean(values, tomogram))


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
    own, shift = _mean(confidence, tomogram), _mean(gap, gap_tomogram)
    parts = own.variance**2 / own.freedom + shift.variance**2 / shift.freedom
    variance = own.variance + shift.variance
    freedom = variance**2 / parts if parts > 0 else np.inf  # Welch 1947, Satterthwaite 1946
    return _around(_Mean(own.value + shift.value, variance, freedom))


class _Mean(NamedTuple):
    """A mean, its variance, and the degrees of freedom of that."""

    value: float
    variance: float
    freedom: float


def _mean(values: Floats, tomogram: Rows) -> _Mean:
    n = len(values)
    if not n:
        return _Mean(_NAN, _NAN, _NAN)
    mean = float(values.mean())
    units = np.unique(tomogram, return_inverse=True)[1]
    sums: Floats = values - mean
    if int(units.max()) + 1 >= LEAST_TOMOGRAMS:
        sums = np.bincount(units, weights=sums).astype(np.float64)
    count = len(sums)
    if count < 2:
        return _Mean(mean, _NAN, _NAN)
    return _Mean(mean, float((sums**2).sum()) * count / (count - 1) / n**2, count - 1.0)


def _around(mean: _Mean) -> Interval:
    """A share, 0 to 1, with its interval by Student's t."""
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, mean.freedom)) * np.sqrt(mean.variance)
    ends = np.clip((mean.value, mean.value - half, mean.value + half), 0.0, 1.0)
    return Interval(*(np.asarray(end) for end in ends))
