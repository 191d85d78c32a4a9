"""One rule for every pixel size: which source is believed, and when to stop and ask.

Order of trust: option, STAR file, tomograms.star, MRC header. 0 counts as absent; so does 1.0 A in
an MRC header, where many programs write it when they do not know.
"""

from collections.abc import Sequence

import numpy as np

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.formats.mrc import Volume
from halcmd.particles import Particles, group_key, numbers_of

TOLERANCE = 0.01

Source = tuple[str, float | None]


def resolve_pixel_size(
    what: str, sources: Sequence[Source], *, option: float | None, option_name: str, where: str
) -> tuple[float, str]:
    """A pixel size in Angstrom and the name of the source that it came from.

    Parameters
    ----------
    what : str
        What it is the pixel size of, for messages.
    sources : sequence of (name, value)
        In order of trust; None and 0 count as not set.
    option, option_name : float or None, str
        The explicit option, which wins with a warning.
    where : str
        The file, for messages.

    Raises
    ------
    InputError
        No source is set, or two differ by more than 1 % and the option is not given.
    """
    known = [(name, value) for name, value in sources if value is not None and is_set(value)]
    for name, value in sources:
        if value is not None and not is_set(value):
            log.warning(f"{where}: {name} = {value:g} A is taken as not set")
    if option is not None:
        for name, value in known:
            if differ(option, value):
                log.warning(f"{where}: {option_name} {option:g} A wins over {name} = {value:g} A")
        return option, option_name
    if not known:
        hint = f"{option_name} with the size in A"
        raise InputError(f"no pixel size for {what}", where=where, hint=hint)
    name, value = known[0]
    for other_name, other in known[1:]:
        if differ(value, other):
            raise InputError(
                f"two pixel sizes for {what} contradict each other",
                where=where,
                found=f"{name} = {value:g} A, {other_name} = {other:g} A",
                hint=f"{option_name} with the right one",
            )
    return value, name


def is_set(value: float | None) -> bool:
    """Whether a pixel size says something: not None, 0 or not finite."""
    return value is not None and np.isfinite(value) and value > 0


def header_size(volume: Volume, *, unequal: bool = False) -> float | None:
    """Voxel edge in Angstrom of an MRC header; None, with a warning, where it is 0 or 1.0.

    Parameters
    ----------
    volume : Volume
        The open file.
    unequal : bool
        Take the smallest edge where the axes differ, which is an error otherwise.
    """
    if is_set(min(volume.voxel_size)) and set(volume.voxel_size) != {1.0}:
        return min(volume.voxel_size) if unequal else volume.pixel_size
    log.warning(f"{volume.path}: MRC header = {min(volume.voxel_size):g} A is taken as not set")
    return None


def differ(a: float, b: float) -> bool:
    """Whether two pixel sizes differ by more than 1 %."""
    return abs(a - b) > TOLERANCE * min(a, b)


def optics_values(particles: Particles, label: str) -> np.ndarray | None:
    """A column of the optics table for each particle, shape (n,), float64; None where absent.

    Raises
    ------
    InputError
        A particle is of an optics group that is not in the table.
    """
    optics = particles.star.table("optics")
    if optics is None or label not in optics or not len(optics):
        return None
    values = numbers_of(optics, label, particles.path).tolist()
    if "rlnOpticsGroup" not in optics or not particles.has("rlnOpticsGroup"):
        return np.full(len(particles), values[0])
    by_group = dict(zip(map(group_key, optics.column("rlnOpticsGroup")), values, strict=True))
    groups = [group_key(text) for text in particles.text("rlnOpticsGroup")]
    missing = sorted(set(groups) - set(by_group))
    if len(by_group) == 1 and len(missing) == len(set(groups)) == 1:
        log.warning(
            f"{particles.path}: optics group {missing[0]} is not in the optics table; "
            f"{next(iter(by_group))}, the only one there, is taken"
        )
        return np.full(len(particles), values[0])
    if missing:
        raise InputError(
            f"optics group {missing[0]} is not in the optics table",
            where=f"{particles.path}, table optics",
            found="groups " + ", ".join(by_group),
        )
    return np.array([by_group[group] for group in groups])
