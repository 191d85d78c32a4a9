"""montage: pages of particles to label on paper."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from halcmd.console import log
from halcmd.formats.montage import PER_PAGE, Card, write_montage
from halcmd.formats.mrc_writing import write_stack
from halcmd.particles import Particles, new_particles
from halcmd.reports.montage import MOST, montage

BOX = 8
PAGES = re.compile(rb"/Type /Page\b")


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    log.propagate = True
    caplog.set_level(logging.INFO, logger="halcmd")
    yield
    log.propagate = False


def particles(folder: Path, count: int, rng: np.random.Generator) -> Particles:
    boxes = rng.normal(size=(count, BOX, BOX, BOX)).astype(np.float32)
    names = write_stack(folder / "boxes.mrcs", [boxes], count, BOX, pixel_size=10.0)
    return new_particles(
        {
            "halParticleId": [f"T/{n:06d}" for n in range(count)],
            "halImageName": names,
            "halQueryRank": range(1, count + 1),
            "halPredictedClass": ["ribo$ome"] * count,
            "halProbability": ["0.5", *["nan"] * (count - 1)],
        }
    )


def pages(path: Path) -> int:
    return len(PAGES.findall(path.read_bytes()))


@pytest.mark.parametrize("count", [1, PER_PAGE, PER_PAGE + 1])
def test_all_particles_stand_on_pages_and_the_first_is_a_picture(
    tmp_path: Path, rng: np.random.Generator, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    montage(particles(tmp_path, count, rng), tmp_path / "job", "hal")
    assert pages(tmp_path / "job/montage.pdf") == -(-count // PER_PAGE)
    assert "to label on paper" in caplog.text
    with Image.open(tmp_path / "job/montage.png") as picture:
        assert picture.size == pytest.approx((210 / 25.4 * 150, 297 / 25.4 * 150), abs=1)
        page = np.asarray(picture.convert("L"))
    last_card = page[-180:-100, :600] if count < PER_PAGE else page[-180:-100, -600:]
    assert (page < 250).any()
    assert (last_card < 250).any() == (count >= PER_PAGE)


def test_the_same_particles_make_the_same_bytes(tmp_path: Path, rng: np.random.Generator) -> None:
    table = particles(tmp_path, 3, rng)
    for name in "ab":
        montage(table, tmp_path / "job", "hal")
        for suffix in ("pdf", "png"):
            (tmp_path / f"job/montage.{suffix}").rename(tmp_path / f"{name}.{suffix}")
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_more_than_fit_are_left_out_and_the_page_says_so(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def keep(pdf: Path, png: Path, cards: list[Card], *, heading: str, **_: object) -> None:
        drawn.append((len(cards), heading))

    monkeypatch.setattr("halcmd.reports.montage.write_montage", keep)
    montage(particles(tmp_path, MOST + 1, rng), tmp_path, "hal")
    ((count, heading),) = drawn
    assert count == MOST
    assert heading.startswith("the first 200 of 201 particles")


def test_slices_and_texts_are_those_of_the_particle(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards: list[Card] = []
    monkeypatch.setattr(
        "halcmd.reports.montage.write_montage", lambda pdf, png, drawn, **_: cards.extend(drawn)
    )
    table = particles(tmp_path, 2, rng)
    montage(table, tmp_path, "hal")
    assert [(c.rank, c.name, c.predicted) for c in cards] == [
        ("1", "T/000000", "ribo$ome 0.50"),
        ("2", "T/000001", "ribo$ome"),
    ]
    from halcmd.subtomograms import open_boxes

    box = open_boxes(table).read(np.array([1]))[0]
    expected = [box[4], box[:, 4], box[:, :, 4], box[3:5].mean(axis=0)]
    np.testing.assert_allclose(cards[1].planes, expected, atol=1e-6)


def test_picks_without_boxes_have_none_and_the_log_says_why(
    tmp_path: Path, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    table = particles(tmp_path, 2, rng)
    montage(table.without(["halImageName"]), tmp_path / "job", "random")
    assert "no montage: these are picks without boxes" in caplog.text
    montage(table.with_columns({"halImageName": ["gone.mrc"] * 2}), tmp_path / "job", "random")
    assert "no montage: there is no such file" in caplog.text
    assert not (tmp_path / "job").exists()


def test_a_flat_plane_is_drawn_too(tmp_path: Path) -> None:
    card = Card("1", "T/000001", "", np.zeros((4, 6, 6)))
    write_montage(
        tmp_path / "a.pdf", tmp_path / "a.png", [card], heading="h", note="n", pixel_size=1.0
    )
    assert pages(tmp_path / "a.pdf") == 1
