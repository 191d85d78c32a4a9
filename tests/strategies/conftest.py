"""Pools made of arrays, small enough to think through."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch

from halcmd.networks.discriminator import RECIPES
from halcmd.strategies.limits import Limits, Places
from halcmd.strategies.options import described
from halcmd.strategies.pool import Pool, QuerySettings

N_ROWS, N_ANSWERED, N_TEST = 160, 40, 20

MakePool = Callable[..., Pool]


def _pool(
    *,
    classes: int = 4,
    order: np.ndarray | None = None,
    limits: Limits | None = None,
    power: float = 0.0,
    seed: int = 0,
    shift: float = 0.0,
    answered: int = N_ANSWERED,
) -> Pool:
    """A table of 160 rows in 4 tomograms: 40 answered, 20 of the test split, 100 candidates.

    ``order`` permutes the rows of the table. ``shift`` moves the maps of the answered rows. With
    fewer ``answered`` the others are of no split.
    """
    rng = np.random.default_rng(7)
    ids = np.array([f"TS_{row % 4}/{row // 4 + 1:06d}" for row in range(N_ROWS)], dtype=object)
    maps = rng.normal(size=(N_ROWS, 2, 2, 2, 2)).astype(np.float32)
    maps[:N_ANSWERED] += shift
    probabilities = rng.dirichlet(np.full(classes, 0.5), N_ROWS)
    positions = rng.uniform(0, 1000, (N_ROWS, 3))
    vectors = rng.normal(size=(N_ROWS, 6)).astype(np.float32)
    boxes = rng.normal(size=(N_ROWS, 16, 16, 16)).astype(np.float32)
    labels = rng.integers(0, classes, N_ROWS)
    labels[:4] = [-1, 0, 1, -1]
    kind = np.repeat([0, 1, 2], [N_ANSWERED, N_TEST, N_ROWS - N_ANSWERED - N_TEST])
    kind[answered:N_ANSWERED] = 3
    if order is not None:
        ids, maps, probabilities = ids[order], maps[order], probabilities[order]
        positions, kind = positions[order], kind[order]
        vectors, boxes, labels = vectors[order], boxes[order], labels[order]
    is_answered = kind == 0
    weights = rng.normal(size=(6, classes))

    def passes(rows: np.ndarray, samples: int, rate: float | None) -> Iterator[np.ndarray]:
        share = 0.5 if rate is None else rate
        for sample in range(samples):
            kept = np.random.default_rng(sample).random(6) >= share
            logits = (vectors[rows] * kept) @ weights
            yield np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    candidates = np.flatnonzero(kind == 2)
    tomograms = np.array([name.split("/")[0] for name in ids], dtype=object)
    return Pool(
        ids=ids,
        candidates=candidates,
        answered=np.flatnonzero(is_answered),
        probabilities=probabilities[candidates],
        labels=labels[is_answered],
        answered_probabilities=probabilities[is_answered],
        features=lambda rows: maps[rows],
        embeddings=lambda rows: vectors[rows],
        passes=passes,
        boxes=lambda rows: boxes[rows],
        places=Places(
            tomograms[candidates],
            positions[candidates],
            probabilities[candidates].argmax(axis=1),
        ),
        limits=limits or Limits(),
        power=power,
        seed=seed,
    )


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """One CPU thread: on tensors this small more of them only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Discriminators learn for a moment only, where what they learn does not matter."""
    for name, recipe in RECIPES.items():
        short = replace(recipe, max_steps=30, warm_steps=20, batch=min(recipe.batch, 64))
        monkeypatch.setitem(RECIPES, name, short)


def quick(module: ModuleType, **settings: object) -> QuerySettings:
    """Settings with which a strategy learns for a moment only."""
    small = {"steps": 2, "batch": 4, "samples": 3}
    own = {name: small[name] for name in described(module) if name in small}
    options = module.Options(**own) if described(module) else None
    return QuerySettings(options=options, **{"subsets": 3, **settings})  # type: ignore[arg-type]


@pytest.fixture
def make_pool() -> MakePool:
    return _pool
