"""What a table of picks, particles or tomograms is, as ``halcmd info`` prints it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from halcmd.errors import InputError
from halcmd.formats.mrc import open_volume
from halcmd.formats.pick_file import PickFile, open_pick_file
from halcmd.importers import IMPORTERS
from halcmd.importers._relion_columns import detector_pixels, image_pixels
from halcmd.intake.labels import label_counts
from halcmd.intake.recognise import NO_COORDINATES, READY, recognise
from halcmd.intake.tomogram_facts import Facts, or_warning, tomogram_facts
from halcmd.particles import Particles, particles_of, tomogram_name
from halcmd.picks.optimisation_set import NamedFiles, named_files
from halcmd.picks.picks import Picks
from halcmd.picks.placement import Placement, check_placement
from halcmd.picks.positions import origin_words, place
from halcmd.picks.tomograms import find_tomograms
from halcmd.pixel_size import optics_values
from halcmd.registry import load

_ORIGINS = {
    "angstrom": "first voxel",
    "centred_angstrom": "centre of the tomogram",
    "normalised": "first edge of the tomogram",
}


def table_facts(
    path: Path, tomograms: Sequence[Path] = (), *, pixel_size: float | None = None
) -> Facts:
    """What a STAR, CSV or other file of picks holds, and how its coordinates are read.

    Parameters
    ----------
    path : Path
        The file.
    tomograms : sequence of Path
        As for extract: with them the picks are placed too.
    pixel_size : float, optional
        Of the tomograms, Angstrom.

    Raises
    ------
    InputError
        It cannot be read, or holds neither picks, nor subtomograms, nor tomograms.
    """
    file = open_pick_file(path)
    star = file.star
    if star is None:
        return _picks(file, tomograms, pixel_size)
    named = named_files(star)
    if named is not None:
        return _optimisation_set(named, path, tomograms, pixel_size)
    table = star.table("global")
    if table is not None and "rlnTomoName" in table:
        return tomogram_facts(star)
    return _picks(file, tomograms, pixel_size)


def _optimisation_set(
    named: NamedFiles, path: Path, tomograms: Sequence[Path], pixel_size: float | None
) -> Facts:
    """The files that it names, and what the particles are where they are there."""
    own: Facts = {
        "file": str(path),
        "optimisation_set": {"particles": named.particles, "tomograms": named.tomograms},
    }
    try:
        facts = table_facts(named.particles_path, tomograms, pixel_size=pixel_size)
    except InputError as error:
        warnings = [f"{error.message}: {error.found}"]
        return own | {"type": "optimisation_set", "producer": "relion", "warnings": warnings}
    return facts | own


def _picks(file: PickFile, tomograms: Sequence[Path], pixel_size: float | None) -> Facts:
    try:
        key = recognise(file)
    except InputError:
        ready = _subtomograms(file)
        if ready is None:
            raise
        facts = _particles(ready, None)
        facts["warnings"].append(f"{NO_COORDINATES}; {READY}")
        return facts
    picks: Picks = load(IMPORTERS, key, "format").read(file)
    facts = _particles(picks.particles, picks) | {"file": str(file.path)}
    if tomograms:
        facts["placement"] = _placement(picks, tomograms, pixel_size, facts["warnings"])
    return facts


def _subtomograms(file: PickFile) -> Particles | None:
    """Particles that need no coordinates: of halcmd, or with volumes as their images."""
    names = {"halParticleId", "halImageName", "rlnImageName"}
    if file.star is None or not any(names & set(table.labels) for table in file.star.tables):
        return None
    particles = particles_of(file.star)
    if particles.has("halParticleId") or particles.has("halImageName"):
        return particles
    is_flat = particles.has("rlnCoordinateX") or _images(particles, [])["kind"] == "stack2d"
    return particles if particles.has("rlnImageName") and not is_flat else None


def _placement(
    picks: Picks, tomograms: Sequence[Path], pixel_size: float | None, warnings: list[str]
) -> Facts:
    """For each tomogram: how its picks were read, and where they lie."""
    names, found = find_tomograms(
        picks.tomograms,
        tomograms,
        where=str(picks.path),
        stems=np.full(len(picks.tomograms), picks.path.stem, dtype=object),
        pixel_size=pixel_size,
    )
    groups = list(place(picks, names, found))
    for group in groups:
        _warn_of_outside(group, picks, warnings)
    return {
        group.tomogram.name: {
            "picks": len(group.rows),
            "inside": int(group.inside.sum()),
            "reading": group.words,
            "voxel_size": group.tomogram.pixel_size,
            "voxel_size_from": group.tomogram.pixel_size_from,
            "size": group.tomogram.size_xyz.tolist(),
            "min": group.voxels.min(axis=0).round(3).tolist(),
            "max": group.voxels.max(axis=0).round(3).tolist(),
        }
        for group in groups
    }


def _warn_of_outside(group: Placement, picks: Picks, warnings: list[str]) -> None:
    """What extract says of picks outside; that it stops where all are is a warning here."""
    try:
        check_placement(group, producer=picks.producer, where=str(picks.path))
    except InputError as error:
        warnings.append(f"{error.where}: {error.message} ({error.found}); {error.hint}")


def _particles(particles: Particles, picks: Picks | None) -> Facts:
    table = particles.table
    warnings: list[str] = []
    images = _images(particles, warnings)
    facts: Facts = {
        "file": str(particles.path),
        "type": "particles" if images["kind"] != "none" else "picks",
        "producer": picks.producer if picks else None,
        "blocks": {t.name: len(t) for t in particles.star.tables},
        "columns": table.labels,
        "particles": len(table),
        "tomograms": _counts(particles, picks),
        "coordinates": _coordinates(picks, warnings),
        "images": images,
        **label_counts(particles, picks),
        "warnings": warnings,
    }
    if picks is not None:
        facts["shifts"] = _shifts(picks)
        facts["origin"] = _ORIGINS.get(picks.unit) or origin_words(picks)
    if particles.has("halSplit"):
        facts["split"] = dict(Counter(particles.text("halSplit")))
    return facts


def _counts(particles: Particles, picks: Picks | None) -> dict[str, int]:
    """Particles of each tomogram, under the name that halcmd matches by."""
    if picks is None:
        return dict(Counter(particles.tomograms.tolist()))
    counts = Counter(picks.tomograms.tolist())
    names: Counter[str] = Counter()
    for name, count in counts.items():
        if name:
            names[tomogram_name(name)] += count
    return dict(names)


def _coordinates(picks: Picks | None, warnings: list[str]) -> Facts | None:
    if picks is None:
        return None
    known = [reading for reading in picks.readings if reading.sizes is not None]
    first = known[0] if known and picks.unit == "voxel" else None
    low, high = picks.coordinates.min(axis=0), picks.coordinates.max(axis=0)
    if picks.unit == "voxel" and len(picks.readings) > 1 and np.any(high > low):
        ways = [f"{r.words}{f' ({r.source})' if r.source else ''}" for r in picks.readings]
        warnings.append(
            f"the coordinates may be {' or '.join(ways)}: extract takes what fits the tomogram; "
            "--coords-angpix decides"
        )
    if first is not None and first.contradiction is not None:
        warnings.append(
            f"two pixel sizes of the coordinates contradict each other: {first.contradiction}; "
            "extract needs --coords-angpix"
        )
    return {
        "unit": picks.unit,
        "pixel_size": _common(first.sizes) if first else None,
        "pixel_size_from": first.source if first else None,
        "min": low.tolist(),
        "max": high.tolist(),
    }


def _shifts(picks: Picks) -> Facts | None:
    """The largest shift that extract applies, and its unit."""
    if picks.shifts is None:
        return None
    unit = "pixel" if picks.shifts_in_pixels else "angstrom"
    return {"unit": unit, "largest": float(np.abs(picks.shifts).max())}


def _common(sizes: np.ndarray | None) -> float | None:
    """The one pixel size of all rows; None where there is none or they differ."""
    if sizes is None or len(set(sizes.tolist())) != 1:
        return None
    return float(sizes[0])


def _images(particles: Particles, warnings: list[str]) -> Facts:
    facts: Facts = {"kind": "none", "pixel_size": None, "pixel_size_from": None, "box": None}
    column = next((c for c in ("halImageName", "rlnImageName") if particles.has(c)), None)
    if column is None:
        return facts
    first = str(particles.text(column)[0])
    path = Path(first.rsplit("@", 1)[-1])
    folders = (Path(), *(particles.path.absolute().parents if particles.path else ()))
    there = next((folder / path for folder in folders if (folder / path).exists()), None)
    if there is None:
        warnings.append(f"{path} is not there; run halcmd in the project folder")
    facts["kind"] = "single" if "@" not in first else "stack"
    if column == "rlnImageName" and _is_flat(particles, first, there, warnings):
        facts["kind"] = "stack2d"
    known = or_warning(lambda: _image_pixel_size(particles, warnings), warnings)
    facts["pixel_size"], facts["pixel_size_from"] = known or (None, None)
    label = "rlnImageSize" if not particles.has("halImageSize") else "halImageSize"
    box = _first_number(particles, label, warnings)
    facts["box"] = None if box is None else int(box)
    return facts


def _is_flat(particles: Particles, first: str, path: Path | None, warnings: list[str]) -> bool:
    """Whether images have two dimensions: by the table, else by their file, else by its name."""
    dimension = _first_number(particles, "rlnImageDimensionality", warnings)
    if dimension in {2, 3}:
        return dimension == 2
    if "@" not in first and not first.endswith(".mrcs"):
        return False
    volume = None if path is None else or_warning(lambda: open_volume(path), warnings)
    return volume is None or volume.kind == "image_stack"


def _image_pixel_size(particles: Particles, warnings: list[str]) -> tuple[float | None, str | None]:
    """Angstrom and the column that says so; the first row counts."""
    for label in ("halImagePixelSize", "rlnImagePixelSize"):
        size = _first_number(particles, label, warnings)
        if size is not None:
            return size, label
    stated = image_pixels(particles) or detector_pixels(particles)
    if stated is None or stated.sizes is None:
        return None, None
    return float(stated.sizes[0]), stated.source


def _first_number(particles: Particles, label: str, warnings: list[str]) -> float | None:
    """The first row's number, of the particles or of their optics groups; None where there is none.

    A column with something else than a number in that row is a warning.
    """

    def read() -> np.ndarray | None:
        return particles.number(label) if particles.has(label) else optics_values(particles, label)

    values = or_warning(read, warnings)
    if values is None:
        return None
    if np.isfinite(values[0]):
        return float(values[0])
    warnings.append(f"{label} is no number")
    return None
