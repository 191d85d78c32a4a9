"""Rows of a table by a name that they share, such as their tomogram."""

from collections.abc import Iterator

import numpy as np


def groups_of(names: np.ndarray, is_wanted: np.ndarray) -> Iterator[np.ndarray]:
    """Rows that have the same name, rising, of those wanted; each group once.

    Parameters
    ----------
    names : ndarray, shape (n,), object of str
        Such as tomograms.
    is_wanted : ndarray, shape (n,), bool
    """
    rows, known = np.flatnonzero(is_wanted), dict[str, int]()
    codes = (known.setdefault(name, len(known)) for name in names[rows])
    number = np.fromiter(codes, np.intp, len(rows))
    ends = np.cumsum(np.bincount(number, minlength=len(known)))
    yield from np.split(rows[np.argsort(number, kind="stable")], ends[:-1]) if known else ()
