"""A report as one HTML file: facts, pictures and tables, with nothing to be loaded from elsewhere.

Pictures are inside it. Whatever comes from tables is escaped, and a Content-Security-Policy forbids
scripts, network and any style but the report's own. jinja2 is loaded when a report is written.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from halcmd.formats.files import read_bytes, write_text

if TYPE_CHECKING:
    from markupsafe import Markup

# With a bound or a sign, a unit, an interval; or the dash that stands for none.
_NUMBER = re.compile(r"\N{EN DASH}|([<>] )?[+-]?[\d,]*\.?\d+( %)?( \([^()]+ to [^()]+\))?")


@dataclass(frozen=True)
class Picture:
    """A PNG file, with its heading and a sentence on how to read it."""

    file: Path
    title: str
    caption: str


@dataclass(frozen=True)
class Drawing:
    """An SVG element of ``halcmd.formats.drawings``, with a heading and how to read it."""

    svg: str
    title: str
    caption: str


@dataclass(frozen=True)
class Listing:
    """A table: heading, names of columns, rows of text. Columns of numbers are aligned right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_report(
    path: Path,
    *,
    title: str,
    summary: str,
    facts: Mapping[str, str],
    pictures: Sequence[Picture | Drawing],
    listings: Sequence[Listing] = (),
    provenance: Mapping[str, str],
    notice: str = "",
) -> None:
    """Write a report; the same arguments and pictures give the same bytes.

    Parameters
    ----------
    path : Path
        The HTML file to write.
    title, summary : str
        What was done, in a few words and in a sentence.
    facts : mapping of str to str
        What is said of the job, by name.
    pictures : sequence of Picture or Drawing
        In the order of the page.
    listings : sequence of Listing
        Beneath the pictures; those without rows are left out.
    provenance : mapping of str to str
        What made it, such as the version and the seed.
    notice : str
        What to know first, above all else.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("halcmd.formats"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = environment.get_template("report.css").render()
    page = environment.get_template("report.html").render(
        title=title,
        summary=summary,
        facts=facts,
        notice=notice,
        pictures=[(picture, _element(picture)) for picture in pictures],
        listings=[listing for listing in listings if listing.rows],
        provenance=provenance,
        style=style,
        style_hash=_base64(hashlib.sha256(style.encode()).digest()),
        is_number=_is_number,
    )
    write_text(path, page)


def _element(picture: Picture | Drawing) -> "Markup":
    """What shows a picture: an image with the file inside it, or the drawing as it is."""
    from markupsafe import Markup

    if isinstance(picture, Drawing):
        return Markup(picture.svg)
    data = _base64(read_bytes(picture.file))
    return Markup('<img src="data:image/png;base64,{}" alt="{}">').format(data, picture.title)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _is_number(text: str) -> bool:
    """Whether a cell holds a number, with its interval or unknown ones included."""
    return _NUMBER.fullmatch(text) is not None
