"""copick picks (JSON): locations in Angstrom from the first voxel, of one object in one run.

The translation of transformation_ is added to the location; its rotation turns the object into the
tomogram (copick, models.py). Some programs repeat the location as the translation: it counts once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.formats.pick_file import PickFile
from halcmd.importers._json_points import location, matrix, parse, plain
from halcmd.picks.picks import Picks, source_table

_TRANSFORMATION = "transformation_"
_SAME_ANGSTROM = 1e-3


def recognises(file: PickFile) -> bool:
    """Whether the file is one JSON object with copick's fields."""
    if file.star is not None or not file.text.lstrip().startswith("{"):
        return False
    try:
        found = parse(file.text, str(file.path))
    except InputError:
        return False
    return isinstance(found, dict) and {"pickable_object_name", "points"} <= set(found)


def read(file: PickFile) -> Picks:
    """Picks in Angstrom; the object's name is their class, the run their tomogram.

    Raises
    ------
    InputError
        There are no points, they are of another unit, or a value is no number.
    """
    where = str(file.path)
    found = parse(file.text, where)
    points = found.get("points") if isinstance(found, dict) else None
    if not isinstance(points, list) or not points:
        raise InputError("this copick file has no points", where=where)
    unit = found.get("unit", "angstrom")
    if unit != "angstrom":
        raise InputError(
            "copick points must be in Angstrom",
            where=where,
            found=str(unit)[:40],
            hint="--coords pixel with a CSV file, or export them in Angstrom",
        )
    places = [f"{where}, point {n}" for n in range(1, len(points) + 1)]
    coordinates = np.array([location(p, place) for p, place in zip(points, places, strict=True)])
    poses = _poses(points, places)
    trusted = poses is not None and found.get("trust_orientation", True) is not False
    name = str(found.get("pickable_object_name"))
    fields = {axis: [plain(point["location"][axis]) for point in points] for axis in "xyz"}
    fields |= {key: [plain(point.get(key)) for point in points] for key in ("instance_id", "score")}
    fields |= {
        key: [plain(found.get(key, "none"))] * len(points)
        for key in ("pickable_object_name", "user_id", "session_id", "run_name")
    }
    run = found.get("run_name")
    return Picks(
        path=file.path,
        producer="copick",
        particles=source_table(fields, file.path),
        tomograms=np.full(len(points), run if isinstance(run, str) else "", dtype=object),
        coordinates=coordinates,
        unit="angstrom",
        shifts=None if poses is None else _shifts(poses[:, :3, 3], coordinates, where),
        rotations=poses[:, :3, :3] if poses is not None and trusted else None,
        classes=np.full(len(points), name, dtype=object),
    )


def _poses(points: Sequence[Mapping[str, Any]], places: Sequence[str]) -> np.ndarray | None:
    """transformation_ of each point, shape (n, 4, 4); None where no point has one."""
    stated = [point.get(_TRANSFORMATION) for point in points]
    if all(value is None for value in stated):
        return None
    return np.array(
        [
            np.eye(4) if value is None else matrix(value, 4, _TRANSFORMATION, place)
            for value, place in zip(stated, places, strict=True)
        ]
    )


def _shifts(translations: np.ndarray, coordinates: np.ndarray, where: str) -> np.ndarray | None:
    """Translations to be added; None where there are none, or where they repeat the locations."""
    if not translations.any():
        return None
    if np.abs(translations - coordinates).max() > _SAME_ANGSTROM:
        return translations
    log.warning(
        f"{where}: the translations of {_TRANSFORMATION} repeat the locations and are left out"
    )
    return None
