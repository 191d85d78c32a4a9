"""Where and how tensors are computed: devices, precision, threads, seeds.

The only file that knows CUDA.
"""

import os
from contextlib import AbstractContextManager, nullcontext

import torch

from halcmd.chance import derive
from halcmd.console import log
from halcmd.errors import DeviceError, OptionError
from halcmd.threads import default_threads


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
    torch.set_num_threads(threads or default_threads())
    _use_reproducible_kernels()
    device = _device(gpu.strip().lower() or "auto")
    log.info(f"device {describe(device)}, {torch.get_num_threads()} CPU threads")
    return device


def describe(device: torch.device) -> str:
    """``cpu``, or ``cuda:0 (NVIDIA H100 80GB HBM3)``."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


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


def torch_generator(device: torch.device, seed: int, *keys: object) -> torch.Generator:
    """A torch generator on the device for one purpose."""
    generator = torch.Generator(device=device)
    generator.manual_seed(derive(seed, *keys))
    return generator


def _device(gpu: str) -> torch.device:
    if gpu == "cpu":
        return torch.device("cpu")
    if gpu == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    wanted = [word for word in gpu.replace(":", ",").split(",") if word]
    if not all(word.isdigit() for word in wanted):
        raise OptionError(
            "--gpu cannot be understood",
            found=gpu,
            hint="auto, cpu, or a GPU number such as 0",
        )
    if len(wanted) > 1:
        raise DeviceError(
            "one GPU at a time",
            found=f"--gpu {gpu}",
            hint=f"--gpu {wanted[0]}, or --gpu auto",
        )
    number = int(wanted[0])
    if number >= torch.cuda.device_count():
        reason = why_no_gpu() or f"this machine has {torch.cuda.device_count()} GPUs"
        raise DeviceError(f"there is no GPU {number}", found=reason, hint="--gpu cpu or --gpu auto")
    return torch.device("cuda", number)


def _use_reproducible_kernels() -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
