"""report.html of evaluate in a browser: complete, legible, light and dark, names are only names."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from halcmd.steps.evaluate import evaluate
from halcmd.tables import read_particles
from tests.steps.rounds_of_tables import written

HOSTILE = ("<script>alert(1)</script>", "'&amp;<svg/onload=x>", "$\\frac{$", "}]]-->")

pytestmark = pytest.mark.xdist_group("browser")


def report(folder: Path, *, earlier: bool = True, **settings: Any) -> Path:
    """The report of four rounds."""
    changes = [0.1, 0.1, 0.1] if earlier else []
    paths = written(folder, changes, boxes=True, rows=500, **settings)
    evaluate(read_particles([paths[-1]]), folder / "E", previous=paths[:-1], by="tomogram")
    return folder / "E" / "report.html"


def clipped(page: Any) -> list[str]:
    """Texts of drawings that reach beyond their drawing."""
    script = """() => [...document.querySelectorAll("svg text")].filter(text => {
        const inside = text.getBoundingClientRect();
        const box = text.ownerSVGElement.getBoundingClientRect();
        return inside.left < box.left - 1 || inside.right > box.right + 1
            || inside.top < box.top - 1 || inside.bottom > box.bottom + 1;
    }).map(text => text.textContent)"""
    return list(page.evaluate(script))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_is_complete_and_legible(
    tmp_path: Path, visit: Callable[..., Any], scheme: str
) -> None:
    page = visit(report(tmp_path), scheme)
    assert page.locator(".notice").inner_text().startswith("Label more? Go on: ")
    assert page.locator("h2").all_inner_texts() == [
        "Confusion",
        "Classes",
        "The worst confusions",
        "Tomograms",
        "Calibration",
        "Accuracy from round to round",
        "Agreement with the round before",
        "All classes",
        "Each class",
        "Rounds",
        "Each tomogram",
    ]
    assert page.locator("figure svg").count() == 6
    assert page.locator("figure img").evaluate("image => image.naturalWidth") > 500
    assert clipped(page) == []
    background, text = (
        int(re.findall(r"\d+", page.locator(where).first.evaluate(look))[0])
        for where, look in (
            ("body", "element => getComputedStyle(element).backgroundColor"),
            ("svg text", "element => getComputedStyle(element).fill"),
        )
    )
    assert abs(background - text) > 80
    assert (background > 128) == (scheme == "light")
    assert "model model3" in page.locator("footer").inner_text()


def test_without_earlier_rounds_the_page_says_how_to_get_advice(
    tmp_path: Path, visit: Callable[..., Any]
) -> None:
    page = visit(report(tmp_path, earlier=False))
    assert "Cannot tell: no earlier round is given (--previous)" in page.inner_text(".notice")
    assert page.locator("figure svg").count() == 4


def test_names_of_classes_are_only_names(tmp_path: Path, visit: Callable[..., Any]) -> None:
    page = visit(report(tmp_path, classes=HOSTILE))
    assert page.locator("script").count() == 0
    assert page.locator("svg svg").count() == 0
    names = page.locator("section", has_text="Each class").locator("td:first-child")
    assert sorted(names.all_inner_texts()) == sorted(HOSTILE)
    titles = page.locator("svg title").all_text_contents()
    assert any(title.startswith(f"{HOSTILE[0]} taken for") for title in titles)


def test_without_a_report_there_are_numbers_alone(tmp_path: Path) -> None:
    paths = written(tmp_path, [0.1])
    particles = read_particles([paths[-1]])
    evaluate(particles, tmp_path / "E", previous=paths[:-1], report=False)
    assert {path.name for path in (tmp_path / "E").iterdir()} == {
        "evaluation.star",
        "particles.star",
    }


def test_boxes_that_are_not_there_leave_the_slices_out(tmp_path: Path) -> None:
    path = report(tmp_path, earlier=False)
    with_slices = path.read_text()
    (tmp_path / "boxes.mrcs").unlink()
    (path.parent / "confused.png").unlink()
    evaluate(read_particles([tmp_path / "Score1.star"]), path.parent, by="tomogram")
    assert "The worst confusions" in with_slices
    assert "The worst confusions" not in path.read_text()
    assert not (path.parent / "confused.png").exists()


def test_the_same_evaluation_has_the_same_bytes(tmp_path: Path) -> None:
    first = report(tmp_path).read_bytes()
    assert report(tmp_path).read_bytes() == first
