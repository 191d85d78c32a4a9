"""What every strategy sees and answers: arrays in, positions among the candidates out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from halcmd.chance import derive, keyed_uniform
from halcmd.errors import DataError, OptionError, did_you_mean, first_few
from halcmd.strategies import DISCRIMINATORS, ENTROPY_NORMS, PRESETS
from halcmd.strategies.limits import Basket, Limits, Places, greedy

if TYPE_CHECKING:
    import torch

Rows = NDArray[np.intp]
Floats = NDArray[np.float64]
ReadMaps = Callable[[Rows], NDArray[np.floating]]
Passes = Callable[[Rows, int, float | None], Iterator[NDArray[np.floating]]]

_NONE_TAKEN: Rows = np.empty(0, dtype=np.intp)


@dataclass(frozen=True)
class Pool:
    """The particles that may be asked for, and those with an answer.

    *Rows* count rows of the table. *Positions* count candidates: position ``i`` is row
    ``candidates[i]``. Arrays about candidates are aligned with ``candidates``.

    Attributes
    ----------
    ids : ndarray of str, length of the table
        halParticleId of every row; with ``seed`` and ``round`` it keys each random choice.
    candidates : ndarray of int
        Rows that may be asked for: of the pool split, without an answer, not excluded.
    answered : ndarray of int
        Rows of the pool split with any answer, ``unknown`` and ``skip`` included.
    probabilities : ndarray, shape (n_candidates, n_classes), float64, or None
        Calibrated class probabilities of the candidates.
    labels : ndarray of int or None
        Class of each answered row, its place among the classes; -1 = ``unknown`` or ``skip``.
    answered_probabilities : ndarray, shape (n_answered, n_classes), float64, or None
        Calibrated class probabilities of the answered rows.
    features : callable or None
        Rows -> last pooled maps, shape (n, c, z, y, x), float16 or float32, in the order asked.
    embeddings : callable or None
        Rows -> penultimate vectors, shape (n, d), float16 or float32, in the order asked.
    passes : callable or None
        (rows, number of passes, share dropped or None for the network's own) -> class
        probabilities (n, n_classes) of one pass with dropout after the other. The units that drop
        out in a pass are the same for all rows.
    boxes : callable or None
        Rows -> particles, shape (n, z, y, x), float32, normalised.
    places : Places or None
        Tomogram, position and predicted class of the candidates; needed where there are limits.
    limits : Limits
        What the particles of one query must keep to.
    power : float
        0: the best scores are taken. Above 0: particles are drawn without replacement with
        probability proportional to score ** power.
    seed, round : int
    """

    ids: NDArray[np.object_]
    candidates: Rows
    answered: Rows
    probabilities: Floats | None = None
    labels: Rows | None = None
    answered_probabilities: Floats | None = None
    features: ReadMaps | None = None
    embeddings: ReadMaps | None = None
    passes: Passes | None = None
    boxes: ReadMaps | None = None
    places: Places | None = None
    limits: Limits = field(default_factory=Limits)
    power: float = 0.0
    seed: int = 0
    round: int = 1

    def __len__(self) -> int:
        """Count the candidates."""
        return len(self.candidates)

    def uniform(self, purpose: str, rows: Rows) -> Floats:
        """One number in [0, 1) per row that depends on seed, round, purpose and the particle."""
        return keyed_uniform(self.seed, f"query {self.round} {purpose}", self.ids[rows])

    @cached_property
    def keys(self) -> Floats:
        """One number in [0, 1) per candidate: breaks ties, and is a random order by itself."""
        return self.uniform("tie", self.candidates)

    @cached_property
    def order(self) -> Rows:
        """Positions in a random order that is the particles' own, whatever that of the file.

        What is computed in this order is the same to the last bit for a table in another order, and
        of equals the first one is the seed's choice.
        """
        return np.argsort(self.keys).astype(np.intp)

    @cached_property
    def answered_order(self) -> Rows:
        """Places in ``answered``, in a random order that is the particles' own."""
        return np.argsort(self.uniform("answered", self.answered)).astype(np.intp)

    def seed_of(self, purpose: str) -> int:
        """A seed for one purpose of this query."""
        return derive(self.seed, "query", self.round, purpose)

    def basket(self, n: int) -> Basket:
        """What takes candidates one by one as the limits allow: up to ``n`` of them."""
        reachable = np.arange(len(self), dtype=np.intp)
        return Basket(self.limits, self.places, n, reachable=reachable, taken=_NONE_TAKEN)

    def refuse(self, values: NDArray[np.floating], rows: Rows, what: str) -> None:
        """Raise DataError where values, the first axis of which counts rows, are not finite."""
        bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if bad.any():
            raise DataError(
                f"{what} is not a number",
                found=f"particles {first_few(self.ids[rows[bad]])}",
                hint="look at the boxes of these particles; score again",
            )

    def best(
        self, score: Floats, n: int, *, taken: Rows = _NONE_TAKEN, total: int | None = None
    ) -> Rows:
        """Positions of the ``n`` best candidates that the limits allow, most wanted first.

        Parameters
        ----------
        score : ndarray, shape (n_candidates,), float64
            Larger = more wanted; ``-inf`` = not to be taken.
        n : int
            How many.
        taken : ndarray of int
            Positions taken earlier in this query (HAL's subsets).
        total : int, optional
            Size of the whole query where it is taken in parts.

        Returns
        -------
        ndarray of int
            Fewer than ``n`` where there are not so many, or the limits allow no more.

        Raises
        ------
        DataError
            A score is NaN.
        """
        wanted = self._drawn(score) if self.power else score
        wanted = wanted.copy()
        wanted[taken] = -np.inf
        if not self.limits:
            return highest(wanted, n, self.keys)
        ranking = highest(wanted, len(wanted), self.keys)
        return greedy(
            ranking, n, self.limits, self.places, taken=taken, total=n if total is None else total
        )

    def _drawn(self, score: Floats) -> Floats:
        """Scores whose maxima are draws without replacement with weights score ** power.

        The Gumbel top-k trick, as "power" sampling in Kirsch et al. 2021 (2106.12059).
        """
        if (score[np.isfinite(score)] < 0).any():
            raise ValueError("power sampling needs scores of at least 0")
        number = self.uniform("draw", self.candidates) + 2.0**-54  # never 0
        gumbel = -np.log(-np.log(number))
        with np.errstate(divide="ignore"):
            log_score = np.log(np.maximum(score, 1e-12))
        return np.where(np.isneginf(score), -np.inf, self.power * log_score + gumbel)


@dataclass(frozen=True)
class QuerySettings:
    """How to choose; a strategy reads what concerns it.

    Attributes
    ----------
    preset : str
        ``default``, ``paper`` (what the text of Du et al. 2021 states) or ``code`` (what the
        authors' program does).
    subsets : int
        HAL's m: how many parts the query is taken in.
    lambda_ : float
        Weight of the entropy beside the discriminator.
    entropy_norm : str
        ``none`` (nats), ``log`` (share of the largest possible) or ``rank``.
    discriminator : str
        ``conv`` or ``mlp``.
    options : object
        The strategy's own parameters, an instance of its ``Options``; None = their defaults.
    device : torch.device or None
        None = CPU.

    Raises
    ------
    OptionError
        A setting has no such value.
    """

    preset: str = "default"
    subsets: int = 4
    lambda_: float = 1.0
    entropy_norm: str = "none"
    discriminator: str = "conv"
    options: object = None
    device: "torch.device | None" = None

    def __post_init__(self) -> None:
        for option, value, choices in (
            ("--preset", self.preset, PRESETS),
            ("--entropy-norm", self.entropy_norm, ENTROPY_NORMS),
            ("--discriminator", self.discriminator, DISCRIMINATORS),
        ):
            if value not in choices:
                raise OptionError(f"{option} {value} is unknown", hint=did_you_mean(value, choices))
        if self.subsets < 1:
            raise OptionError("--subsets must be at least 1", found=str(self.subsets))
        if not (np.isfinite(self.lambda_) and self.lambda_ >= 0):
            raise OptionError("--lambda must be at least 0", found=str(self.lambda_))


@dataclass(frozen=True)
class Selection:
    """What a strategy answers.

    Attributes
    ----------
    chosen : ndarray of int
        Positions among the candidates, most wanted first, none twice.
    score : ndarray, shape (n_candidates,), float64
        Larger = more wanted; NaN where the strategy did not need to compute it.
    columns : mapping of str to ndarray, shape (n_candidates,)
        Further ``hal*`` columns, NaN where not computed.
    """

    chosen: Rows
    score: Floats
    columns: Mapping[str, Floats] = field(default_factory=dict)


def highest(score: Floats, n: int, keys: Floats) -> Rows:
    """Positions of the ``n`` largest scores in falling order; equal scores in the order of keys.

    Positions with a score of ``-inf`` are never returned.

    Raises
    ------
    DataError
        A score is NaN.
    """
    bad = np.isnan(score)
    if bad.any():
        raise DataError(
            "a score is not a number",
            found=f"candidates {first_few(np.flatnonzero(bad))}",
            hint="look at the halProbability columns of these particles; score again",
        )
    n = min(n, int((~np.isneginf(score)).sum()))
    if n <= 0:
        return _NONE_TAKEN
    # sorting only what can be chosen keeps a query of 32 among 10^6 fast
    threshold = np.partition(score, len(score) - n)[len(score) - n]
    contenders = np.flatnonzero(score >= threshold)
    order = np.lexsort((keys[contenders], -score[contenders]))
    return contenders[order[:n]].astype(np.intp)
