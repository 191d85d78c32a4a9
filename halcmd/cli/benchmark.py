"""Options of ``halcmd benchmark``."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from typer import Option

from halcmd.benchmarking.protocols import PROTOCOLS
from halcmd.cli.options import ParticlesOption, one_of
from halcmd.cli.run import Result, Run
from halcmd.errors import OptionError
from halcmd.strategies import STRATEGIES

_TRAIN_AUGMENT = ("full", "flips", "none")


def _names(value: str | None) -> str | None:
    for name in (value or "").split(","):
        if name.strip():
            one_of(name.strip().partition(":")[0], tuple(STRATEGIES))
    return value


def benchmark(
    run: Run,
    particles: ParticlesOption,
    truth: Annotated[
        Path | None,
        Option(
            help="Table with halParticleId and halLabel. Default: halLabel of the particles.",
            rich_help_panel="Input",
            metavar="FILE",
        ),
    ] = None,
    preset: Annotated[
        str,
        Option(
            help="Numbers of labels, rounds and seeds; s1 to r2 are the paper's experiments.",
            rich_help_panel="Loop",
            metavar="|".join(PROTOCOLS),
            callback=lambda value: one_of(value, tuple(PROTOCOLS)),
        ),
    ] = "quick",
    strategies: Annotated[
        str | None,
        Option(
            help="Strategies, with commas between; random is always one. hal:subsets=1:lambda=0 "
            "sets options of query. Default: the preset's.",
            rich_help_panel="Loop",
            metavar="A,B:NAME=VALUE,...",
            callback=_names,
        ),
    ] = None,
    initial: Annotated[
        float | None,
        Option(
            help="First labels: below 1 a share of all particles, else so many.",
            rich_help_panel="Loop",
            min=0.0,
        ),
    ] = None,
    n: Annotated[
        int | None, Option(help="Labels asked for in each round.", rich_help_panel="Loop", min=1)
    ] = None,
    rounds: Annotated[
        int | None,
        Option(help="Queries after the first training.", rich_help_panel="Loop", min=1),
    ] = None,
    seeds: Annotated[
        int | None,
        Option(help="Repeats; differences need ten to count.", rich_help_panel="Loop", min=1),
    ] = None,
    test_fraction: Annotated[
        float | None,
        Option(
            help="Share of test particles, where the table has none.",
            rich_help_panel="Loop",
            min=0.01,
            max=0.9,
        ),
    ] = None,
    scale: Annotated[
        float,
        Option(
            help="Factor of the preset's numbers of labels, not of --initial and --n.",
            rich_help_panel="Loop",
            min=0.001,
            max=1000.0,
        ),
    ] = 1.0,
    label_noise: Annotated[
        float,
        Option(
            help="Share of the answers that are wrong.",
            rich_help_panel="Stress",
            min=0.0,
            max=0.9,
        ),
    ] = 0.0,
    imbalance: Annotated[
        float,
        Option(
            help="Most frequent over rarest class of the pool, 1 or more; 0 = as they come.",
            rich_help_panel="Stress",
            min=0.0,
            max=1e6,
        ),
    ] = 0.0,
    junk: Annotated[
        float,
        Option(
            help="Share of the pool that is of the class junk; 0 = as it comes.",
            rich_help_panel="Stress",
            min=0.0,
            max=0.95,
        ),
    ] = 0.0,
    duplicates: Annotated[
        float,
        Option(
            help="Share of the pool that is picked twice.",
            rich_help_panel="Stress",
            min=0.0,
            max=1.0,
        ),
    ] = 0.0,
    duplicate_shift: Annotated[
        float | None,
        Option(
            help="Angstrom from a pick to its second, in whole voxels, one at least; 0 = exact"
            " copies. Default: a tenth of the box.",
            rich_help_panel="Stress",
            min=0.0,
        ),
    ] = None,
    network: Annotated[
        str | None, Option(help="As for train.", rich_help_panel="Training", metavar="TEXT")
    ] = None,
    steps: Annotated[
        int | None,
        Option(help="Optimiser steps of each training.", rich_help_panel="Training", min=1),
    ] = None,
    epochs: Annotated[
        int | None,
        Option(help="Passes over the labels; wins over steps.", rich_help_panel="Training", min=1),
    ] = None,
    batch_size: Annotated[
        int | None, Option(help="Particles per step.", rich_help_panel="Training", min=2)
    ] = None,
    lr: Annotated[
        float | None, Option(help="Learning rate.", rich_help_panel="Training", min=1e-9)
    ] = None,
    augment: Annotated[
        str | None,
        Option(
            help="As for train.",
            rich_help_panel="Training",
            metavar="|".join(_TRAIN_AUGMENT),
            callback=lambda value: value if value is None else one_of(value, _TRAIN_AUGMENT),
        ),
    ] = None,
    semi_supervised: Annotated[
        bool,
        Option(
            help="Learn from unlabelled particles too; takes several times as long.",
            rich_help_panel="Training",
        ),
    ] = False,
    init_model: Annotated[
        Path | None,
        Option(
            help="Each training starts from this model.",
            rich_help_panel="Training",
            metavar="FILE",
        ),
    ] = None,
    resume: Annotated[
        bool, Option(help="Go on with what is in the folder.", rich_help_panel="Run")
    ] = False,
    workers: Annotated[
        int, Option(help="Experiments at a time.", rich_help_panel="Compute", min=1)
    ] = 1,
) -> Result:
    """Compare strategies: the whole loop with the truth as annotator.

    halcmd benchmark --i particles.star --truth truth.star --preset low --o Benchmark/job008/
    """
    from halcmd.benchmarking.experiment import Training
    from halcmd.benchmarking.protocols import scaled, with_strategies
    from halcmd.benchmarking.stress import Stress
    from halcmd.steps.benchmark import benchmark as step

    protocol = PROTOCOLS[preset]
    wanted = [name.strip() for name in (strategies or "").split(",") if name.strip()]
    protocol = scaled(with_strategies(protocol, wanted), scale)
    if initial is not None:
        protocol = replace(protocol, initial=initial, per_class=False)
    if n is not None:
        protocol = replace(protocol, n=n, n_per_class=False)
    protocol = replace(
        protocol,
        rounds=rounds or protocol.rounds,
        seeds=seeds or protocol.seeds,
    )
    if initial is not None and (initial == 0 or (initial > 1 and initial % 1)):
        raise OptionError("--initial is a share below 1 or a whole number", found=f"{initial:g}")
    if initial == 1:
        raise OptionError("two labels are the least to begin with", found="--initial 1")
    if 0 < imbalance < 1:
        raise OptionError("--imbalance is 0, or at least 1", found=f"{imbalance:g}")
    if duplicate_shift is not None and not duplicates:
        raise OptionError("--duplicate-shift goes with --duplicates", found="no --duplicates")
    changes = {
        "network": network,
        "steps": steps or protocol.steps,
        "epochs": epochs,
        "batch": batch_size,
        "learning_rate": lr,
        "augment": augment,
        "semi_supervised": semi_supervised,
    }
    is_default = protocol.train == "default"
    return step(
        run.read(particles),
        run.folder,
        truth=truth,
        protocol=protocol,
        training=Training(protocol.train, changes, 0.0 if is_default else None, init_model),
        stress=Stress(imbalance, junk, duplicates, label_noise, duplicate_shift),
        test_fraction=test_fraction,
        gpu=run.gpu,
        threads=max(run.cpu_threads // workers, 1),
        workers=workers,
        resume=resume,
        seed=run.seed,
    )
