"""Template matching of WarpTools: rlnCoordinateX/Y/Z as shares (0..1) of the tomogram."""

import numpy as np

from halcmd.formats.pick_file import PickFile
from halcmd.formats.star import number_of
from halcmd.importers._relion_columns import COORDINATES, rotations, table_with, tomogram_names
from halcmd.particles import particles_of
from halcmd.picks.picks import Picks, numbers


def recognises(file: PickFile) -> bool:
    """Whether all coordinates lie within 0..1, of tilt series or with scores as Warp has them."""
    table = table_with(file, COORDINATES)
    if table is None or not len(table):
        return False
    series = table.column("rlnMicrographName")[0] if "rlnMicrographName" in table else ""
    if not (series.endswith(".tomostar") or "rlnAutopickFigureOfMerit" in table):
        return False
    try:
        values = np.array([[number_of(t) for t in table.column(name)] for name in COORDINATES])
    except ValueError:
        return False
    return bool(np.all((values >= 0) & (values <= 1)) and np.any(values % 1))


def read(file: PickFile) -> Picks:
    """Picks as shares of their tomogram.

    Raises
    ------
    InputError
        A coordinate is missing.
    """
    assert file.star is not None
    particles = particles_of(file.star)
    return Picks(
        path=file.path,
        producer="warp_matching",
        particles=particles,
        tomograms=tomogram_names(particles),
        coordinates=numbers(particles, COORDINATES),
        unit="normalised",
        rotations=rotations(particles),
    )
