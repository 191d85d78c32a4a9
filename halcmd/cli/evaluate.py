"""Options of ``halcmd evaluate``."""

from pathlib import Path
from typing import Annotated

from typer import Option

from halcmd.cli.options import OneParticlesOption, PreviousOption, ReportOption, one_of
from halcmd.cli.run import Result, Run


def evaluate(
    run: Run,
    particles: OneParticlesOption,
    truth: Annotated[
        Path | None,
        Option(
            help="Table with halParticleId and halLabel. Default: halLabel of the particles.",
            rich_help_panel="Input",
            metavar="FILE",
        ),
    ] = None,
    previous: PreviousOption = None,
    split: Annotated[
        str,
        Option(
            help="Which particles count; the model has not seen those of the test split.",
            rich_help_panel="Assessment",
            metavar="test|pool|all",
            callback=lambda value: one_of(value, ("test", "pool", "all")),
        ),
    ] = "test",
    by: Annotated[
        str,
        Option(
            help="Also a table of numbers per tomogram.",
            rich_help_panel="Assessment",
            metavar="none|tomogram",
            callback=lambda value: one_of(value, ("none", "tomogram")),
        ),
    ] = "none",
    bootstrap: Annotated[
        int,
        Option(help="Resamples for the intervals; 0 = none.", rich_help_panel="Assessment", min=0),
    ] = 1000,
    report: ReportOption = True,
) -> Result:
    """Measure the predictions on particles whose class is known.

    halcmd evaluate --i Score/job006/particles.star --truth truth.star --o Evaluate/job009/
    """
    from halcmd.steps.evaluate import evaluate as step

    return step(
        run.read([particles]),
        run.folder,
        truth=truth,
        split=split,
        by=by,
        bootstrap=bootstrap,
        previous=previous or [],
        report=report,
        seed=run.seed,
    )
