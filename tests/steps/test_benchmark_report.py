"""What a benchmark says: numbers of results made by hand, and its page in a browser.

``--preset quick`` is run as a user does: counts, the same again, and a page that is whole.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from halcmd.benchmarking.learning_curves import area
from halcmd.formats.star import Star, read_star
from halcmd.reports.benchmark import write_benchmark_report
from halcmd.reports.benchmark_json import summary_of
from halcmd.reports.findings import MEASURES, Findings, findings_of
from halcmd.reports.standings import pairs_of, ranks_over_seeds, standings

ROOT = Path(__file__).parents[2]
LABELS = (10, 20, 30, 40)
# Mean accuracy after each round; all start at 0.6, and full supervision is 1.
CURVES = {
    "random": (0.7, 0.8, 0.9),
    "hal": (0.8, 0.95, 0.96),
    "hal:lambda=0": (0.7, 0.8, 0.9),
    "margin": (0.65, 0.7, 0.75),
}
SHAKEN = "hal:lambda=0"  # the only one whose seeds have a noise of their own
SEEDS = range(10)
NOISE = np.random.default_rng(1).normal(0, 0.02, 10)


def line(strategy: str, seed: int, number: int, labels: int, value: float) -> dict[str, Any]:
    return {
        **{"strategy": strategy, "seed": seed, "round": number, "labels": labels, "ece": 0.1},
        **dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1"), value),
        **{"recall": {"a": value, "b": value, "c": value}, "asked": {"a": 3, "b": 2, "c": 1}},
        "seconds": {"train": 1.0, "query": 2.5 if 0 < number < 3 else None},
    }


@pytest.fixture
def findings() -> Findings:
    lines = []
    for seed in SEEDS:
        lines += [line("start", seed, 0, 10, 0.6), line("full", seed, 0, 90, 1.0)]
        for name, curve in CURVES.items():
            noise = NOISE[seed] if name == SHAKEN else 0.001 * seed
            lines += [line(name, seed, n, LABELS[n], curve[n - 1] + noise) for n in (1, 2, 3)]
    return findings_of(lines)


def test_standings_of_curves_made_by_hand(findings) -> None:
    found = {each.strategy: each for each in standings(findings, "accuracy")}
    assert [*found] == ["random", "hal", "hal:lambda=0", "margin"]
    hal, none, worse = found["hal"], found["hal:lambda=0"], found["margin"]
    assert hal.final == pytest.approx(0.9645)
    assert hal.area == pytest.approx(area(LABELS, np.array([0.6, 0.8045, 0.9545, 0.9645])))
    assert hal.log_area == pytest.approx(
        area(LABELS, np.array([0.6, 0.8045, 0.9545, 0.9645]), log=True)
    )
    assert hal.reach[0] == pytest.approx(20 + 10 * (0.9 - 0.8045) / 0.15)
    assert np.isinf(hal.reach[3])  # 99 %
    assert str(hal.efficiency) == "> 1.3"  # random choice never gets to 95 %
    assert str(worse.efficiency) == "\N{EN DASH}"
    assert (hal.words, none.words) == ("better", "no significant difference")
    assert (found["random"].words, worse.words) == ("", "worse")
    assert hal.difference.mean == pytest.approx((0.1 + 0.15 + 0.06 / 2) / 3)
    assert hal.p == pytest.approx(3 * 2 / 2**10)  # the smallest of three, ten pairs that all agree
    assert (hal.rank, worse.rank) == (1.0, 4.0)


def test_ranks_are_over_the_seeds_that_all_have(findings) -> None:
    curves = findings.curves["accuracy"]
    curves["margin"][5:] = np.nan
    ranks, p, _ = ranks_over_seeds(findings, "accuracy")
    assert (ranks["hal"], ranks["margin"]) == (1.0, 4.0)
    areas = [area(LABELS, values[:5]) for values in curves.values()]
    assert p == pytest.approx(stats.friedmanchisquare(*areas).pvalue)
    curves["margin"][:] = np.nan
    assert np.isnan(ranks_over_seeds(findings, "accuracy")[0]["hal"])


def table(star: Star, name: str) -> dict[str, dict[str, str]]:
    """Rows of a table by their first column."""
    found = star.table(name)
    assert found is not None
    columns = [found.column(label) for label in found.labels]
    return {row[0]: dict(zip(found.labels, row, strict=True)) for row in zip(*columns, strict=True)}


def test_the_star_file_has_every_number_of_the_page(tmp_path, findings) -> None:
    setup = {"training": "preset default", "made harder": "junk 0.3"}
    write_benchmark_report(tmp_path, findings, setup=setup, seed=0)
    assert "junk 0.3" in (tmp_path / "report.html").read_text()
    star = read_star(tmp_path / "curves.star")
    row = table(star, "summary_accuracy")["hal"]
    assert row["halFinal"] == "0.9645"
    assert (row["halLabelsTo97"], row["halLabelsTo95"]) == ("inf", "30")
    assert (row["halLabelEfficiency"], row["halLabelEfficiencyBound"]) == ("1.347", "least")
    assert row["halInWords"] == "better"
    assert float(row["halDifferenceLow"]) <= float(row["halDifference"])
    assert table(star, "summary_accuracy")["hal:lambda=0"]["halInWords"] == (
        "no significant difference"
    )
    overall = table(star, "overall")["accuracy"]
    assert overall["halFullSupervision"] == "1.0000"
    p = stats.friedmanchisquare(
        *(area(LABELS, values) for values in findings.curves["accuracy"].values())
    ).pvalue
    assert float(overall["halFriedmanP"]) == pytest.approx(p, abs=1e-5)
    beaten = star.table("penalty")
    pairs = zip(beaten.column("halBetter"), beaten.column("halWorse"), strict=True)
    shares = dict(zip(pairs, beaten.column("halShareOfPoints"), strict=True))
    assert (shares["hal", "margin"], shares["margin", "hal"]) == ("0.667", "0.000")
    summary = json.loads(json.dumps(summary_of(findings)))["standings"]["accuracy"]["hal"]
    assert summary["in_words"] == "better"
    assert summary["labels_to"]["0.99"] is None


def test_every_two_strategies_are_compared_on_the_page_in_the_star_file_and_as_json(
    tmp_path, findings
) -> None:
    areas = {name: area(LABELS, each) for name, each in findings.curves["macro_f1"].items()}
    names = [*combinations(findings.strategies, 2)]
    p = [stats.wilcoxon(areas[a] - areas[b]).pvalue for a, b in names]
    order = np.argsort(p)
    corrected = np.empty(6)
    corrected[order] = np.minimum(np.maximum.accumulate(np.array(p)[order] * [6, 5, 4, 3, 2, 1]), 1)
    found = pairs_of(findings, "macro_f1")
    assert [(each.ours, each.theirs) for each in found] == names
    assert [each.p for each in found] == pytest.approx(corrected)
    assert [each.difference.mean for each in found] == pytest.approx(
        [(areas[a] - areas[b]).mean() for a, b in names]
    )
    words = dict(zip(names, (each.words for each in found), strict=True))
    assert (words["hal", "margin"], words["random", "hal"]) == ("better", "worse")
    assert words["random", SHAKEN] == "no significant difference"
    write_benchmark_report(tmp_path, findings, setup={}, seed=0)
    rows = read_star(tmp_path / "curves.star").table("pairs_macro_f1")
    assert [*zip(rows.column("halStrategy"), rows.column("halOtherStrategy"), strict=True)] == names
    assert rows.column("halInWords") == [each.words for each in found]
    assert [float(each) for each in rows.column("halPHolm")] == pytest.approx(corrected, rel=0.01)
    told = json.loads(json.dumps(summary_of(findings)))
    assert [tuple(each["strategies"]) for each in told["pairs"]["macro_f1"]] == names
    assert [each["pairs"] for each in told["pairs"]["macro_f1"]] == [10] * 6
    assert told["beats"]["balanced_accuracy"]["hal"]["margin"] == pytest.approx(2 / 3, abs=1e-3)
    spread = told["standard_deviations"][SHAKEN]["accuracy"]
    assert spread == pytest.approx([0.0, *[NOISE.std(ddof=1)] * 3], abs=1e-4)


def test_labels_that_a_curve_begins_with_are_no_more_than_a_bound(tmp_path) -> None:
    lines = [line("start", seed, 0, 10, 0.95) for seed in SEEDS]
    lines += [line("full", seed, 0, 90, 1.0) for seed in SEEDS]
    lines += [line("random", seed, n, LABELS[n], 0.96) for seed in SEEDS for n in (1, 2, 3)]
    lines += [line("hal", seed, n, LABELS[n], 0.98) for seed in SEEDS for n in (1, 2, 3)]
    found = findings_of(lines)
    hal = summary_of(found)["standings"]["accuracy"]["hal"]
    bounds = {"0.9": "most", "0.95": "most", "0.97": "exact", "0.99": "never"}
    assert (hal["labels_to_is"], hal["labels_to"]["0.95"]) == (bounds, 10)
    assert (hal["label_efficiency"], hal["label_efficiency_is"]) == (None, "unknown")
    write_benchmark_report(tmp_path, found, setup={}, seed=0)
    row = table(read_star(tmp_path / "curves.star"), "summary_accuracy")["hal"]
    assert (row["halLabelsTo95"], row["halLabelsTo95Bound"]) == ("10", "most")
    page = (tmp_path / "report.html").read_text()
    assert "\N{LESS-THAN OR EQUAL TO} 10" in page
    assert re.search(r"<td[^>]*>\s*(>|&gt;) 40\s*</td>", page)


def test_labels_to_reach_are_rounded_up_alike_on_the_page_and_in_the_star_file(
    tmp_path, findings
) -> None:
    write_benchmark_report(tmp_path, findings, setup={}, seed=0)
    page = (tmp_path / "report.html").read_text()
    row = table(read_star(tmp_path / "curves.star"), "summary_accuracy")["hal"]
    assert standings(findings, "accuracy")[1].reach[0] == pytest.approx(26.4, abs=0.1)
    assert row["halLabelsTo90"] == "27"
    assert re.search(r"<td[^>]*>\s*27\s*</td>", page)
    assert not re.search(r"<td[^>]*>\s*26\s*</td>", page)


def test_what_was_not_run_is_not_called_never(tmp_path) -> None:
    lines = [line("start", seed, 0, 10, 0.6) for seed in SEEDS]
    lines += [line("hal", seed, 1, 20, 0.9) for seed in SEEDS]
    found = findings_of(lines)
    assert all(np.isnan(standings(found, "accuracy")[0].reach))
    write_benchmark_report(tmp_path, found, setup={}, seed=0)
    page = (tmp_path / "report.html").read_text()
    assert "random choice is not there to compare with" in page
    assert "The trainings with all labels are not there." in page
    assert not re.search(r">\s*[+-]?nan\s*<", page)
    row = table(read_star(tmp_path / "curves.star"), "summary_accuracy")["hal"]
    assert row["halLabelsTo95"] == "nan"


def test_a_curve_that_is_not_at_its_end_may_yet_get_there() -> None:
    lines = [line("start", seed, 0, 10, 0.6) for seed in SEEDS]
    lines += [line("full", seed, 0, 90, 1.0) for seed in SEEDS]
    lines += [line("random", seed, n, LABELS[n], 0.7) for seed in SEEDS for n in (1, 2, 3)]
    lines += [line("hal", seed, 1, 20, 0.92) for seed in SEEDS]
    random, hal = standings(findings_of(lines), "accuracy")
    assert np.isinf(random.reach[0])
    assert hal.reach[0] < 20
    assert np.isnan(hal.reach[1])


def test_full_supervision_has_its_calibration_error_and_seeds_in_the_files(
    tmp_path, findings
) -> None:
    write_benchmark_report(tmp_path, findings, setup={}, seed=0)
    overall = table(read_star(tmp_path / "curves.star"), "overall")
    assert (overall["ece"]["halFullSupervision"], overall["ece"]["halSeeds"]) == ("0.1000", "10")
    assert (summary_of(findings)["full"]["ece"], summary_of(findings)["full_seeds"]) == (0.1, 10)


def test_classes_and_seconds_of_lines_made_by_hand(tmp_path) -> None:
    """Two seeds: all of one class in one of them, of both alike in the other."""
    lines = []
    for seed, asked in enumerate(({"a": 4}, {"a": 1, "b": 1})):
        lines += [line("start", seed, 0, 10, 0.6), line("full", seed, 0, 90, 1.0)]
        for number in (1, 2):
            made = line("random", seed, number, LABELS[number], 0.5 + 0.2 * number + 0.1 * seed)
            lines.append(made | {"asked": asked, "ece": 0.01 * number})
    lines[-1]["recall"] = {"a": 0.0, "b": None, "c": None}
    lines[2]["seconds"] = {"train": None, "query": 0.5}
    found = findings_of(lines)
    assert found.by_class.classes == ("a", "b", "c")
    assert found.by_class.asked["random"] == pytest.approx([0.75, 0.25, 0.0])
    assert found.by_class.evenness["random"] == pytest.approx(np.log(2) / np.log(3) / 2)
    assert found.by_class.asked["full"] == pytest.approx([3 / 6, 2 / 6, 1 / 6])
    assert found.by_class.evenness["full"] == pytest.approx(stats.entropy([3, 2, 1], base=3))
    assert found.by_class.recall["random"] == pytest.approx([0.45, 0.9, 0.9])
    assert (found.seconds["random"].train, found.seconds["random"].query) == (1.0, 2.0)
    write_benchmark_report(tmp_path, found, setup={}, seed=0)
    star = read_star(tmp_path / "curves.star")
    assert star.table("curves").column("halEce")[:3] == ["0.1000", "0.0100", "0.0200"]
    assert star.table("classes").column("halAskedShare")[:3] == ["0.7500", "0.2500", "0.0000"]
    assert star.table("classes").column("halRecall")[:3] == ["0.4500", "0.9000", "0.9000"]
    assert star.table("queries").column("halQuerySeconds") == ["2.00", "nan"]
    assert json.loads(json.dumps(summary_of(found)))["classes"]["random"]["asked"]["b"] == 0.25


def test_strategies_are_compared_over_the_seeds_that_both_have() -> None:
    """Random choice is bad in the seeds that the other one lacks."""
    lines = []
    for seed in range(4):
        lines += [line("start", seed, 0, 10, 0.6), line("full", seed, 0, 90, 1.0)]
        random = (0.8, 0.95, 0.96) if seed < 2 else (0.6, 0.6, 0.6)
        lines += [line("random", seed, n, LABELS[n], random[n - 1]) for n in (1, 2, 3)]
        if seed < 2:
            lines += [line("hal", seed, n, LABELS[n], random[n - 1]) for n in (1, 2, 3)]
    lines.append(line("hal", 2, 1, LABELS[1], 0.0))  # the seed is not done, and does not count
    random, hal = standings(findings_of(lines), "accuracy")
    assert (random.seeds, hal.seeds) == (4, 2)
    assert (hal.efficiency.factor, hal.efficiency.bound) == (1.0, "exact")
    assert hal.difference.mean == 0.0
    assert hal.final == pytest.approx(0.96)
    assert np.isnan(hal.difference.low)


def test_no_difference_is_said_in_words(tmp_path, findings) -> None:
    alone = {"random": findings.curves["accuracy"]["random"], SHAKEN: None}
    alone[SHAKEN] = findings.curves["accuracy"][SHAKEN]
    curves = dict.fromkeys(findings.curves, alone)
    only = replace(findings, strategies=("random", SHAKEN), curves=curves)
    write_benchmark_report(tmp_path, only, setup={"training": "preset default"}, seed=0)
    page = (tmp_path / "report.html").read_text()
    assert "no strategy is shown to be better than random choice" in page
    assert page.count("no significant difference") == len(MEASURES) + 1  # and the one pair


# In a browser


def is_whole(page: Any, strategies: int) -> None:
    """All pictures are drawn, every table has its rows, nothing lies outside the window."""
    drawn = page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 300)")
    assert drawn == [True, True]
    headings = page.locator("h2").all_inner_texts()
    tables = ["Accuracy", "Balanced accuracy", "Macro F1", "Recall of the rarest third"]
    pairs = "Every two strategies, by balanced accuracy"
    tables += [pairs, "Expected calibration error, by labels", "Recall of each class, at the end"]
    tables += ["What was asked for, in percent", "Seconds"]
    assert headings == ["Learning curves", "Who beats whom", *tables]
    for place, title in enumerate(tables):
        rows = page.locator("section").nth(place).locator("tbody tr")
        wanted = strategies + 1  # and full supervision
        assert rows.count() == (strategies * (strategies - 1) // 2 if title == pairs else wanted)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def brightness(page: Any) -> tuple[float, float]:
    """Of the text and of the page, 0 to 255."""
    script = "[getComputedStyle(document.body).color, getComputedStyle(document.body).background]"
    colours = page.evaluate(script)
    return tuple(
        float(np.mean([int(word) for word in text.split("(")[1].split(")")[0].split(",")[:3]]))
        for text in colours
    )


@pytest.mark.xdist_group("browser")
@pytest.mark.parametrize("width", [1366, 700])
def test_the_page_is_whole_and_legible_in_light_and_dark(tmp_path, findings, visit, width) -> None:
    write_benchmark_report(tmp_path, findings, setup={"training": "preset default"}, seed=0)
    for scheme in ("light", "dark"):
        page = visit(tmp_path / "report.html", scheme, width=width, height=800)
        is_whole(page, len(CURVES))
        text, ground = brightness(page)
        assert (text - ground > 150) if scheme == "dark" else (ground - text > 150)


# ``--preset quick`` as a user runs it


def halcmd(folder: Path, words: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "halcmd", *words.split()]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


QUICK = "benchmark --i Sim/particles.star --truth Sim/truth.star --preset quick --gpu cpu --o Job/"


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quick")
    halcmd(folder, "simulate --classes 3 --per-class 40 --box 24 --angpix 10.5 --gpu cpu --o Sim/")
    halcmd(folder, f"{QUICK} --workers 2")
    return folder


def without_times(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(text) for text in path.read_text().splitlines()]
    for each in found:
        del each["seconds"]
    return found


@pytest.mark.slow
@pytest.mark.xdist_group("quick")
def test_quick_has_a_line_for_each_training_and_its_counts(quick: Path) -> None:
    lines = without_times(quick / "Job/results.jsonl")
    keys = [(each["strategy"], each["seed"], each["round"]) for each in lines]
    wanted = [(name, seed, 0) for name in ("full", "start") for seed in (0, 1)]
    wanted += [
        (name, seed, number)
        for name in ("hal", "margin", "random")
        for seed in (0, 1)
        for number in (1, 2, 3)
    ]
    assert keys == sorted(wanted)
    for each in lines:
        full = each["strategy"] == "full"
        assert each["labels"] == (90 if full else 6 + 6 * each["round"])  # 2 of each of 3 classes
        new = 90 if full else 6
        assert sum(each["asked"].values()) == new
    assert not (quick / "Job/Cells").exists()


@pytest.mark.slow
@pytest.mark.xdist_group("quick")
def test_quick_ends_the_same_where_a_part_is_done_again(quick: Path) -> None:
    results = quick / "Job/results.jsonl"
    lines = without_times(results)
    kept = [
        text
        for text in results.read_text().splitlines()
        if not ('"strategy": "hal", "seed": 1' in text or '"strategy": "start"' in text)
    ]
    assert len(kept) == len(lines) - 5
    results.write_text("\n".join(kept) + "\n")
    halcmd(quick, f"{QUICK} --workers 1 --resume")
    assert without_times(results) == lines


@pytest.mark.slow
@pytest.mark.xdist_group("quick")
def test_the_page_of_quick_is_whole(quick: Path, visit) -> None:
    for scheme in ("light", "dark"):
        is_whole(visit(quick / "Job/report.html", scheme, height=800), 3)
