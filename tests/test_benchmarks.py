"""The scripts of examples/ that measure things run, at a small size."""

import json
import runpy
import shutil
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from halcmd.formats.model import read_model
from halcmd.formats.star import read_star
from halcmd.training.recipes import recipe

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PROGRAMS = {
    "tables": ["halcmd", "starfile"],
    "boxes": ["halcmd, stacks", "halcmd, single files", "plain copy"],
}
SPEEDS = {
    "rates": [["compact", "16", "train"], ["compact", "16", "score"]],
    "loader": [["16", "one that takes no time"], ["16", "compact"]],
    "memory": [["100"], ["200"]],
}


def rows_of(script: str, part: str, folder: Path, *options: str) -> list[list[str]]:
    """The rows of the tables that a script prints of one part; it leaves nothing behind."""
    command = [sys.executable, str(EXAMPLES / script), "--small", f"--{part}"]
    command += ["--folder", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert list(folder.iterdir()) == []
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line[2:-2].split(" | ")] for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("part", PROGRAMS)
def test_the_benchmark_of_files_makes_its_tables(tmp_path, part):
    rows = rows_of("benchmark_files.py", part, tmp_path)
    wanted = PROGRAMS[part] + ["relion_preprocess"] * bool(shutil.which("relion_preprocess"))
    names = {row[0] for row in rows}
    assert set(wanted if part == "boxes" else PROGRAMS[part]) <= names


@pytest.mark.slow
@pytest.mark.parametrize("part", SPEEDS)
def test_the_benchmark_of_speed_makes_its_tables(tmp_path, part):
    rows = rows_of("benchmark_speed.py", part, tmp_path)
    for wanted in SPEEDS[part]:
        assert wanted in [row[: len(wanted)] for row in rows]


@pytest.mark.slow
def test_the_benchmark_of_queries_makes_its_tables(tmp_path):
    some = ("margin", "coreset", "typiclust", "ee-bmal")  # a process each
    rows = rows_of("benchmark_query.py", "selection", tmp_path, "--strategies", *some)
    assert [row[0] for row in rows[1:]] == [*some]
    assert ["with the bound", "1,000"] in [
        row[:2] for row in rows_of("benchmark_query.py", "hal", tmp_path)
    ]
    assert len(rows_of("benchmark_query.py", "files", tmp_path)) == 4
    found = rows_of("benchmark_query.py", "reference", tmp_path)
    assert [row[:2] for row in found[1:]][:2] == [["margin", "1,000"], ["coreset", "1,000"]]


def measured(script: str, folder: Path, *options: str) -> str:
    """What the script prints; it works in its folder, in few steps."""
    command = [sys.executable, str(EXAMPLES / script), "--small", "--folder", "here", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.slow
def test_the_benchmark_of_the_learner_makes_its_table_and_goes_on_where_it_was(tmp_path):
    options = ["--variants", "both", "--pools", "long_tail", "--shares", "0.5", "--seeds", "1"]
    first = measured("benchmark_learner.py", tmp_path, *options)
    [line] = (tmp_path / "here/learner.jsonl").read_text().splitlines()
    facts = json.loads(line)
    assert (facts["variant"], facts["pool"], facts["seed"]) == ("both", "long_tail", 0)
    assert 0 <= facts["accuracy_1"] <= 1
    assert facts["labelled"] > 20
    assert "| compact, recipe + pretrain + semi-supervised | " in first
    again = measured("benchmark_learner.py", tmp_path, *options)
    assert again.strip() == first[first.index("\nSNR") :].strip()


@pytest.mark.slow
def test_the_benchmark_of_the_learner_goes_on_from_the_model_of_fewer_labels(tmp_path):
    options = ["--variants", "on_half", "--pools", "snr_0.1", "--seeds", "1"]
    said = measured("benchmark_learner.py", tmp_path, *options, "--shares", "0.04", "1")
    [line] = (tmp_path / "here/learner.jsonl").read_text().splitlines()
    assert json.loads(line)["share"] == 1
    assert "| compact, recipe, from the model of fewer labels, half of the steps | " in said
    jobs = [tmp_path / f"here/snr_0.1_on_half_{share}_0" for share in (0.04, 0.12, 0.24, 1)]
    assert "started from" not in (jobs[0] / "Train/run.log").read_text()
    for before, after in pairwise(jobs):
        log = (after / "Train/run.log").read_text()
        assert f"started from {read_model(before / 'Train/model.safetensors').hash}" in log
    steps = [tomllib.loads((job / "Train/settings.toml").read_text())["train"] for job in jobs]
    assert "steps" not in steps[0]
    fewer, more = jobs[-2:]
    labels = json.loads(line)["labelled"]
    assert steps[-1]["steps"] == recipe("default", labels).steps // 2
    labelled = [read_star(job / "labelled.star").table("particles") for job in (fewer, more)]
    few, many = (
        set(zip(t.column("halParticleId"), t.column("halLabel"), strict=True)) for t in labelled
    )
    named = {pair for pair in few if pair[1] != "unlabelled"}
    assert named < {pair for pair in many if pair[1] != "unlabelled"}


@pytest.mark.slow
def test_the_benchmark_of_pretraining_makes_its_table(tmp_path):
    tasks = ["none", "contrast", "vicreg", "byol"]
    options = ["--seeds", "1", "--steps", "2", "--tasks", *tasks]
    said = measured("benchmark_pretraining.py", tmp_path, *options)
    rows = [line.split(" | ")[0] for line in said.splitlines() if line.startswith("| ")]
    assert rows[1:] == [f"| {task}" for task in tasks]


def test_groups_are_shown_beside_what_others_have_with_as_many_labels():
    def line(strategy: str, number: int, labels: int, of: str, seed: int = 0) -> dict[str, object]:
        return {"strategy": strategy, "seed": seed, "round": number, "labels": labels, "of": of}

    leaders = [line("start", 0, 32, "leaders"), line("full", 0, 697, "leaders")]
    for name in ("random", "hal", "hal:explore=0", "badge"):
        leaders += [line(name, number, 32 + 32 * number, "leaders") for number in range(1, 7)]
    leaders += [{**each, "seed": 1} for each in leaders]
    own = [line("start", 0, 32, "own"), line("start", 0, 32, "own", 1)]
    own += [line("hal", 1, 96, "own"), line("hal", 2, 160, "own"), line("hal", 1, 96, "own", 1)]
    script = runpy.run_path(str(EXAMPLES / "benchmark_strategies.py"))
    for called in (", 64 at a time", ""):
        found = script["beside"](leaders, own, called)
        told = {(each["strategy"], each["round"]): (each["labels"], each["of"]) for each in found}
        assert len(told) == len(found)
        assert {each["seed"] for each in found} == {0}  # the other one is not whole
        wanted = {("start", 0): (32, "own"), ("full", 0): (697, "leaders")}
        for number, labels in ((1, 96), (2, 160)):
            wanted |= {
                (name, number): (labels, "leaders") for name in ("random", "hal", "hal:explore=0")
            }
            wanted["hal" + called, number] = labels, "own"
        assert told == wanted
    assert script["beside"](leaders, [], "") == []


def test_a_class_is_missed_where_nothing_of_it_is_recognised_after_the_last_query():
    script = runpy.run_path(str(EXAMPLES / "benchmark_strategies.py"))

    def line(name: str, seed: int, number: int, recall: float | None) -> dict[str, object]:
        return {"strategy": name, "seed": seed, "round": number, "recall": {"a": 1.0, "b": recall}}

    lines = [line("start", 0, 0, 0.0), line("hal", 0, 1, 0.0), line("hal", 0, 2, 0.5)]
    lines += [line("hal", 1, 2, 0.0), line("hal", 2, 2, None), line("margin", 0, 2, 0.0)]
    ends = script["ends_of"](lines)
    told = {name: script["share_missed"](each) for name, each in ends.items()}
    assert told == {"hal": "1 of 3", "margin": "1 of 1"}
    assert next(iter(script["missed_by"](lines))) == "hal 1 in 3 seeds: b (seed 1)"
    assert script["share_missed"]([]) == ""


@pytest.mark.slow
def test_the_benchmark_of_strategies_keeps_its_results_and_goes_on_where_it_was(tmp_path):
    options = ["--groups", "leaders", "--pools", "picks", "--seeds", "1", "--results", "kept"]
    measured("benchmark_strategies.py", tmp_path, *options)
    [path] = (tmp_path / "kept").iterdir()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    told = {(line["strategy"], line["round"], line["labels"]) for line in lines}
    asked = {(name, 1, 8) for name in ("random", "hal", "margin", "badge")}
    assert asked | {("start", 0, 6)} <= told
    assert [line[0] for line in told - asked - {("start", 0, 6)}] == ["full"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines[:-1]))
    shutil.rmtree(tmp_path / "here/picks_default")
    said = measured("benchmark_strategies.py", tmp_path, *options)
    recall, missed = said.split("strategies_picks_default.jsonl: rare_recall")[1].split(
        "### Repeats"
    )
    assert [line.split(" | ")[:2] for line in recall.splitlines() if line.startswith("| ")] == [
        ["| strategy", "seeds"],
        *([f"| {name}", "1"] for name in ("random", "badge", "hal", "margin")),
    ]
    head, *rest = [line.split(" | ") for line in missed.splitlines() if line.startswith("| ")]
    assert head == ["| strategy", "picks, 8 labels |"]
    assert [name for name, _ in rest] == ["| badge", "| hal", "| margin", "| random"]
    assert {share for _, share in rest} <= {"0 of 1 |", "1 of 1 |"}
    again = [json.loads(line) for line in path.read_text().splitlines()]
    assert [{**line, "seconds": 0} for line in again] == [{**line, "seconds": 0} for line in lines]
    for number in range(2):
        (tmp_path / f"{number}.mrc").touch()
    with pytest.raises(subprocess.CalledProcessError) as failed:
        measured("benchmark_strategies.py", tmp_path, *options, "--maps", ".")
    assert "has particles of another scene" in failed.value.stderr
    assert "0.mrc 1.mrc" in failed.value.stderr
    with pytest.raises(subprocess.CalledProcessError) as failed:
        measured("benchmark_strategies.py", tmp_path, *options, "--maps", "here")
    assert "two density maps" in failed.value.stderr


def test_the_tables_and_the_picture_of_the_docs_are_those_of_the_results(tmp_path):
    kept = EXAMPLES.parent / "docs/benchmarks"
    options = ["--folder", str(tmp_path), "--results", str(kept), "--groups"]
    command = [sys.executable, str(EXAMPLES / "benchmark_strategies.py"), *options]
    command += ["--picture", str(tmp_path / "curves.png")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    page = (kept.parent / "benchmarks.md").read_text()
    strategies = page[page.index("## Strategies") : page.index("How far that is")]
    rows = [line for line in strategies.splitlines() if line.startswith("| ")]
    assert len(rows) > 40
    assert [row for row in rows if row not in said] == []
    lost = "margin 1 in 10 seeds: class_3j9i (seed 16); random 1 in 10 seeds"
    assert lost in said
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_benchmark_of_stopping_says_when_the_advice_came(tmp_path):
    options = ["--strategies", "margin", "--seeds", "1", "--results", "stopping.jsonl"]
    first = measured("benchmark_stopping.py", tmp_path, *options)
    lines = [json.loads(line) for line in (tmp_path / "stopping.jsonl").read_text().splitlines()]
    assert [line["labels"] for line in lines] == [10, 20, 30, 40, 50]
    assert [line["unlabelled"] for line in lines] == [80, 70, 60, 50, 40]
    assert [line["kappa"] is None for line in lines] == [True, *[False] * 4]
    assert list((tmp_path / "here").iterdir()) == []
    # a round in which it stopped, and the one after
    lines[3]["verdict"] = "stop"
    (tmp_path / "stopping.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    again = measured("benchmark_stopping.py", tmp_path, *options)
    right = [f"{line['right']:.3f}" for line in lines]
    assert f"| margin | 0 | 40 | {right[3]} | {right[4]} | 50 | {max(right)} |" in again
    assert again[: again.index("| 40 |")] == first[: first.index("| 40 |")]


@pytest.mark.slow
def test_the_benchmark_of_labels_makes_its_tables(tmp_path):
    [_, _, row] = rows_of("benchmark_labels.py", "wrong", tmp_path)
    assert row[:4] == ["0.3", "0", "30", "3"]
    [_, _, row] = rows_of("benchmark_labels.py", "unknown", tmp_path)
    assert row[:2] == ["0.3", "no"]
    assert all(0 <= float(area) <= 1 for area in row[3:])
