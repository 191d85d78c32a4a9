"""query: who may be asked, what must be there, what is written for the annotator."""

import csv
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from halcmd.console import log
from halcmd.errors import InputError, ModelError, NothingToQuery, OptionError
from halcmd.formats.features import feature_file
from halcmd.formats.model import ModelInfo, write_model
from halcmd.formats.mrc_writing import write_stack
from halcmd.formats.star import Table
from halcmd.intake.labels import read_labels
from halcmd.networks.classifier import new_network
from halcmd.networks.discriminator import RECIPES
from halcmd.particles import Particles, new_particles
from halcmd.steps.query import QueryResult, query
from halcmd.strategies.limits import Limits
from halcmd.strategies.pool import QuerySettings
from halcmd.tables import read_particles

CLASSES = ("apo", "ribo", "thermo")
ROWS, ANSWERED, TEST = 60, 20, 10


@pytest.fixture(autouse=True)
def _quick(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    short = replace(RECIPES["default"], max_steps=30, warm_steps=20)
    monkeypatch.setitem(RECIPES, "default", short)
    log.propagate = True
    caplog.set_level(logging.INFO, logger="halcmd")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    log.propagate = False


def bare() -> Particles:
    """60 rows in 3 tomograms: 20 answered (one of them skip), 10 of the test split, 30 open."""
    labels = [*(CLASSES[i % 3] for i in range(ANSWERED - 1)), "skip"]
    rng = np.random.default_rng(0)
    columns: dict[str, list[object]] = {
        "halParticleId": [f"TS_{i % 3}/{i // 3 + 1:06d}" for i in range(ROWS)],
        "halTomogram": [f"TS_{i % 3}" for i in range(ROWS)],
        "halLabel": [*labels, *["unlabelled"] * (ROWS - ANSWERED)],
        "halSplit": ["test" if ANSWERED <= i < ANSWERED + TEST else "pool" for i in range(ROWS)],
    }
    for axis in "XYZ":
        columns[f"halPosition{axis}Angst"] = [f"{v:.1f}" for v in rng.uniform(0, 2000, ROWS)]
    return new_particles(columns)


def scored(model: str = "abc") -> Particles:
    probabilities = np.random.default_rng(1).dirichlet(np.full(3, 0.5), ROWS)
    columns: dict[str, list[str]] = {
        "halPredictedClass": [CLASSES[i] for i in probabilities.argmax(axis=1)],
        "halProbability": [f"{value:.6f}" for value in probabilities.max(axis=1)],
        "halContrast": ["bright"] * ROWS,
        "halModel": [model] * ROWS,
        "halFeature": [str(ROWS - i) for i in range(ROWS)],
    }
    for name, values in zip(CLASSES, probabilities.T, strict=True):
        columns[f"halProbability_{name}"] = [f"{value:.6f}" for value in values]
    return bare().with_columns(columns)


def ask(table: Particles, folder: Path, strategy: str = "random", **options: Any) -> QueryResult:
    options = {"n": 8, "settings": QuerySettings(), "montage": False} | options
    return query(table, folder, strategy=strategy, **options)


def stored_maps(path: Path, *, rows: int = ROWS) -> Path:
    with feature_file(path, (rows, 2, 2, 2, 2)) as maps:
        maps[:] = np.random.default_rng(2).normal(size=maps.shape)
    return path


def test_only_open_rows_of_the_pool_are_asked(tmp_path: Path) -> None:
    result = ask(bare(), tmp_path, n=30)
    assert sorted(result.asked) == list(range(ANSWERED + TEST, ROWS))
    assert result.summary() == {
        "strategy": "random",
        "asked": 30,
        "pool": 30,
        "labelled": 20,
        "predicted_classes": {},
    }


def test_test_particles_are_asked_for_on_request_and_at_random_alone(tmp_path: Path) -> None:
    result = ask(bare(), tmp_path, split="test")
    assert {*result.asked} < {*range(ANSWERED, ANSWERED + TEST)}
    assert len(result.asked) == 8
    with pytest.raises(OptionError, match="at random") as error:
        ask(scored(), tmp_path, "margin", split="test")
    assert error.value.hint == "--split test --strategy random"
    pool = bare().take(np.flatnonzero(~bare().is_test))
    with pytest.raises(NothingToQuery) as nothing:
        ask(pool, tmp_path, split="test")
    assert "there are no test particles: extract --test-fraction" in str(nothing.value.hint)


def test_the_table_keeps_its_rows_and_says_what_was_asked(tmp_path: Path) -> None:
    result = ask(scored(), tmp_path, "margin")
    table = read_particles([tmp_path / "particles.star"])
    np.testing.assert_array_equal(table.ids, bare().ids)
    rank = table.number("halQueryRank").astype(int)
    assert sorted(rank[rank > 0]) == list(range(1, 9))
    np.testing.assert_array_equal(np.argsort(rank)[-8:], result.asked)
    assert set(table.number("halQueryRound")[rank > 0]) == {1.0}
    assert set(table.text("halQueryStrategy")[rank > 0]) == {"margin"}
    assert set(table.text("halQueryStrategy")[rank == 0]) == {"none"}
    score = table.number("halScore")
    assert np.isfinite(score[30:]).all()
    assert np.isnan(score[:30]).all()
    assert not table.has("halUnlabelledProbability")
    probabilities = np.stack([table.number(f"halProbability_{c}") for c in CLASSES], axis=1)
    top = np.sort(probabilities, axis=1)
    np.testing.assert_allclose(score[30:], 1 - (top[:, 2] - top[:, 1])[30:], atol=1e-6)


def test_the_hand_off_files_hold_the_asked_rows_in_order(tmp_path: Path) -> None:
    result = ask(scored(), tmp_path, "entropy")
    asked = list(bare().ids[result.asked])
    assert list(read_particles([tmp_path / "query.star"]).ids) == asked
    with (tmp_path / "query.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["halParticleId"] for row in rows] == asked
    assert [row["halQueryRank"] for row in rows] == [str(i) for i in range(1, 9)]
    assert {row["halLabel"] for row in rows} == {""}
    assert rows[0]["halTomogram"].startswith("TS_")
    assert list(rows[0])[-1] == "halLabel"


def test_the_filled_in_csv_is_read_back(tmp_path: Path) -> None:
    result = ask(scored(), tmp_path, "entropy")
    lines = (tmp_path / "query.csv").read_text().splitlines()
    filled = [lines[0], *(line + "ribo" for line in lines[1:4]), *lines[4:]]
    (tmp_path / "filled.csv").write_text("\n".join(filled))
    labels = read_labels(tmp_path / "filled.csv")
    assert list(labels.labels) == ["ribo"] * 3 + ["unlabelled"] * 5
    assert list(labels.ids) == list(bare().ids[result.asked])


def test_the_next_query_is_the_next_round_and_keeps_the_first(tmp_path: Path) -> None:
    first = ask(scored(), tmp_path / "1", "entropy", n=4)
    again = ask(first.particles, tmp_path / "2", "margin", n=4, exclude=tmp_path / "1/query.star")
    assert not set(first.asked) & set(again.asked)
    rounds = again.particles.number("halQueryRound")
    strategies = again.particles.text("halQueryStrategy")
    assert set(rounds[first.asked]) == {1.0}
    assert set(rounds[again.asked]) == {2.0}
    assert set(strategies[first.asked]) == {"entropy"}
    assert (again.particles.number("halQueryRank")[first.asked] == 0).all()


def test_hal_reads_the_maps_of_the_score_job(tmp_path: Path) -> None:
    maps = stored_maps(tmp_path / "features.npy")
    result = ask(scored(), tmp_path / "job", "hal", scored=maps.parent)
    novelty = result.particles.number("halUnlabelledProbability")
    assert ((novelty[result.asked] >= 0) & (novelty[result.asked] <= 1)).all()
    assert np.isnan(novelty[:30]).all()
    assert sum(result.predicted_classes.values()) == 8


def test_maps_are_found_by_their_row_number_not_by_the_table_order(tmp_path: Path) -> None:
    maps = stored_maps(tmp_path / "features.npy")
    particles = scored()
    order = np.random.default_rng(3).permutation(ROWS)
    straight = ask(particles, tmp_path / "1", "hal", scored=maps.parent)
    shuffled = ask(particles.take(order), tmp_path / "2", "hal", scored=maps.parent)
    asked = particles.take(order).ids[shuffled.asked]
    assert list(particles.ids[straight.asked]) == list(asked)


def test_hal_without_maps_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="feature maps") as error:
        ask(scored(), tmp_path, "hal", scored=tmp_path)
    assert "score --maps" in error.value.hint
    assert "--model" in error.value.hint


def test_maps_of_another_table_are_refused(tmp_path: Path) -> None:
    maps = stored_maps(tmp_path / "features.npy", rows=ROWS - 1)
    with pytest.raises(InputError, match="does not belong"):
        ask(scored(), tmp_path, "hal", scored=maps.parent)


def model_and_boxes(folder: Path, box: int = 16) -> tuple[Path, Particles]:
    torch.manual_seed(0)
    network = new_network("compact", box=box, n_classes=3)
    info = ModelInfo(
        network="compact",
        widths=network.widths,
        dropout=network.dropout,
        classes={name: i for i, name in enumerate(CLASSES, 1)},
        box=box,
        pixel_size=10.0,
        contrast="bright",
        tilt_range=None,
    )
    path = folder / "model.safetensors"
    name = write_model(path, network.state_dict(), info)
    boxes = np.random.default_rng(4).normal(size=(ROWS, 16, 16, 16)).astype(np.float32)
    images = write_stack(folder / "boxes.mrcs", iter([boxes]), ROWS, 16, pixel_size=10.0)
    return path, scored(name).with_columns({"halImageName": images})


def test_hal_computes_the_maps_with_the_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, particles = model_and_boxes(tmp_path)
    job = tmp_path / "job"
    first = ask(particles, job, "hal", model=model, batch=7)
    again = ask(particles, tmp_path / "again", "hal", model=model, batch=64)
    np.testing.assert_array_equal(first.asked, again.asked)
    assert "is not the model" not in caplog.text
    assert sorted(path.name for path in job.iterdir()) == [
        "particles.star",
        "query.csv",
        "query.star",
    ]


def test_large_maps_go_to_a_file_that_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from halcmd.strategies import sources

    model, particles = model_and_boxes(tmp_path)
    in_memory = ask(particles, tmp_path / "1", "hal", model=model)
    monkeypatch.setattr(sources, "_MEMORY_BYTES", 0)
    on_disk = ask(particles, tmp_path / "2", "hal", model=model)
    np.testing.assert_array_equal(in_memory.asked, on_disk.asked)
    assert not list((tmp_path / "2").glob("*.npy"))


def test_a_model_of_other_boxes_is_refused(tmp_path: Path) -> None:
    model, particles = model_and_boxes(tmp_path, box=18)
    with pytest.raises(ModelError, match="trained on other boxes"):
        ask(particles, tmp_path, "hal", model=model)


def test_another_model_than_the_scoring_one_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, particles = model_and_boxes(tmp_path)
    particles = particles.with_columns({"halModel": ["other"] * ROWS})
    ask(particles, tmp_path / "job", "hal", model=model)
    assert "is not the model that made the predictions" in caplog.text


def test_a_mixture_of_models_is_refused(tmp_path: Path) -> None:
    particles = scored().with_columns({"halModel": ["a", "b"] * (ROWS // 2)})
    with pytest.raises(InputError, match="different models"):
        ask(particles, tmp_path, "margin")


def test_scores_are_needed_and_must_be_complete(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a scored table"):
        ask(bare(), tmp_path, "entropy")
    holes = scored().text("halProbability_apo")
    holes[50] = "nan"
    with pytest.raises(InputError, match="no predictions"):
        ask(scored().with_columns({"halProbability_apo": holes}), tmp_path, "entropy")


def test_hal_needs_labels_to_compare_with(tmp_path: Path) -> None:
    particles = scored().with_columns({"halLabel": ["unlabelled"] * ROWS})
    with pytest.raises(InputError, match="needs labelled particles") as error:
        ask(particles, tmp_path, "hal", scored=stored_maps(tmp_path / "features.npy").parent)
    assert "random" in error.value.hint


def test_labels_that_the_predictions_cannot_know_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = scored().labels.copy()
    labels[3] = "virus"
    ask(scored().with_columns({"halLabel": labels}), tmp_path / "1", "entropy")
    assert "does not know the labelled class virus" in caplog.text
    history = {
        "halStep": ["score", "label-import"],
        **{name: ["x", "x"] for name in ("halCommand", "halVersion", "halSeed", "halDate")},
    }
    table = Table.from_columns("hal_history", history)
    late = replace(scored(), star=scored().star.with_table(table))
    ask(late, tmp_path / "2", "entropy")
    assert "labels were imported after these predictions" in caplog.text


def test_more_than_there_is_asks_all(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(ask(bare(), tmp_path, n=500).asked) == 30
    assert "all are asked" in caplog.text


def test_nothing_left_ends_the_loop(tmp_path: Path) -> None:
    done = bare().with_columns({"halLabel": ["apo"] * ROWS})
    with pytest.raises(NothingToQuery, match="no particle is left"):
        ask(done, tmp_path / "job")
    assert not (tmp_path / "job").exists()
    first = ask(bare(), tmp_path / "1", n=30)
    with pytest.raises(NothingToQuery):
        ask(first.particles, tmp_path / "2", exclude=tmp_path / "1/query.csv")


def test_the_stop_rule_counts_answers_in_the_pool(tmp_path: Path) -> None:
    with pytest.raises(NothingToQuery, match="stop rule"):
        ask(bare(), tmp_path / "job", stop_when="labels>=20")
    assert len(ask(bare(), tmp_path / "job", stop_when=" labels >= 21 ").asked) == 8
    with pytest.raises(OptionError, match="--stop-when") as error:
        ask(bare(), tmp_path, stop_when="labels")  # what is left of labels>=20 without quotes
    assert "in quotes" in str(error.value.hint)
    for rule in ("accuracy>=0.9", "labels>500", "stable>=0.9"):
        with pytest.raises(OptionError, match="--stop-when"):
            ask(bare(), tmp_path, stop_when=rule)


def test_candidates_can_be_a_random_sample(tmp_path: Path) -> None:
    few = ask(scored(), tmp_path / "1", "entropy", n=10, max_candidates=10)
    same = ask(scored(), tmp_path / "2", "margin", n=10, max_candidates=10)
    other = ask(scored(), tmp_path / "3", "entropy", n=10, max_candidates=10, seed=1)
    assert few.summary()["pool"] == 10
    assert set(few.asked) == set(same.asked)
    assert set(few.asked) != set(other.asked)


def test_limits_are_met_and_checked_before(tmp_path: Path) -> None:
    result = ask(scored(), tmp_path, "entropy", n=6, limits=Limits(max_per_tomogram=2))
    assert max(np.unique(bare().tomograms[result.asked], return_counts=True)[1]) == 2
    with pytest.raises(OptionError, match="--min-per-class"):
        ask(scored(), tmp_path, "entropy", n=8, limits=Limits(min_per_class=3))
    with pytest.raises(InputError, match="--min-per-class needs predicted"):
        ask(bare(), tmp_path, limits=Limits(min_per_class=1))
    unplaced = scored().without([f"halPosition{axis}Angst" for axis in "XYZ"])
    with pytest.raises(InputError, match="--min-distance needs positions"):
        ask(unplaced, tmp_path, "entropy", limits=Limits(min_distance=50.0))


def test_limits_that_leave_fewer_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    result = ask(scored(), tmp_path, "entropy", n=8, limits=Limits(max_per_tomogram=1))
    assert len(result.asked) == 3
    assert "only 3 of 8" in caplog.text


def test_an_unknown_strategy_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="margn") as error:
        ask(scored(), tmp_path, "margn")
    assert "margin" in error.value.hint


def test_the_last_line_names_only_what_was_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ask(bare(), tmp_path / "1")
    assert "label them in" in caplog.text
    assert "query.csv (last column)" in caplog.text
    caplog.clear()
    ask(bare(), tmp_path / "2", hand_off=())
    assert "query.csv" not in caplog.text
    assert not (tmp_path / "2/query.csv").exists()


def test_what_shares_voxels_with_a_test_particle_is_not_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Train would leave the label out."""
    table = bare()
    beside, test = (
        ROWS - 1,
        next(row for row in range(ANSWERED, ANSWERED + TEST) if row % 3 == (ROWS - 1) % 3),
    )
    columns = {f"halPosition{axis}Angst": table.text(f"halPosition{axis}Angst") for axis in "XYZ"}
    for values in columns.values():
        values[beside] = values[test]
    columns |= {"halImageSize": ["32"] * ROWS, "halImagePixelSize": ["2.0"] * ROWS}
    table = table.with_columns(columns)
    asked = ask(table, tmp_path / "a", n=ROWS).asked
    assert beside not in asked
    assert "left out 1 (closer than half a box to a test particle)" in caplog.text
    assert len(asked) == ROWS - ANSWERED - TEST - 1
    assert test in ask(table, tmp_path / "b", n=ROWS, split="test").asked


def test_where_all_that_is_left_is_too_close_to_a_test_particle_that_is_said(
    tmp_path: Path,
) -> None:
    table = bare()
    columns = {f"halPosition{axis}Angst": ["0.0"] * ROWS for axis in "XYZ"}
    columns |= {"halImageSize": ["32"] * ROWS, "halImagePixelSize": ["2.0"] * ROWS}
    with pytest.raises(NothingToQuery) as error:
        ask(table.with_columns(columns), tmp_path)
    assert "too close to a test particle" in error.value.found
