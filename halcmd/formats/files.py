"""Whole files only: a reader never sees half of one."""

import codecs
import csv
import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from halcmd.errors import InputError

TEMPORARY = ".halcmd-"
"""How the names of unfinished files begin."""
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UMASK = os.umask(0)  # read while there is one thread
os.umask(_UMASK)
_OF_A_JOB = ("particles.star", "picks.star", "model.safetensors", "query.csv")
"""What people mean who give the folder of a job."""
_SPREADSHEETS = (".csv", ".tsv", ".txt")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, renamed to ``path`` when the block ends well.

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f"{TEMPORARY}{path.stem[:40]}-", suffix=path.suffix
        )
    except OSError as error:
        raise unwritable(path, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_UMASK)
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def take_room(path: Path) -> None:
    """Take the disk space of a file that is all holes now.

    Raises
    ------
    OSError
        There is too little: what writes through a map of the file would be killed instead.
    """
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file: UTF-8, LF line ends."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a whole text file, each line with an LF behind it; the lines are never joined."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def append_line(path: Path, line: str) -> None:
    """Add a line to a text file and make sure that it is on the disk."""
    try:
        with path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(path, error) from error


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a whole CSV file for a spreadsheet: UTF-8, comma, LF line ends."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_text(path: Path) -> str:
    """The text of a file; a byte-order mark is removed, lines end in LF.

    UTF-8. Tables of spreadsheets may be UTF-16 with a byte-order mark, or, in a .csv, .tsv or .txt,
    Windows' code page 1252.

    Raises
    ------
    InputError
        The file is missing, a folder, unreadable or no text, or a STAR file that is not UTF-8.
    """
    return decoded(read_bytes(path), path)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file without their ends, read one by one; see ``read_text``."""
    lines, line = [], "\n"
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line in file:
                lines.append(line.removesuffix("\n"))
    except UnicodeDecodeError:
        return read_text(path).split("\n")
    except OSError as error:
        raise unreadable(path, error) from error
    if line.endswith("\n"):
        lines.append("")
    return lines


def read_bytes(path: Path) -> bytes:
    """All of a file; raises InputError where it is missing, a folder or unreadable."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def decoded(data: bytes, path: Path) -> str:
    """The text that the bytes of a file are; see ``read_text``."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = _of_spreadsheet(data, path)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _of_spreadsheet(data: bytes, path: Path) -> str:
    """Text that is no UTF-8, as Windows writes it.

    Raises
    ------
    InputError
        It is no text, or a STAR file: to be written again, that must be UTF-8.
    """
    of_windows = "cp1252" if path.suffix.lower() in _SPREADSHEETS else "ascii"
    codec = "utf-16" if data.startswith(_UTF16) else of_windows
    text = data.decode(codec, errors="replace")
    if any(line.lstrip().startswith("data_") for line in text.splitlines()):
        raise InputError(
            "a STAR file must be encoded as UTF-8", where=str(path), hint="save it again as UTF-8"
        )
    if "\ufffd" in text:
        raise InputError(
            "this is no text file", where=str(path), hint="a STAR or CSV file, encoded as UTF-8"
        )
    return text


def free_bytes(folder: Path) -> int:
    """Free space of the disk that a folder is on, or will be on."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def is_missing(path: Path) -> bool:
    """Whether there is no such file; False where a folder above cannot be looked into."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def unreadable(path: Path, error: OSError) -> InputError:
    """The error for a file that cannot be opened, with near names where it is missing."""
    if not isinstance(error, PermissionError) and path.is_dir():
        there = [str(path / name) for name in _OF_A_JOB if (path / name).exists()]
        hint = f"one of its files, such as {' or '.join(there)}" if there else "one of its files"
        return InputError("this is a folder, not a file", where=str(path), hint=hint)
    if isinstance(error, FileNotFoundError):
        folder = path.parent
        there = sorted(item.name for item in folder.glob(f"*{path.suffix}")) if path.suffix else []
        hint = f"in {folder} there is {', '.join(there[:5])}" if there else "check the path"
        return InputError("there is no such file", where=str(path), hint=hint)
    return InputError("cannot read this file", where=str(path), found=error.strerror)


def unwritable(path: Path, error: OSError) -> InputError:
    """The error for an output that cannot be written."""
    return InputError(
        "cannot write here",
        where=str(path),
        found=error.strerror or str(error),
        hint="another --output folder, or mend its permissions or the free space",
    )
