"""Boxes for the strategies that learn from them: cut down by two, in memory-sized pieces."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from halcmd.strategies.pool import Pool, ReadMaps, Rows

_PIECE_VOXELS = 2**22


def volumes_of(pool: Pool, rows: Rows, *, binning: int) -> Tensor:
    """Boxes of rows of the table, shape (n, 1, z, y, x), float32 on the CPU, each of unit variance.

    Parameters
    ----------
    pool : Pool
        Uses ``boxes``.
    rows : ndarray of int
    binning : int
        Mean over so many voxels along each axis; 1 = as they are.
    """
    return torch.cat([*pieces(pool, rows, binning=binning)])


def pieces(pool: Pool, rows: Rows, *, binning: int) -> Iterator[Tensor]:
    """As ``volumes_of``, piece after piece."""
    assert pool.boxes is not None
    step = _step(pool.boxes, rows)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        volumes = torch.from_numpy(np.ascontiguousarray(pool.boxes(part), dtype=np.float32))[
            :, None
        ]
        if binning > 1:
            volumes = F.avg_pool3d(volumes, binning)
        pool.refuse(volumes.numpy(), part, "a voxel")
        spread = volumes.flatten(1).std(dim=1).clamp(min=1e-6)
        yield volumes / spread[:, None, None, None, None]


def _step(boxes: ReadMaps, rows: Rows) -> int:
    return max(_PIECE_VOXELS // int(np.prod(boxes(rows[:1]).shape[1:])), 1)
