"""The discriminator: what it can tell apart, when it stops, what its probabilities mean."""

import numpy as np
import pytest
import torch

from halcmd.networks.discriminator import RECIPES, Discriminator, standardise
from halcmd.strategies.sides import (
    Fit,
    Sides,
    area_under_curve,
    calibration,
    fit,
    unlabelled_probability,
)


def trained(
    kind: str, shift: float, shape: tuple[int, ...] = (3, 3, 3, 3)
) -> tuple[Fit, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)

    def maps(count: int, mean: float) -> np.ndarray:
        return (mean + rng.normal(size=(count, *shape))).astype(np.float16)

    sides = Sides(maps(200, 0.0), maps(400, shift), maps(50, 0.0), maps(50, shift))
    recipe = RECIPES["default"]
    made = Discriminator(shape, recipe, kind, generator=torch.Generator().manual_seed(0))
    standardise(made, sides.unlabelled)
    result = fit(made, sides, recipe, rng=np.random.default_rng(1))
    labelled, unlabelled = (
        unlabelled_probability(made, maps(1500, mean), result) for mean in (0.0, shift)
    )
    return result, labelled, unlabelled


@pytest.mark.parametrize("kind", ["conv", "mlp"])
@pytest.mark.parametrize(("shift", "least", "most"), [(0.0, 0.46, 0.54), (0.4, 0.95, 1.0)])
def test_the_discriminator_tells_apart_what_differs_and_nothing_else(
    kind: str, shift: float, least: float, most: float
) -> None:
    result, labelled, unlabelled = trained(kind, shift)
    scores = np.concatenate([labelled, unlabelled])
    assert least <= area_under_curve(scores, np.arange(3000) >= 1500) <= most
    assert ((scores >= 0) & (scores <= 1)).all()
    assert result.steps <= RECIPES["default"].max_steps


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.4])
def test_its_probabilities_are_those_of_maps_that_it_has_not_seen(shift: float) -> None:
    _, labelled, unlabelled = trained("conv", shift)
    mean = np.concatenate([labelled, unlabelled]).mean()
    assert mean == pytest.approx(0.5, abs=0.12)  # both sides are equally frequent
    for low, high in ((0.2, 0.4), (0.4, 0.6), (0.6, 0.8)):
        below, above = (((p > low) & (p <= high)).sum() for p in (labelled, unlabelled))
        if below + above > 300:
            assert above / (below + above) == pytest.approx((low + high) / 2, abs=0.2)


def test_calibration_finds_slope_and_offset() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(2.0, 3.0, 20_000)
    is_unlabelled = rng.random(20_000) < 1 / (1 + np.exp(-(0.5 * logits - 1.0)))
    slope, offset = calibration(logits[~is_unlabelled], logits[is_unlabelled])
    assert slope == pytest.approx(0.5, abs=0.03)
    assert offset == pytest.approx(-1.0, abs=0.06)


def test_calibration_never_turns_the_order_round() -> None:
    slope, _ = calibration(np.array([3.0, 4.0, 5.0]), np.array([0.0, 1.0, 2.0]))
    assert 0.0 < slope < 0.1


def test_equal_draws_from_both_sides_whatever_their_sizes() -> None:
    rng = np.random.default_rng(0)
    few, many = (rng.normal(size=(count, 2, 2, 2, 2)).astype(np.float16) for count in (8, 5000))
    sides = Sides(few, many)
    recipe = RECIPES["code"]
    made = Discriminator((2, 2, 2, 2), recipe, "conv", generator=torch.Generator().manual_seed(0))
    first = fit(made, sides, recipe, rng=np.random.default_rng(1))
    assert first.accuracy >= recipe.stop_accuracy  # not the constant answer, which has 0.5
    assert first.steps >= recipe.min_steps
    assert fit(made, sides, recipe, rng=np.random.default_rng(2), warm=True).steps <= 60


def test_area_under_curve_by_counting_pairs() -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 6, 40).astype(float), rng.random(40) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[positive] for b in scores[~positive]]
    assert area_under_curve(scores, positive) == pytest.approx(np.mean(pairs))
    assert np.isnan(area_under_curve(scores, np.ones(40, dtype=bool)))
