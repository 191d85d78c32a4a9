"""Hybrid Active Learning: what the classifier is unsure of and what looks unlike the labelled.

Du et al. 2021, Bioinformatics, btab123, equation 5: ``score = D(unlabelled | maps) + lambda * H``
with D a discriminator between labelled and unlabelled particles and H the entropy of the class
probabilities. The query is taken in subsets, the discriminator retrained between them.
Beyond the paper, the discriminator alone fills the first half of the subsets by default.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from halcmd.chance import generator
from halcmd.compute.device import torch_generator
from halcmd.console import Advance, log, progress
from halcmd.networks.discriminator import RECIPES, Discriminator, Recipe, standardise
from halcmd.strategies.entropy import entropy
from halcmd.strategies.options import options_of, own
from halcmd.strategies.pool import Floats, Pool, QuerySettings, ReadMaps, Rows, Selection
from halcmd.strategies.sides import Fit, Sides, fit, unlabelled_probability

NEEDS = frozenset({"probabilities", "features", "answers"})
RANKS = True

_EXPLORED = 0.5
_ONE_IN = 5  # labelled particles are kept aside to check the discriminator with
_LEAST_HELD_OUT = 2  # below, an AUC says nothing: training is short instead
_CHUNK_BYTES = 64 * 2**20
_SAMPLE_BYTES = 256 * 2**20  # of each side, to learn from


@dataclass(frozen=True)
class Options:
    """Parameters.

    ``explore`` is not the paper's. A class without any label, which the classifier takes for
    another without doubt, has no entropy and may never be asked for;
    examples/benchmark_strategies.py compares 0, 0.25 and 0.5.
    """

    explore: float = own(
        -1.0,
        "share of the subsets that the discriminator alone fills; -1: 0.5 with the default preset,"
        " else 0",
        low=-1.0,
        high=1.0,
    )


def select(pool: Pool, n: int, settings: QuerySettings) -> Selection:
    """The candidates with the largest HAL score, taken in subsets.

    Parameters
    ----------
    pool : Pool
        Uses ``probabilities``, ``features`` and ``answered``.
    n : int
        How many to choose.
    settings : QuerySettings
        All of it.

    Returns
    -------
    Selection
        In asking order, subset after subset. The score of a chosen candidate is that of its
        subset, of the others that of the last subset. Column ``halUnlabelledProbability`` holds D.
        Both are NaN for candidates that cannot be chosen whatever D says. ``halQuerySubset`` counts
        from 1 and is NaN for those not chosen.
    """
    explore = options_of(settings.options, Options).explore
    if explore < 0:
        explore = _EXPLORED if settings.preset == "default" else 0.0
    assert pool.probabilities is not None
    entropies = normalised_entropy(pool.probabilities, settings.entropy_norm)
    uncertainty = settings.lambda_ * entropies
    return select_with(pool, n, settings, RECIPES[settings.preset], uncertainty, explore)


def select_with(
    pool: Pool,
    n: int,
    settings: QuerySettings,
    recipe: Recipe,
    uncertainty: Floats,
    explore: float = 0.0,
) -> Selection:
    """The largest D + uncertainty, taken in subsets; of the first ``explore`` of them, by D alone.

    ``uncertainty`` has shape (n_candidates,); ``recipe`` is the discriminator's.
    """
    assert pool.features is not None
    sizes = subset_sizes(min(n, len(pool)), settings.subsets)
    exploring = int(explore * len(sizes))
    score, novelty, subset = np.full((3, len(pool)), np.nan)
    columns = {"halUnlabelledProbability": novelty, "halQuerySubset": subset}
    taken: Rows = np.empty(0, dtype=np.intp)
    if not sizes:
        return Selection(taken, score, columns)
    judge = _Judge(pool, pool.features, recipe, settings, sum(sizes))
    with progress("query", len(sizes), "subsets") as advance:
        for number, end in enumerate(np.cumsum(sizes)):
            wanted = int(end) - len(taken)  # makes up for what limits left open before
            drawn = _drawn(pool, recipe, taken, number, least=wanted)
            judge.learn(taken, drawn, number)
            score[np.setdiff1d(np.arange(len(pool)), taken)] = np.nan  # of another subset
            unsure = uncertainty if number >= exploring else np.zeros(len(pool))
            if not (pool.limits or pool.power):
                drawn = drawn[could_be_chosen(unsure[drawn], wanted)]
            novelty[drawn] = judge.probability(drawn, advance)
            score[drawn] = novelty[drawn] + unsure[drawn]
            ranked = np.full(len(pool), -np.inf)
            ranked[drawn] = score[drawn]
            chosen = pool.best(ranked, wanted, taken=taken, total=sum(sizes))
            subset[chosen] = number + 1
            taken = np.concatenate([taken, chosen])
            advance(1)
    judge.report()
    return Selection(taken, score, columns)


def subset_sizes(n: int, subsets: int) -> list[int]:
    """Sizes of the subsets of a query of ``n``: as even as can be, none empty, adding up to ``n``.

    (The published code asks for everything where n < subsets, and adds one tiny subset where n is
    not a multiple.)
    """
    count = max(min(n, subsets), 0)
    return [n // count + (number < n % count) for number in range(count)]


def normalised_entropy(probabilities: Floats, norm: str) -> Floats:
    """Entropy of each row: ``none`` in nats; ``log`` over its maximum ln C; ``rank`` 0 to 1.

    ``none`` is the paper's. The discriminator lies between 0 and 1, the entropy in nats between 0
    and ln C, so that with many classes lambda = 1 means mostly entropy.
    """
    score = entropy(probabilities)
    if norm == "log":
        score /= np.log(max(probabilities.shape[1], 2))
    if norm == "rank" and not np.isnan(score).any():
        score = np.asarray(rankdata(score) - 1.0) / max(len(score) - 1, 1)
    return score


def could_be_chosen(uncertainty: Floats, n: int) -> NDArray[np.bool_]:
    """Candidates that may be among the ``n`` best once the discriminator has spoken.

    D lies between 0 and 1, so a candidate whose ``uncertainty + 1`` is below the uncertainty alone
    of ``n`` others needs no D. With few classes this spares little: ln 2 is below 1.
    """
    if n >= len(uncertainty):
        return np.ones(len(uncertainty), dtype=bool)
    floor = np.partition(uncertainty, len(uncertainty) - n)[len(uncertainty) - n]
    return ~np.asarray(uncertainty + 1.0 < floor)  # NaN is kept, to be refused where it is ranked


class _Judge:
    """The discriminator of one query, and the maps that it learns from."""

    def __init__(
        self, pool: Pool, features: ReadMaps, recipe: Recipe, settings: QuerySettings, n: int
    ) -> None:
        self.pool, self.features, self.recipe, self.settings = pool, features, recipe, settings
        # in an order of the particles, not of the file, so that the file's order changes nothing
        answered = pool.answered[pool.answered_order]
        self.bytes_per_map = features(answered[:1])[0].nbytes
        most = min(recipe.max_steps * recipe.batch // 2, _SAMPLE_BYTES // self.bytes_per_map)
        maps = features(answered[:most])
        held = _held_out(len(maps)) if recipe.stop_on == "held-out" else 0
        self.held_labelled, self.labelled = maps[:held], maps[held:]
        self.reserve = held + n // _ONE_IN if held else 0
        self.unlabelled = _Sample(pool, features, most)
        self.discriminator = self._new()
        self.fits: list[Fit] = []

    def learn(self, taken: Rows, drawn: Rows, number: int) -> None:
        """Train on what is labelled, the positions taken before included, against those drawn."""
        new = self.features(self.pool.candidates[taken]) if len(taken) else self.labelled[:0]
        is_held = np.arange(len(new)) % _ONE_IN == _ONE_IN - 1  # the same in every subset
        is_held &= self.reserve > 0
        labelled = np.concatenate([self.labelled, new[~is_held]])
        held_labelled = np.concatenate([self.held_labelled, new[is_held]])
        held, unlabelled = self.unlabelled.maps(drawn, self.reserve)
        if number == 0:
            standardise(self.discriminator, unlabelled)
        sides = Sides(labelled, unlabelled, held_labelled, held)
        rng = generator(self.pool.seed, "discriminator", self.pool.round, number)
        self.fits.append(fit(self.discriminator, sides, self.recipe, rng=rng, warm=number > 0))
        log.debug(f"subset {number + 1}: {self.fits[-1]}")

    def probability(self, positions: Rows, advance: Advance) -> Floats:
        """D of the candidates at these positions, shape (n,), read in pieces."""
        rows = self.pool.candidates[positions]
        piece = max(_CHUNK_BYTES // self.bytes_per_map, 1)
        parts = [np.empty(0)]
        for start in range(0, len(rows), piece):
            maps = self.features(rows[start : start + piece])
            parts.append(unlabelled_probability(self.discriminator, maps, self.fits[-1]))
            advance(0)
        return np.concatenate(parts)

    def report(self) -> None:
        """Say how well the two sides could be told apart before anything was chosen.

        Of the chosen, those kept aside later were learnt from as unlabelled before.
        """
        steps, first = sum(fit.steps for fit in self.fits), self.fits[0].auc
        told = ""
        if np.isfinite(first):
            told = (
                f"; it tells labelled from unlabelled particles kept aside with AUC"
                f" {first:.2f} at first (0.5 = not at all)"
            )
        log.info(f"discriminator: {steps} steps in {len(self.fits)} subsets{told}")

    def _new(self) -> Discriminator:
        weights = torch_generator(
            torch.device("cpu"), self.pool.seed, "discriminator", self.pool.round
        )
        shape = self.labelled.shape[1:]
        made = Discriminator(shape, self.recipe, self.settings.discriminator, generator=weights)
        if made.pools_left_out:
            log.info(
                f"maps of {'x'.join(map(str, shape[1:]))}: too small for"
                f" {made.pools_left_out} of the discriminator's pooling layers, left out"
            )
        return made.to(self.settings.device or torch.device("cpu"))


class _Sample:
    """Maps of some candidates for the unlabelled side; each is read once in a query."""

    def __init__(self, pool: Pool, features: ReadMaps, most: int) -> None:
        self.pool, self.features, self.most = pool, features, most
        self.order = np.argsort(pool.keys)
        self.kept: dict[int, NDArray[np.floating]] = {}

    def maps(self, drawn: Rows, held: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Maps to check with (at most half) and to learn from, of the first candidates drawn.

        No more are read than training can draw.
        """
        is_drawn = np.zeros(len(self.pool), dtype=bool)
        is_drawn[drawn] = True
        order = self.order[is_drawn[self.order]]
        held = min(held, len(order) // 2)
        sample = order[: self.most + held]
        self.kept = {p: self.kept[p] for p in sample.tolist() if p in self.kept}
        new = np.sort([p for p in sample.tolist() if p not in self.kept]).astype(np.intp)
        if len(new):
            read = self.features(self.pool.candidates[new])
            self.kept.update(zip(new.tolist(), read, strict=True))
        maps = np.stack([self.kept[p] for p in sample.tolist()])
        return maps[:held], maps[held:]  # the same particles are checked with in every subset


def _held_out(count: int) -> int:
    """How many of ``count`` labelled particles to check the discriminator with."""
    held = round(count / _ONE_IN)
    return held if held >= _LEAST_HELD_OUT else 0


def _drawn(pool: Pool, recipe: Recipe, taken: Rows, number: int, *, least: int) -> Rows:
    """Positions that this subset chooses among: all that are left, or as many as the recipe draws.

    Rising, so that the maps are read in the order of the table.
    """
    is_left = np.ones(len(pool), dtype=bool)
    is_left[taken] = False
    left = np.flatnonzero(is_left)
    if recipe.candidates_per_label is None:
        return left
    most = max(recipe.candidates_per_label * (len(pool.answered) + len(taken)), least)
    if most >= len(left):
        return left
    keys = pool.uniform(f"draw {number}", pool.candidates[left])
    return np.sort(left[np.argsort(keys)[:most]])
