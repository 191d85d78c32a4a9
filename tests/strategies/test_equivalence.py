"""Fast forms against the plain ones, and against scikit-activeml's."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from skactiveml.pool import batch_bald, uncertainty_scores
from skactiveml.pool._badge import _d_2
from skactiveml.pool._core_set import k_greedy_center
from skactiveml.pool._typi_clust import _typicality

from halcmd.strategies import badge, bald, coreset, entropy, least_confidence, margin, typiclust
from halcmd.strategies.direct import best_border
from halcmd.strategies.ee_bmal import likeness_penalised
from halcmd.strategies.one_by_one import drawn, nearest_of
from halcmd.strategies.pool import Pool, QuerySettings
from tests.strategies.conftest import quick

MakePool = Callable[..., Pool]
SETTINGS = QuerySettings()


def pool_of(
    vectors: np.ndarray,
    *,
    answered: int = 0,
    probabilities: np.ndarray | None = None,
    seed: int = 0,
) -> Pool:
    """A pool of these embeddings, the first of which have an answer."""
    count = len(vectors)
    return Pool(
        ids=np.array([f"TS_1/{row:06d}" for row in range(count)], dtype=object),
        candidates=np.arange(answered, count),
        answered=np.arange(answered),
        probabilities=None if probabilities is None else probabilities[answered:],
        embeddings=lambda rows: vectors[rows],
        seed=seed,
    )


def vectors_in(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize(
    ("strategy", "method"),
    [(entropy, "entropy"), (margin, "margin_sampling"), (least_confidence, "least_confident")],
)
def test_uncertainties_are_those_of_scikit_activeml(strategy, method: str) -> None:
    rows = np.random.default_rng(0).dirichlet(np.full(5, 0.4), 200)
    pool = pool_of(vectors_in(200, 2), probabilities=rows)
    score = strategy.select(pool, 10, SETTINGS).score
    np.testing.assert_allclose(score, uncertainty_scores(rows, method=method), atol=1e-12)


def test_two_classes_have_one_order_of_uncertainty() -> None:
    rows = np.random.default_rng(0).dirichlet([1.0, 1.0], 150)
    pool = pool_of(vectors_in(150, 2), probabilities=rows)
    asked = [s.select(pool, 30, SETTINGS).chosen for s in (entropy, margin, least_confidence)]
    assert asked[0].tolist() == asked[1].tolist() == asked[2].tolist()


@pytest.mark.parametrize("answered", [1, 20])
def test_coreset_is_farthest_first_as_by_a_matrix_of_all_distances(answered: int) -> None:
    vectors = vectors_in(200, 8)
    pool = pool_of(vectors, answered=answered)
    found = coreset.select(pool, 25, SETTINGS)
    distances = cdist(vectors.astype(float), vectors.astype(float))
    centres, radii = list(range(answered)), []
    for _ in range(25):
        nearest = distances[:, centres].min(axis=1)
        radii.append(nearest.max())
        centres.append(int(nearest.argmax()))
    assert (found.chosen + answered).tolist() == centres[answered:]
    np.testing.assert_allclose(found.score[found.chosen], radii, rtol=1e-9)
    labels = np.where(np.arange(200) < answered, 0.0, np.nan)
    theirs = k_greedy_center(vectors, labels, batch_size=25, random_state=0)[0]
    assert (found.chosen + answered).tolist() == theirs.tolist()


def test_nearest_of_is_the_least_of_all_distances() -> None:
    ours, others = vectors_in(300, 12), vectors_in(50, 12, seed=1)
    expected = cdist(ours.astype(float), others.astype(float)).min(axis=1) ** 2
    np.testing.assert_allclose(nearest_of(ours, others), expected, rtol=1e-9)
    assert np.isinf(nearest_of(ours, others[:0])).all()


def gradients(rows: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The embeddings of gradients, formed: shape (n, n_classes * d)."""
    errors = rows.copy()
    errors[np.arange(len(rows)), rows.argmax(axis=1)] -= 1.0
    return (errors[:, :, None] * vectors[:, None, :].astype(float)).reshape(len(rows), -1)


def test_badge_distances_are_those_of_formed_gradients() -> None:
    rows, vectors = np.random.default_rng(0).dirichlet(np.full(6, 0.5), 300), vectors_in(300, 10)
    formed = gradients(rows, vectors)
    errors = badge.errors_of(rows)
    lengths = (errors**2).sum(axis=1) * (vectors**2).sum(axis=1)
    for place in (0, 7, 299):
        expected = ((formed - formed[place]) ** 2).sum(axis=1)
        found = badge.gradient_distances(errors, vectors, lengths, place)
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_badge_starts_at_the_largest_gradient_and_keeps_the_nearest_distance() -> None:
    rows, vectors = np.random.default_rng(0).dirichlet(np.full(4, 0.5), 120), vectors_in(120, 6)
    found = badge.select(pool_of(vectors, probabilities=rows), 15, SETTINGS)
    formed = gradients(rows, vectors)
    assert found.chosen[0] == (formed**2).sum(axis=1).argmax()
    left = np.full(len(rows), np.inf)
    for count, position in enumerate(found.chosen):
        left = _d_2(formed, found.chosen[: count + 1].tolist(), left)
        if count:
            assert found.score[position] > 0
    others = np.setdiff1d(np.arange(120), found.chosen)
    np.testing.assert_allclose(found.score[others], left[others], rtol=1e-9)


def test_badge_draws_in_proportion_to_squared_distance() -> None:
    rows, vectors = np.random.default_rng(3).dirichlet(np.full(3, 0.5), 6), vectors_in(6, 4, seed=3)
    formed = gradients(rows, vectors)
    first = int((formed**2).sum(axis=1).argmax())
    squared = ((formed - formed[first]) ** 2).sum(axis=1)
    seconds = [
        int(badge.select(pool_of(vectors, probabilities=rows, seed=seed), 2, SETTINGS).chosen[1])
        for seed in range(1500)
    ]
    shares = np.bincount(seconds, minlength=6) / 1500
    np.testing.assert_allclose(shares, squared / squared.sum(), atol=0.045)


def test_where_all_gradients_are_zero_badge_takes_anything() -> None:
    rows = np.eye(3)[np.arange(30) % 3]
    chosen = badge.select(pool_of(vectors_in(30, 4), probabilities=rows), 12, SETTINGS).chosen
    assert len(set(chosen.tolist())) == 12


def test_drawing_never_takes_what_is_taken() -> None:
    draw = drawn(np.random.default_rng(0))
    nearest = np.array([-1.0, 0.0, 2.0, -1.0, 1.0, 0.0], dtype=np.float32)
    assert {draw(nearest) for _ in range(200)} == {2, 4}
    assert draw(np.array([-1.0, -1.0, 0.0, 0.0], dtype=np.float32)) == 2


def entropies(rows: np.ndarray) -> np.ndarray:
    return -(rows * np.log(rows)).sum(axis=-1)


@pytest.mark.parametrize("acquisition", bald.ACQUISITIONS)
def test_bald_running_sums_are_those_over_all_passes_at_once(
    make_pool: MakePool, acquisition: str
) -> None:
    pool = make_pool()
    options = bald.Options(acquisition=acquisition, samples=12)
    score = bald.select(pool, 10, replace(SETTINGS, options=options)).score
    kept = np.stack([*pool.passes(pool.candidates, 12, None)])
    expected = {
        "bald": entropies(kept.mean(axis=0)) - entropies(kept).mean(axis=0),
        "entropy": entropies(kept.mean(axis=0)),
        "varratio": 1 - kept.mean(axis=0).max(axis=1),
        "meanstd": kept.std(axis=0).mean(axis=1),
    }[acquisition]
    np.testing.assert_allclose(score, expected, atol=1e-7)


def test_bald_is_that_of_scikit_activeml(make_pool: MakePool) -> None:
    pool = make_pool()
    score = bald.select(pool, 1, quick(bald)).score
    kept = np.stack([*pool.passes(pool.candidates, 3, None)])
    utilities = batch_bald(kept, batch_size=1, random_state=0)
    np.testing.assert_allclose(score, utilities[0], atol=1e-7)


@pytest.mark.parametrize(("count", "neighbours"), [(300, 20), (60, 5), (7, 3)])
def test_typicality_is_one_over_the_mean_distance_to_the_nearest(
    count: int, neighbours: int
) -> None:
    vectors = vectors_in(count, 5)
    found = typiclust.typicality(vectors, neighbours)
    near = np.sort(cdist(vectors.astype(float), vectors.astype(float)), axis=1)[:, 1:]
    np.testing.assert_allclose(found, 1 / near[:, :neighbours].mean(axis=1), rtol=1e-9)
    theirs = _typicality(vectors.astype(float), np.arange(count), neighbours)
    np.testing.assert_allclose(found, theirs, rtol=1e-6)


def test_typicality_of_small_clusters() -> None:
    assert typiclust.typicality(vectors_in(1, 3), 20).tolist() == [0.0]
    near = cdist(*[vectors_in(4, 3).astype(float)] * 2)
    expected = 1 / np.sort(near, axis=1)[:, 1:3].mean(axis=1)  # half of the cluster at most
    np.testing.assert_allclose(typiclust.typicality(vectors_in(4, 3), 20), expected, rtol=1e-9)


def test_likeness_penalised_is_the_plain_greedy_choice() -> None:
    rng = np.random.default_rng(0)
    value, units = rng.random(60), vectors_in(60, 4)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    found = [place for place, _ in likeness_penalised(value, units, 1.0, 10, lambda _: True)]
    taken: list[int] = []
    for _ in range(10):
        mean = units @ units[taken].T if taken else np.zeros((60, 1))
        now = value - mean.mean(axis=1)
        now[taken] = -np.inf
        taken.append(int(now.argmax()))
    assert found == taken


def test_best_border_errs_least_of_all_borders() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        candidates, known = np.sort(rng.normal(size=40)), rng.normal(size=12)
        is_class = rng.random(12) < 1 / (1 + np.exp(-2 * known))
        border = best_border(candidates, known, is_class)
        edges = np.concatenate([[-np.inf], candidates, [np.inf]])

        def errors(place: float, known: np.ndarray = known, is_class: np.ndarray = is_class) -> int:
            return int((is_class & (known < place)).sum() + (~is_class & (known >= place)).sum())

        low, high = edges[border], edges[border + 1]
        between = [low, *known[(known > low) & (known <= high)], high]
        here = min(errors(place) for place in between)
        assert here == min(errors(place) for place in [-np.inf, *known, np.inf])
