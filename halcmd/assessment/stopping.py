"""Whether more labels are worth it: how far predictions still change from round to round.

A round is one training with the labels that there were, and its predictions. All numbers are of the
particles without a label in every round, so that each round is judged on the same ones. Test
particles have no part in the advice: whoever stops by them measures too well with them afterwards.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from halcmd.assessment.estimates import mean_confidence, mean_of
from halcmd.assessment.metrics import (
    LEAST_TOMOGRAMS,
    Interval,
    accuracy,
    intervals,
    kappa,
)
from halcmd.assessment.resampling import CONFIDENCE, Counts

STEADY = 0.99
"""Kappa of successive rounds at which predictions are steady (Bloodgood and Vijay-Shanker 2009)."""
WINDOW = 3
"""So many successive agreements are averaged (there, and KappaAverage of small-text)."""
FLAT = 0.01
"""Gain in accuracy per 100 labels beneath which a curve counts as flat: halcmd's own choice.

That a stop is due where the gradient of estimated performance nears zero: Laws and Schuetze 2008.
"""
CURVE_ROUNDS = 6
"""The last so many rounds are the curve: what the first labels brought says nothing of the next."""
LEAST_PARTICLES = 300
"""With fewer, no change seen may still be a change of more than 1 % (3 / n, Hanley 1983)."""

GO_ON, STOP, CANNOT_TELL = "go_on", "stop", "cannot_tell"
_WORDS = {GO_ON: "Go on", STOP: "Stop is reasonable", CANNOT_TELL: "Cannot tell"}
_NAN = float("nan")

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Rounds:
    """What successive models say of the same particles; the last is the present one.

    Attributes
    ----------
    rows : ndarray, shape (n,), int
        The particles, as rows of the present table.
    labels : tuple of int
        Labels in the pool in each round, rising.
    predicted : ndarray, shape (n_rounds, n), int
        Class number of each particle.
    confidence : ndarray, shape (n_rounds, n), float64
        Calibrated probability of that class; NaN where it is not known.
    tomogram : ndarray, shape (n,), int
        Number of its tomogram, from 0.
    classes : tuple of str
        Names by class number.
    """

    rows: Rows
    labels: tuple[int, ...]
    predicted: Rows
    confidence: Floats
    tomogram: Rows
    classes: tuple[str, ...]

    def of(self, rows: Rows) -> "Rounds":
        """The rounds of those of these rows that are there."""
        some = np.flatnonzero(np.isin(self.rows, rows))
        return replace(
            self,
            rows=self.rows[some],
            predicted=self.predicted[:, some],
            confidence=self.confidence[:, some],
            tomogram=np.unique(self.tomogram[some], return_inverse=True)[1],
        )


@dataclass(frozen=True)
class Agreement:
    """How far the predictions of two successive rounds agree.

    Attributes
    ----------
    labels : (int, int)
        In the two rounds.
    kappa, changed : Interval
        Cohen's kappa, and the share of particles whose predicted class is another one.
    """

    labels: tuple[int, int]
    kappa: Interval
    changed: Interval


@dataclass(frozen=True)
class Slope:
    """Gain per 100 labels with its 95 % interval; NaN where it cannot be told."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """A measure in each round, with intervals, and its slope at the end."""

    labels: tuple[int, ...]
    values: tuple[Interval, ...]
    slope: Slope


@dataclass(frozen=True)
class Advice:
    """Whether to go on labelling (``go_on``, ``stop``, ``cannot_tell``), and why."""

    verdict: str
    reason: str

    @property
    def text(self) -> str:
        """The advice as a sentence."""
        return f"{_WORDS[self.verdict]}: {self.reason}"


@dataclass(frozen=True)
class Stability:
    """How steady the predictions of unlabelled particles are.

    Attributes
    ----------
    particles : int
        Without a label, and predicted, in every round.
    agreements : tuple of Agreement
        Of each two successive rounds.
    curve : Curve
        Estimated accuracy: the mean probability of the predicted classes.
    advice : Advice
    """

    particles: int
    agreements: tuple[Agreement, ...]
    curve: Curve
    advice: Advice


NO_ROUNDS = Advice(CANNOT_TELL, "no earlier round is given (--previous)")


def stability(
    rounds: Rounds, *, resamples: int = 0, rng: np.random.Generator | None = None
) -> Stability:
    """How steady the predictions are, and the stop advice, which no resampling changes.

    Parameters
    ----------
    rounds : Rounds
        Of unlabelled particles of the pool.
    resamples : int
        Bootstrap resamples for kappa and changes; 0 = no intervals.
    rng : numpy.random.Generator, optional
        Draws them: of tomograms where there are at least 5, else of particles.
    """
    n, count = len(rounds.classes), len(rounds.rows)
    is_many = count > 0 and int(rounds.tomogram.max()) + 1 >= LEAST_TOMOGRAMS
    unit = rounds.tomogram if is_many else np.zeros(count, dtype=np.intp)
    units = int(unit.max(initial=0)) + 1
    found = []
    for at in range(1, len(rounds.labels)):
        cell = (unit * n + rounds.predicted[at - 1]) * n + rounds.predicted[at]
        matrices = np.bincount(cell, minlength=units * n * n).reshape(units, n, n)
        metrics = {"kappa": kappa, "changed": _changed}
        both = intervals(metrics, matrices, resamples, rng or np.random.default_rng(0))
        pair = rounds.labels[at - 1], rounds.labels[at]
        found.append(Agreement(pair, both["kappa"], both["changed"]))
    curve = _curve(rounds.labels, map(mean_confidence, rounds.confidence))
    return Stability(count, tuple(found), curve, advise(count, found, curve))


def curve_of(labels: tuple[int, ...], values: Floats, tomogram: Rows) -> Curve:
    """Share of particles in each round, such as of those that are predicted right.

    Parameters
    ----------
    labels : tuple of int
        In each round.
    values : ndarray, shape (n_rounds, n), float64
    tomogram : ndarray, shape (n,), int
    """
    return _curve(labels, (mean_of(row, tomogram) for row in values))


def _curve(labels: tuple[int, ...], values: Iterable[Interval]) -> Curve:
    values = tuple(values)
    return Curve(labels, values, slope_of(labels, [float(value.value) for value in values]))


def slope_of(labels: Sequence[int], values: Sequence[float]) -> Slope:
    """Gain per 100 labels over the last rounds: least squares, Student's t.

    The interval needs three rounds. It holds how models differ by chance from round to round, which
    resampling of particles cannot see.
    """
    x = np.asarray(labels[-CURVE_ROUNDS:], dtype=np.float64) / 100.0
    y = np.asarray(values[-CURVE_ROUNDS:], dtype=np.float64)
    if len(x) < 2 or not np.isfinite(y).all() or np.ptp(x) == 0:
        return Slope(_NAN, _NAN, _NAN)
    across = x - x.mean()
    slope = float(across @ y / (across @ across))
    if len(x) == 2:
        return Slope(slope, _NAN, _NAN)
    rest = y - y.mean() - slope * across
    error = np.sqrt(rest @ rest / (len(x) - 2) / (across @ across))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(x) - 2) * error)
    return Slope(slope, slope - half, slope + half)


def advise(particles: int, agreements: Sequence[Agreement], curve: Curve) -> Advice:
    """The stop advice, in words; it advises and never forces.

    Stop is reasonable where predictions are steady: mean kappa of the last 3 pairs of rounds is at
    least 0.99. Then the estimated accuracy does not count: what does not change cannot get better,
    and a probability that still rises is a calibration that changes. It is also reasonable where
    predictions change without gain: the slope is between -1 and 1 point per 100 labels, its
    interval ends below 1, and the probabilities do not contradict the changes. Both need four
    rounds and 300 particles.

    Parameters
    ----------
    particles : int
        Without a label in every round.
    agreements : sequence of Agreement
        Of successive rounds, the present one last.
    curve : Curve
        Estimated accuracy.
    """
    if not particles:
        return Advice(CANNOT_TELL, "no particle is without a label in all rounds")
    if not agreements:
        return NO_ROUNDS
    last = [float(each.kappa.value) for each in agreements[-WINDOW:]]
    if np.isnan(last).any():
        return Advice(CANNOT_TELL, "all unlabelled particles are taken for one class")
    mean, slope = float(np.mean(last)), curve.slope
    changed, is_few = float(agreements[-1].changed.value), particles < LEAST_PARTICLES
    is_enough = len(last) == WINDOW and not is_few
    if mean < STEADY:
        said = (
            f"the last labels changed the predicted class of {changed:.1%} of {particles:,}"
            f" unlabelled particles (kappa {_of_rounds(last)}; steady is {STEADY:g})"
        )
        if slope.high < -FLAT:
            look = (
                "more labels should not do that; look at the newest labels and at calibration.png"
            )
            return Advice(CANNOT_TELL, f"{said}; {_gain(curve)}: {look}")
        is_flat = abs(slope.value) < FLAT and slope.high < FLAT
        if is_flat and is_enough and not is_too_sure(curve, changed):
            return Advice(STOP, f"{said}, but for no gain: {_gain(curve)}")
        return Advice(GO_ON, f"{said}; {_gain(curve)}")
    said = (
        f"predictions are steady (kappa {_of_rounds(last)}): the last labels changed {changed:.1%}"
        f" of {particles:,} unlabelled particles"
    )
    if is_few:
        seen = f"fewer than {LEAST_PARTICLES} cannot show that less than 1 % change"
        return Advice(CANNOT_TELL, f"{said}, but {seen}")
    if len(last) < WINDOW:
        needed = f"{WINDOW} pairs are needed; give each earlier round with --previous"
        return Advice(CANNOT_TELL, f"{said}, but {needed}")
    return Advice(STOP, f"{said}, and their accuracy by no more than that")


def is_too_sure(curve: Curve, changed: float) -> bool:
    """Whether the probabilities of the last two rounds cannot both be right on average.

    Where two rounds differ on a particle at most one of them is right, so that their accuracies add
    up to at most ``2 - changed``.
    """
    both = sum(float(each.value) for each in curve.values[-2:])
    return both > 2.0 - changed


def _of_rounds(kappas: Sequence[float]) -> str:
    if len(kappas) == 1:
        return f"{kappas[0]:.3f} of the last two rounds"
    return f"{np.mean(kappas):.3f}, mean of {len(kappas)} pairs of successive rounds"


def _gain(curve: Curve) -> str:
    estimate, slope = float(curve.values[-1].value), curve.slope
    if not np.isfinite(estimate):
        return "without halProbability no accuracy can be estimated"
    said = f"their estimated accuracy is {estimate:.3f}"
    if not np.isfinite(slope.value):
        return said
    said += f", {100 * slope.value:+.1f} points per 100 labels"
    if not np.isfinite(slope.low):
        return said
    return f"{said} ({100 * slope.low:+.1f} to {100 * slope.high:+.1f})"


def _changed(counts: Counts) -> Floats:
    return 1.0 - accuracy(counts)
