"""RELION's optimisation_set.star: which files of particles and tomograms belong together."""

from dataclasses import dataclass
from pathlib import Path

from halcmd.errors import InputError
from halcmd.formats.star import Star


@dataclass(frozen=True)
class NamedFiles:
    """The files that an optimisation set names, as it names them; None where it does not."""

    star: Star
    particles: str | None
    tomograms: str | None

    @property
    def particles_path(self) -> Path:
        """Where the particles are; raises InputError where they are not."""
        return _located(self.particles, self.star, "particles")

    @property
    def tomograms_path(self) -> Path:
        """Where the tomograms are; raises InputError where they are not."""
        return _located(self.tomograms, self.star, "tomograms")


def named_files(star: Star) -> NamedFiles | None:
    """The files that an optimisation set names; None where the STAR file is none."""
    table = next((t for t in star.tables if "rlnTomoParticlesFile" in t), None)
    if table is None or not len(table):
        return None

    def name(label: str) -> str | None:
        value = table.column(label)[0] if label in table else ""
        return None if value in {"", "None"} else value

    return NamedFiles(star, name("rlnTomoParticlesFile"), name("rlnTomoTomogramsFile"))


def locate(name: str, beside: Path | None) -> Path | None:
    """A file named in a STAR file: from the working directory, or a folder above the STAR file."""
    folders = beside.absolute().parents if beside else ()
    try:
        there = [Path(name), *(folder / name for folder in folders)]
        return next((path for path in there if path.exists()), None)
    except OSError:  # a name that no file can have, such as one of 300 letters
        return None


def _located(name: str | None, star: Star, kind: str) -> Path:
    path = locate(name, star.path) if name is not None else None
    if path is None:
        raise InputError(
            f"the {kind} of this optimisation set are not there",
            where=str(star.path),
            found=name or f"it names no {kind}",
            hint="run halcmd in the project folder, or give the file itself",
        )
    return path
