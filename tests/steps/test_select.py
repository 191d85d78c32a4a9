"""select: which rows stay, and what RELION gets."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from halcmd import console
from halcmd.cli.options import microscope
from halcmd.console import log
from halcmd.errors import DryRun, InputError
from halcmd.formats.mrc import open_volume
from halcmd.formats.mrc_writing import write_stack
from halcmd.formats.star import read_star
from halcmd.particles import Particles, new_particles
from halcmd.steps.select import SelectResult, Wanted, select
from halcmd.tables import read_particles, write_particles


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    log.propagate = True
    caplog.set_level(logging.INFO, logger="halcmd")
    yield
    log.propagate = False


COLUMNS: dict[str, Sequence[object]] = {
    "halParticleId": [f"T/{n:06d}" for n in range(1, 7)],
    "halTomogram": ["T"] * 6,
    "rlnX": ["1.00", "2.00", "3.00", "4.00", "5.00", "6.00"],
    "halPredictedClass": ["apo", "apo", "holo", "junk", "apo", "holo"],
    "halProbability": [0.9, 0.6, 0.8, 0.99, 0.7, 0.7],
    "halMargin": [0.8, 0.2, 0.6, 0.98, 0.4, 0.4],
    "halLabel": ["unlabelled", "unlabelled", "unlabelled", "unlabelled", "holo", "skip"],
}


def scored(**more: Sequence[object]) -> Particles:
    table = new_particles({**COLUMNS, **more})
    return table.with_class_numbers({"junk": 1, "holo": 2, "apo": 3})


def run(folder: Path, particles: Particles | None = None, **wanted: object) -> SelectResult:
    options = {k: wanted.pop(k) for k in ("by_class", "layout", "optics") if k in wanted}
    return select(
        scored() if particles is None else particles,
        folder,
        wanted=Wanted(**wanted),  # type: ignore[arg-type]
        **options,  # type: ignore[arg-type]
    )


def rows(result: SelectResult) -> list[int]:
    return [int(name[-1]) for name in result.particles.ids]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [1, 2, 3, 5]),
        ({"classes": ("apo",)}, [1, 2]),
        ({"classes": ("holo",)}, [3, 5]),
        ({"classes": ("junk", "apo")}, [1, 2, 4]),
        ({"min_probability": 0.8}, [1, 3, 5]),
        ({"min_margin": 0.7}, [1, 5]),
        ({"classes": ("apo",), "min_probability": 0.9}, [1]),
    ],
)
def test_labelled_rows_count_as_their_label_the_others_as_predicted(tmp_path, wanted, expected):
    result = run(tmp_path, **wanted)
    assert rows(result) == expected
    assert sum(result.classes.values()) == len(expected)
    assert result.summary()["read"] == 6
    assert result.summary()["kept"] == len(expected)


def test_the_rows_keep_their_columns_digits_and_blocks(tmp_path):
    run(tmp_path, classes=("holo",))
    table = read_particles([tmp_path / "particles.star"])
    assert table.text("rlnX").tolist() == ["3.00", "5.00"]
    assert table.table.labels == scored().table.labels
    assert table.class_numbers() == {"junk": 1, "holo": 2, "apo": 3}


def test_relion_gets_class_numbers_and_complete_optics(tmp_path, caplog):
    run(tmp_path)
    star = read_star(tmp_path / "relion.star")
    optics, particles = star.table("optics"), star.table("particles")
    assert optics is not None
    assert particles is not None
    assert particles.column("rlnClassNumber") == ["3", "3", "2", "2"]
    assert optics.column("rlnVoltage") == ["300.000000"]
    assert "voltage and Cs are unknown" in caplog.text
    caplog.clear()
    run(tmp_path, optics=microscope(200.0, 2.7))
    assert "unknown" not in caplog.text
    optics = read_star(tmp_path / "relion.star").table("optics")
    assert optics is not None
    assert optics.column("rlnVoltage") == ["200.0"]


def test_one_file_per_class(tmp_path):
    result = run(tmp_path, by_class=True)
    assert result.classes == {"apo": 2, "holo": 2}
    assert sorted(path.name for path in (tmp_path / "Classes").iterdir()) == [
        "apo.star",
        "holo.star",
    ]
    holo = read_particles([tmp_path / "Classes" / "holo.star"])
    assert holo.ids.tolist() == ["T/000003", "T/000005"]
    assert holo.text("rlnClassNumber").tolist() == ["2", "2"]


def test_excluded_particles_stay_out(tmp_path):
    (tmp_path / "bad.csv").write_text("halParticleId,why\nT/000001,x\nT/000003,y\nZ/1,z\n")
    assert rows(run(tmp_path, exclude=tmp_path / "bad.csv")) == [2, 5]


def near(x: Sequence[float], tomograms: str = "TTTTTT") -> Particles:
    return scored(
        halTomogram=list(tomograms),
        halPositionXAngst=[f"{value:.3f}" for value in x],
        halPositionYAngst=["0.000"] * 6,
        halPositionZAngst=["0.000"] * 6,
    )


def test_of_near_particles_the_likelier_stays(tmp_path):
    # Row 1 (0.9) removes 2 (0.6); 3 (0.8) is 100 away and stays; 5 is labelled, so certain.
    table = near([0, 50, 150, 150, 160, 0])
    assert rows(run(tmp_path, table, min_distance=60.0)) == [1, 5]
    assert rows(run(tmp_path, table, min_distance=50.0)) == [1, 2, 5]
    assert rows(run(tmp_path, table, min_distance=5.0)) == [1, 2, 3, 5]
    apart = near([0, 50, 150, 150, 160, 0], "ABABAB")
    assert rows(run(tmp_path, apart, min_distance=60.0)) == [1, 2, 5]


def test_a_removed_particle_removes_no_other(tmp_path):
    chain = near([0, 50, 100, 900, 2000, 900])
    assert rows(run(tmp_path, chain, min_distance=60.0)) == [1, 3, 5]


def test_ties_do_not_depend_on_the_order_of_the_file(tmp_path):
    table = near([0, 10, 20, 900, 5000, 900]).with_columns({"halProbability": ["0.5"] * 6})
    kept = set(run(tmp_path, table, min_distance=100.0).particles.ids)
    backwards = table.take(range(5, -1, -1))
    assert set(run(tmp_path, backwards, min_distance=100.0).particles.ids) == kept


def test_distance_needs_positions(tmp_path):
    with pytest.raises(InputError, match="--min-distance needs positions"):
        run(tmp_path, min_distance=10.0)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"classes": ("apoo",)}, "no class apoo"),
        ({"classes": ("skip",)}, "no class skip"),
        ({"classes": ("apo",), "min_probability": 0.95}, "no particle is left"),
    ],
)
def test_an_empty_selection_stops(tmp_path, wanted, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, **wanted)
    assert not list(tmp_path.iterdir())


def test_nothing_to_select_by_stops(tmp_path):
    bare = new_particles({"halParticleId": ["T/1"]})
    with pytest.raises(InputError, match="neither labels nor predictions"):
        run(tmp_path, bare)


def test_labels_alone_are_enough(tmp_path):
    table = new_particles({"halParticleId": ["T/1", "T/2"], "halLabel": ["apo", "unlabelled"]})
    assert run(tmp_path, table, min_probability=0.9).particles.ids.tolist() == ["T/1"]


def test_a_dry_run_writes_nothing(tmp_path):
    console.configure(dry_run=True)
    with pytest.raises(DryRun, match="kept 4  apo 2  holo 2"):
        run(tmp_path, by_class=True)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def with_boxes(in_tmp: Path, rng: np.random.Generator) -> tuple[Particles, np.ndarray]:
    boxes = rng.normal(3.0, 2.0, size=(6, 8, 8, 8)).astype(np.float32)
    names = write_stack(Path("Extract/Subtomograms/T.mrcs"), [boxes], 6, 8, pixel_size=12.5)
    table = scored(
        halImageName=names,
        halImagePixelSize=["12.50000"] * 6,
        halImageSize=["8"] * 6,
        rlnImageName=["old.mrc"] * 6,
        rlnCtfImage=["ctf.mrc"] * 6,
    )
    return table, boxes


def test_singles_are_the_boxes_of_the_chosen_rows(with_boxes):
    table, boxes = with_boxes
    run(Path("Select"), table, classes=("holo",), layout="single")
    star = read_star(Path("Select/relion.star"))
    particles, optics = star.table("particles"), star.table("optics")
    assert particles is not None
    assert optics is not None
    assert "rlnCtfImage" not in particles
    assert optics.column("rlnImagePixelSize") == ["12.500000"]
    assert optics.column("rlnImageSize") == ["8"]
    for name, row in zip(particles.column("rlnImageName"), [2, 4], strict=True):
        volume = open_volume(Path(name))
        expected = (boxes[row] - boxes[row].mean()) / boxes[row].std()
        np.testing.assert_allclose(volume.data, expected, atol=1e-5)
        assert (volume.kind, volume.pixel_size) == ("volume", 12.5)
    kept = read_particles([Path("Select/particles.star")])
    assert kept.text("halImageName").tolist() == particles.column("rlnImageName")
    assert kept.text("rlnImageName").tolist() == ["old.mrc"] * 2


def test_stacks_are_not_handed_to_relion(with_boxes):
    table, _ = with_boxes
    run(Path("Select"), table)
    particles = read_star(Path("Select/relion.star")).table("particles")
    assert particles is not None
    assert particles.column("rlnImageName") == ["old.mrc"] * 4
    assert "rlnCtfImage" in particles


def test_singles_of_particles_with_the_same_number_are_not_mixed_up(in_tmp, rng):
    # Two tables without tomogram names, joined: ids a/000001 and b/000001.
    boxes = rng.normal(size=(2, 8, 8, 8)).astype(np.float32)
    names = write_stack(Path("T.mrcs"), [boxes], 2, 8, pixel_size=10.0)
    for stem, name in zip("ab", names, strict=True):
        row = {"halImageName": [name], "halImagePixelSize": ["10.0"], "halLabel": ["apo"]}
        write_particles(Path(f"{stem}.star"), new_particles(row))
    table = read_particles([Path("a.star"), Path("b.star")])
    assert table.ids.tolist() == ["a/000001", "b/000001"]
    run(Path("Select"), table, layout="single")
    for name, box in zip(
        read_particles([Path("Select/particles.star")]).text("halImageName"), boxes, strict=True
    ):
        expected = (box - box.mean()) / box.std()
        np.testing.assert_allclose(open_volume(Path(name)).data, expected, atol=1e-5)
