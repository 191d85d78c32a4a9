"""What learning curves say: areas, labels saved, and whether one strategy beats another.

A curve is a measure, such as accuracy, at each number of labels. Curves of several seeds are rows;
strategies are compared in pairs that share seed, split and first labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.isotonic import isotonic_regression

from halcmd.assessment.resampling import CONFIDENCE, Floats

Curves = Mapping[str, Floats]
"""Strategy -> curves, shape (n_seeds, n_points); row i of each is of the same seed."""

SIGNIFICANT = 0.05
_NAN = float("nan")
_LEAST_PAIRS = 6  # two-sided Wilcoxon with five pairs cannot be below 0.0625
_LEAST_REPEATS = 5  # of the t test, as in Ash et al. 2020


@dataclass(frozen=True)
class Difference:
    """A strategy minus the reference, over paired seeds.

    Attributes
    ----------
    mean, low, high : float
        Mean difference and its 95 % bootstrap interval; NaN ends with fewer than 6 pairs.
    p : float
        Wilcoxon's signed-rank test, two-sided; NaN where it cannot be told (fewer than 6 pairs).
    pairs : int
    """

    mean: float
    low: float
    high: float
    p: float
    pairs: int


NO_PAIRS = Difference(_NAN, _NAN, _NAN, _NAN, 0)


def area(labels: Sequence[float], values: Floats, *, log: bool = False) -> Floats:
    """Area under curves over the label axis, 1 = perfect throughout, shape (...,).

    Parameters
    ----------
    labels : sequence of float, length n_points
        Rising.
    values : ndarray, shape (..., n_points)
        Between 0 and 1.
    log : bool
        The axis is the logarithm of the number of labels, which weighs the first rounds as much as
        the last ones.
    """
    axis = np.log(labels) if log else np.asarray(labels, dtype=float)
    if len(axis) == 1:
        return np.asarray(values[..., 0])
    return np.asarray(np.trapezoid(values, axis, axis=-1) / (axis[-1] - axis[0]))


def mean_and_sd(values: Floats) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Mean, standard deviation and number of what is not NaN along the first axis."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    blank = np.full(np.shape(count), np.nan)
    mean = np.divide(np.where(known, values, 0.0).sum(axis=0), count, out=blank, where=count > 0)
    squares = np.where(known, (values - mean) ** 2, 0.0).sum(axis=0)
    variance = np.divide(squares, count - 1, out=np.full_like(mean, np.nan), where=count > 1)
    return mean, np.sqrt(variance), count


def band(values: Floats) -> tuple[Floats, Floats]:
    """Mean over the seeds and half of its 95 % interval (Student's t; 0 for a single seed)."""
    mean, sd, count = mean_and_sd(values)
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, np.maximum(count - 1, 1))
    return mean, np.where(count > 1, quantile * sd / np.sqrt(np.maximum(count, 1)), 0.0)


def labels_to_reach(labels: Sequence[float], values: Floats, target: float) -> float:
    """Labels at which a curve reaches the target; infinity where it never does (censored).

    NaN where the target is not known.

    The curve is made monotonic first (isotonic regression), and is a straight line between points.

    Parameters
    ----------
    labels : sequence of float, length n_points
        Rising.
    values : ndarray, shape (n_points,)
        The mean over seeds; NaN = not known, left out.
    target : float
        In units of the values.
    """
    if np.isnan(target):
        return _NAN
    is_known = ~np.isnan(values)
    if not is_known.any():
        return float("inf")
    at = np.asarray(labels, dtype=float)[is_known]
    smooth = np.asarray(isotonic_regression(np.asarray(values, dtype=float)[is_known]))
    reached = np.flatnonzero(smooth >= target)
    if not len(reached):
        return float("inf")
    first = int(reached[0])
    if first == 0:
        return float(at[0])
    share = (target - smooth[first - 1]) / (smooth[first] - smooth[first - 1])
    return float(at[first - 1] + share * (at[first] - at[first - 1]))


def whole_labels(labels: float) -> float:
    """Labels to reach a target, rounded up; infinity and NaN stay."""
    return float(np.ceil(round(float(labels), 6)))


def reach_bound(labels: Sequence[float], reach: float) -> str:
    """What labels to reach a target are.

    ``exact``; ``most``: the curve begins there already; ``never``: not with these labels;
    ``unknown``.
    """
    if np.isnan(reach):
        return "unknown"
    if np.isinf(reach):
        return "never"
    return "most" if reach <= labels[0] else "exact"


def reach_text(labels: Sequence[float], reach: float) -> str:
    """The same to be read: ``152``, at most ``32`` with a sign for it, ``> 224``, or empty."""
    bound = reach_bound(labels, reach)
    if bound == "unknown":
        return ""
    if bound == "never":
        return f"> {labels[-1]:,}"
    sign = "\N{LESS-THAN OR EQUAL TO} " if bound == "most" else ""
    return f"{sign}{whole_labels(reach):,.0f}"


@dataclass(frozen=True)
class Efficiency:
    """How many times as many labels the reference needs.

    Attributes
    ----------
    factor : float
        NaN where neither gets there, or one is there from the first point on.
    bound : str
        ``exact``; ``least``: the reference never gets there; ``most``: the strategy never does;
        ``unknown``.
    """

    factor: float
    bound: str

    def __str__(self) -> str:
        """Such as ``1.8``, ``> 2.0``, ``< 0.7`` or a dash; bounds are rounded to the safe side."""
        if np.isnan(self.factor):
            return "\N{EN DASH}"
        tenths = round(10 * self.factor, 6)
        if self.bound == "least":
            return f"> {np.floor(tenths) / 10:.1f}"
        if self.bound == "most":
            return f"< {np.ceil(tenths) / 10:.1f}"
        return f"{self.factor:.1f}"


UNKNOWN_EFFICIENCY = Efficiency(_NAN, "unknown")


def label_efficiency(
    labels: Sequence[float], values: Floats, reference: Floats, target: float
) -> Efficiency:
    """Labels that the reference needs to reach the target, over those that a strategy needs.

    A curve that never gets there needs more labels than there are points, so that the factor is
    then a bound. Where one begins there nothing can be told: the first point is common to both.

    Parameters
    ----------
    labels : sequence of float, length n_points
        Rising.
    values, reference : ndarray, shape (n_points,)
        Mean curves of the strategy and, for instance, of random choice.
    target : float
        In units of the values.
    """
    ours, theirs = (labels_to_reach(labels, curve, target) for curve in (values, reference))
    bounds = [reach_bound(labels, each) for each in (ours, theirs)]
    if "unknown" in bounds or "most" in bounds or bounds == ["never", "never"]:
        return UNKNOWN_EFFICIENCY
    factor = min(theirs, labels[-1]) / min(ours, labels[-1])
    if bounds == ["exact", "exact"]:
        return Efficiency(factor, "exact")
    return Efficiency(factor, "least" if bounds[1] == "never" else "most")


def difference(ours: Floats, reference: Floats, *, seed: int = 0) -> Difference:
    """How much larger paired numbers are than the reference's, and whether that is chance.

    Parameters
    ----------
    ours, reference : ndarray, shape (n_pairs,)
        Such as the areas of two strategies, one per seed; pairs with NaN are left out.
    seed : int
        Of the bootstrap.
    """
    differences = np.asarray(ours - reference, dtype=float)
    differences = differences[~np.isnan(differences)]
    pairs = len(differences)
    if not pairs:
        return NO_PAIRS
    mean = float(differences.mean())
    if pairs < _LEAST_PAIRS:  # the bootstrap of two is their minimum and maximum
        return Difference(mean, _NAN, _NAN, _NAN, pairs)
    rng = np.random.default_rng(seed)
    drawn = differences[rng.integers(0, pairs, (10_000, pairs))].mean(axis=1)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = (float(value) for value in np.percentile(drawn, [tail, 100 - tail]))
    # without the zeros, which say nothing, the test stays exact where they leave few
    told = differences[differences != 0.0]
    p = float(stats.wilcoxon(told).pvalue) if len(told) else 1.0
    return Difference(mean, low, high, p, pairs)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for their number, by Holm's step-down rule; NaN stays and is not counted.

    References
    ----------
    Holm 1979, Scandinavian Journal of Statistics 6, 65.
    """
    values = np.asarray(p_values, dtype=float)
    known = np.flatnonzero(~np.isnan(values))
    corrected = values.copy()
    largest = 0.0
    for place, at in enumerate(known[np.argsort(values[known], kind="stable")]):
        largest = max(largest, min(1.0, (len(known) - place) * values[at]))
        corrected[at] = largest
    return [float(value) for value in corrected]


def in_words(found: Difference, p: float) -> str:
    """What a difference means: ``better``, ``worse``, or that there is none to be seen."""
    if np.isnan(p):
        return f"cannot be told from {found.pairs} seed{'s' * (found.pairs != 1)}"
    if p >= SIGNIFICANT:
        return "no significant difference"
    return "better" if found.mean > 0 else "worse"


def penalties(curves: Curves, points: Sequence[int]) -> Floats:
    """Share of the points at which the row's strategy beats the column's, shape (n, n); or NaN.

    At a point it does where the mean of the paired differences is above zero with p < 0.05 (one
    sample t test, two-sided). Points with fewer than five pairs, the reference's number, tell
    nothing; NaN where all are such.
    A row's mean says how often it beats another one; a column's, how often it is beaten.

    Parameters
    ----------
    curves : mapping of str to ndarray, shape (n_seeds, n_points)
    points : sequence of int
        Which points of the curves count.

    References
    ----------
    Ash et al. 2020 (1906.03671), there with rows and columns the other way round in the code.
    """
    names = list(curves)
    found = np.zeros((len(names), len(names)))
    for row, column in permutations(range(len(names)), 2):
        pairs = curves[names[row]][:, points] - curves[names[column]][:, points]
        known = [each[~np.isnan(each)] for each in pairs.T]
        told = [_is_above_zero(each) for each in known if len(each) >= _LEAST_REPEATS]
        found[row, column] = np.mean(told) if told else np.nan
    return found


def compared_points(labels: Sequence[int], reference: Floats, ceiling: float) -> list[int]:
    """Points at L0, L0 + K, L0 + 2 K, L0 + 4 K ... until the reference is at 99 % of its end.

    Parameters
    ----------
    labels : sequence of int
        L0, L0 + K, L0 + 2 K ...
    reference : ndarray, shape (n_points,)
        Mean curve of random choice.
    ceiling : float
        Its end value.
    """
    chosen, step = [0], 1
    while step < len(labels):
        chosen.append(step)
        if reference[step] >= 0.99 * ceiling:
            break
        step *= 2
    return chosen


def mean_ranks(values: Mapping[str, Sequence[float]]) -> tuple[dict[str, float], float, float]:
    """Mean rank of each strategy over data sets or seeds (1 = best), Friedman's p, Nemenyi's gap.

    Two strategies differ at the 5 % level where their mean ranks are further apart than the gap.

    Parameters
    ----------
    values : mapping of str to sequence of float
        One number per data set or seed, larger = better.

    References
    ----------
    Demsar 2006, Journal of Machine Learning Research 7, 1.
    """
    table = np.array([values[name] for name in values], dtype=float)
    ranks = np.apply_along_axis(stats.rankdata, 0, -table)
    means = dict(zip(values, ranks.mean(axis=1).tolist(), strict=True))
    count, blocks = table.shape
    if count < 3 or blocks < 2:
        return means, float("nan"), float("nan")
    is_tied = bool((ranks == ranks[0]).all())  # SciPy would divide by zero
    p = 1.0 if is_tied else float(stats.friedmanchisquare(*table).pvalue)
    critical = stats.studentized_range.ppf(CONFIDENCE, count, np.inf) / np.sqrt(2)
    return means, p, float(critical * np.sqrt(count * (count + 1) / (6 * blocks)))


def _is_above_zero(pairs: Floats) -> bool:
    if pairs.mean() <= 0:
        return False
    if pairs.std() < 1e-9 * pairs.mean():  # all the same: no test is needed, nor can be done
        return True
    return bool(stats.ttest_1samp(pairs, 0.0).pvalue < SIGNIFICANT)
