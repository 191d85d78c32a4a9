"""The whole loop with the truth as annotator, over strategies and seeds: what saves labels."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from halcmd.benchmarking.experiment import (
    CELLS,
    FULL,
    START,
    Experiment,
    Key,
    Training,
    fingerprint,
    first_labels,
    in_words,
    read_results,
    table_of_seed,
)
from halcmd.benchmarking.protocols import Counts, Protocol, counts_of
from halcmd.benchmarking.stress import Stress
from halcmd.benchmarking.workers import Told, run_in_processes
from halcmd.compute.device import each_device, kind, kinds
from halcmd.console import log, planned, progress
from halcmd.errors import HalcmdError, InputError, OptionError
from halcmd.formats.files import append_line, write_text
from halcmd.formats.relion_job import RESULTS
from halcmd.networks.classifier import check_box
from halcmd.particles import NOT_TRAINED, UNLABELLED, Particles
from halcmd.reports.benchmark import write_benchmark_report
from halcmd.reports.benchmark_json import summary_of
from halcmd.reports.findings import Findings, findings_of
from halcmd.reports.wording import plural
from halcmd.steps.benchmark_cells import INPUT, Chain, do, rounds_of
from halcmd.strategies.candidates import far_from_test
from halcmd.strategies.pool import QuerySettings
from halcmd.strategies.variants import variant
from halcmd.subtomograms import open_boxes
from halcmd.tables import write_particles
from halcmd.training.initial import read_start
from halcmd.training.recipes import Changes, recipe


@dataclass(frozen=True)
class BenchmarkResult:
    """What was found."""

    findings: Findings
    cells: int

    def summary(self) -> dict[str, object]:
        """What ``--json`` prints."""
        return {"cells": self.cells, **summary_of(self.findings)}


def benchmark(
    particles: Particles,
    folder: Path,
    *,
    truth: Path | None,
    protocol: Protocol,
    training: Training,
    stress: Stress,
    test_fraction: float | None = None,
    gpu: str = "cpu",
    threads: int = 1,
    workers: int = 1,
    resume: bool = False,
    seed: int = 0,
) -> BenchmarkResult:
    """Learning curves of strategies on particles of known class, with what they mean.

    Every strategy of a seed starts from the same split, first labels and first classifier. Each
    pair of strategy and seed is worked at in a process of its own; a cell that is done is a line of
    results.jsonl and is not done again.

    Parameters
    ----------
    particles : Particles
        With boxes and, without ``truth``, labels. Rows with halSplit = test are the test particles;
        where there are none, they are drawn anew for each seed.
    folder : Path
        Job folder.
    truth : Path, optional
        Table with halParticleId and halLabel.
    protocol, training, stress
        What is done.
    test_fraction : float, optional
        Instead of the protocol's, for particles that have no test ones.
    gpu : str
        As ``--gpu``; the processes take turns on several.
    threads : int
        CPU threads of each process.
    workers : int
        Processes at a time.
    resume : bool
        Go on with what is in the folder.
    seed : int
        Of the whole; the seeds of the protocol count on from it.

    Raises
    ------
    InputError, OptionError
        The truth is not known, the pool is too small, or training would fail from the start.
    HalcmdError
        Some cells failed; all others are done.
    """
    known = _known(particles, truth)
    if test_fraction is not None:
        if known.is_test.any():
            raise OptionError(
                "--test-fraction is for a table without test particles",
                found=f"{known.is_test.sum():,} of {len(known):,} particles are test (halSplit)",
                hint="leave it out, or set halSplit to pool in all rows",
            )
        protocol = replace(protocol, test_fraction=test_fraction)
    experiment = Experiment(folder, protocol, training, stress, gpu, threads, seed)
    counts = _check(known, experiment)
    name = fingerprint(known, experiment)
    done = read_results(folder / RESULTS) if resume else {}
    if any(line["experiment"] != name for line in done.values()):
        raise InputError(
            "these results are of another experiment",
            where=str(folder / RESULTS),
            found="other particles, protocol, training or stress",
            hint="the same options as before, --overwrite, or another --output folder",
        )
    chains = _chains(experiment, done)
    if chains:
        _say_devices(done, gpu)
        _say_threads(done, threads, gpu)
    total = sum(rounds_of(chain) - len(chain.done) or 1 for chain in chains)
    strategies = plural(len(protocol.strategies), "strategy", "strategies")
    labels = ", ".join(f"{n:,}" for n in counts.labels(protocol.rounds))
    seeds = plural(protocol.seeds, "seed")
    planned(f"{strategies}, {seeds}, labels {labels}: {total:,} trainings left")
    if not resume:
        shutil.rmtree(folder / CELLS, ignore_errors=True)
    _write(folder / RESULTS, done)  # whole lines only: a cut-off one would spoil the next
    (folder / CELLS).mkdir(parents=True, exist_ok=True)
    write_particles(folder / CELLS / INPUT, known)
    failed = _work(chains, folder, total, workers, name)
    lines = read_results(folder / RESULTS)
    _write(folder / RESULTS, lines)
    findings = findings_of([lines[key] for key in sorted(lines)])
    if findings.strategies:
        setup = in_words(known, experiment, counts)
        write_benchmark_report(folder, findings, setup=setup, seed=seed)
    write_particles(folder / "particles.star", particles)
    if failed:
        raise HalcmdError(
            f"{len(failed)} of the experiments failed",
            found="; ".join(failed[:5]),
            hint="what is done is kept: --resume does the rest"
            if len(lines) > len(done)
            else "the reason stands above; nothing was done",
        )
    shutil.rmtree(folder / CELLS)
    return BenchmarkResult(findings, len(lines))


def _known(particles: Particles, truth: Path | None) -> Particles:
    """The rows whose class is known, labelled."""
    from halcmd.steps.evaluate import true_labels

    labels = particles.labels if truth is None else true_labels(particles, truth)
    is_known = ~np.isin(labels.astype(str), [UNLABELLED, *NOT_TRAINED])
    if not is_known.any() or len(set(labels[is_known])) < 2:
        raise InputError(
            "a benchmark needs particles of known class",
            where=str(truth or particles.path),
            found=f"{len(set(labels[is_known]))} classes",
            hint="--truth truth.star, or a table with halLabel",
        )
    if not is_known.all():
        log.warning(f"{(~is_known).sum():,} particles of no known class are left out")
    rows = np.flatnonzero(is_known)
    return particles.take(rows).with_columns({"halLabel": labels[rows]})


def _check(known: Particles, experiment: Experiment) -> Counts:
    """The counts of the first seed; raises where something would fail in every cell."""
    for text in experiment.protocol.strategies:
        variant(text, QuerySettings())
    each_device(experiment.gpu)
    _check_boxes(known, experiment)
    counts = [_check_seed(known, experiment, seed) for seed in _seeds(experiment)]
    return counts[0]


def _say_devices(done: Mapping[Key, Any], gpu: str) -> None:
    """Warn where results were made elsewhere: first trainings that are made again differ."""
    there = {kind(line["device"]) for line in done.values() if "device" in line}
    here = kinds(gpu) if there else set()
    if there - here:
        log.warning(
            f"results made on {', '.join(sorted(there - here))} are continued on"
            f" {', '.join(sorted(here))}: the first classifier of a seed, which its strategies"
            " share, is then not quite the same for all of them"
        )


def _say_threads(done: Mapping[Key, Any], threads: int, gpu: str) -> None:
    """Warn where another number of CPU threads computed: sums are rounded in another order."""
    computed = [line for line in done.values() if line.get("device") == "cpu"]
    there = {line["threads"] for line in computed if "threads" in line} - {threads}
    if there and kinds(gpu) == {"cpu"}:
        log.warning(
            f"results of --threads {', '.join(map(str, sorted(there)))} a process are continued"
            f" with {threads}: numbers then differ by rounding; the same --threads and"
            " --workers as before, on as many cores, give the same ones"
        )


def _check_boxes(known: Particles, experiment: Experiment) -> None:
    """Raise where there are no boxes, or network, first model or shift do not fit them."""
    boxes, training = open_boxes(known), experiment.training
    made = recipe(training.preset, len(known), changes=Changes(**training.changes))
    check_box(made.network, boxes.box)
    if training.init_model is not None:
        read_start(training.init_model, boxes, made.network)
    half, shift = boxes.box * boxes.pixel_size / 2, experiment.stress.duplicate_shift or 0.0
    if shift > half:
        raise OptionError(
            "a second pick so far away has another particle in its box",
            found=f"--duplicate-shift {shift:g} A; half a box is {half:g} A",
            hint="a few voxels, as picks differ; default: a tenth of the box",
        )


def _check_seed(known: Particles, experiment: Experiment, seed: int) -> Counts:
    """The counts of a seed; raises where the pool is too small or the first labels are no use."""
    table, truth = table_of_seed(known, experiment, seed)
    pool = far_from_test(table, np.flatnonzero(~table.is_test))
    counts = counts_of(
        experiment.protocol,
        particles=len(known),
        pool=len(pool),
        classes=len(set(table.labels)),
    )
    first = truth[first_labels(table.ids, truth, pool, counts, seed)]
    if len(set(first)) < 2:
        raise OptionError(
            f"the first labels of seed {seed} are of one class",
            found=f"{counts.initial:,} labels, all {first[0]}",
            hint="a larger --initial, or another --seed",
        )
    for what, rows in (("test particle", table.is_test), ("particle of the pool", ~table.is_test)):
        absent = sorted(set(truth) - set(truth[rows]))
        if absent:
            log.warning(f"seed {seed}: no {what} is of the class {', '.join(absent)}")
    return counts


def _seeds(experiment: Experiment) -> range:
    return range(experiment.seed, experiment.seed + experiment.protocol.seeds)


def _write(path: Path, lines: Mapping[Key, Mapping[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(lines[key]) + "\n" for key in sorted(lines)))


def _chains(experiment: Experiment, done: Mapping[Key, Any]) -> list[Chain]:
    """What is to be done, and each first training that something of it goes on from."""
    every = [
        Chain(experiment, name, seed, frozenset(r for n, s, r in done if (n, s) == (name, seed)))
        for name in (START, FULL, *experiment.protocol.strategies)
        for seed in _seeds(experiment)
    ]
    left = [chain for chain in every if len(chain.done) < rounds_of(chain)]
    needed = {chain.seed for chain in left if chain.strategy != FULL}
    again = [c for c in every if c.strategy == START and c.done and c.seed in needed]
    gpus = each_device(experiment.gpu)  # the chains take turns
    return [replace(c, gpu=gpus[i % len(gpus)]) for i, c in enumerate([*again, *left])]


def _work(chains: Sequence[Chain], folder: Path, total: int, workers: int, name: str) -> list[str]:
    """Do all chains, the first trainings before all others; what failed."""
    failed: list[tuple[Chain, str]] = []
    with progress("benchmark", total, "trainings") as advance:
        for is_first in (True, False):
            tasks = [chain for chain in chains if (chain.strategy == START) == is_first]
            lost = _lost(tasks, failed)
            failed += [(chain, "its first training failed") for chain in lost]
            for event in run_in_processes(
                [chain for chain in tasks if chain not in lost],
                do,
                workers=workers,
                idle=lambda: advance(0),
                preload=["halcmd.steps.train", "halcmd.steps.score", "halcmd.steps.query"],
            ):
                if isinstance(event, Told):
                    append_line(folder / RESULTS, json.dumps(event.facts | {"experiment": name}))
                    advance(1)
                elif event.error:
                    failed.append((event.task, event.error))
                    log.warning(f"{event.task.name}: {event.error}")
                    if event.trace:
                        log.debug(event.trace)
                elif event.task.done == {0}:  # a first training, made again for others
                    advance(1)
    return [f"{chain.name}: {why.splitlines()[0]}" for chain, why in failed]


def _lost(chains: Sequence[Chain], failed: Sequence[tuple[Chain, str]]) -> list[Chain]:
    """Those that begin with a first training that failed, which fail too.

    Else each of them would make a first classifier of its own, and they could not be compared.
    """
    dead = {chain.seed for chain, _ in failed if chain.strategy == START}
    return [chain for chain in chains if chain.strategy != FULL and chain.seed in dead]
