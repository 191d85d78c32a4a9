"""halcmd score."""

from pathlib import Path
from typing import Annotated

from typer import Option

from halcmd.cli.options import ParticlesOption, PrecisionOption, ReportOption, one_of
from halcmd.cli.run import Result, Run

_ONLY = ("all", "unlabelled")


def score(
    run: Run,
    particles: ParticlesOption,
    model: Annotated[
        list[Path],
        Option(
            help="model.safetensors of a train job. Repeat for the mean of several. One without "
            "classes gives embeddings only.",
            rich_help_panel="Input",
            metavar="FILE",
        ),
    ],
    only: Annotated[
        str,
        Option(
            help="Rows to score.",
            rich_help_panel="Input",
            metavar="|".join(_ONLY),
            callback=lambda value: one_of(value, _ONLY),
        ),
    ] = "all",
    maps: Annotated[
        bool,
        Option(
            help="Also write the last pooled maps, features.npy, for halcmd query.",
            rich_help_panel="Output",
        ),
    ] = False,
    report: ReportOption = True,
    augmentations: Annotated[
        int,
        Option(
            help="Half turns of each particle to average over; at most 2 where the tilt range is "
            "not symmetric or unknown.",
            rich_help_panel="Passes",
            min=1,
            max=4,
        ),
    ] = 1,
    dropout_samples: Annotated[
        int,
        Option(
            help="Passes with dropout to average over; 0 = without dropout.",
            rich_help_panel="Passes",
            min=0,
        ),
    ] = 0,
    batch_size: Annotated[
        int | None,
        Option(
            help="Particles per forward pass. Default: by the size of the box.",
            rich_help_panel="Compute",
            min=1,
        ),
    ] = None,
    precision: PrecisionOption = "auto",
) -> Result:
    """Class probabilities, uncertainty and embeddings of every particle.

    halcmd score --i Train/particles.star --model Train/model.safetensors --o Score/
    """
    from halcmd.inference import Passes
    from halcmd.steps import score as step

    return step.score(
        run.read(particles),
        run.folder,
        models=model,
        compute=run.compute(precision),
        batch=batch_size,
        maps=maps,
        passes=Passes(augmentations, dropout_samples),
        only=only,
        report=report,
    )
