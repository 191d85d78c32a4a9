"""``ArtiaX/<tomogram>.cxc``: opens a tomogram and its particles in ChimeraX with ArtiaX.

ArtiaX keeps the numbers of a STAR file and drops its texts (RELIONParticleData.py), so a number
stands for halParticleId and one for the tomogram. One list for each tomogram; coordinates in its
voxels, which rlnPixelSize says.
"""

from pathlib import Path

import numpy as np

from halcmd.formats.files import write_text
from halcmd.formats.star import Star, Table, text_of, write_star
from halcmd.handoff.places import Group, by_tomogram, check_places, seen_from
from halcmd.labels.matching import id_number
from halcmd.particles import Particles

_ANGLES = {
    "rlnAngleRot": "halAngleRot",
    "rlnAngleTilt": "halAngleTilt",
    "rlnAnglePsi": "halAnglePsi",
}
_NUMBERS = ("halQueryRank", "halProbability", "halEntropy", "halMargin", "halScore")
_DEFAULT_RADIUS = 8  # voxels, where there is no box


def check(particles: Particles) -> None:
    """Raise InputError where a particle has no position in a tomogram."""
    check_places(particles, "artiax")


def write(particles: Particles, folder: Path) -> list[Path]:
    """Write a particle list and a script for each tomogram; the scripts come first."""
    scripts, lists = [], []
    for group in by_tomogram(particles):
        place = folder / "ArtiaX"
        lists.append(place / f"{group.stem}.star")
        write_star(lists[-1], Star((_table(group),)))
        scripts.append(place / f"{group.stem}.cxc")
        write_text(scripts[-1], _script(group, place))
    return [*scripts, *lists]


def _table(group: Group) -> Table:
    particles = group.particles
    columns: dict[str, list[str]] = {
        "rlnMicrographName": [group.file] * len(particles),
        "halParticleId": particles.ids.tolist(),
        "halParticleNumber": [str(id_number(name)) for name in particles.ids],
        "halTomogramNumber": [str(id_number(group.name))] * len(particles),
    }
    for axis, values in zip("XYZ", group.voxels.T, strict=True):
        columns[f"rlnCoordinate{axis}"] = text_of(values, 4)
    for label, own in _ANGLES.items():
        columns[label] = text_of(np.nan_to_num(particles.number(own)), 3)
    columns["rlnPixelSize"] = text_of([group.pixel_size] * len(particles), 5)
    for name in _NUMBERS:
        if particles.has(name):
            columns[name] = text_of(np.nan_to_num(particles.number(name)), 6)
    return Table.from_columns("particles", columns)


def _script(group: Group, folder: Path) -> str:
    """Commands of ChimeraX; it runs them in the folder of the script."""
    tomogram = seen_from(folder, group.file)
    box = group.particles.number("halImageSize") * group.particles.number("halImagePixelSize")
    known = box[np.isfinite(box)]
    radius = known[0] / 4 if len(known) else _DEFAULT_RADIUS * group.pixel_size
    size = f"{group.pixel_size:.5f}"
    return "\n".join(
        (
            "# ChimeraX with ArtiaX, in an empty session: File > Open, or",
            f"# chimerax {group.stem}.cxc",
            "artiax start",
            f'artiax open tomo "{tomogram}"',
            f"artiax tomo #1.1.1 pixelSize {size}",
            f'open "{group.stem}.star" format star',
            f"artiax particles #1.2.1 radius {radius:.1f} originScaleFactor {size}",
            "artiax view xy",
            "",
        )
    )
