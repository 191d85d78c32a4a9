"""The syntax of STAR files: lines into blocks, rows kept as text."""

import re
from pathlib import Path
from typing import NamedTuple

from halcmd.errors import InputError

TOKEN = re.compile(r"""'[^']*'(?=\s|$)|"[^"]*"(?=\s|$)|\S+""")
STRUCTURE = ("data_", "loop_", "_", "#")


class Block(NamedTuple):
    """One block: its name without ``data_``, labels without ``_``, the text of each row."""

    name: str
    labels: tuple[str, ...]
    rows: list[str]
    comments: tuple[str, ...]
    loop: bool


def parse(lines: list[str], path: Path) -> tuple[list[Block], list[str]]:
    """Blocks of a file, and the comments behind the last one.

    Raises
    ------
    InputError
        A line belongs to no block, or a row has the wrong number of values.
    """
    blocks: list[Block] = []
    comments: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at].strip()
        if line.startswith("data_"):
            block, at = _parse_block(lines, at, tuple(comments), path)
            if any(block.name == other.name for other in blocks):
                raise InputError(
                    f"block data_{block.name} stands twice",
                    where=f"{path}, line {at + 1}",
                )
            blocks.append(block)
            comments = []
            continue
        if line.startswith("#"):
            comments.append(lines[at].rstrip())
        elif line:
            raise InputError(
                "this is no STAR file" if not blocks else "a line belongs to no table",
                where=f"{path}, line {at + 1}",
                found=line[:60],
                hint="tables begin with data_NAME",
            )
        at += 1
    return blocks, comments


def _parse_block(
    lines: list[str], at: int, comments: tuple[str, ...], path: Path
) -> tuple[Block, int]:
    """The block whose ``data_`` line is line ``at`` (from 0), and the line where it ends."""
    name = lines[at].strip()[len("data_") :].split("#")[0].strip()
    loop = False
    labels: list[str] = []
    values: list[str] = []
    rows: list[str] = []
    at += 1
    while at < len(lines):
        raw = lines[at]
        line = raw.strip()
        if line.startswith("data_") or (line.startswith("#") and (rows or not labels or values)):
            break
        if line == "loop_":
            if labels:
                raise InputError(
                    f"block data_{name} holds two tables",
                    where=f"{path}, line {at + 1}",
                )
            loop = True
        elif line.startswith("_") and not rows:
            label, _, rest = line[1:].partition(" ")
            label, tab, tabbed = label.partition("\t")
            labels.append(label)
            values.append(tabbed + rest if tab else rest)
        elif line:
            if not loop:
                raise InputError(
                    f"a row stands before loop_ in block data_{name}",
                    where=f"{path}, line {at + 1}",
                    found=line[:60],
                )
            _check_row(line, labels, name, f"{path}, line {at + 1}")
            rows.append(raw.rstrip())
        at += 1
    _check_labels(labels, name, path)
    if not loop:
        rows = [" ".join(value.strip() or '""' for value in values)] if labels else []
    return Block(name, tuple(labels), rows, comments, loop), at


def _check_row(line: str, labels: list[str], name: str, where: str) -> None:
    count = len(TOKEN.findall(line) if '"' in line or "'" in line else line.split())
    if count != len(labels):
        raise InputError(
            f"a row of table data_{name} has {count} values for {len(labels)} columns",
            where=where,
            found=line[:60],
            hint="the file may be cut off; values with blanks need double quotes",
        )


def _check_labels(labels: list[str], name: str, path: Path) -> None:
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise InputError(f"column {twice[0]} stands twice in table data_{name}", where=str(path))
