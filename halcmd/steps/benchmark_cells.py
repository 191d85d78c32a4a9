"""The rounds of one strategy and seed of a benchmark, in a process of its own."""

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halcmd.benchmarking.copies import write_copies
from halcmd.benchmarking.experiment import (
    CELLS,
    FULL,
    START,
    Experiment,
    Labels,
    assessed,
    copies_of,
    first_labels,
    table_of_seed,
)
from halcmd.benchmarking.protocols import Counts, counts_of
from halcmd.benchmarking.stress import annotated
from halcmd.benchmarking.workers import Tell
from halcmd.console import configure
from halcmd.particles import UNLABELLED, Particles
from halcmd.strategies.candidates import far_from_test
from halcmd.strategies.pool import QuerySettings
from halcmd.strategies.variants import variant
from halcmd.tables import read_particles

INPUT = "input.star"


@dataclass(frozen=True)
class Chain:
    """The rounds of one strategy and seed; of ``start`` and ``full`` there is one round.

    Attributes
    ----------
    experiment : Experiment
    strategy : str
    seed : int
    done : frozenset of int
        Rounds whose results are there.
    gpu : str
        As ``--gpu``, of this process.
    """

    experiment: Experiment
    strategy: str
    seed: int
    done: frozenset[int]
    gpu: str = "cpu"

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.strategy}, seed {self.seed}"


def rounds_of(chain: Chain) -> int:
    """How many lines of results the chain gives."""
    return 1 if chain.strategy in (START, FULL) else chain.experiment.protocol.rounds


def do(chain: Chain, tell: Tell) -> None:
    """One chain, in its own process."""
    from halcmd.compute.device import describe, use
    from halcmd.training.run import Compute

    configure(json_output=False, verbosity=-1, dry_run=False, strict=False, silent=True)
    experiment = chain.experiment
    known = read_particles([experiment.folder / CELLS / INPUT])
    table, truth = table_of_seed(known, experiment, chain.seed)
    copies, shift = copies_of(experiment, chain.seed), experiment.stress.duplicate_shift
    if experiment.stress.moves and not copies.exists():  # two chains would write the same bytes
        write_copies(copies, table, known, shift=shift, seed=chain.seed)
    compute = Compute(use(chain.gpu, experiment.threads), "auto", chain.seed)
    answers = annotated(truth, table.ids, experiment.stress, seed=chain.seed)
    where = {"device": describe(compute.device), "threads": experiment.threads}
    for number, facts in _loop(chain, len(known), table, truth, answers, compute):
        if number not in chain.done:
            names = {"strategy": chain.strategy, "seed": chain.seed, "round": number}
            tell(names | facts | where)
    if chain.strategy not in (START, FULL):
        shutil.rmtree(_place(chain, 1).parent, ignore_errors=True)


def _place(chain: Chain, number: int) -> Path:
    """The folder of a round; the first one is shared by all strategies of a seed."""
    strategy = START if number == 0 and chain.strategy != FULL else chain.strategy
    return chain.experiment.folder / CELLS / f"seed-{chain.seed}" / strategy / f"round-{number}"


def _loop(
    chain: Chain, known: int, table: Particles, truth: Labels, answers: Labels, compute: Any
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rounds of a chain and what is said of each; of the shared first one nothing."""
    pool = far_from_test(table, np.flatnonzero(~table.is_test))
    given, rounds = np.full(len(table), UNLABELLED, dtype=object), np.zeros(len(table), dtype=int)
    counts = counts_of(
        chain.experiment.protocol,
        particles=known,
        pool=len(pool),
        classes=len(set(truth)),
    )
    asked = pool
    if chain.strategy != FULL:
        asked = first_labels(table.ids, truth, pool, counts, chain.seed)
    is_single, took = chain.strategy in (START, FULL), None
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
            facts["seconds"] = {"train": seconds, "query": took}  # of the query that asked for it
            yield number, facts
        took = query_seconds


def _trained(labelled: Particles, place: Path, chain: Chain, compute: Any) -> float | None:
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
    labelled: Particles, place: Path, chain: Chain, counts: Counts, compute: Any, *, last: bool
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
