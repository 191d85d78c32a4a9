"""What every subcommand shares: common options, job folder, log, exit codes, ``--json``."""

import json
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer
from typer import Option

from halcmd import __version__, console
from halcmd.cli.config import use_config
from halcmd.cli.job import JobCommand, Terminated, dry_job, following, job_folder
from halcmd.compute.processes import Place, place_of_this
from halcmd.console import log
from halcmd.errors import DryRun, HalcmdError, NothingToQuery, OptionError

if TYPE_CHECKING:
    import torch

    from halcmd.particles import Particles
    from halcmd.training.run import Compute

# Steps whose work several processes can share.
SHARED = ("pretrain", "train", "score")

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
    """The common options of one run; ``given``, the options on its command line by parameter."""

    folder: Path
    gpu: str
    threads: int
    seed: int
    overwrite: bool
    given: Mapping[str, str]

    def device(self) -> "torch.device":
        """The device to compute on; sets threads and reproducible kernels."""
        from halcmd.compute.device import use

        return use(self.gpu, self.threads)

    def compute(self, precision: str) -> "Compute":
        """What to compute on, alone or together with other processes of the job."""
        from halcmd.compute.device import use_together
        from halcmd.training.run import Compute

        device, group = use_together(self.gpu, self.threads)
        return Compute(device, precision, self.seed, group)

    @property
    def cpu_threads(self) -> int:
        """CPU threads of a step that needs no device."""
        from halcmd.compute.threads import default_threads

        return self.threads or default_threads()

    def check_used(self, unread: Iterable[str], why: str) -> None:
        """Raise OptionError where one of these parameters, which nothing reads, was given.

        Settings of a file or of the environment may serve several commands: they are left alone.
        """
        words = [option for name, option in self.given.items() if name in {*unread}]
        if words:
            raise OptionError(f"{', '.join(words)}: nothing reads this {why}", hint="leave it out")

    def read(self, paths: list[Path]) -> "Particles":
        """The particle table from one file or several."""
        from halcmd.tables import read_particles

        particles = read_particles(paths)
        log.info(f"read {len(particles):,} particles from {', '.join(map(str, paths))}")
        return particles


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
    settings = {"auto_envvar_prefix": f"HALCMD_{function.__name__.upper()}"}
    made = app.command(name, rich_help_panel=panel, cls=JobCommand, context_settings=settings)
    made(hide_environment(command))


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
    return [*_job_parameters(), *_run_parameters(), *_relion_parameters(own)]


def _job_parameters() -> list[Parameter]:
    compute = {"panel": "Compute"}
    return [
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
            help="auto, cpu, or a GPU number such as 0; 0,1 or 0:1 = one process on each "
            "(pretrain, train, score).",
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
    ]


def _run_parameters() -> list[Parameter]:
    run = {"panel": "Run"}
    keyword = Parameter.KEYWORD_ONLY
    config = _parameter(
        "config",
        Path | None,
        None,
        "--config",
        **run,
        metavar="FILE",
        is_eager=True,
        callback=use_config,
        help="Settings from TOML, one table per subcommand.",
    )
    flags = {
        "overwrite": "Replace the output of an earlier run.",
        "dry_run": "Check everything, write nothing.",
        "strict": "Warnings are errors.",
    }
    return [
        config,
        *(
            _parameter(name, bool, False, f"--{name.replace('_', '-')}", **run, help=text)
            for name, text in flags.items()
        ),
        Parameter("json_output", keyword, default=False, annotation=JSON_OPTION),
        Parameter("verbose", keyword, default=0, annotation=VERBOSE_OPTION),
        Parameter("quiet", keyword, default=False, annotation=QUIET_OPTION),
    ]


def _relion_parameters(own: set[str]) -> list[Parameter]:
    """What RELION passes, hidden from the help."""
    hidden: dict[str, Any] = {"panel": "Run", "hidden": True}
    inputs = {name: f"--{name.replace('_', '-')}" for name in _UNUSED_RELION_INPUTS}
    if "particles" not in own:
        inputs["in_parts"] = "--i"
    return [
        _parameter("pipeline_control", Path | None, None, "--pipeline-control", **hidden),
        *(_parameter(name, str | None, None, option, **hidden) for name, option in inputs.items()),
    ]


def _given(context: typer.Context) -> dict[str, str]:
    """Options that stand on the command line, by the name of their parameter."""
    found = {}
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name and source is not None and source.name == "COMMANDLINE":
            found[parameter.name] = parameter.opts[0]
    return found


def _run(
    function: Command, context: typer.Context, common: dict[str, Any], values: dict[str, Any]
) -> None:
    verbosity = -1 if common["quiet"] else common["verbose"]
    place = place_of_this()
    console.configure(
        json_output=common["json_output"],
        verbosity=verbosity,
        dry_run=common["dry_run"],
        strict=common["strict"],
        silent=place.rank > 0,
    )
    shared = {name: common[name] for name in ("gpu", "threads", "seed", "overwrite")}
    run = Run(common["output"], given=_given(context), **shared)
    log.info(f"halcmd {__version__} {context.info_name}")
    inputs = _paths(values.values())
    rules = {"overwrite": run.overwrite, "resume": bool(values.get("resume"))}
    control = common["pipeline_control"]

    def work() -> Result:
        _check_shared(context, place)
        return function(run, **values)

    if place.rank:
        with following(place):
            work()
        return
    with exit_codes(json_output=common["json_output"], traceback_too=common["verbose"] > 1):
        if common["dry_run"]:
            with dry_job(run.folder, inputs, control=control, **rules):
                work()
            return
        with job_folder(context, run.folder, inputs, seed=run.seed, control=control, **rules):
            result = work()
        if common["json_output"]:
            _print_json(result.summary())


def _check_shared(context: typer.Context, place: Place) -> None:
    if place.count > 1 and context.info_name not in SHARED:
        raise OptionError(
            f"halcmd {context.info_name} runs as a single process",
            found=f"{place.count} processes, started by {place.starter}",
            hint=f"without {place.starter}; {', '.join(SHARED)} share their work",
        )


@contextmanager
def exit_codes(*, json_output: bool, traceback_too: bool) -> Iterator[None]:
    """Turn errors into one message and the exit codes of halcmd."""
    try:
        yield
    except DryRun:
        log.info("dry run: everything was checked, nothing was written")
        if json_output:
            _print_json({"dry_run": True})
    except HalcmdError as error:
        if traceback_too or os.environ.get("HALCMD_TRACEBACK"):
            console.write(traceback.format_exc(), to_stderr=True)
        level = log.info if isinstance(error, NothingToQuery) else log.error
        level(error.render())
        raise _end(error, error.exit_code, json_output=json_output) from None
    except KeyboardInterrupt:
        log.error("interrupted")
        raise _end(HalcmdError("interrupted"), EXIT_INTERRUPTED, json_output=json_output) from None
    except Terminated:
        alone = place_of_this().count == 1
        log.error(f"terminated{'' if alone else ', or another process of this job has ended'}")
        raise _end(HalcmdError("terminated"), EXIT_TERMINATED, json_output=json_output) from None


def _end(error: HalcmdError, code: int, *, json_output: bool) -> typer.Exit:
    """The exit, once the JSON object is printed."""
    if json_output:
        _print_json(error.facts() | {"exit_code": code})
    return typer.Exit(code)


def _print_json(facts: Mapping[str, object]) -> None:
    console.write(json.dumps({**facts, "warnings": console.warnings()}, indent=2))


def _paths(values: Iterable[object]) -> list[Path]:
    """Every path among the values of options."""
    found: list[Path] = []
    for value in values:
        found += [
            item
            for item in (value if isinstance(value, list) else [value])
            if isinstance(item, Path)
        ]
    return found
