"""Which tomogram a pick means: names compared without what programs add to them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from halcmd.console import log
from halcmd.errors import InputError, first_few
from halcmd.formats.files import unreadable
from halcmd.formats.star import Table, number_of, read_star
from halcmd.particles import tomogram_name
from halcmd.picks.optimisation_set import named_files

_VOLUME_SUFFIXES = (".mrc", ".rec", ".map")


@dataclass(frozen=True)
class Row:
    """One row of a tomograms.star."""

    path: Path
    table: Table
    index: int

    def text(self, label: str) -> str | None:
        """The value of a column; None where there is none."""
        value = self.table.column(label)[self.index] if label in self.table else ""
        return None if value in {"", "None", "none"} else value

    def number(self, label: str) -> float | None:
        """The value of a column as a number; None where there is none."""
        value = self.text(label)
        try:
            return None if value is None else number_of(value)
        except ValueError as error:
            raise InputError(
                f"{label} must be a number",
                where=f"{self.path}, table data_global, row {self.index + 1}",
                found=value,
            ) from error


@dataclass(frozen=True)
class Entry:
    """One tomogram that picks may mean.

    Attributes
    ----------
    name : str
        rlnTomoName or file name, as it stands.
    path : Path or None
        The volume, where a file or folder was given.
    row : Row or None
        What tomograms.star says.
    """

    name: str
    path: Path | None = None
    row: Row | None = None

    def __str__(self) -> str:
        return self.path.name if self.path is not None else self.name


def entries(paths: Sequence[Path]) -> list[Entry]:
    """The tomograms that files and folders offer; a tomograms.star with volumes of a folder.

    Parameters
    ----------
    paths : sequence of Path
        tomograms.star, optimisation_set.star, folders of MRC files, MRC files.

    Raises
    ------
    InputError
        A path is missing, or a folder has no tomograms.
    """
    rows: list[Entry] = []
    files: list[Entry] = []
    for path in paths:
        if path.is_dir():
            files += _folder(path)
        elif path.suffix == ".star":
            rows += _rows(path)
        elif path.exists():
            files.append(Entry(path.name, path))
        else:
            raise unreadable(path, FileNotFoundError())
    if not rows:
        return files
    of_row = [matching(row.name, files) for row in rows]
    joined = [
        replace(row, path=found[0].path) if len(found) == 1 else row
        for row, found in zip(rows, of_row, strict=True)
    ]
    taken = {entry.path for entry in joined}
    return joined + [entry for entry in files if entry.path not in taken]


def entries_of(
    names: np.ndarray, offered: Sequence[Entry], *, where: str, tomograms: str
) -> dict[str, Entry]:
    """The tomogram that each name means.

    Parameters
    ----------
    names : ndarray of object of str
        As they stand in the picks; empty where a pick names none.
    offered : sequence of Entry
        What there is.
    where, tomograms : str
        The file of picks and that of the tomograms, for messages.

    Raises
    ------
    InputError
        A name means none of the tomograms, or several, or two names mean one.
    """
    found: dict[str, Entry] = {}
    missing: list[str] = []
    for name in dict.fromkeys(names.tolist()):
        matches = matching(name, offered)
        if len(matches) > 1:
            raise InputError(
                f"several tomograms may be {name}" if name else "the picks name no tomogram",
                where=where,
                found=", ".join(map(str, matches[:5])),
                hint="--tomograms with the one file, or a column with the full name of the tomogram"
                if name
                else "a column rlnTomoName (STAR) or tomogram (CSV), or --tomograms with one file",
            )
        if matches:
            found[name] = matches[0]
            if name and tomogram_name(name) != tomogram_name(matches[0].name):
                log.info(f"{where}: tomogram {name} is taken to be {matches[0]}")
        else:
            missing.append(name)
    if missing:
        raise InputError(
            f"no tomogram for {missing[0]}",
            where=where,
            found=f"{first_few(sorted(missing))} without a tomogram in {tomograms}",
            hint=_candidates(missing[0], offered),
        )
    _check_distinct(found, where)
    return found


def matching(name: str, offered: Sequence[Entry]) -> list[Entry]:
    """The entries that a name may mean, by the strictest rule under which there are any."""
    if not name:
        return list(offered)
    base, plain = _base(name), tomogram_name(name)
    rules = (
        [entry for entry in offered if base in {_base(entry.name), Path(_base(entry.name)).stem}],
        [entry for entry in offered if tomogram_name(entry.name) == plain],
        [entry for entry in offered if plain.isdigit() and int(plain) in _numbers(entry.name)],
    )
    found = next((matches for matches in rules if matches), [])
    if not found and plain.isdigit() and len(offered) == 1:
        return list(offered)
    return found


def _numbers(name: str) -> set[int]:
    """The whole numbers in a tomogram's bare name: 1 and 24 in ``grid1_TS024_10.00Apx.mrc``."""
    return {int(digits) for digits in re.findall(r"\d+", tomogram_name(name))}


def _candidates(name: str, offered: Sequence[Entry]) -> str:
    """A hint with the tomograms whose names are like this one, or a few of all."""
    if len(offered) == 1:
        return f"there is only {offered[0]}; --tomograms takes tomograms.star, or a folder of all"
    wanted = tomogram_name(name).lower()
    plain = {str(entry): tomogram_name(entry.name).lower() for entry in offered}
    near = [shown for shown, own in plain.items() if wanted in own]
    close = get_close_matches(wanted, plain.values(), n=3, cutoff=0.6)
    near = near or [shown for shown, own in plain.items() if own in close]
    if near:
        return f"did you mean {' or '.join(near[:4])}?"
    return f"there are {first_few(plain, 4)}"


def _check_distinct(found: dict[str, Entry], where: str) -> None:
    """Two volumes of one bare name would give their particles the same names."""
    names: dict[str, Entry] = {}
    for entry in found.values():
        other = names.setdefault(tomogram_name(entry.name), entry)
        if other != entry:
            raise InputError(
                "picks of two tomograms with the same name",
                where=where,
                found=f"{other} and {entry}",
                hint="extract the picks of each voxel size alone, with other file names",
            )


def _base(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1]


def _folder(path: Path) -> list[Entry]:
    """The volumes of a folder; compressed ones, which opening refuses, where there is no other."""
    items = sorted(path.iterdir())
    files = [item for item in items if item.suffix in _VOLUME_SUFFIXES]
    names = {tomogram_name(item.name) for item in files}
    files += [item for item in items if _is_packed(item) and tomogram_name(item.name) not in names]
    if not files:
        raise InputError(
            "no tomograms in this folder",
            where=str(path),
            hint=f"files that end in {', '.join(_VOLUME_SUFFIXES)}",
        )
    return [Entry(item.name, item) for item in files]


def _is_packed(path: Path) -> bool:
    return path.suffix in {".gz", ".bz2"} and Path(path.stem).suffix in _VOLUME_SUFFIXES


def _rows(path: Path) -> list[Entry]:
    star = read_star(path)
    named = named_files(star)
    if named is not None:
        return _rows(named.tomograms_path)
    table = star.table("global")
    if table is None or "rlnTomoName" not in table:
        raise InputError(
            "this is no tomograms.star",
            where=str(path),
            found=", ".join(f"data_{t.name}" for t in star.tables),
            hint="a block data_global with rlnTomoName and rlnTomoReconstructedTomogram",
        )
    names = table.column("rlnTomoName")
    return [Entry(name, None, Row(path, table, index)) for index, name in enumerate(names)]
