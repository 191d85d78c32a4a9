"""CryoET Data Portal annotations (.ndjson): one JSON object in each line, locations in voxels.

The voxels are those of the annotated tomogram, counted from 0. What was annotated stands in the
annotation's metadata beside the file (same stem, .json).
"""

from pathlib import Path

import numpy as np

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.formats.files import read_text
from halcmd.formats.pick_file import PickFile
from halcmd.importers._json_points import location, matrix, parse, plain
from halcmd.picks.picks import Picks, source_table

_ROTATION = "xyz_rotation_matrix"


def recognises(file: PickFile) -> bool:
    """Whether the first line is a JSON object with a location."""
    if file.star is not None or not file.text.lstrip().startswith("{"):
        return False
    try:
        first = parse(file.text.lstrip().split("\n", 1)[0], str(file.path))
    except InputError:
        return False
    return isinstance(first, dict) and "location" in first


def read(file: PickFile) -> Picks:
    """Picks in voxels of the annotated tomogram.

    Raises
    ------
    InputError
        A line is no JSON, has no location, or a value is no number.
    """
    where = str(file.path)
    lines = [(n, line) for n, line in enumerate(file.text.split("\n"), 1) if line.strip()]
    places = [f"{where}, line {n}" for n, _ in lines]
    points = [parse(line, place) for (_, line), place in zip(lines, places, strict=True)]
    coordinates = [location(p, place) for p, place in zip(points, places, strict=True)]
    turned = [_ROTATION in point for point in points]
    rotations = None
    if any(turned) and not all(turned):
        log.warning(f"{where}: points without {_ROTATION}, so these picks have no orientations")
    if all(turned):
        rotations = np.array(
            [matrix(p[_ROTATION], 3, _ROTATION, at) for p, at in zip(points, places, strict=True)]
        )
    fields = {axis: [plain(point["location"][axis]) for point in points] for axis in "xyz"}
    others = dict.fromkeys(key for point in points for key in point)
    fields |= {
        key: [plain(point.get(key, "none")) for point in points]
        for key in others
        if key not in {"location", _ROTATION}
    }
    name = _object_name(file.path)
    return Picks(
        path=file.path,
        producer="ndjson",
        particles=source_table(fields, file.path),
        tomograms=np.full(len(points), "", dtype=object),
        coordinates=np.array(coordinates),
        rotations=rotations,
        classes=None if name is None else np.full(len(points), name, dtype=object),
    )


def _object_name(path: Path) -> str | None:
    """The annotated object, from the metadata beside the file; None where there is none."""
    beside = path.with_suffix(".json")
    if not beside.exists():
        return None
    try:
        found = parse(read_text(beside), str(beside))
    except InputError as error:
        log.warning(f"{path}: {beside.name} does not say what was annotated: {error.message}")
        return None
    about = found.get("annotation_object") if isinstance(found, dict) else None
    name = about.get("name") if isinstance(about, dict) else None
    return "_".join(name.split()) if isinstance(name, str) and name.strip() else None
