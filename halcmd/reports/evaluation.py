"""All numbers of an evaluation, as JSON and in the log."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from halcmd.assessment import metrics
from halcmd.assessment.metrics import Assessment, Interval
from halcmd.assessment.stopping import (
    CURVE_ROUNDS,
    FLAT,
    LEAST_PARTICLES,
    STEADY,
    WINDOW,
    Agreement,
    Curve,
    Slope,
    Stability,
)
from halcmd.assessment.unanimous import Unanimous, all_right, none_right
from halcmd.calibration import wilson
from halcmd.console import log
from halcmd.errors import first_few
from halcmd.formats.star import Table
from halcmd.reports.evaluation_json import (
    DOUBTS,
    WORST,
    json_class,
    json_interval,
    json_number,
    json_rows,
    json_unanimous,
)

Floats = NDArray[np.float64]

UNKNOWN = Interval(*(np.asarray(np.nan),) * 3)
THRESHOLDS = {
    "kappa": STEADY,
    "pairs_of_rounds": WINDOW,
    "gain_per_100_labels": FLAT,
    "rounds_of_the_slope": CURVE_ROUNDS,
    "particles": LEAST_PARTICLES,
}
"""Of the stop advice, as ``halcmd.assessment.stopping`` explains them."""

_FEW_SHARES = 6
"""Shares without an error that are said in words."""


@dataclass(frozen=True)
class PoolEstimate:
    """The accuracy that unlabelled particles of the pool should have.

    Attributes
    ----------
    particles : int
        Without a label.
    estimated : Interval
        By their probabilities alone.
    corrected : Interval or None
        Shifted by how far probabilities are off on particles with a held-out label.
    held : int
        How many those are.
    """

    particles: int
    estimated: Interval
    corrected: Interval | None
    held: int


@dataclass(frozen=True)
class Evaluation:
    """What was found.

    Attributes
    ----------
    assessment : Assessment
        Of particles whose class is known.
    tomograms : tuple of str
        Names, in the order of its counts.
    left_out : dict of str to int
        Reason -> rows of the split that do not count.
    reliability : dict of str to ndarray
        Columns of the calibration plot; empty without probabilities.
    pool : PoolEstimate or None
        None where no particle of the pool is without a label.
    stability : Stability or None
        Of the unlabelled particles from round to round; None where no earlier round is given.
    held_out : Curve or None
        Accuracy by held-out labels in each round.
    by : str
        ``tomogram``: those count each by itself too.
    doubts : Table or None
        Labels that are perhaps wrong; None where train has judged none.
    worst : Table or None
        Particles of the worst confusions; None without errors.
    """

    assessment: Assessment
    tomograms: tuple[str, ...]
    left_out: dict[str, int]
    reliability: dict[str, Floats]
    pool: PoolEstimate | None = None
    stability: Stability | None = None
    held_out: Curve | None = None
    by: str = "none"
    doubts: Table | None = None
    worst: Table | None = None

    def summary(self) -> dict[str, object]:
        """What ``--json`` prints; null where a number cannot be told."""
        found = self.assessment
        per_class = found.per_class | {"average_precision": found.average_precision}
        facts: dict[str, object] = {
            "particles": int(found.confusion.sum()),
            **{name: json_interval(interval) for name, interval in overall_of(found).items()},
            "per_class": {
                name: json_class(per_class, row)
                | {"support": int(found.support[row]), "resampled_by": by}
                for row, (name, by) in enumerate(
                    zip(found.classes, found.class_resampled_by, strict=True)
                )
            },
            "calibration": {
                name: [json_number(value) for value in values]
                for name, values in self.reliability.items()
            },
            "confusion": {"classes": list(found.classes), "counts": found.confusion.tolist()},
            "no_error": [json_unanimous(share, "most_wrong") for share in all_right(found)],
            "none_right": [json_unanimous(share, "most_right") for share in none_right(found)],
            "worst_confusions": json_rows(self.worst, WORST) or [],
            "resampled_by": found.resampled_by,
            "resamples": found.resamples,
            "left_out": self.left_out,
            "suspected_labels": None if self.doubts is None else len(self.doubts),
            "suspected_particles": json_rows(self.doubts, DOUBTS),
            "pool": None if self.pool is None else _json_pool(self.pool),
            "stop_advice": None if self.stability is None else self._json_advice(self.stability),
        }
        if self.by == "tomogram":
            columns = tomogram_columns(self)
            facts["per_tomogram"] = {
                name: {key: json_number(values[row]) for key, values in columns.items()}
                for row, name in enumerate(self.tomograms)
            }
        return facts

    def _json_advice(self, stability: Stability) -> dict[str, object]:
        held = self.held_out
        return {
            "verdict": stability.advice.verdict,
            "text": stability.advice.text,
            "particles": stability.particles,
            "thresholds": THRESHOLDS,
            "rounds": [
                {"labels": labels} | {name: json_interval(value) for name, value in row.items()}
                for labels, row in rounds_of(self)
            ],
            "gain_per_100_labels": {
                "estimated_accuracy": json_interval(stability.curve.slope),
                "accuracy": None if held is None else json_interval(held.slope),
            },
        }


def overall_of(found: Assessment) -> dict[str, Interval]:
    """The numbers of all classes together, by name."""
    return found.overall | {
        "mean_average_precision": found.mean_average_precision,
        "calibration_error": found.calibration_error,
    }


def rounds_of(found: Evaluation) -> list[tuple[int, dict[str, Interval]]]:
    """Labels of each round and its numbers; agreement is with the round before."""
    stability = found.stability
    assert stability is not None
    held = found.held_out.values if found.held_out else [UNKNOWN] * len(stability.curve.values)
    agreements: list[Agreement | None] = [None, *stability.agreements]
    return [
        (
            labels,
            {
                "estimated_accuracy": estimated,
                "accuracy": accuracy,
                "kappa": agreement.kappa if agreement else UNKNOWN,
                "changed": agreement.changed if agreement else UNKNOWN,
            },
        )
        for labels, estimated, accuracy, agreement in zip(
            stability.curve.labels, stability.curve.values, held, agreements, strict=True
        )
    ]


def tomogram_columns(found: Evaluation) -> dict[str, Floats]:
    """Numbers of each tomogram; the interval of the accuracy is Wilson's."""
    counts = found.assessment.counts
    right, total = np.trace(counts, axis1=1, axis2=2), counts.sum(axis=(1, 2))
    low, high = wilson(right.astype(np.float64), total.astype(np.float64))
    return {
        "count": total.astype(np.float64),
        "accuracy": metrics.accuracy(counts),
        "accuracy_low": low,
        "accuracy_high": high,
        "balanced_accuracy": metrics.balanced_accuracy(counts),
        "macro_f1": metrics.macro_f1(counts),
    }


def say(found: Evaluation) -> None:
    """Log the numbers and the stop advice."""
    numbers = found.assessment
    bootstrap = numbers.resamples
    log.info(f"{'':<22} value  95 % interval" if bootstrap else f"{'':<22} value")
    for name, it in overall_of(numbers).items():
        if np.isfinite(it.value):
            interval = f"  {float(it.low):.3f} to {float(it.high):.3f}" if bootstrap else ""
            log.info(f"{spoken(name):<22} {float(it.value):.3f}{interval}")
    if bootstrap:
        log.info(f"intervals: {resampling(numbers)}")
    for what, caveat in caveats(numbers).items():
        log.info(f"{what}: {caveat}")
    _say_classes(numbers)
    if found.pool is not None and np.isfinite(found.pool.estimated.value):
        log.info(in_words(found.pool))
    if found.stability is not None:
        log.info(found.stability.advice.text)
        doubt = contradiction(found.pool)
        if doubt is not None:
            log.warning(doubt)


def resampling(found: Assessment) -> str:
    """How the intervals were made."""
    said = f"95 %, bootstrap, {found.resamples:,} times, by {found.resampled_by}"
    few = [
        name
        for name, by in zip(found.classes, found.class_resampled_by, strict=True)
        if by != found.resampled_by
    ]
    if not few:
        return said
    return f"{said}; of {first_few(few)}, which fewer than 5 tomograms hold, by particle"


def caveats(found: Assessment) -> dict[str, str]:
    """What to say of shares of 1 and of 0, whose intervals say nothing."""
    said = {
        "no error seen": _unanimous(all_right(found), "wrong"),
        "none right": _unanimous(none_right(found), "right"),
    }
    return {what: text for what, text in said.items() if text}


def _unanimous(shares: list[Unanimous], otherwise: str) -> str:
    if not shares:
        return ""
    parts = [
        share.measure
        + (f" of {share.class_name}" if share.class_name else "")
        + f" (up to {share.most_others:.1%} of {share.particles:,})"
        for share in shares[:_FEW_SHARES]
    ]
    more = len(shares) - len(parts)
    return (
        f"up to 3 of n may still be {otherwise}, whatever the interval says: {', '.join(parts)}"
        + (f" and {more:,} more in evaluation.star" if more else "")
        + "; this holds for accuracy, precision and recall alone"
    )


def in_words(pool: PoolEstimate) -> str:
    """The estimated accuracy of the pool in a line."""
    said = (
        f"estimated accuracy of {pool.particles:,} unlabelled particles of the pool:"
        f" {with_ends(pool.estimated)}"
    )
    if pool.corrected is None:
        return said
    return f"{said}, corrected by {pool.held:,} held-out labels {with_ends(pool.corrected)}"


def contradiction(pool: PoolEstimate | None) -> str | None:
    """What to say where held-out labels contradict the probabilities of unlabelled particles."""
    if pool is None or pool.corrected is None:
        return None
    estimated, it = float(pool.estimated.value), pool.corrected
    if not np.isfinite(estimated) or it.low <= estimated <= it.high:
        return None
    much = "sure" if estimated > it.high else "cautious"
    return (
        f"held-out labels say that probabilities are too {much}: the accuracy of unlabelled"
        f" particles is rather {with_ends(it)} than the {estimated:.3f} that they give, so do not"
        " rely on an advice that rests on it"
    )


def with_ends(it: Interval | Slope) -> str:
    """``0.912 (0.880 to 0.940)``; a dash for what is not known."""
    if not np.isfinite(it.value):
        return "\N{EN DASH}"
    ends = f" ({float(it.low):.3f} to {float(it.high):.3f})" if np.isfinite(it.low) else ""
    return f"{float(it.value):.3f}{ends}"


def spoken(name: str) -> str:
    """The name of a measure in words."""
    return name.replace("_", " ").replace("f1", "F1")


def _say_classes(found: Assessment) -> None:
    width = max(len("class"), *map(len, found.classes))
    log.info(f"{'class':<{width}} {'true':>7}  precision  recall     F1")
    numbers = [found.per_class[name].value for name in ("precision", "recall", "f1")]
    for row, name in enumerate(found.classes):
        three = [f"{v[row]:.3f}" if np.isfinite(v[row]) else "-" for v in numbers]
        count = f"{found.support[row]:,}"
        log.info(f"{name:<{width}} {count:>7}  {three[0]:>9}  {three[1]:>6}  {three[2]:>5}")
    wrong = [
        f"{found.classes[true]} taken for {found.classes[seen]}: {found.confusion[true, seen]:,}"
        for true, seen in worst_confusions(found.confusion)
    ]
    if wrong:
        log.info(f"most often confused: {first_few(wrong)}")


def worst_confusions(confusion: NDArray[np.int64]) -> list[tuple[int, int]]:
    """True and predicted class of all kinds of error, the most frequent first."""
    errors = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-errors, axis=None, kind="stable")[: int((errors > 0).sum())]
    true, seen = np.unravel_index(order, errors.shape)
    return list(zip(true.tolist(), seen.tolist(), strict=True))


def _json_pool(pool: PoolEstimate) -> dict[str, object]:
    return {
        "particles": pool.particles,
        "held_out": pool.held,
        "estimated_accuracy": json_interval(pool.estimated),
        "corrected_accuracy": json_interval(pool.corrected or UNKNOWN),
    }
