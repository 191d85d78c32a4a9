"""The loop as a user runs it: ``examples/quickstart.sh --small``, and what must hold of it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from halcmd.columns import COLUMNS
from halcmd.formats.files import read_text
from halcmd.formats.star import read_star
from halcmd.particles import Particles
from halcmd.tables import read_particles

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "examples/quickstart.sh"
PROGRAMS = str(Path(sys.executable).parent)
ROUNDS, PER_ROUND = 3, 9

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("loop"),
    pytest.mark.skipif(
        shutil.which("halcmd", path=PROGRAMS) is None, reason="the program halcmd is not installed"
    ),
]


def environment(**more: str) -> dict[str, str]:
    """One thread each, a fixed date, and this Python's programs first."""
    threads = {f"HALCMD_{name}_THREADS": "1" for name in ("SIMULATE", "TRAIN", "SCORE", "QUERY")}
    path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    fixed = {"SOURCE_DATE_EPOCH": "1600000000", "PATH": path, "OMP_NUM_THREADS": "1"}
    return os.environ | threads | fixed | more


def halcmd(folder: Path, line: str, *, expect: int = 0) -> str:
    """Run one command in a folder; what it printed."""
    done = subprocess.run(
        ["halcmd", *line.split()],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The project that the small quickstart makes, and what it printed."""
    return run_quickstart(tmp_path_factory.mktemp("first"))


def run_quickstart(folder: Path) -> tuple[Path, str]:
    done = subprocess.run(
        ["bash", str(SCRIPT), "--small", "project"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "project", done.stdout


def table(project: Path, step: str) -> Particles:
    return read_particles([project / step / "particles.star"])


def test_the_quickstart_ends_with_its_table(loop: tuple[Path, str]) -> None:
    project, printed = loop
    lines = printed.splitlines()
    start = next(n for n, line in enumerate(lines) if line.split()[:1] == ["labels"])
    rows = [line.split() for line in lines[start + 1 : start + 1 + ROUNDS]]
    assert [int(row[0]) for row in rows] == [PER_ROUND * r for r in range(1, ROUNDS + 1)]
    for row in rows:
        assert 0.0 <= float(row[1]) <= 1.0
        assert 0.0 <= float(row[2]) <= 1.0
    named = re.findall(r"project(/\S+\.(?:png|star))", "\n".join(lines[start:]))
    assert len(named) == 2
    assert all((project / name.lstrip("/")).exists() for name in named)


def test_the_last_round_is_better_than_guessing(loop: tuple[Path, str]) -> None:
    summary = read_star(loop[0] / f"Evaluate{ROUNDS}/evaluation.star").table("summary")
    assert summary is not None
    numbers = dict(zip(summary.column("halMetric"), summary.column("halValue"), strict=True))
    assert float(numbers["accuracy"]) > 1 / 3


def test_each_round_adds_its_labels_to_the_pool(loop: tuple[Path, str]) -> None:
    truth = read_particles([loop[0] / "Simulate/truth.star"])
    label_of = dict(zip(truth.ids, truth.labels, strict=True))
    for number in range(1, ROUNDS + 1):
        particles = table(loop[0], f"Label{number}")
        answered = particles.is_answered
        assert answered.sum() == PER_ROUND * number
        assert not (answered & particles.is_test).any()
        assert [label_of[name] for name in particles.ids[answered]] == list(
            particles.labels[answered]
        )
        rounds = particles.number("halLabelRound")[answered]
        assert list(np.bincount(rounds.astype(int))[1:]) == [PER_ROUND] * number


def test_a_query_is_ranked_from_one_and_never_asks_twice(loop: tuple[Path, str]) -> None:
    asked: set[str] = set()
    for number in range(1, ROUNDS + 1):
        query = read_particles([loop[0] / f"Query{number}/query.star"])
        assert list(query.text("halQueryRank")) == [str(r) for r in range(1, PER_ROUND + 1)]
        assert set(query.text("halQueryRound")) == {str(number)}
        assert set(query.text("halQueryStrategy")) == {"random" if number == 1 else "hal"}
        assert not query.is_test.any()
        assert asked.isdisjoint(query.ids)
        asked |= set(query.ids)


def test_no_step_loses_or_reorders_rows(loop: tuple[Path, str]) -> None:
    first = table(loop[0], "Extract")
    for path in sorted(loop[0].glob("*/particles.star")):
        particles = read_particles([path])
        if path.parent.name == "Select":
            assert set(particles.ids) <= set(first.ids)
        else:
            assert list(particles.ids) == list(first.ids)
        for label in ("rlnCoordinateX", "rlnTomoName", "halPositionZAngst"):
            known = dict(zip(first.ids, first.text(label), strict=True))
            assert [known[name] for name in particles.ids] == list(particles.text(label))


def test_every_column_is_one_that_is_documented(loop: tuple[Path, str]) -> None:
    labels = table(loop[0], f"Score{ROUNDS}").table.labels
    own = {label for label in labels if label.startswith("hal")}
    per_class = {label for label in own if label.startswith("halProbability_")}
    assert len(per_class) == 3
    assert own - per_class <= set(COLUMNS)


def test_the_history_tells_every_step(loop: tuple[Path, str]) -> None:
    history = table(loop[0], "Select").star.table("hal_history")
    assert history is not None
    later = ["query", "label-import", "train", "score", "evaluate"]
    steps = [step for step in history.column("halStep") if step not in {"train", "evaluate"}]
    wanted = [step for step in later * ROUNDS if step not in {"train", "evaluate"}]
    assert steps == ["simulate", "extract", *wanted, "select"]
    assert set(history.column("halDate")) == {"2020-09-13T12:26:40Z"}


def test_it_will_not_write_over_an_earlier_run(loop: tuple[Path, str]) -> None:
    done = subprocess.run(
        ["bash", str(SCRIPT), "--small", loop[0].name],
        cwd=loop[0].parent,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "rm -r project" in done.stderr


def test_the_same_commands_give_the_same_bytes(loop: tuple[Path, str], tmp_path: Path) -> None:
    again, _ = run_quickstart(tmp_path)
    names = sorted(path.relative_to(loop[0]) for path in loop[0].rglob("*.star"))
    assert names == sorted(path.relative_to(again) for path in again.rglob("*.star"))
    assert len(names) > 20
    different = [n for n in names if (loop[0] / n).read_bytes() != (again / n).read_bytes()]
    assert different == []
    models = sorted(loop[0].glob("Train*/model.safetensors"))
    assert len(models) == ROUNDS
    for model in models:
        assert model.read_bytes() == (again / model.relative_to(loop[0])).read_bytes()


def test_relion_keeps_every_digit_of_every_table(loop: tuple[Path, str], tmp_path: Path) -> None:
    program = shutil.which("relion_star_handler")
    if program is None:
        pytest.skip("relion_star_handler is not installed")
    paths = sorted({*loop[0].glob("*/particles.star"), *loop[0].glob("*/relion.star")})
    paths += [*loop[0].glob("Query*/query.star"), *loop[0].glob("Select/Classes/*.star")]
    assert len(paths) > 20
    for path in paths:
        copy = tmp_path / "copy.star"
        command = [program, "--i", str(path), "--o", str(copy)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert read_text(copy), f"{path}: an empty file\n{done.stdout}{done.stderr}"
        ours, theirs = read_star(path).table("particles"), read_star(copy).table("particles")
        assert ours is not None
        assert theirs is not None
        for label in ours.labels:
            if label.startswith("hal"):
                assert ours.column(label) == theirs.column(label), f"{path}: {label}"


def test_a_query_ends_with_exit_code_3_when_nothing_is_left(
    loop: tuple[Path, str], tmp_path: Path
) -> None:
    line = f"label-import --i Score{ROUNDS}/particles.star --labels Simulate/truth.star"
    out = tmp_path / "all"
    halcmd(loop[0], f"{line} --relabel --o {out}/labels")
    line = f"query --i {out}/labels/particles.star --strategy random --n 5 --o {out}/query"
    assert "no particle is left" in halcmd(loop[0], line, expect=3)
    assert (out / "query/RELION_JOB_EXIT_SUCCESS").exists()
    assert not (out / "query/query.star").exists()


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_training_that_was_killed_goes_on_to_the_same_model(
    loop: tuple[Path, str], tmp_path: Path, share: float
) -> None:
    command = ["halcmd", "train", "--i", "Label3/particles.star", "--steps", "60"]
    command += ["--validation", "0", "--no-semi-supervised"]
    command += ["--o", str(tmp_path / "train")]
    checkpoint = tmp_path / "train/checkpoint.pt"
    process = subprocess.Popen(
        command, cwd=loop[0], env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:  # until it is some way into the fit
        done = re.search(r"(\d+) of 60 steps", line)
        if done and int(done[1]) >= share * 60 and checkpoint.exists():
            break
    time.sleep(0.05)
    was_running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert was_running
    assert checkpoint.exists()
    assert not (tmp_path / "train/model.safetensors").exists()
    options = f"--steps 60 --validation 0 --no-semi-supervised --o {tmp_path}/train --resume"
    halcmd(loop[0], f"train --i Label3/particles.star {options}")
    assert not checkpoint.exists()
    undisturbed = (loop[0] / "Train3/model.safetensors").read_bytes()
    assert (tmp_path / "train/model.safetensors").read_bytes() == undisturbed
