"""Tables and boxes against the real programs of RELION 3.1.3."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from halcmd.cropping import Geometry, Intensity
from halcmd.formats.mrc import open_volume
from halcmd.formats.mrc_writing import write_volume
from halcmd.formats.star import read_star
from halcmd.intake.read import read_picks
from halcmd.steps.extract import Split, extract
from halcmd.steps.select import Wanted, select
from halcmd.tables import HistoryRow, read_particles, running, write_particles

pytestmark = pytest.mark.skipif(
    shutil.which("relion_star_handler") is None, reason="the programs of RELION are not installed"
)

BOX, RADIUS = 16, 6
CENTRES = [(20, 20, 20), (33, 24, 21), (44, 31, 27), (24, 38, 18), (40, 40, 28), (30, 16, 16)]
PICKS = """
# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnMicrographPixelSize #6
_rlnImagePixelSize #7
1 opticsGroup1 300.000000 2.700000 0.100000 10.000000 10.000000


# version 30001

data_particles

loop_
_rlnMicrographName #1
_rlnCoordinateX #2
_rlnCoordinateY #3
_rlnCoordinateZ #4
_rlnOpticsGroup #5
_rlnAutopickFigureOfMerit #6
"""


def relion(*command: str | Path) -> str:
    """Output of a RELION program, on one core; it must end well and leave no error."""
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ERROR" not in done.stderr, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def project(in_tmp: Path, rng: np.random.Generator) -> Path:
    """A folder with a noisy tomogram, two kinds of blobs in it, and their picks."""
    volume = rng.normal(size=(44, 56, 64)).astype(np.float32)
    axis = np.arange(-4, 5)
    ball = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < 16
    for n, (x, y, z) in enumerate(CENTRES):
        shape = ball if n % 2 else ball & (abs(axis) < 3)
        volume[z - 4 : z + 5, y - 4 : y + 5, x - 4 : x + 5] += 6.0 * shape
    write_volume(in_tmp / "tomo1.mrc", volume, 10.0)
    rows = [f"tomo1.mrc {x} {y} {z} 1 0.{n}1234567890123\n" for n, (x, y, z) in enumerate(CENTRES)]
    (in_tmp / "picks.star").write_text(PICKS + "".join(rows))
    return in_tmp


def extracted(folder: str, *, layout: str = "single", intensity: Intensity | None = None) -> Path:
    job = Path(folder)
    job.mkdir(parents=True)
    row = HistoryRow("extract", "halcmd extract --o 'a b/'", "0.1.0", 0, "2026-01-01T00:00:00Z")
    token = running.set(row)
    extract(
        read_picks([Path("picks.star")]),
        [Path("tomo1.mrc")],
        job,
        geometry=Geometry(BOX),
        intensity=intensity or Intensity("bright", background_radius=RADIUS),
        split=Split(),
        layout=layout,
    )
    running.reset(token)
    return job


def scored(job: Path) -> Path:
    """The table with predictions of two classes, a label, and a class that needs a number."""
    particles = read_particles([job / "particles.star"])
    count = len(particles)
    columns = {
        "halPredictedClass": ["ball", "rod"] * (count // 2),
        "halProbability": [f"0.{n}98765432109876" for n in range(9, 9 - count, -1)],
        "halLabel": ["unlabelled"] * (count - 1) + ["junk"],
    }
    path = job / "scored.star"
    write_particles(path, particles.with_columns(columns))
    return path


def assert_kept(after: Path, before: Path) -> None:
    """All columns and digits of data_particles and data_optics came through RELION."""
    old, new = read_star(before), read_star(after)
    for name in ("optics", "particles"):
        was, now = old.table(name), new.table(name)
        assert was is not None
        assert now is not None
        assert len(was) == len(now) > 0
        assert sorted(was.labels) == sorted(now.labels)
        for label in was.labels:
            kept, text = now.column(label), was.column(label)
            if label.startswith("hal") or kept == text:
                assert kept == text, label
            else:
                numbers = np.array(kept, dtype=float), np.array(text, dtype=float)
                np.testing.assert_allclose(*numbers, atol=1e-6, err_msg=label)


@pytest.mark.parametrize("layout", ["stack", "single"])
def test_star_handler_keeps_every_column_of_an_extraction(project, layout):
    job = extracted("Extract/job001", layout=layout)
    files = ["particles.star", "relion.star"] if layout == "single" else ["particles.star"]
    for name in files:
        relion("relion_star_handler", "--i", job / name, "--o", "out.star")
        assert_kept(Path("out.star"), job / name)


@pytest.mark.parametrize("layout", ["keep", "single"])
def test_star_handler_keeps_every_column_of_a_selection(project, layout):
    job = extracted("Extract/job001", layout="stack")
    Path("Select").mkdir()
    table = read_particles([scored(job)])
    select(table, Path("Select"), wanted=Wanted(), by_class=True, layout=layout)
    for name in ("particles.star", "relion.star", "Classes/ball.star", "Classes/rod.star"):
        relion("relion_star_handler", "--i", f"Select/{name}", "--o", "out.star")
        assert_kept(Path("out.star"), Path("Select") / name)
    selected = relion(
        *("relion_star_handler", "--i", "Select/relion.star", "--o", "out.star"),
        *("--select", "rlnClassNumber", "--minval", "1", "--maxval", "1"),
    )
    assert "Written" in selected or Path("out.star").stat().st_size
    one = read_star(Path("out.star")).table("particles")
    assert one is not None
    assert set(one.column("halPredictedClass")) == {"ball"}


def test_a_bare_table_without_optics_reaches_relion_with_assumed_ones(project):
    text = "data_\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n"
    rows = "".join(f"tomo1 {x} {y} {z}\n" for x, y, z in CENTRES)
    Path("picks.star").write_text(text + rows)
    job = extracted("Extract/job001", layout="stack")
    Path("Select").mkdir()
    select(read_particles([scored(job)]), Path("Select"), wanted=Wanted(), layout="single")
    relion("relion_star_handler", "--i", "Select/relion.star", "--o", "out.star")
    assert_kept(Path("out.star"), Path("Select/relion.star"))


def preprocess(*options: str) -> list[np.ndarray]:
    """Boxes that relion_preprocess cuts at the same places, in the order of the picks."""
    micrographs = PICKS.split("data_particles")[0] + (
        "data_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnOpticsGroup #2\ntomo1.mrc 1\n"
    )
    Path("micrographs.star").write_text(micrographs)
    Path("coords").mkdir(exist_ok=True)
    head = "data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnCoordinateZ #3\n"
    rows = "".join(f"{x} {y} {z}\n" for x, y, z in CENTRES)
    Path("coords/tomo1_picked.star").write_text(head + rows)
    relion(
        *("relion_preprocess", "--i", "micrographs.star", "--coord_dir", "coords/"),
        *("--coord_suffix", "_picked.star", "--part_dir", "Part/", "--part_star", "Part/p.star"),
        *("--extract", "--extract_size", str(BOX), *options),
    )
    table = read_star(Path("Part/p.star")).table("particles")
    assert table is not None
    # RELION's writer gives volumes space group 0 and the extension .mrc.
    return [np.asarray(open_volume(Path(name)).data) for name in table.column("rlnImageName")]


def ours(intensity: Intensity) -> list[np.ndarray]:
    job = extracted("Ours", intensity=intensity)
    table = read_star(job / "relion.star").table("particles")
    assert table is not None
    return [np.asarray(open_volume(Path(name)).data) for name in table.column("rlnImageName")]


def test_boxes_are_those_of_relion_preprocess(project):
    theirs = preprocess()
    for mine, their in zip(ours(Intensity("bright", "none")), theirs, strict=True):
        np.testing.assert_array_equal(mine, their)


def test_normalisation_and_inversion_are_those_of_relion_preprocess(project):
    theirs = preprocess("--norm", "--bg_radius", str(RADIUS), "--invert_contrast")
    mine = ours(Intensity("dark", background_radius=RADIUS))
    for own, their in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(own, their, atol=1e-5)


def test_rescaling_centres_boxes_as_relion_preprocess_does(project):
    theirs = preprocess("--scale", str(BOX // 2))
    job = Path("Ours")
    job.mkdir()
    extract(
        read_picks([Path("picks.star")]),
        [Path("tomo1.mrc")],
        job,
        geometry=Geometry(BOX // 2, binning=2.0),
        intensity=Intensity("bright", "none"),
        split=Split(),
        layout="single",
    )
    table = read_star(job / "relion.star").table("particles")
    assert table is not None
    inner = np.arange(BOX // 2) != BOX // 4
    for name, their in zip(table.column("rlnImageName"), theirs, strict=True):
        volume = open_volume(Path(name))
        assert volume.pixel_size == pytest.approx(20.0)
        # RELION keeps the Nyquist plane, which has no partner in the larger transform.
        waves = np.fft.fftn(their)[np.ix_(inner, inner, inner)]
        own = np.fft.fftn(np.asarray(volume.data))[np.ix_(inner, inner, inner)]
        np.testing.assert_allclose(own, waves, atol=1e-3)


def test_class3d_runs_on_single_boxes(project):
    job = extracted("Extract/job001")
    reference = open_volume(next((job / "Subtomograms").glob("*.mrc"))).data
    write_volume(Path("reference.mrc"), np.asarray(reference), 10.0)
    Path("Class3D").mkdir()
    relion(
        *("relion_refine", "--i", job / "relion.star", "--o", "Class3D/run", "--K", "2"),
        *("--ref", "reference.mrc", "--ini_high", "40", "--iter", "2", "--tau2_fudge", "2"),
        *("--particle_diameter", "140", "--sym", "C1", "--skip_align", "--norm", "--scale"),
        *("--dont_check_norm", "--firstiter_cc", "--flatten_solvent", "--zero_mask", "--j", "1"),
    )
    result = read_star(Path("Class3D/run_it002_data.star")).table("particles")
    start = read_star(job / "relion.star").table("particles")
    assert result is not None
    assert start is not None
    assert set(result.column("rlnClassNumber")) <= {"1", "2"}
    place = {name: n for n, name in enumerate(result.column("halParticleId"))}
    rows = [place[name] for name in start.column("halParticleId")]
    for label in start.labels:
        if label.startswith("hal"):
            assert [result.column(label)[row] for row in rows] == start.column(label)


def external_job(folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> Path:
    """A job that RELION has run: ``halcmd extract`` as the executable of an External job."""
    (folder / "bin").mkdir()
    script = folder / "bin" / "halcmd"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m halcmd "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    Path("default_pipeline.star").write_text(
        "\ndata_pipeline_general\n\n_rlnPipeLineJobCounter 1\n\n"
    )
    job = ["fn_exe == halcmd extract", "in_coords == picks.star", "nr_threads == 1", *options]
    relion("relion_pipeliner", "--addJob", "External", "--addJobOptions", ";".join(job))
    relion(
        *("relion_pipeliner", "--RunJobs", "External/job001/", "--schedule", "hal"),
        *("--min_wait", "0", "--sec_wait_after", "0"),
    )
    return Path("External/job001")


def test_extract_is_an_external_job(project, monkeypatch):
    options = ["param1_label == tomograms", "param1_value == tomo1.mrc"]
    options += ["param2_label == box", "param2_value == 16"]
    options += ["param3_label == contrast", "param3_value == bright"]
    job = external_job(project, monkeypatch, *options)
    assert (job / "RELION_JOB_EXIT_SUCCESS").exists()
    assert (job / "run.err").read_text() == ""
    assert "--in_coords picks.star" in (job / "note.txt").read_text()
    nodes = read_star(Path("default_pipeline.star")).table("pipeline_nodes")
    assert nodes is not None
    assert "External/job001/particles.star" in nodes.column("rlnPipeLineNodeName")
    assert len(read_particles([job / "particles.star"])) == len(CENTRES)


@pytest.mark.parametrize("option", ["box", "no-such-option"])
def test_a_job_that_cannot_run_is_marked_as_failed(project, monkeypatch, option):
    options = ["param1_label == tomograms", "param1_value == tomo1.mrc"]
    options += [f"param2_label == {option}", "param2_value == 15"]
    job = external_job(project, monkeypatch, *options)
    assert (job / "RELION_JOB_EXIT_FAILURE").exists()
    assert not (job / "particles.star").exists()
    for _ in range(100):  # RELION goes on at the marker, which comes before the message
        if "error" in (job / "run.err").read_text().lower():
            break
        time.sleep(0.05)
    assert "error" in (job / "run.err").read_text().lower()
