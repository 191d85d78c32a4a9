"""Hand-offs: other programs read them at the right place, and every label finds its particle."""

import csv
import json
import logging
import runpy
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import dynamotable
import imodmodel
import numpy as np
import pandas as pd
import pytest
import starfile
from typer.testing import CliRunner

from halcmd.cli.app import app
from halcmd.console import log
from halcmd.cropping import Geometry, Intensity
from halcmd.errors import InputError, OptionError
from halcmd.formats.mrc import open_volume
from halcmd.formats.mrc_writing import write_volume
from halcmd.formats.relion_job import OUTPUTS
from halcmd.handoff import HANDOFFS
from halcmd.handoff.forms import check_forms, write_forms
from halcmd.handoff.places import by_tomogram
from halcmd.intake.labels import read_labels, read_renames
from halcmd.intake.read import read_picks
from halcmd.particles import Particles, new_particles
from halcmd.steps.extract import Split, extract
from halcmd.steps.label_import import LabelImportResult, Rules, label_import
from halcmd.steps.query import query
from halcmd.strategies.pool import QuerySettings
from halcmd.tables import read_particles

FORMS = ("csv", "relion", "artiax", "napari", "imod", "dynamo")
PLACED = ("artiax", "napari", "imod", "dynamo")
CLASSES = ("ribosome", "proteasome")
TOMOGRAMS = ("001", "002")
COUNT, ASKED, VOXEL = 40, 24, 10.0


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    log.propagate = True
    caplog.set_level(logging.INFO, logger="halcmd")
    yield
    log.propagate = False


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Particles:
    """40 scored particles with orientations in two tomograms, at places between voxels."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    for name in TOMOGRAMS:
        write_volume(folder / f"{name}.mrc", rng.normal(size=(60, 70, 80)), VOXEL)
    grid = np.stack(np.meshgrid([14, 30, 46, 62], [14, 34, 52], [16, 40]), axis=-1).reshape(-1, 3)
    lines = [
        "data_particles",
        "loop_",
        "_rlnMicrographName",
        *(f"_rlnCoordinate{a}" for a in "XYZ"),
    ]
    lines += [f"_rlnAngle{name}" for name in ("Rot", "Tilt", "Psi")]
    for n in range(COUNT):
        x, y, z = grid[n // 2 % len(grid)] + rng.uniform(-2, 2, 3)
        rot, tilt, psi = rng.uniform(-170, 170), rng.uniform(10, 170), rng.uniform(-170, 170)
        row = f"{x:.4f} {y:.4f} {z:.4f} {rot:.2f} {tilt:.2f} {psi:.2f}"
        lines.append(f"{TOMOGRAMS[n % 2]}.mrc {row}")
    (folder / "picks.star").write_text("\n".join(lines) + "\n")
    extract(
        read_picks([folder / "picks.star"]),
        [folder],
        folder / "Extract",
        geometry=Geometry(16),
        intensity=Intensity("bright"),
        split=Split(),
    )
    particles = read_particles([folder / "Extract" / "particles.star"])
    sure = rng.uniform(0.4, 0.9, COUNT)
    return particles.with_columns(
        {
            "halPredictedClass": [CLASSES[n % 2] for n in range(COUNT)],
            "halProbability": [f"{p:.6f}" for p in sure],
            "halTiltMin": ["-60"] * COUNT,
            "halTiltMax": ["60"] * COUNT,
        }
    ).with_classes(CLASSES)


@pytest.fixture(scope="module")
def job(pool: Particles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A query that is handed off in every form."""
    folder = tmp_path_factory.mktemp("Query")
    ask(pool, folder, FORMS)
    return folder


def ask(pool: Particles, folder: Path, forms: Sequence[str], *, montage: bool = False) -> None:
    query(
        pool,
        folder,
        strategy="random",
        n=ASKED,
        settings=QuerySettings(),
        hand_off=forms,
        montage=montage,
    )


def asked(job: Path) -> Particles:
    return read_particles([job / "query.star"])


def truth(ids: Sequence[str]) -> list[str]:
    """An answer for each particle that has nothing to do with its prediction."""
    return [(*CLASSES, "junk")[sum(map(ord, name)) % 3] for name in ids]


def bring_back(
    job: Path, files: list[Path], folder: Path, rules: Rules | None = None, **reading: object
) -> LabelImportResult:
    table = read_particles([job / "particles.star"])
    labels = [read_labels(path, **reading) for path in files]  # type: ignore[arg-type]
    return label_import(table, labels, folder, rules=rules or Rules())


def assert_all_right(result: LabelImportResult, ids: Sequence[str]) -> None:
    """Each particle asked for has its own answer, and no other has any."""
    labels = dict(zip(result.particles.ids, result.particles.labels, strict=True))
    assert {name: labels[name] for name in ids} == dict(zip(ids, truth(ids), strict=True))
    assert result.particles.is_answered.sum() == len(ids)
    assert (result.unmatched, result.ambiguous) == (0, 0)


def voxels(particles: Particles, name: str) -> np.ndarray:
    rows = particles.tomograms == name
    return np.asarray(
        particles.positions[rows] / particles.number("halTomogramPixelSize")[rows, None]
    )


def test_every_form_is_tested_here_and_its_outputs_are_known(job: Path) -> None:
    assert set(FORMS) == set(HANDOFFS)
    made = {item.name for item in job.iterdir()}
    assert made <= set(OUTPUTS)
    assert made >= {"query.csv", "relion.star", "ArtiaX", "napari", "IMOD", "Dynamo"}


def test_only_what_was_asked_for_is_written(pool: Particles, tmp_path: Path) -> None:
    ask(pool, tmp_path, ["imod"])
    names = {item.name for item in tmp_path.iterdir()}
    assert names == {"particles.star", "query.star", "IMOD"}


def test_the_command_line_hands_off_and_takes_back(job: Path, tmp_path: Path) -> None:
    table = tmp_path / "scored.star"
    shutil.copy(job / "particles.star", table)
    words = f"query --i {table} --strategy random --n 6 --hand-off imod --hand-off dynamo"
    done = CliRunner().invoke(app, [*words.split(), "--o", str(tmp_path / "Query")])
    assert done.exit_code == 0, done.output
    made = {item.name for item in (tmp_path / "Query").iterdir()}
    assert made >= {"IMOD", "Dynamo", "classes.csv", "montage.pdf", "montage.png"}
    assert "query.csv" not in made
    again = ["query", "--config", str(tmp_path / "Query/settings.toml"), "--no-montage"]
    done = CliRunner().invoke(app, [*again, "--o", str(tmp_path / "Query"), "--overwrite"])
    assert done.exit_code == 0, done.output
    made = {item.name for item in (tmp_path / "Query").iterdir()}
    assert made >= {"IMOD", "Dynamo", "classes.csv"}
    assert not {name for name in made if name.startswith("montage")}

    path = tmp_path / "Query/Dynamo/query.tbl"
    rows = dynamotable.read(path)
    rows["class"] = 2
    dynamotable.write(rows, path)
    words = f"label-import --i {tmp_path}/Query/particles.star --labels {path} --rename"
    words = f"{words} {tmp_path}/Query/classes.csv --json --o {tmp_path}/Label"
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["labels"] == {"ribosome": 6}


def test_an_unknown_form_suggests_the_near_one(pool: Particles, tmp_path: Path) -> None:
    with pytest.raises(OptionError) as error:
        ask(pool, tmp_path, ["dinamo"])
    assert "dynamo" in str(error.value.hint)


@pytest.mark.parametrize("form", PLACED)
@pytest.mark.parametrize("column", ["halTomogramFile", "halTomogramPixelSize", "halPositionZAngst"])
def test_without_positions_a_form_is_refused_before_anything_is_written(
    pool: Particles, tmp_path: Path, form: str, column: str
) -> None:
    with pytest.raises(InputError, match=f"--hand-off {form} needs positions") as error:
        ask(pool.without([column]), tmp_path, ["csv", form])
    assert error.value.found == f"no column {column}"
    empty = pool.with_columns({column: ["none" if "File" in column else "nan"] * COUNT})
    with pytest.raises(InputError, match="needs positions") as error:
        ask(empty, tmp_path, ["csv", form])
    assert error.value.found == f"rows without a value in {column}"
    assert not list(tmp_path.iterdir())


def test_without_boxes_relion_is_refused_before_anything_is_written(
    pool: Particles, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="names no subtomograms"):
        ask(pool.without(["halImageName"]), tmp_path, ["relion"])
    assert not list(tmp_path.iterdir())


# RELION


def test_relion_has_one_box_for_each_particle(job: Path, pool: Particles) -> None:
    tables = starfile.read(job / "relion.star", parse_as_string=["rlnMicrographName"])
    table = tables["particles"]
    assert table["halParticleId"].tolist() == asked(job).ids.tolist()
    assert set(table["halLabel"]) == {"unlabelled"}
    assert set(table["rlnClassNumber"]) == {1, 2}
    rows = {name: row for row, name in enumerate(pool.ids)}
    for name, image in zip(table["halParticleId"], table["rlnImageName"], strict=True):
        number, _, stack = pool.text("halImageName")[rows[name]].partition("@")
        box = open_volume(Path(image)).data
        original = open_volume(Path(stack)).data[int(number) - 1]
        assert box.shape == (16, 16, 16)
        np.testing.assert_allclose(box, (original - original.mean()) / original.std(), atol=1e-4)


def test_single_boxes_serve_as_they_are(pool: Particles, job: Path, tmp_path: Path) -> None:
    table = read_particles([job / "relion.star"])
    ask(table.without(["halQueryRank"]), tmp_path, ["relion"])
    assert not (tmp_path / "Subtomograms").exists()
    again = read_particles([tmp_path / "relion.star"])
    assert set(again.text("rlnImageName")) <= set(table.text("rlnImageName"))


@pytest.mark.skipif(shutil.which("relion_star_handler") is None, reason="RELION is not installed")
def test_relions_programs_read_table_and_boxes(job: Path, tmp_path: Path) -> None:
    out = tmp_path / "class2.star"
    select = f"--select rlnClassNumber --minval 1.5 --maxval 2.5 --o {out}"
    words = ["relion_star_handler", "--i", str(job / "relion.star"), *select.split()]
    subprocess.run(words, check=True, capture_output=True, timeout=100)
    chosen = read_particles([out])
    expected = asked(job).ids[asked(job).text("halPredictedClass") == "ribosome"]
    assert chosen.ids.tolist() == expected.tolist()
    image = chosen.text("rlnImageName")[0]
    words = ["relion_image_handler", "--i", image, "--stats"]
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=100)
    assert "(x,y,z,n)= 16 x 16 x 16 x 1" in done.stdout
    assert "stddev= 1 " in done.stdout
    assert "angpix = 10" in done.stdout

    result = bring_back(job, [out], tmp_path, one_label="ribosome", rules=Rules(absent="junk"))
    labelled = result.particles.ids[result.particles.labels == "ribosome"]
    assert sorted(labelled) == sorted(expected)


def test_a_prediction_is_no_answer_unless_it_is_said_to_be(job: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no label to import"):
        bring_back(job, [job / "relion.star"], tmp_path)
    result = bring_back(job, [job / "relion.star"], tmp_path, column="rlnClassNumber")
    assert set(result.labels) == {"class_1", "class_2"}


# ArtiaX


def artiax_saves(source: Path, target: Path, keep: np.ndarray) -> None:
    """What ArtiaX makes of a list: numbers as floats, no texts, zero shifts, rows in any order."""
    table = starfile.read(source, always_dict=True)["particles"]
    numbers = table.select_dtypes("number").astype(float).iloc[keep]
    for axis in "XYZ":
        numbers[f"rlnOrigin{axis}"] = 0.0
    starfile.write({"particles": numbers}, target, overwrite=True)


def test_artiax_lists_are_in_voxels_and_scripts_open_them(job: Path) -> None:
    for name in TOMOGRAMS:
        table = starfile.read(job / "ArtiaX" / f"{name}.star", always_dict=True)["particles"]
        points = table[[f"rlnCoordinate{axis}" for axis in "XYZ"]].to_numpy()
        np.testing.assert_allclose(points, voxels(asked(job), name), atol=1e-3)
        angles = table[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy()
        rows = asked(job).tomograms == name
        own = [asked(job).number(f"halAngle{a}")[rows] for a in ("Rot", "Tilt", "Psi")]
        np.testing.assert_allclose(angles, np.stack(own, axis=1), atol=1e-2)
        script = (job / "ArtiaX" / f"{name}.cxc").read_text()
        (tomogram,) = [line.split('"')[1] for line in script.splitlines() if "open tomo" in line]
        assert (job / "ArtiaX" / tomogram).resolve() == Path(tomogram).resolve()
        assert open_volume(Path(tomogram)).data.shape == (60, 70, 80)
        assert f'open "{name}.star" format star' in script
        assert "originScaleFactor 10.00000" in script


@pytest.mark.parametrize("numbers", [True, False])
def test_lists_that_artiax_saved_class_by_class_come_back(
    job: Path, tmp_path: Path, rng: np.random.Generator, numbers: bool
) -> None:
    ids = asked(job).ids
    result = None
    table = read_particles([job / "particles.star"])
    for label in (*CLASSES, "junk"):
        files = []
        for name in TOMOGRAMS:
            own = ids[asked(job).tomograms == name]
            keep = rng.permutation(np.flatnonzero(np.array(truth(own)) == label))
            if len(keep):
                files.append(tmp_path / f"{name}_{label}.star")
                artiax_saves(job / "ArtiaX" / f"{name}.star", files[-1], keep)
                if not numbers:
                    saved = starfile.read(files[-1])
                    gone = [column for column in saved if column.startswith("hal")]
                    starfile.write(saved.drop(columns=gone), files[-1], overwrite=True)
        labels = [read_labels(path, one_label=label) for path in files]
        result = label_import(table, labels, tmp_path / label, rules=Rules())
        assert result.matched == sum(word == label for word in truth(ids))
        table = result.particles
    assert result is not None
    assert_all_right(result, ids)


def test_a_particle_that_was_moved_far_is_a_conflict(job: Path, tmp_path: Path) -> None:
    path = tmp_path / "001.star"
    artiax_saves(job / "ArtiaX" / "001.star", path, np.arange(3))
    saved = starfile.read(path)
    saved.loc[1, "rlnCoordinateX"] += 1.5
    starfile.write(saved, path, overwrite=True)
    assert bring_back(job, [path], tmp_path, one_label="apo").matched == 3
    saved.loc[1, "rlnCoordinateX"] += 1.5
    starfile.write(saved, path, overwrite=True)
    with pytest.raises(InputError, match="same id stands at another place") as error:
        bring_back(job, [path], tmp_path, one_label="apo")
    assert "30 A away" in str(error.value.found)


# napari


def test_napari_points_are_z_y_x_in_voxels(job: Path) -> None:
    for name in TOMOGRAMS:
        with (job / "napari" / f"{name}.csv").open(newline="") as file:
            header, *rows = list(csv.reader(file))
        assert header[:4] == ["index", "axis-0", "axis-1", "axis-2"]
        assert [row[0] for row in rows] == [str(n) for n in range(len(rows))]
        points = np.array([row[1:4] for row in rows], dtype=float)
        np.testing.assert_allclose(points[:, ::-1], voxels(asked(job), name), atol=1e-3)


def test_napari_tables_come_back_as_napari_writes_them(
    job: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    """napari's reader makes numbers of what looks like one: tomogram 001 becomes 1."""
    files = []
    for name in TOMOGRAMS:
        table = pd.read_csv(job / "napari" / f"{name}.csv", keep_default_na=False)
        assert table["halTomogram"].tolist() == [int(name)] * len(table)
        table["halLabel"] = truth(table["halParticleId"])
        table = table.iloc[rng.permutation(len(table))]
        table["index"] = range(len(table))
        files.append(tmp_path / f"points {name}.csv")
        table.to_csv(files[-1], index=False)
    assert_all_right(bring_back(job, files, tmp_path), asked(job).ids)
    for path in files:
        pd.read_csv(path).drop(columns=["halParticleId"]).to_csv(path, index=False)
    assert_all_right(bring_back(job, files, tmp_path), asked(job).ids)


def test_points_added_in_napari_find_their_particle_by_position(job: Path, tmp_path: Path) -> None:
    table = pd.read_csv(job / "napari" / "001.csv", keep_default_na=False)
    table["halLabel"] = truth(table["halParticleId"])
    table.loc[[1, 4], "halParticleId"] = ""
    table.to_csv(tmp_path / "points.csv", index=False)
    result = bring_back(job, [tmp_path / "points.csv"], tmp_path)
    assert_all_right(result, asked(job).ids[asked(job).tomograms == "001"])


@pytest.mark.filterwarnings("default")
def test_napari_itself_reads_and_writes_the_tables(job: Path, tmp_path: Path) -> None:
    io = pytest.importorskip("napari_builtins.io", reason="napari is not installed")
    (reader,) = [io.napari_get_reader(str(job / "napari" / "001.csv"))]
    ((points, meta, kind),) = reader(str(job / "napari" / "001.csv"))
    assert kind == "points"
    np.testing.assert_allclose(points[:, ::-1], voxels(asked(job), "001"), atol=1e-3)
    ids = meta["properties"]["halParticleId"]
    meta["properties"]["halLabel"] = np.array(truth(ids))
    io.napari_write_points(str(tmp_path / "saved.csv"), points, meta)
    assert_all_right(bring_back(job, [tmp_path / "saved.csv"], tmp_path), ids.tolist())


@pytest.mark.filterwarnings("default")
def test_the_script_for_napari_labels_and_saves(job: Path, tmp_path: Path) -> None:
    napari = pytest.importorskip("napari", reason="napari is not installed")
    folder = tmp_path / "napari"
    shutil.copytree(job / "napari", folder)
    script = runpy.run_path(str(folder / "open.py"), run_name="script")
    script["TOMOGRAMS"]["001"] = (job / "napari" / script["TOMOGRAMS"]["001"]).resolve()
    path, layer = script["show"](napari.components.ViewerModel(), "001")
    layer.selected_data = {0, 2}
    script["give"](layer, "ribosome")
    layer.add([[10, 10, 10]])
    script["write"](path, layer)
    table = pd.read_csv(path, keep_default_na=False)
    labels = table["halLabel"].tolist()
    assert labels[:3] == ["ribosome", "", "ribosome"]
    assert table["halParticleId"].tolist()[-1] == ""
    result = bring_back(job, [path], tmp_path)
    own = asked(job).ids[asked(job).tomograms == "001"]
    assert result.particles.ids[result.particles.is_answered].tolist() == sorted(own[[0, 2]])


def test_the_script_for_napari_is_python_and_offers_the_classes(job: Path) -> None:
    text = (job / "napari" / "open.py").read_text()
    compile(text, "open.py", "exec")
    assert 'CLASSES = ["proteasome", "ribosome", "junk", "unknown", "skip"]' in text


# IMOD


def test_imod_models_count_from_half_a_voxel(job: Path) -> None:
    for name in TOMOGRAMS:
        points = imodmodel.read(job / "IMOD" / f"{name}.mod")[["x", "y", "z"]].to_numpy()
        expected = voxels(asked(job), name) + np.array([0.5, 0.5, 0.0])
        np.testing.assert_allclose(points, expected, atol=1e-3)


@pytest.mark.filterwarnings("ignore:The `dict` method")  # in imodmodel
def test_contours_that_were_moved_to_the_object_of_a_class_come_back(
    job: Path, tmp_path: Path
) -> None:
    """A model as 3dmod saves it once contours were moved: read and written by imodmodel."""
    files = []
    for name in TOMOGRAMS:
        path = job / "IMOD" / f"{name}.mod"
        model = imodmodel.ImodModel.from_file(path)
        names = [item.name for item in (o.header for o in model.objects)]
        assert names == ["unlabelled", "proteasome", "ribosome", "junk"]
        ids = asked(job).ids[asked(job).tomograms == name]
        contours = model.objects[0].contours
        for item in model.objects[1:]:
            label = item.header.name
            item.contours = [
                c for c, word in zip(contours, truth(ids), strict=True) if word == label
            ]
            item.header.contsize = len(item.contours)
        model.objects[0].contours = []
        model.objects[0].header.contsize = 0
        files.append(tmp_path / path.name)
        model.to_file(files[-1])
    assert_all_right(bring_back(job, files, tmp_path), asked(job).ids)


def test_points_that_were_not_moved_are_no_answer(job: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no label to import"):
        bring_back(job, [job / "IMOD" / "001.mod"], tmp_path)


# Dynamo


def test_dynamo_tables_have_positions_poses_and_tomograms(job: Path) -> None:
    table = dynamotable.read(job / "Dynamo" / "query.tbl")
    assert table["tag"].tolist() == list(range(1, ASKED + 1))
    points = table[["x", "y", "z"]].to_numpy() + table[["dx", "dy", "dz"]].to_numpy()
    np.testing.assert_allclose(points, asked(job).positions / VOXEL, atol=1e-3)
    files = dict(line.split() for line in (job / "Dynamo/query.doc").read_text().splitlines())
    expected = [asked(job).text("halTomogramFile")[row] for row in range(ASKED)]
    assert [files[str(int(number))] for number in table["tomo"]] == expected
    assert set(table["class"]) == {0}
    assert (set(table["ymintilt"]), set(table["ymaxtilt"])) == ({-60}, {60})
    (picks,) = read_picks([job / "Dynamo" / "query.tbl"])
    (own,) = read_picks([job / "query.star"])
    np.testing.assert_allclose(picks.rotations, own.rotations, atol=1e-3)


@pytest.mark.parametrize("renamed", [False, True])
def test_classes_that_were_set_in_dynamo_come_back(
    job: Path, tmp_path: Path, rng: np.random.Generator, renamed: bool
) -> None:
    table = dynamotable.read(job / "Dynamo" / "query.tbl")
    numbers = {"proteasome": 1, "ribosome": 2, "junk": 3}
    table["class"] = [numbers[label] for label in truth(asked(job).ids)]
    table = table.iloc[rng.permutation(len(table))]
    path = tmp_path / ("mine.tbl" if renamed else "query.tbl")
    dynamotable.write(table, path)
    shutil.copy(job / "Dynamo" / "query.doc", tmp_path)
    renames = read_renames(job / "classes.csv")
    assert renames == {"1": "proteasome", "2": "ribosome"}
    result = bring_back(job, [path], tmp_path, renames=renames | {"3": "junk"})
    assert_all_right(result, asked(job).ids)


# Spreadsheet


def test_the_spreadsheet_has_one_empty_column(job: Path) -> None:
    with (job / "query.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["halParticleId"] for row in rows] == asked(job).ids.tolist()
    assert {row["halLabel"] for row in rows} == {""}


# Tomograms


def test_each_tomogram_has_its_own_voxels_and_files(tmp_path: Path) -> None:
    names = ["a(1)", "a_1_", "b"]
    particles = new_particles(
        {
            "halParticleId": [f"{name}/000001" for name in names],
            "halTomogram": names,
            "halTomogramFile": ["/data/a(1).mrc", "x/a_1_.mrc", "b.mrc"],
            "halTomogramPixelSize": ["10.0", "7.5", "4.0"],
            **{f"halPosition{axis}Angst": ["30.0"] * 3 for axis in "XYZ"},
        }
    )
    groups = by_tomogram(particles)
    assert [group.voxels.tolist() for group in groups] == [[[3.0] * 3], [[4.0] * 3], [[7.5] * 3]]
    assert len({group.stem for group in groups}) == 3
    check_forms(particles, PLACED)
    write_forms(particles, tmp_path, PLACED)
    made = sorted(path.name for path in (tmp_path / "IMOD").iterdir())
    assert made == ["a_1_.mod", "a_1__.mod", "b.mod"]
    points = [imodmodel.read(tmp_path / "IMOD" / name)["z"].tolist() for name in made]
    assert points == [[3.0], [4.0], [7.5]]
    table = dynamotable.read(tmp_path / "Dynamo" / "query.tbl")
    assert sorted(table["apix"]) == [4.0, 7.5, 10.0]
    assert 'open tomo "/data/a(1).mrc"' in (tmp_path / "ArtiaX" / "a_1_.cxc").read_text()


def test_a_tomogram_that_is_two_volumes_is_refused() -> None:
    particles = new_particles(
        {
            "halParticleId": ["T/000001", "T/000002"],
            "halTomogramFile": ["T.mrc", "T.mrc"],
            "halTomogramPixelSize": ["10.0", "5.0"],
            "halTomogram": ["T", "T"],
            **{f"halPosition{axis}Angst": ["30.0"] * 2 for axis in "XYZ"},
        }
    )
    with pytest.raises(InputError, match="tomogram T is two volumes"):
        check_forms(particles, ["imod"])
