"""A table whose rows several processes share: each fills some, the first one has all in the end."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from halcmd.compute.group import Group
from halcmd.formats.features import feature_file, part_path, take_part

Halves = NDArray[np.float16]


@dataclass(frozen=True)
class Share:
    """The rows of this process.

    Attributes
    ----------
    group : Group
        The processes.
    order : ndarray, shape (n,), int
        Rows of all of them, in the order in which they are worked on.
    unit : int
        Rows that stay together.
    """

    group: Group
    order: NDArray[np.intp]
    unit: int

    @property
    def own(self) -> NDArray[np.intp]:
        """The rows, in the order in which they are worked on."""
        return self._of(self.group.rank)

    def places_of(self, start: int, end: int) -> NDArray[np.intp] | slice:
        """Where the own rows from start to end stand in the arrays of ``feature_files``."""
        return slice(start, end) if self.group.rank else self.own[start:end]

    def put_together(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """An array of which each process has filled its rows, and left zeros in the others."""
        whole: NDArray[np.float64] = self.group.sum(torch.from_numpy(values)).numpy()
        return whole

    @contextmanager
    def feature_files(
        self, folder: Path, shapes: Mapping[str, tuple[int, ...]]
    ) -> Iterator[list[Halves]]:
        """Arrays for this process's rows, to be filled at ``places_of`` them.

        The first process has whole arrays. Each of the others writes files of its own, which the
        first one puts together in the end: machines that share a disk over the network lose what
        they write into the same file at once.

        Parameters
        ----------
        folder : Path
            Where.
        shapes : mapping of str to tuple of int
            File name to shape of the whole array.
        """
        with ExitStack() as stack:
            yield [
                stack.enter_context(self._file(folder / name, shape))
                for name, shape in shapes.items()
            ]

    def _of(self, rank: int) -> NDArray[np.intp]:
        return self.order[self.group.share(len(self.order), unit=self.unit, rank=rank)]

    @contextmanager
    def _file(self, path: Path, shape: tuple[int, ...]) -> Iterator[Halves]:
        group = self.group
        if group.rank:
            part = part_path(path, group.rank)
            with feature_file(part, (len(self.own), *shape[1:])) as rows:
                yield rows
            group.wait()
            return
        with feature_file(path, shape) as rows:
            yield rows
            group.wait()
            for rank in range(1, group.count):
                take_part(rows, self._of(rank), part_path(path, rank))
