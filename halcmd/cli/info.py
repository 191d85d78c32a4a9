"""halcmd info."""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from halcmd import console
from halcmd.cli.job import job_folder
from halcmd.cli.run import JSON_OPTION, exit_codes
from halcmd.console import log
from halcmd.errors import HalcmdError


def info(
    context: typer.Context,
    files: Annotated[
        list[Path] | None,
        Argument(help="STAR, MRC, CSV, model or job folder.", metavar="[FILE]..."),
    ] = None,
    tomograms: Annotated[
        list[Path] | None,
        Option(help="As for extract: say where picks lie in their tomograms.", metavar="PATH"),
    ] = None,
    tomo_angpix: Annotated[
        float | None, Option(help="Voxel size of the tomograms [A].", min=0.01)
    ] = None,
    json_output: JSON_OPTION = False,
    inputs: Annotated[
        list[Path] | None,
        Option("--particles", "--i", "--in-parts", "--in-coords", hidden=True),
    ] = None,
    output: Annotated[Path | None, Option("--output", "--o", hidden=True)] = None,
    threads: Annotated[int, Option("--threads", "--j", hidden=True)] = 0,
    pipeline_control: Annotated[Path | None, Option(hidden=True)] = None,
    ignored: Annotated[
        list[str] | None,
        Option("--in-mics", "--in-movies", "--in-mask", "--in-3dref", hidden=True),
    ] = None,
) -> None:
    """Say what a file is; without a file, versions and devices.

    halcmd info picks.star --tomograms tomograms.star
    """
    console.configure(json_output=json_output)
    wanted = [*(files or ()), *(inputs or ())]
    with (
        exit_codes(json_output=json_output, traceback_too=False),
        _job(context, output, pipeline_control, wanted),
    ):
        facts = _facts(wanted, tomograms or [], tomo_angpix)
        if json_output:
            console.write(json.dumps(facts[0] if len(facts) == 1 else facts, indent=2))
        else:
            _show(facts)
        if any("error" in one for one in facts):
            raise typer.Exit(HalcmdError.exit_code)


def _job(
    context: typer.Context, output: Path | None, control: Path | None, inputs: Sequence[Path]
) -> AbstractContextManager[None]:
    """The job folder, where RELION runs this as a job."""
    if output is None:
        return nullcontext()
    return job_folder(context, output, inputs, seed=0, control=control)


def _facts(
    files: Sequence[Path], tomograms: Sequence[Path], pixel_size: float | None
) -> list[dict[str, Any]]:
    """What each file is; of several, one that cannot be read does not hide the others."""
    from halcmd.steps import info as step

    if not files:
        return [step.installation()]
    if len(files) == 1:
        return [step.describe(files[0], tomograms, pixel_size=pixel_size)]
    facts: list[dict[str, Any]] = []
    for path in files:
        try:
            facts.append(step.describe(path, tomograms, pixel_size=pixel_size))
        except HalcmdError as error:
            log.error(error.render())
            facts.append({"file": str(path), **error.facts()})
    return facts


def _show(facts: Sequence[dict[str, Any]]) -> None:
    from halcmd.steps import info as step

    for one in facts:
        if "error" not in one:
            console.write("\n".join([*step.lines_of(one), ""]))
