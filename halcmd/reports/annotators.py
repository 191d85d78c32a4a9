"""What label-import says of several annotators: agreement.star and lines of the log."""

from pathlib import Path
from typing import Any

from halcmd.assessment.agreement import Agreement, Answers
from halcmd.console import log
from halcmd.formats.star import Star, Table, text_of, write_star

_SHOWN = 10


def write_agreement(path: Path, found: Agreement, answers: Answers, labels: dict[str, str]) -> None:
    """Write tables ``pairs``, ``all`` and, where annotators differ, ``disputed``.

    Parameters
    ----------
    path : Path
        Where.
    found : Agreement
        What to write.
    answers : mapping
        Particle to annotator to last answer.
    labels : dict of str to str
        Particle to the label that it has now.
    """
    pairs: dict[str, Any] = {
        "halFirstAnnotator": [pair.first for pair in found.pairs],
        "halSecondAnnotator": [pair.second for pair in found.pairs],
        "halCount": [pair.particles for pair in found.pairs],
        "halAgreement": text_of([pair.agreement for pair in found.pairs], 4),
        "halCohenKappa": text_of([pair.kappa for pair in found.pairs], 4),
    }
    tables = [Table.from_columns("pairs", pairs)]
    if found.fleiss is not None:
        everyone: dict[str, Any] = {
            "halAnnotators": [len(found.annotators)],
            "halCount": [found.particles],
            "halFleissKappa": text_of([found.fleiss], 4),
        }
        tables.append(Table.from_columns("all", everyone))
    if found.disputed:
        disputed: dict[str, Any] = {
            "halParticleId": list(found.disputed),
            "halLabel": [labels[name] for name in found.disputed],
            "halAnswers": [
                ",".join(f"{who}={label}" for who, label in sorted(answers[name].items()))
                for name in found.disputed
            ],
        }
        tables.append(Table.from_columns("disputed", disputed))
    write_star(path, Star(tuple(tables)))


def say_agreement(found: Agreement) -> None:
    """Log the agreement of each two annotators, and of all."""
    for pair in found.pairs[:_SHOWN]:
        log.info(
            f"{pair.first} and {pair.second}: {pair.particles:,} particles in common, the same "
            f"answer for {pair.agreement:.0%}, Cohen's kappa {pair.kappa:.2f}"
        )
    if found.fleiss is not None:
        log.info(
            f"all {len(found.annotators)} annotators: {found.particles:,} particles in common, "
            f"Fleiss' kappa {found.fleiss:.2f}"
        )
    if found.disputed:
        log.info(f"particles with different answers: {len(found.disputed):,}, see agreement.star")
