"""Choose the particles to label next."""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halcmd.console import log, planned
from halcmd.errors import InputError, NothingToQuery, OptionError
from halcmd.handoff.forms import check_forms, write_forms
from halcmd.intake.labels import read_ids
from halcmd.particles import Particles
from halcmd.registry import load
from halcmd.reports.labelling import PageSettings, label_page
from halcmd.reports.montage import montage as draw_montage
from halcmd.strategies import LEARNING, STRATEGIES
from halcmd.strategies.candidates import candidates_of, round_of
from halcmd.strategies.limits import Limits, Places
from halcmd.strategies.pool import Pool, QuerySettings, Selection
from halcmd.strategies.predicted import (
    answered_probabilities,
    labels_of,
    probabilities_of,
    what_is_there,
)
from halcmd.strategies.relabel import labels_to_ask_again
from halcmd.strategies.written import predicted_classes, report_classes, write_query

_STOP_RULE, _STABLE = re.compile(r"labels\s*>=\s*(\d+)"), "stable"

Rows = NDArray[np.intp]

_NONE: Rows = np.empty(0, dtype=np.intp)
_NOTHING = Selection(_NONE, np.empty(0))


@dataclass(frozen=True)
class QueryResult:
    """All rows with the query columns, and the rows asked for, most wanted first.

    ``pool`` counts the particles that could have been asked for, ``labelled`` those of the pool
    with an answer, ``predicted_classes`` what those asked for are taken for; ``advice`` is the stop
    advice where earlier rounds are given.
    """

    particles: Particles
    asked: Rows
    strategy: str
    pool: int
    labelled: int
    predicted_classes: dict[str, int]
    advice: str | None = None

    def summary(self) -> dict[str, object]:
        """What ``--json`` prints."""
        return {
            "strategy": self.strategy,
            "asked": len(self.asked),
            "pool": self.pool,
            "labelled": self.labelled,
            "predicted_classes": self.predicted_classes,
            **({} if self.advice is None else {"stop_advice": self.advice}),
        }


def query(
    particles: Particles,
    folder: Path,
    *,
    strategy: str,
    n: int,
    settings: QuerySettings,
    split: str = "pool",
    limits: Limits | None = None,
    stochastic: float = 0.0,
    max_candidates: int | None = None,
    exclude: Path | None = None,
    relabel_fraction: float = 0.0,
    stop_when: str | None = None,
    previous: Sequence[Path] = (),
    model: Path | None = None,
    scored: Path | None = None,
    batch: int | None = None,
    hand_off: Sequence[str] = ("csv",),
    montage: bool = True,
    seed: int = 0,
    page: PageSettings | None = None,
) -> QueryResult:
    """The ``n`` particles of the pool that the strategy wants most, as table and as hand-off.

    Parameters
    ----------
    particles : Particles
        Scored; bare for strategies that look at no predictions.
    folder : Path
        Job folder.
    strategy : str
        A key of ``STRATEGIES``.
    n : int
        How many to ask for.
    settings : QuerySettings
        What strategies can be told.
    split : str
        ``pool``, or ``test``: particles to measure on, which are drawn at random alone.
    limits : Limits, optional
        What the particles asked for must keep to together.
    stochastic : float
        Power of sampling by score; 0 = the best scores.
    max_candidates : int, optional
        Choose among a random so many.
    exclude : Path, optional
        A file with halParticleId: not to be asked.
    relabel_fraction : float
        Share of ``n`` that is spent on labels suspected to be wrong, as ``train`` found them.
    stop_when : str, optional
        ``labels>=500``: nothing is asked once so many particles of the pool have an answer.
        ``stable``: nothing is asked once the stop advice is to stop.
    previous : sequence of Path
        Scored tables of earlier rounds, for the stop advice.
    model : Path, optional
        Computes what the score job did not keep: embeddings, feature maps, passes with dropout.
    scored : Path, optional
        Folder of the score job, with ``embedding.npy`` and perhaps ``features.npy``.
    batch : int, optional
        Particles per forward pass of the model. Default: by ``forward_batch``.
    hand_off : sequence of str
        Keys of ``HANDOFFS``: what else is written of the particles asked for.
    montage : bool
        Draw them for paper, where they have boxes.
    seed : int
    page : PageSettings, optional
        What ``labels.html`` offers and shows; None = there is no such page.

    Raises
    ------
    NothingToQuery
        No particle is left to ask for, or the stop rule is met.
    InputError, OptionError, ModelError
        What the strategy needs is not there.
    """
    module = load(STRATEGIES, strategy, "strategy")
    _check_split(split, strategy)
    check_forms(particles, hand_off)
    answered = np.flatnonzero(particles.is_answered & ~particles.is_test)
    advice = _check_stop(stop_when, len(answered), particles, previous)
    excluded = read_ids(exclude) if exclude is not None else set()
    again = labels_to_ask_again(particles, n, relabel_fraction, excluded)
    n -= len(again)
    eligible = particles.is_test == (split == "test")
    candidates = (
        candidates_of(particles, eligible, excluded, exclude, max_candidates, seed) if n else _NONE
    )
    limits = limits or Limits()
    needs: frozenset[str] = module.NEEDS if n else frozenset()
    if stochastic and not module.RANKS:
        raise OptionError(
            f"--stochastic has no meaning for strategy {strategy}",
            found="it does not rank by one score",
            hint="leave it out, or --strategy power-margin",
        )
    looks_at = needs | (what_is_there(particles) & getattr(module, "TAKES", frozenset()))
    pool = Pool(
        ids=particles.ids,
        candidates=candidates,
        answered=answered,
        probabilities=probabilities_of(particles, candidates, strategy, looks_at),
        labels=labels_of(particles, answered) if "labels" in needs else None,
        answered_probabilities=answered_probabilities(particles, answered, needs),
        places=_places(particles, candidates, limits, n),
        limits=limits,
        power=stochastic,
        seed=seed,
        round=round_of(particles),
    )
    _check_answers(particles, pool, strategy, needs)
    with _filler(particles, pool, needs, folder, scored, model, settings, batch) as filled:
        planned(
            f"strategy {strategy}: {min(n, len(pool)):,} of {len(pool):,} unlabelled particles"
            f" ({split}), {len(answered):,} labelled"
        )
        if n > len(pool):
            log.warning(f"--n {n:,}, but only {len(pool):,} particles are left: all are asked")
        selection = module.select(filled(pool), min(n, len(pool)), settings) if n else _NOTHING
    asked, wanted = candidates[selection.chosen], min(n, len(pool))
    if len(asked) < wanted:
        log.warning(f"the limits allow only {len(asked):,} of {wanted:,} particles")
    asked = np.concatenate([asked, again])
    table = write_query(particles, pool, selection, folder, strategy, again)
    counts = report_classes(particles, pool, selection.chosen)
    write_forms(table.take(asked), folder, hand_off)
    if montage:
        draw_montage(table.take(asked), folder, strategy)
    has_page = page is not None and label_page(folder, table, asked, page)
    ways = [f"{folder / 'labels.html'} (in a browser)"] if has_page else []
    ways += [f"{folder / 'query.csv'} (last column)"] if "csv" in hand_off else []
    if ways:
        log.info(f"label them in {', or '.join(ways)}, then halcmd label-import")
    return QueryResult(table, asked, strategy, len(pool), len(answered), counts, advice)


def _filler(
    particles: Particles,
    pool: Pool,
    needs: frozenset[str],
    folder: Path,
    scored: Path | None,
    model: Path | None,
    settings: QuerySettings,
    batch: int | None,
) -> AbstractContextManager[Callable[[Pool], Pool]]:
    """A context that gives what fills the pool with arrays from files, model and boxes."""
    if not needs & LEARNING:
        return nullcontext(lambda pool: pool)
    from halcmd.strategies.sources import Sources, opened  # keeps torch out of the others

    sources = Sources(
        particles,
        np.union1d(pool.candidates, pool.answered),
        folder,
        scored=scored,
        model=model,
        device=settings.device,
        batch=batch,
        seed=pool.seed_of("passes"),
    )
    return opened(sources, needs)


def _check_answers(particles: Particles, pool: Pool, strategy: str, needs: frozenset[str]) -> None:
    if "answers" not in needs:
        return
    known = pool.labels is None or bool((pool.labels >= 0).any())
    if len(pool.answered) and known:
        return
    raise InputError(
        f"strategy {strategy} needs labelled particles",
        where=str(particles.path),
        found="no label in the pool"
        if not len(pool.answered)
        else "no label of a class that the predictions know",
        hint="for the first labels: --strategy typiclust, with a pretrained network, or random",
    )


def _check_stop(
    rule: str | None, labels: int, particles: Particles, previous: Sequence[Path]
) -> str | None:
    """The stop advice, where earlier rounds are given; NothingToQuery where the rule is met."""
    is_stable = rule is not None and rule.strip() == _STABLE
    match = _STOP_RULE.fullmatch(rule.strip()) if rule is not None else None
    if rule is not None and match is None and not is_stable:
        raise OptionError(
            "--stop-when cannot be understood",
            found=rule,
            hint=f'"labels>=500" in quotes (without them the shell writes a file called =500), or '
            f"{_STABLE}",
        )
    if match is not None and labels >= int(match[1]):
        raise NothingToQuery(f"the stop rule is met: {labels:,} labels", found=rule or "")
    if not previous:
        if is_stable:
            log.warning(f"--stop-when {_STABLE} cannot be judged: no earlier round (--previous)")
        return None
    from halcmd.assessment.rounds import (  # keeps scipy.stats out of the others
        read_rounds,
        unlabelled_rows,
    )
    from halcmd.assessment.stopping import STOP, stability

    advice = stability(read_rounds(particles, previous, unlabelled_rows(particles))).advice
    if is_stable and advice.verdict == STOP:
        raise NothingToQuery(f"the stop rule is met. {advice.text}", found=rule or "")
    log.info(advice.text)
    return advice.text


def _check_split(split: str, strategy: str) -> None:
    if split == "test" and strategy != "random":
        raise OptionError(
            "test particles are asked for at random, or the accuracy on them means nothing",
            found=f"--strategy {strategy}",
            hint="--split test --strategy random",
        )


def _places(particles: Particles, candidates: Rows, limits: Limits, n: int) -> Places | None:
    """What the limits look at, or None where there are none."""
    if not limits:
        return None
    positions = particles.positions[candidates]
    if limits.min_distance is not None and not np.isfinite(positions).any():
        raise InputError(
            "--min-distance needs positions",
            where=str(particles.path),
            found="no halPositionXAngst, YAngst, ZAngst",
            hint="halcmd extract resolves them",
        )
    names, predicted = np.unique(predicted_classes(particles, candidates), return_inverse=True)
    if limits.min_per_class is not None and not particles.has("halPredictedClass"):
        raise InputError(
            "--min-per-class needs predicted classes",
            where=str(particles.path),
            hint="halcmd score first",
        )
    least = (limits.min_per_class or 0) * len(names)
    if least > n:
        raise OptionError(
            "--min-per-class asks for more than --n",
            found=f"{limits.min_per_class} of each of {len(names)} classes, --n {n}",
            hint=f"--n {least}, or a lower --min-per-class",
        )
    return Places(particles.tomograms[candidates], positions, predicted)
