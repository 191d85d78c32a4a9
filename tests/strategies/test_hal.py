"""HAL: its score, its subsets, its discriminator, and its limits in terms of simpler strategies."""

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from halcmd.console import log
from halcmd.errors import OptionError
from halcmd.networks.discriminator import RECIPES
from halcmd.strategies import PRESETS, entropy, hal
from halcmd.strategies.hal import could_be_chosen, normalised_entropy, subset_sizes
from halcmd.strategies.limits import Limits
from halcmd.strategies.pool import Pool, QuerySettings

MakePool = Callable[..., Pool]
pytestmark = pytest.mark.usefixtures("short_training")
PLAIN = hal.Options(explore=0.0)  # the paper's: D + lambda H in each subset


@pytest.mark.parametrize(
    ("n", "subsets", "sizes"),
    [
        (32, 4, [8, 8, 8, 8]),
        (10, 4, [3, 3, 2, 2]),
        (3, 8, [1, 1, 1]),
        (5, 1, [5]),
        (0, 4, []),
    ],
)
def test_subsets_are_even_and_never_empty(n: int, subsets: int, sizes: list[int]) -> None:
    assert subset_sizes(n, subsets) == sizes


def test_the_score_is_discriminator_plus_lambda_entropy(make_pool: MakePool) -> None:
    pool = make_pool()
    selection = hal.select(pool, 8, QuerySettings(subsets=2, lambda_=0.7, options=PLAIN))
    novelty = selection.columns["halUnlabelledProbability"]
    known = np.isfinite(novelty)
    expected = novelty + 0.7 * entropy.entropy(pool.probabilities)
    np.testing.assert_allclose(selection.score[known], expected[known])


def test_lambda_zero_ranks_by_the_discriminator_alone(make_pool: MakePool) -> None:
    selection = hal.select(make_pool(), 100, QuerySettings(subsets=1, lambda_=0.0))
    novelty = selection.columns["halUnlabelledProbability"]
    np.testing.assert_array_equal(selection.score, novelty)
    assert (np.diff(novelty[selection.chosen]) <= 0).all()


def test_a_huge_lambda_is_entropy_sampling(make_pool: MakePool) -> None:
    pool = make_pool()
    by_hal = hal.select(pool, 20, QuerySettings(lambda_=1e6, options=PLAIN)).chosen
    by_entropy = entropy.select(pool, 20, QuerySettings()).chosen
    np.testing.assert_array_equal(by_hal, by_entropy)


def test_one_subset_is_one_pass_of_scoring(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool()
    whole = hal.select(pool, 12, QuerySettings(subsets=1))
    best = np.argsort(-np.nan_to_num(whole.score, nan=-1.0))[:12]
    np.testing.assert_array_equal(whole.chosen, best)
    first = hal.select(pool, 12, QuerySettings(subsets=3, options=PLAIN)).chosen[:4]
    np.testing.assert_array_equal(first, best[:4])  # later subsets know more


@pytest.mark.parametrize(
    ("subsets", "explore", "alone"),
    [(4, 0.5, 2), (4, 0.25, 1), (3, 0.5, 1), (1, 0.5, 0), (2, 1.0, 2), (4, 0.0, 0)],
)
def test_the_discriminator_alone_fills_the_first_subsets(
    make_pool: MakePool, subsets: int, explore: float, alone: int
) -> None:
    pool, settings = make_pool(), QuerySettings(subsets=subsets, lambda_=0.7)
    found = hal.select(pool, 12, replace(settings, options=hal.Options(explore=explore)))
    unsure = 0.7 * entropy.entropy(pool.probabilities)[found.chosen]
    novelty = found.columns["halUnlabelledProbability"][found.chosen]
    by_both = found.columns["halQuerySubset"][found.chosen] > alone
    np.testing.assert_allclose(found.score[found.chosen], novelty + unsure * by_both)
    bare = hal.select(pool, 12, replace(settings, lambda_=0.0)).chosen
    first = 12 // subsets * alone
    np.testing.assert_array_equal(found.chosen[:first], bare[:first])


@pytest.mark.parametrize("preset", PRESETS)
def test_half_is_explored_unless_the_query_is_to_be_as_published(
    make_pool: MakePool, preset: str
) -> None:
    pool = make_pool()

    def chosen(options: hal.Options | None) -> list[int]:
        settings = QuerySettings(preset=preset, options=options)
        return hal.select(pool, 12, settings).chosen.tolist()

    half, none = chosen(hal.Options(explore=0.5)), chosen(PLAIN)
    assert half != none
    usual = half if preset == "default" else none
    assert chosen(None) == chosen(hal.Options()) == usual


def test_scores_are_those_of_one_subset(make_pool: MakePool) -> None:
    """What is left over has the score of the last one, not that of D alone."""
    pool = make_pool(classes=12)
    found = hal.select(pool, 12, QuerySettings(lambda_=3.0))
    left = np.setdiff1d(np.flatnonzero(np.isfinite(found.score)), found.chosen)
    novelty = found.columns["halUnlabelledProbability"][left]
    unsure = 3.0 * entropy.entropy(pool.probabilities)[left]
    np.testing.assert_allclose(found.score[left], novelty + unsure)
    assert np.isnan(found.score).any()


def test_the_discriminator_learns_what_was_just_chosen(make_pool: MakePool) -> None:
    pool = make_pool(shift=2.0)  # candidates look like nothing that is labelled
    once = hal.select(pool, 60, QuerySettings(subsets=1, lambda_=0.0))
    often = hal.select(pool, 60, QuerySettings(subsets=6, lambda_=0.0))
    late = often.chosen[-10:]
    name = "halUnlabelledProbability"
    assert often.columns[name][late].mean() < once.columns[name][late].mean()


def test_the_log_tells_the_sides_apart_before_anything_is_chosen(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Later checks are of particles too that were learnt from as unlabelled."""
    areas = iter([0.81, 0.42, 0.37, 0.33])
    fit = hal.fit
    monkeypatch.setattr(
        hal, "fit", lambda *arguments, **how: replace(fit(*arguments, **how), auc=next(areas))
    )
    log.propagate = True
    caplog.set_level(logging.INFO, logger="halcmd")
    hal.select(make_pool(), 8, QuerySettings())
    log.propagate = False
    assert "with AUC 0.81 at first (0.5 = not at all)" in caplog.text


@pytest.mark.parametrize("n", [99, 100])
def test_the_last_candidates_are_asked_for_too(make_pool: MakePool, n: int) -> None:
    found = hal.select(make_pool(), n, QuerySettings(subsets=20))
    assert len(set(found.chosen.tolist())) == n


@pytest.mark.parametrize("norm", ["none", "log"])
@pytest.mark.parametrize("subsets", [1, 4])
def test_leaving_out_hopeless_candidates_changes_nothing(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, norm: str, subsets: int
) -> None:
    pool = make_pool(classes=12)
    settings = QuerySettings(subsets=subsets, lambda_=3.0, entropy_norm=norm, options=PLAIN)
    pruned = hal.select(pool, 12, settings)
    everyone = lambda uncertainty, n: np.ones(len(uncertainty), dtype=bool)  # noqa: E731
    monkeypatch.setattr(hal, "could_be_chosen", everyone)
    full = hal.select(pool, 12, settings)
    np.testing.assert_array_equal(pruned.chosen, full.chosen)
    assert np.isnan(pruned.score).sum() > np.isnan(full.score).sum()


def test_could_be_chosen_keeps_who_can_reach_the_nth() -> None:
    uncertainty = np.array([2.5, 2.0, 1.4, 1.0, 0.9, 0.1])
    np.testing.assert_array_equal(could_be_chosen(uncertainty, 2), [1, 1, 1, 1, 0, 0])
    assert could_be_chosen(uncertainty, 6).all()


def test_entropy_norms_share_an_order_and_differ_in_range() -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(5), 50)
    nats, share, rank = (normalised_entropy(rows, norm) for norm in ("none", "log", "rank"))
    np.testing.assert_allclose(share, nats / np.log(5))
    assert (rank.min(), rank.max()) == (0.0, 1.0)
    np.testing.assert_array_equal(np.argsort(nats), np.argsort(rank))


@pytest.mark.parametrize("preset", ["default", "paper", "code"])
@pytest.mark.parametrize("kind", ["conv", "mlp"])
def test_every_preset_and_discriminator_runs(make_pool: MakePool, preset: str, kind: str) -> None:
    settings = QuerySettings(preset=preset, discriminator=kind, subsets=2)
    assert len(hal.select(make_pool(), 8, settings).chosen) == 8


def test_the_code_preset_draws_candidates_anew_for_each_subset(make_pool: MakePool) -> None:
    recipe = RECIPES["code"]
    pool = make_pool()
    few = Pool(**{**vars(pool), "answered": pool.answered[:0]} | {})
    assert len(hal._drawn(few, recipe, np.array([1]), 0, least=1)) == 99
    small = type(recipe)(**{**vars(recipe), "candidates_per_label": 1})
    first, second = (
        hal._drawn(pool, small, np.empty(0, dtype=np.intp), i, least=1) for i in (0, 1)
    )
    assert len(first) == len(second) == 40
    assert set(first) != set(second)


@pytest.mark.parametrize("count", [1, 2, 9])
def test_a_handful_of_labels_is_enough_to_run(make_pool: MakePool, count: int) -> None:
    pool = make_pool()
    few = Pool(**{**{k: v for k, v in vars(pool).items() if k != "keys"}})
    few = Pool(**{**vars(few), "answered": pool.answered[:count]})
    assert len(hal.select(few, 10, QuerySettings()).chosen) == 10


def test_limits_are_met_across_subsets(make_pool: MakePool) -> None:
    pool = make_pool(limits=Limits(max_per_tomogram=2))
    chosen = hal.select(pool, 8, QuerySettings(subsets=4)).chosen
    names = pool.places.tomograms[chosen]
    assert sorted(np.unique(names, return_counts=True)[1]) == [2, 2, 2, 2]


def test_each_preset_has_a_recipe() -> None:
    assert set(RECIPES) == set(PRESETS)


@pytest.mark.parametrize(
    "settings",
    [
        {"preset": "papr"},
        {"entropy_norm": "ln"},
        {"discriminator": "cnn"},
        {"subsets": 0},
        {"lambda_": -1.0},
        {"lambda_": float("nan")},
    ],
)
def test_a_wrong_setting_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        QuerySettings(**settings)


@pytest.mark.parametrize(
    ("total", "initial", "asked", "subsets", "queries", "labelled"),
    [(23_000, 690, 800, 20, 4, 3_890), (1_800, 54, 32, 4, 5, 214)],
    ids=["S1", "R1a"],
)
@pytest.mark.usefixtures("short_training")
def test_the_code_preset_counts_labels_as_the_paper(
    total: int, initial: int, asked: int, subsets: int, queries: int, labelled: int
) -> None:
    """16.91 % and 11.89 % of all particles, the test quarter included, as the text states."""
    rng = np.random.default_rng(0)
    count = round(0.75 * total)
    maps = rng.normal(size=(count, 1, 2, 2, 2)).astype(np.float16)
    rows = rng.dirichlet(np.ones(10), count)
    is_answered = np.zeros(count, dtype=bool)
    is_answered[rng.permutation(count)[:initial]] = True
    for number in range(queries):
        candidates = np.flatnonzero(~is_answered)
        pool = Pool(
            ids=np.arange(count).astype(str).astype(object),
            candidates=candidates,
            answered=np.flatnonzero(is_answered),
            probabilities=rows[candidates],
            features=lambda wanted: maps[wanted],
            round=number + 1,
        )
        found = hal.select(pool, asked, QuerySettings(preset="code", subsets=subsets))
        sizes = np.unique(found.columns["halQuerySubset"][found.chosen], return_counts=True)[1]
        assert sizes.tolist() == [asked // subsets] * subsets
        is_answered[candidates[found.chosen]] = True
    assert is_answered.sum() == labelled
