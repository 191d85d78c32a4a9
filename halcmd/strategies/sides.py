"""Tell two sets of feature maps apart: training of a discriminator, and what it then says."""

import math
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata
from torch import Tensor

from halcmd.networks.discriminator import Discriminator, Recipe

Maps = NDArray[np.floating]
Floats = NDArray[np.float64]

_CHECK_EVERY = 10
_PATIENCE = 5  # checks without a better AUC
_AUC_GAIN = 0.005
_LEAST_SLOPE = 0.1


@dataclass(frozen=True)
class Sides:
    """Feature maps of the two sides, each of shape (n, c, z, y, x).

    ``held_labelled`` and ``held_unlabelled`` are never trained on, and may be None or empty.
    """

    labelled: Maps
    unlabelled: Maps
    held_labelled: Maps | None = None
    held_unlabelled: Maps | None = None


@dataclass(frozen=True)
class Fit:
    """How a training went, and how its logits become probabilities.

    Attributes
    ----------
    steps : int
        Optimiser steps.
    accuracy, auc : float
        Balanced accuracy and area under the ROC curve of the held-out maps; without any, accuracy
        of the last training batches and NaN.
    slope, offset : float
        Probability = 1 / (1 + exp(-(slope * logit + offset))).
    """

    steps: int
    accuracy: float
    auc: float
    slope: float = 1.0
    offset: float = 0.0


def fit(
    discriminator: Discriminator,
    sides: Sides,
    recipe: Recipe,
    *,
    rng: np.random.Generator,
    warm: bool = False,
) -> Fit:
    """Train in place; how it went.

    Each batch is drawn half from each side, with replacement, so both sides weigh the same however
    few are labelled. (The published code meant to weigh the sides and did not, and stopped at 98 %
    plain accuracy, which the answer "unlabelled" alone reaches where 2 % are labelled.) Where maps
    are held out, the weights of the best AUC are kept, and the recipe may have the logits
    calibrated: a discriminator that knows its few labelled maps by heart calls everything else
    unlabelled with near certainty, and would then add the same to every score.

    Parameters
    ----------
    discriminator : Discriminator
        Untrained, or trained for an earlier subset.
    sides : Sides
        Maps, float16 or float32.
    recipe : Recipe
        Optimiser, sizes, when to stop.
    rng : numpy.random.Generator
        Draws the batches.
    warm : bool
        Training goes on from an earlier subset: at most ``recipe.warm_steps``.

    Returns
    -------
    Fit
    """
    device = discriminator.mean.device
    optimiser = _optimiser(discriminator, recipe)
    most = recipe.warm_steps if warm else recipe.max_steps
    watch = _Watch(discriminator, sides, recipe)
    discriminator.train()
    step = 0
    while step < most:
        maps, side = _batch(sides, recipe.batch, rng)
        target = torch.from_numpy(side).to(device)
        logits = discriminator(torch.from_numpy(maps).to(device))
        loss = F.binary_cross_entropy_with_logits(logits, target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        step += 1
        watch.note(((logits > 0) == (target > 0.5)).float().mean())
        if step % _CHECK_EVERY == 0 and watch.is_done(step):
            break
    return watch.end(step)


def unlabelled_probability(discriminator: Discriminator, maps: Maps, fit: Fit) -> Floats:
    """Probability of each map to be from the unlabelled side, shape (n,), float64 in [0, 1].

    It takes both sides as equally frequent.
    """
    return np.asarray(expit(fit.slope * _logits(discriminator, maps) + fit.offset))


def area_under_curve(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: how often a positive scores above a negative, ties count half."""
    count = int(positive.sum())
    others = len(positive) - count
    if not count or not others:
        return math.nan
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def calibration(labelled: Floats, unlabelled: Floats) -> tuple[float, float]:
    """Slope (above 0) and offset that make logits of held-out maps fit their sides best.

    Platt scaling, with his smoothed targets; both sides weigh the same. Over the spread of the
    logits, the slope is never below a tenth: where a dozen held-out maps say that nothing was
    learnt, the order of the logits still decides between candidates that are equal otherwise. (A
    planted cluster, 23 % of the candidates and hard to see, made up 20 % of the queries without
    that and 35 % with it.)

    Parameters
    ----------
    labelled, unlabelled : ndarray of float64
        Logits of held-out maps.

    References
    ----------
    Platt 1999, Probabilistic outputs for support vector machines.
    """
    logits = np.concatenate([labelled, unlabelled])
    scale = max(float(logits.std()), 1e-12)
    target = np.repeat(
        [1.0 / (len(labelled) + 2), (len(unlabelled) + 1) / (len(unlabelled) + 2)],
        [len(labelled), len(unlabelled)],
    )
    weight = np.repeat(
        [0.5 / len(labelled), 0.5 / len(unlabelled)], [len(labelled), len(unlabelled)]
    )

    def loss(line: Floats) -> float:
        value = line[0] * logits / scale + line[1]
        return float((weight * (np.logaddexp(0.0, value) - target * value)).sum())

    found = minimize(
        loss, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=[(_LEAST_SLOPE, None), (None, None)]
    )
    return float(found.x[0]) / scale, float(found.x[1])


class _Watch:
    """Decides when a training is over, and keeps the best weights."""

    def __init__(self, discriminator: Discriminator, sides: Sides, recipe: Recipe) -> None:
        self.discriminator, self.sides, self.recipe = discriminator, sides, recipe
        held = sides.held_labelled, sides.held_unlabelled
        self.is_held_out = recipe.stop_on == "held-out" and all(
            maps is not None and len(maps) for maps in held
        )
        self.batches: list[Tensor] = []
        self.best_auc, self.best_accuracy, self.best_at = -math.inf, math.nan, 0
        self.best_weights = deepcopy(discriminator.state_dict())

    def note(self, batch_accuracy: Tensor) -> None:
        self.batches.append(batch_accuracy.detach())

    def is_done(self, step: int) -> bool:
        recipe = self.recipe
        if step < recipe.min_steps:
            return False
        if not self.is_held_out:
            enough = self._training_accuracy() >= recipe.stop_accuracy
            # without held-out maps nothing says when learning by heart begins: stop early
            return enough or recipe.stop_on == "held-out"
        accuracy, auc = self._held_out()
        if auc > self.best_auc + _AUC_GAIN:
            self.best_auc, self.best_accuracy, self.best_at = auc, accuracy, step
            self.best_weights = deepcopy(self.discriminator.state_dict())
        stale = step - self.best_at >= _PATIENCE * _CHECK_EVERY
        return accuracy >= recipe.stop_accuracy or stale

    def end(self, step: int) -> Fit:
        if not self.is_held_out or self.best_at == 0:
            return Fit(step, self._training_accuracy(), math.nan)
        self.discriminator.load_state_dict(self.best_weights)
        slope, offset = 1.0, 0.0
        if self.recipe.calibrate:
            slope, offset = calibration(*self._held_out_logits())
        return Fit(step, self.best_accuracy, self.best_auc, slope, offset)

    def _training_accuracy(self) -> float:
        if not self.batches:
            return math.nan
        return float(torch.stack(self.batches[-_CHECK_EVERY:]).mean())

    def _held_out_logits(self) -> tuple[Floats, Floats]:
        labelled, unlabelled = self.sides.held_labelled, self.sides.held_unlabelled
        assert labelled is not None
        assert unlabelled is not None
        return _logits(self.discriminator, labelled), _logits(self.discriminator, unlabelled)

    def _held_out(self) -> tuple[float, float]:
        low, high = self._held_out_logits()
        self.discriminator.train()
        accuracy = float(((low <= 0).mean() + (high > 0).mean()) / 2)
        positive = np.arange(len(low) + len(high)) >= len(low)
        return accuracy, area_under_curve(np.concatenate([low, high]), positive)


def _logits(discriminator: Discriminator, maps: Maps, *, batch: int = 256) -> Floats:
    discriminator.eval()
    device = discriminator.mean.device
    parts = [np.empty(0)]
    with torch.inference_mode():
        for start in range(0, len(maps), batch):
            part = np.ascontiguousarray(maps[start : start + batch], dtype=np.float32)
            logits = discriminator(torch.from_numpy(part).to(device))
            parts.append(logits.double().cpu().numpy())
    return np.concatenate(parts)


def _batch(
    sides: Sides, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    half = size // 2
    low = sides.labelled[rng.integers(0, len(sides.labelled), half)]
    high = sides.unlabelled[rng.integers(0, len(sides.unlabelled), half)]
    maps = np.concatenate([low, high]).astype(np.float32)
    return maps, np.repeat(np.array([0.0, 1.0], dtype=np.float32), half)


def _optimiser(discriminator: Discriminator, recipe: Recipe) -> torch.optim.Optimizer:
    parameters = discriminator.parameters()
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(parameters, lr=recipe.learning_rate, momentum=0.9)
    if recipe.optimiser == "rmsprop":  # alpha is Keras' rho
        return torch.optim.RMSprop(parameters, lr=recipe.learning_rate, alpha=0.9, eps=1e-7)
    return torch.optim.Adam(parameters, lr=recipe.learning_rate)
