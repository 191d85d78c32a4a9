"""Embeddings on a plane: neighbours stay neighbours; nothing is too few or too alike."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_info, threadpool_limits

from halcmd.reports import projection
from halcmd.reports.projection import on_a_plane


def clusters(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    group = np.arange(n) % 3
    return (4 * rng.normal(size=(3, 64))[group] + rng.normal(size=(n, 64))).astype(
        np.float16
    ), group


def test_neighbours_on_the_map_are_of_the_same_cluster(rng):
    vectors, group = clusters(150, rng)
    points, method = on_a_plane(vectors, seed=0)
    assert method == "t-SNE"
    assert points.shape == (150, 2)
    distances = np.linalg.norm(points[:, None] - points, axis=2) + np.diag(np.full(150, np.inf))
    assert (group[distances.argmin(axis=1)] == group).all()


def test_the_map_is_the_same_each_time_since_one_thread_adds_up(rng, monkeypatch):
    vectors, _ = clusters(120, rng)
    inside, threads = projection._tsne, set()

    def listen(components: np.ndarray, seed: int) -> np.ndarray:
        threads.update(pool["num_threads"] for pool in threadpool_info())
        return inside(components, seed)

    monkeypatch.setattr(projection, "_tsne", listen)
    with threadpool_limits(4):
        one, other = (on_a_plane(vectors, seed=0)[0] for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert threads == {1}


def test_few_particles_lie_where_scikit_learn_puts_them(rng):
    vectors, _ = clusters(12, rng)
    points, method = on_a_plane(vectors, seed=0)
    assert method == "principal component"
    expected = PCA(2).fit_transform(vectors.astype(float))
    for column in (0, 1):
        sign = np.sign(points[0, column] * expected[0, column])
        np.testing.assert_allclose(points[:, column], sign * expected[:, column], atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 8), (2, 8), (40, 1), (40, 2)])
def test_any_number_of_particles_and_dimensions(rng, shape):
    points, _ = on_a_plane(rng.normal(size=shape).astype(np.float16), seed=0)
    assert points.shape == (shape[0], 2)
    assert np.isfinite(points).all()


@pytest.mark.parametrize("vectors", [np.full((60, 8), 3.0), np.repeat(np.eye(8), 10, axis=0)])
def test_embeddings_that_are_alike(vectors):
    points, method = on_a_plane(vectors.astype(np.float16), seed=0)
    assert method == "principal component"
    assert np.isfinite(points).all()


def test_the_largest_half_precision_numbers(rng):
    vectors = np.where(rng.random((40, 64)) < 0.5, -65504, 65504).astype(np.float16)
    points, _ = on_a_plane(vectors, seed=0)
    assert np.isfinite(points).all()
