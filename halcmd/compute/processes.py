"""The processes that share one job: which one this is, and how the others are started.

torchrun and srun start all of them and say so in environment variables; for ``--gpu 0,1`` the first
one starts the others and says it in the same way. Nothing here loads torch.
"""

import atexit
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

_GRACE_SECONDS = 15.0  # torchrun and srun kill after 30
_LOOK_SECONDS = 0.5
_OF_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR")


@dataclass(frozen=True)
class Place:
    """The place of this process among those of the job.

    Attributes
    ----------
    rank, count : int
        Its number, from 0, and that of all.
    local_rank, local_count : int
        The same on this machine.
    starter : str
        What started them: ``halcmd``, ``torchrun`` or ``srun``; empty where there is but one.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    starter: str = ""


@contextmanager
def waiting_signals() -> Iterator[Callable[[], None]]:
    """Within it SIGINT and SIGTERM wait until the function it gives is called; a second does not.

    In other threads than the first one, which get no signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before: dict[int, Any] = {}
    waiting: list[tuple[int, FrameType | None]] = []

    def heed(sent: int, frame: FrameType | None) -> None:
        handler = before[sent]
        if callable(handler):
            handler(sent, frame)
        elif handler is signal.SIG_DFL:
            signal.signal(sent, handler)
            signal.raise_signal(sent)

    def wait(sent: int, frame: FrameType | None) -> None:
        if waiting:
            heed(sent, frame)
        waiting.append((sent, frame))

    def let_through() -> None:
        if waiting:
            heed(*waiting[0])

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, wait)
    try:
        yield let_through
    finally:
        for sent, handler in before.items():
            signal.signal(sent, handler)


Others = list[subprocess.Popen[bytes]]


def place_of_this() -> Place:
    """What the environment says.

    A batch script has ``SLURM_NTASKS`` and ``SLURM_PROCID`` too, but is one process: the number of
    processes in a step is set by srun alone.
    """
    known = os.environ
    if all(name in known for name in _OF_TORCHRUN):
        numbers = [int(known[name]) for name in _OF_TORCHRUN[:4]]
        rank, count, local_rank, local_count = numbers
        starter = known.get("HALCMD_STARTED_BY", "torchrun")
    elif known.get("SLURM_STEP_NUM_TASKS", "").isdigit() and "SLURM_PROCID" in known:
        rank, count = int(known["SLURM_PROCID"]), int(known["SLURM_STEP_NUM_TASKS"])
        local_rank = int(known.get("SLURM_LOCALID", "0"))
        # "4(x2),3": machines with 4, 4 and 3
        per_machine = known.get("SLURM_STEP_TASKS_PER_NODE", str(count))
        local_count = int(per_machine.split("(")[0].split(",")[0])
        starter = "srun"
    else:
        return Place()
    return Place(rank, count, local_rank, local_count, starter) if count > 1 else Place()


def start_others(count: int, *, threads: int) -> tuple[Place, Others]:
    """Start this command again, once for each further process; the place of this one, and them.

    Parameters
    ----------
    count : int
        Of all processes.
    threads : int
        CPU threads of each, unless the user says otherwise.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "HALCMD_STARTED_BY": "halcmd",
    }
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.update({name: str(value) for name, value in shared.items()})
    os.environ.update({"RANK": "0", "LOCAL_RANK": "0"})
    others = [
        subprocess.Popen(
            [sys.executable, "-m", "halcmd", *sys.argv[1:]],
            env=os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        for rank in range(1, count)
    ]
    atexit.register(_kill, others)
    return place_of_this(), others


def _kill(others: Others) -> None:
    for other in others:
        other.kill()
        other.wait()


class Watch(threading.Thread):
    """Ends this process where it would wait for another one for ever.

    A process that waits for a GPU, or for an answer of a process that hangs, heeds neither signals
    nor the end of other processes. This thread does: it gives the process some seconds to end of
    its own accord, does what was left to do, and ends it.

    Parameters
    ----------
    others : sequence of Popen
        Processes that were started by this one.
    is_alone : function
        Whether the processes that this one depends on are gone.
    grace : float
        Seconds in which it may end of its own accord.
    """

    last_act: Callable[[], None] | None = None
    """What is to be done before the process is ended."""

    def __init__(
        self,
        others: Others | None = None,
        is_alone: Callable[[], bool] = lambda: False,
        *,
        grace: float = _GRACE_SECONDS,
    ) -> None:
        super().__init__(daemon=True, name="watch")
        self._others, self._is_alone, self._grace = others or [], is_alone, grace
        self._over = threading.Event()
        self._signals, signalled = os.pipe()
        os.set_blocking(signalled, False)
        signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)

    def end(self) -> None:
        """No other process is needed any more."""
        self._over.set()

    def run(self) -> None:
        """Look now and then."""
        while not self._over.is_set():
            told, _, _ = select.select([self._signals], [], [], _LOOK_SECONDS)
            ends = told and {signal.SIGTERM, signal.SIGINT} & {*os.read(self._signals, 64)}
            if ends or any(other.poll() for other in self._others) or self._is_alone():
                break
        else:
            return
        if self._over.wait(self._grace):
            return
        try:
            if Watch.last_act is not None:
                Watch.last_act()
        finally:
            for other in self._others:
                other.kill()
            os._exit(1)
