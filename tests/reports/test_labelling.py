"""What the label page shows: volumes of few bytes, surroundings, references, turns."""

import base64
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from halcmd.cli.app import app
from halcmd.console import log
from halcmd.cropping import crop_turned
from halcmd.errors import HalcmdError
from halcmd.formats.label_page import as_script_data
from halcmd.formats.mrc_writing import write_stack, write_volume
from halcmd.particles import Particles, new_particles
from halcmd.poses import euler_angles, euler_matrices
from halcmd.reports import label_volumes
from halcmd.reports.label_context import context_edge
from halcmd.reports.label_references import from_map
from halcmd.reports.label_volumes import LARGEST_FILE, as_text, edge_that_fits, in_base64
from halcmd.reports.labelling import PageSettings, label_page, page_settings
from halcmd.tables import write_particles

BOX, SIZE = 16, 8.0


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    log.propagate = True
    caplog.set_level(logging.INFO, logger="halcmd")
    yield
    log.propagate = False


def shape(box: int = BOX, width: float = 1.0) -> np.ndarray:
    """Three blobs off the centre: alike from no two sides."""
    z, y, x = np.meshgrid(*[(np.arange(box) - box // 2) * width] * 3, indexing="ij")
    blobs = [(3, 0, 0, 1.0), (0, 3, -2, 0.7), (-2, -1, 3, 0.5)]
    parts = [w * np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 5) for a, b, c, w in blobs]
    return np.sum(parts, axis=0).astype(np.float32)


def table(folder: Path, boxes: np.ndarray, **columns: list[str]) -> Particles:
    images = write_stack(
        folder / "b.mrcs", iter([boxes]), len(boxes), boxes.shape[-1], pixel_size=SIZE
    )
    ids = [f"T/{n}" for n in range(len(boxes))]
    return new_particles({"halParticleId": ids, "halImageName": images, **columns})


def noise(count: int, box: int = BOX) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(count, box, box, box)).astype(np.float32)


def shown(path: Path) -> dict[str, Any]:
    """The data of a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text())
    assert found is not None
    return dict(json.loads(found[1]))


def values(text: str, dimensions: int = 3) -> np.ndarray:
    grey = np.frombuffer(base64.b64decode(text), np.uint8).astype(float)
    return grey.reshape((round(len(grey) ** (1 / dimensions)),) * dimensions)


def alike(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def page(folder: Path, particles: Particles, **settings: Any) -> dict[str, Any]:
    rows = np.arange(len(particles))
    assert label_page(folder, particles, rows, PageSettings(**settings))
    return shown(folder / "labels.html")


@pytest.mark.parametrize("box", [16, 24, 40, 96])
@pytest.mark.parametrize("particles", [1, 32, 300, 1000])
def test_a_page_of_any_query_stays_below_30_mb(box: int, particles: int) -> None:
    pixels, volumes = context_edge(particles) ** 2, particles + 40
    edge = edge_that_fits(box, volumes, particles=particles, context_pixels=pixels)
    assert 16 <= edge <= box
    assert edge % 2 == 0
    total = volumes * in_base64(edge**3) + particles * in_base64(pixels)
    assert total < LARGEST_FILE
    if box <= 24:
        assert edge == box  # whole


def test_large_boxes_have_fewer_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_volumes, "LARGEST_FILE", 400_000)
    boxes = noise(20, 24) * 0.02 + shape(24)
    data = page(tmp_path, table(tmp_path, boxes))
    assert (tmp_path / "labels.html").stat().st_size < 400_000
    assert data["box"] == 24
    edge = data["edge"]
    assert 16 <= edge < 24
    assert alike(values(data["particles"][3]["box"]), shape(edge, 24 / edge)) > 0.9


def test_voxels_are_kept_to_a_byte(tmp_path: Path) -> None:
    boxes = noise(3)
    data = page(tmp_path, table(tmp_path, boxes))
    for particle, box in zip(data["particles"], boxes, strict=True):
        assert alike(values(particle["box"]), box) > 0.998
    assert set(values(as_text(np.arange(8.0).reshape(2, 2, 2))).ravel()) >= {0, 255}


def test_the_same_query_is_the_same_page(tmp_path: Path) -> None:
    particles = table(tmp_path, noise(3))
    first = page(tmp_path, particles)
    text = (tmp_path / "labels.html").read_bytes()
    page(tmp_path, particles)
    assert (tmp_path / "labels.html").read_bytes() == text
    # Other classes on offer: labels that the browser has kept are still those of this query.
    assert page(tmp_path, particles, classes=("a", "b"))["query"] == first["query"]
    assert page(tmp_path, table(tmp_path, noise(4)))["query"] != first["query"]


def test_surroundings_have_the_contrast_of_the_boxes(tmp_path: Path) -> None:
    tomogram = np.random.default_rng(2).normal(size=(30, 80, 80)).astype(np.float32)
    centres = [(15, 40, 40), (15, 20, 60), (15, 3, 40), (15, 400, 400)]
    half = BOX // 2
    boxes = noise(4)
    for place, (z, y, x) in enumerate(centres[:2]):
        boxes[place] = -tomogram[z - half : z + half, y - half : y + half, x - half : x + half]
    write_volume(tmp_path / "t.mrc", tomogram, SIZE)
    at = np.array(centres, dtype=float) * SIZE
    columns = {f"halPosition{a}Angst": at[:, n].astype(str).tolist() for n, a in enumerate("ZYX")}
    files = [str(tmp_path / "t.mrc")] * 4
    data = page(tmp_path, table(tmp_path, boxes, halTomogramFile=files, **columns), context=2.0)
    crop, inside, at_edge = (values(p["context"], 2) for p in data["particles"][:3])
    assert crop.shape == (32, 32)
    assert alike(crop, -tomogram[13:17, 24:56, 24:56].mean(axis=0)) > 0.99
    assert alike(inside, -tomogram[13:17, 4:36, 44:76].mean(axis=0)) > 0.99
    assert np.ptp(at_edge[:13]) == 0  # outside
    assert data["particles"][3]["context"] is None
    assert page(tmp_path, table(tmp_path, boxes), context=2.0)["particles"][0]["context"] is None


def test_a_tomogram_that_is_gone_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    columns = {f"halPosition{a}Angst": ["100.0"] * 3 for a in "XYZ"}
    data = page(tmp_path, table(tmp_path, noise(3), halTomogramFile=["gone.mrc"] * 3, **columns))
    assert [p["context"] for p in data["particles"]] == [None] * 3
    assert caplog.text.count("no surroundings from gone.mrc: there is no such file") == 1
    assert "3 of 3 particles have no surroundings" in caplog.text


def turned_boxes(count: int) -> tuple[np.ndarray, dict[str, list[str]]]:
    """The shape in poses, and the columns that say which."""
    rng = np.random.default_rng(0)
    angles = rng.uniform((0, 20, 0), (360, 160, 360), size=(count, 3))
    matrices = euler_matrices(angles)
    middle = np.full(3, BOX // 2)
    boxes = np.stack([crop_turned(shape(), middle, BOX, matrix.T) for matrix in matrices])
    written = euler_angles(matrices).T
    names = ("Rot", "Tilt", "Psi")
    columns = {f"halAngle{n}": [f"{v:.4f}" for v in a] for n, a in zip(names, written, strict=True)}
    return boxes, columns


def test_the_mean_of_a_class_is_aligned(tmp_path: Path) -> None:
    boxes, columns = turned_boxes(12)
    labels = ["ribo"] * 10 + ["unlabelled"] * 2
    sure = [f"{0.1 * n:.2f}" for n in range(12)]
    particles = table(tmp_path, boxes, halLabel=labels, halProbability_ribo=sure, **columns)
    assert label_page(tmp_path, particles, np.array([10, 11]), PageSettings())
    reference = shown(tmp_path / "labels.html")["references"]["ribo"]
    assert reference["title"] == "mean of 10"
    assert alike(values(reference["volume"]), shape()) > 0.97
    assert [example["id"] for example in reference["examples"]] == ["T/9", "T/8", "T/7"]
    assert alike(values(reference["examples"][0]["box"]), boxes[9]) > 0.99
    lost = particles.without(columns)
    assert label_page(tmp_path, lost, np.array([10, 11]), PageSettings())
    reference = shown(tmp_path / "labels.html")["references"]["ribo"]
    assert reference["title"] == "mean of 10, not aligned"
    assert alike(values(reference["volume"]), shape()) < 0.9


def test_surroundings_of_turned_boxes_have_their_contrast_too(tmp_path: Path) -> None:
    boxes, columns = turned_boxes(3)
    at = np.array([[20, 20, 20], [20, 20, 60], [20, 60, 40]])
    tomogram = np.random.default_rng(2).normal(0, 0.02, (40, 80, 80)).astype(np.float32)
    half = BOX // 2
    for (z, y, x), box in zip(at, boxes, strict=True):
        tomogram[z - half : z + half, y - half : y + half, x - half : x + half] -= box
    write_volume(tmp_path / "t.mrc", tomogram, SIZE)
    upright = np.stack([shape()] * 3) + 0.02 * noise(3)  # as extract --apply-orientations cuts them
    for n, axis in enumerate("ZYX"):
        columns[f"halPosition{axis}Angst"] = (at[:, n] * SIZE).astype(str).tolist()
    columns |= {"halBoxAxes": ["particle"] * 3, "halTomogramFile": [str(tmp_path / "t.mrc")] * 3}
    data = page(tmp_path, table(tmp_path, upright, **columns), context=2.0)
    for (z, y, x), particle in zip(at, data["particles"], strict=True):
        plane = -tomogram[z - 2 : z + 2, y - 16 : y + 16, x - 16 : x + 16].mean(axis=0)
        assert alike(values(particle["context"], 2), plane) > 0.99


def test_a_box_that_is_turned_already_is_turned_back(tmp_path: Path) -> None:
    boxes, columns = turned_boxes(2)
    turns = [p["turn"] for p in page(tmp_path, table(tmp_path, boxes, **columns))["particles"]]
    particles = table(tmp_path, boxes, **columns, halBoxAxes=["particle"] * 2)
    back = [p["turn"] for p in page(tmp_path, particles)["particles"]]
    for one, other in zip(turns, back, strict=True):
        product = np.reshape(one, (3, 3)) @ np.reshape(other, (3, 3))
        np.testing.assert_allclose(product, np.eye(3), atol=1e-4)


@pytest.mark.parametrize(("fine", "edge"), [(4.0, 32), (8.0, 16), (16.0, 8)])
def test_a_map_comes_to_the_voxels_of_the_page(tmp_path: Path, fine: float, edge: int) -> None:
    write_volume(tmp_path / "ribo.mrc", shape(edge, fine / SIZE), fine)
    reference = from_map(tmp_path / "ribo.mrc", edge=BOX, pixel_size=SIZE, sign=1.0)
    assert alike(reference.volume, shape()) > 0.9
    dark = from_map(tmp_path / "ribo.mrc", edge=BOX, pixel_size=SIZE, sign=-1.0)
    np.testing.assert_array_equal(dark.volume, -reference.volume)


def test_maps_go_before_labelled_particles(tmp_path: Path) -> None:
    folder = tmp_path / "maps"
    folder.mkdir()
    for name in ("ribo", "apo"):
        write_volume(folder / f"{name}.mrc", shape(), SIZE)
    settings = page_settings(None, folder, 0)
    labels = ["ribo", "thermo", "junk", "unlabelled"]
    particles = table(tmp_path, noise(4), halLabel=labels)
    assert label_page(tmp_path, particles, np.array([3]), settings)
    data = shown(tmp_path / "labels.html")
    assert data["classes"] == ["apo", "ribo", "thermo"]
    assert {n: r["title"] for n, r in data["references"].items()} == {
        "apo": "map apo.mrc",
        "ribo": "map ribo.mrc",
        "thermo": "mean of 1, not aligned",
    }


@pytest.mark.parametrize(
    ("classes", "references", "context", "words"),
    [
        ("ribo,2nd", None, 2.5, "may not be called so"),
        ("ribo,junk", None, 2.5, "may not be called so"),
        ("a,nan", None, 2.5, "may not be called so"),
        (" , ", None, 2.5, "names no class"),
        (None, None, 0.5, "at least 1 box"),
        (None, "nowhere", 2.5, "must be a folder"),
        (None, "empty", 2.5, "holds no maps"),
        (None, "bad", 2.5, "called like its class"),
        (None, "stack", 2.5, "no single map"),
    ],
)
def test_settings_that_make_no_sense(
    in_tmp: Path, classes: str | None, references: str | None, context: float, words: str
) -> None:
    for name in ("empty", "bad", "stack"):
        Path(name).mkdir()
    write_volume(Path("bad/26S proteasome.mrc"), shape(), SIZE)
    write_stack(Path("stack/ribo.mrc"), iter([noise(2)]), 2, BOX, pixel_size=SIZE)
    with pytest.raises(HalcmdError, match=words):
        page_settings(classes, Path(references) if references else None, context)


def test_classes_keep_their_order() -> None:
    assert page_settings("thermo, ribo,thermo", None, 0).classes == ("thermo", "ribo")


def test_data_cannot_end_their_block() -> None:
    nasty = {"a": "</script><!--<script>&\u2028\u2029é"}
    text = as_script_data(nasty)
    assert text.isascii()
    assert not set("<>&") & set(text)
    assert json.loads(text) == nasty


def test_query_writes_the_page(in_tmp: Path) -> None:
    write_particles(Path("p.star"), table(Path(), noise(6)))
    command = ["query", "--i", "p.star", "--strategy", "random", "--n", "4", "--o"]
    assert CliRunner().invoke(app, [*command, "Q/", "--classes", "ribo,apo"]).exit_code == 0
    data = shown(Path("Q/labels.html"))
    assert data["classes"] == ["ribo", "apo"]
    assert data["table"] == "Q/particles.star"
    assert len(data["particles"]) == 4
    assert CliRunner().invoke(app, [*command, "N/", "--no-label-page"]).exit_code == 0
    assert not Path("N/labels.html").exists()
    bare = new_particles({"halParticleId": ["T/1", "T/2"]})
    write_particles(Path("bare.star"), bare)
    command[2] = "bare.star"
    done = CliRunner().invoke(app, [*command, "B/"])
    assert done.exit_code == 0
    assert not Path("B/labels.html").exists()
    assert "no labels.html: the table names no subtomograms" in done.output
