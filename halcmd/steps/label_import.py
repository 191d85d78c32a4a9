"""Bring labels back: match them to particles, check them, merge them."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from halcmd.assessment.agreement import Agreement, agreement
from halcmd.console import log, planned
from halcmd.errors import InputError, OptionError, first_few
from halcmd.intake.label_answers import answers_from, find_answers
from halcmd.intake.label_matching import Placing, match_labels
from halcmd.intake.label_unused import outvoted, write_unused
from halcmd.intake.label_votes import settled, with_earlier
from halcmd.intake.labels import LabelFile, read_ids
from halcmd.labels.annotations import Answer, answers_of, as_word, latest, renamed, with_answers
from halcmd.labels.label_quality import DOUBTS
from halcmd.labels.matching import Match
from halcmd.particles import JUNK, NOT_TRAINED, UNLABELLED, Particles, as_class, valid_label
from halcmd.reports.annotators import say_agreement, write_agreement
from halcmd.tables import running, write_particles

_OF_ROWS = ("matched", "unmatched", "ambiguous", "misplaced")
"""What is counted of the rows of the files."""
_ALIKE = 0.85
"""Of two names, from which difflib's ratio on one is taken for the other misspelt."""


@dataclass(frozen=True)
class Rules:
    """How labels are matched and merged.

    Attributes
    ----------
    match : str
        ``auto``, ``id``, ``name`` or ``coordinate``.
    max_distance : float or None
        Angstrom, for coordinates; None = two voxels of the tomogram.
    conflict : str
        Two answers for one particle: ``error``, ``first``, ``last`` or ``majority``.
    relabel : bool
        Existing labels and splits may change.
    allow_unmatched : bool
        Rows that are of no particle, of several, or of one elsewhere are left out with a warning.
    absent : str or None
        Label for unlabelled pool rows that no file mentions.
    split : str
        ``keep``, ``pool`` or ``test``: halSplit of the rows labelled here.
    placing : Placing
        How coordinates are read.
    """

    match: str = "auto"
    max_distance: float | None = None
    conflict: str = "error"
    relabel: bool = False
    allow_unmatched: bool = False
    absent: str | None = None
    split: str = "keep"
    placing: Placing = field(default_factory=Placing)


@dataclass(frozen=True)
class LabelImportResult:
    """What was merged: rows of the files (matched to misplaced), particles (the rest)."""

    particles: Particles
    matched: int
    unmatched: int
    ambiguous: int
    misplaced: int
    conflicting: int
    changed: int
    labels: dict[str, int] = field(default_factory=dict)
    agreement: Agreement | None = None

    def summary(self) -> dict[str, object]:
        """What ``--json`` prints."""
        names = (*_OF_ROWS, "conflicting", "changed", "labels")
        agreed = self.agreement.summary() if self.agreement else None
        return {name: getattr(self, name) for name in names} | {"agreement": agreed}


def label_import(
    particles: Particles,
    files: Sequence[LabelFile],
    folder: Path,
    *,
    rules: Rules,
    only: Path | None = None,
    annotator: str | None = None,
    label_round: int | None = None,
) -> LabelImportResult:
    """The table with the labels of the files merged in.

    Parameters
    ----------
    particles : Particles
        The table to label.
    files : sequence of LabelFile
        Answers.
    folder : Path
        Job folder.
    only : Path, optional
        A file with halParticleId: labels are taken for these rows alone.
    annotator : str, optional
        halLabelSource; default: the annotator of each row, where the file names one, else the
        name of the file.
    label_round : int, optional
        halLabelRound; default: one more than the highest.

    Raises
    ------
    InputError
        Rows that match no particle, several or one elsewhere, contradictory answers, or a change
        of an existing label without ``relabel``. Nothing is written then.
    """
    number = str(_next_round(particles) if label_round is None else label_round)
    wanted = _wanted_rows(particles, only)
    found = find_answers(
        particles,
        [(file, _match(particles, file, rules)) for file in files],
        wanted,
        allowed=rules.allow_unmatched,
        everything=only is None,
    )
    answers = answers_from(particles, found.taken, annotator, number, _date())
    before = answers_of(particles, answers)
    votes = with_earlier(answers, before) if rules.conflict == "majority" else answers
    merged, conflicting = settled(votes, rules.conflict)
    unused = [*found.unused, *outvoted(particles, found.taken, merged)]
    if rules.absent is not None:
        absent = _absent(particles, wanted - found.mentioned, rules.absent, annotator, number)
        answers |= {row: [answer] for row, answer in absent.items()}
        merged |= absent
    if not merged:
        raise InputError(
            "no label to import",
            where=", ".join(str(file.path) for file in files),
            found="every row is without an answer, or outside --only",
            hint="fill in the column of the labels, or name another one with --label-column, such "
            "as rlnClassNumber",
        )
    changed = _check_changes(particles, merged, relabel=rules.relabel)
    _tell_missing(particles, merged, only, wanted)
    _tell_alike({*particles.labels, *(answer.label for answer in merged.values())})
    labels = Counter(answer.label for answer in merged.values())
    _tell_new({*particles.labels, *particles.class_numbers()} - {UNLABELLED}, {*labels})
    planned(f"labels: {', '.join(f'{name} {count:,}' for name, count in sorted(labels.items()))}")
    table = _written(particles, merged, number, rules)
    known = [*before, *(answer for row in sorted(answers) for answer in answers[row])]
    table = with_answers(table, known)
    agreed = _agreement(table, known, folder)
    write_particles(folder / "particles.star", table)
    write_unused(folder / "unused.star", unused)
    return LabelImportResult(
        table,
        **{name: found.counts[name] for name in _OF_ROWS},
        conflicting=conflicting,
        changed=changed,
        labels=dict(sorted(labels.items())),
        agreement=agreed,
    )


def rename_labels(
    particles: Particles, folder: Path, *, renames: dict[str, str], file: Path
) -> LabelImportResult:
    """The table with its labels renamed or merged: old to new class, as the file says.

    Raises
    ------
    InputError
        No label is called so, or a class may not be called so.
    """
    table, rows = renamed(particles, renames, file=as_word(file.name), date=_date())
    labels = dict(sorted(Counter(table.labels[rows].tolist()).items()))
    planned(f"renamed: {', '.join(f'{name} {count:,}' for name, count in labels.items())}")
    log.info("train and score again: models and predictions know the old names")
    write_particles(folder / "particles.star", table)
    return LabelImportResult(table, 0, 0, 0, 0, 0, len(rows), labels)


def _match(particles: Particles, file: LabelFile, rules: Rules) -> Match:
    return match_labels(
        particles, file, way=rules.match, max_distance=rules.max_distance, placing=rules.placing
    )


def _date() -> str:
    entry = running.get()
    return entry.date if entry else "none"


def _next_round(particles: Particles) -> int:
    rounds = particles.text("halLabelRound", "0")
    return 1 + max((int(text) for text in rounds if text.isdigit()), default=0)


def _agreement(table: Particles, known: list[Answer], folder: Path) -> Agreement | None:
    """How far annotators agree, written and said; None where they have nothing in common."""
    answers = latest(known)
    found = agreement(answers)
    if found is not None:
        labels = dict(zip(table.ids, table.labels, strict=True))
        write_agreement(folder / "agreement.star", found, answers, labels)
        say_agreement(found)
    return found


def _wanted_rows(particles: Particles, only: Path | None) -> set[int]:
    if only is None:
        return set(range(len(particles)))
    ids = read_ids(only)
    rows = {row for row, name in enumerate(particles.ids) if name in ids}
    if not rows:
        raise InputError(
            "no particle of --only is in the table", where=str(only), found=first_few(sorted(ids))
        )
    return rows


def _absent(
    particles: Particles, rows: set[int], label: str, annotator: str | None, number: str
) -> dict[int, Answer]:
    """The label for those of the rows that are of the pool and have no label."""
    label = as_class(label)
    if not valid_label(label):
        raise OptionError("--absent is no class name", found=label)
    free = ~particles.is_answered & ~particles.is_test
    facts = (as_word(annotator or "absent"), number, "none", _date())
    rows = {row for row in rows if free[row]}
    return {row: Answer(particles.ids[row], label, *facts) for row in sorted(rows)}


def _check_changes(particles: Particles, merged: dict[int, Answer], *, relabel: bool) -> int:
    changed = [
        row
        for row, answer in merged.items()
        if particles.labels[row] not in {UNLABELLED, answer.label}
    ]
    if changed and not relabel:
        shown = [f"{particles.ids[r]}: {particles.labels[r]} -> {merged[r].label}" for r in changed]
        raise InputError(
            "labels that are there already would change",
            where=str(particles.path),
            found=first_few(shown),
            hint="--relabel to replace them; with --conflict majority the vote of all annotators",
        )
    return len(changed)


def _tell_missing(
    particles: Particles, merged: dict[int, Answer], only: Path | None, wanted: set[int]
) -> None:
    missing = sorted(wanted - set(merged)) if only is not None else []
    if missing:
        log.warning(
            f"{only}: {len(missing):,} of {len(wanted):,} particles got no label, such as "
            f"{particles.ids[missing[0]]}"
        )


def _tell_alike(labels: set[str]) -> None:
    """Warn of classes whose names are the same but for capitals."""
    alike: dict[str, list[str]] = {}
    for label in sorted(labels):
        alike.setdefault(label.lower(), []).append(label)
    for names in alike.values():
        if len(names) > 1:
            log.warning(
                f"{' and '.join(names)} are different classes; --rename FILE with lines old,new "
                "makes them one"
            )


def _tell_new(before: set[str], now: set[str]) -> None:
    """Say which classes the table did not have; warn of those that look misspelt."""
    if not before:
        return
    known = {_stem(name): name for name in before}
    for name in sorted(now - before - {JUNK, *NOT_TRAINED}):
        near = get_close_matches(_stem(name), known, n=1, cutoff=_ALIKE)
        if near and near[0] != _stem(name):
            log.warning(
                f"new class {name}, nearly {known[near[0]]}; if they are the same, --rename FILE "
                "with a line old,new makes them one"
            )
        else:
            log.info(f"new class: {name}")


def _stem(name: str) -> str:
    """What names must share to be one: not what tells class_1 from class_2, and state_A from B."""
    return re.sub(r"\d+|[_.-][a-z]$", "", name.lower())


def _written(
    particles: Particles, merged: dict[int, Answer], number: str, rules: Rules
) -> Particles:
    """The table with label columns, split and class numbers; doubts of train are answered."""
    names = {"halLabelSource": "none", "halLabelRound": "0"}
    names |= {name: empty for name, empty in DOUBTS.items() if particles.has(name)}
    columns = {"halLabel": particles.labels.copy()}
    columns |= {name: particles.text(name, empty) for name, empty in names.items()}
    for row, answer in merged.items():
        if answer.label != columns["halLabel"][row]:
            columns["halLabelRound"][row] = number
            columns["halLabelSource"][row] = answer.annotator
        columns["halLabel"][row] = answer.label
        for name in DOUBTS.keys() & columns:
            columns[name][row] = DOUBTS[name]
    if rules.split != "keep":
        columns["halSplit"] = _splits(particles, sorted(merged), rules)
    table = particles.with_columns(columns)
    named = {label for label in columns["halLabel"] if label != UNLABELLED}
    return table.with_classes(named - {"unknown", "skip"})


def _splits(particles: Particles, rows: list[int], rules: Rules) -> np.ndarray:
    splits = np.where(particles.is_test, "test", "pool").astype(object)
    moved = [row for row in rows if particles.has("halSplit") and splits[row] != rules.split]
    if moved and not rules.relabel:
        raise InputError(
            f"particles would move to {rules.split}",
            where=str(particles.path),
            found=first_few(particles.ids[moved]),
            hint="--relabel to allow it",
        )
    splits[rows] = rules.split
    return splits
