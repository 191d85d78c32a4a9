"""Which particle a row of another file is: by id, by image name, or by position."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from scipy.spatial import cKDTree

NO_MATCH = -1
AMBIGUOUS = -2


@dataclass(frozen=True)
class Match:
    """Rows of the particle table for rows of another file.

    Attributes
    ----------
    by : str
        ``id``, ``name`` or ``coordinate``.
    rows : ndarray, shape (n,), int
        Row of the particle table; ``NO_MATCH`` or ``AMBIGUOUS``.
    """

    by: str
    rows: np.ndarray

    @property
    def matched(self) -> np.ndarray:
        """Whether a row has its particle, shape (n,), bool."""
        return np.asarray(self.rows >= 0)


def match_ids(wanted: Sequence[str], ids: Sequence[str]) -> Match:
    """Rows whose halParticleId is the same."""
    return Match("id", _lookup(wanted, ids))


def match_names(wanted: Sequence[str], names: Sequence[str]) -> Match:
    """Rows whose image is the same: the whole path, else the base name where it is unique."""
    rows = _lookup([_path(name) for name in wanted], [_path(name) for name in names])
    left = np.flatnonzero(rows == NO_MATCH)
    if len(left):
        bases = [_base(name) for name in names]
        rows[left] = _lookup([_base(wanted[int(row)]) for row in left], bases)
    return Match("name", rows)


def match_positions(
    tomograms: np.ndarray,
    positions: np.ndarray,
    table_tomograms: np.ndarray,
    table_positions: np.ndarray,
    distance: float,
) -> Match:
    """Rows of the same tomogram whose position is nearest, within a distance.

    Parameters
    ----------
    tomograms, table_tomograms : ndarray, shape (n,) and (m,), object of str
        Normalised names.
    positions, table_positions : ndarray, shape (n, 3) and (m, 3), Angstrom
        In the same axis order.
    distance : float
        Angstrom. Where a second particle lies within it and not more than twice as far as the
        nearest, the row is ambiguous.
    """
    rows = np.full(len(positions), NO_MATCH)
    for name in dict.fromkeys(tomograms):
        here = np.flatnonzero(tomograms == name)
        there = np.flatnonzero(table_tomograms == name)
        if not len(there):
            continue
        neighbours = min(2, len(there))
        gaps, places = cKDTree(table_positions[there]).query(positions[here], k=neighbours)
        gaps, places = gaps.reshape(len(here), -1), places.reshape(len(here), -1)
        near = gaps[:, 0] <= distance
        found = np.where(near, there[places[:, 0]], NO_MATCH)
        if neighbours == 2:
            rival = near & (gaps[:, 1] <= distance) & (gaps[:, 1] <= 2 * gaps[:, 0])
            found = np.where(rival, AMBIGUOUS, found)
        rows[here] = found
    return Match("coordinate", rows)


def _lookup(wanted: Sequence[str], names: Sequence[str]) -> np.ndarray:
    counts = Counter(names)
    row_of = {name: row for row, name in enumerate(names)}
    rows = [AMBIGUOUS if counts[name] > 1 else row_of.get(name, NO_MATCH) for name in wanted]
    return np.array(rows, dtype=int)


def _path(name: str) -> str:
    """An image name with its number in one form and its path without ``./``."""
    number, at, path = name.rpartition("@")
    parts = [part for part in path.replace("\\", "/").split("/") if part not in {"", "."}]
    plain = "/".join(parts)
    return f"{int(number)}@{plain}" if at and number.isdigit() else plain


def _base(name: str) -> str:
    number, at, path = _path(name).rpartition("@")
    return number + at + path.rsplit("/", 1)[-1]


def id_number(name: str) -> int:
    """A number that stands for a name: 48 bits of its hash, which a float64 holds exactly.

    Of 20,000 names two have the same number with a chance of 1 in 10^6.
    """
    return int.from_bytes(blake2b(name.encode(), digest_size=6).digest(), "big")
