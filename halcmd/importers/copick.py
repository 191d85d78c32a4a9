"""copick picks (JSON): locations in Angstrom from the first voxel, of one object in one run.

The translation of transformation_ is added to the location; its rotation turns the object into the
tomogram (copick, models.py).
"""

import numpy as np

from halcmd.errors import InputError
from halcmd.importers.json_points import location, matrix, parse, plain
from halcmd.importers.pick_file import PickFile
from halcmd.importers.picks import Picks, source_table

_IDENTITY = np.eye(4)


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
    coordinates = [location(p, place) for p, place in zip(points, places, strict=True)]
    poses = np.array(
        [
            matrix(p.get("transformation_", _IDENTITY), 4, "transformation_", place)
            for p, place in zip(points, places, strict=True)
        ]
    )
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
        coordinates=np.array(coordinates),
        unit="angstrom",
        shifts=poses[:, :3, 3] if np.any(poses[:, :3, 3]) else None,
        rotations=poses[:, :3, :3],
        classes=np.full(len(points), name, dtype=object),
    )
