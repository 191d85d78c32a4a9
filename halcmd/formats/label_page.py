"""The page to label particles on, as one HTML file that loads nothing from elsewhere.

Script and style are inside it, allowed by their hashes alone; the data stand in a block of JSON
that cannot end early. jinja2 is loaded when a page is written.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from halcmd.formats.files import write_text

_SCRIPTS = (
    "volumes.js",
    "answers.js",
    "pictures.js",
    "single.js",
    "grid.js",
    "keys.js",
    "start.js",
)
"""In this order they are one script."""


def write_label_page(path: Path, data: Mapping[str, Any]) -> int:
    """Write a page; the same data give the same bytes.

    Parameters
    ----------
    path : Path
        The HTML file to write.
    data : mapping
        As ``halcmd.reports.labelling`` makes it: text, numbers, lists and mappings of them.

    Returns
    -------
    int
        Its size in bytes.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("halcmd.formats", "templates/label_page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = environment.get_template("page.css").render()
    script = "\n".join(environment.get_template(name).render() for name in _SCRIPTS)
    page = environment.get_template("page.html").render(
        data=as_script_data(data),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        title=data["title"],
    )
    write_text(path, page)
    return len(page.encode())


def as_script_data(data: Mapping[str, Any]) -> str:
    """JSON of ASCII that is safe between ``<script>`` tags: without <, > and &."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
