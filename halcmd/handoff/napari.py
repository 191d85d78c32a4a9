"""``napari/<tomogram>.csv``: points of napari with their properties, and ``open.py`` to label them.

The layout is that of napari's own reader and writer of points: index, axis-0, axis-1, axis-2 (z, y,
x in voxels), then one column for each property, of which halLabel is to be filled in.
"""

import json
from pathlib import Path

from halcmd.columns import COLUMNS
from halcmd.formats.files import write_csv, write_text
from halcmd.formats.star import text_of
from halcmd.handoff.places import Group, by_tomogram, check_places, offered_classes, seen_from
from halcmd.particles import NOT_TRAINED, Particles

_PROPERTIES = ("halQueryRank", "halPredictedClass", "halProbability")
_SCRIPT = '''"""Look at the particles of a tomogram in napari and label them.

python open.py TOMOGRAM    (pip install "napari[all]" mrcfile)

Select points with the arrow of the layer controls and press the number of a class, or 0 for none.
Closing the window, or S, writes the labels into the CSV file of the tomogram.
"""

import csv
import sys
from pathlib import Path

import mrcfile
import napari
import numpy as np

FOLDER = Path(__file__).resolve().parent
TOMOGRAMS = @TOMOGRAMS@
CLASSES = @CLASSES@


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    columns = dict(zip(header, zip(*rows)))
    columns.pop("index")
    axes = [columns.pop(f"axis-{n}") for n in range(3)]
    points = np.array(axes, dtype=float).T
    return points, {name: np.array(values, dtype=object) for name, values in columns.items()}


def write(path, layer):
    table = layer.features.copy()
    table.loc[table.duplicated("halParticleId"), "halParticleId"] = ""  # added here
    rows = zip(layer.data.tolist(), table.astype(str).to_numpy().tolist())
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["index", "axis-0", "axis-1", "axis-2", *table.columns])
        writer.writerows([n, *point, *values] for n, (point, values) in enumerate(rows))
    print(f"{path}: {sum(table['halLabel'] != '')} of {len(table)} points have a label")


def give(layer, label):
    table = layer.features.copy()
    table.loc[sorted(layer.selected_data), "halLabel"] = label
    layer.features = table
    layer.refresh_text()


def show(viewer, name):
    path = FOLDER / f"{name}.csv"
    with mrcfile.mmap(FOLDER / TOMOGRAMS[name], permissive=True) as file:
        sample = file.data[len(file.data) // 2]
        limits = np.percentile(sample, (1, 99)).astype(float).tolist()
        viewer.add_image(file.data, name=name, contrast_limits=limits)
    points, properties = read(path)
    layer = viewer.add_points(
        points,
        features=properties,
        name=f"{name} particles",
        text={"string": "{halQueryRank} {halLabel}", "size": 10, "translation": [0, -8, 0]},
        size=12,
        face_color="transparent",
        border_color="yellow",
        out_of_slice_display=True,
    )
    for number, label in enumerate(["", *CLASSES[:9]]):
        layer.bind_key(str(number), lambda layer, label=label: give(layer, label), overwrite=True)
    layer.bind_key("s", lambda layer: write(path, layer), overwrite=True)
    viewer.dims.set_point(0, points[0, 0])
    return path, layer


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in TOMOGRAMS:
        sys.exit(f"python open.py TOMOGRAM, one of: {' '.join(TOMOGRAMS)}")
    viewer = napari.Viewer()
    path, layer = show(viewer, sys.argv[1])
    viewer.text_overlay.text = "  ".join(f"{n} {c}" for n, c in enumerate(CLASSES[:9], 1))
    viewer.text_overlay.visible = True
    napari.run()
    write(path, layer)
'''


def check(particles: Particles) -> None:
    """Raise InputError where a particle has no position in a tomogram."""
    check_places(particles, "napari")


def write(particles: Particles, folder: Path) -> list[Path]:
    """Write a CSV file of points for each tomogram, and the script that opens them."""
    place = folder / "napari"
    groups = by_tomogram(particles)
    paths = [_write_points(place, group) for group in groups]
    volumes = {group.stem: seen_from(place, group.file) for group in groups}
    classes = [*offered_classes(particles), *NOT_TRAINED]
    text = _SCRIPT.replace("@TOMOGRAMS@", json.dumps(volumes, indent=4))
    script = place / "open.py"
    write_text(script, text.replace("@CLASSES@", json.dumps(classes)))
    return [script, *paths]


def _write_points(folder: Path, group: Group) -> Path:
    particles = group.particles
    properties = {
        "halParticleId": particles.ids.tolist(),
        "halTomogram": [group.name] * len(particles),
        **{name: particles.text(name, COLUMNS[name].empty).tolist() for name in _PROPERTIES},
        "halLabel": [""] * len(particles),
    }
    axes = [text_of(group.voxels[:, axis], 4) for axis in (2, 1, 0)]
    path = folder / f"{group.stem}.csv"
    index = map(str, range(len(particles)))
    rows = zip(index, *axes, *properties.values(), strict=True)
    write_csv(path, ["index", "axis-0", "axis-1", "axis-2", *properties], rows)
    return path
