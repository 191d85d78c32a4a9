"""``IMOD/<tomogram>.mod``: a point model for 3dmod, one point per contour, one object per class.

All points are in the object *unlabelled*; moving a contour to the object of a class labels it.
"""

from pathlib import Path

from halcmd.formats.imod_model import FIRST_VOXEL, write_imod_model
from halcmd.handoff.places import by_tomogram, check_places, offered_classes
from halcmd.particles import UNLABELLED, Particles


def check(particles: Particles) -> None:
    """Raise InputError where a particle has no position in a tomogram."""
    check_places(particles, "imod")


def write(particles: Particles, folder: Path) -> list[Path]:
    """Write a model for each tomogram."""
    classes = offered_classes(particles)
    paths = []
    for group in by_tomogram(particles):
        path = folder / "IMOD" / f"{group.stem}.mod"
        points = group.voxels + FIRST_VOXEL
        objects = {UNLABELLED: [point[None] for point in points], **{name: [] for name in classes}}
        write_imod_model(path, objects, pixel_size=group.pixel_size)
        paths.append(path)
    return paths
