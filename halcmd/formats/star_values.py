"""Values of STAR tables as text: quotes, numbers, and columns that are written but not stored."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

import numpy as np

from halcmd.formats.star_syntax import STRUCTURE

_QUOTES = ("'", '"', ";")
BLOCK = 8192
"""How many rows are turned into text at a time."""


class OnDemand(Sequence[str]):
    """Texts that are made when they are asked for: a column for which no text is kept.

    Parameters
    ----------
    count : int
        How many there are.
    make : function of slice -> list of str
        The texts in a slice.
    """

    def __init__(self, count: int, make: Callable[[slice], list[str]]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return self._make(place)
        number = range(self._count)[place]
        return self._make(slice(number, number + 1))[0]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, self._count, BLOCK):
            yield from self._make(slice(start, start + BLOCK))


def written(values: list[str]) -> list[str]:
    """Values as they stand in a STAR file; one look at all of them where none needs quotes."""
    text = "\n" + "\n".join(values)
    special = any(f"\n{start}" in text for start in (*STRUCTURE, *_QUOTES))
    if not special and text.split() == values:
        return values
    return [quote(value) for value in values]


def quote(value: str) -> str:
    """A value as it stands in a STAR file: in quotes where it is empty or holds blanks."""
    if not _needs_quotes(value):
        return value
    mark = "'" if '"' in value else '"'
    return mark + re.sub(r"\s+", " ", value.replace(mark, "`")) + mark


def unquote(token: str) -> str:
    """A value without the quotes around it."""
    if len(token) > 1 and token[0] in "'\"" and token[-1] == token[0]:
        return token[1:-1]
    return token


def text_of(values: Iterable[float], decimals: int) -> list[str]:
    """Numbers as text with a fixed number of decimals; ``nan`` where not finite."""
    array = np.array(values, dtype=np.float64)
    array[~np.isfinite(array)] = np.nan
    form = f"%.{decimals}f"
    texts = [form % value for value in array.tolist()]
    zero = form % 0.0
    for row in np.flatnonzero((array <= 0) & (array > -(10.0**-decimals))):
        if texts[row] == f"-{zero}":
            texts[row] = zero
    return texts


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
    if not value or value.startswith((*STRUCTURE, *_QUOTES)):
        return True
    return len(value.split()) != 1 or value != value.strip()
