"""The report of score: which files, what they say; for few, alike and unlabelled particles too."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from halcmd.formats.features import feature_file
from halcmd.formats.model import ModelInfo
from halcmd.formats.mrc_writing import write_stack
from halcmd.networks.classifier import LoadedModel, new_network
from halcmd.particles import Particles, new_particles
from halcmd.reports import scores, slices
from halcmd.reports.scores import write_score_report
from halcmd.subtomograms import open_boxes

N, BOX = 40, 8
INFO = ModelInfo(
    network="compact",
    widths=(8, 8, 8, 8),
    dropout=0.0,
    classes={"rod": 2, "ball": 3, "junk": 7},
    box=BOX,
    pixel_size=12.0,
    contrast="bright",
    tilt_range=None,
)
NASTY = "<script>alert(1)</script>"
LABELS = [*["rod", "ball"] * 6, "skip", *["unlabelled"] * (N - 13)]


@pytest.fixture
def table(tmp_path: Path, rng: np.random.Generator) -> Particles:
    boxes = rng.normal(size=(N, BOX, BOX, BOX)).astype(np.float32)
    names = write_stack(tmp_path / "stack.mrcs", [boxes], N, BOX, pixel_size=12.0)
    columns: dict[str, list[object]] = {
        "halParticleId": [f"TS_1/{row:06d}" for row in range(N)],
        "halImageName": list(names),
        "halLabel": list(LABELS),
    }
    return new_particles(columns)


@pytest.fixture
def probabilities(rng: np.random.Generator) -> np.ndarray:
    return rng.dirichlet(np.full(3, 0.3), N)


def report(
    folder: Path,
    table: Particles,
    probabilities: np.ndarray,
    *,
    vectors: np.ndarray | None = None,
    info: ModelInfo = INFO,
) -> str:
    """The text of report.html."""
    folder.mkdir()
    n = len(table)
    if vectors is None:
        vectors = np.random.default_rng(0).normal(size=(n, 16))
    with feature_file(folder / "embedding.npy", vectors.shape) as array:
        array[:] = vectors
    network = new_network("compact", box=16, n_classes=1, widths=INFO.widths)
    loaded = LoadedModel(network, info, "0123456789abcdef")
    write_score_report(
        folder,
        table,
        np.arange(n),
        probabilities[:n],
        boxes=open_boxes(table),
        models={Path("Train1/model.safetensors"): loaded},
        seed=0,
    )
    return (folder / "report.html").read_text()


def test_the_same_scores_give_the_same_bytes(tmp_path, table, probabilities):
    for name in ("a", "b"):
        report(tmp_path / name, table, probabilities)
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {"embedding.npy", "embedding.png", "particles.png", "report.html"}
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_it_counts_the_classes(tmp_path, table):
    probabilities = np.tile([0.9, 0.1, 0.0], (N, 1))
    probabilities[:10] = [0.3, 0.7, 0.0]
    text = report(tmp_path / "a", table, probabilities)
    assert "30 particles (75 %) have a class at a probability of 0.8 or more" in text
    assert "40 of 40 scored, 13 of them labelled" in text
    cells = text.replace(' class="number"', "").replace("</td><td>", " ")
    for row in ("rod 6 30 30", "ball 6 10 0", "junk 0 0 0", "skip 1 0 0"):
        assert f"<tr><td>{row}</td></tr>" in cells, row


def test_names_are_escaped(tmp_path, table, probabilities):
    names = [f"{NASTY}/{row:06d}" for row in range(N)]
    text = report(tmp_path / "a", table.with_columns({"halParticleId": names}), probabilities)
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;/000" in text


def test_the_sheet_shows_the_particles_that_the_report_lists(
    tmp_path, table, probabilities, monkeypatch
):
    drawn = []
    monkeypatch.setattr(scores, "plot_slices", lambda path, groups, **_: drawn.extend(groups))
    monkeypatch.setattr(scores, "write_report", lambda path, **page: drawn.append(page))
    monkeypatch.setattr(slices, "gaussian_filter", lambda box, sigma: box)
    with pytest.raises(FileNotFoundError):  # of report.html, which is not written here
        report(tmp_path / "a", table, probabilities)
    most, least, page = drawn
    confidence = probabilities.max(axis=1)
    assert len(most.captions) == len(least.captions) == 12
    expected = np.argsort(confidence)[:12]
    assert [name for name, _ in least.captions] == [f"TS_1/{row:06d}" for row in expected]
    row = expected[0]
    guess = f"{list(INFO.classes)[probabilities[row].argmax()]} {confidence[row]:.2f}"
    known = "" if LABELS[row] == "unlabelled" else f", labelled {LABELS[row]}"
    assert least.captions[0][1] == guess + known
    whole = open_boxes(table).read(expected[:1])[0]
    planes = whole[BOX // 2], whole[:, BOX // 2], whole[:, :, BOX // 2]
    np.testing.assert_array_equal(least.planes[0], planes)
    for group, listing in zip((most, least), page["listings"][1:], strict=True):
        assert [name for name, _ in group.captions] == [line[0] for line in listing.rows]


def test_large_tables_are_sampled(tmp_path, table, probabilities, monkeypatch):
    monkeypatch.setattr(scores, "_POINTS", 35)
    read_rows = []
    inside = scores.on_a_plane
    monkeypatch.setattr(
        scores,
        "on_a_plane",
        lambda vectors, seed: (read_rows.append(vectors), inside(vectors, seed))[1],
    )
    text = report(tmp_path / "a", table, probabilities)
    assert "35 of 40 particles, labelled ones first; t-SNE of the embedding" in text
    assert read_rows[0].shape == (35, 16)
    assert not isinstance(read_rows[0].base, np.memmap)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_particles(tmp_path, table, probabilities, n):
    text = report(tmp_path / "a", table.take(range(n)), probabilities)
    assert "All particles; the first two principal components" in text
    assert "nan" not in text.split("base64")[0]


def test_nothing_labelled(tmp_path, table, probabilities):
    bare = table.without(["halLabel"])
    assert "0 of them labelled" in report(tmp_path / "a", bare, probabilities)


def test_alike_particles_of_one_class(tmp_path, table):
    ones = np.tile([1.0, 0.0, 0.0], (N, 1))
    report(tmp_path / "a", table, ones, vectors=np.ones((N, 16)))
    assert (tmp_path / "a" / "particles.png").exists()


def test_a_pretrained_model_has_a_map_alone(tmp_path, table):
    info = replace(INFO, classes={})
    text = report(tmp_path / "a", table, np.empty((N, 0)), info=info)
    assert not (tmp_path / "a" / "particles.png").exists()
    assert "the model has no classes" in text
    assert text.count("<img") == 1
