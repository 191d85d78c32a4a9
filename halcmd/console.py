"""The log and the progress display: for a terminal, or plain lines for a log file."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from halcmd.errors import DataError, DryRun

log = logging.getLogger("halcmd")

Advance = Callable[[int], None]

_PLAIN_STEP_PERCENT = 10
_PLAIN_STEP_SECONDS = 30.0
_POLL_SECONDS = 1.0


class _Stream(logging.Handler):
    """Prints records: warnings and errors to stderr, the rest to stdout (under --json stderr)."""

    def __init__(self, *, info_to_stderr: bool) -> None:
        super().__init__()
        self.info_to_stderr = info_to_stderr

    def emit(self, record: logging.LogRecord) -> None:
        level = f"{record.levelname}: " if record.levelno >= logging.WARNING else ""
        to_stderr = self.info_to_stderr or record.levelno >= logging.WARNING
        write(f"{level}{record.getMessage()}", to_stderr=to_stderr)


class _Collector(logging.Handler):
    """Keeps the text of every warning for the ``warnings`` entry of --json."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:
            self.texts.append(record.getMessage())
            if _strict:
                raise DataError(record.getMessage(), hint="without --strict this is a warning")


_collector = _Collector()
_info_to_stderr = False
_dry_run = False
_strict = False
_silent = False
_poll: Callable[[], None] | None = None


def write(text: str, *, to_stderr: bool = False) -> None:
    """Print one line; the only call of ``print`` in halcmd."""
    print(text, file=sys.stderr if to_stderr else sys.stdout, flush=True)


def configure(
    *,
    json_output: bool = False,
    verbosity: int = 0,
    dry_run: bool = False,
    strict: bool = False,
    silent: bool = False,
) -> None:
    """Set up the log for one command.

    Parameters
    ----------
    json_output : bool
        Send the log to stderr, so that stdout holds the JSON object alone.
    verbosity : int
        -1 warnings only, 0 normal, 1 and more debugging detail.
    dry_run : bool
        ``planned`` ends the command.
    strict : bool
        A warning raises DataError.
    silent : bool
        Print nothing: another process of the job does.
    """
    global _info_to_stderr, _dry_run, _strict, _silent, _collector, _poll
    _info_to_stderr, _dry_run, _strict, _poll = json_output, dry_run, strict, None
    _silent = silent
    _collector = _Collector()
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    stream = _Stream(info_to_stderr=json_output)
    stream.setLevel({-1: logging.WARNING, 0: logging.INFO}.get(verbosity, logging.DEBUG))
    if not silent:
        log.addHandler(stream)
    log.addHandler(_collector)
    log.setLevel(min(stream.level, logging.INFO))
    log.propagate = False


def add_log_file(path: Path) -> None:
    """Copy the log to a file, with times; --quiet does not quieten it."""
    handler = logging.FileHandler(path, mode="a", encoding="utf-8")
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    )
    log.addHandler(handler)


def warnings() -> list[str]:
    """Texts of the warnings of this command so far."""
    return list(_collector.texts)


def planned(text: str) -> None:
    """Say what will be done now that everything is checked; under --dry-run, stop here.

    Raises
    ------
    DryRun
        The command runs with --dry-run.
    """
    log.info(text)
    if _dry_run:
        raise DryRun(text)


def poll_with(check: Callable[[], None] | None) -> None:
    """Have every progress display call ``check`` about once a second; it may raise to stop."""
    global _poll
    _poll = check


@contextmanager
def progress(what: str, total: int, unit: str = "particles") -> Iterator[Advance]:
    """A progress display; the value is a function to call with the number of units just done.

    On a terminal a bar; otherwise one plain line every 10 % or 30 s with rate and time left.
    """
    show = _Bar if sys.stdout.isatty() and not _info_to_stderr and not _silent else _Lines
    display = show(what, total, unit)
    last_poll = time.monotonic()

    def advance(count: int) -> None:
        nonlocal last_poll
        display.advance(count)
        now = time.monotonic()
        if _poll is not None and now - last_poll > _POLL_SECONDS:
            last_poll = now
            _poll()

    if _poll is not None:
        _poll()
    with display:
        yield advance


class _Bar:
    """rich's bar."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
            console=Console(file=sys.stdout),
            transient=True,
        )
        self.task = self.bar.add_task(what, total=total)

    def __enter__(self) -> "_Bar":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def advance(self, count: int) -> None:
        self.bar.advance(self.task, count)


class _Lines:
    """Plain lines, no control characters."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self.start = self.last_time = time.monotonic()
        self.last_percent = 0

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def advance(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        percent = 100 * self.done // max(self.total, 1)
        step = percent // _PLAIN_STEP_PERCENT > self.last_percent // _PLAIN_STEP_PERCENT
        if not step and now - self.last_time < _PLAIN_STEP_SECONDS:
            return
        self.last_percent, self.last_time = percent, now
        rate = self.done / max(now - self.start, 1e-9)
        speed = f"  {rate:.3g}/s  {(self.total - self.done) / rate:.0f} s left" if rate else ""
        log.info(f"{self.what} {percent:3d} %  {self.done:,} of {self.total:,} {self.unit}{speed}")
