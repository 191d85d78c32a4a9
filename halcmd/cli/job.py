"""The job folder around a step: RELION's markers, log, settings, history, output nodes."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from socket import gethostname
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from halcmd import __version__, console
from halcmd.cli.config import settings_of
from halcmd.compute.processes import Place, Watch, place_of_this
from halcmd.console import log
from halcmd.errors import (
    Aborted,
    DryRun,
    Followed,
    HalcmdError,
    InputError,
    NothingToQuery,
    ProcessLost,
)

if TYPE_CHECKING:
    from halcmd.tables import HistoryRow

_FOLDER_OPTIONS = ("--output", "--o")


class Terminated(BaseException):
    """SIGTERM has come."""


class _MarksFailure:
    """Marks the job's folder as failed where the command line is wrong.

    RELION would wait for the marker for ever.
    """

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> Any:
        """As in Typer."""
        given = list(args)
        try:
            return super().make_context(info_name, args, *rest, **extra)  # type: ignore[misc]
        except typer.Exit:
            raise
        except Exception:
            _mark_unstarted(_folder_in(given))
            raise


class JobCommand(_MarksFailure, TyperCommand):
    """A subcommand."""


class JobGroup(_MarksFailure, TyperGroup):
    """All subcommands."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As in Typer; the name may be that of no subcommand."""
        given = list(args)
        try:
            return super().resolve_command(ctx, args)
        except Exception:
            _mark_unstarted(_folder_in(given))
            raise


def check_folder(
    folder: Path, inputs: Iterable[Path], *, overwrite: bool = False, resume: bool = False
) -> None:
    """Raise InputError where the run would meet, or replace, what it may not."""
    from halcmd.formats import relion_job

    if overwrite or resume:
        relion_job.check_apart(folder, inputs)
    if not overwrite:
        relion_job.check_free(folder, resume=resume)


@contextmanager
def job_folder(
    context: typer.Context,
    folder: Path,
    inputs: Sequence[Path],
    *,
    seed: int,
    overwrite: bool = False,
    resume: bool = False,
    control: Path | None = None,
) -> Iterator[None]:
    """Prepare the folder for the block, and leave it with markers, nodes and nothing stale.

    Parameters
    ----------
    context : typer.Context
        Of the subcommand, for its name and settings.
    folder : Path
        ``--output``.
    inputs : sequence of Path
        Files that the step reads.
    control : Path, optional
        Where RELION looks for the markers, if not in the folder.
    """
    from halcmd.formats import relion_job
    from halcmd.tables import running

    markers = control or folder
    try:
        check_folder(folder, inputs, overwrite=overwrite, resume=resume)
    except InputError:
        _mark_unstarted(markers)
        raise
    step = str(context.info_name)
    new = relion_job.prepare(folder)
    relion_job.prepare(markers)
    started = relion_job.file_time(folder)
    console.add_log_file(folder / relion_job.RUN_LOG)
    console.poll_with(lambda: relion_job.stop_if_asked(markers))
    relion_job.write_settings(folder, step, settings_of(context))
    Watch.last_act = lambda: _give_up(markers)
    token = running.set(_history(step, seed))
    clock = time.monotonic()
    outcome = "failure"
    try:
        with _terminate_on_sigterm():
            yield
        if overwrite:
            relion_job.remove_stale(folder, started)
    except NothingToQuery:
        relion_job.write_output_nodes(folder)
        outcome = "success"
        raise
    except Aborted:
        outcome = "aborted"
        relion_job.remove_written(folder, started)
        raise
    except (HalcmdError, Terminated, KeyboardInterrupt):
        relion_job.remove_written(folder, started)
        raise
    else:
        relion_job.write_output_nodes(folder)
        outcome = "success"
        log.info(f"wrote {folder}/  ({time.monotonic() - clock:.1f} s)")
    finally:
        running.reset(token)
        console.poll_with(None)
        Watch.last_act = None
        if outcome == "failure" and new:
            relion_job.discard(folder)
        if markers.exists():
            relion_job.mark(markers, outcome)


def _give_up(markers: Path) -> None:
    """What is left to do where this process waits for another one for ever."""
    from halcmd.formats import relion_job

    relion_job.mark(markers, "failure")
    log.error(ProcessLost("this one waits for it and cannot go on").render())


@contextmanager
def following(place: Place) -> Iterator[None]:
    """Around a step in a process that is not the first: that one logs, writes and decides.

    What goes wrong here is told to it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    except (Followed, DryRun):
        return
    except ProcessLost:
        raise typer.Exit(1) from None
    except HalcmdError as error:
        _report(place, f"{error.message}{f': {error.found}' if error.found else ''}")
        raise typer.Exit(error.exit_code) from None
    except Exception as error:
        _report(place, f"{type(error).__name__}: {error}")
        raise


def _report(place: Place, text: str) -> None:
    from halcmd.compute.group import tell_first

    text = f"process {place.rank + 1} of {place.count} on {gethostname()}: {text}"
    if not tell_first(text):
        console.write(f"ERROR: {text}", to_stderr=True)


@contextmanager
def dry_job(
    folder: Path,
    inputs: Iterable[Path],
    *,
    overwrite: bool = False,
    resume: bool = False,
    control: Path | None = None,
) -> Iterator[None]:
    """Check what can be checked; nothing is written but the marker that a job of RELION needs."""
    from halcmd.formats import relion_job

    markers = control or folder
    outcome = "failure"
    try:
        check_folder(folder, inputs, overwrite=overwrite, resume=resume)
        yield
        outcome = "success"
    except DryRun:
        outcome = "success"
        raise
    finally:
        if relion_job.is_of_relion(markers):
            relion_job.mark(markers, outcome)


def _mark_unstarted(folder: Path | None) -> None:
    """Mark a job that could not begin as failed, unless an earlier run has left its marker."""
    from halcmd.formats import relion_job

    if folder is not None and folder.is_dir() and not relion_job.is_marked(folder):
        relion_job.mark(folder, "failure")


def _folder_in(arguments: Sequence[str]) -> Path | None:
    """The output folder on a command line that cannot be parsed."""
    for place, word in enumerate(arguments):
        option, equals, value = word.partition("=")
        if option in _FOLDER_OPTIONS:
            following = arguments[place + 1] if place + 1 < len(arguments) else ""
            found = value if equals else following
            return Path(found) if found else None
    return None


def _history(step: str, seed: int) -> "HistoryRow":
    from halcmd.tables import HistoryRow

    command = shlex.join(["halcmd", *sys.argv[1:]])
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return HistoryRow(step, command, __version__, seed, moment.strftime("%Y-%m-%dT%H:%M:%SZ"))


@contextmanager
def _terminate_on_sigterm() -> Iterator[None]:
    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before: Any = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except BaseException:
        if place_of_this().count > 1:
            # torchrun sends it as soon as any process ends; the marker and the message come first
            before = signal.SIG_IGN
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
