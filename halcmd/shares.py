"""A table whose rows several processes share: each fills some, the first one has all in the end."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from halcmd.formats.features import feature_file, part_path, take_part
from halcmd.group import Group

Halves = NDArray[np.float16]


@dataclass(frozen=True)
class Share:
    """The rows of this process.

    Attributes
    ----------
    group : Group
        The processes.
    total : int
        Rows of all of them.
    unit : int
        Rows that stay together.
    """

    group: Group
    total: int
    unit: int

    @property
    def own(self) -> slice:
        """The rows."""
        return self.group.share(self.total, unit=self.unit)

    def put_together(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """An array of which each process has filled its rows, and left zeros in the others."""
        whole: NDArray[np.float64] = self.group.sum(torch.from_numpy(values)).numpy()
        return whole

    @contextmanager
    def feature_files(
        self, folder: Path, vector: Sequence[int], pooled: Sequence[int], *, maps: bool
    ) -> Iterator[tuple[Halves, Halves | None]]:
        """Arrays for this process's rows of ``embedding.npy`` and, if asked for, ``features.npy``.

        Each process writes files of its own, which the first one puts together in the end: machines
        that share a disk over the network lose what they write into the same file at once.

        Parameters
        ----------
        folder : Path
            Where.
        vector, pooled : sequence of int
            Shapes of one row of each file.
        maps : bool
            Write ``features.npy``.
        """
        with ExitStack() as stack:
            vectors = stack.enter_context(self._file(folder / "embedding.npy", vector))
            if maps:
                yield vectors, stack.enter_context(self._file(folder / "features.npy", pooled))
            else:
                yield vectors, None

    @contextmanager
    def _file(self, path: Path, shape: Sequence[int]) -> Iterator[Halves]:
        group = self.group
        if group.rank:
            count = self.own.stop - self.own.start
            with feature_file(part_path(path, group.rank), (count, *shape)) as rows:
                yield rows
            group.wait()
            return
        with feature_file(path, (self.total, *shape)) as rows:
            yield rows[self.own]
            group.wait()
            for rank in range(1, group.count):
                where = group.share(self.total, unit=self.unit, rank=rank)
                take_part(rows[where], part_path(path, rank))
