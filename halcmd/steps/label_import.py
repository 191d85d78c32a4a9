"""Bring labels back: match them to particles, check them, merge them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from halcmd.console import log, planned
from halcmd.errors import InputError, OptionError, first_few
from halcmd.formats.files import write_csv
from halcmd.intake.label_matching import Placing, match_labels
from halcmd.intake.labels import LabelFile, read_ids
from halcmd.matching import AMBIGUOUS, NO_MATCH, Match
from halcmd.particles import UNLABELLED, Particles, valid_label
from halcmd.tables import write_particles


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
        Rows that are of no particle are left out with a warning.
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
    """What was merged: rows of the files (matched, unmatched, ambiguous), particles (the rest)."""

    particles: Particles
    matched: int
    unmatched: int
    ambiguous: int
    conflicting: int
    changed: int
    labels: dict[str, int] = field(default_factory=dict)

    def summary(self) -> dict[str, object]:
        """What ``--json`` prints."""
        names = ("matched", "unmatched", "ambiguous", "conflicting", "changed", "labels")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class _Answer:
    """One label for one row of the particle table."""

    label: str
    source: str


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
        Rows that match no particle or several, contradictory answers, or a change of an existing
        label without ``relabel``. Nothing is written then.
    """
    wanted = _wanted_rows(particles, only)
    answers: dict[int, list[_Answer]] = {}
    mentioned: set[int] = set()
    counts: Counter[str] = Counter()
    lost: list[list[str]] = []
    for file in files:
        match = match_labels(
            particles,
            file,
            way=rules.match,
            max_distance=rules.max_distance,
            placing=rules.placing,
        )
        lost += _check_matched(file, match, rules, everything=only is None)
        mentioned |= set(match.rows[match.matched].tolist())
        counts["matched"] += int(match.matched.sum())
        counts["unmatched"] += int((match.rows == NO_MATCH).sum())
        counts["ambiguous"] += int((match.rows == AMBIGUOUS).sum())
        sources = _sources(file, annotator)
        for row, label, source in zip(match.rows, file.labels, sources, strict=True):
            if row >= 0 and row in wanted and label != UNLABELLED:
                answers.setdefault(int(row), []).append(_Answer(label, source))
    merged, conflicting = _merge(particles, answers, rules)
    if rules.absent is not None:
        merged |= _absent(particles, wanted - mentioned, rules.absent, annotator)
    if not merged:
        raise InputError(
            "no label to import",
            where=", ".join(str(file.path) for file in files),
            found="every row is without an answer, or outside --only",
            hint="--label-column with the column of the classes, such as rlnClassNumber",
        )
    changed = _check_changes(particles, merged, relabel=rules.relabel)
    _tell_missing(particles, merged, only, wanted)
    labels = Counter(answer.label for answer in merged.values())
    planned(f"labels: {', '.join(f'{name} {count:,}' for name, count in sorted(labels.items()))}")
    table = _written(particles, merged, label_round, rules)
    write_particles(folder / "particles.star", table)
    if lost:
        write_csv(folder / "unmatched.csv", ("file", "row", "particle", "label"), lost)
    return LabelImportResult(
        table,
        counts["matched"],
        counts["unmatched"],
        counts["ambiguous"],
        conflicting,
        changed,
        dict(sorted(labels.items())),
    )


def _sources(file: LabelFile, annotator: str | None) -> list[str]:
    """Who gave each answer of a file: the one person given, else as it says, else the file."""
    if annotator is not None or file.annotators is None:
        return [annotator or file.path.name] * len(file.labels)
    return [name if name not in {"", "none"} else file.path.name for name in file.annotators]


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


def _check_matched(
    file: LabelFile, match: Match, rules: Rules, *, everything: bool
) -> list[list[str]]:
    """Rows that are of no particle, for the report; an error where they are not to be left out."""
    answered = file.labels != UNLABELLED
    lost = np.flatnonzero(~match.matched & answered)
    ambiguous = np.flatnonzero((match.rows == AMBIGUOUS) & answered)
    if len(ambiguous):
        raise InputError(
            "labels that fit several particles",
            where=str(file.path),
            found=first_few(_names(file, ambiguous)),
            hint="labels with halParticleId, or a smaller --max-distance",
        )
    if not len(lost) or not everything:
        return []
    if rules.allow_unmatched and match.matched.any():
        log.warning(
            f"{file.path}: {first_few(_names(file, lost))} are of no particle in the table; left "
            "out, see unmatched.csv"
        )
        labels = file.labels[lost]
        facts = zip(lost, _names(file, lost), labels, strict=True)
        return [[str(file.path), str(row + 1), name, label] for row, name, label in facts]
    raise InputError(
        "labels for particles that are not in the table",
        where=str(file.path),
        found=first_few(_names(file, lost)),
        hint="check --i and --match, or --allow-unmatched to leave these rows out",
    )


def _names(file: LabelFile, rows: np.ndarray) -> list[str]:
    names = file.ids if file.ids is not None else file.images
    return [f"row {row + 1}" if names is None else str(names[row]) for row in rows]


def _merge(
    particles: Particles, answers: dict[int, list[_Answer]], rules: Rules
) -> tuple[dict[int, _Answer], int]:
    """One answer per row, and the number of rows with contradictory ones."""
    merged = {}
    conflicts = []
    for row, given in answers.items():
        words = [answer.label for answer in given]
        if len(set(words)) > 1:
            conflicts.append(row)
        merged[row] = _settle(given, rules.conflict)
    if conflicts and rules.conflict == "error":
        shown = [
            f"{particles.ids[row]}: {' / '.join(dict.fromkeys(a.label for a in answers[row]))}"
            for row in conflicts
        ]
        raise InputError(
            "contradictory labels for the same particle",
            where=", ".join(sorted({a.source for row in conflicts for a in answers[row]})),
            found=first_few(shown),
            hint="--conflict first, last or majority, or mend the files",
        )
    return merged, len(conflicts)


def _settle(given: list[_Answer], conflict: str) -> _Answer:
    if conflict == "last":
        return given[-1]
    if conflict == "majority":
        counts = Counter(answer.label for answer in given)
        most = max(counts.values())
        return next(answer for answer in given if counts[answer.label] == most)
    return given[0]


def _absent(
    particles: Particles, rows: set[int], label: str, annotator: str | None
) -> dict[int, _Answer]:
    """The label for those of the rows that are of the pool and have no label."""
    if not valid_label(label):
        raise OptionError("--absent is no class name", found=label)
    free = ~particles.is_answered & ~particles.is_test
    answer = _Answer(label, annotator or "absent")
    return {row: answer for row in sorted(rows) if free[row]}


def _check_changes(particles: Particles, merged: dict[int, _Answer], *, relabel: bool) -> int:
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
            hint="--relabel to replace them",
        )
    return len(changed)


def _tell_missing(
    particles: Particles, merged: dict[int, _Answer], only: Path | None, wanted: set[int]
) -> None:
    missing = sorted(wanted - set(merged)) if only is not None else []
    if missing:
        log.warning(
            f"{only}: {len(missing):,} of {len(wanted):,} particles got no label, such as "
            f"{particles.ids[missing[0]]}"
        )


def _written(
    particles: Particles, merged: dict[int, _Answer], label_round: int | None, rules: Rules
) -> Particles:
    """The table with label columns, split and class numbers."""
    labels, sources = particles.labels.copy(), particles.text("halLabelSource", "none")
    rounds = particles.text("halLabelRound", "0")
    if label_round is None:
        label_round = 1 + max((int(text) for text in rounds if text.isdigit()), default=0)
    for row, answer in merged.items():
        if answer.label != labels[row]:
            rounds[row] = str(label_round)
            sources[row] = answer.source.replace(" ", "_")
        labels[row] = answer.label
    columns = {"halLabel": labels, "halLabelSource": sources, "halLabelRound": rounds}
    if rules.split != "keep":
        columns["halSplit"] = _splits(particles, sorted(merged), rules)
    table = particles.with_columns(columns)
    named = {label for label in labels if label != UNLABELLED}
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
