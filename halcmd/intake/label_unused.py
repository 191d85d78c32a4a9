"""Answers of label files that are not taken: which, why, and of which particles they might be."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from halcmd.console import log
from halcmd.errors import InputError, first_few
from halcmd.formats.star import Star, Table, text_of, write_star
from halcmd.intake.labels import LabelFile
from halcmd.labels.annotations import Answer
from halcmd.labels.matching import AMBIGUOUS, MISPLACED, NO_MATCH, Match
from halcmd.particles import UNLABELLED, Particles

NOT_ASKED = "not_asked"
OUTVOTED = "outvoted"

REASONS = {MISPLACED: "misplaced", AMBIGUOUS: "ambiguous", NO_MATCH: "unmatched"}
"""Why a row has no particle."""

_FAULTS = {
    MISPLACED: (
        "the same id stands at another place",
        "--match coordinate if the labels are of another extraction, --coords-angpix if their "
        "coordinates are other pixels, a larger --max-distance if points were moved",
    ),
    AMBIGUOUS: (
        "labels that fit several particles",
        "labels with halParticleId, or a smaller --max-distance",
    ),
    NO_MATCH: (
        "labels for particles that are not in the table",
        "check --i and --match",
    ),
}
_AT_NO_PLACE = (
    "check --i and the names of the tomograms; --coords-angpix if the coordinates are other "
    "pixels, a larger --max-distance if points were moved"
)

Taken = tuple[LabelFile, int, int]
"""An answer that counts: its file, its row there, and the row of the table."""

_SHOWN = 3  # candidates of a row in a message


@dataclass(frozen=True)
class Unused:
    """An answer that is not taken.

    Attributes
    ----------
    file : LabelFile
        Where it stands.
    row : int
        In the file, from 0.
    reason : str
        ``unmatched``, ``ambiguous``, ``misplaced``, ``not_asked`` or ``outvoted``.
    candidates : tuple of str
        halParticleId of the particles that it could be of, or that it is of.
    """

    file: LabelFile
    row: int
    reason: str
    candidates: tuple[str, ...] = ()


def without_particle(
    particles: Particles, file: LabelFile, match: Match, *, allowed: bool, everything: bool
) -> list[Unused]:
    """The answers of a file that are of no particle, of several, or of one that lies elsewhere.

    Parameters
    ----------
    particles : Particles
        The table that ``match`` points at.
    file : LabelFile
        With an answer in some rows.
    match : Match
        The particle of each row.
    allowed : bool
        They are left out with a warning, if other rows have their particle.
    everything : bool
        False where only some particles are asked for, so that answers for others do not surprise.

    Raises
    ------
    InputError
        There are such answers, and they are not to be left out.
    """
    answered = file.labels != UNLABELLED
    unused = []
    for kind, reason in REASONS.items():
        rows = np.flatnonzero((match.rows == kind) & answered).tolist()
        found = [_unused(particles, file, row, reason, match) for row in rows]
        is_expected = kind == NO_MATCH and not everything
        if found and not is_expected and not (allowed and match.matched.any()):
            what, hint = _FAULTS[kind]
            if kind == NO_MATCH and match.by == "coordinate":
                hint = _AT_NO_PLACE
            shown = first_few([_said(one) for one in found])
            far = f", up to {match.far:.0f} A away" if kind == MISPLACED else ""
            left = "" if allowed else "; --allow-unmatched leaves these rows out, and lists them"
            raise InputError(
                what,
                where=str(file.path),
                found=shown + far,
                hint=hint + left,
            )
        unused += found
    return unused


def outvoted(
    particles: Particles, taken: Iterable[Taken], merged: Mapping[int, Answer]
) -> list[Unused]:
    """The answers that another one for the same particle has overruled.

    Parameters
    ----------
    particles : Particles
        The table.
    taken : iterable of Taken
        The answers.
    merged : mapping of int to Answer
        Row of the table to the answer that counts.
    """
    return [
        Unused(file, row, OUTVOTED, (str(particles.ids[own]),))
        for file, row, own in taken
        if file.labels[row] != merged[own].label
    ]


def write_unused(path: Path, unused: list[Unused]) -> None:
    """Write the answers that are not taken, if there are any: what the file says, and why."""
    if not unused:
        return
    for reason in dict.fromkeys(one.reason for one in unused):
        say = log.info if reason in {NOT_ASKED, OUTVOTED} else log.warning
        shown = first_few([_said(one) for one in unused if one.reason == reason])
        say(f"not used, {reason.replace('_', ' ')}: {shown}, see {path.name}")
    columns: dict[str, list[str]] = {
        "halUnusedReason": [one.reason for one in unused],
        "halLabelFile": [one.file.path.name for one in unused],
        "halLabelRow": [str(one.row + 1) for one in unused],
        "halLabel": [str(one.file.labels[one.row]) for one in unused],
        "halParticleId": [_text(one.file.ids, one.row) for one in unused],
        "halImageName": [_text(one.file.images, one.row) for one in unused],
        "halTomogram": [_tomogram(one) for one in unused],
    }
    for axis, name in enumerate("XYZ"):
        columns[f"halCoordinate{name}"] = text_of([_coordinate(one, axis) for one in unused], 3)
    columns["halCandidates"] = [",".join(one.candidates) or "none" for one in unused]
    write_star(path, Star((Table.from_columns("unused", columns),)))


def _unused(particles: Particles, file: LabelFile, row: int, reason: str, match: Match) -> Unused:
    candidates = match.candidates.get(row, ())
    return Unused(file, row, reason, tuple(str(particles.ids[own]) for own in candidates))


def _said(one: Unused) -> str:
    """A row as a message names it: its number, its id or image, and what it could be."""
    names = (_text(texts, one.row) for texts in (one.file.ids, one.file.images))
    known = next((name for name in names if name != "none"), "")
    place = _tomogram(one)
    where = known or (f"in {place}" if place != "none" else "")
    row = f"row {one.row + 1} {where}".strip()
    if one.reason != REASONS[AMBIGUOUS]:
        return row
    more = ", ..." if len(one.candidates) > _SHOWN else ""
    return f"{row} is {' or '.join(one.candidates[:_SHOWN])}{more}"


def _text(names: np.ndarray | None, row: int) -> str:
    return "none" if names is None else str(names[row]) or "none"


def _tomogram(one: Unused) -> str:
    return _text(None if one.file.picks is None else one.file.picks.tomograms, one.row)


def _coordinate(one: Unused, axis: int) -> float:
    return float("nan") if one.file.picks is None else one.file.picks.coordinates[one.row, axis]
