"""The answers of several label files: what is taken of them, and what is not."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from halcmd.intake.label_unused import NOT_ASKED, REASONS, Taken, Unused, without_particle
from halcmd.intake.labels import LabelFile
from halcmd.labels.annotations import Answer, as_word
from halcmd.labels.matching import Match
from halcmd.particles import UNLABELLED, Particles


@dataclass(frozen=True)
class Found:
    """What label files say of the particles of a table.

    Attributes
    ----------
    taken : list of Taken
        The answers that count.
    unused : list of Unused
        The others.
    mentioned : set of int
        Rows of the table that a file has, with an answer or without.
    counts : Counter
        Rows of the files: ``matched``, ``unmatched``, ``ambiguous``, ``misplaced``.
    """

    taken: list[Taken]
    unused: list[Unused]
    mentioned: set[int]
    counts: Counter[str]


def find_answers(
    particles: Particles,
    files: Sequence[tuple[LabelFile, Match]],
    wanted: set[int],
    *,
    allowed: bool,
    everything: bool,
) -> Found:
    """The answers of label files, in their order.

    Parameters
    ----------
    particles : Particles
        The table to label.
    files : sequence of (LabelFile, Match)
        With the particle of each row.
    wanted : set of int
        Rows of the table that labels are taken for.
    allowed : bool
        Rows without a particle are left out with a warning.
    everything : bool
        False where labels are taken for some particles only.

    Raises
    ------
    InputError
        Rows without a particle that are not to be left out.
    """
    found = Found([], [], set(), Counter())
    for file, match in files:
        found.unused.extend(
            without_particle(particles, file, match, allowed=allowed, everything=everything)
        )
        found.mentioned.update(match.rows[match.matched].tolist())
        found.counts["matched"] += int(match.matched.sum())
        for kind, name in REASONS.items():
            found.counts[name] += int((match.rows == kind).sum())
        for place in np.flatnonzero(match.matched & (file.labels != UNLABELLED)).tolist():
            row = int(match.rows[place])
            if row in wanted:
                found.taken.append((file, place, row))
            else:
                found.unused.append(Unused(file, place, NOT_ASKED, (str(particles.ids[row]),)))
    return found


def answers_from(
    particles: Particles, taken: Sequence[Taken], annotator: str | None, label_round: str, date: str
) -> dict[int, list[Answer]]:
    """Row of the table to its answers, as the block of the table keeps them.

    Parameters
    ----------
    particles : Particles
        The table to label.
    taken : sequence of Taken
        The answers.
    annotator : str or None
        Who gave them; None = as each row of a file says, else the name of the file.
    label_round, date : str
        Of this import.
    """
    answers: dict[int, list[Answer]] = {}
    for file, place, row in taken:
        answer = Answer(
            str(particles.ids[row]),
            str(file.labels[place]),
            annotator=as_word(annotator or _stated(file.annotators, place) or file.path.name),
            round=label_round,
            file=as_word(file.path.name),
            date=date,
            time=as_word(_stated(file.times, place)) or "none",
        )
        answers.setdefault(row, []).append(answer)
    return answers


def _stated(texts: np.ndarray | None, place: int) -> str:
    """What a file says beside an answer; empty where it says nothing."""
    text = "" if texts is None else str(texts[place])
    return "" if text == "none" else text
