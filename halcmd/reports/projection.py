"""Embeddings on a plane."""

import numpy as np
from numpy.typing import NDArray

_COMPONENTS = 50
_LEAST_FOR_TSNE = 30
_NEIGHBOURS = 30.0
# Half the usual steps and coarser cells: half the time, and neighbours are kept as well.
_STEPS, _COARSENESS = 500, 0.8


def on_a_plane(vectors: NDArray[np.floating], seed: int) -> tuple[NDArray[np.float64], str]:
    """Points such that similar vectors lie together, and the name of the method.

    Parameters
    ----------
    vectors : ndarray, shape (n, d)
        Finite.
    seed : int

    Returns
    -------
    points : ndarray, shape (n, 2), float64
        The same for the same vectors, on however many threads.
    method : str
        ``t-SNE`` (van der Maaten and Hinton 2008) of the first 50 principal components; with fewer
        than 30 different vectors ``principal component``: the first two themselves.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # sums over threads would be added up in another order each time
        components = _principal_components(vectors)
        if len(np.unique(vectors, axis=0)) < _LEAST_FOR_TSNE:
            return components[:, :2], "principal component"
        return _tsne(components, seed), "t-SNE"


def _principal_components(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Coordinates along the first principal axes, two at least, shape (n, 2 to 50)."""
    centred = vectors.astype(np.float64)
    centred -= centred.mean(axis=0)
    left, sizes, right = np.linalg.svd(centred, full_matrices=False)
    # An axis may point either way: let its largest entry be positive.
    largest = np.take_along_axis(right, np.abs(right).argmax(axis=1)[:, None], axis=1)[:, 0]
    found = (left * sizes * np.where(largest < 0, -1.0, 1.0))[:, :_COMPONENTS]
    missing = max(2 - found.shape[1], 0)
    return np.pad(found, ((0, 0), (0, missing)))


def _tsne(components: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    from sklearn.manifold import TSNE

    start = components[:, :2] / components[:, 0].std() * 1e-4
    found: NDArray[np.float32] = TSNE(
        perplexity=min(_NEIGHBOURS, (len(components) - 1) / 3),
        init=start.astype(np.float32),
        max_iter=_STEPS,
        angle=_COARSENESS,
        random_state=seed % 2**32,
    ).fit_transform(components.astype(np.float32))
    return found.astype(np.float64)
