"""evaluate and query on rounds of scored tables: the same stop advice, and tables that are none."""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from typer.testing import CliRunner

from halcmd.assessment.rounds import read_rounds, unlabelled_rows
from halcmd.cli.app import app
from halcmd.console import log
from halcmd.errors import InputError, NothingToQuery
from halcmd.formats.star import read_star
from halcmd.particles import Particles
from halcmd.steps.evaluate import evaluate
from halcmd.steps.query import QueryResult, query
from halcmd.strategies.pool import QuerySettings
from halcmd.tables import read_particles, write_particles
from tests.steps.rounds_of_tables import CLASSES, ROWS, written

STEADY, UNSTEADY = [0.0, 0.0, 0.0], [0.1, 0.1, 0.1]


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    log.propagate = True
    caplog.set_level(logging.INFO, logger="halcmd")
    yield
    log.propagate = False


def read(path: Path) -> Particles:
    return read_particles([path])


def ask(paths: list[Path], folder: Path, rule: str | None = "stable") -> QueryResult:
    return query(
        read(paths[-1]),
        folder,
        strategy="random",
        n=5,
        settings=QuerySettings(),
        stop_when=rule,
        previous=paths[:-1],
        montage=False,
    )


@pytest.mark.parametrize("changes", [STEADY, UNSTEADY, [0.0], [0.1]])
def test_query_and_evaluate_agree(tmp_path: Path, changes: list[float]) -> None:
    paths = written(tmp_path, changes)
    found = evaluate(read(paths[-1]), tmp_path / "E", previous=paths[:-1], report=False)
    assert found.stability is not None
    advice = found.stability.advice
    if advice.verdict == "stop":
        with pytest.raises(NothingToQuery, match="the stop rule is met") as ended:
            ask(paths, tmp_path / "Q")
        assert advice.text in str(ended.value)
        assert ended.value.exit_code == 3
        assert not (tmp_path / "Q").exists()
    result = ask(paths, tmp_path / "Q", None if advice.verdict == "stop" else "stable")
    assert len(result.asked) == 5
    assert result.summary()["stop_advice"] == advice.text
    assert (advice.verdict == "stop") == (changes == STEADY)


def test_stable_without_earlier_rounds_goes_on_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = ask(written(tmp_path, []), tmp_path / "Q")
    assert len(result.asked) == 5
    assert "stop_advice" not in result.summary()
    assert "no earlier round (--previous)" in caplog.text


def test_numbers_are_those_of_the_tables_in_whatever_order(tmp_path: Path) -> None:
    paths = written(tmp_path, [0.2, 0.1])
    found = evaluate(
        read(paths[-1]), tmp_path / "E", previous=[paths[1], paths[0]], report=False, bootstrap=100
    )
    tables = [read(path) for path in paths]
    last = tables[-1]
    is_open = ~last.is_test & ~last.is_answered
    predicted = [table.text("halPredictedClass")[is_open] for table in tables]
    assert found.stability is not None
    assert found.stability.particles == is_open.sum()
    for each, first, second in zip(
        found.stability.agreements, predicted, predicted[1:], strict=False
    ):
        assert each.kappa.value == pytest.approx(cohen_kappa_score(first, second))
        assert each.changed.value == pytest.approx((first != second).mean())
    labels = [int((table.is_answered & ~table.is_test).sum()) for table in tables]
    assert list(found.stability.curve.labels) == labels
    for value, table in zip(found.stability.curve.values, tables, strict=True):
        assert value.value == pytest.approx(table.number("halProbability")[is_open].mean())
    assert found.held_out is not None
    for value, table in zip(found.held_out.values, tables, strict=True):
        right = table.text("halPredictedClass") == table.labels
        assert value.value == pytest.approx(right[table.is_test].mean())
    assert found.pool is not None
    assert found.pool.held == last.is_test.sum()
    gap = right.astype(float) - last.number("halProbability")
    mean = last.number("halProbability")[is_open].mean() + gap[last.is_test].mean()
    assert found.pool.corrected is not None
    assert found.pool.corrected.value == pytest.approx(mean)


def test_the_star_file_and_json_hold_every_number(tmp_path: Path) -> None:
    paths = written(tmp_path, [0.2, 0.1])
    found = evaluate(read(paths[-1]), tmp_path, previous=paths[:-1], by="tomogram", bootstrap=100)
    star = read_star(tmp_path / "evaluation.star")
    summary = json.loads(json.dumps(found.summary(), allow_nan=False))
    advice = star.table("advice")
    assert advice.column("halAdvice") == [summary["stop_advice"]["verdict"]] == ["go_on"]
    assert summary["stop_advice"]["text"] == f"Go on: {advice.column('halReason')[0]}"
    assert float(advice.column("halThresholdKappa")[0]) == 0.99
    assert summary["stop_advice"]["thresholds"]["kappa"] == 0.99
    gain = summary["stop_advice"]["gain_per_100_labels"]
    for name, column in (("estimated_accuracy", "halGainEstimated"), ("accuracy", "halGain")):
        for end, suffix in (("value", ""), ("low", "Low"), ("high", "High")):
            written_number = float(advice.column(f"{column}{suffix}")[0])
            assert written_number == pytest.approx(gain[name][end], abs=1e-5)
    rounds = star.table("rounds")
    for row, facts in enumerate(summary["stop_advice"]["rounds"]):
        assert rounds.column("halLabels")[row] == str(facts["labels"])
        for name in ("estimated_accuracy", "accuracy", "kappa", "changed"):
            title = "hal" + name.title().replace("_", "")
            value = float(rounds.column(title)[row])
            if facts[name]["value"] is None:
                assert np.isnan(value)
            else:
                assert value == pytest.approx(facts[name]["value"], abs=1e-4)
    pool = star.table("pool")
    for value, name in zip(pool.column("halValue"), pool.column("halMetric"), strict=True):
        assert float(value) == pytest.approx(summary["pool"][name]["value"], abs=1e-4)
    classes = star.table("per_class")
    for row, name in enumerate(classes.column("halClassName")):
        value = float(classes.column("halAveragePrecisionHigh")[row])
        told = summary["per_class"][name]["average_precision_high"]
        assert value == pytest.approx(told, abs=1e-4)
    tomograms = star.table("per_tomogram")
    for row, name in enumerate(tomograms.column("halTomogram")):
        told = summary["per_tomogram"][name]["accuracy"]
        assert float(tomograms.column("halAccuracy")[row]) == pytest.approx(told, abs=1e-4)
    bins = [float(value) for value in star.table("calibration").column("halCount")]
    assert bins == summary["calibration"]["count"]


def test_particles_that_came_or_went_do_not_count(tmp_path: Path) -> None:
    paths = written(tmp_path, [0.1])
    first = read(paths[0])
    write_particles(paths[0], first.take(np.arange(0, ROWS, 2)[::-1]))
    last = read(paths[1])
    found = read_rounds(last, [paths[0]], unlabelled_rows(last))
    assert set(found.rows) == {row for row in unlabelled_rows(last) if row % 2 == 0}
    names = np.array(found.classes, dtype=object)
    assert (names[found.predicted[0]] == first.text("halPredictedClass")[found.rows]).all()


def test_rows_that_were_not_scored_do_not_count(tmp_path: Path) -> None:
    paths = written(tmp_path, [0.1])
    first = read(paths[0])
    texts = first.text("halPredictedClass")
    texts[:500] = "none"
    write_particles(paths[0], first.with_columns({"halPredictedClass": texts}))
    last = read(paths[1])
    found = read_rounds(last, [paths[0]], unlabelled_rows(last))
    assert found.rows.min() == 500


def changed(paths: list[Path], what: str) -> None:
    """Make the first table one that is no earlier round."""
    first, last = read(paths[0]), read(paths[-1])
    if what == "predictions":
        first = first.without(["halPredictedClass"])
    elif what == "ids":
        first = first.without(["halParticleId"])
    elif what == "others":
        ids = [f"other/{row:06d}" for row in range(len(first))]
        first = first.with_columns({"halParticleId": ids})
    elif what == "later":
        first = first.with_columns({"halLabel": [CLASSES[0]] * len(first)})
    elif what == "model":
        first = first.with_columns({"halModel": last.text("halModel")})
    elif what == "same":
        first = last.without(["halModel"])
    elif what == "blank":
        first = first.with_columns({"halPredictedClass": ["none"] * len(first)})
    write_particles(paths[0], first)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("predictions", "no predictions in this table"),
        ("ids", "without halParticleId cannot be matched"),
        ("others", "no particle of this table is in the present one"),
        ("later", "more labels than the present one"),
        ("model", "predictions of one model"),
        ("same", "predictions of one model"),
        ("blank", "no particle has predictions in all rounds"),
    ],
)
def test_a_table_that_is_no_earlier_round_is_refused(
    tmp_path: Path, what: str, message: str
) -> None:
    paths = written(tmp_path, [0.1])
    changed(paths, what)
    with pytest.raises(InputError, match=message) as refused:
        evaluate(read(paths[-1]), tmp_path / "E", previous=paths[:-1])
    assert str(paths[0]) in str(refused.value.where)
    assert not (tmp_path / "E").exists()
    with pytest.raises(InputError, match=message):
        ask(paths, tmp_path / "Q")


def test_a_loop_of_queries_ends_with_exit_code_3(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["halcmd", "evaluate", "--i", "a <b>.star"])
    paths = written(in_tmp, STEADY)
    earlier = [word for path in paths[:-1] for word in ("--previous", path.name)]
    words = ["--i", paths[-1].name, *earlier, "--strategy", "random", "--o", "Q", "--json"]
    ended = CliRunner().invoke(app, ["query", *words, "--stop-when", "stable"])
    assert ended.exit_code == 3
    told = json.loads(ended.stdout)["error"]
    found = CliRunner().invoke(
        app, ["evaluate", "--i", paths[-1].name, *earlier, "--o", "E", "--json"]
    )
    assert found.exit_code == 0
    advice = json.loads(found.stdout)["stop_advice"]
    assert advice["verdict"] == "stop"
    assert advice["text"] in told
    report = (in_tmp / "E/report.html").read_text()
    assert "<span>command halcmd evaluate --i &#39;a &lt;b&gt;.star&#39;</span>" in report


@pytest.mark.parametrize(
    ("changes", "share", "much"), [([0.1] * 4, 0.75, "too sure"), (STEADY, 0.9, "too cautious")]
)
def test_probabilities_that_held_out_labels_contradict_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: list[float], share: float, much: str
) -> None:
    paths = written(tmp_path, changes, right=share)
    found = evaluate(read(paths[-1]), tmp_path / "E", previous=paths[:-1])
    last = read(paths[-1])
    right = (last.text("halPredictedClass") == last.labels)[last.is_test].mean()
    assert found.pool is not None
    assert (right < found.pool.estimated.value) == (much == "too sure")
    assert f"held-out labels say that probabilities are {much}" in caplog.text
    assert f"probabilities are {much}" in (tmp_path / "E/report.html").read_text()
