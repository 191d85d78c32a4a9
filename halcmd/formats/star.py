"""STAR files, lossless: every block, column, row and digit that came in goes out again.

A table keeps the text of each row and appends to it, so nothing is parsed that is not needed.
Values of a column are split off on demand. Syntax as RELION reads it (metadata_table.cpp): the
next block ends a loop, ``#n`` behind a label is optional, quotes may hold blanks.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from halcmd.errors import InputError, did_you_mean
from halcmd.formats.files import read_text, write_text
from halcmd.formats.star_syntax import STRUCTURE, TOKEN, parse

VERSION_COMMENT = "# version 30001"


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
    added : dict of str to list of str
        Columns set since; they follow the read ones and replace those of the same name.
    dropped : frozenset of str
        Read columns that are gone.
    comments : tuple of str
        Comment lines that stand before the block.
    loop : bool
        False for a list of ``_label value`` pairs, which is a table of one row.
    """

    name: str
    read_labels: tuple[str, ...]
    lines: list[str]
    added: dict[str, list[str]] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    comments: tuple[str, ...] = ()
    loop: bool = True

    @classmethod
    def from_columns(cls, name: str, columns: Mapping[str, Iterable[object]]) -> "Table":
        """A new table; values that are not text are written with ``str``."""
        added = {label: [str(value) for value in values] for label, values in columns.items()}
        lengths = {len(values) for values in added.values()}
        if len(lengths) > 1:
            raise ValueError(f"columns of unequal length in {name}: {lengths}")
        count = lengths.pop() if lengths else 0
        return cls(name, (), [""] * count, added, comments=(VERSION_COMMENT,))

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def labels(self) -> list[str]:
        """Column names in order, without the leading underscore."""
        return [label for label in self.read_labels if label not in self.dropped] + list(self.added)

    def __contains__(self, label: object) -> bool:
        return label in self.added or (label in self.read_labels and label not in self.dropped)

    def column(self, label: str) -> list[str]:
        """The values of one column as text, quotes removed.

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
            return self.added[label]
        if label not in self._values:
            self._values[label] = self._read_column(self.read_labels.index(label))
        return self._values[label]

    def with_columns(self, columns: Mapping[str, Sequence[str]]) -> "Table":
        """This table with columns set; a column that was there is replaced and moves to the end."""
        for label, values in columns.items():
            if len(values) != len(self):
                raise ValueError(f"{label} has {len(values)} values for {len(self)} rows")
        kept = {label: values for label, values in self.added.items() if label not in columns}
        added = kept | {label: list(values) for label, values in columns.items()}
        dropped = self.dropped | (frozenset(columns) & frozenset(self.read_labels))
        return replace(self, added=added, dropped=dropped)

    def without(self, labels: Iterable[str]) -> "Table":
        """This table without the columns named."""
        gone = frozenset(labels)
        added = {label: values for label, values in self.added.items() if label not in gone}
        return replace(
            self,
            added=added,
            dropped=self.dropped | (gone & frozenset(self.read_labels)),
        )

    def take(self, rows: Iterable[int]) -> "Table":
        """The rows with these indices (from 0), in this order."""
        chosen = [int(row) for row in rows]
        lines = self.lines
        added = {label: [values[row] for row in chosen] for label, values in self.added.items()}
        return replace(self, lines=[lines[row] for row in chosen], added=added)

    def text(self) -> str:
        """The block as it is written."""
        head = [*self.comments, "", f"data_{self.name}", ""]
        if not self.loop and len(self) == 1:
            values = [self._raw(label)[0] for label in self.labels]
            body = [f"_{label} {value}" for label, value in zip(self.labels, values, strict=True)]
        else:
            body = [
                "loop_",
                *(f"_{label} #{n}" for n, label in enumerate(self.labels, 1)),
            ]
            body += self._rows()
        return "\n".join([*head, *body, "", ""])

    @cached_property
    def _values(self) -> dict[str, list[str]]:
        return {}

    @cached_property
    def _quoted(self) -> bool:
        return any('"' in line or "'" in line for line in self.lines)

    def _read_column(self, index: int) -> list[str]:
        if self._quoted:
            return [_unquote(TOKEN.findall(line)[index]) for line in self.lines]
        if index == 0:
            return [line.split(None, 1)[0] for line in self.lines]
        return [line.split(None, index + 1)[index] for line in self.lines]

    def _raw(self, label: str) -> list[str]:
        """Values as they are written, quotes kept or added."""
        if label in self.added:
            return [quote(value) for value in self.added[label]]
        index = self.read_labels.index(label)
        return [TOKEN.findall(line)[index] for line in self.lines]

    def _rows(self) -> list[str]:
        kept = [n for n, label in enumerate(self.read_labels) if label not in self.dropped]
        if len(kept) == len(self.read_labels):
            start = self.lines
        else:
            split = TOKEN.findall if self._quoted else str.split
            tokens = (split(line) for line in self.lines)
            start = [" ".join([row[n] for n in kept]) for row in tokens]
        if not self.added:
            return start
        if any(_needs_quotes(value) for values in self.added.values() for value in values):
            columns = [list(map(quote, values)) for values in self.added.values()]
        else:
            columns = list(self.added.values())
        if not kept:
            return [" ".join(row) for row in zip(*columns, strict=True)]
        return [" ".join(row) for row in zip(start, *columns, strict=True)]


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
        Comment lines behind the last block.
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
    lines = read_text(path).split("\n")
    blocks, tail = parse(lines, path)
    if not blocks:
        raise InputError(
            "this is no STAR file",
            where=str(path),
            found="no line begins with data_" if any(lines) else "an empty file",
            hint="a file that begins with data_ or a comment",
        )
    tables = tuple(
        Table(block.name, block.labels, block.rows, comments=block.comments, loop=block.loop)
        for block in blocks
    )
    return Star(tables, path, tuple(tail))


def write_star(path: Path, star: Star) -> None:
    """Write a STAR file at once: LF line ends, under a temporary name until complete."""
    blocks = [table.text() for table in star.tables]
    tail = "\n".join([*star.tail, ""]) if star.tail else ""
    write_text(path, "\n".join(blocks) + tail)


def quote(value: str) -> str:
    """A value as it stands in a STAR file: in quotes where it is empty or holds blanks."""
    if not _needs_quotes(value):
        return value
    mark = "'" if '"' in value else '"'
    return mark + re.sub(r"\s+", " ", value.replace(mark, "`")) + mark


def text_of(values: Iterable[float], decimals: int) -> list[str]:
    """Numbers as text with a fixed number of decimals; ``nan`` where not finite."""
    array = np.asarray(values, dtype=np.float64)
    form = f"%.{decimals}f"
    zero = form % 0.0
    texts = [form % value if np.isfinite(value) else "nan" for value in array]
    return [zero if text == f"-{zero}" else text for text in texts]


def number_of(text: str) -> float:
    """The number that a STAR value spells, ``nan`` for a missing one (``nan``, ``<NA>``, empty).

    Raises
    ------
    ValueError
        The text is no number.
    """
    if text in {"", "<NA>", "None", "null"}:
        return float("nan")
    return float(text)


def _needs_quotes(value: str) -> bool:
    if not value or value[0] in "'\";" or value.startswith(STRUCTURE):
        return True
    return len(value.split()) != 1 or value != value.strip()


def _unquote(token: str) -> str:
    if len(token) > 1 and token[0] in "'\"" and token[-1] == token[0]:
        return token[1:-1]
    return token
