"""What every strategy promises, whatever it ranks by."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from types import ModuleType

import numpy as np
import pytest

from halcmd.columns import COLUMNS
from halcmd.errors import DataError
from halcmd.strategies import STRATEGIES
from halcmd.strategies.limits import Limits
from halcmd.strategies.pool import Pool, QuerySettings, highest
from tests.strategies.conftest import quick

MakePool = Callable[..., Pool]
pytestmark = pytest.mark.usefixtures("short_training")
SETTINGS = QuerySettings(subsets=3)
NEEDS = {
    "probabilities",
    "answered_probabilities",
    "labels",
    "answers",
    "embeddings",
    "features",
    "passes",
    "boxes",
}


LOADED = {name: import_module(path) for name, path in sorted(STRATEGIES.items())}
RANKING = [module for module in LOADED.values() if module.RANKS]
DRAWING = [LOADED["power-margin"]]


@pytest.fixture(params=sorted(STRATEGIES))
def strategy(request: pytest.FixtureRequest) -> ModuleType:
    return LOADED[request.param]


def asked(pool: Pool, chosen: np.ndarray) -> list[str]:
    return list(pool.ids[pool.candidates[chosen]])


def test_it_says_what_it_needs(strategy: ModuleType) -> None:
    assert strategy.NEEDS <= NEEDS
    assert strategy.__doc__
    assert isinstance(strategy.RANKS, bool)


@pytest.mark.parametrize("n", [0, 1, 2, 10, 1000])
def test_it_asks_for_n_candidates_once_each_or_for_all(
    strategy: ModuleType, make_pool: MakePool, n: int
) -> None:
    pool = make_pool()
    selection = strategy.select(pool, n, quick(strategy))
    assert len(selection.chosen) == min(n, len(pool))
    assert len(set(selection.chosen)) == len(selection.chosen)
    assert all(0 <= position < len(pool) for position in selection.chosen)


def test_scores_and_columns_are_aligned_with_the_candidates(
    strategy: ModuleType, make_pool: MakePool
) -> None:
    pool = make_pool()
    selection = strategy.select(pool, 10, quick(strategy))
    assert selection.score.shape == (len(pool),)
    assert np.isfinite(selection.score[selection.chosen]).all()
    for name, values in selection.columns.items():
        assert COLUMNS[name].by == "query"
        assert values.shape == (len(pool),)
        assert np.isfinite(values[selection.chosen]).all()


@pytest.mark.parametrize(
    "strategy",
    [module for module in RANKING if module not in DRAWING],
    ids=lambda module: module.__name__,
)
def test_better_scores_come_first(strategy: ModuleType, make_pool: MakePool) -> None:
    pool = make_pool()
    selection = strategy.select(pool, 10, quick(strategy, subsets=1))
    scores = selection.score[selection.chosen]
    assert (np.diff(scores) <= 0).all()
    others = np.delete(selection.score, selection.chosen)
    assert np.nanmax(others) <= scores[-1]


def test_the_same_seed_asks_for_the_same_and_the_table_order_changes_nothing(
    strategy: ModuleType, make_pool: MakePool
) -> None:
    pool = make_pool()
    again = make_pool()
    shuffled = make_pool(order=np.random.default_rng(1).permutation(160))
    first = asked(pool, strategy.select(pool, 12, quick(strategy)).chosen)
    assert asked(again, strategy.select(again, 12, quick(strategy)).chosen) == first
    assert asked(shuffled, strategy.select(shuffled, 12, quick(strategy)).chosen) == first


def test_limits_hold(strategy: ModuleType, make_pool: MakePool) -> None:
    limits = Limits(max_per_tomogram=4, min_distance=150.0, min_per_class=2)
    pool = make_pool(limits=limits)
    chosen = strategy.select(pool, 14, quick(strategy)).chosen
    assert len(chosen) == 14
    tomograms, predicted = pool.places.tomograms[chosen], pool.places.predicted[chosen]
    assert max(np.unique(tomograms, return_counts=True)[1]) <= 4
    assert min(np.bincount(predicted, minlength=4)) >= 2
    for one in range(14):
        for other in range(one):
            if tomograms[one] == tomograms[other]:
                apart = np.linalg.norm(
                    pool.places.positions[chosen[one]] - pool.places.positions[chosen[other]]
                )
                assert apart >= 150.0


@pytest.mark.parametrize("strategy", RANKING, ids=lambda module: module.__name__)
def test_stochastic_queries_are_seeded(strategy: ModuleType, make_pool: MakePool) -> None:
    pools = [make_pool(power=1.0, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (
        asked(pool, strategy.select(pool, 12, quick(strategy)).chosen) for pool in pools
    )
    assert len(set(first)) == 12
    assert first == again
    assert first != other


def test_probabilities_that_are_no_numbers_are_refused_or_not_looked_at(
    strategy: ModuleType, make_pool: MakePool
) -> None:
    pool, broken = make_pool(), make_pool()
    broken.probabilities[3] = np.nan
    if "probabilities" in strategy.NEEDS | getattr(strategy, "TAKES", frozenset()):
        with pytest.raises(DataError, match="not a number"):
            strategy.select(broken, 5, quick(strategy))
    else:
        chosen = strategy.select(pool, 5, quick(strategy)).chosen
        assert (strategy.select(broken, 5, quick(strategy)).chosen == chosen).all()


@pytest.mark.parametrize("need", ["embeddings", "features", "boxes"])
def test_arrays_that_are_no_numbers_are_refused_or_not_looked_at(
    strategy: ModuleType, make_pool: MakePool, need: str
) -> None:
    pool = make_pool()
    if hasattr(strategy, "TAKES"):
        pool = replace(pool, probabilities=None)
    read = getattr(pool, need)

    def with_a_hole(rows: np.ndarray) -> np.ndarray:
        values = np.array(read(rows))
        values[rows == pool.candidates[3]] = np.nan
        return values

    broken = replace(pool, **{need: with_a_hole})
    if need in strategy.NEEDS:
        with pytest.raises(DataError, match="not a number"):
            strategy.select(broken, 5, quick(strategy))
    else:
        chosen = strategy.select(pool, 5, quick(strategy)).chosen
        assert (strategy.select(broken, 5, quick(strategy)).chosen == chosen).all()


def test_ties_are_broken_by_the_seed_not_by_the_order(make_pool: MakePool) -> None:
    def first_five(**settings: object) -> list[str]:
        pool = make_pool(**settings)
        return asked(pool, pool.best(np.zeros(len(pool)), 5))

    assert first_five(seed=3) == first_five(seed=3, order=np.arange(160)[::-1])
    assert first_five(seed=3) != first_five(seed=4)


def test_highest_agrees_with_sorting() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        score = rng.integers(0, 5, 30).astype(float)
        score[rng.random(30) < 0.2] = -np.inf
        keys = rng.random(30)
        n = int(rng.integers(0, 35))
        order = sorted(range(30), key=lambda i: (-score[i], keys[i]))
        expected = [i for i in order if score[i] > -np.inf][:n]
        assert list(highest(score, n, keys)) == expected


def test_entropy_and_margin_agree_for_two_classes(make_pool: MakePool) -> None:
    pool = make_pool(classes=2)
    by_entropy, by_margin = (
        LOADED[name].select(pool, 20, SETTINGS).chosen for name in ("entropy", "margin")
    )
    assert set(by_entropy) == set(by_margin)


def test_entropy_and_margin_of_known_probabilities() -> None:
    from halcmd.strategies.entropy import entropy
    from halcmd.strategies.margin import margin

    rows = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.7, 0.2, 0.1]])
    expected = [
        np.log(2),
        0.0,
        np.log(3),
        -(0.7 * np.log(0.7) + 0.2 * np.log(0.2) - 0.1 * np.log(10)),
    ]
    np.testing.assert_allclose(entropy(rows), expected, atol=1e-15)
    np.testing.assert_allclose(margin(rows), [0.0, 1.0, 0.0, 0.5], atol=1e-15)
    np.testing.assert_array_equal(margin(np.ones((2, 1))), [1.0, 1.0])


def test_power_sampling_prefers_high_scores_in_proportion(make_pool: MakePool) -> None:
    scores = np.tile([1.0, 3.0], 50)
    first = [int(make_pool(power=1.0, seed=seed).best(scores, 1)[0]) % 2 for seed in range(400)]
    assert 0.68 < np.mean(first) < 0.82  # three in four
