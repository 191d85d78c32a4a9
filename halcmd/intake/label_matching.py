"""Which particle each row of a label file is."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from halcmd.console import log
from halcmd.errors import InputError, first_few
from halcmd.formats.mrc import open_volume
from halcmd.intake.labels import LabelFile
from halcmd.matching import Match, match_ids, match_names, match_positions
from halcmd.particles import Particles, tomogram_name
from halcmd.picks.picks import Picks
from halcmd.picks.positions import resolve_positions
from halcmd.picks.tomogram_names import Entry, matching
from halcmd.picks.tomograms import Tomogram, find_tomograms

_DEFAULT_DISTANCE_VOXELS = 2.0


@dataclass(frozen=True)
class Placing:
    """How the coordinates of a label file are read, where the file alone does not say.

    Attributes
    ----------
    tomograms : tuple of Path
        As for ``extract``; without them the volumes that the particles were cut from.
    coords_pixel_size : float or None
        Angstrom per pixel of the coordinates.
    """

    tomograms: tuple[Path, ...] = ()
    coords_pixel_size: float | None = None


def match_labels(
    particles: Particles,
    file: LabelFile,
    *,
    way: str = "auto",
    max_distance: float | None = None,
    placing: Placing | None = None,
) -> Match:
    """The particle of each row of a label file.

    Parameters
    ----------
    particles : Particles
        The table to label.
    file : LabelFile
        Rows with ids, image names or coordinates.
    way : str
        ``id``, ``name``, ``coordinate``, or ``auto``: the first that both allow and that finds any.
    max_distance : float, optional
        Angstrom; default two voxels of the tomogram, or one pixel of the file's coordinates where
        that is larger.
    placing : Placing, optional
        How coordinates are read.

    Raises
    ------
    InputError
        There is no way, or an id stands at another place than the particle.
    """
    ways = ("id", "name", "coordinate") if way == "auto" else (way,)
    found = None
    for by in ways:
        if by == "id" and file.ids is not None and not particles.ids_are_new:
            found = match_ids(file.ids.tolist(), particles.ids.tolist())
            _check_positions(particles, file, found, max_distance)
        elif by == "name" and (names := _by_name(particles, file)) is not None:
            found = names
        elif by == "coordinate" and file.picks is not None and _can_place(particles, way, found):
            found = _by_position(particles, file, max_distance, placing or Placing())
        else:
            continue
        if found.matched.any():
            break
    if found is None:
        raise InputError(
            "the labels cannot be matched to particles",
            where=str(file.path),
            found="no halParticleId, image name or coordinates that the particle table has too",
            hint="keep the column halParticleId of query.csv when you fill in labels",
        )
    log.info(
        f"{file.path.name}: {found.matched.sum():,} of {len(found.rows):,} rows matched by "
        f"{found.by}"
    )
    return found


def _can_place(particles: Particles, way: str, found: Match | None) -> bool:
    """Whether positions are to be tried: not where names have been and the table has none."""
    return way == "coordinate" or found is None or particles.has("halTomogramFile")


def _by_name(particles: Particles, file: LabelFile) -> Match | None:
    """By rlnTomoParticleName, else by image: what most rows are found by."""
    pairs = [("rlnTomoParticleName", file.particle_names)]
    pairs += [(column, file.images) for column in ("halImageName", "rlnImageName")]
    matches = [
        match_names(names.tolist(), particles.text(column).tolist())
        for column, names in pairs
        if names is not None and particles.has(column)
    ]
    return max(matches, key=lambda match: int(match.matched.sum()), default=None)


def _by_position(
    particles: Particles, file: LabelFile, max_distance: float | None, placing: Placing
) -> Match:
    picks = file.picks
    assert picks is not None
    tomograms = _tomograms(particles, placing.tomograms)
    names = _names(picks, tomograms)
    positions = resolve_positions(
        picks, names, tomograms, coords_pixel_size=placing.coords_pixel_size
    ).positions
    distance = _distance(picks, tomograms, max_distance)
    return match_positions(names, positions, particles.tomograms, particles.positions, distance)


def _names(picks: Picks, tomograms: dict[str, Tomogram]) -> np.ndarray:
    """The table's name of the tomogram of each pick, by the rules by which extract finds it."""
    offered = [Entry(name) for name in tomograms]
    meant = {}
    for name in dict.fromkeys(picks.tomograms.tolist()):
        found = matching(name, offered)
        meant[name] = found[0].name if len(found) == 1 else tomogram_name(name)
    return np.array([meant[name] for name in picks.tomograms], dtype=object)


def _tomograms(particles: Particles, paths: tuple[Path, ...]) -> dict[str, Tomogram]:
    """The tomograms of the table, opened for their size and voxel."""
    if paths:
        names = np.array(list(dict.fromkeys(particles.tomograms)), dtype=object)
        return find_tomograms(names, paths, where=str(particles.path))[1]
    if not particles.has("halTomogramFile"):
        raise InputError(
            "labels can be matched by position only to extracted particles",
            where=str(particles.path),
            found="no column halTomogramFile",
            hint="labels with halParticleId or image names",
        )
    found = {}
    sizes = particles.number("halTomogramPixelSize")
    files = particles.text("halTomogramFile")
    for name in dict.fromkeys(particles.tomograms):
        row = int(np.argmax(particles.tomograms == name))
        volume = open_volume(Path(files[row]))
        size = sizes[row] if np.isfinite(sizes[row]) else volume.pixel_size
        if size is None:
            raise InputError(
                "no pixel size for the tomogram",
                where=str(volume.path),
                hint="labels with halParticleId, or set the pixel size in the MRC header",
            )
        found[name] = Tomogram(name, (volume,), float(size), "halTomogramPixelSize")
    return found


def _distance(picks: Picks, tomograms: dict[str, Tomogram], max_distance: float | None) -> float:
    """Angstrom: two voxels of the tomogram, or one pixel of the file where that is larger."""
    if max_distance is not None:
        return max_distance
    voxel = max(tomogram.pixel_size for tomogram in tomograms.values())
    sizes = picks.readings[0].sizes if picks.unit == "voxel" else None
    pixel = float(sizes.max()) if sizes is not None else 0.0
    return max(_DEFAULT_DISTANCE_VOXELS * voxel, pixel)


def _check_positions(
    particles: Particles, file: LabelFile, match: Match, max_distance: float | None
) -> None:
    """An id that stands at another place is not the same particle."""
    picks = file.picks
    if picks is None or picks.unit != "angstrom" or not np.isfinite(particles.positions).all():
        return
    limit = max_distance if max_distance is not None else 2 * _pixel_size(particles)
    here = np.flatnonzero(match.matched)
    gaps = np.linalg.norm(picks.coordinates[here] - particles.positions[match.rows[here]], axis=1)
    far = here[gaps > limit]
    if len(far):
        raise InputError(
            "the same id stands at another place",
            where=str(file.path),
            found=f"{first_few(particles.ids[match.rows[far]])}, up to {gaps.max():.0f} A away",
            hint="the labels are of another extraction: --match coordinate",
        )


def _pixel_size(particles: Particles) -> float:
    size = particles.number("halImagePixelSize")
    return float(np.nanmax(size)) if np.isfinite(size).any() else 10.0
