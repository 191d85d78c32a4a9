"""The same commands on experimental data: a microtubule in its tomogram, and ready subtomograms."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from halcmd.cli.app import app
from halcmd.formats.star import read_star
from halcmd.subtomograms import open_boxes
from halcmd.tables import read_particles, write_particles

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("real data"),
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture
def real(shared: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HALCMD_TRAIN_STEPS", "80")
    return shared / "real"


def halcmd(line: str) -> dict[str, Any]:
    """Run one command; its JSON object."""
    done = CliRunner().invoke(app, [*line.split(), "--json"])
    assert done.exit_code == 0, f"{line}\n{done.output}"
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def accuracy_of(facts: dict[str, Any], what: str) -> float:
    """Balanced accuracy of an evaluation, printed with the rest."""
    numbers = {name: facts[name] for name in ("accuracy", "balanced_accuracy", "macro_f1")}
    shown = ", ".join(
        f"{name} {it['value']:.3f} ({it['low']:.3f} to {it['high']:.3f})"
        for name, it in numbers.items()
    )
    print(f"{what}: {facts['particles']} test particles, {shown}, {facts['confusion']}")  # noqa: T201
    return float(facts["balanced_accuracy"]["value"])


def test_microtubule_against_background_in_a_tomogram(real: Path) -> None:
    data = real / "microtubule"
    cut = halcmd(
        f"extract --i {data}/picks.star --tomograms {data}/13pf_MT.mrc --box 28 --contrast bright "
        "--tilt-range -60,60 --test-fraction 0.3 --test-by region --o Extract/"
    )
    assert (cut["read"], cut["kept"], cut["dropped"]) == (69, 69, 0)
    labelled = halcmd(
        f"label-import --i Extract/particles.star --labels {data}/picks.star "
        "--label-column rlnGroupName --o Label/"
    )
    assert labelled["labels"] == {"background": 47, "microtubule": 22}
    trained = halcmd("train --i Label/particles.star --o Train/")
    assert trained["classes"].keys() == {"background", "microtubule"}
    halcmd("score --i Label/particles.star --model Train/model.safetensors --o Score/")
    facts = halcmd("evaluate --i Score/particles.star --o Evaluate/")
    assert accuracy_of(facts, "microtubule against background") >= 0.8
    chosen = halcmd("select --i Score/particles.star --class microtubule --o Select/")
    assert chosen["classes"]["microtubule"] >= 20
    selected = read_particles([Path("Select/particles.star")])
    source = read_star(data / "picks.star").table("particles")
    assert source is not None
    assert selected.table.labels[: len(source.labels)] == source.labels
    assert set(selected.text("rlnCoordinateX")) <= set(source.column("rlnCoordinateX"))


def split_mixed(source: Path) -> None:
    """A copy of the table with halSplit; overlapping windows stay on one side as far as can be.

    Ribosomes by tomogram; of the others, the last third in the order along the axis is test.
    """
    shutil.copytree(source, "mixed28")
    particles = read_particles([Path("mixed28/particles.star")])
    images = particles.text("rlnImageName")
    kinds = np.array([Path(name).stem.rstrip("0123456789") for name in images])
    is_test = kinds == "Unt_076_"
    for kind in {kind for kind in kinds if not kind.startswith("Unt")}:
        rows = np.flatnonzero(kinds == kind)
        is_test[rows[2 * len(rows) // 3 :]] = True
    table = particles.without(["halParticleId", "halImageName"])
    split = np.where(is_test, "test", "pool")
    write_particles(Path("mixed28/particles.star"), table.with_columns({"halSplit": split}))


def test_ready_subtomograms_of_three_classes(real: Path) -> None:
    split_mixed(real / "mixed28")
    halcmd("query --i mixed28/particles.star --strategy random --n 18 --o Query1/")
    truth = halcmd("label-import --i Query1/particles.star --labels mixed28/labels.tsv --o Truth/")
    assert truth["labels"] == {"background": 47, "microtubule": 22, "ribosome": 20}
    for number in (1, 2):
        halcmd(
            f"label-import --i Query{number}/particles.star --labels mixed28/labels.tsv "
            f"--only Query{number}/query.star --o Label{number}/"
        )
        table, model = f"Label{number}/particles.star", f"Train{number}/model.safetensors"
        halcmd(f"train --i {table} --o Train{number}/")
        scored = halcmd(f"score --i {table} --model {model} --o Score{number}/")
        assert scored["particles"] == 89
        asked = halcmd(
            f"query --i Score{number}/particles.star --model {model} --strategy hal --n 10 "
            f"--o Query{number + 1}/"
        )
        assert asked["asked"] == 10
        facts = halcmd(
            f"evaluate --i Score{number}/particles.star --truth Truth/particles.star "
            f"--o Evaluate{number}/"
        )
        accuracy = accuracy_of(facts, f"mixed28 with {asked['labelled']} labels")
    assert accuracy > 0.9
    chosen = halcmd("select --i Score2/particles.star --class ribosome --by-class --o Select/")
    assert chosen["kept"] >= 15
    images = read_particles([Path("Select/Classes/ribosome.star")]).text("rlnImageName")
    assert np.mean(["Unt" in name for name in images]) > 0.8


def test_ribosomes_are_read_as_they_stand(real: Path) -> None:
    data = real / "ribosome70s"
    facts = halcmd(f"info {data}/particles.star")
    assert (facts["type"], facts["particles"]) == ("particles", 20)
    assert facts["images"]["pixel_size"] == pytest.approx(12.0)
    assert sorted(facts["tomograms"].values()) == [10, 10]
    particles = read_particles([data / "particles.star"])
    boxes = open_boxes(particles)
    assert (boxes.box, boxes.pixel_size) == (32, pytest.approx(12.0))
    voxels = boxes.read(np.arange(len(particles)))
    assert voxels.shape == (20, 32, 32, 32)
    np.testing.assert_allclose(voxels.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    # protein is bright, and it is in the middle
    middle = voxels[:, 12:20, 12:20, 12:20].mean(axis=(1, 2, 3))
    assert middle.mean() > 0.2
