"""A report is one file that loads nothing, runs nothing, and is the same each time."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from halcmd.formats.report import Listing, Picture, write_report

NASTY = "<script>alert('a & b')</script>"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+M8AAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)


class Page(HTMLParser):
    """Tags with their attributes, text by tag, all that would be loaded, and what is left open."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attributes]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.text.setdefault(self.open[-1], []).append(data)

    def loaded(self) -> list[str]:
        return [v for n, v in self.attributes if n in ("src", "href", "srcset", "action", "data")]


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    (tmp_path / "a.png").write_bytes(PIXEL)
    return Picture(tmp_path / "a.png", "A pixel", f"One pixel {NASTY}.")


def written(path: Path, picture: Picture) -> Page:
    write_report(
        path,
        title=f"Scores {NASTY}",
        summary=f"2 particles {NASTY}",
        facts={"table": f"{NASTY}.star"},
        pictures=[picture],
        listings=[
            Listing("Classes", ("class", "count"), [("rod", "1,234"), (NASTY, "56")]),
            Listing("Nothing", ("class",), []),
        ],
        provenance={"halcmd": "0.1.0", "model": NASTY},
    )
    return Page(path)


def test_everything_from_outside_is_escaped(tmp_path, picture):
    page = written(tmp_path / "report.html", picture)
    assert page.open == []
    assert "script" not in page.tags
    for tag in ("h1", "title", "p", "td", "figcaption", "span"):
        assert any(NASTY in text for text in page.text[tag]), tag


def test_nothing_is_loaded_from_elsewhere(tmp_path, picture):
    page = written(tmp_path / "report.html", picture)
    assert page.loaded() == ["data:image/png;base64," + base64.b64encode(PIXEL).decode()]
    assert {"link", "script", "iframe", "object", "base"}.isdisjoint(page.tags)
    assert not re.search(r"url\(|@import|https?:", (tmp_path / "report.html").read_text())
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "style"]


def test_the_policy_lets_the_style_of_the_report_through_and_no_other(tmp_path, picture):
    page = written(tmp_path / "report.html", picture)
    attributes = dict(page.attributes)
    policy = next(v for n, v in page.attributes if n == "content" and "default-src" in v)
    assert attributes["http-equiv"] == "Content-Security-Policy"
    (style,) = page.text["style"]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_tables_have_their_rows_and_empty_ones_are_left_out(tmp_path, picture):
    page = written(tmp_path / "report.html", picture)
    assert page.text["h2"] == ["A pixel", "Classes"]
    assert page.text["td"] == [f"{NASTY}.star", "rod", "1,234", NASTY, "56"]
    assert page.attributes.count(("class", "number")) == 3  # one heading and its two values


def test_the_same_report_has_the_same_bytes(tmp_path, picture):
    written(tmp_path / "a.html", picture)
    written(tmp_path / "b.html", picture)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
