"""Options of ``halcmd query``."""

from pathlib import Path
from typing import Annotated

from typer import Option

from halcmd.cli.options import ParticlesOption, PreviousOption, one_of
from halcmd.cli.run import Result, Run
from halcmd.handoff import HANDOFFS
from halcmd.strategies import DISCRIMINATORS, ENTROPY_NORMS, LEARNING, PRESETS, STRATEGIES


def query(
    run: Run,
    particles: ParticlesOption,
    model: Annotated[
        Path | None,
        Option(
            help="Model that computes what score did not keep: embeddings, maps, dropout passes.",
            rich_help_panel="Input",
            metavar="FILE",
        ),
    ] = None,
    previous: PreviousOption = None,
    strategy: Annotated[
        str,
        Option(
            help="How to choose; random needs no scores.",
            rich_help_panel="Query",
            metavar="|".join(STRATEGIES),
            callback=lambda value: one_of(value, tuple(STRATEGIES)),
        ),
    ] = "hal",
    n: Annotated[int, Option(help="Particles to ask for.", rich_help_panel="Query", min=1)] = 32,
    split: Annotated[
        str,
        Option(
            help="Ask for particles to learn from, or for test ones to measure on (at random).",
            rich_help_panel="Query",
            metavar="pool|test",
            callback=lambda value: one_of(value, ("pool", "test")),
        ),
    ] = "pool",
    preset: Annotated[
        str,
        Option(
            help="HAL's discriminator: halcmd's own, or that of the paper's text or program.",
            rich_help_panel="Query",
            metavar="|".join(PRESETS),
            callback=lambda value: one_of(value, PRESETS),
        ),
    ] = "default",
    subsets: Annotated[
        int,
        Option(
            help="HAL: subsets that the query is taken in, the discriminator retrained between.",
            rich_help_panel="Query",
            min=1,
        ),
    ] = 4,
    lambda_: Annotated[
        float,
        Option(
            "--lambda",
            help="HAL: weight of the entropy beside the discriminator.",
            rich_help_panel="Query",
            min=0.0,
        ),
    ] = 1.0,
    entropy_norm: Annotated[
        str,
        Option(
            help="HAL: entropy in nats, as a share of the largest possible, or by rank.",
            rich_help_panel="Query",
            metavar="|".join(ENTROPY_NORMS),
            callback=lambda value: one_of(value, ENTROPY_NORMS),
        ),
    ] = "none",
    discriminator: Annotated[
        str,
        Option(
            help="HAL: convolutions and dense layers, or dense layers alone.",
            rich_help_panel="Query",
            metavar="|".join(DISCRIMINATORS),
            callback=lambda value: one_of(value, DISCRIMINATORS),
        ),
    ] = "conv",
    option: Annotated[
        list[str] | None,
        Option(
            help="A parameter of the strategy's own; docs/strategies.md and halcmd info list them.",
            rich_help_panel="Query",
            metavar="NAME=VALUE",
        ),
    ] = None,
    max_candidates: Annotated[
        int | None,
        Option(
            help="Choose among so many random particles. Default: all.",
            rich_help_panel="Query",
            min=1,
        ),
    ] = None,
    stochastic: Annotated[
        float,
        Option(
            help="Draw with probability score^POWER instead of taking the best; 0 = the best.",
            rich_help_panel="Query",
            metavar="POWER",
            min=0.0,
        ),
    ] = 0.0,
    exclude: Annotated[
        Path | None,
        Option(
            help="STAR or CSV with halParticleId: not to be asked for.",
            rich_help_panel="Query",
            metavar="FILE",
        ),
    ] = None,
    max_per_tomogram: Annotated[
        int | None,
        Option(help="Most particles of one tomogram.", rich_help_panel="Query", min=1),
    ] = None,
    min_distance: Annotated[
        float | None,
        Option(
            help="Least distance between particles asked for [A].", rich_help_panel="Query", min=0.0
        ),
    ] = None,
    min_per_class: Annotated[
        int | None,
        Option(
            help="Least particles of each predicted class, where there are any.",
            rich_help_panel="Query",
            min=1,
        ),
    ] = None,
    relabel_fraction: Annotated[
        float,
        Option(
            help="Share of the query that asks suspected wrong labels again, as train found them.",
            rich_help_panel="Query",
            min=0.0,
            max=1.0,
        ),
    ] = 0.0,
    stop_when: Annotated[
        str | None,
        Option(
            help='End with exit code 3 once the rule is met: "labels>=500", in quotes, or stable: '
            "the advice of evaluate, by --previous.",
            rich_help_panel="Stop",
            metavar="RULE",
        ),
    ] = None,
    label_page: Annotated[
        bool,
        Option(
            help="Write labels.html, to look at the particles and label them in a browser.",
            rich_help_panel="Hand-off",
        ),
    ] = True,
    classes: Annotated[
        str | None,
        Option(
            help="Classes that the page offers. Default: those of labels, predictions and maps.",
            rich_help_panel="Hand-off",
            metavar="TEXT,...",
        ),
    ] = None,
    references: Annotated[
        Path | None,
        Option(
            help="Maps to show beside the particles: an MRC file for each class, called like it. "
            "Default: labelled particles.",
            rich_help_panel="Hand-off",
            metavar="DIR",
        ),
    ] = None,
    context_: Annotated[
        float,
        Option(
            "--context",
            help="Width of the tomogram shown around a particle, in boxes; 0 = none.",
            rich_help_panel="Hand-off",
            min=0.0,
            max=10.0,
        ),
    ] = 2.5,
    hand_off: Annotated[
        list[str],
        Option(
            help="How the particles asked for are written; repeat for several (docs/handoff.md).",
            rich_help_panel="Hand-off",
            metavar="|".join(HANDOFFS),
            callback=lambda values: [one_of(value, tuple(HANDOFFS)) for value in values],
        ),
    ] = ["csv"],  # noqa: B006 (typer copies it)
    montage: Annotated[
        bool,
        Option(
            help="Draw the particles asked for on A4 pages, at most 200, to label on paper.",
            rich_help_panel="Hand-off",
        ),
    ] = True,
    batch_size: Annotated[
        int | None,
        Option(
            help="Particles per forward pass of the model. Default: by the size of the box.",
            rich_help_panel="Compute",
            min=1,
        ),
    ] = None,
) -> Result:
    """Choose the particles to label next.

    halcmd query --i Score/particles.star --model Train/model.safetensors --n 32 --o Query/
    """
    from halcmd.registry import load
    from halcmd.reports.labelling import page_settings
    from halcmd.steps.query import query as step
    from halcmd.strategies.limits import Limits
    from halcmd.strategies.options import parse
    from halcmd.strategies.pool import QuerySettings
    from halcmd.strategies.variants import unread

    run.check_used(unread(strategy), f"with --strategy {strategy}")
    table = run.read(particles)  # before anything slow is loaded: the file may not be there
    module = load(STRATEGIES, strategy, "strategy")
    settings = QuerySettings(
        preset=preset,
        subsets=subsets,
        lambda_=lambda_,
        entropy_norm=entropy_norm,
        discriminator=discriminator,
        options=parse(module, strategy, option or []),
        device=run.device() if module.NEEDS & LEARNING else None,
    )
    return step(
        table,
        run.folder,
        strategy=strategy,
        n=n,
        settings=settings,
        split=split,
        limits=Limits(max_per_tomogram, min_distance, min_per_class),
        stochastic=stochastic,
        max_candidates=max_candidates,
        exclude=exclude,
        relabel_fraction=relabel_fraction,
        stop_when=stop_when,
        previous=previous or [],
        model=model,
        # halFeature counts rows of one score job: tables joined from several have none in common
        scored=particles[0].parent if len(particles) == 1 else None,
        batch=batch_size,
        hand_off=hand_off,
        montage=montage,
        seed=run.seed,
        page=page_settings(classes, references, context_) if label_page else None,
    )
