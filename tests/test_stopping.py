"""The stop advice: agreement, slope and verdict of rounds made so that the answer is known."""

import re

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from halcmd.assessment.stopping import (
    CANNOT_TELL,
    GO_ON,
    NO_ROUNDS,
    STOP,
    Rounds,
    advise,
    is_too_sure,
    slope_of,
    stability,
)


def rounds(
    changes: list[float],
    *,
    n: int = 1000,
    confidence: list[float] | None = None,
    tomograms: int = 8,
    classes: int = 4,
) -> Rounds:
    """Rounds of which each changes the class of a share of the particles, others each time."""
    rng = np.random.default_rng(0)
    predicted = [rng.integers(0, classes, n)]
    for share in changes:
        moved = rng.permutation(n)[: round(share * n)]
        again = predicted[-1].copy()
        again[moved] = (again[moved] + 1) % classes
        predicted.append(again)
    count = len(predicted)
    levels = 0.6 + 0.04 * np.arange(count) if confidence is None else np.array(confidence)
    noise = rng.uniform(-0.05, 0.05, n)
    return Rounds(
        np.arange(n),
        tuple(40 + 50 * place for place in range(count)),
        np.stack(predicted),
        np.stack([level + noise - noise.mean() for level in levels]),
        np.arange(n) % tomograms,
        tuple("abcdefgh"[:classes]),
    )


def verdict(made: Rounds) -> str:
    return stability(made).advice.verdict


@pytest.mark.parametrize("tomograms", [3, 8])
def test_agreement_is_that_of_scikit_learn_and_has_an_interval(tomograms: int) -> None:
    made = rounds([0.2, 0.1], tomograms=tomograms)
    found = stability(made, resamples=500, rng=np.random.default_rng(1))
    assert [each.labels for each in found.agreements] == [(40, 90), (90, 140)]
    for place, (each, share) in enumerate(zip(found.agreements, (0.2, 0.1), strict=True)):
        expected = cohen_kappa_score(made.predicted[place], made.predicted[place + 1])
        assert each.kappa.value == pytest.approx(expected)
        assert each.changed.value == pytest.approx(share)
        assert each.kappa.low < expected < each.kappa.high < each.kappa.low + 0.15
        assert each.changed.low < share < each.changed.high


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], CANNOT_TELL),
        ([0.0], CANNOT_TELL),
        ([0.002, 0.002], CANNOT_TELL),
        ([0.002, 0.002, 0.002], STOP),
        ([0.3, 0.002, 0.002, 0.002], STOP),
        ([0.002, 0.002, 0.03], GO_ON),
        ([0.1], GO_ON),
        ([0.1, 0.1, 0.1], GO_ON),
    ],
)
def test_steady_predictions_in_three_pairs_of_rounds_are_enough(
    changes: list[float], expected: str
) -> None:
    assert verdict(rounds(changes)) == expected


def test_kappa_is_averaged_over_three_pairs_and_stops_at_99_percent() -> None:
    kappas = {}
    for last in (0.005, 0.012):
        found = stability(rounds([0.2, 0.005, 0.008, last]))
        mean = np.mean([each.kappa.value for each in found.agreements[-3:]])
        kappas[last] = (mean >= 0.99, found.advice.verdict)
    assert kappas == {0.005: (True, STOP), 0.012: (False, GO_ON)}


def test_a_rise_of_probabilities_alone_does_not_hold_up_the_stop() -> None:
    rising = rounds([0.0, 0.0, 0.0], confidence=[0.5, 0.6, 0.7, 0.8])
    assert verdict(rising) == STOP


FLAT = [0.700, 0.701, 0.700, 0.701, 0.700, 0.701]


@pytest.mark.parametrize(
    ("confidence", "expected", "words"),
    [
        (FLAT, STOP, "but for no gain"),
        ([0.60, 0.63, 0.66, 0.69, 0.72, 0.75], GO_ON, r"\+6.0 points per 100 labels"),
        ([0.75, 0.72, 0.69, 0.66, 0.63, 0.60], CANNOT_TELL, "more labels should not do that"),
        ([0.70, 0.60, 0.75, 0.62, 0.74, 0.65], GO_ON, "points per 100 labels"),
        # the estimate of a real run that fell for two rounds and was to rise by 13 points
        ([0.93, 0.940, 0.924, 0.939, 0.895, 0.866], GO_ON, r"-2.5 points per 100 labels"),
        ([value + 0.26 for value in FLAT], GO_ON, "estimated accuracy is 0.961"),
    ],
)
def test_predictions_that_change_without_gain(
    confidence: list[float], expected: str, words: str
) -> None:
    advice = stability(rounds([0.1] * 5, confidence=confidence)).advice
    assert advice.verdict == expected
    assert re.search(words, advice.text)


def test_no_stop_before_the_fourth_round() -> None:
    assert verdict(rounds([0.1] * 2, confidence=[0.7, 0.7, 0.7])) == GO_ON
    assert verdict(rounds([0.1] * 3, confidence=[0.7, 0.7, 0.7, 0.7])) == STOP


def test_only_the_last_rounds_are_the_curve() -> None:
    steep = [0.1, 0.2, 0.3, 0.4, *FLAT]
    assert verdict(rounds([0.1] * 9, confidence=steep)) == STOP


def test_two_rounds_that_differ_cannot_both_be_right() -> None:
    curve = stability(rounds([0.1], confidence=[0.96, 0.96])).curve
    assert is_too_sure(curve, 0.1)
    assert not is_too_sure(curve, 0.07)


@pytest.mark.parametrize("confidence", [None, FLAT[:4]])
def test_few_particles_never_stop(confidence: list[float] | None) -> None:
    few = stability(rounds([0.0] * 3, n=299, confidence=confidence)).advice
    assert few.verdict == CANNOT_TELL
    assert "fewer than 300" in few.text
    assert verdict(rounds([0.0] * 3, n=300)) == STOP
    assert verdict(rounds([0.1] * 5, n=299, confidence=FLAT)) == GO_ON


def test_what_tells_nothing_is_said() -> None:
    one_class = rounds([0.0] * 3, classes=1)
    assert "one class" in stability(one_class).advice.text
    nothing = one_class.of(np.array([], dtype=np.intp))
    found = stability(nothing, resamples=10, rng=np.random.default_rng(0))
    assert found.advice.verdict == CANNOT_TELL
    assert found.particles == 0
    assert advise(10, [], found.curve) == NO_ROUNDS


def test_without_probabilities_kappa_alone_decides() -> None:
    unknown = [float("nan")] * 4
    assert verdict(rounds([0.0] * 3, confidence=unknown)) == STOP
    text = stability(rounds([0.1] * 3, confidence=unknown)).advice.text
    assert "without halProbability" in text


def test_slope_is_that_of_least_squares() -> None:
    labels, values = [40, 72, 104, 168, 200], [0.5, 0.56, 0.6, 0.68, 0.69]
    found = slope_of(labels, values)
    design = np.stack([np.ones(5), np.array(labels) / 100], axis=1)
    beta, (rest,), _, _ = np.linalg.lstsq(design, np.array(values), rcond=None)
    error = np.sqrt(rest / 3 * np.linalg.inv(design.T @ design)[1, 1])
    half = stats.t.ppf(0.975, 3) * error
    assert found.value == pytest.approx(beta[1])
    assert (found.low, found.high) == pytest.approx((beta[1] - half, beta[1] + half))


def test_slope_needs_two_points_and_its_interval_three() -> None:
    assert np.isnan(slope_of([40], [0.5]).value)
    assert np.isnan(slope_of([40, 40], [0.5, 0.6]).value)
    two = slope_of([40, 90], [0.5, 0.6])
    assert two.value == pytest.approx(0.2)
    assert np.isnan(two.low)


def test_a_part_of_the_rounds_keeps_its_particles() -> None:
    made = rounds([0.1])
    part = made.of(np.array([3, 11, 5000]))
    assert part.rows.tolist() == [3, 11]
    assert part.predicted.tolist() == made.predicted[:, [3, 11]].tolist()
    assert part.tomogram.tolist() == [0, 0]  # both of tomogram 3, now the only one
