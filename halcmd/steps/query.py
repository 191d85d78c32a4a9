"""Choose the particles to label next."""

import re
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halcmd.chance import keyed_uniform
from halcmd.columns import COLUMNS
from halcmd.console import log, planned
from halcmd.errors import InputError, NothingToQuery, OptionError, first_few
from halcmd.formats.files import write_csv
from halcmd.formats.star import text_of
from halcmd.intake.labels import read_ids
from halcmd.particles import Particles
from halcmd.registry import load
from halcmd.strategies import STRATEGIES
from halcmd.strategies.limits import Limits, Places
from halcmd.strategies.pool import Pool, QuerySettings, ReadMaps, Selection
from halcmd.tables import write_particles

_PROBABILITY = "halProbability_"
_STOP_RULE = re.compile(r"labels\s*>=\s*(\d+)")
_CSV_COLUMNS = (
    "halParticleId",
    "halTomogram",
    "halPositionXAngst",
    "halPositionYAngst",
    "halPositionZAngst",
    "halPredictedClass",
    "halProbability",
    "halQueryRank",
)

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class QueryResult:
    """All rows with the query columns, and the rows asked for, most wanted first.

    ``pool`` counts the particles that could have been asked for, ``labelled`` those of the pool
    with an answer, ``predicted_classes`` what those asked for are taken for.
    """

    particles: Particles
    asked: Rows
    strategy: str
    pool: int
    labelled: int
    predicted_classes: dict[str, int]

    def summary(self) -> dict[str, object]:
        """What ``--json`` prints."""
        return {
            "strategy": self.strategy,
            "asked": len(self.asked),
            "pool": self.pool,
            "labelled": self.labelled,
            "predicted_classes": self.predicted_classes,
        }


def query(
    particles: Particles,
    folder: Path,
    *,
    strategy: str,
    n: int,
    settings: QuerySettings,
    limits: Limits | None = None,
    stochastic: float = 0.0,
    max_candidates: int | None = None,
    exclude: Path | None = None,
    stop_when: str | None = None,
    model: Path | None = None,
    features: Path | None = None,
    batch: int | None = None,
    seed: int = 0,
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
    limits : Limits, optional
        What the particles asked for must keep to together.
    stochastic : float
        Power of sampling by score; 0 = the best scores.
    max_candidates : int, optional
        Choose among a random so many.
    exclude : Path, optional
        A file with halParticleId: not to be asked.
    stop_when : str, optional
        ``labels>=500``: nothing is asked once so many particles of the pool have an answer.
    model : Path, optional
        Computes the feature maps, where the score job kept none.
    features : Path, optional
        ``features.npy`` of the score job; may be absent.
    batch : int, optional
        Particles per forward pass of the model. Default: about a million voxels.
    seed : int

    Raises
    ------
    NothingToQuery
        No particle is left to ask for, or the stop rule is met.
    InputError, OptionError, ModelError
        What the strategy needs is not there.
    """
    module = load(STRATEGIES, strategy, "strategy")
    answered = np.flatnonzero(particles.is_answered & ~particles.is_test)
    _check_stop(stop_when, len(answered))
    candidates = _candidates(particles, exclude, max_candidates, seed)
    limits = limits or Limits()
    pool = Pool(
        ids=particles.ids,
        candidates=candidates,
        answered=answered,
        probabilities=_probabilities(particles, candidates, strategy, module.NEEDS),
        places=_places(particles, candidates, limits, n),
        limits=limits,
        power=stochastic,
        seed=seed,
        round=_round(particles),
    )
    if "answers" in module.NEEDS and not len(answered):
        raise InputError(
            f"strategy {strategy} needs labelled particles to compare with",
            where=str(particles.path),
            hint="--strategy random for the first labels",
        )
    maps: AbstractContextManager[ReadMaps | None] = nullcontext(None)
    if "features" in module.NEEDS:
        from halcmd.strategies.maps import feature_maps  # keeps torch out of the other strategies

        rows = np.union1d(candidates, answered)
        maps = feature_maps(
            particles,
            rows,
            folder,
            model,
            stored=features,
            device=settings.device,
            batch=batch,
        )
    planned(
        f"strategy {strategy}: {min(n, len(pool)):,} of {len(pool):,} unlabelled particles,"
        f" {len(answered):,} labelled"
    )
    if n > len(pool):
        log.warning(f"--n {n:,}, but only {len(pool):,} particles are left: all are asked")
    with maps as read:
        selection = module.select(replace(pool, features=read), min(n, len(pool)), settings)
    return _written(particles, pool, selection, folder, strategy, n)


def _check_stop(rule: str | None, labels: int) -> None:
    if rule is None:
        return
    match = _STOP_RULE.fullmatch(rule.strip())
    if match is None:
        raise OptionError("--stop-when cannot be understood", found=rule, hint="labels>=500")
    if labels >= int(match[1]):
        raise NothingToQuery(f"the stop rule is met: {labels:,} labels", found=rule)


def _candidates(particles: Particles, exclude: Path | None, most: int | None, seed: int) -> Rows:
    """Rows that may be asked for."""
    is_open = ~particles.is_answered & ~particles.is_test
    if exclude is not None:
        ids = read_ids(exclude)
        is_excluded = np.array([name in ids for name in particles.ids])
        if not is_excluded.any():
            log.warning(f"{exclude} excludes nothing: none of its particles is in the table")
        is_open &= ~is_excluded
    rows = np.flatnonzero(is_open)
    if not len(rows):
        raise NothingToQuery(
            "no particle is left to ask for",
            found=f"{len(particles):,} rows, each labelled, of the test split or excluded",
            hint="evaluate, or add picks",
        )
    if most is None or most >= len(rows):
        return rows
    keys = keyed_uniform(seed, f"query {_round(particles)} candidates", particles.ids[rows])
    log.info(f"choosing among a random {most:,} of {len(rows):,} unlabelled particles")
    return np.sort(rows[np.argsort(keys)[:most]])


def _round(particles: Particles) -> int:
    """Number of this query: one more than the latest in the table."""
    return int(np.nan_to_num(particles.number("halQueryRound", 0.0)).max()) + 1


def _probabilities(
    particles: Particles, candidates: Rows, strategy: str, needs: frozenset[str]
) -> NDArray[np.float64] | None:
    """Class probabilities of the candidates, one model's, or None where none are needed."""
    if "probabilities" not in needs:
        return None
    columns = [name for name in particles.table.labels if name.startswith(_PROBABILITY)]
    if not columns:
        raise InputError(
            f"strategy {strategy} needs a scored table",
            where=str(particles.path),
            found="no column halProbability_CLASS",
            hint="halcmd score first, and give its particles.star; or --strategy random",
        )
    models = sorted(set(particles.text("halModel", "none")[candidates]) - {"none"})
    if len(models) > 1:
        raise InputError(
            "the particles were scored by different models",
            where=str(particles.path),
            found=f"halModel {first_few(models)}",
            hint="score all of them with one model",
        )
    values = np.stack([particles.number(name)[candidates] for name in columns], axis=1)
    blank = np.isnan(values).any(axis=1)
    if blank.any():
        raise InputError(
            "particles of the pool have no predictions",
            where=str(particles.path),
            found=first_few(particles.ids[candidates[blank]]),
            hint="score the whole table",
        )
    _warn_if_stale(particles, {name.removeprefix(_PROBABILITY) for name in columns})
    return values


def _warn_if_stale(particles: Particles, classes: set[str]) -> None:
    """Warn where labels have come that the predictions cannot know of."""
    history = particles.star.table("hal_history")
    steps = history.column("halStep") if history is not None else []
    last = {step: place for place, step in enumerate(steps)}
    if "score" in last and last.get("label-import", -1) > last["score"]:
        log.warning("labels were imported after these predictions: train and score again")
    new = set(particles.labels[particles.is_trainable & ~particles.is_test]) - classes
    if new:
        log.warning(
            f"the model does not know the labelled class {', '.join(sorted(new))}:"
            " train and score again"
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
    names, predicted = np.unique(_predicted(particles, candidates), return_inverse=True)
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


def _predicted(particles: Particles, rows: Rows) -> NDArray[np.str_]:
    return particles.text("halPredictedClass", "none")[rows].astype(str)


def _written(
    particles: Particles, pool: Pool, selection: Selection, folder: Path, strategy: str, n: int
) -> QueryResult:
    """Write the tables and say what is asked."""
    asked = pool.candidates[selection.chosen]
    wanted = min(n, len(pool))
    if len(asked) < wanted:
        log.warning(f"the limits allow only {len(asked):,} of {wanted:,} particles")
    table = _with_query(particles, pool, selection, strategy)
    write_particles(folder / "particles.star", table)
    write_particles(folder / "query.star", table.take(asked))
    _write_csv(folder / "query.csv", table.take(asked))
    counts: Counter[str] = Counter()
    if particles.has("halPredictedClass"):
        counts.update(_predicted(particles, asked).tolist())
        text = ", ".join(f"{name} {count:,}" for name, count in counts.most_common())
        log.info(f"predicted classes of the {len(asked):,} asked: {text}")
    log.info(f"label them in {folder / 'query.csv'} (last column), then halcmd label-import")
    return QueryResult(
        table, asked, strategy, len(pool), len(pool.answered), dict(sorted(counts.items()))
    )


def _with_query(particles: Particles, pool: Pool, selection: Selection, strategy: str) -> Particles:
    """The table with the query columns; rows of earlier queries keep their round and strategy."""
    asked = pool.candidates[selection.chosen]
    rank = np.zeros(len(particles), dtype=int)
    rank[asked] = np.arange(1, len(asked) + 1)
    rounds = particles.number("halQueryRound", 0.0)
    rounds = np.nan_to_num(rounds).astype(int)
    rounds[asked] = pool.round
    strategies = particles.text("halQueryStrategy", COLUMNS["halQueryStrategy"].empty)
    strategies[asked] = strategy
    columns: dict[str, list[str]] = {
        "halQueryRank": [str(value) for value in rank],
        "halQueryRound": [str(value) for value in rounds],
        "halQueryStrategy": strategies.tolist(),
    }
    for name, values in {"halScore": selection.score, **selection.columns}.items():
        full = np.full(len(particles), np.nan)
        full[pool.candidates] = values
        columns[name] = text_of(full, 6)
    return particles.with_columns(columns, owner="query")


def _write_csv(path: Path, asked: Particles) -> None:
    """The particles asked for as a table for a spreadsheet, with an empty column for the label."""
    table = asked.with_columns({"halTomogram": asked.tomograms})
    columns = [table.text(name, COLUMNS[name].empty) for name in _CSV_COLUMNS]
    rows = ([*row, ""] for row in zip(*columns, strict=True))
    write_csv(path, [*_CSV_COLUMNS, "halLabel"], rows)
