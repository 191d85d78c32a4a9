"""Wrong labels through the loop: planted, found by train, shown by evaluate, asked by query."""

import csv
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from halcmd.console import log
from halcmd.errors import InputError, NothingToQuery
from halcmd.formats.star import read_star
from halcmd.imaging.simulated import Acquisition, Scene
from halcmd.labels.label_quality import suspected_rows
from halcmd.particles import Particles, new_particles
from halcmd.steps.evaluate import evaluate
from halcmd.steps.query import QueryResult, query
from halcmd.steps.simulate import simulate
from halcmd.steps.train import train
from halcmd.strategies.pool import QuerySettings
from halcmd.tables import read_particles
from halcmd.training.recipes import Changes
from halcmd.training.run import Compute

PER_CLASS, WRONG = 20, 6  # of three classes: 10 %


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    log.propagate = True
    caplog.set_level(logging.INFO, logger="halcmd")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    log.propagate = False


def doubted() -> Particles:
    """Ten rows: six labelled, of which rows 1, 3 and 4 are suspected, the last most of all."""
    return new_particles(
        {
            "halParticleId": [f"T/{n:06d}" for n in range(1, 11)],
            "halLabel": ["apo"] * 3 + ["ribo"] * 3 + ["unlabelled"] * 4,
            "halPredictedClass": ["apo"] * 5 + ["ribo"] * 5,
            "halProbability_apo": ["0.7"] * 10,
            "halProbability_ribo": ["0.3"] * 10,
            "halModel": ["abc"] * 10,
            "halSuspectedClass": ["none", "ribo", "none", "apo", "apo", *["none"] * 5],
            "halLabelProbability": ["0.9", "0.2", "0.8", "0.3", "0.1", "0.7", *["nan"] * 4],
        }
    )


def ask(particles: Particles, folder: Path, n: int, fraction: float, **more: Path) -> QueryResult:
    folder.mkdir(exist_ok=True)
    return query(
        particles,
        folder,
        strategy="random",
        n=n,
        settings=QuerySettings(),
        relabel_fraction=fraction,
        **more,  # type: ignore[arg-type]
    )


def test_a_share_of_the_query_asks_suspected_labels_again(tmp_path: Path) -> None:
    result = ask(doubted(), tmp_path, 4, 0.5)
    assert result.asked[2:].tolist() == [4, 1], "the least probable labels, after the strategy's"
    assert set(result.asked[:2]) <= {6, 7, 8, 9}
    listed = read_particles([tmp_path / "query.star"])
    assert listed.text("halQueryStrategy").tolist() == ["random"] * 2 + ["relabel"] * 2
    assert listed.text("halQueryRank").tolist() == ["1", "2", "3", "4"]
    with (tmp_path / "query.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["halQueryStrategy"] for row in rows] == ["random"] * 2 + ["relabel"] * 2
    assert {row["halLabel"] for row in rows} == {""}, "the label in doubt is not shown"


def test_a_label_is_asked_again_once(tmp_path: Path) -> None:
    first = ask(doubted(), tmp_path / "1", 2, 1.0)
    assert first.asked.tolist() == [4, 1]
    second = ask(first.particles, tmp_path / "2", 2, 1.0)
    assert second.asked[-1] == 3
    assert second.asked[0] in {6, 7, 8, 9}, "where no doubt is left, the strategy asks"


def test_excluded_particles_are_not_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "no.csv"
    path.write_text("halParticleId\nT/000005\nT/000007\n")
    result = ask(doubted(), tmp_path, 3, 1.0, exclude=path)
    assert result.asked.tolist()[1:] == [1, 3]


def test_suspected_labels_are_asked_where_nothing_else_is_left(tmp_path: Path) -> None:
    labels = ["apo"] * 3 + ["ribo"] * 7
    particles = doubted().with_columns({"halLabel": labels})
    assert ask(particles, tmp_path, 3, 1.0).asked.tolist() == [4, 1, 3]
    with pytest.raises(NothingToQuery):
        ask(particles, tmp_path, 3, 0.0)


def test_without_the_columns_of_train_nothing_can_be_asked_again(tmp_path: Path) -> None:
    bare = doubted().without(["halSuspectedClass"])
    with pytest.raises(InputError, match="nothing is known of wrong labels"):
        ask(bare, tmp_path, 3, 0.5)


def test_evaluate_lists_suspected_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    result = evaluate(doubted(), tmp_path, split="pool", bootstrap=0)
    assert result.summary()["suspected_labels"] == 3
    listed = read_star(tmp_path / "evaluation.star").table("suspected_labels")
    assert listed is not None
    assert listed.column("halParticleId") == ["T/000005", "T/000002", "T/000004"]
    assert listed.column("halSuspectedClass") == ["apo", "ribo", "apo"]
    assert "T/000005: ribo, probability 0.100; perhaps apo" in caplog.text


def test_evaluate_says_nothing_of_labels_where_train_has_not(tmp_path: Path) -> None:
    bare = doubted().without(["halSuspectedClass"])
    result = evaluate(bare, tmp_path, split="pool", bootstrap=0)
    assert result.summary()["suspected_labels"] is None
    assert read_star(tmp_path / "evaluation.star").table("suspected_labels") is None


@pytest.mark.slow
def test_planted_wrong_labels_are_found(tmp_path: Path) -> None:
    simulate(
        tmp_path,
        scene=Scene(classes=3, per_class=PER_CLASS, box=16, pixel_size=18.0),
        acquisition=Acquisition(snr=0.3),
        test_fraction=0.0,
        device=torch.device("cpu"),
    )
    particles, truth = (read_particles([tmp_path / f"{n}.star"]) for n in ("particles", "truth"))
    labels = truth.labels.copy()
    names = sorted(set(labels))
    wrong = np.random.default_rng(0).permutation(len(labels))[:WRONG]
    for row in wrong:
        labels[row] = names[(names.index(labels[row]) + 1) % len(names)]
    train(
        particles.with_columns({"halLabel": labels}),
        tmp_path,
        compute=Compute(),
        changes=Changes(steps=120, semi_supervised=False),
        report=False,
    )
    found = suspected_rows(read_particles([tmp_path / "particles.star"]))
    hits = len(set(found) & set(wrong))
    numbers = f"{len(found)} suspected, {hits} of {WRONG} wrong labels among them: "
    numbers += f"precision {hits / max(len(found), 1):.2f}, recall {hits / WRONG:.2f}"
    assert hits >= 0.6 * len(found) > 0, numbers
    assert hits >= 0.6 * WRONG, numbers
