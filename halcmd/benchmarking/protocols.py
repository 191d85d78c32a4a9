"""How a benchmark asks for labels: the paper's experiments, and smaller ones, by name."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from halcmd.errors import OptionError

# Those of Du et al. 2021 beside random; their "uncertainty" may be either of the first two.
RIVALS = ("entropy", "margin", "coreset", "bald", "bgal", "ee-bmal", "vaal", "badge")


@dataclass(frozen=True)
class Protocol:
    """One experiment.

    Attributes
    ----------
    strategies : tuple of str
        Keys of ``halcmd.strategies.STRATEGIES``, perhaps with settings (``hal:lambda=0``, see
        ``halcmd.strategies.variants``); ``random`` is always among them.
    initial : float
        First labels: below 1 a share of all particles, test ones included; else that many.
    per_class : bool
        ``initial`` counts labels of each class, which are then drawn evenly; else as they come.
    n : int
        Labels asked for in a round.
    n_per_class : bool
        ``n`` counts labels per class.
    rounds : int
        Queries after the first training.
    seeds : int
        Repeats; a seed is a split, first labels, first weights and an order of batches.
    test_fraction : float
        Share of test particles.
    subsets : int
        HAL's m.
    train : str
        Preset of ``train``: ``default``, ``paper`` or ``code``.
    query : str
        Preset of HAL.
    steps : int or None
        Optimiser steps of each training; None = the preset's.
    """

    strategies: tuple[str, ...] = ("random", "margin", "hal")
    initial: float = 2
    per_class: bool = True
    n: int = 1
    n_per_class: bool = True
    rounds: int = 6
    seeds: int = 10
    test_fraction: float = 0.25
    subsets: int = 4
    train: str = "default"
    query: str = "default"
    steps: int | None = None


def _of_2021(initial: float, n: int, subsets: int, rounds: int) -> Protocol:
    """Counts of Du et al. 2021, where "iterations" include the first training."""
    return Protocol(
        strategies=("random", "hal", *RIVALS),
        initial=initial,
        per_class=False,
        n=n,
        n_per_class=False,
        rounds=rounds,
        subsets=subsets,
        train="paper",
        query="paper",
    )


PROTOCOLS = {
    "quick": Protocol(initial=2, n=2, rounds=3, seeds=2, subsets=2, steps=40),
    "low": Protocol(initial=2, n=1),
    "mid": Protocol(initial=10, n=5),
    "s1": _of_2021(0.03, 800, 20, 6),
    "s2": _of_2021(0.03, 800, 20, 4),
    "r1a": _of_2021(0.03, 32, 4, 5),
    "r1b": _of_2021(0.04, 32, 8, 4),
    "r2": _of_2021(0.04, 32, 4, 7),
}


@dataclass(frozen=True)
class Counts:
    """Particles of an experiment, once the data are known.

    Attributes
    ----------
    initial, n : int
        Labels at first, and in each round.
    stratified : bool
        The first ones are drawn evenly from the classes.
    """

    initial: int
    n: int
    stratified: bool

    def labels(self, rounds: int) -> list[int]:
        """Labels at each point of the curve, the first training included."""
        return [self.initial + number * self.n for number in range(rounds + 1)]


def counts_of(protocol: Protocol, *, particles: int, pool: int, classes: int) -> Counts:
    """How many labels there are at first and in each round.

    Parameters
    ----------
    protocol : Protocol
    particles : int
        All, test ones included, before any stress: a share of them is as many in each seed.
    pool : int
        Without them.
    classes : int

    Raises
    ------
    OptionError
        The pool is too small for that.
    """
    if protocol.per_class:
        initial = round(protocol.initial * classes)
    elif protocol.initial < 1:
        initial = round(protocol.initial * particles)
    else:
        initial = round(protocol.initial)
    found = Counts(
        max(initial, 2),
        max(protocol.n * (classes if protocol.n_per_class else 1), 1),
        protocol.per_class,
    )
    wanted = found.labels(protocol.rounds)[-1]
    if wanted > pool:
        raise OptionError(
            "the pool is too small for this protocol",
            found=f"{found.initial:,} labels at first and {protocol.rounds} rounds of {found.n:,}"
            f" are {wanted:,}; the pool has {pool:,} particles",
            hint=f"fewer --rounds, a smaller --n or, without --n, {0.9 * pool / wanted:.2f} times"
            " the --scale",
        )
    return found


def scaled(protocol: Protocol, scale: float) -> Protocol:
    """The protocol with its numbers of labels multiplied; at least one each."""
    if scale == 1.0:
        return protocol
    n = max(round(protocol.n * scale), 1)
    initial = protocol.initial if protocol.initial < 1 else max(round(protocol.initial * scale), 1)
    return replace(protocol, n=n, initial=initial, subsets=min(protocol.subsets, n))


def with_strategies(protocol: Protocol, names: Sequence[str] | None) -> Protocol:
    """The protocol with these strategies, and ``random`` first."""
    wanted = names or protocol.strategies
    return replace(
        protocol, strategies=("random", *(n for n in dict.fromkeys(wanted) if n != "random"))
    )
