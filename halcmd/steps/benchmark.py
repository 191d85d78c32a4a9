"""The whole loop with the truth as annotator, over strategies and seeds: what saves labels."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halcmd.benchmarking.experiment import (
    Experiment,
    Key,
    Labels,
    Training,
    assessed,
    fingerprint,
    first_labels,
    in_words,
    read_results,
    table_of_seed,
)
from halcmd.benchmarking.protocols import Counts, Protocol, counts_of
from halcmd.benchmarking.stress import Stress, annotated
from halcmd.benchmarking.workers import Tell, Told, run_in_processes
from halcmd.console import configure, log, planned, progress
from halcmd.errors import HalcmdError, InputError
from halcmd.formats.files import append_line, write_text
from halcmd.formats.relion_job import RESULTS
from halcmd.particles import NOT_TRAINED, UNLABELLED, Particles
from halcmd.reports.benchmark import write_benchmark_report
from halcmd.reports.findings import Findings, findings_of
from halcmd.strategies.pool import QuerySettings
from halcmd.strategies.variants import variant
from halcmd.tables import read_particles, write_particles

CELLS = "Cells"
START, FULL = "start", "full"
_INPUT = "input.star"


@dataclass(frozen=True)
class _Chain:
    """The rounds of one strategy and seed; of ``start`` and ``full`` there is one round."""

    experiment: Experiment
    strategy: str
    seed: int
    done: frozenset[int]

    @property
    def name(self) -> str:
        return f"{self.strategy}, seed {self.seed}"


@dataclass(frozen=True)
class BenchmarkResult:
    """What was found."""

    findings: Findings
    cells: int

    def summary(self) -> dict[str, object]:
        """What ``--json`` prints."""
        return {"cells": self.cells, **self.findings.summary()}


def benchmark(
    particles: Particles,
    folder: Path,
    *,
    truth: Path | None,
    protocol: Protocol,
    training: Training,
    stress: Stress,
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
    gpu : str
        As ``--gpu``, of each process.
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
        The truth is not known, or the pool is too small.
    HalcmdError
        Some cells failed; all others are done.
    """
    known = _known(particles, truth)
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
    total = sum(_rounds(chain) - len(chain.done) or 1 for chain in chains)
    planned(
        f"{len(protocol.strategies)} strategies, {protocol.seeds} seeds, labels"
        f" {', '.join(f'{n:,}' for n in counts.labels(protocol.rounds))}: {total:,} trainings left"
    )
    if not resume:
        shutil.rmtree(folder / CELLS, ignore_errors=True)
    _write(folder / RESULTS, done)  # whole lines only: a cut-off one would spoil the next
    (folder / CELLS).mkdir(parents=True, exist_ok=True)
    write_particles(folder / CELLS / _INPUT, known)
    failed = _work(chains, folder, total, workers, name)
    lines = read_results(folder / RESULTS)
    _write(folder / RESULTS, lines)
    findings = findings_of([lines[key] for key in sorted(lines)])
    if findings.strategies:
        write_benchmark_report(folder, findings, training=in_words(training), seed=seed)
    write_particles(folder / "particles.star", particles)
    if failed:
        raise HalcmdError(
            f"{len(failed)} of the experiments failed",
            found="; ".join(failed[:5]),
            hint="what is done is kept: --resume does the rest",
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
    """The counts of the first seed; raises where a strategy is unknown or the pool too small."""
    for text in experiment.protocol.strategies:
        variant(text, QuerySettings())
    table, _ = table_of_seed(known, experiment, experiment.seed)
    return counts_of(
        experiment.protocol,
        particles=len(table),
        pool=int((~table.is_test).sum()),
        classes=len(set(table.labels)),
    )


def _write(path: Path, lines: Mapping[Key, Mapping[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(lines[key]) + "\n" for key in sorted(lines)))


def _chains(experiment: Experiment, done: Mapping[Key, Any]) -> list[_Chain]:
    """What is to be done, and each first training that something of it goes on from."""
    protocol = experiment.protocol
    seeds = range(experiment.seed, experiment.seed + protocol.seeds)
    every = [
        _Chain(experiment, name, seed, frozenset(r for n, s, r in done if (n, s) == (name, seed)))
        for name in (START, FULL, *protocol.strategies)
        for seed in seeds
    ]
    left = [chain for chain in every if len(chain.done) < _rounds(chain)]
    needed = {chain.seed for chain in left if chain.strategy != FULL}
    again = [c for c in every if c.strategy == START and c.done and c.seed in needed]
    return [*again, *left]


def _rounds(chain: _Chain) -> int:
    return 1 if chain.strategy in (START, FULL) else chain.experiment.protocol.rounds


def _work(chains: Sequence[_Chain], folder: Path, total: int, workers: int, name: str) -> list[str]:
    """Do all chains, the first trainings before all others; what failed."""
    failed = []
    with progress("benchmark", total, "trainings") as advance:
        for first in (True, False):
            tasks = [chain for chain in chains if (chain.strategy == START) == first]
            said = run_in_processes(
                tasks,
                _do,
                workers=workers,
                idle=lambda: advance(0),
                preload=["halcmd.steps.train", "halcmd.steps.score", "halcmd.steps.query"],
            )
            for event in said:
                if isinstance(event, Told):
                    append_line(folder / RESULTS, json.dumps(event.facts | {"experiment": name}))
                    advance(1)
                elif event.error:
                    failed.append(f"{event.task.name}: {event.error}")
                    log.warning(f"{event.task.name}: {event.error}")
                elif event.task.done == {0}:  # a first training, made again for others
                    advance(1)
    return failed


def _do(chain: _Chain, tell: Tell) -> None:
    """One chain, in its own process."""
    from halcmd.compute.device import use
    from halcmd.training.run import Compute

    configure(json_output=False, verbosity=-1, dry_run=False, strict=False, silent=True)
    experiment = chain.experiment
    known = read_particles([experiment.folder / CELLS / _INPUT])
    table, truth = table_of_seed(known, experiment, chain.seed)
    compute = Compute(use(experiment.gpu, experiment.threads), "auto", chain.seed)
    answers = annotated(truth, table.ids, experiment.stress, seed=chain.seed)
    for number, facts in _loop(chain, table, truth, answers, compute):
        if number not in chain.done:
            tell({"strategy": chain.strategy, "seed": chain.seed, "round": number, **facts})
    if chain.strategy not in (START, FULL):
        shutil.rmtree(_place(chain, 1).parent, ignore_errors=True)


def _place(chain: _Chain, number: int) -> Path:
    """The folder of a round; the first one is shared by all strategies of a seed."""
    strategy = START if number == 0 and chain.strategy != FULL else chain.strategy
    return chain.experiment.folder / CELLS / f"seed-{chain.seed}" / strategy / f"round-{number}"


def _loop(
    chain: _Chain, table: Particles, truth: Labels, answers: Labels, compute: Any
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rounds of a chain and what is said of each; of the shared first one nothing."""
    pool = np.flatnonzero(~table.is_test)
    given, rounds = np.full(len(table), UNLABELLED, dtype=object), np.zeros(len(table), dtype=int)
    counts = counts_of(
        chain.experiment.protocol,
        particles=len(table),
        pool=len(pool),
        classes=len(set(truth)),
    )
    asked = pool
    if chain.strategy != FULL:
        asked = first_labels(table.ids, truth, pool, counts, chain.seed)
    is_single = chain.strategy in (START, FULL)
    for number in range(1 if is_single else chain.experiment.protocol.rounds + 1):
        given[asked], rounds[asked] = answers[asked], number
        labelled = table.with_columns(
            {"halLabel": given, "halQueryRound": [str(value) for value in rounds]}
        )
        place = _place(chain, number)
        seconds = _trained(labelled, place, chain, compute)
        is_last = is_single or number == chain.experiment.protocol.rounds
        scored, asked, query_seconds = _asked(labelled, place, chain, counts, compute, last=is_last)
        if is_single or number:
            facts = {"labels": int((given != UNLABELLED).sum()), **assessed(scored, truth)}
            new = (rounds == number) & (given != UNLABELLED)
            facts["asked"] = dict(sorted(Counter(truth[new]).items()))
            facts["seconds"] = {"train": seconds, "query": query_seconds}
            yield number, facts


def _trained(labelled: Particles, place: Path, chain: _Chain, compute: Any) -> float | None:
    """Train in the folder, unless that is done; seconds it took."""
    from halcmd.steps.train import train
    from halcmd.training.recipes import Changes

    if (place / "model.safetensors").exists():
        return None
    place.mkdir(parents=True, exist_ok=True)
    training = chain.experiment.training
    done = train(
        labelled,
        place,
        compute=compute,
        preset=training.preset,
        changes=Changes(**training.changes),
        validation=training.validation,
        init_model=training.init_model,
        report=False,
    )
    return round(done.seconds, 1)


def _asked(
    labelled: Particles, place: Path, chain: _Chain, counts: Counts, compute: Any, *, last: bool
) -> tuple[Particles, NDArray[np.intp], float | None]:
    """The scored table, and what the strategy asks for next; no question after the last round."""
    from halcmd.steps.query import query
    from halcmd.steps.score import score

    folder = place.parent.parent / chain.strategy / f"score-{place.name}"
    protocol = chain.experiment.protocol
    folder.mkdir(parents=True, exist_ok=True)
    models = [place / "model.safetensors"]
    scored = score(labelled, folder, models=models, compute=compute, report=False).particles
    if last:
        return scored, np.empty(0, dtype=np.intp), None
    settings = QuerySettings(
        preset=protocol.query, subsets=min(protocol.subsets, counts.n), device=compute.device
    )
    name, settings = variant(chain.strategy, settings)
    started = time.monotonic()
    found = query(
        scored,
        folder,
        strategy=name,
        n=counts.n,
        settings=settings,
        model=models[0],
        scored=folder,
        hand_off=(),
        montage=False,
        seed=chain.seed,
    )
    return scored, found.asked, round(time.monotonic() - started, 2)
