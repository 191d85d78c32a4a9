"""Pools made of arrays, small enough to think through."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from halcmd.networks.discriminator import RECIPES
from halcmd.strategies.limits import Limits, Places
from halcmd.strategies.pool import Pool

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
) -> Pool:
    """A table of 160 rows in 4 tomograms: 40 answered, 20 of the test split, 100 candidates.

    ``order`` permutes the rows of the table. ``shift`` moves the maps of the answered rows.
    """
    rng = np.random.default_rng(7)
    ids = np.array([f"TS_{row % 4}/{row // 4 + 1:06d}" for row in range(N_ROWS)], dtype=object)
    maps = rng.normal(size=(N_ROWS, 2, 2, 2, 2)).astype(np.float32)
    maps[:N_ANSWERED] += shift
    probabilities = rng.dirichlet(np.full(classes, 0.5), N_ROWS)
    positions = rng.uniform(0, 1000, (N_ROWS, 3))
    kind = np.repeat([0, 1, 2], [N_ANSWERED, N_TEST, N_ROWS - N_ANSWERED - N_TEST])
    if order is not None:
        ids, maps, probabilities = ids[order], maps[order], probabilities[order]
        positions, kind = positions[order], kind[order]
    candidates = np.flatnonzero(kind == 2)
    tomograms = np.array([name.split("/")[0] for name in ids], dtype=object)
    return Pool(
        ids=ids,
        candidates=candidates,
        answered=np.flatnonzero(kind == 0),
        probabilities=probabilities[candidates],
        features=lambda rows: maps[rows],
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


@pytest.fixture
def make_pool() -> MakePool:
    return _pool
