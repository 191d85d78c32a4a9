"""halcmd pretrain."""

from typing import Annotated

from typer import Option

from halcmd.cli.options import (
    ParticlesOption,
    PrecisionOption,
    ReportOption,
    ResumeOption,
    TiltRangeOption,
    augment_option,
    network_option,
    pair,
)
from halcmd.cli.run import Result, Run


def pretrain(
    run: Run,
    particles: ParticlesOption,
    network: Annotated[str | None, network_option("compact")] = None,
    epochs: Annotated[
        int | None,
        Option(
            help="Passes over the particles. Default: 10, but 800 to 4,000 steps.",
            rich_help_panel="Training",
            min=1,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        Option(
            help="Particles per step, each in two views. Default: 64.",
            rich_help_panel="Training",
            min=2,
        ),
    ] = None,
    augment: Annotated[str | None, augment_option("full")] = None,
    tilt_range: TiltRangeOption = None,
    resume: ResumeOption = False,
    report: ReportOption = True,
    precision: PrecisionOption = "auto",
) -> Result:
    """Warm start for train from unlabelled particles.

    halcmd pretrain --i Extract/particles.star --o Pretrain/
    """
    from halcmd.steps import pretrain as step

    tilts = pair(tilt_range, "--tilt-range")
    return step.pretrain(
        run.read(particles),
        run.folder,
        compute=run.compute(precision),
        network=network,
        epochs=epochs,
        batch=batch_size,
        augment=augment,
        tilt_range=tilts,
        resume=resume,
        report=report,
    )
