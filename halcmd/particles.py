"""The particle table: the noun that every step passes on. Its columns, identity, reading, writing.

A row keeps the text it came with; what halcmd knows itself stands in ``hal*`` columns
(``halcmd.columns`` lists them).
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from pathlib import Path

import numpy as np

from halcmd.columns import owned_by
from halcmd.errors import InputError, first_few
from halcmd.formats.star import Star, Table, number_of
from halcmd.formats.star_values import OnDemand

UNLABELLED = "unlabelled"
JUNK = "junk"
NOT_TRAINED = ("unknown", "skip")
RESERVED = (JUNK, UNLABELLED, *NOT_TRAINED)
"""Words that no class found in the data may be called by."""
SPLITS = ("pool", "test")

_PARTICLE_BLOCKS = ("particles", "images", "")
_OTHER_BLOCKS = re.compile(r"^(general|optics|global|hal_.*|optimisation_set|pipeline_.*)$")
_COORDINATES = {"rlnCoordinateX", "rlnCenteredCoordinateXAngst", "wrpCoordinateX1", "orig_x"}
_TOMOGRAM_COLUMNS = ("halTomogram", "rlnTomoName", "rlnMicrographName", "wrpSourceName")
_TOMOGRAM_SUFFIX = re.compile(
    r"(\.tomostar|[.:]mrcs?|\.rec|\.map|\.st|\.gz|\.bz2|_Vol|_rec|_\d+(\.\d+)?Apx)$", re.IGNORECASE
)
LABEL = re.compile(r"^[A-Za-z][A-Za-z0-9_.-]*$")
NO_LABELS = {"nan", "na", "none", "null", "true", "false"}


@dataclass(frozen=True)
class Particles:
    """A particle table inside its STAR file.

    Attributes
    ----------
    star : Star
        All blocks, optics and foreign ones included.
    block : str
        Name of the block that holds the particles.
    ids_are_new : bool
        True where halParticleId was made up while reading: such ids match nothing elsewhere.
    """

    star: Star
    block: str
    ids_are_new: bool = False

    @property
    def table(self) -> Table:
        """The block that holds the particles."""
        table = self.star.table(self.block)
        assert table is not None
        return table

    @property
    def path(self) -> Path | None:
        """The file it was read from."""
        return self.star.path

    def __len__(self) -> int:
        return len(self.table)

    def has(self, name: str) -> bool:
        """Whether there is a column of this name."""
        return name in self.table

    def text(self, name: str, default: str | None = None) -> np.ndarray:
        """A column as text, shape (n,), object; the default for all rows where there is none.

        Raises
        ------
        InputError
            The column is missing and there is no default.
        """
        if not self.has(name) and default is not None:
            return np.full(len(self), default, dtype=object)
        try:
            return np.array(self.table.column(name), dtype=object)
        except InputError as error:
            error.where = f"{self.path}, table data_{self.block}"
            raise

    def each(self, name: str, default: str | None = None) -> Iterator[str]:
        """The values of a column as text, one after the other; unlike ``text``, none is kept.

        Raises
        ------
        InputError
            The column is missing and there is no default.
        """
        if not self.has(name) and default is not None:
            return repeat(default, len(self))
        try:
            return self.table.each(name)
        except InputError as error:
            error.where = f"{self.path}, table data_{self.block}"
            raise

    def number(self, name: str, default: float = float("nan")) -> np.ndarray:
        """A column as numbers, shape (n,), float64; the default for all rows where there is none.

        Raises
        ------
        InputError
            A value is no number.
        """
        if not self.has(name):
            return np.full(len(self), default)
        return numbers_of(self.table, name, self.path)

    @cached_property
    def ids(self) -> np.ndarray:
        """halParticleId, shape (n,), object of str."""
        return self.text("halParticleId")

    @cached_property
    def labels(self) -> np.ndarray:
        """halLabel, shape (n,), object of str; ``unlabelled`` where there is none."""
        return self.text("halLabel", UNLABELLED)

    @cached_property
    def is_test(self) -> np.ndarray:
        """Rows with halSplit = test, shape (n,), bool.

        Raises
        ------
        InputError
            halSplit holds something else than pool or test.
        """
        split = self.text("halSplit", "pool")
        wrong = [value for value in split if value not in SPLITS]
        if wrong:
            raise InputError(
                "halSplit must be pool or test", where=str(self.path), found=first_few(wrong)
            )
        return np.asarray(split == "test")

    @property
    def is_answered(self) -> np.ndarray:
        """Rows with an answer, ``unknown`` and ``skip`` included, shape (n,), bool."""
        return np.asarray(self.labels != UNLABELLED)

    @property
    def is_trainable(self) -> np.ndarray:
        """Rows whose label can be learnt from, whatever their split, shape (n,), bool."""
        return self.is_answered & ~np.isin(self.labels, NOT_TRAINED)

    @cached_property
    def tomograms(self) -> np.ndarray:
        """Normalised tomogram name of each row, shape (n,), object; ``none`` where unknown."""
        for column in _TOMOGRAM_COLUMNS:
            if self.has(column):
                raw = self.table.column(column)
                names = {text: tomogram_name(text) for text in set(raw)}
                return np.array([names[text] for text in raw], dtype=object)
        return np.full(len(self), "none", dtype=object)

    @property
    def positions(self) -> np.ndarray:
        """Resolved positions from the centre of the first voxel, shape (n, 3), **xyz**, Angstrom.

        ``nan`` where extract has not resolved them.
        """
        return np.stack([self.number(f"halPosition{axis}Angst") for axis in "XYZ"], axis=1)

    def with_columns(
        self, columns: Mapping[str, Sequence[str] | np.ndarray], *, owner: str | None = None
    ) -> "Particles":
        """This table with columns set.

        Parameters
        ----------
        columns : mapping of str to sequence of str
            One text per row; of ``OnDemand`` ones none is made before it is written.
        owner : str, optional
            A step: all its columns go first, so that none survives from an earlier run.
        """
        table = self.table
        if owner is not None:
            table = table.without(owned_by(owner, table.labels))
        texts = {
            name: values if isinstance(values, OnDemand) else [str(value) for value in values]
            for name, values in columns.items()
        }
        return replace(self, star=self.star.with_table(table.with_columns(texts)))

    def without(self, names: Iterable[str]) -> "Particles":
        """This table without the columns named."""
        return replace(self, star=self.star.with_table(self.table.without(names)))

    def take(self, rows: Iterable[int] | np.ndarray) -> "Particles":
        """The rows with these indices (from 0), in this order; other blocks stay."""
        return replace(self, star=self.star.with_table(self.table.take(rows)))

    def class_numbers(self) -> dict[str, int]:
        """Class name to number, as block ``hal_classes`` has it; empty where there is none."""
        table = self.star.table("hal_classes")
        if table is None:
            return {}
        numbers = [int(text) for text in table.column("halClassNumber")]
        return dict(zip(table.column("halClassName"), numbers, strict=True))

    def with_classes(self, names: Iterable[str]) -> "Particles":
        """This table with block ``hal_classes`` holding the names; numbers in it never change."""
        numbers = self.class_numbers()
        for name in sorted(set(names) - set(numbers)):
            numbers[name] = max(numbers.values(), default=0) + 1
        return self.with_class_numbers(numbers)

    def with_class_numbers(self, numbers: Mapping[str, int]) -> "Particles":
        """This table with block ``hal_classes`` as given."""
        table = Table.from_columns(
            "hal_classes",
            {"halClassNumber": list(numbers.values()), "halClassName": list(numbers)},
        )
        return replace(self, star=self.star.with_table(table))


def numbers_of(table: Table, label: str, path: Path | None) -> np.ndarray:
    """A column of any table as numbers, shape (n,), float64; ``nan`` for a missing value.

    Raises
    ------
    InputError
        A value is no number.
    """
    try:
        return np.fromiter(map(float, table.each(label)), np.float64, len(table))
    except ValueError:
        values = enumerate(table.each(label))
        return np.array([_number(text, table, label, row, path) for row, text in values])


def _number(text: str, table: Table, label: str, row: int, path: Path | None) -> float:
    try:
        return number_of(text)
    except ValueError as error:
        raise InputError(
            f"{label} must be a number",
            where=f"{path}, table data_{table.name}, row {row + 1}",
            found=text,
        ) from error


def new_particles(
    columns: Mapping[str, Sequence[object]],
    *,
    optics: Mapping[str, Sequence[object]] | None = None,
    path: Path | None = None,
) -> Particles:
    """A fresh particle table, with an optics table and the file it comes from where given."""
    tables = [Table.from_columns("particles", columns)]
    if optics is not None:
        tables.insert(0, Table.from_columns("optics", optics))
    return Particles(Star(tuple(tables), path), "particles")


def particles_of(star: Star) -> Particles:
    """The particle table of a STAR file.

    Raises
    ------
    InputError
        No block looks like particles, or it has no rows.
    """
    names = [table.name for table in star.tables]
    loops = [table.name for table in star.tables if table.loop]
    named = [name for name in _PARTICLE_BLOCKS if name in loops]
    others = [name for name in loops if not _OTHER_BLOCKS.match(name)]
    placed = [name for name in others if _COORDINATES & set(_labels(star, name))]
    found = named or placed or others
    more = [name for name in placed if name not in found[:1]]
    if more:
        raise InputError(
            "several tables of this STAR file hold picks",
            where=str(star.path),
            found=", ".join(f"data_{name}" for name in [*found[:1], *more]),
            hint="a file for each of them",
        )
    if not found:
        raise InputError(
            "no table of particles in this STAR file",
            where=str(star.path),
            found=", ".join(f"data_{name}" for name in names),
            hint="a file with a block data_particles",
        )
    particles = Particles(star, found[0])
    if not len(particles):
        raise InputError(
            "the particle table is empty",
            where=f"{star.path}, table data_{found[0]}",
            hint="check the step that wrote it",
        )
    return particles


def _labels(star: Star, name: str) -> list[str]:
    table = star.table(name)
    return table.labels if table is not None else []


def tomogram_name(text: str) -> str:
    """A tomogram's bare name: ``rec_TS_01_10.00Apx.mrc`` and ``TS_01.tomostar`` are ``TS_01``."""
    name = text.replace("\\", "/").rsplit("/", 1)[-1]
    while (shorter := _TOMOGRAM_SUFFIX.sub("", name)) != name and shorter:
        name = shorter
    return name.removeprefix("rec_") or name


def group_key(text: str) -> str:
    """An optics group, so that ``1`` and ``1.0`` are the same: some programs write either."""
    whole, point, rest = text.partition(".")
    return whole if point and not rest.strip("0") else text


def valid_label(text: str) -> bool:
    """Whether a class may be called so: begins with a letter; letters, digits, ``_ . -``."""
    return bool(LABEL.match(text)) and text.lower() not in NO_LABELS


def as_class(text: str) -> str:
    """A class name; words with a meaning of their own in small letters, as ``junk`` for Junk.

    Spreadsheets begin words with a capital by themselves.
    """
    return text.lower() if text.lower() in RESERVED else text


def new_ids(tomograms: Iterable[str]) -> list[str]:
    """``<tomogram>/<six digits>`` for each row, counted from 1 within each tomogram."""
    count: Counter[str] = Counter()
    ids = []
    for name in tomograms:
        count[name] += 1
        ids.append(f"{name}/{count[name]:06d}")
    return ids
