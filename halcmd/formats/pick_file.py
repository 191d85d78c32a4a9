"""A file that may hold picks: decoded where it is text, parsed where it is STAR."""

import codecs
from dataclasses import dataclass
from pathlib import Path

from halcmd.errors import InputError
from halcmd.formats.files import decoded, read_bytes
from halcmd.formats.star import Star, star_of


@dataclass(frozen=True)
class PickFile:
    """A file that may hold picks.

    Attributes
    ----------
    path : Path
        The file.
    data : bytes
        All of it.
    text : str
        The same as text; empty where it is none.
    star : Star or None
        Its tables, where it is a STAR file.
    """

    path: Path
    data: bytes
    text: str
    star: Star | None


def open_pick_file(path: Path) -> PickFile:
    """A file, decoded where it is text and parsed where it is STAR.

    Raises
    ------
    InputError
        It is missing or empty, or is a STAR file with a fault.
    """
    data = read_bytes(path)
    text = _text(path, data)
    if not data.strip() or (text and not text.strip()):
        raise InputError("the file is empty", where=str(path))
    is_star = any(line.lstrip().startswith("data_") for line in text.splitlines())
    return PickFile(path, data, text, star_of(text, path) if is_star else None)


def _text(path: Path, data: bytes) -> str:
    """The file as text; empty where it is none."""
    if b"\0" in data and data[:2] not in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        return ""
    try:
        return decoded(data, path)
    except InputError:
        if b"data_" in data.replace(b"\0", b""):
            raise
        return ""
