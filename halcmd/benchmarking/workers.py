"""Work in processes of its own, each of which may die without harm to the others."""

import multiprocessing
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from halcmd.errors import HalcmdError

_LOOK_SECONDS = 0.5

Tell = Callable[[dict[str, Any]], None]
Work = Callable[[Any, Tell], None]


@dataclass(frozen=True)
class Told:
    """What a process said while it worked at a task."""

    task: Any
    facts: dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """A task is over; ``error`` says why it failed, and is empty where it did not.

    ``trace`` says where, of errors that nobody foresaw.
    """

    task: Any
    error: str = ""
    trace: str = ""


def run_in_processes(
    tasks: Sequence[Any],
    work: Work,
    *,
    workers: int,
    idle: Callable[[], None],
    preload: Sequence[str] = (),
) -> Iterator[Told | Ended]:
    """Do each task in a new process, so many at a time; what they say, as they say it.

    Parameters
    ----------
    tasks : sequence
        Each is pickled.
    work : function of (task, tell)
        Of a module; runs in the process; ``tell`` sends a dict.
    workers : int
        Processes at a time.
    idle : function
        Called twice a second and after each message; what it raises ends all of them.
    preload : sequence of str
        Modules that are loaded once and shared, where the system can fork.
    """
    context = _context(preload)
    left = list(reversed(tasks))
    running: dict[Connection, tuple[Any, BaseProcess]] = {}
    try:
        while left or running:
            while left and len(running) < workers:
                task = left.pop()
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_child, args=(work, task, theirs), daemon=True)
                process.start()
                theirs.close()
                running[ours] = task, process
            for ready in wait([*running], timeout=_LOOK_SECONDS):
                assert isinstance(ready, Connection)
                task, process = running[ready]
                said = _received(ready)
                if said is None or "error" in said:
                    del running[ready]
                    ready.close()
                    process.join()
                    yield Ended(task, _why(said, process), (said or {}).get("trace", ""))
                else:
                    yield Told(task, said)
            idle()
    finally:
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.join()


def _context(preload: Sequence[str]) -> Any:
    """Processes that share what is loaded already, where the system has them."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([*preload])
        return context
    return multiprocessing.get_context("spawn")


def _child(work: Work, task: Any, pipe: Connection) -> None:
    try:
        work(task, pipe.send)
        pipe.send({"error": ""})
    except Exception as error:  # told to the parent, which decides what to do about it
        if isinstance(error, HalcmdError):
            pipe.send({"error": error.render(), "trace": ""})
        else:
            said = f"{type(error).__name__}: {error}"
            pipe.send({"error": said, "trace": traceback.format_exc()})


def _received(pipe: Connection) -> dict[str, Any] | None:
    """The next message; None where the process ended without one, or amid one."""
    try:
        said: dict[str, Any] = pipe.recv()
    except (EOFError, OSError):
        return None
    return said


def _why(said: dict[str, Any] | None, process: BaseProcess) -> str:
    if said is not None:
        return str(said["error"])
    code = process.exitcode
    return f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
