"""Batch normalisation over a batch of which each process has a share.

PyTorch's SyncBatchNorm is another class, for GPUs alone; here the layers stay what they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from halcmd.compute.group import Group, at_least_single


@contextmanager
def normalised_over(group: Group, network: nn.Module, size: int) -> Iterator[None]:
    """A context in which 3D batch normalisation goes by the particles of all processes.

    Parameters
    ----------
    group : Group
        The processes.
    network : Module
        In training mode.
    size : int
        Particles of all of them together.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    if group.count == 1:
        norms = []
    for norm in norms:
        norm.forward = partial(_normalised, norm, group, size)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _normalised(norm: nn.BatchNorm3d, group: Group, size: int, maps: Tensor) -> Tensor:
    """As ``norm`` does it in training mode, over ``size`` particles of which ``maps`` are some."""
    axes, wide = (0, 2, 3, 4), at_least_single(maps)
    count = size * maps.shape[2:].numel()

    def spread(values: Tensor) -> Tensor:
        return values[:, None, None, None]

    mean = group.sum(wide.sum(axes)) / count
    centred = wide - spread(mean)
    variance = group.sum(centred.square().sum(axes)) / count
    with torch.no_grad():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        assert norm.momentum is not None
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)
        norm.num_batches_tracked += 1
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return (centred * spread(scale) + spread(norm.bias)).to(maps.dtype)
