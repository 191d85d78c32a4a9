"""label-import and train on the command line: what goes together and what does not."""

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
        ("train --i p.star --folds 3 --validation 0.2 --o Job", "exclude each other"),
    ],
)
def test_options_that_make_no_sense_are_refused(table: Path, line: str, message: str) -> None:
    done = runner.invoke(app, line.split())
    assert done.exit_code == 2
    assert message in done.output
