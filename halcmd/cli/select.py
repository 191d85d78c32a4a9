"""halcmd select."""

from pathlib import Path
from typing import Annotated

from typer import Option

from halcmd.cli.options import ParticlesOption, microscope, one_of
from halcmd.cli.run import Result, Run


def select(
    run: Run,
    particles: ParticlesOption,
    class_: Annotated[
        list[str] | None,
        Option(
            "--class",
            help="Class to keep. Repeat for several. Default: all but junk.",
            rich_help_panel="Selection",
            metavar="NAME",
        ),
    ] = None,
    min_probability: Annotated[
        float,
        Option(
            help="Least probability of the predicted class.",
            rich_help_panel="Selection",
            min=0.0,
            max=1.0,
        ),
    ] = 0.0,
    min_margin: Annotated[
        float,
        Option(
            help="Least difference of first and second probability.",
            rich_help_panel="Selection",
            min=0.0,
            max=1.0,
        ),
    ] = 0.0,
    min_distance: Annotated[
        float,
        Option(
            help="Of two particles nearer than this [A], keep the likelier.",
            rich_help_panel="Selection",
            min=0.0,
        ),
    ] = 0.0,
    exclude: Annotated[
        Path | None,
        Option(
            help="Leave out the particles of this file (halParticleId).",
            rich_help_panel="Selection",
            metavar="FILE",
        ),
    ] = None,
    by_class: Annotated[
        bool, Option("--by-class", help="One STAR file per class, too.", rich_help_panel="Output")
    ] = False,
    layout: Annotated[
        str,
        Option(
            help="Keep the boxes as they are, or write one .mrc per particle (for RELION).",
            rich_help_panel="Output",
            metavar="keep|single",
            callback=lambda value: one_of(value, ("keep", "single")),
        ),
    ] = "keep",
    voltage: Annotated[
        float | None,
        Option(help="In kV, for relion.star where the input has none.", rich_help_panel="Output"),
    ] = None,
    cs: Annotated[
        float | None,
        Option(
            help="Spherical aberration in mm, for relion.star where the input has none.",
            rich_help_panel="Output",
        ),
    ] = None,
) -> Result:
    """Write the clean classes as STAR files that open in RELION.

    Labelled particles count as their label, the others as predicted.

    halcmd select --i Score/particles.star --class ribosome --min-probability 0.8 --o Select/
    """
    from halcmd.steps import select as step

    return step.select(
        run.read(particles),
        run.folder,
        wanted=step.Wanted(tuple(class_ or ()), min_probability, min_margin, min_distance, exclude),
        by_class=by_class,
        layout=layout,
        optics=microscope(voltage, cs),
        seed=run.seed,
    )
