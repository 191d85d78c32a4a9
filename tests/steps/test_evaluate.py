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
