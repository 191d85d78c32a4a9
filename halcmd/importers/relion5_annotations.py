"""Annotations of RELION 5's picker (napari): rlnCoordinateX/Y/Z in voxels of the shown tomogram."""

from halcmd.formats.pick_file import PickFile
from halcmd.importers._relion_columns import COORDINATES, tomogram_names
from halcmd.particles import particles_of
from halcmd.picks.picks import Picks, numbers

_NEEDED = {*COORDINATES, "rlnTomoName"}
_ALLOWED = _NEEDED | {
    "rlnSphereRadius",
    "rlnTomoManifoldIndex",
    "rlnHelicalTubeID",
    "rlnTomoSubtomogramRot",
    "rlnTomoSubtomogramTilt",
    "rlnTomoSubtomogramPsi",
}


def recognises(file: PickFile) -> bool:
    """Whether the one table, without a name, has what the picker writes and nothing more."""
    if file.star is None or len(file.star.tables) != 1:
        return False
    table = file.star.tables[0]
    return table.name == "" and _NEEDED <= set(table.labels) <= _ALLOWED


def read(file: PickFile) -> Picks:
    """Picks in voxels, counted from 0 at the centre of the first.

    Raises
    ------
    InputError
        A coordinate is missing.
    """
    assert file.star is not None
    particles = particles_of(file.star)
    return Picks(
        path=file.path,
        producer="relion5_annotations",
        particles=particles,
        tomograms=tomogram_names(particles),
        coordinates=numbers(particles, COORDINATES),
    )
