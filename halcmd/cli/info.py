"""halcmd info."""

import json
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from halcmd import console
from halcmd.cli.run import JSON_OPTION, exit_codes


def info(
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
) -> None:
    """Say what a file is; without a file, versions and devices.

    halcmd info picks.star --tomograms tomograms.star
    """
    console.configure(json_output=json_output)
    with exit_codes(json_output=json_output, traceback_too=False):
        from halcmd.steps import info as step

        facts = [
            step.describe(path, tomograms or (), pixel_size=tomo_angpix) for path in files or ()
        ] or [step.installation()]
        if json_output:
            shown = facts[0] if len(facts) == 1 else facts
            console.write(json.dumps(shown, indent=2))
            return
        for one in facts:
            console.write("\n".join([*step.lines_of(one), ""]))
