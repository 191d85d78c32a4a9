"""pytom-match-pick: rlnCoordinateX/Y/Z in voxels of the searched tomogram, of rlnDetectorPixelSize.

That column is Angstrom here, not micrometres. With --relion5-compat the coordinates are Angstrom
from the centre of the tomogram.
"""

from halcmd.formats.pick_file import PickFile
from halcmd.importers._relion_columns import (
    CENTRED,
    COORDINATES,
    reading,
    rotations,
    table_with,
    tomogram_names,
)
from halcmd.particles import particles_of
from halcmd.picks.picks import VOXELS, Picks, numbers


def recognises(file: PickFile) -> bool:
    """Whether the scores are those of pytom-match-pick."""
    return any(table_with(file, (*xyz, "rlnLCCmax")) for xyz in (COORDINATES, CENTRED))


def read(file: PickFile) -> Picks:
    """Picks in voxels of the searched tomogram, or in Angstrom from the centre.

    Raises
    ------
    InputError
        A coordinate is missing.
    """
    assert file.star is not None
    particles = particles_of(file.star)
    is_centred = particles.has(CENTRED[0])
    column = "rlnDetectorPixelSize"
    sizes = particles.number(column) if particles.has(column) else None
    stated = reading("voxels of the searched tomogram", column, sizes)
    return Picks(
        path=file.path,
        producer="pytom",
        particles=particles,
        tomograms=tomogram_names(particles),
        coordinates=numbers(particles, CENTRED if is_centred else COORDINATES),
        unit="centred_angstrom" if is_centred else "voxel",
        readings=(stated or VOXELS,),
        rotations=rotations(particles),
    )
