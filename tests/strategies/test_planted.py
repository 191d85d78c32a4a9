"""Each strategy finds what it is for, planted where only it would look."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from halcmd.chance import derive
from halcmd.strategies import (
    bgal,
    cluster_margin,
    coreset,
    dal,
    direct,
    dropquery,
    ee_bmal,
    hal,
    margin,
    tcm,
    typiclust,
    vaal,
)
from halcmd.strategies.pool import Pool, QuerySettings

MakePool = Callable[..., Pool]
SETTINGS = QuerySettings()


def planted(count: int, answered: int, **arrays: object) -> Pool:
    return Pool(
        ids=np.array([f"TS_1/{row:06d}" for row in range(count)], dtype=object),
        candidates=np.arange(answered, count),
        answered=np.arange(answered),
        **arrays,  # type: ignore[arg-type]
    )


def groups(sizes: list[int], centres: np.ndarray, spread: float = 0.1) -> np.ndarray:
    """Vectors around the centres, group after group."""
    rng = np.random.default_rng(1)
    return np.concatenate(
        [
            centre + spread * rng.normal(size=(size, centres.shape[1]))
            for size, centre in zip(sizes, centres, strict=True)
        ]
    ).astype(np.float32)


def shares(positions: np.ndarray, sizes: list[int]) -> list[float]:
    """Which share of the candidates at these positions is of each group."""
    group = np.repeat(np.arange(len(sizes)), sizes)[positions]
    return (np.bincount(group, minlength=len(sizes)) / max(len(positions), 1)).tolist()


@pytest.mark.parametrize("strategy", [hal, dal])
def test_hal_and_its_ancestor_ask_for_the_cluster_that_no_label_covers(strategy) -> None:
    centres = 2.0 * np.eye(3, 8)
    answered = groups([60, 60, 0], centres)
    left = [200, 200, 120]
    vectors = np.concatenate([answered, groups(left, centres)])
    pool = planted(
        120 + sum(left),
        120,
        probabilities=np.full((sum(left), 3), 1 / 3),
        features=lambda rows: vectors[rows].reshape(-1, 1, 2, 2, 2),
        embeddings=lambda rows: vectors[rows],
    )
    at_once = strategy.select(pool, 20, QuerySettings(subsets=1)).chosen
    assert shares(at_once, left)[2] == 1.0
    in_subsets = strategy.select(pool, 20, SETTINGS).chosen
    assert shares(in_subsets, left)[2] > 0.5  # less and less: it is covered more and more


def test_hal_finds_a_class_that_the_classifier_takes_for_another_without_doubt() -> None:
    sure, torn, unknown = 300, 100, 20
    left = [sure, torn, unknown]
    centres = 2.0 * np.eye(3, 8)
    centres[1] = centres[0]  # what is doubtful looks like what is labelled
    vectors = np.concatenate([groups([60, 0, 0], centres), groups(left, centres)])
    rows = np.repeat([[0.99, 0.01], [0.5, 0.5], [0.99, 0.01]], left, axis=0)
    pool = planted(
        60 + sum(left),
        60,
        probabilities=rows,
        features=lambda wanted: vectors[wanted].reshape(-1, 1, 2, 2, 2),
    )
    # with lambda = 3, doubt is worth more than anything that the discriminator can say
    as_published = QuerySettings(lambda_=3.0, options=hal.Options(explore=0.0))
    assert shares(hal.select(pool, 16, as_published).chosen, left)[2] == 0.0
    usual = shares(hal.select(pool, 16, QuerySettings(lambda_=3.0)).chosen, left)
    assert usual[2] > 0.25  # of the half that is explored, more than half
    assert usual[1] >= 0.5


def test_margin_asks_for_the_boundary() -> None:
    place = np.linspace(-4, 4, 201)
    first = 1 / (1 + np.exp(-3 * place))
    pool = planted(201, 0, probabilities=np.stack([first, 1 - first], axis=1))
    chosen = margin.select(pool, 21, SETTINGS).chosen
    assert np.abs(place[chosen]).max() < 0.5


def test_coreset_asks_for_the_far_point() -> None:
    vectors = groups([40, 1, 40], np.array([[0.0, 0], [9, 9], [1, 0]]))
    pool = planted(81, 10, embeddings=lambda rows: vectors[rows])
    assert coreset.select(pool, 3, SETTINGS).chosen[0] == 30


def test_direct_asks_for_the_rare_class() -> None:
    """Two common classes look alike; the rare one is never the likeliest, and stands out a bit."""
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(48) % 2, [2, 2, 2, 2], np.arange(900) % 2, np.full(30, 2)])
    rare = np.where(labels == 2, 0.3, 0.05) + rng.normal(0, 0.03, len(labels))
    rare = np.clip(rare, 0.01, 0.45)
    first = rng.beta(0.8, 0.8, len(labels))
    first = np.where(labels == 0, np.maximum(first, 1 - first), np.minimum(first, 1 - first))
    first[labels == 2] = 0.64
    probabilities = np.stack([(1 - rare) * first, (1 - rare) * (1 - first), rare], axis=1)
    pool = planted(
        len(labels),
        52,
        probabilities=probabilities[52:],
        answered_probabilities=probabilities[:52],
        labels=labels[:52],
    )

    def of_the_rare_class(chosen: np.ndarray) -> float:
        return float((labels[52:][chosen] == 2).mean())

    by_chance = 30 / 930
    assert of_the_rare_class(direct.select(pool, 45, SETTINGS).chosen) > 5 * by_chance
    assert of_the_rare_class(margin.select(pool, 45, SETTINGS).chosen) < 3 * by_chance


def test_typiclust_asks_for_the_dense_centres() -> None:
    centres = np.eye(4, 6)
    sizes = [60, 60, 60, 60]
    vectors = groups(sizes, centres, spread=0.08)
    pool = planted(240, 0, embeddings=lambda rows: vectors[rows])
    chosen = typiclust.select(pool, 4, SETTINGS).chosen
    assert shares(chosen, sizes) == [0.25] * 4
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    group = np.repeat(np.arange(4), 60)
    for position in chosen:
        own = units[group == group[position]]
        away = np.linalg.norm(own - own.mean(axis=0), axis=1)
        assert np.linalg.norm(units[position] - own.mean(axis=0)) < np.quantile(away, 0.25)


def test_typiclust_goes_where_no_label_is() -> None:
    sizes = [60, 60, 60, 60]
    vectors = np.concatenate([groups([5, 5, 0, 0], np.eye(4, 6)), groups(sizes, np.eye(4, 6))])
    pool = planted(250, 10, embeddings=lambda rows: vectors[rows])
    found = shares(typiclust.select(pool, 8, SETTINGS).chosen, sizes)
    assert found[2] + found[3] >= 0.75


def test_tcm_changes_from_typical_to_uncertain() -> None:
    vectors = groups([60, 60], np.eye(2, 6))
    rows = np.random.default_rng(0).dirichlet([1.0, 1.0], 120)
    for answered, like in ((7, typiclust), (8, margin)):
        pool = planted(
            120, answered, embeddings=lambda r: vectors[r], probabilities=rows[answered:]
        )
        chosen = tcm.select(pool, 5, SETTINGS).chosen
        assert chosen.tolist() == like.select(pool, 5, SETTINGS).chosen.tolist()
    bare = planted(120, 0, embeddings=lambda r: vectors[r])
    assert tcm.select(bare, 5, SETTINGS).chosen.tolist() == (
        typiclust.select(bare, 5, SETTINGS).chosen.tolist()
    )


def test_cluster_margin_spreads_over_clusters_of_near_copies() -> None:
    sizes = [200, 40, 40, 40]
    vectors = groups(sizes, 5 * np.eye(4, 6), spread=0.05)
    lead = np.concatenate([np.full(200, 0.02), np.full(120, 0.1)])
    lead += 0.001 * np.random.default_rng(0).random(320)
    rows = np.stack([0.5 + lead / 2, 0.5 - lead / 2], axis=1)
    pool = planted(320, 0, probabilities=rows, embeddings=lambda r: vectors[r])
    options = cluster_margin.Options(factor=40.0, clusters=4)
    found = cluster_margin.select(pool, 8, replace(SETTINGS, options=options)).chosen
    assert shares(found, sizes) == [0.25] * 4
    assert shares(margin.select(pool, 8, SETTINGS).chosen, sizes)[0] == 1.0


def test_dropquery_asks_for_what_changes_its_class() -> None:
    """Class by the sum of 8 features; a group whose classes hang on one feature alone."""
    rng = np.random.default_rng(0)
    steady = np.abs(rng.normal(2, 0.1, (100, 8))) * rng.choice([-1, 1], (100, 1))
    shaky = np.where(np.arange(8) == 0, 3.0, -0.35) + 0.01 * rng.normal(size=(40, 8))
    vectors = np.concatenate([steady, shaky]).astype(np.float32)

    def probabilities(values: np.ndarray) -> np.ndarray:
        first = 1 / (1 + np.exp(-values.sum(axis=1)))
        return np.stack([first, 1 - first], axis=1)

    def passes(rows: np.ndarray, samples: int, rate: float | None):
        for sample in range(samples):
            kept = np.ones(8)
            kept[[0, 1 + sample]] = 0.0
            yield probabilities(vectors[rows] * kept)

    pool = planted(
        140,
        0,
        probabilities=probabilities(vectors),
        embeddings=lambda rows: vectors[rows],
        passes=passes,
    )
    chosen = dropquery.select(pool, 12, SETTINGS).chosen
    assert shares(chosen, [100, 40])[1] == 1.0


def test_ee_bmal_exploits_without_repeating_itself_and_explores_what_is_far() -> None:
    centres = 3.0 * np.eye(4, 6)
    answered = groups([15, 15, 15, 0], centres)
    left = [60, 60, 60, 20]
    vectors = np.concatenate([answered, groups(left, centres)])
    labels = np.repeat([0, 1, 2], 15)
    rows = np.tile([0.9, 0.05, 0.05], (200, 1))
    rows[:60] = [0.36, 0.33, 0.31]
    rows[60:120] = [0.38, 0.33, 0.29]
    pool = planted(
        245, 45, probabilities=rows, labels=labels, embeddings=lambda wanted: vectors[wanted]
    )
    chosen = ee_bmal.select(pool, 10, SETTINGS).chosen
    exploited, explored = shares(chosen[:5], left), shares(chosen[5:], left)
    assert min(exploited[:2]) >= 0.4  # the second is nearly as uncertain, and unlike the first
    assert explored[3] > 0


def boxes_of(kinds: np.ndarray) -> np.ndarray:
    """Boxes of 16^3 with noise: a bar along z, y or x, by kind."""
    rng = np.random.default_rng(derive(0, "boxes") % 2**32)
    boxes = rng.normal(0, 0.5, (len(kinds), 16, 16, 16)).astype(np.float32)
    boxes[kinds == 0, 3:13, 6:10, 6:10] += 2.0
    boxes[kinds == 1, 6:10, 3:13, 6:10] += 2.0
    boxes[kinds == 2, 6:10, 6:10, 3:13] += 2.0
    return boxes


def test_vaal_asks_for_what_is_unlike_the_labelled() -> None:
    kinds = np.concatenate([np.repeat([0, 1], 20), np.repeat([0, 1, 2], [60, 60, 60])])
    boxes = boxes_of(kinds)
    pool = planted(220, 40, boxes=lambda rows: boxes[rows])
    options = vaal.Options(steps=120, batch=24, latent=8)
    found = vaal.select(pool, 20, replace(SETTINGS, options=options))
    assert (kinds[40:][found.chosen] == 2).mean() > 0.7
    assert (found.columns["halUnlabelledProbability"] == found.score).all()


def test_bgal_asks_for_what_its_classifier_cannot_agree_on() -> None:
    """Boxes with both bars, one of each class, among clear ones."""
    kinds = np.concatenate([np.repeat([0, 1], 20), np.repeat([0, 1], 50)])
    boxes = boxes_of(np.concatenate([kinds, np.zeros(20)]))
    boxes[140:, 6:10, 3:13, 6:10] += 2.0
    pool = planted(160, 40, boxes=lambda rows: boxes[rows], labels=kinds[:40])
    options = bgal.Options(steps=60, batch=16, latent=8, samples=20)
    chosen = bgal.select(pool, 15, replace(SETTINGS, options=options)).chosen
    assert (chosen >= 100).mean() > 0.6
