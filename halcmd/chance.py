"""Seeded chance that does not depend on file order: keyed by (seed, what for, particle)."""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np


def derive(seed: int, *keys: object) -> int:
    """A 63-bit seed for one purpose, from the user's seed and words or numbers that name it."""
    text = "\x1f".join(str(key) for key in (seed, *keys))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *keys: object) -> np.random.Generator:
    """A NumPy generator for one purpose."""
    return np.random.default_rng(derive(seed, *keys))


def keyed_uniform(seed: int, purpose: str, ids: Iterable[str]) -> np.ndarray:
    """One number in [0, 1) per id that depends on the seed, the purpose and the id alone.

    Returns
    -------
    ndarray, shape (n,), float64
        Sort by it for a random order that survives reordering of the table.
    """
    start = blake2b(f"{seed}\x1f{purpose}\x1f".encode(), digest_size=8)

    def number(name: str) -> int:
        digest = start.copy()
        digest.update(name.encode())
        return int.from_bytes(digest.digest(), "little") >> 11

    return np.fromiter(map(number, ids), dtype=np.float64) * 2.0**-53
