"""What a table of picks, particles or tomograms is, as ``halcmd info`` prints it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from halcmd.errors import InputError
from halcmd.formats.star import Star
from halcmd.importers import IMPORTERS
from halcmd.importers.optimisation_set import NamedFiles, named_files
from halcmd.importers.pick_file import PickFile, open_pick_file, recognise
from halcmd.importers.picks import Picks
from halcmd.importers.positions import place
from halcmd.importers.relion_columns import detector_pixels, image_pixels
from halcmd.importers.tomograms import VOLUME_COLUMNS, find_tomograms
from halcmd.particles import Particles, numbers_of, particles_of, tomogram_name
from halcmd.pixel_size import optics_values
from halcmd.registry import load

Facts = dict[str, Any]


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
        It cannot be read.
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
        return _tomograms(star)
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
    except InputError as error:
        if not _has_particles(file):
            raise
        assert file.star is not None
        facts = _particles(particles_of(file.star), None)
        facts["warnings"].append(f"{error.message}: {error.hint}")
        return facts
    picks: Picks = load(IMPORTERS, key, "format").read(file)
    facts = _particles(picks.particles, picks) | {"file": str(file.path)}
    if tomograms:
        facts["placement"] = _placement(picks, tomograms, pixel_size)
    return facts


def _has_particles(file: PickFile) -> bool:
    """Whether there are particles that are no picks: without coordinates, or in two dimensions."""
    names = {"halParticleId", "halImageName", "rlnImageName", "rlnCoordinateX"}
    tables = file.star.tables if file.star is not None else ()
    return any(names & set(table.labels) for table in tables)


def _placement(picks: Picks, tomograms: Sequence[Path], pixel_size: float | None) -> Facts:
    """For each tomogram: how its picks were read, and where they lie."""
    names, found = find_tomograms(
        picks.tomograms,
        tomograms,
        where=str(picks.path),
        stems=np.full(len(picks.tomograms), picks.path.stem, dtype=object),
        pixel_size=pixel_size,
    )
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
        for group in place(picks, names, found)
    }


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
        "labels": dict(sorted(Counter(particles.labels).items())),
        "warnings": warnings,
    }
    if picks is not None:
        facts["shifts"] = _shifts(picks)
    if picks is not None and picks.classes is not None:
        facts["classes"] = dict(sorted(Counter(picks.classes.tolist()).items()))
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
    own = column == "halImageName"
    facts["kind"] = "single" if "@" not in first else "stack"
    if not own and (first.endswith(".mrcs") or _dimension(particles) == 2):
        facts["kind"] = "stack2d"
    facts["pixel_size"], facts["pixel_size_from"] = _image_pixel_size(particles)
    if particles.has("halImageSize"):
        facts["box"] = int(particles.number("halImageSize")[0])
    elif (edges := optics_values(particles, "rlnImageSize")) is not None:
        facts["box"] = int(edges[0])
    path = Path(first.rsplit("@", 1)[-1])
    folders = (Path(), *(particles.path.absolute().parents if particles.path else ()))
    if not any((folder / path).exists() for folder in folders):
        warnings.append(f"{path} is not there; run halcmd in the project folder")
    return facts


def _image_pixel_size(particles: Particles) -> tuple[float | None, str | None]:
    """Angstrom and the column that says so; the first row counts."""
    if particles.has("halImagePixelSize"):
        return float(particles.number("halImagePixelSize")[0]), "halImagePixelSize"
    sizes = optics_values(particles, "rlnImagePixelSize")
    if sizes is not None:
        return float(sizes[0]), "rlnImagePixelSize"
    stated = image_pixels(particles) or detector_pixels(particles)
    if stated is None or stated.sizes is None:
        return None, None
    return float(stated.sizes[0]), stated.source


def _dimension(particles: Particles) -> int | None:
    values = optics_values(particles, "rlnImageDimensionality")
    return int(values[0]) if values is not None else None


def _tomograms(star: Star) -> Facts:
    """Names, sizes in pixels of the tilt series, voxel sizes and which volumes there are."""
    table = star.table("global")
    assert table is not None

    def numbers(label: str) -> list[float]:
        return numbers_of(table, label, star.path).tolist() if label in table else []

    pixels, binnings = numbers("rlnTomoTiltSeriesPixelSize"), numbers("rlnTomoTomogramBinning")
    axes = [numbers(f"rlnTomoSize{axis}") for axis in "XYZ"]
    sizes = [[int(edge) for edge in edges] for edges in zip(*axes, strict=True)]
    volumes = [label for label in table.labels if label in VOLUME_COLUMNS]
    if not binnings and volumes:
        binnings = [1.0] * len(pixels)
    voxels = [s * b for s, b in zip(pixels, binnings, strict=False)]
    return {
        "file": str(star.path),
        "type": "tomograms",
        "producer": "relion",
        "tomograms": dict.fromkeys(table.column("rlnTomoName"), 1),
        "tilt_series_pixel_size": sorted({round(size, 5) for size in pixels}),
        "size": [list(size) for size in sorted({tuple(size) for size in sizes})],
        "binning": sorted(set(binnings)),
        "voxel_size": sorted({round(voxel, 4) for voxel in voxels}),
        "volumes": volumes,
        "columns": table.labels,
        "warnings": [],
    }
