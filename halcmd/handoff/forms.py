"""All forms that were asked for: checked before, written after the choice."""

from collections.abc import Sequence
from pathlib import Path

from halcmd.console import log
from halcmd.handoff import HANDOFFS
from halcmd.particles import Particles
from halcmd.registry import load


def check_forms(particles: Particles, names: Sequence[str]) -> None:
    """Raise InputError or OptionError where a form is unknown or cannot be written.

    Parameters
    ----------
    particles : Particles
        All that may be asked for.
    names : sequence of str
        Keys of ``HANDOFFS``.
    """
    for name in dict.fromkeys(names):
        load(HANDOFFS, name, "hand-off").check(particles)


def write_forms(particles: Particles, folder: Path, names: Sequence[str]) -> None:
    """Write the particles asked for, in order of their rank, in each form; say where.

    Parameters
    ----------
    particles : Particles
        Those asked for, with halQueryRank.
    folder : Path
        Job folder.
    names : sequence of str
        Keys of ``HANDOFFS``.
    """
    for name in dict.fromkeys(names) if len(particles) else ():
        paths = load(HANDOFFS, name, "hand-off").write(particles, folder)
        more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
        log.info(f"for {name}: {paths[0]}{more}")
