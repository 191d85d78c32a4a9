"""Which tomograms the numbers in a Dynamo table mean: maps beside the table (.doc, .vll).

A .doc has a number and a path in each line. A .vll (Dynamo wiki, Volume_list_file) has the paths of
volumes; ``* index = 7`` below one is its number, which otherwise is its place in the list. Lines
with other marks are no volumes: ``#`` comment, ``*`` parameter, ``>`` what to crop, ``!`` model.
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.formats.files import read_text

_SUFFIXES = (".doc", ".vll")
_OF_CROPPING = "indices_column20.doc"
_NO_VOLUME = ("#", "%", "*", ">", "!")


def tomogram_names(table: Path, numbers: AbstractSet[str]) -> dict[str, str]:
    """Number to path of the tomograms; empty where no map beside the table says.

    Parameters
    ----------
    table : Path
        The map has its stem, is the ``indices_column20.doc`` of Dynamo's cropping, or is the only
        one in the folder that belongs to no other table.
    numbers : set of str
        Those of the table; a map of another name must have them all.

    Raises
    ------
    InputError
        The map with the table's stem has a fault.
    """
    own = [table.with_suffix(suffix) for suffix in _SUFFIXES]
    path = next((path for path in own if path.exists()), None)
    names = _names(path) if path is not None else {}
    if path is None and numbers and (path := _only_map(table)) is not None:
        names = _fitting(path, numbers, table)
    if names:
        log.info(f"{table}: column 20 is read with {path}")
    return names


def _only_map(table: Path) -> Path | None:
    """The map of another name that must be meant; None, with a warning, where several may be."""
    maps = sorted(path for suffix in _SUFFIXES for path in table.parent.glob(f"*{suffix}"))
    others = {path.stem for path in table.parent.glob("*.tbl")}
    cropping = [path for path in maps if path.name.endswith(_OF_CROPPING)]
    found = cropping if len(cropping) == 1 else [path for path in maps if path.stem not in others]
    if len(found) > 1:
        log.warning(
            f"{table}: several maps may say which tomograms column 20 means "
            f"({', '.join(path.name for path in found)}); none is taken. Give the right one the "
            f"name {table.stem}.doc or {table.stem}.vll"
        )
    return found[0] if len(found) == 1 else None


def _fitting(path: Path, numbers: AbstractSet[str], table: Path) -> dict[str, str]:
    """The names of a map, where it is one and has all numbers of the table."""
    try:
        names = _names(path)
    except InputError as error:
        log.warning(f"{table}: {path.name} is left out as a map of tomograms: {error.message}")
        return {}
    missing = sorted(numbers - set(names), key=int)
    if missing:
        log.warning(f"{table}: {path.name} is left out: it has no tomogram {missing[0]}")
        return {}
    return names


def _names(path: Path) -> dict[str, str]:
    """Number to path of the tomograms of one map.

    Raises
    ------
    InputError
        A line is something else, or a number stands twice.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    entries = _volumes(lines, path) if path.suffix == ".vll" else _pairs(lines, path)
    names: dict[str, str] = {}
    for number, name in entries:
        if names.setdefault(str(number), name) != name:
            raise InputError(
                f"two tomograms have the number {number}",
                where=str(path),
                found=f"{names[str(number)]} and {name}",
            )
    return names


def _pairs(lines: list[str], path: Path) -> Iterator[tuple[int, str]]:
    """Number and path in each line of a .doc."""
    for line in lines:
        if not line or line[0] in "#%":
            continue
        words = line.split(None, 1)
        if len(words) != 2 or not words[0].isdecimal():
            raise InputError(
                "a line must be a number and the path of a tomogram",
                where=str(path),
                found=line[:60],
            )
        yield int(words[0]), words[1]


def _volumes(lines: list[str], path: Path) -> list[tuple[int, str]]:
    """Number and path of each volume of a .vll."""
    found: list[tuple[int, str]] = []
    for line in lines:
        if line and not line.startswith(_NO_VOLUME):
            found.append((len(found) + 1, line))
        elif line.startswith("*") and found:
            name, _, value = (word.strip() for word in line[1:].partition("="))
            if name.lower() == "index":
                found[-1] = (_index(value, path), found[-1][1])
    return found


def _index(text: str, path: Path) -> int:
    if not text.isdecimal():
        raise InputError("* index must be a whole number", where=str(path), found=text[:40])
    return int(text)
