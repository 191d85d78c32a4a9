"""Some commands with their command lines: what goes together and what does not."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from halcmd.cli.app import app
from halcmd.particles import new_particles
from halcmd.tables import read_particles, write_particles

runner = CliRunner()


@pytest.fixture
def table(in_tmp: Path) -> Path:
    ids = [f"T/{n:06d}" for n in range(1, 4)]
    labels = ["ribo", "ribo_dimer", "unlabelled"]
    write_particles(in_tmp / "p.star", new_particles({"halParticleId": ids, "halLabel": labels}))
    return in_tmp / "p.star"


def test_rename_alone_changes_the_labels_of_the_table(table: Path) -> None:
    Path("names.csv").write_text("old,new\nribo,ribosome\nribo_dimer,ribosome\n")
    words = ["label-import", "--i", "p.star", "--rename", "names.csv", "--o", "Label", "--json"]
    done = runner.invoke(app, words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["labels"] == {"ribosome": 2}
    after = read_particles([Path("Label/particles.star")])
    assert after.labels.tolist() == ["ribosome", "ribosome", "unlabelled"]
    before = read_particles([table])
    assert before.labels.tolist() == ["ribo", "ribo_dimer", "unlabelled"], "the undo is still there"


def test_a_dry_run_renames_nothing(table: Path) -> None:
    Path("names.csv").write_text("ribo,ribosome\n")
    words = ["label-import", "--i", "p.star", "--rename", "names.csv", "--o", "Label", "--dry-run"]
    assert runner.invoke(app, words).exit_code == 0
    assert not Path("Label").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("label-import --i p.star --o Job", "--labels is missing"),
        ("label-import --i p.star --rename r.csv --as test --o Job", "--as: nothing reads this"),
        ("train --i p.star --folds 3 --validation 0.2 --o Job", "exclude each other"),
        ("train --i p.star --tilt-range 5 --o Job", "--tilt-range takes two numbers"),
        ("simulate --balance 2,x --o Job", "--balance takes numbers"),
        ("benchmark --i p.star --initial 2.5 --o Job", "--initial is a share"),
        ("query --i p.star --strategy random --lambda 2 --o Job", "--lambda: nothing reads this"),
        ("query --i p.star --strategy dal --entropy-norm log --o Job", "--entropy-norm: nothing"),
    ],
)
def test_options_that_make_no_sense_are_refused(table: Path, line: str, message: str) -> None:
    done = runner.invoke(app, line.split())
    assert done.exit_code == 2
    assert message in done.output


def test_options_that_make_no_sense_are_an_object_of_json_too(table: Path) -> None:
    done = runner.invoke(
        app, ["pretrain", *["--i", "p.star", "--tilt-range", "5", "--o", "Job", "--json"]]
    )
    assert done.exit_code == 2
    assert "--tilt-range takes two numbers" in json.loads(done.stdout)["error"]


def test_settings_of_a_file_may_be_those_of_another_strategy(table: Path) -> None:
    Path("settings.toml").write_text("[query]\nlambda = 2.0\nsubsets = 3\n")
    words = "query --i p.star --strategy random --n 1 --config settings.toml --o Query"
    done = runner.invoke(app, [*words.split(), "--no-label-page", "--no-montage"])
    assert done.exit_code == 0, done.output
