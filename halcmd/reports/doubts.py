"""Labels that are perhaps wrong: the table of them, and what the log says."""

from halcmd.console import log
from halcmd.formats.star import Table
from halcmd.labels.label_quality import suspected_rows
from halcmd.particles import Particles

_SHOWN = 5
_COLUMNS = ("halParticleId", "halLabel", "halSuspectedClass", "halLabelProbability")


def suspected_labels(particles: Particles) -> Table | None:
    """Table ``suspected_labels``, the least probable label first; None where nothing is known."""
    if not particles.has("halSuspectedClass"):
        return None
    found = particles.take(suspected_rows(particles))
    columns = {name: found.text(name).tolist() for name in _COLUMNS}
    return Table.from_columns("suspected_labels", columns)


def say_suspected(doubts: Table | None) -> None:
    """Log the suspected labels and how to have them asked again."""
    if doubts is None:
        return
    log.info(f"suspected wrong labels: {len(doubts):,}")
    rows = list(zip(*(doubts.column(name) for name in _COLUMNS), strict=True))
    for name, label, other, probability in rows[:_SHOWN]:
        log.info(f"  {name}: {label}, probability {float(probability):.3f}; perhaps {other}")
    if len(rows) > _SHOWN:
        log.info(f"  and {len(rows) - _SHOWN:,} more, in table suspected_labels")
    if rows:
        log.info("halcmd query --relabel-fraction asks them again")


def say_doubts(particles: Particles, judged: int, labelled: int) -> None:
    """Log how many of the labels that training held out are suspected."""
    if not judged:
        return
    found, rest = len(suspected_rows(particles)), labelled - judged
    log.info(
        f"labels suspected to be wrong: {found:,} of {judged:,} that were held out"
        + (f"; {rest:,} were not, --folds 3 holds out all" if rest else "")
    )
