"""halcmd train."""

from pathlib import Path
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
    one_of,
    pair,
)
from halcmd.cli.run import Result, Run

_PRESETS = ("default", "paper", "code")
_WEIGHTS = ("balanced", "none")


def train(
    run: Run,
    particles: ParticlesOption,
    init_model: Annotated[
        Path | None,
        Option(
            help="Start from the weights of this model.",
            rich_help_panel="Input",
            metavar="FILE",
        ),
    ] = None,
    preset: Annotated[
        str,
        Option(
            help="default, or HAL's classifier as the paper's text or the authors' program "
            "trains it.",
            rich_help_panel="Model",
            metavar="|".join(_PRESETS),
            callback=lambda value: one_of(value, _PRESETS),
        ),
    ] = "default",
    network: Annotated[str | None, network_option("compact; hal2021 for the other presets")] = None,
    steps: Annotated[
        int | None,
        Option(
            help="Optimiser steps, at most. Default: by the number of labels.",
            rich_help_panel="Training",
            min=1,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        Option(
            help="Passes over the labelled particles; overrides --steps.",
            rich_help_panel="Training",
            min=1,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        Option(
            help="Particles per step. Default: 32; 128 for the other presets.",
            rich_help_panel="Training",
            min=2,
        ),
    ] = None,
    lr: Annotated[
        float | None,
        Option(
            help="Learning rate. Default: that of the preset.",
            rich_help_panel="Training",
            min=1e-9,
        ),
    ] = None,
    weight_decay: Annotated[
        float | None,
        Option(
            help="Weight decay of AdamW. Default: that of the preset.",
            rich_help_panel="Training",
            min=0.0,
        ),
    ] = None,
    dropout: Annotated[
        float | None,
        Option(
            help="Share of units dropped. Default: that of the network.",
            rich_help_panel="Training",
            min=0.0,
            max=0.95,
        ),
    ] = None,
    patience: Annotated[
        int | None,
        Option(
            help="Looks without a better one before the second half ends early; 0 = never. "
            "Not with folds, which never end early.",
            rich_help_panel="Training",
            min=0,
        ),
    ] = None,
    validation: Annotated[
        float | None,
        Option(
            help="Share of the labelled particles held out, of each class; whole tomograms where "
            "possible; 0 = none. Default: 0.2; with fewer than 200 labels a third in turn, after "
            "which all are trained on.",
            rich_help_panel="Training",
            min=0.0,
            max=0.9,
        ),
    ] = None,
    folds: Annotated[
        int | None,
        Option(
            help="Parts held out in turn, after which all are trained on; finds suspected wrong "
            "labels among all. Default: 3 with fewer than 200 labels.",
            rich_help_panel="Training",
            min=2,
            max=10,
        ),
    ] = None,
    class_weights: Annotated[
        str | None,
        Option(
            help="As many particles of each class in a batch, or as they come. Default: balanced; "
            "none for the other presets.",
            rich_help_panel="Training",
            metavar="|".join(_WEIGHTS),
            callback=lambda value: one_of(value, _WEIGHTS),
        ),
    ] = None,
    augment: Annotated[str | None, augment_option("full; none for the other presets")] = None,
    semi_supervised: Annotated[
        bool | None,
        Option(
            "--semi-supervised/--no-semi-supervised",
            help="Learn from the unlabelled particles of the pool too. Default: with fewer than "
            "200 labels; never for the other presets.",
            rich_help_panel="Training",
        ),
    ] = None,
    tilt_range: TiltRangeOption = None,
    resume: ResumeOption = False,
    report: ReportOption = True,
    precision: PrecisionOption = "auto",
) -> Result:
    """Fit the classifier to the labelled particles.

    halcmd train --i Labels/particles.star --o Train/
    """
    from halcmd.errors import OptionError
    from halcmd.steps import train as step
    from halcmd.training.recipes import Changes

    if folds and validation is not None:
        raise OptionError("--folds and --validation exclude each other", hint="leave one out")
    tilts = pair(tilt_range, "--tilt-range")
    return step.train(
        run.read(particles),
        run.folder,
        compute=run.compute(precision),
        preset=preset,
        changes=Changes(
            network=network,
            steps=steps,
            epochs=epochs,
            batch=batch_size,
            learning_rate=lr,
            weight_decay=weight_decay,
            dropout=dropout,
            patience=patience,
            class_weights=class_weights,
            augment=augment,
            semi_supervised=semi_supervised,
        ),
        validation=validation,
        n_folds=folds,
        tilt_range=tilts,
        init_model=init_model,
        resume=resume,
        report=report,
    )
