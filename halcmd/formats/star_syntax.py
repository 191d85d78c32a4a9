"""The syntax of STAR files: text into blocks, every line kept as it stands."""

import re
from pathlib import Path
from typing import NamedTuple

from halcmd.errors import InputError

_VALUE = r"""(?:'[^']*'(?=\s|$)|"[^"]*"(?=\s|$)|\S+)"""
TOKEN = re.compile(_VALUE)
PIECE = re.compile(rf"\s*{_VALUE}")
"""A value with the white space before it."""
STRUCTURE = ("data_", "loop_", "_", "#")
"""How lines begin that are no rows."""

_BLOCK = re.compile(r"\s*data_(\S*)\s*(#.*)?$")
_NOT_A_ROW = re.compile(rf"{_BLOCK.pattern}|\s*loop_\s*$|\s*_\S+\s+#\d+\s*$|\s*#")


class Block(NamedTuple):
    """One block of a file.

    ``head`` holds all lines from the end of the block before to the first row, as they stand:
    comments, ``data_name``, ``loop_``, labels. A block of ``_label value`` pairs is all head, and
    its values are the text of its one row.
    """

    name: str
    labels: tuple[str, ...]
    head: list[str]
    rows: list[str]
    loop: bool


def parse(lines: list[str], path: Path) -> tuple[list[Block], list[str]]:
    """Blocks of a file, and the lines behind the last one.

    Raises
    ------
    InputError
        A line belongs to no block, a row has the wrong number of values, or a block or a column
        stands twice.
    """
    blocks: list[Block] = []
    start = at = 0
    while at < len(lines):
        if block_name(lines[at]) is not None:
            block, at = _parse_block(lines, start, at, path)
            if any(block.name == other.name for other in blocks):
                raise InputError(
                    f"block data_{block.name} stands twice", where=f"{path}, line {start + 1}"
                )
            blocks.append(block)
            start = at
        elif is_blank(lines[at]):
            at += 1
        else:
            raise InputError(
                "a line belongs to no table" if blocks else "this is no STAR file",
                where=f"{path}, line {at + 1}",
                found=lines[at].strip()[:60],
                hint="tables begin with data_NAME",
            )
    return blocks, lines[start:]


def block_name(line: str) -> str | None:
    """The name that a line such as ``data_optics`` gives a block; None where it is another line."""
    match = _BLOCK.match(line)
    return match[1] if match else None


def label_of(line: str) -> str | None:
    """The label of a line such as ``_rlnCoordinateX #1``; None where it is another line."""
    line = line.strip()
    return line[1:].split(None, 1)[0] if line.startswith("_") and len(line) > 1 else None


def is_blank(line: str) -> bool:
    """Whether a line is empty or a comment."""
    text = line.strip()
    return not text or text.startswith("#")


def _parse_block(lines: list[str], start: int, at: int, path: Path) -> tuple[Block, int]:
    """The block whose ``data_`` line is line ``at`` (from 0), and the line behind it.

    ``start`` is the first line that is not of the block before.
    """
    name = block_name(lines[at]) or ""
    labels, loop, end, at = _parse_head(lines, at + 1, name, path)
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise InputError(f"column {twice[0]} stands twice in table data_{name}", where=str(path))
    if not loop:
        _check_no_row(lines[at : at + 1], name, f"{path}, line {at + 1}")
        return _pairs(name, labels, lines[start:end]), end
    rows, behind = _parse_rows(lines, at, len(labels), name, path)
    if not rows:
        return Block(name, tuple(labels), lines[start:end], rows, loop), end
    return Block(name, tuple(labels), lines[start:at], rows, loop), behind


def _parse_head(
    lines: list[str], at: int, name: str, path: Path
) -> tuple[list[str], bool, int, int]:
    """Labels from line ``at`` on; whether they head a loop; the line behind the last; the next."""
    labels: list[str] = []
    loop = False
    end = at
    while at < len(lines):
        line = lines[at]
        if line.strip() == "loop_":
            if labels or loop:
                raise InputError(
                    f"block data_{name} holds two tables", where=f"{path}, line {at + 1}"
                )
            loop = True
        elif (label := label_of(line)) is not None:
            labels.append(label)
        elif not is_blank(line):
            break
        at += 1
        if not is_blank(lines[at - 1]):
            end = at
    return labels, loop, end, at


def _parse_rows(
    lines: list[str], at: int, columns: int, name: str, path: Path
) -> tuple[list[str], int]:
    """The rows of a loop that begin at line ``at``, and the line behind the last one.

    RELION ends a loop at an empty line. Here the rows behind one are read too, so that none is lost
    without a word; the empty line itself is not kept.
    """
    rows: list[str] = []
    behind = at
    while at < len(lines):
        line = lines[at]
        count = len(TOKEN.findall(line)) if '"' in line or "'" in line else len(line.split())
        if count and line.lstrip()[0] in "dl_#" and _NOT_A_ROW.match(line):
            break
        if count and count != columns:
            raise InputError(
                f"a row of table data_{name} has {count} values for {columns} columns",
                where=f"{path}, line {at + 1}",
                found=line.strip()[:60],
                hint="the file may be cut off; values with blanks need double quotes",
            )
        at += 1
        if count:
            rows.append(line)
            behind = at
    return rows, behind


def _check_no_row(behind: list[str], name: str, where: str) -> None:
    if behind and not is_blank(behind[0]) and block_name(behind[0]) is None:
        raise InputError(
            f"a row stands before loop_ in block data_{name}",
            where=where,
            found=behind[0].strip()[:60],
        )


def _pairs(name: str, labels: list[str], head: list[str]) -> Block:
    """A block without loop_: its values as one row."""
    pairs = [line.strip().split(None, 1) for line in head if label_of(line) is not None]
    values = [pair[1].strip() if len(pair) > 1 else '""' for pair in pairs]
    return Block(name, tuple(labels), head, [" ".join(values)] if labels else [], False)
