"""Which particle a row of another file is: by id, by image name, or by position."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from halcmd.console import log
from halcmd.errors import InputError, first_few
from halcmd.particles import Particles

NO_MATCH = -1
AMBIGUOUS = -2
MISPLACED = -3
_SAME_PLACE = 1e-3  # Angstrom: positions have three decimals
_MOVED = 50.0  # Angstrom


@dataclass(frozen=True)
class Match:
    """Rows of the particle table for rows of another file.

    Attributes
    ----------
    by : str
        ``id``, ``name`` or ``coordinate``.
    rows : ndarray, shape (n,), int
        Row of the particle table; ``NO_MATCH``, ``AMBIGUOUS``, or ``MISPLACED`` where the particle
        of that id lies at another place.
    candidates : mapping of int to tuple of int
        Row of the file to the rows of the particle table that it could be, where it is ambiguous
        or misplaced.
    far : float
        Largest distance of a misplaced row from its particle, Angstrom.
    """

    by: str
    rows: np.ndarray
    candidates: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    far: float = 0.0

    @property
    def matched(self) -> np.ndarray:
        """Whether a row has its particle, shape (n,), bool."""
        return np.asarray(self.rows >= 0)

    def filled(self, other: "Match", where: np.ndarray, by: str) -> "Match":
        """This match, and another one's rows where that is said, shape (n,), bool."""
        candidates = {row: found for row, found in self.candidates.items() if not where[row]}
        candidates |= {row: found for row, found in other.candidates.items() if where[row]}
        rows = np.where(where, other.rows, self.rows)
        return Match(by, rows, candidates, max(self.far, other.far))


def match_ids(wanted: Sequence[str], ids: Sequence[str]) -> Match:
    """Rows whose halParticleId is the same."""
    return Match("id", *_lookup(wanted, ids))


def check_same_particles(table: Particles, other: Particles, rows: NDArray[np.intp]) -> None:
    """Raise InputError where the ids of another table are of other particles.

    Ids count the picks of a tomogram, so those of another extraction may be the same. That is told
    by the positions, where both tables have them: most of a tomogram lie farther apart than picks
    are moved. Of fewer a warning tells.

    Parameters
    ----------
    table, other : Particles
    rows : ndarray, shape (len(other),), int
        Row of the table that has the id of each row of the other; -1 = none.
    """
    if not (table.has("halPositionXAngst") and other.has("halPositionXAngst")):
        return
    apart = np.full(len(rows), np.nan)
    is_there = rows >= 0
    apart[is_there] = np.linalg.norm(
        table.positions[rows[is_there]] - other.positions[is_there], axis=1
    )
    known = np.flatnonzero(np.isfinite(apart))
    if not len(known):
        return
    is_moved = apart[known] > _MOVED
    names, tomogram = np.unique(other.tomograms[known].astype(str), return_inverse=True)
    share = np.bincount(tomogram, weights=is_moved) / np.bincount(tomogram)
    where, moved = f"{other.path} and {table.path}", other.ids[known[is_moved]]
    if share.max() > 0.5:
        raise InputError(
            "the same ids are of particles at other places",
            where=f"{where}, tomogram {names[share.argmax()]}",
            found=f"{first_few(moved)}, up to {apart[known].max():.0f} A apart",
            hint="both must come from the same extraction; if they do, take halPositionXAngst out "
            "of one of them",
        )
    if is_moved.any():
        log.warning(
            f"{where}: particles of the same id stand up to {apart[known].max():.0f} A apart: "
            f"{first_few(moved)}"
        )


def match_names(wanted: Sequence[str], names: Sequence[str]) -> Match:
    """Rows whose image is the same: the whole path, else the base name where it is unique."""
    whole = Match("name", *_lookup([_path(n) for n in wanted], [_path(n) for n in names]))
    left = whole.rows == NO_MATCH
    if not left.any():
        return whole
    last = Match("name", *_lookup([_base(n) for n in wanted], [_base(n) for n in names]))
    return whole.filled(last, left, "name")


def match_positions(
    tomograms: np.ndarray,
    positions: np.ndarray,
    table_tomograms: np.ndarray,
    table_positions: np.ndarray,
    distance: float,
    voxel: float = 0.0,
) -> Match:
    """Rows of the same tomogram that are nearest to one another, within a distance.

    A row has the particle nearest to it, if no other row is nearer to that particle. It is
    ambiguous where a second particle is less than three times as far away, or where both lie within
    a voxel.

    Parameters
    ----------
    tomograms, table_tomograms : ndarray, shape (n,) and (m,), object of str
        Normalised names.
    positions, table_positions : ndarray, shape (n, 3) and (m, 3), Angstrom
        In the same axis order; rows that are not finite have no particle.
    distance : float
        Angstrom.
    voxel : float
        Angstrom.
    """
    rows = np.full(len(positions), NO_MATCH)
    candidates: dict[int, tuple[int, ...]] = {}
    placed = np.isfinite(positions).all(axis=1)
    known = np.isfinite(table_positions).all(axis=1)
    for name in dict.fromkeys(tomograms[placed]):
        here = np.flatnonzero(placed & (tomograms == name))
        there = np.flatnonzero(known & (table_tomograms == name))
        if len(there):
            found, near = _nearest(positions[here], table_positions[there], distance, voxel)
            rows[here] = np.where(found >= 0, there[found], found)
            for place in np.flatnonzero(found == AMBIGUOUS):
                candidates[int(here[place])] = tuple(there[near[place]].tolist())
    return Match("coordinate", rows, candidates)


def _nearest(
    positions: np.ndarray, table_positions: np.ndarray, distance: float, voxel: float
) -> tuple[np.ndarray, np.ndarray]:
    """For each position the place of its particle in the table, or NO_MATCH, or AMBIGUOUS.

    Also the places of the two nearest particles, shape (n, 2); the second is meant where there is
    one, as there is wherever a position is ambiguous.
    """
    gaps, places = cKDTree(table_positions).query(positions, k=[1, 2])
    first, second = gaps.T
    found = places[:, 0]
    nearest_row = cKDTree(positions).query(table_positions[found])[0]
    # Rows at one and the same place are several answers for one particle, which all count.
    matched = (first <= distance) & (first <= nearest_row + _SAME_PLACE)
    rivals = (second < 3 * first) | (second <= voxel)
    return np.where(matched, np.where(rivals, AMBIGUOUS, found), NO_MATCH), places


def _lookup(
    wanted: Sequence[str], names: Sequence[str]
) -> tuple[np.ndarray, dict[int, tuple[int, ...]]]:
    """The row of each name, or NO_MATCH, or AMBIGUOUS; and where that is so, all its rows."""
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows_of.setdefault(name, []).append(row)
    found = [rows_of.get(name, []) for name in wanted]
    rows = [AMBIGUOUS if len(own) > 1 else own[0] if own else NO_MATCH for own in found]
    candidates = {row: tuple(own) for row, own in enumerate(found) if len(own) > 1}
    return np.array(rows, dtype=int), candidates


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
