"""STAR files, lossless: every block, column, row and digit that came in goes out again.

A table keeps the text of each row and appends to it, so nothing is parsed that is not needed.
Values of a column are split off on demand. Syntax as RELION reads it (metadata_table.cpp): the
next block ends a loop, ``#n`` behind a label is optional, quotes may hold blanks.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

from halcmd.errors import InputError, did_you_mean
from halcmd.formats.files import read_lines, write_lines
from halcmd.formats.star_syntax import PIECE, TOKEN, block_name, label_of, parse
from halcmd.formats.star_values import (
    BLOCK,
    OnDemand,
    number_of,
    quote,
    text_of,
    unquote,
    written,
)

__all__ = ["Star", "Table", "number_of", "quote", "read_star", "star_of", "text_of", "write_star"]

VERSION_COMMENT = "# version 30001"
_NEW_HEAD = (VERSION_COMMENT, "", "data_?", "", "loop_")


@dataclass(frozen=True)
class Table:
    """One block of a STAR file.

    Attributes
    ----------
    name : str
        Block name without ``data_``; may be empty.
    read_labels : tuple of str
        Column names of the text in ``lines``, without the leading underscore.
    lines : list of str
        One text per row, as read.
    added : dict of str to sequence of str
        Columns set since; they follow the read ones and replace those of the same name.
    dropped : frozenset of str
        Read columns that are gone.
    head : tuple of str
        The lines that stand before the rows, as read: comments, the block's name, its labels.
    loop : bool
        False for a list of ``_label value`` pairs, which is a table of one row.
    """

    name: str
    read_labels: tuple[str, ...]
    lines: list[str]
    added: dict[str, Sequence[str]] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    head: tuple[str, ...] = _NEW_HEAD
    loop: bool = True

    @classmethod
    def from_columns(cls, name: str, columns: Mapping[str, Iterable[object]]) -> "Table":
        """A new table; values that are not text are written with ``str``."""
        added = {label: [str(value) for value in values] for label, values in columns.items()}
        lengths = {len(values) for values in added.values()}
        if len(lengths) > 1:
            raise ValueError(f"columns of unequal length in {name}: {lengths}")
        count = lengths.pop() if lengths else 0
        return cls(name, (), [""] * count, {**added})

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def labels(self) -> list[str]:
        """Column names in order, without the leading underscore."""
        return [*self._kept, *self.added]

    def __contains__(self, label: object) -> bool:
        return label in self.added or (label in self.read_labels and label not in self.dropped)

    def column(self, label: str) -> list[str]:
        """The values of one column as text, quotes removed.

        Raises
        ------
        InputError
            There is no such column.
        """
        if label not in self._values:
            added = self.added.get(label)
            self._values[label] = added if isinstance(added, list) else list(self.each(label))
        return self._values[label]

    def some(self, label: str, rows: slice) -> list[str]:
        """The values of one column in some rows, as ``column`` has them.

        Raises
        ------
        InputError
            There is no such column.
        """
        if label not in self:
            raise InputError(
                f"column {label} is missing",
                where=f"table data_{self.name}",
                hint=did_you_mean(label, self.labels),
            )
        if label in self.added:
            return list(self.added[label][rows])
        index, lines = self.read_labels.index(label), self.lines[rows]
        if self._quoted:
            return [unquote(TOKEN.findall(line)[index]) for line in lines]
        if index == 0:
            return [line.split(None, 1)[0] for line in lines]
        return [line.split(None, index + 1)[index] for line in lines]

    def each(self, label: str) -> Iterator[str]:
        """The values of one column, one after the other; unlike ``column``, none is kept."""
        self.some(label, slice(0))  # a missing column is an error at once
        return iter(OnDemand(len(self), partial(self.some, label)))

    def with_columns(self, columns: Mapping[str, Sequence[str]]) -> "Table":
        """This table with columns set; a column that was there is replaced and moves to the end."""
        for label, values in columns.items():
            if len(values) != len(self):
                raise ValueError(f"{label} has {len(values)} values for {len(self)} rows")
        kept = {label: values for label, values in self.added.items() if label not in columns}
        added = kept | {
            label: values if isinstance(values, OnDemand) else list(values)
            for label, values in columns.items()
        }
        dropped = self.dropped | (frozenset(columns) & frozenset(self.read_labels))
        return replace(self, added=added, dropped=dropped)

    def without(self, labels: Iterable[str]) -> "Table":
        """This table without the columns named."""
        gone = frozenset(labels)
        added = {label: values for label, values in self.added.items() if label not in gone}
        dropped = self.dropped | (gone & frozenset(self.read_labels))
        return replace(self, added=added, dropped=dropped)

    def take(self, rows: Iterable[int]) -> "Table":
        """The rows with these indices (from 0), in this order."""
        chosen = [int(row) for row in rows]
        lines = self.lines
        columns = {label: self.column(label) for label in self.added}
        added = {label: [values[row] for row in chosen] for label, values in columns.items()}
        return replace(self, lines=[lines[row] for row in chosen], added={**added})

    def followed_by(self, others: Sequence["Table"]) -> "Table":
        """The rows of this table and of others with the same columns, in any order of columns."""
        labels = tuple(self.labels)
        lines = list(self._rows())
        for other in others:
            if other.labels == self.labels:
                lines += other._rows()
            else:
                columns = [written(other.column(label)) for label in labels]
                lines += [" ".join(row) for row in zip(*columns, strict=True)]
        return Table(self.name, labels, lines, head=tuple(self._head()))

    def with_version(self) -> "Table":
        """This table with a version comment of RELION before it, where it has none."""
        if any(line.startswith("# version") for line in self.head):
            return self
        return replace(self, head=("", VERSION_COMMENT, "", *self.head))

    def text_lines(self) -> Iterator[str]:
        """The block as it is written, a text for each line."""
        yield from self._head()
        if self.loop:
            yield from self._rows()

    @cached_property
    def _values(self) -> dict[str, list[str]]:
        return {}

    @cached_property
    def _quoted(self) -> bool:
        return any('"' in line or "'" in line for line in self.lines)

    @property
    def _kept(self) -> list[str]:
        return [label for label in self.read_labels if label not in self.dropped]

    def _head(self) -> list[str]:
        """The head as read, but for the block's name and the labels that came or went."""
        lines = []
        place = 0
        for line in self.head:
            label = label_of(line)
            if block_name(line) not in {None, self.name}:
                line = f"data_{self.name}"
            if label is not None:
                if label in self.dropped:
                    continue
                place += 1
                line = _numbered(line, place) if self.loop and self.dropped else line
            lines.append(line)
        return lines + self._added_labels(place)

    def _added_labels(self, place: int) -> list[str]:
        if self.loop:
            return [f"_{label} #{n}" for n, label in enumerate(self.added, place + 1)]
        return [f"_{label} {quote(values[0])}" for label, values in self.added.items()]

    def _rows(self) -> Iterator[str]:
        """The rows as they are written, made some thousands at a time."""
        for start in range(0, len(self), BLOCK):
            yield from self._some_rows(slice(start, start + BLOCK))

    def _some_rows(self, rows: slice) -> list[str]:
        start = self._kept_text(self.lines[rows])
        if not self.added:
            return start
        columns = [written(list(values[rows])) for values in self.added.values()]
        if not self._kept:
            return [" ".join(row) for row in zip(*columns, strict=True)]
        spaced = [line if line[-1] in " \t" else f"{line} " for line in start]
        return [line + " ".join(row) for line, *row in zip(spaced, *columns, strict=True)]

    def _kept_text(self, lines: list[str]) -> list[str]:
        """Rows as read, without the columns that are gone."""
        count, kept = len(self.read_labels), len(self._kept)
        if kept == count:
            return lines
        if kept == 0:
            return [""] * len(lines)
        if self.read_labels[:kept] == tuple(self._kept) and not self._quoted:
            return [_without_last(line, count - kept) for line in lines]
        places = [n for n, label in enumerate(self.read_labels) if label not in self.dropped]
        pieces = (PIECE.findall(line) for line in lines)
        return ["".join([row[n] for n in places]) for row in pieces]


@dataclass(frozen=True)
class Star:
    """A STAR file: tables in order, and where it was read.

    Attributes
    ----------
    tables : tuple of Table
        All blocks.
    path : Path or None
        None for a new file.
    tail : tuple of str
        The lines behind the last block, empty or comments.
    """

    tables: tuple[Table, ...]
    path: Path | None = None
    tail: tuple[str, ...] = ()

    def table(self, name: str) -> Table | None:
        """The block of this name, or None."""
        return next((table for table in self.tables if table.name == name), None)

    def with_table(self, table: Table) -> "Star":
        """This file with a block replaced, or appended where there was none of its name."""
        if self.table(table.name) is None:
            return replace(self, tables=(*self.tables, table))
        tables = tuple(table if old.name == table.name else old for old in self.tables)
        return replace(self, tables=tables)


def read_star(path: Path) -> Star:
    """The tables of a STAR file.

    Raises
    ------
    InputError
        The file is missing, is no STAR file, or a row has the wrong number of values.
    """
    return _star(read_lines(path), path)


def star_of(text: str, path: Path) -> Star:
    """The tables in the text of a STAR file; see ``read_star``."""
    return _star(text.split("\n"), path)


def _star(lines: list[str], path: Path) -> Star:
    blocks, tail = parse(lines, path)
    if not blocks:
        raise InputError(
            "this is no STAR file",
            where=str(path),
            found="no line begins with data_" if any(lines) else "an empty file",
            hint="a file that begins with data_ or a comment",
        )
    tables = tuple(
        Table(block.name, block.labels, block.rows, head=tuple(block.head), loop=block.loop)
        for block in blocks
    )
    return Star(tables, path, tuple(tail))


def write_star(path: Path, star: Star) -> None:
    """Write a STAR file at once: LF line ends, under a temporary name until complete."""
    write_lines(path, _lines(star))


def _lines(star: Star) -> Iterator[str]:
    """The lines of a file: blocks apart, and no empty line at the end."""
    held = ""  # back until the next line is known
    first = True
    for table in star.tables:
        for place, line in enumerate(table.text_lines()):
            if not first:
                yield held
            if place == 0 and held.strip() and line.strip():
                yield ""
            held, first = line, False
    for line in star.tail:
        yield held
        held = line
    if held:
        yield held


def _without_last(line: str, count: int) -> str:
    """A row without its last values, up to the first of them."""
    start = line.rsplit(None, count)[0]
    return line[: len(line) - len(line[len(start) :].lstrip())]


def _numbered(line: str, place: int) -> str:
    """A line such as ``_rlnCoordinateX #7`` with another number, where it has one."""
    return re.sub(r"#\d+", f"#{place}", line, count=1)
