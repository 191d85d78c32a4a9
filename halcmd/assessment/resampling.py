"""Bootstrap: what is drawn with replacement, and the interval between the tails of what comes out.

Tomograms are drawn where there are enough of them, since particles of one tomogram share its
thickness, defocus and alignment and are no independent evidence; else particles.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

CONFIDENCE = 0.95

_NUMBERS_AT_A_TIME = 2**21


def drawn_particles(
    tomogram: NDArray[np.intp] | None, n: int, resamples: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """How often each of n particles is in each resample, shape (part of the resamples, n).

    Tomograms are drawn, or particles where that is None.
    """
    step = max(_NUMBERS_AT_A_TIME // n, 1)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        if tomogram is None:
            each = [np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(rows)]
            yield np.stack(each)
        else:
            count = int(tomogram.max()) + 1
            yield rng.multinomial(count, np.full(count, 1.0 / count), size=rows)[:, tomogram]


def tails(values: Floats) -> tuple[Floats, Floats]:
    """Lower and upper end of the interval over the first axis, resamples without a value left out.

    A class may be absent from a resample, so that it has no recall there.
    """
    if not len(values):
        return np.full(values.shape[1:], np.nan), np.full(values.shape[1:], np.nan)
    ordered = np.sort(values, axis=0)  # NaN last
    last = np.maximum((~np.isnan(values)).sum(axis=0) - 1, 0)
    tail = (1.0 - CONFIDENCE) / 2.0
    return _at(ordered, last * tail), _at(ordered, last * (1.0 - tail))


def _at(ordered: Floats, place: Floats) -> Floats:
    """Values between the two neighbours of a fractional place on the first axis."""
    below = np.floor(place).astype(int)
    above = np.ceil(place).astype(int)
    low = np.take_along_axis(ordered, below[None], axis=0)[0]
    high = np.take_along_axis(ordered, above[None], axis=0)[0]
    return np.asarray(low + (place - below) * (high - low))


def drawn_matrices(units: Counts, resamples: int, rng: np.random.Generator) -> Counts:
    """Confusion matrices of resampled data, shape (resamples, n_classes, n_classes)."""
    count, classes = len(units), units.shape[-1]
    cells = units.reshape(count, -1)
    if count == 1:
        known = np.flatnonzero(cells[0])
        n = int(cells[0].sum())
        drawn = np.zeros((resamples, classes * classes), dtype=np.int64)
        if n:
            drawn[:, known] = rng.multinomial(n, cells[0, known] / n, size=resamples)
    else:
        times = rng.multinomial(count, np.full(count, 1.0 / count), size=resamples)
        drawn = times @ cells
    return drawn.reshape(resamples, classes, classes)
