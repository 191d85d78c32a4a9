"""What every subcommand shares: common options, job folder, log, exit codes, ``--json``."""

import json
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer
from typer import Option

from halcmd import __version__, console
from halcmd.cli.config import settings_of, use_config
from halcmd.console import log
from halcmd.errors import Aborted, DryRun, HalcmdError, NothingToQuery

if TYPE_CHECKING:
    import torch

    from halcmd.particles import Particles

EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

# RELION's External job passes these when its input fields are filled in.
ALIASES = {"in-parts": "i", "in-coords": "i"}
_UNUSED_RELION_INPUTS = ("in_mask", "in_3dref", "in_mics", "in_movies")


class Result(Protocol):
    """What a step returns."""

    def summary(self) -> dict[str, object]:
        """What ``--json`` prints."""


@dataclass(frozen=True)
class Run:
    """The common options of one run."""

    folder: Path
    gpu: str
    threads: int
    seed: int
    overwrite: bool

    def device(self) -> "torch.device":
        """The device to compute on; sets threads and reproducible kernels."""
        from halcmd.device import use

        return use(self.gpu, self.threads)

    def read(self, paths: list[Path]) -> "Particles":
        """The particle table from one file or several."""
        from halcmd.tables import read_particles

        particles = read_particles(paths)
        log.info(f"read {len(particles):,} particles from {', '.join(map(str, paths))}")
        return particles


class Terminated(BaseException):
    """SIGTERM has come."""


Command = Callable[..., Result]


def add_job(app: typer.Typer, function: Command, panel: str) -> None:
    """Make a function ``f(run, ...) -> Result`` a subcommand that has a job folder.

    Parameters
    ----------
    app : typer.Typer
        Where to add it, under its own name with hyphens.
    function : callable
        Its parameters, but for ``run``, are the command's own options.
    panel : str
        The group in ``halcmd --help``.
    """
    own = [p for p in signature(function, eval_str=True).parameters.values() if p.name != "run"]
    common = _common_parameters({parameter.name for parameter in own})

    def command(**values: Any) -> None:
        context: typer.Context = values.pop("context")
        _run(function, context, {p.name: values.pop(p.name) for p in common}, values)

    parameters = [*own, *common, _CONTEXT]
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = function.__doc__
    name = function.__name__.replace("_", "-")
    app.command(name, rich_help_panel=panel)(hide_environment(command))


def hide_environment(command: Callable[..., None]) -> Callable[..., None]:
    """Keep the names of environment variables out of the help; the docs give their rule."""
    for annotation in command.__annotations__.values():
        for extra in getattr(annotation, "__metadata__", ()):
            extra.show_envvar = False
    return command


_CONTEXT = Parameter("context", Parameter.KEYWORD_ONLY, annotation=typer.Context)


def _parameter(
    name: str, kind: Any, default: Any, *names: str, panel: str, **info: Any
) -> Parameter:
    option = Option(*names, rich_help_panel=panel, **info)
    return Parameter(
        name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


JSON_OPTION = Annotated[
    bool, Option("--json", help="Print one JSON object on stdout.", rich_help_panel="Run")
]
VERBOSE_OPTION = Annotated[
    int,
    Option(
        "--verbose", "-v", count=True, help="More detail; twice: tracebacks.", rich_help_panel="Run"
    ),
]
QUIET_OPTION = Annotated[
    bool, Option("--quiet", "-q", help="Warnings and errors only.", rich_help_panel="Run")
]


def _common_parameters(own: set[str]) -> list[Parameter]:
    """The options that every job has; those of a command's own name are left out."""
    run, compute = {"panel": "Run"}, {"panel": "Compute"}
    keyword = Parameter.KEYWORD_ONLY
    parameters = [
        _parameter(
            "output",
            Path,
            ...,
            "--output",
            "--o",
            panel="Output",
            metavar="DIR",
            help="Job folder, made if need be.",
        ),
        _parameter(
            "gpu",
            str,
            "auto",
            "--gpu",
            **compute,
            metavar="TEXT",
            help="auto, cpu, or a GPU number such as 0.",
        ),
        _parameter(
            "threads",
            int,
            0,
            "--threads",
            "--j",
            **compute,
            min=0,
            help="CPU threads; 0 = one per core, at most 8.",
        ),
        _parameter("seed", int, 0, "--seed", **compute, help="Seed of all random choices."),
        _parameter(
            "config",
            Path | None,
            None,
            "--config",
            **run,
            metavar="FILE",
            is_eager=True,
            callback=use_config,
            help="Settings from TOML, one table per subcommand.",
        ),
        _parameter(
            "overwrite",
            bool,
            False,
            "--overwrite",
            **run,
            help="Replace the output of an earlier run.",
        ),
        _parameter(
            "dry_run", bool, False, "--dry-run", **run, help="Check everything, write nothing."
        ),
        _parameter("strict", bool, False, "--strict", **run, help="Warnings are errors."),
        Parameter("json_output", keyword, default=False, annotation=JSON_OPTION),
        Parameter("verbose", keyword, default=0, annotation=VERBOSE_OPTION),
        Parameter("quiet", keyword, default=False, annotation=QUIET_OPTION),
        _parameter(
            "pipeline_control",
            Path | None,
            None,
            "--pipeline-control",
            **run,
            hidden=True,
            help="RELION: where the exit markers go.",
        ),
    ]
    for name in _UNUSED_RELION_INPUTS:
        option = f"--{name.replace('_', '-')}"
        parameters.append(_parameter(name, str | None, None, option, **run, hidden=True))
    if "particles" not in own:
        parameters.append(_parameter("in_parts", str | None, None, "--i", **run, hidden=True))
    return parameters


def _run(
    function: Command, context: typer.Context, common: dict[str, Any], values: dict[str, Any]
) -> None:
    verbosity = -1 if common["quiet"] else common["verbose"]
    console.configure(
        json_output=common["json_output"],
        verbosity=verbosity,
        dry_run=common["dry_run"],
        strict=common["strict"],
    )
    step = str(context.info_name)
    run = Run(
        common["output"], common["gpu"], common["threads"], common["seed"], common["overwrite"]
    )
    log.info(f"halcmd {__version__} {step}")
    with exit_codes(json_output=common["json_output"], traceback_too=common["verbose"] > 1):
        if common["dry_run"]:
            _check_folder(run, values)
            function(run, **values)
            return
        with _job(run, step, context, common["pipeline_control"], values):
            result = function(run, **values)
        summary = result.summary() | {"warnings": console.warnings()}
        if common["json_output"]:
            console.write(json.dumps(summary, indent=2))


@contextmanager
def exit_codes(*, json_output: bool, traceback_too: bool) -> Iterator[None]:
    """Turn errors into one message and the exit codes of halcmd."""
    try:
        yield
    except DryRun:
        log.info("dry run: everything was checked, nothing was written")
    except HalcmdError as error:
        if traceback_too or os.environ.get("HALCMD_TRACEBACK"):
            console.write(traceback.format_exc(), to_stderr=True)
        level = log.info if isinstance(error, NothingToQuery) else log.error
        level(error.render())
        if json_output:
            facts = {"error": error.message, "exit_code": error.exit_code}
            console.write(json.dumps(facts | {"warnings": console.warnings()}, indent=2))
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        log.error("interrupted")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except Terminated:
        log.error("terminated")
        raise typer.Exit(EXIT_TERMINATED) from None


def _check_folder(run: Run, values: dict[str, Any]) -> None:
    from halcmd.formats import relion_job

    if not run.overwrite and not values.get("resume"):
        relion_job.check_free(run.folder)


@contextmanager
def _job(
    run: Run, step: str, context: typer.Context, control: Path | None, values: dict[str, Any]
) -> Iterator[None]:
    """The job folder around a step: markers, log, settings, history, output nodes."""
    from halcmd.formats import relion_job
    from halcmd.tables import running

    _check_folder(run, values)
    new = relion_job.prepare(run.folder)
    markers = control or run.folder
    relion_job.prepare(markers)
    started = relion_job.file_time(run.folder)
    console.add_log_file(run.folder / relion_job.RUN_LOG)
    console.poll_with(lambda: relion_job.stop_if_asked(markers))
    relion_job.write_settings(run.folder, step, settings_of(context))
    token = running.set(_history(step, run.seed))
    clock = time.monotonic()
    outcome = "failure"
    try:
        with _terminate_on_sigterm():
            yield
        if run.overwrite:
            relion_job.remove_stale(run.folder, started)
        outcome = "success"
        log.info(f"wrote {run.folder}/  ({time.monotonic() - clock:.1f} s)")
    except NothingToQuery:
        outcome = "success"
        raise
    except Aborted:
        outcome = "aborted"
        raise
    finally:
        running.reset(token)
        console.poll_with(None)
        if outcome == "failure" and new:
            relion_job.discard(run.folder)
        if markers.exists():
            relion_job.write_output_nodes(run.folder) if outcome == "success" else None
            relion_job.mark(markers, outcome)


def _history(step: str, seed: int) -> Any:
    from halcmd.tables import HistoryRow

    command = shlex.join(["halcmd", *sys.argv[1:]])
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return HistoryRow(step, command, __version__, seed, moment.strftime("%Y-%m-%dT%H:%M:%SZ"))


@contextmanager
def _terminate_on_sigterm() -> Iterator[None]:
    def terminate(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
