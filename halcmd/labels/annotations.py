"""Who gave which answer, and when: block ``hal_labels`` of the table, which only ever grows.

halLabel of the particle table is what holds; the block keeps all answers that have led to it, of
several people and several rounds. A table without the block is as good a table.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np

from halcmd.errors import InputError, did_you_mean, first_few
from halcmd.formats.star import Table
from halcmd.particles import NOT_TRAINED, UNLABELLED, Particles, as_class, valid_label

BLOCK = "hal_labels"

_COLUMNS = (
    "halParticleId",
    "halLabel",
    "halLabelSource",
    "halLabelRound",
    "halLabelFile",
    "halLabelDate",
    "halLabelTime",
)
_NONE = "none"


@dataclass(frozen=True)
class Answer:
    """One answer for one particle; text as in the block, ``none`` where not known.

    ``date`` is that of the import, ``time`` when the answer was given, as its file says.
    """

    particle: str
    label: str
    annotator: str = _NONE
    round: str = "0"
    file: str = _NONE
    date: str = _NONE
    time: str = _NONE


def as_word(text: str) -> str:
    """Text as one word of a STAR file."""
    return "_".join(text.split())


def answers_of(particles: Particles, touched: Iterable[int] = ()) -> list[Answer]:
    """All answers that the table knows, the oldest first.

    Parameters
    ----------
    particles : Particles
        With or without the block.
    touched : iterable of int
        Rows about to get another answer: a label they have that is not in the block comes first.
    """
    table = particles.star.table(BLOCK)
    known = []
    if table is not None:
        columns = [
            table.column(name) if name in table else [_NONE] * len(table) for name in _COLUMNS
        ]
        known = [Answer(*row) for row in zip(*columns, strict=True)]
    noted = {answer.particle for answer in known}
    is_answered = particles.is_answered
    rows = [row for row in touched if is_answered[row]]
    sources, rounds = particles.text("halLabelSource", _NONE), particles.text("halLabelRound", "0")
    before = [
        Answer(particles.ids[row], particles.labels[row], sources[row], rounds[row])
        for row in rows
        if particles.ids[row] not in noted
    ]
    return before + known


def with_answers(particles: Particles, answers: Sequence[Answer]) -> Particles:
    """The table with the block holding these answers."""
    columns = dict(zip(_COLUMNS, zip(*map(astuple, answers), strict=True), strict=True))
    return replace(particles, star=particles.star.with_table(Table.from_columns(BLOCK, columns)))


def latest(answers: Iterable[Answer]) -> dict[str, dict[str, str]]:
    """Particle to annotator to the last answer that this annotator gave."""
    found: dict[str, dict[str, str]] = {}
    for answer in answers:
        found.setdefault(answer.particle, {})[answer.annotator] = answer.label
    return found


def renamed(
    particles: Particles, renames: Mapping[str, str], *, file: str, date: str = _NONE
) -> tuple[Particles, np.ndarray]:
    """The table with classes renamed or merged, answers of every annotator too; and the rows.

    The answers as they were given stay in the block; under the new name they follow as further
    answers of the same people, so that votes and agreement count classes as they are now.

    Parameters
    ----------
    particles : Particles
        With halLabel.
    renames : mapping of str to str
        Old to new name, all at once. Several old names of one new name merge their classes.
    file : str
        Where the names come from, for the block.
    date : str
        For the block.

    Raises
    ------
    InputError
        No label is called so, or a class may not be called so.
    """
    renames = {old: as_class(new) for old, new in renames.items()}
    bad = [new for new in renames.values() if not valid_label(new) or new == UNLABELLED]
    if bad:
        raise InputError(
            "a class may not be called so",
            where=file,
            found=first_few(bad),
            hint="letters first, then letters, digits, _ . -",
        )
    known = sorted(set(particles.labels) - {UNLABELLED})
    lost = [old for old in renames if old not in known]
    if lost:
        raise InputError(
            "no label of the table is called so",
            where=file,
            found=first_few(lost),
            hint=did_you_mean(lost[0], known),
        )
    rows = np.flatnonzero([label in renames for label in particles.labels])
    before = answers_of(particles, rows.tolist())
    last = {(answer.particle, answer.annotator): answer for answer in before}
    after = [
        replace(answer, label=renames[answer.label], file=file, date=date)
        for answer in last.values()
        if answer.label in renames
    ]
    columns = {
        name: [renames.get(text, text) for text in particles.text(name)]
        for name in ("halLabel", "halSuspectedClass")
        if particles.has(name)
    }
    table = with_answers(particles.with_columns(columns), before + after)
    return table.with_classes(set(columns["halLabel"]) - {UNLABELLED, *NOT_TRAINED}), rows
