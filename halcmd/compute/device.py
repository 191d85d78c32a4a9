"""Where and how tensors are computed: devices, precision, threads, seeds.

The only file that knows CUDA.
"""

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.cuda import make_graphed_callables

from halcmd.chance import derive
from halcmd.compute.group import Group, join
from halcmd.compute.memory import keep_freed_memory
from halcmd.compute.processes import Others, Place, place_of_this, start_others
from halcmd.compute.threads import default_threads
from halcmd.console import log
from halcmd.errors import DeviceError, OptionError

_CPU_VOXELS, _GPU_VOXELS = 2**20, 2**24
_LARGEST_BATCH = 512


def use(gpu: str, threads: int) -> torch.device:
    """The device named by ``--gpu``; also sets the number of CPU threads and reproducible kernels.

    Parameters
    ----------
    gpu : str
        ``auto`` or empty (a GPU where there is one), ``cpu``, or a GPU number such as ``0``.
    threads : int
        CPU threads; 0 = OMP_NUM_THREADS, else one per core, at most 8.

    Raises
    ------
    DeviceError
        The GPU that was asked for is not there.
    OptionError
        The text is none of the above.
    """
    names = _names(gpu)
    if len(names) > 1:
        raise DeviceError(
            "this step uses one GPU at a time",
            found=f"--gpu {gpu}",
            hint=f"--gpu {names[0]}, or --gpu auto",
        )
    _check(names)
    return _prepare(_device(names, Place()), threads)


def use_together(gpu: str, threads: int) -> tuple[torch.device, Group]:
    """The device of this process, and the processes with which it shares the job.

    Parameters
    ----------
    gpu : str
        As in ``use``; or several GPUs, ``0,1`` or ``0:1``, or ``cpu,cpu``: one process for each is
        started, unless torchrun or srun have done so.
    threads : int
        CPU threads of each process.

    Raises
    ------
    DeviceError
        A GPU that was asked for is not there, or there are more processes than GPUs.
    OptionError
        The text cannot be understood.
    """
    names, place = _names(gpu), place_of_this()
    others: Others = []
    _check(names)
    if len(names) > 1 and place.count == 1:
        each = max(default_threads() // len(names), 1)
        place, others = start_others(len(names), threads=each)
    device = _prepare(_device(names, place), threads)
    if place.count == 1:
        return device, Group()
    log.info(f"{place.count} processes, started by {place.starter}")
    return device, join(place, device, others)


def each_device(gpu: str) -> list[str]:
    """The devices that ``0,1`` or ``0:1`` names, each as ``use`` takes it; raises as that does."""
    names = _names(gpu)
    _check(names)
    return names


def describe(device: torch.device) -> str:
    """``cpu``, or ``cuda:0 (NVIDIA H100 80GB HBM3)``."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


def kinds(gpu: str) -> set[str]:
    """What the devices are that ``--gpu`` names, such as ``cpu``, ``NVIDIA H100 80GB HBM3``."""
    return {kind(describe(_device([name], Place()))) for name in each_device(gpu)}


def kind(described: str) -> str:
    """A described device without its number."""
    return described.partition("(")[2].removesuffix(")") or described


def devices() -> list[str]:
    """Every device halcmd could use, described."""
    gpus = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    return ["cpu", *map(describe, gpus)]


def why_no_gpu() -> str | None:
    """The reason why no GPU is used, or None where one is there."""
    if torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        return "this PyTorch is built for CPUs only"
    if not os.path.exists("/dev/nvidiactl"):
        return "no NVIDIA driver is loaded on this machine"
    return (
        "the NVIDIA driver is older than this PyTorch needs, or CUDA_VISIBLE_DEVICES hides the GPU"
    )


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """A context in which matrix products and convolutions run in the precision asked for.

    Parameters
    ----------
    device : torch.device
        Where.
    precision : str
        ``auto`` (bf16 on a GPU that has it, else 32), ``32``, ``bf16`` or ``16``.
    """
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "32"
    if precision == "32":
        return nullcontext()
    dtype = {"bf16": torch.bfloat16, "16": torch.float16}[precision]
    return torch.autocast(device.type, dtype=dtype)


def recorded(module: nn.Module, inputs: Sequence[Tensor]) -> Callable[..., Tensor]:
    """The module, whose passes forward and back a GPU does as one piece of work each.

    A pass of a small network is hundreds of small kernels, and a GPU waits longer to be told of
    each than it computes. Recorded once, they are started together.

    Parameters
    ----------
    module : Module
        In the mode in which it will be called, its weights on the GPU. Nothing in it may depend on
        what the tensors hold. Its buffers are as before afterwards.
    inputs : sequence of Tensor
        All later ones must have these shapes.

    Returns
    -------
    function of Tensors -> Tensor
        As the module; the next call overwrites what it gave.
    """
    device = inputs[0].device
    gc.collect()  # an earlier recording is in a reference cycle, with all the memory of its passes
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    # Gradients are added up in the stream of the recording, for which torch waits where it must.
    if hasattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch"):
        torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
    # The thread that goes back has no context of its own before its first kernel.
    torch.ones((), device=device, requires_grad=True).square().backward()  # type: ignore[no-untyped-call]
    # The recording tells weights by their address, which a copy in half precision has not for good.
    is_cast = torch.is_autocast_enabled("cuda")
    dtype = torch.get_autocast_dtype("cuda")
    plain = torch.autocast("cuda", enabled=is_cast, dtype=dtype, cache_enabled=False)
    with plain, torch.random.fork_rng([device]):
        copies = tuple(tensor.clone() for tensor in inputs)
        replay = cast("Callable[..., Tensor]", make_graphed_callables(module, copies))
    with torch.no_grad():
        for buffer, before in buffers:  # the recording began with trial passes
            buffer.copy_(before)
    return replay


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on the device, without waiting for what that is doing."""
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def own_generators(device: torch.device) -> list[torch.Generator]:
    """The generators from which torch draws of its own on the CPU and on the device, as dropout."""
    if device.type == "cpu":
        return [torch.default_generator]
    torch.cuda.init()  # type: ignore[no-untyped-call]  # makes the generators
    return [torch.default_generator, torch.cuda.default_generators[device.index or 0]]


def forward_batch(box: int, device: torch.device) -> int:
    """Particles of so many voxels along an edge to pass through a network at a time.

    On two cores a quarter of that was slower, compact by a fifth (28 and 40 voxels).
    """
    voxels = _CPU_VOXELS if device.type == "cpu" else _GPU_VOXELS
    return min(max(voxels // box**3, 1), _LARGEST_BATCH)


@contextmanager
def enough_memory(hint: str) -> Iterator[None]:
    """A context that says what to do where the device's memory is too small.

    Raises
    ------
    DeviceError
        It is.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceError("the device's memory is too small", hint=hint) from error


def torch_generator(device: torch.device, seed: int, *keys: object) -> torch.Generator:
    """A torch generator on the device for one purpose."""
    generator = torch.Generator(device=device)
    generator.manual_seed(derive(seed, *keys))
    return generator


def _names(gpu: str) -> list[str]:
    """``--gpu`` as a list: auto, cpu or numbers of GPUs."""
    text = gpu.strip().lower() or "auto"
    names = [word for word in text.replace(":", ",").split(",") if word]
    if names == ["auto"] or {*names} == {"cpu"} or (names and all(map(str.isdigit, names))):
        return names
    raise OptionError(
        "--gpu cannot be understood",
        found=gpu,
        hint="auto, cpu, or numbers of GPUs such as 0 or 0,1",
    )


def _check(names: list[str]) -> None:
    """Raise DeviceError where a GPU is not there, or named twice."""
    numbers = [int(name) for name in names if name.isdigit()]
    for number in numbers:
        if number >= torch.cuda.device_count():
            reason = why_no_gpu() or f"this machine has {torch.cuda.device_count()} GPUs"
            raise DeviceError(
                f"there is no GPU {number}", found=reason, hint="--gpu cpu or --gpu auto"
            )
    if len({*numbers}) < len(numbers):
        raise DeviceError("a GPU is named twice", found=f"--gpu {','.join(names)}")


def _device(names: list[str], place: Place) -> torch.device:
    """The device of the process at this place."""
    if names[0] == "cpu" or (names == ["auto"] and not torch.cuda.is_available()):
        return torch.device("cpu")
    if names == ["auto"]:
        # Where srun shows each process its own GPU alone, that is number 0.
        count = torch.cuda.device_count()
        names = ["0"] if count == 1 else [str(number) for number in range(count)]
    if len(names) == 1:
        return torch.device("cuda", int(names[0]))
    if place.local_count > len(names):
        raise DeviceError(
            "there are more processes than GPUs",
            found=f"{place.local_count} processes on this machine, {len(names)} GPUs",
            hint="one process per GPU",
        )
    return torch.device("cuda", int(names[place.local_rank]))


def _prepare(device: torch.device, threads: int) -> torch.device:
    """Set threads, memory and kernels, and say what is used."""
    torch.set_num_threads(threads or default_threads())
    if device.type == "cpu":
        keep_freed_memory()
    else:
        torch.cuda.set_device(device)  # recordings are made on the current one
    _use_reproducible_kernels()
    log.info(f"device {describe(device)}, {torch.get_num_threads()} CPU threads")
    return device


def _use_reproducible_kernels() -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Else torch fills every new tensor first: 560 of the 3,000 operations of a training step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
