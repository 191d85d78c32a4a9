"""evaluate: which rows count, what is written, what the user is told."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.formats.star import read_star
from halcmd.particles import Particles, new_particles
from halcmd.steps.evaluate import evaluate
from halcmd.tables import write_particles

CLASSES = ("apo", "ribo", "thermo")


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    log.propagate = True
    caplog.set_level(logging.INFO, logger="halcmd")
    yield
    log.propagate = False


def scored(
    labels: list[str], predicted: list[str], *, tomograms: int = 2, split: str = "test"
) -> Particles:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), len(labels))
    columns: dict[str, list[object]] = {
        "halParticleId": [f"TS_{i % tomograms}/{i:06d}" for i in range(len(labels))],
        "halTomogram": [f"TS_{i % tomograms}" for i in range(len(labels))],
        "halLabel": list(labels),
        "halSplit": [split] * len(labels),
        "halPredictedClass": list(predicted),
        "halProbability": list(probabilities.max(axis=1)),
    }
    for name, values in zip(CLASSES, probabilities.T, strict=True):
        columns[f"halProbability_{name}"] = list(values)
    return new_particles(columns)


LABELS = ["apo"] * 4 + ["ribo"] * 4 + ["unlabelled", "unknown", "skip"]
PREDICTED = ["apo", "apo", "apo", "ribo", "ribo", "ribo", "thermo", "apo", "apo", "apo", "ribo"]


def test_rows_without_a_class_do_not_count(tmp_path: Path) -> None:
    result = evaluate(scored(LABELS, PREDICTED), tmp_path)
    assert result.assessment.confusion.tolist() == [[3, 1, 0], [1, 2, 1], [0, 0, 0]]
    assert result.left_out == {"no known class": 1, "unknown or skip": 2}
    assert result.assessment.overall["accuracy"].value == pytest.approx(5 / 8)
    assert result.assessment.overall["balanced_accuracy"].value == pytest.approx((0.75 + 0.5) / 2)


def test_the_files_hold_the_numbers(tmp_path: Path) -> None:
    evaluate(scored(LABELS, PREDICTED), tmp_path, by="tomogram")
    star = read_star(tmp_path / "evaluation.star")
    assert [table.name for table in star.tables] == [
        "summary",
        "per_class",
        "confusion",
        "none_right",
        "worst_confusions",
        "left_out",
        "per_tomogram",
        "calibration",
    ]
    summary = star.table("summary")
    assert summary.column("halMetric")[:3] == ["accuracy", "balanced_accuracy", "macro_f1"]
    assert summary.column("halValue")[0] == "0.6250"
    low, high = (float(summary.column(name)[0]) for name in ("halLow", "halHigh"))
    assert low < 0.625 < high
    assert star.table("per_class").column("halPrecision") == ["0.7500", "0.6667", "0.0000"]
    assert star.table("per_class").column("halRecall") == ["0.7500", "0.5000", "nan"]
    confusion = star.table("confusion")
    cell = list(zip(*(confusion.column(name) for name in confusion.labels), strict=True))
    assert ("ribo", "thermo", "1") in cell
    assert len(cell) == 9
    assert star.table("per_tomogram").column("halCount") == ["4", "4"]
    assert (tmp_path / "confusion.png").stat().st_size > 1000
    assert (tmp_path / "particles.star").exists()


def test_a_truth_file_is_joined_by_id_and_wins(tmp_path: Path) -> None:
    particles = scored(["unlabelled"] * 6, ["apo", "apo", "ribo", "ribo", "apo", "apo"])
    truth = new_particles(
        {
            "halParticleId": list(particles.ids[[5, 3, 1, 0]]),
            "halLabel": ["ribo", "ribo", "apo", "apo"],
        }
    )
    write_particles(tmp_path / "truth.star", truth)
    result = evaluate(particles, tmp_path / "job", truth=tmp_path / "truth.star")
    assert result.assessment.overall["accuracy"].value == pytest.approx(3 / 4)
    assert result.left_out == {"no known class": 2}


@pytest.mark.parametrize("value", ["nan", "None", "", "NA"])
def test_what_is_no_name_of_a_class_in_a_truth_file_does_not_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    particles = scored(["unlabelled"] * 5, ["apo", "apo", "ribo", "apo", "apo"])
    labels = ["apo", value, "ribo", "ribo", value]
    truth = new_particles({"halParticleId": list(particles.ids), "halLabel": labels})
    write_particles(tmp_path / "truth.star", truth)
    result = evaluate(particles, tmp_path / "job", truth=tmp_path / "truth.star")
    assert result.assessment.classes == CLASSES
    assert result.assessment.overall["accuracy"].value == pytest.approx(2 / 3)
    assert result.left_out == {"no known class": 2}
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        f"{tmp_path / 'truth.star'}: 2 particles left out, whose label is no name of a class,"
        f" such as {value!r} of TS_1/000001"
    ]


def test_a_class_may_be_called_as_its_entry_of_the_pdb(tmp_path: Path) -> None:
    particles = scored(["unlabelled"] * 3, ["apo", "apo", "ribo"])
    truth = new_particles(
        {"halParticleId": list(particles.ids), "halLabel": ["apo", "4v9f", "ribo"]}
    )
    write_particles(tmp_path / "truth.star", truth)
    result = evaluate(particles, tmp_path / "job", truth=tmp_path / "truth.star")
    assert result.assessment.overall["accuracy"].value == pytest.approx(2 / 3)
    assert "4v9f" in result.assessment.classes


def test_a_class_that_the_model_does_not_know_is_an_error_and_is_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = evaluate(scored(["apo", "apo", "virus"], ["apo"] * 3), tmp_path)
    assert result.assessment.classes[-1] == "virus"
    assert result.assessment.overall["accuracy"].value == pytest.approx(2 / 3)
    assert result.assessment.per_class["recall"].value[-1] == 0.0
    assert "class virus (1 particles) is unknown to the model" in caplog.text


def test_labels_of_the_pool_may_have_been_trained_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evaluate(scored(LABELS, PREDICTED, split="pool"), tmp_path, split="pool")
    assert "may have been trained on them" in caplog.text


@pytest.mark.parametrize(("tomograms", "by"), [(4, "particle"), (5, "tomogram")])
def test_intervals_resample_tomograms_where_there_are_enough(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, tomograms: int, by: str
) -> None:
    labels = ["apo", "ribo"] * 20
    result = evaluate(scored(labels, labels[::-1], tomograms=tomograms), tmp_path)
    assert result.assessment.resampled_by == by
    assert f"by {by}" in caplog.text


def test_the_summary_is_plain_json(tmp_path: Path) -> None:
    result = evaluate(scored(LABELS, PREDICTED), tmp_path)
    summary = json.loads(json.dumps(result.summary(), allow_nan=False))
    assert summary["particles"] == 8
    assert set(summary["accuracy"]) == {"value", "low", "high"}
    assert summary["per_class"]["thermo"]["recall"] is None
    assert summary["per_class"]["apo"]["support"] == 4
    assert summary["confusion"]["counts"][0] == [3, 1, 0]


def test_one_particle_without_an_error_is_no_proof(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    particles = scored(["apo"] * 4 + ["ribo"] * 2, ["apo"] + ["ribo"] * 5)
    result = evaluate(particles, tmp_path)
    precision = result.assessment.per_class["precision"]
    assert (precision.low[0], precision.high[0]) == (1.0, 1.0)
    shares = [
        {"measure": "precision", "class": "apo", "particles": 1, "most_wrong": 1.0},
        {"measure": "recall", "class": "ribo", "particles": 2, "most_wrong": 1.0},
    ]
    assert result.summary()["no_error"] == shares
    said = (
        "up to 3 of n may still be wrong, whatever the interval says: precision of apo"
        " (up to 100.0% of 1), recall of ribo (up to 100.0% of 2); this holds"
        " for accuracy, precision and recall alone"
    )
    assert f"no error seen: {said}" in caplog.text
    assert said in (tmp_path / "report.html").read_text()
    table = read_star(tmp_path / "evaluation.star").table("no_error")
    assert table is not None
    assert table.column("halMetric") == ["precision", "recall"]
    assert table.column("halClassName") == ["apo", "ribo"]
    assert table.column("halMostWrong") == ["1.0000", "1.0000"]


def test_one_particle_that_is_not_found_is_no_proof_either(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    particles = scored(["apo"] * 4 + ["ribo"], ["apo"] * 5)
    result = evaluate(particles, tmp_path)
    share = {"measure": "recall", "class": "ribo", "particles": 1, "most_right": 1.0}
    assert result.summary()["none_right"] == [share]
    said = (
        "up to 3 of n may still be right, whatever the interval says: recall of ribo"
        " (up to 100.0% of 1); this holds for accuracy, precision and recall alone"
    )
    assert f"none right: {said}" in caplog.text
    assert said in (tmp_path / "report.html").read_text()
    table = read_star(tmp_path / "evaluation.star").table("none_right")
    assert table is not None
    assert table.column("halClassName") == ["ribo"]
    assert table.column("halMostRight") == ["1.0000"]


def test_many_classes_without_an_error_are_counted_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = [*CLASSES] * 20
    result = evaluate(scored(labels, labels), tmp_path)
    assert "accuracy (up to 5.0% of 60), precision of apo (up to 15.0% of 20)," in caplog.text
    assert "and 1 more in evaluation.star" in caplog.text
    assert read_star(tmp_path / "evaluation.star").table("worst_confusions") is None
    assert result.summary()["worst_confusions"] == []


def test_the_worst_confusions_are_told_by_name(tmp_path: Path) -> None:
    particles = scored(
        ["apo", "apo", "apo", "ribo", "ribo"], ["apo", "ribo", "ribo", "ribo", "apo"]
    )
    sure = ["0.9", "0.6", "0.8", "0.7", "0.5"]
    changed = {"halProbability_apo": ["0.9", "0.4", "0.2", "0.3", "0.5"]}
    changed |= {"halProbability_ribo": ["0.1", "0.6", "0.8", "0.7", "0.5"]}
    particles = particles.with_columns(
        changed | {"halProbability": sure, "halProbability_thermo": ["0.0"] * 5}
    )
    result = evaluate(particles, tmp_path, report=False)
    rows = [
        (1, "TS_0/000002", "apo", "ribo", 0.8),
        (1, "TS_0/000000", "apo", "apo", 0.9),
        (1, "TS_1/000003", "ribo", "ribo", 0.7),
        (2, "TS_0/000004", "ribo", "apo", 0.5),
        (2, "TS_1/000003", "ribo", "ribo", 0.7),
        (2, "TS_0/000000", "apo", "apo", 0.9),
    ]
    keys = ("rank", "id", "true_class", "predicted_class", "probability")
    told = result.summary()["worst_confusions"]
    assert told == [dict(zip(keys, row, strict=True)) for row in rows]
    table = read_star(tmp_path / "evaluation.star").table("worst_confusions")
    assert table is not None
    assert table.column("halParticleId") == [row[1] for row in rows]
    assert table.column("halConfusionRank") == [str(row[0]) for row in rows]
    assert table.column("halProbability") == [f"{row[-1]:.4f}" for row in rows]


def test_resamples_and_what_is_left_out_are_told(tmp_path: Path) -> None:
    result = evaluate(scored(LABELS, PREDICTED), tmp_path, bootstrap=50)
    star = read_star(tmp_path / "evaluation.star")
    assert set(star.table("summary").column("halResamples")) == {"50"}
    left_out = star.table("left_out")
    assert left_out.column("halReason") == ["no known class", "unknown or skip"]
    assert left_out.column("halCount") == ["1", "2"]
    assert result.summary()["resamples"] == 50
    assert "bootstrap, 50 times" in (tmp_path / "report.html").read_text()


def test_suspected_labels_are_told_in_json(tmp_path: Path) -> None:
    particles = scored(["apo", "ribo", "apo"], ["apo"] * 3, split="pool")
    assert evaluate(particles, tmp_path, split="pool").summary()["suspected_particles"] is None
    columns = {
        "halLabelProbability": ["0.9", "0.125", "nan"],
        "halSuspectedClass": ["none", "apo", "none"],
    }
    summary = evaluate(particles.with_columns(columns), tmp_path, split="pool").summary()
    assert summary["suspected_labels"] == 1
    assert summary["suspected_particles"] == [
        {"id": "TS_1/000001", "label": "ribo", "suspected_class": "apo", "probability": 0.125}
    ]


def test_the_seed_decides_the_intervals(tmp_path: Path) -> None:
    particles = scored(LABELS, PREDICTED)
    texts = []
    for number, seed in enumerate([0, 0, 1]):
        evaluate(particles, tmp_path / str(number), seed=seed, bootstrap=50)
        texts.append((tmp_path / str(number) / "evaluation.star").read_text())
    assert texts[0] == texts[1] != texts[2]


def test_no_bootstrap_no_intervals(tmp_path: Path) -> None:
    result = evaluate(scored(LABELS, PREDICTED), tmp_path, bootstrap=0)
    assert result.summary()["accuracy"] == {"value": 0.625, "low": None, "high": None}


@pytest.mark.parametrize(
    ("particles", "options", "message"),
    [
        (scored(["unlabelled"], ["apo"]), {}, "no particle with a known class"),
        (scored(["apo"], ["apo"], split="pool"), {}, "no particle with a known class"),
        (scored(["apo"], ["apo"]).without(["halPredictedClass"]), {}, "no predictions"),
    ],
)
def test_what_cannot_be_evaluated_is_said(
    tmp_path: Path, particles: Particles, options: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(particles, tmp_path / "job", **options)
    assert not (tmp_path / "job").exists()


def test_a_truth_of_other_particles_is_refused(tmp_path: Path) -> None:
    truth = new_particles({"halParticleId": ["other/000001"], "halLabel": ["apo"]})
    write_particles(tmp_path / "truth.star", truth)
    with pytest.raises(InputError, match="no particle of the table is in the truth"):
        evaluate(scored(["apo"], ["apo"]), tmp_path, truth=tmp_path / "truth.star")
    write_particles(tmp_path / "truth.star", truth.without(["halLabel"]))
    with pytest.raises(InputError, match="no column halLabel"):
        evaluate(scored(["apo"], ["apo"]), tmp_path, truth=tmp_path / "truth.star")


def test_a_truth_or_an_earlier_round_of_another_extraction_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Ids count the picks of a tomogram: sorted otherwise, they are of other particles."""
    rng = np.random.default_rng(0)
    places = {f"halPosition{axis}Angst": rng.uniform(0, 4000, 300).tolist() for axis in "XYZ"}
    moved = {name: [value + 20.0 for value in values] for name, values in places.items()}
    other = {name: values[::-1] for name, values in places.items()}
    # of one tomogram in two anew, or a few picks moved by hand
    one = {n: [v + 900 * (i % 2) for i, v in enumerate(values)] for n, values in places.items()}
    few = {n: [v + 900 * (i < 20) for i, v in enumerate(values)] for n, values in places.items()}
    now = scored([*LABELS[:4], *["unlabelled"] * 296], ["apo", "ribo"] * 150, split="pool")
    now = now.with_columns({"halModel": ["b"] * 300} | places)
    for name, where in (("moved", moved), ("other", other), ("one", one), ("few", few)):
        earlier = now.with_columns(
            {"halModel": ["a"] * 300, "halLabel": ["apo", "ribo"] * 150} | where
        )
        write_particles(tmp_path / f"{name}.star", earlier)
    assert evaluate(now, tmp_path / "A", truth=tmp_path / "moved.star", split="all").assessment
    for wrong in ({"truth": tmp_path / "other.star"}, {"previous": [tmp_path / "other.star"]}):
        with pytest.raises(InputError, match="ids are of particles at other places") as error:
            evaluate(now, tmp_path / "B", split="all", **wrong)
        assert str(tmp_path / "other.star") in error.value.where
    with pytest.raises(InputError, match="ids are of particles at other places") as error:
        evaluate(now, tmp_path / "B", split="all", truth=tmp_path / "one.star")
    assert error.value.where.endswith("tomogram TS_1")
    assert "150" in error.value.found
    caplog.clear()
    evaluate(now, tmp_path / "C", split="all", truth=tmp_path / "few.star")
    assert "particles of the same id stand up to 1559 A apart: 20" in caplog.text
