"""How far a particle is from all labelled ones, for particles of no known class.

Of class probabilities, their entropy or the energy of the logits none can be used for that: a
particle of a class that the network was never shown is often taken for another one with more
confidence than any known particle (examples/benchmark_labels.py).
"""

import numpy as np
from numpy.typing import NDArray

from halcmd.chance import keyed_uniform
from halcmd.particles import NOT_TRAINED, UNLABELLED, Particles

# What is compared with; so 10^6 particles that are all labelled take half a minute, not hours.
_MOST_KNOWN = 2**13
_DISTANCES = 2**22  # at once: 16 MB

Rows = NDArray[np.intp]


def known_places(particles: Particles, rows: Rows) -> Rows:
    """Places among these rows of the particles of a known class: labelled, of the pool.

    Where there are very many, a random 8,192 of them, the same in any order of the table.
    """
    # one after the other, so that no text of a million rows is kept
    labels, splits = particles.each("halLabel", UNLABELLED), particles.each("halSplit", "pool")
    is_known = np.fromiter(
        (
            label != UNLABELLED and label not in NOT_TRAINED and split != "test"
            for label, split in zip(labels, splits, strict=True)
        ),
        dtype=bool,
        count=len(particles),
    )
    known = np.flatnonzero(is_known[rows])
    if len(known) <= _MOST_KNOWN:
        return known
    keys = keyed_uniform(0, "known", particles.ids[rows[known]])
    return np.sort(known[np.argsort(keys)[:_MOST_KNOWN]])


def unfamiliarity(embeddings: NDArray[np.floating], known: Rows) -> NDArray[np.float64]:
    """Distance to the most similar of the known particles, divided by the embedding's own length.

    Parameters
    ----------
    embeddings : ndarray, shape (n, d)
        Penultimate vectors; may be memory-mapped.
    known : ndarray of int
        Which of them are of a known class; each of those is compared with the others.

    Returns
    -------
    ndarray, shape (n,), float64
        0 = as one that is known; NaN where there is nothing to compare with.

    References
    ----------
    Sun et al. 2022 (2204.06507): distance to the nearest neighbour; there of vectors of length 1.
    """
    far = np.full(len(embeddings), np.nan)
    reference = embeddings[known].astype(np.float32)
    if not len(known):
        return far
    squares = np.square(reference).sum(axis=1)
    column = np.full(len(embeddings), -1, dtype=np.intp)
    column[known] = np.arange(len(known))
    at_once = max(_DISTANCES // len(known), 1)
    for start in range(0, len(embeddings), at_once):
        part = slice(start, start + at_once)
        vectors = embeddings[part].astype(np.float32)
        own = np.square(vectors).sum(axis=1)
        distances = own[:, None] + squares - 2 * vectors @ reference.T
        itself = np.flatnonzero(column[part] >= 0)
        distances[itself, column[part][itself]] = np.inf
        nearest = np.maximum(distances.min(axis=1), 0).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            far[part] = np.sqrt(nearest / own)
    return np.where(np.isfinite(far), far, np.nan)
