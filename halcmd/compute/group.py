"""Processes that share a job: what they exchange.

All of them hold the same weights and take the same steps. Each does a share of what is costly,
passes through the network, and all have the whole of what comes out: so all compute the same loss,
which is that of a single process.

The only file that knows torch.distributed, on which Lightning Fabric stands. Fabric loads where
there is more than one process, and only there.
"""

import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn

from halcmd.compute.processes import Others, Place, Watch
from halcmd.errors import Followed, ProcessLost

# The slowest process may be this much later than the others. That one has ended is noticed at once.
_PATIENCE = timedelta(minutes=60)
_TOLD = "halcmd/error/{}"


@dataclass(frozen=True)
class Group:
    """The processes that share a job; where there is but one, each method gives what it takes.

    Attributes
    ----------
    rank, count : int
        The number of this process, from 0, and that of all.
    device : torch.device
        Where tensors that are exchanged must be.
    watch : Watch, optional
        Ends this process where it would wait for ever.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    watch: Watch | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that logs and writes."""
        return self.rank == 0

    def share(self, total: int, *, unit: int = 1, rank: int | None = None) -> slice:
        """The contiguous share of this process, or another one, of ``total`` items.

        Parameters
        ----------
        total : int
            Items.
        unit : int
            Items that stay together, such as a batch.
        rank : int, optional
            The process. Default: this one.
        """
        rank = self.rank if rank is None else rank
        units = -(-total // unit)
        start, end = (min(units * place // self.count * unit, total) for place in (rank, rank + 1))
        return slice(start, end)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over the processes; gradients flow back to all of them."""
        if self.count == 1:
            return tensor
        total: Tensor = _Sum.apply(tensor.to(self.device))  # type: ignore[no-untyped-call]
        return total.to(tensor.device)

    def shared(self, function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """What a function makes of each of the rows, of which each process takes a share.

        The function is called by every process, if need be with no rows.
        """
        if self.count == 1:
            return function(rows)
        share = self.share(len(rows))
        own = at_least_single(function(rows[share]))
        before = own.new_zeros((share.start, *own.shape[1:]))
        after = own.new_zeros((len(rows) - share.stop, *own.shape[1:]))
        return self.sum(torch.cat([before, own, after]))

    def average_gradients(self, network: nn.Module) -> None:
        """Make the gradients of the network their mean over the processes.

        What was summed on the way sends each process the gradients of all losses. These are alike,
        so that the mean is the gradient of one.
        """
        if self.count == 1:
            return
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        mean = self.sum(torch.cat([gradient.flatten() for gradient in gradients])) / self.count
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, part in zip(gradients, torch.split(mean, sizes), strict=True):
            gradient.copy_(part.view_as(gradient))

    def agrees_on(self, number: int) -> bool:
        """Whether it is the same in all processes."""
        one = torch.tensor([number, number**2], dtype=torch.float64)
        mean, square = (self.sum(one) / self.count).tolist()
        return bool(square == mean**2)

    def wait(self) -> None:
        """Go on when all processes have come here."""
        self.sum(torch.zeros(1))

    def leave(self) -> None:
        """End the processes but the first: what is left is to write.

        Raises
        ------
        Followed
            This is not the first process.
        """
        if self.watch is not None:
            self.watch.end()
            dist.destroy_process_group()
        if self.rank:
            raise Followed


def at_least_single(tensor: Tensor) -> Tensor:
    """The tensor in single precision, or double where it is in that."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


class _Sum(torch.autograd.Function):
    """Sum over the processes, forwards and backwards."""

    @staticmethod
    def forward(_: object, tensor: Tensor) -> Tensor:
        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        try:
            dist.all_reduce(total)
        except RuntimeError as error:
            raise _lost(error) from error
        return total

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return _Sum.forward(context, gradient)


def join(place: Place, device: torch.device, others: Others) -> Group:
    """The processes of the job, once all have come.

    Parameters
    ----------
    place : Place
        That of this one.
    device : torch.device
        What this one computes on.
    others : list of Popen
        Those that this one has started.

    Raises
    ------
    ProcessLost
        Another one does not come.
    """
    from lightning_fabric.accelerators import (  # type: ignore[attr-defined]
        CPUAccelerator,
        CUDAAccelerator,
    )
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    if place.starter == "srun":
        # Fabric wants it said, srun does not always say it.
        os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(place.local_count))
    strategy = DDPStrategy(
        accelerator=CPUAccelerator() if device.type == "cpu" else CUDAAccelerator(),
        parallel_devices=[device] * place.local_count,
        cluster_environment=(
            SLURMEnvironment() if place.starter == "srun" else TorchElasticEnvironment()
        ),
        timeout=_PATIENCE,
    )
    watch = Watch(others)
    if place.rank:
        watch = Watch(is_alone=partial(_is_orphan, os.getppid()), grace=0)
    watch.start()
    try:
        strategy.setup_environment()
    except (RuntimeError, OSError) as error:
        raise _lost(error) from error
    return Group(place.rank, place.count, device, watch)


def tell_first(text: str) -> bool:
    """Have the first process say why this one ends; False where it cannot be reached."""
    if not dist.is_initialized():
        return False
    with contextlib.suppress(RuntimeError):
        _store().set(_TOLD.format(dist.get_rank()), text)
        return True
    return False


def _store() -> dist.distributed_c10d.Store:
    """A dictionary that all processes see, on the first one or on torchrun."""
    return dist.distributed_c10d._get_default_store()


def _is_orphan(parent: int) -> bool:
    """Whether what has started this process is gone, or the first one, which holds the store."""
    try:
        _store().check([_TOLD.format(0)])
    except ValueError:  # not all have come yet, or the work is done
        pass
    except RuntimeError:
        return True
    return os.getppid() != parent


def _lost(error: Exception) -> ProcessLost:
    """The error that another process is gone, with what it has told of the reason."""
    for rank in range(1, dist.get_world_size() if dist.is_initialized() else 0):
        with contextlib.suppress(RuntimeError):  # the store is gone with the first process
            if _store().check([_TOLD.format(rank)]):
                return ProcessLost(_store().get(_TOLD.format(rank)).decode())
    # gloo begins with a line of its own source: [.../pair.cc:537] Read error ...
    reason = str(error).splitlines()[0].split("] ", 1)[-1][:120]
    return ProcessLost(f"it gave no reason (killed, out of memory?): {reason}")
