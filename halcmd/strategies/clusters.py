"""k-means clusters of embeddings, the same for the same particles in any order of the file."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans, MiniBatchKMeans

from halcmd.strategies.limits import Basket
from halcmd.strategies.pool import Rows

# Above this many vectors times clusters, k-means goes by batches; below it is exact, and quick.
_FEW = 2_000_000
_BATCH = 16_384
_MOST_STEPS = 150


def cluster(
    vectors: NDArray[np.floating], n_clusters: int, *, seed: int
) -> tuple[Rows, NDArray[np.floating]]:
    """The cluster of each vector, and the centres.

    Parameters
    ----------
    vectors : ndarray, shape (n, d)
        In an order of the particles' own (``Pool.order``).
    n_clusters : int
        Fewer where there are not so many vectors.
    seed : int

    Returns
    -------
    clusters : ndarray, shape (n,), int
    centres : ndarray, shape (n_clusters, d)
    """
    n_clusters = min(n_clusters, len(vectors))
    state = seed % 2**32
    if len(vectors) * n_clusters <= _FEW:
        found = KMeans(n_clusters, n_init=1, random_state=state).fit(vectors)
    else:
        epochs = max(_MOST_STEPS * _BATCH // len(vectors), 1)
        found = MiniBatchKMeans(
            n_clusters,
            batch_size=_BATCH,
            max_iter=epochs,
            n_init=1,
            init_size=max(_BATCH, 3 * n_clusters),
            random_state=state,
        ).fit(vectors)
    return found.labels_.astype(np.intp), found.cluster_centers_


def take_in_turn(basket: Basket, queues: list[Iterator[int]]) -> None:
    """Take one candidate of each queue, then one more of each, until nothing is left or wanted."""
    while queues and not basket.full:
        queues = [queue for queue in queues if not basket.full and _took_one(basket, queue)]


def _took_one(basket: Basket, queue: Iterator[int]) -> bool:
    """Whether there was one in the queue that the limits allow."""
    return any(basket.take(position) for position in queue)
