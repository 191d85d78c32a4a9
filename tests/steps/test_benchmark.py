"""benchmark: who is compared with whom, what is the same for all, and what a crash costs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from halcmd.benchmarking.copies import displacements, write_copies
from halcmd.benchmarking.experiment import (
    CELLS,
    Experiment,
    Training,
    copies_of,
    fingerprint,
    in_words,
    read_results,
    table_of_seed,
)
from halcmd.benchmarking.protocols import PROTOCOLS, Protocol, counts_of, scaled, with_strategies
from halcmd.benchmarking.stress import Stress, annotated, stressed
from halcmd.cli.app import app
from halcmd.errors import HalcmdError, InputError, OptionError
from halcmd.formats.model import ModelInfo, write_model
from halcmd.formats.mrc_writing import write_stack
from halcmd.formats.star import read_star
from halcmd.particles import Particles, new_particles
from halcmd.reports.findings import findings_of
from halcmd.steps import benchmark as step
from halcmd.steps.benchmark import benchmark
from halcmd.subtomograms import open_boxes
from halcmd.tables import write_particles

CLASSES = ("apo", "junk", "ribo")
REPORTS = ("curves.star", "curves.png", "penalty.png", "report.html")
SMALL = Protocol(("random", "margin"), initial=2, n=1, rounds=2, seeds=2, subsets=1, steps=3)
TRAINING = Training(changes={"steps": 3, "batch": 4, "semi_supervised": False})


def particles(folder: Path, count: int = 48, *, classes: tuple[str, ...] = CLASSES) -> Particles:
    """Bars along an axis by class, in noise; labelled with the truth."""
    rng = np.random.default_rng(0)
    boxes = rng.normal(size=(count, 16, 16, 16)).astype(np.float32)
    for row in range(count):
        place = [slice(6, 10)] * 3
        place[row % len(classes) % 3] = slice(2, 14)
        boxes[row][tuple(place)] += 3.0
    images = write_stack(folder / "boxes.mrcs", iter([boxes]), count, 16, pixel_size=10.0)
    return new_particles(
        {
            "halParticleId": [f"TS_1/{row + 1:06d}" for row in range(count)],
            "halImageName": images,
            "halContrast": ["bright"] * count,
            "halLabel": [classes[row % len(classes)] for row in range(count)],
        }
    )


def run(folder: Path, table: Particles, **settings: Any) -> list[dict[str, Any]]:
    options = {"protocol": SMALL, "training": TRAINING, "stress": Stress(), "truth": None}
    benchmark(table, folder, **{**options, **settings})
    return lines_of(folder)


def lines_of(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "results.jsonl").read_text()
    found = [json.loads(line) for line in text.splitlines()]
    for line in found:
        del line["seconds"]
    return found


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Particles]:
    """A job folder that is done, and its particles."""
    folder = tmp_path_factory.mktemp("benchmark")
    table = particles(folder)
    run(folder / "job", table, workers=2)
    return folder / "job", table


@pytest.fixture
def undisturbed(job: tuple[Path, Particles]) -> tuple[Particles, list[dict[str, Any]]]:
    return job[1], lines_of(job[0])


def test_reports_are_there_and_nothing_else_is_left(job) -> None:
    folder, _ = job
    assert not (folder / "Cells").exists()
    for name in (*REPORTS, "particles.star"):
        assert (folder / name).exists()
    assert len(read_star(folder / "curves.star").table("curves").column("halLabels")) == 6


def test_there_is_a_line_for_each_cell_and_labels_add_up(undisturbed) -> None:
    _, lines = undisturbed
    keys = [(line["strategy"], line["seed"], line["round"]) for line in lines]
    wanted = [("full", s, 0) for s in (0, 1)] + [("start", s, 0) for s in (0, 1)]
    wanted += [(n, s, r) for n in ("margin", "random") for s in (0, 1) for r in (1, 2)]
    assert keys == sorted(wanted)
    for line in lines:
        if line["strategy"] == "full":
            assert line["labels"] == 36  # three quarters
        else:
            assert line["labels"] == 6 + 3 * line["round"]
            new = 6 if line["round"] == 0 else 3
            assert sum(line["asked"].values()) == new
        if line["strategy"] == "start":
            assert line["asked"] == dict.fromkeys(CLASSES, 2)
        assert 0 <= line["accuracy"] <= 1
        assert line["device"].startswith("cpu" if not torch.cuda.is_available() else "cuda")
        assert set(line["recall"]) == set(CLASSES)


def test_a_killed_benchmark_goes_on_and_ends_with_the_same_results(tmp_path, undisturbed) -> None:
    table, lines = undisturbed
    write_particles(tmp_path / "particles.star", table)
    job = tmp_path / "job"
    words = "benchmark --i particles.star --preset quick --strategies random,margin --initial 6"
    words += " --n 3 --rounds 2 --seeds 2 --steps 3 --batch-size 4 --gpu cpu --o job --workers 2"
    command = [sys.executable, "-m", "halcmd", *words.split()]
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
    for _ in range(1200):
        if (job / "results.jsonl").exists() and len(lines_of(job)) >= 3:
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    there = (job / "results.jsonl").read_text()
    (job / "results.jsonl").write_text(there + '{"strategy": "mar')  # cut off amid a line
    done = subprocess.run(
        [*command, "--resume"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    resumed = lines_of(job)
    again = tmp_path / "again"
    subprocess.run(
        [*command[:-3], str(again), "--workers", "1"], cwd=tmp_path, env=environment, check=True
    )
    assert resumed == lines_of(again)
    assert len(resumed) == len(lines)


def test_a_cell_that_fails_costs_itself_only(tmp_path, monkeypatch) -> None:
    table = particles(tmp_path)
    chains = step._chains

    def with_a_bad_one(experiment, done):
        return [
            replace(chain, strategy="coarset") if chain.strategy == "margin" else chain
            for chain in chains(experiment, done)
        ]

    monkeypatch.setattr(step, "_chains", with_a_bad_one)
    with pytest.raises(HalcmdError, match="failed") as error:
        run(tmp_path / "job", table, protocol=replace(SMALL, seeds=1))
    assert "coarset" in str(error.value.found)
    names = {line["strategy"] for line in lines_of(tmp_path / "job")}
    assert names == {"start", "full", "random"}
    monkeypatch.setattr(step, "_chains", chains)
    lines = run(tmp_path / "job", table, protocol=replace(SMALL, seeds=1), resume=True)
    assert {line["strategy"] for line in lines} == {"start", "full", "random", "margin"}


def dies_after_a_round(chain, tell) -> None:
    """Work of a process that is killed when the first round of a strategy is done."""

    def told(facts) -> None:
        tell(facts)
        if chain.strategy == "margin":
            os.kill(os.getpid(), signal.SIGKILL)

    step.do(chain, told)


def test_what_there_is_of_a_killed_experiment_is_shown(tmp_path, monkeypatch) -> None:
    table, work = particles(tmp_path), step.run_in_processes

    def with_deaths(tasks, _, **settings):
        return work(tasks, dies_after_a_round, **settings)

    monkeypatch.setattr(step, "run_in_processes", with_deaths)
    with pytest.raises(HalcmdError, match="failed") as error:
        run(tmp_path / "job", table, protocol=replace(SMALL, seeds=1))
    assert "killed by signal 9" in str(error.value.found)
    keys = {(line["strategy"], line["round"]) for line in lines_of(tmp_path / "job")}
    assert ("margin", 1) in keys
    assert ("margin", 2) not in keys
    curves = read_star(tmp_path / "job/curves.star").table("curves")
    accuracy = dict(
        zip(
            zip(curves.column("halStrategy"), curves.column("halLabels"), strict=True),
            curves.column("halAccuracy"),
            strict=True,
        )
    )
    assert accuracy["margin", "12"] == "nan"
    assert accuracy["margin", "9"] != "nan"


def dies_first(chain, tell) -> None:
    """Work of a process that is killed in the first training of seed 0."""
    if (chain.strategy, chain.seed) == ("start", 0):
        os.kill(os.getpid(), signal.SIGKILL)
    step.do(chain, tell)


def test_no_strategy_makes_a_first_training_of_its_own(tmp_path, monkeypatch) -> None:
    table, work = particles(tmp_path), step.run_in_processes
    with monkeypatch.context() as patch:
        patch.setattr(
            step, "run_in_processes", lambda tasks, _, **how: work(tasks, dies_first, **how)
        )
        with pytest.raises(HalcmdError, match="3 of the experiments failed") as error:
            run(tmp_path / "job", table)
    assert "random, seed 0: its first training failed" in str(error.value.found)
    done = {(line["strategy"], line["seed"]) for line in lines_of(tmp_path / "job")}
    assert done == {("full", 0), ("full", 1), ("start", 1), ("random", 1), ("margin", 1)}
    assert len(run(tmp_path / "job", table, resume=True)) == 12


def test_where_nothing_is_done_the_reason_is_said(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(step, "do", None)
    with pytest.raises(HalcmdError, match="failed"):
        run(tmp_path / "job", particles(tmp_path), protocol=replace(SMALL, seeds=1))
    assert not (tmp_path / "job/report.html").exists()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"training": replace(TRAINING, changes={"network": "foo"})}, "network"),
        ({"training": replace(TRAINING, init_model=Path("nope.safetensors"))}, "no such file"),
        ({"gpu": "foo"}, "--gpu cannot be understood"),
        ({"gpu": "97"}, "no GPU 97"),
        ({"protocol": replace(SMALL, initial=2, per_class=False, seeds=40)}, "of one class"),
    ],
)
def test_what_would_fail_in_each_cell_is_said_before_any_is_run(tmp_path, settings, says) -> None:
    with pytest.raises(HalcmdError, match=says):
        run(tmp_path / "job", particles(tmp_path), **settings)
    assert not (tmp_path / "job").exists()


def test_particles_without_boxes_are_refused_before_anything_is_run(tmp_path) -> None:
    table = particles(tmp_path)
    bare = new_particles(
        {name: table.text(name).tolist() for name in ("halParticleId", "halLabel")}
    )
    with pytest.raises(HalcmdError):
        run(tmp_path / "job", bare)
    assert not (tmp_path / "job").exists()


def test_the_processes_take_turns_on_the_gpus(monkeypatch) -> None:
    monkeypatch.setattr(step, "each_device", lambda gpu: gpu.split(","))
    experiment = Experiment(Path(), SMALL, TRAINING, Stress(), "0,1", 1, 0)
    assert [chain.gpu for chain in step._chains(experiment, {})] == ["0", "1"] * 4


def test_test_particles_are_whole_tomograms_where_there_are_enough(tmp_path) -> None:
    table = particles(tmp_path, 60)
    names = [f"TS_{row % 6 + 1}" for row in range(60)]
    table = table.with_columns({"halTomogram": names})
    experiment = Experiment(Path(), SMALL, TRAINING, Stress(), "cpu", 1, 0)
    split, _ = table_of_seed(table, experiment, 0)
    in_test = set(split.tomograms[split.is_test])
    assert in_test
    assert not in_test & set(split.tomograms[~split.is_test])
    as_in_2021 = replace(experiment, protocol=replace(SMALL, train="paper"))
    split, _ = table_of_seed(table, as_in_2021, 0)
    assert set(split.tomograms[split.is_test]) & set(split.tomograms[~split.is_test])


def test_a_class_that_the_test_lacks_has_no_recall_and_spoils_nothing(tmp_path, caplog) -> None:
    table = particles(tmp_path)
    lone = [*table.labels[:-1], "rare"]
    in_test = ["test" if row % 4 == 0 else "pool" for row in range(len(table))]
    table = table.with_columns({"halLabel": lone, "halSplit": in_test})
    few = replace(SMALL, seeds=1, strategies=("random",), initial=6, per_class=False)
    lines = run(tmp_path / "job", table, protocol=few)
    assert "no test particle is of the class rare" in caplog.text
    assert "NaN" not in (tmp_path / "job/results.jsonl").read_text()
    assert {line["recall"]["rare"] for line in lines} == {None}
    star = read_star(tmp_path / "job/curves.star")
    assert "nan" not in star.table("curves").column("halMacroF1")


def test_lines_that_are_no_results_are_done_again(tmp_path, job, caplog) -> None:
    text = (job[0] / "results.jsonl").read_text().splitlines()
    broken = [text[0], "123", "{}", '{"strategy": "hal"', text[1], "[1]", text[2][:40], ""]
    (tmp_path / "results.jsonl").write_text("\n".join(broken))
    assert len(read_results(tmp_path / "results.jsonl")) == 2
    for number in (2, 3, 4, 6, 7):
        assert f"line {number} is not a whole result" in caplog.text


def test_other_options_cannot_go_on_with_these_results(tmp_path) -> None:
    table = particles(tmp_path)
    few = replace(SMALL, seeds=1, strategies=("random",))
    run(tmp_path / "job", table, protocol=few)
    with pytest.raises(InputError, match="another experiment"):
        run(tmp_path / "job", table, protocol=replace(few, n=2), resume=True)
    more = replace(few, strategies=("random", "margin"))  # more of the same may be added
    assert len(run(tmp_path / "job", table, protocol=more, resume=True)) == 6


def test_the_first_model_counts_by_its_weights(tmp_path) -> None:
    table = particles(tmp_path)

    def name(path: str, weight: float) -> str:
        info = ModelInfo("compact", (4,), 0.0, {}, 16, 10.0, "bright", (-60.0, 60.0))
        write_model(tmp_path / path, {"weight": torch.tensor([weight])}, info)
        start = replace(TRAINING, init_model=tmp_path / path)
        return fingerprint(table, Experiment(Path(), SMALL, start, Stress(), "cpu", 1, 0))

    assert name("a.safetensors", 1) == name("b.safetensors", 1)
    assert name("a.safetensors", 1) != name("a.safetensors", 2)


def test_what_is_added_later_starts_from_the_same_first_training(tmp_path, undisturbed) -> None:
    table, lines = undisturbed
    one = replace(SMALL, strategies=("random",), seeds=1)
    run(tmp_path / "job", table, protocol=one)
    kept = (tmp_path / "job/results.jsonl").read_text().splitlines()
    more = replace(one, strategies=("random", "margin", "bald:samples=2"))
    found = run(tmp_path / "job", table, protocol=more, resume=True, workers=2)
    assert set(kept) < set((tmp_path / "job/results.jsonl").read_text().splitlines())
    theirs = [line for line in lines if line["seed"] == 0]
    assert [line for line in found if line["strategy"] != "bald:samples=2"] == theirs
    assert sum(line["strategy"] == "bald:samples=2" for line in found) == 2
    assert "bald:samples=2" in (tmp_path / "job/report.html").read_text()


def test_a_first_training_comes_before_what_goes_on_from_it() -> None:
    experiment = Experiment(Path(), SMALL, TRAINING, Stress(), "cpu", 1, 0)
    ends = {(name, seed, 0): {} for name in ("start", "full") for seed in (0, 1)}
    done = ends | {(n, 0, r): {} for n in ("random", "margin") for r in (1, 2)}
    names = [chain.name for chain in step._chains(experiment, done)]
    assert names == ["start, seed 1", "random, seed 1", "margin, seed 1"]
    every = done | {(n, 1, r): {} for n in ("random", "margin") for r in (1, 2)}
    assert step._chains(experiment, every) == []
    only_full = {key: {} for key in every if key != ("full", 1, 0)}
    assert [chain.name for chain in step._chains(experiment, only_full)] == ["full, seed 1"]


def test_settings_of_a_strategy_are_checked_before_anything_is_run(tmp_path) -> None:
    bad = replace(SMALL, strategies=("random", "margin:lambda=1"))
    with pytest.raises(OptionError, match="no setting 'lambda'"):
        run(tmp_path / "job", particles(tmp_path), protocol=bad)
    assert not (tmp_path / "job").exists()


def test_what_is_done_is_reported_again_without_any_training(tmp_path, job, monkeypatch) -> None:
    folder, table = job
    again = tmp_path / "job"
    again.mkdir()
    shutil.copy(folder / "results.jsonl", again)  # all that it takes
    tasks: list[Any] = []
    monkeypatch.setattr(step, "run_in_processes", lambda left, *_, **__: tasks.extend(left) or [])
    assert run(again, table, resume=True) == lines_of(folder)
    assert tasks == []
    for name in ("results.jsonl", *REPORTS):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_a_query_has_its_seconds_beside_the_labels_it_asked_for(job) -> None:
    lines = [json.loads(line) for line in (job[0] / "results.jsonl").read_text().splitlines()]
    for line in lines:
        assert (line["seconds"]["query"] is None) == (line["strategy"] in ("start", "full"))


def test_results_of_another_device_are_told(tmp_path, job, monkeypatch, caplog) -> None:
    monkeypatch.setattr(step, "run_in_processes", lambda *_, **__: [])
    again = tmp_path / "job"
    again.mkdir()
    lines = [json.loads(line) for line in (job[0] / "results.jsonl").read_text().splitlines()]
    lines[0]["device"] = "cuda:3 (NVIDIA H100 80GB HBM3)"
    told = "results made on NVIDIA H100 80GB HBM3 are continued on cpu"
    for there, is_told in ((lines, False), (lines[:-1], True)):
        (again / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in there))
        run(again, job[1], resume=True, gpu="cpu")
        assert (told in caplog.text) == is_told


def test_another_number_of_threads_is_told(tmp_path, job, monkeypatch, caplog) -> None:
    monkeypatch.setattr(step, "run_in_processes", lambda *_, **__: [])
    again = tmp_path / "job"
    again.mkdir()
    lines = (job[0] / "results.jsonl").read_text().splitlines()[:-1]
    assert {json.loads(line)["threads"] for line in lines} == {1}
    old = [json.dumps({**json.loads(line), "threads": None}) for line in lines]
    old = [line.replace(', "threads": null', "") for line in old]  # of an older version
    for there, threads, is_told in ((old, 2, False), (lines, 1, False), (lines, 2, True)):
        (again / "results.jsonl").write_text("".join(line + "\n" for line in there))
        run(again, job[1], resume=True, gpu="cpu", threads=threads)
        told = "results of --threads 1 a process are continued with 2"
        assert (told in caplog.text) == is_told


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--test-fraction 0.5", "12 of 48 particles are test"),
        ("--initial 1", "two labels are the least"),
        ("--duplicate-shift 20", "goes with --duplicates"),
    ],
)
def test_options_that_could_not_be_heeded_are_refused(tmp_path, words, says) -> None:
    table = particles(tmp_path)
    in_test = ["test" if row % 4 == 0 else "pool" for row in range(len(table))]
    write_particles(tmp_path / "in.star", table.with_columns({"halSplit": in_test}))
    options = ["benchmark", "--i", str(tmp_path / "in.star"), "--o", str(tmp_path / "job")]
    done = CliRunner().invoke(app, [*options, *words.split()])
    assert done.exit_code != 0
    assert says in done.output


def test_classes_must_be_known(tmp_path) -> None:
    table = particles(tmp_path)
    with pytest.raises(InputError, match="known class"):
        run(tmp_path / "job", table.with_columns({"halLabel": ["unlabelled"] * 48}))
    with pytest.raises(OptionError, match="too small"):
        run(tmp_path / "job", table, protocol=replace(SMALL, rounds=20))


def test_the_papers_experiments_have_the_papers_counts() -> None:
    sizes = {"s1": 23_000, "s2": 23_000, "r1a": 1_800, "r1b": 2_400, "r2": 2_800}
    ends = {"s1": 5_490, "s2": 3_890, "r1a": 214, "r1b": 224, "r2": 336}
    shares = {"s1": 0.03, "s2": 0.03, "r1a": 0.03, "r1b": 0.04, "r2": 0.04}
    asked = {"s1": (800, 20), "s2": (800, 20), "r1a": (32, 4), "r1b": (32, 8), "r2": (32, 4)}
    for name, total in sizes.items():
        protocol = PROTOCOLS[name]
        counts = counts_of(protocol, particles=total, pool=round(0.75 * total), classes=7)
        assert counts.initial == round(shares[name] * total)
        assert (counts.n, protocol.subsets, protocol.test_fraction) == (*asked[name], 0.25)
        assert not counts.stratified
        assert counts.labels(protocol.rounds)[-1] == ends[name]
        assert (protocol.train, protocol.query, protocol.seeds) == ("paper", "paper", 10)
        assert {"random", "hal", "badge", "vaal", "bgal", "ee-bmal"} <= set(protocol.strategies)


def test_a_protocol_is_scaled_and_random_is_always_there() -> None:
    small = scaled(PROTOCOLS["s1"], 0.02)
    assert (small.n, small.subsets, small.initial) == (16, 16, 0.03)
    assert with_strategies(small, ["hal", "hal", "random"]).strategies == ("random", "hal")
    assert scaled(PROTOCOLS["low"], 0.01).n == 1


def seeded(table: Particles, stress: Stress, seed: int = 0) -> Particles:
    experiment = Experiment(Path(), SMALL, TRAINING, stress, "cpu", 1, 0)
    return table_of_seed(table, experiment, seed)[0]


def test_a_class_that_the_pool_lacks_is_told(tmp_path, caplog) -> None:
    table = particles(tmp_path)
    in_test = ["test" if row % 4 == 0 else "pool" for row in range(len(table))]
    table = table.with_columns({"halLabel": ["lone", *table.labels[1:]], "halSplit": in_test})
    experiment = Experiment(Path(), SMALL, TRAINING, Stress(), "cpu", 1, 0)
    step._check_seed(table, experiment, 0)
    assert "seed 0: no particle of the pool is of the class lone" in caplog.text


def test_a_share_of_first_labels_is_as_many_in_each_seed_whatever_the_imbalance(tmp_path) -> None:
    """Which class is rare changes with the seed, and so does the size of an uneven pool."""
    table = particles(tmp_path, 240, classes=("a", "b", "c"))
    table = table.take(np.flatnonzero((table.labels != "c") | (np.arange(240) % 4 == 2)))
    protocol = replace(SMALL, initial=0.05, per_class=False)
    experiment = Experiment(Path(), protocol, TRAINING, Stress(imbalance=10.0), "cpu", 1, 0)
    assert len({len(seeded(table, experiment.stress, seed)) for seed in range(4)}) > 1
    counts = {step._check_seed(table, experiment, seed).initial for seed in range(4)}
    assert counts == {round(0.05 * len(table))}


def test_imbalance_changes_the_pool_alone(tmp_path) -> None:
    table = particles(tmp_path, 240, classes=("a", "b", "c", "d"))
    plain, hard = seeded(table, Stress()), seeded(table, Stress(imbalance=10.0))
    assert hard.labels[hard.is_test].tolist() == plain.labels[plain.is_test].tolist()
    counts = np.unique(hard.labels[~hard.is_test], return_counts=True)[1]
    assert max(counts) == 45
    assert min(counts) in (4, 5)
    assert seeded(table, Stress(imbalance=10.0)).ids.tolist() == hard.ids.tolist()


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_junk_has_its_share(tmp_path, share: float) -> None:
    table = seeded(particles(tmp_path, 240), Stress(junk=share))
    labels = table.labels[~table.is_test]
    assert (labels == "junk").mean() == pytest.approx(share, abs=0.02)
    assert abs(int((labels == "apo").sum()) - int((labels == "ribo").sum())) <= 1
    with pytest.raises(InputError, match="junk"):
        stressed(particles(tmp_path, 24, classes=("a", "b")), Stress(junk=0.3), seed=0)


def test_duplicates_without_a_shift_are_the_same_boxes_under_another_name(tmp_path) -> None:
    table = seeded(particles(tmp_path), Stress(duplicates=0.25, duplicate_shift=0.0))
    again = np.array([name.endswith("-again") for name in table.ids])
    assert again.sum() == 9
    assert not table.is_test[again].any()
    of = dict(zip(table.ids, table.text("halImageName"), strict=True))
    for name in table.ids[again]:
        assert of[name] == of[name.removesuffix("-again")]
    assert len(set(table.ids)) == len(table)


def test_duplicates_are_the_same_particles_some_voxels_beside(tmp_path) -> None:
    known, stress = particles(tmp_path), Stress(duplicates=0.25, duplicate_shift=30.0)
    experiment = Experiment(tmp_path, SMALL, TRAINING, stress, "cpu", 1, 0)
    table, truth = table_of_seed(known, experiment, 3)
    exact = seeded(known, replace(stress, duplicate_shift=0.0), 3)
    assert table.ids.tolist() == exact.ids.tolist()
    path = copies_of(experiment, 3)
    write_copies(path, table, known, shift=30.0, seed=3)
    boxes = open_boxes(table)
    again = np.flatnonzero([name.endswith("-again") for name in table.ids])
    assert len(again) == 9
    row_of = {name: row for row, name in enumerate(table.ids)}
    far = 30.0 / boxes.pixel_size
    moves = set()
    for row in again:
        first = row_of[table.ids[row].removesuffix("-again")]
        assert truth[row] == truth[first]
        one, other = boxes.read(np.array([first, row]))
        product = np.fft.ifftn(np.fft.fftn(other) * np.fft.fftn(one).conj()).real
        peak = np.array(np.unravel_index(product.argmax(), product.shape))
        move = np.where(peak > boxes.box // 2, peak - boxes.box, peak)
        moves.add(tuple(move.tolist()))
        assert np.linalg.norm(move) == pytest.approx(far, abs=0.9)
        np.testing.assert_allclose(np.roll(one, move, (0, 1, 2)), other, atol=1e-4)
    assert len(moves) > 3


def test_second_picks_are_asked_for_and_learnt_from(tmp_path) -> None:
    """All of the pool is there twice and full supervision learns from both, also on --resume."""
    table, twice = particles(tmp_path), Stress(duplicates=1.0)
    lines = run(tmp_path / "job", table, stress=twice, workers=2)
    [full, _] = [line for line in lines if line["strategy"] == "full"]
    once = counts_of(SMALL, particles=48, pool=36, classes=3)
    assert once.initial < full["labels"] == 72
    assert not (tmp_path / "job" / CELLS).exists()
    kept = tmp_path / "job/results.jsonl"
    text = kept.read_text()
    kept.write_text("".join(x for x in text.splitlines(True) if '"full"' not in x))
    assert run(tmp_path / "job", table, stress=twice, resume=True) == lines
    exact = run(tmp_path / "exact", table, stress=replace(twice, duplicate_shift=0.0))
    assert [line["accuracy"] for line in exact] != [line["accuracy"] for line in lines]


@pytest.mark.parametrize("far", [0.01, 0.4, 1.0, 2.4, 9.0])
def test_a_second_pick_is_never_at_the_same_place(far: float) -> None:
    found = displacements(500, far, seed=1)
    assert np.abs(found).max(axis=1).min() >= 1
    lengths = np.linalg.norm(found, axis=1)
    assert np.abs(lengths - max(far, 1.0)).max() <= np.sqrt(3) / 2 + 1e-9
    assert np.abs(found.mean(axis=0)).max() < 0.2 * max(far, 1.0)
    assert found.tolist() == displacements(500, far, seed=1).tolist()


def test_a_shift_out_of_the_box_is_refused(tmp_path) -> None:
    known = particles(tmp_path)
    boxes = open_boxes(known)
    stress = Stress(duplicates=0.1, duplicate_shift=0.51 * boxes.box * boxes.pixel_size)
    with pytest.raises(OptionError, match="second pick"):
        step._check_boxes(known, Experiment(tmp_path, SMALL, TRAINING, stress, "cpu", 1, 0))


def test_results_of_exact_copies_are_gone_on_with(tmp_path) -> None:
    """The kept results were made before second picks had boxes of their own."""
    table = particles(tmp_path)

    def name(**stress: float) -> str:
        made = Stress(imbalance=2.0, **stress)
        return fingerprint(table, Experiment(Path(), SMALL, TRAINING, made, "cpu", 1, 0))

    assert name() == name(duplicate_shift=5.0)
    exact = name(duplicates=0.1, duplicate_shift=0.0)
    assert exact == "9e394b3b1d1f"  # of the program as it was
    assert len({name(), exact, name(duplicates=0.1), name(duplicates=0.1, duplicate_shift=5)}) == 4


@pytest.mark.parametrize(
    ("shift", "says"),
    [(None, "a tenth of the box beside"), (0.0, "exact copies"), (20.0, "20 A beside")],
)
def test_the_report_says_what_second_picks_are(tmp_path, shift, says) -> None:
    table = particles(tmp_path)

    def said(**stress: Any) -> str:
        experiment = Experiment(Path(), SMALL, TRAINING, Stress(**stress), "cpu", 1, 0)
        counts = counts_of(SMALL, particles=48, pool=36, classes=3)
        return in_words(table, experiment, counts)["stress"]

    assert said() == "none"
    told = said(imbalance=2.0, duplicates=0.1, duplicate_shift=shift)
    assert told.startswith("imbalance 2, duplicates 0.1, ")
    assert says in told


def test_wrong_answers_have_their_share_and_are_other_classes() -> None:
    truth = np.array(["a", "b", "c", "d"] * 500, dtype=object)
    ids = np.array([f"t/{row}" for row in range(2000)], dtype=object)
    answers = annotated(truth, ids, Stress(label_noise=0.2), seed=1)
    wrong = answers != truth
    assert wrong.mean() == pytest.approx(0.2, abs=0.03)
    assert set(answers) == {"a", "b", "c", "d"}
    assert annotated(truth, ids, Stress(), seed=1) is truth
    for name in "abcd":
        others = np.unique(answers[wrong & (truth == name)], return_counts=True)[1]
        assert len(others) == 3
        assert min(others) > 15


def test_the_rarest_third_is_that_of_the_pool_of_the_seed(undisturbed) -> None:
    _, lines = undisturbed
    lines = [line | {"seconds": {"train": 1.0, "query": None}} for line in lines]
    for line in lines:
        if line["strategy"] == "full":
            rare, common = ("apo", "ribo") if line["seed"] == 0 else ("ribo", "apo")
            line["asked"] = {rare: 5, "junk": 1, common: 30}
    found = findings_of(lines)
    assert found.labels == (6, 9, 12)
    by_seed = {line["seed"]: line for line in lines if line["strategy"] == "start"}
    expected = [by_seed[s]["recall"][name] for s, name in ((0, "apo"), (1, "ribo"))]  # not junk
    assert found.curves["rare_recall"]["margin"][:, 0].tolist() == expected
    no_full = [line for line in lines if (line["strategy"], line["seed"]) != ("full", 1)]
    [known, unknown] = findings_of(no_full).curves["rare_recall"]["margin"][:, 0]
    assert known == expected[0]
    assert np.isnan(unknown)
