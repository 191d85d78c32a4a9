"""Which particle each row of a label file is."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.formats.mrc import open_volume
from halcmd.intake.labels import LabelFile
from halcmd.labels.matching import (
    AMBIGUOUS,
    MISPLACED,
    NO_MATCH,
    Match,
    id_number,
    match_ids,
    match_names,
    match_positions,
)
from halcmd.particles import UNLABELLED, Particles, group_key, tomogram_name
from halcmd.picks.picks import Picks
from halcmd.picks.positions import resolve_positions
from halcmd.picks.tomogram_names import Entry, matching
from halcmd.picks.tomograms import Tomogram, find_tomograms

_DEFAULT_DISTANCE_VOXELS = 2.0
_EMPTY = {"", "0", "nan", "none", "<na>"}


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
        There is no way.
    """
    placing = placing or Placing()
    ways = ("id", "name", "coordinate") if way == "auto" else (way,)
    found = None
    for by in ways:
        if by == "id" and not particles.ids_are_new and _has_ids(file):
            match = _by_id(particles, file)
            match = _well_placed(particles, file, match, max_distance, placing)
        elif by == "name" and (names := _by_name(particles, file)) is not None:
            match = names
        elif by == "coordinate" and _can_place(particles, file, way, found):
            match = _by_position(particles, file, max_distance, placing)
        else:
            continue
        if found is None or not _has_found(found):
            found, is_open = match, _is_open(file, match)
        else:
            found = _completed(found, match, is_open)
            is_open &= ~found.matched
        if _has_found(found) and not is_open.any():
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


def _has_found(match: Match) -> bool:
    """Whether a way led to particles, if only to some that lie elsewhere."""
    return bool((match.matched | (match.rows == MISPLACED)).any())


def _has_ids(file: LabelFile) -> bool:
    return file.ids is not None or file.numbers is not None


def _by_id(particles: Particles, file: LabelFile) -> Match:
    """By halParticleId, or by the number that stands for it."""
    if file.ids is not None:
        return match_ids(file.ids.tolist(), particles.ids.tolist())
    assert file.numbers is not None
    return match_ids(file.numbers.tolist(), [str(id_number(name)) for name in particles.ids])


def _is_open(file: LabelFile, found: Match) -> np.ndarray:
    """Rows that the next way may still find, shape (n,), bool: theirs is empty or not unique."""
    by_id = file.ids if file.ids is not None else file.numbers
    keys = by_id if found.by == "id" else file.images if found.by == "name" else None
    is_open = found.rows == AMBIGUOUS if found.by == "name" else np.zeros(len(found.rows), bool)
    if keys is not None:
        is_empty = np.array([str(key).strip().lower() in _EMPTY for key in keys], dtype=bool)
        is_open |= is_empty & (found.rows == NO_MATCH)
    return np.asarray(is_open & (file.labels != UNLABELLED))


def _completed(found: Match, match: Match, is_open: np.ndarray) -> Match:
    """The first match, and the second for the rows that the first has left open."""
    taken = is_open & (match.rows != NO_MATCH)
    by = f"{found.by} and {match.by}" if taken.any() else found.by
    return found.filled(match, taken, by)


def _can_place(particles: Particles, file: LabelFile, way: str, found: Match | None) -> bool:
    """Whether positions are to be tried: not where names have been and the table has none."""
    picks = file.picks
    if picks is None:
        return False
    if _all_equal(picks):
        log.info(f"{file.path}: all coordinates are equal, so they say nothing")
        return False
    return way == "coordinate" or found is None or particles.has("halTomogramFile")


def _all_equal(picks: Picks) -> bool:
    """Whether a file has the same coordinates throughout, which then say nothing."""
    same = not np.ptp(picks.coordinates, axis=0).any()
    return same and len(set(picks.tomograms)) < len(picks.tomograms)


def _by_name(particles: Particles, file: LabelFile) -> Match | None:
    """By rlnTomoParticleName where that is unique, else by image: what most rows are found by."""
    pairs = [("rlnTomoParticleName", file.particle_names)]
    pairs += [(column, file.images) for column in ("halImageName", "rlnImageName")]
    matches = [
        match_names(names.tolist(), particles.text(column).tolist())
        for column, names in pairs
        if names is not None and particles.has(column)
    ]
    best = max(matches, key=lambda match: int(match.matched.sum()), default=None)
    if best is None:
        return None
    for other in matches:
        best = best.filled(other, ~best.matched & other.matched, "name")
    return best


def _by_position(
    particles: Particles, file: LabelFile, max_distance: float | None, placing: Placing
) -> Match:
    tomograms = _tomograms(particles, placing.tomograms)
    names, positions = _placed(file, tomograms, placing)
    assert file.picks is not None
    distance = _distance(file.picks, tomograms, max_distance)
    voxel = max(tomogram.pixel_size for tomogram in tomograms.values())
    return match_positions(
        names, positions, particles.tomograms, particles.positions, distance, voxel
    )


def _placed(
    file: LabelFile, tomograms: dict[str, Tomogram], placing: Placing
) -> tuple[np.ndarray, np.ndarray]:
    """Tomogram and position in Angstrom of each row; nan in tomograms that are not there."""
    picks = file.picks
    assert picks is not None
    names = _names(file, picks, list(tomograms))
    placed = resolve_positions(picks, names, tomograms, coords_pixel_size=placing.coords_pixel_size)
    return names, placed.positions


def _names(file: LabelFile, picks: Picks, known: list[str]) -> np.ndarray:
    """The table's name of the tomogram of each pick, by the rules by which extract finds it.

    Where the file names none, the number that stands for it counts, then the name of the file,
    which may go on behind that of the tomogram: ``TS_01_ribosome.star``.
    """
    offered = [Entry(name) for name in known]
    texts = picks.tomograms.copy()
    if file.tomogram_numbers is not None:
        of_number = {str(id_number(name)): name for name in known}
        numbered = [of_number.get(number, "") for number in file.tomogram_numbers]
        texts = np.where(texts == "", np.array(numbered, dtype=object), texts)
    meant = {}
    for name in dict.fromkeys(texts.tolist()):
        found = matching(_plain_number(name) or file.path.stem, offered)
        if not found and not name:
            found = _beginning(file.path.stem, offered)
        if not found and not name and len(offered) == 1:
            found = offered
        meant[name] = found[0].name if len(found) == 1 else tomogram_name(name)
    return np.array([meant[name] for name in texts], dtype=object)


def _plain_number(name: str) -> str:
    """The name of a tomogram, 1 for 1.0: programs make a number of 001."""
    return group_key(name) if name.partition(".")[0].isdecimal() else name


def _beginning(stem: str, offered: list[Entry]) -> list[Entry]:
    """The tomogram whose name a file's name begins with; of several, the longest."""
    fitting = [
        entry
        for entry in offered
        if stem.startswith(entry.name) and not stem[len(entry.name)].isalnum()
    ]
    return sorted(fitting, key=lambda entry: -len(entry.name))[:1]


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


def _well_placed(
    particles: Particles,
    file: LabelFile,
    match: Match,
    max_distance: float | None,
    placing: Placing,
) -> Match:
    """The match by id, less the rows that stand at another place than their particle."""
    positions = _stated_positions(particles, file, placing)
    if positions is None:
        return match
    limit = max_distance if max_distance is not None else 2 * _pixel_size(particles)
    here = np.flatnonzero(match.matched)
    gaps = np.linalg.norm(positions[here] - particles.positions[match.rows[here]], axis=1)
    far = here[gaps > limit]
    if not len(far):
        return match
    moved = {int(row): (int(match.rows[row]),) for row in far}
    rows = match.rows.copy()
    rows[far] = MISPLACED
    return Match(match.by, rows, {**match.candidates, **moved}, float(np.nanmax(gaps)))


def _stated_positions(particles: Particles, file: LabelFile, placing: Placing) -> np.ndarray | None:
    """Where the rows of the file lie, in Angstrom; None where that is open to interpretation."""
    picks = file.picks
    if picks is None or not np.isfinite(particles.positions).any():
        return None
    if picks.unit == "angstrom":
        return picks.coordinates
    is_plain = picks.unit == "voxel" and len(picks.readings) == 1
    if not is_plain or _all_equal(picks) or not particles.has("halTomogramFile"):
        return None
    gone = [name for name in set(particles.text("halTomogramFile")) if not Path(name).exists()]
    if gone and not placing.tomograms:
        log.info(f"{file.path}: ids are not compared with positions: {gone[0]} is not there")
        return None
    return _placed(file, _tomograms(particles, placing.tomograms), placing)[1]


def _pixel_size(particles: Particles) -> float:
    """Angstrom: of the tomograms, else of the boxes, else 10."""
    for name in ("halTomogramPixelSize", "halImagePixelSize"):
        size = particles.number(name)
        if np.isfinite(size).any():
            return float(np.nanmax(size))
    return 10.0
