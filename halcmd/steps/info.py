"""What a file is: STAR, MRC, model, job folder; and what this installation can do."""

import platform
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from halcmd import __version__
from halcmd.errors import InputError
from halcmd.formats.mrc import Volume, open_volume
from halcmd.formats.relion_job import OUTPUTS, RUN_LOG, SETTINGS
from halcmd.formats.star import Star, number_of, read_star
from halcmd.importers import IMPORTERS
from halcmd.importers.picks import Picks, open_pick_file, recognise
from halcmd.networks import NETWORKS
from halcmd.particles import Particles, particles_of, tomogram_name
from halcmd.pixel_size import is_set, optics_values
from halcmd.registry import load
from halcmd.strategies import STRATEGIES

Facts = dict[str, Any]

_MRC_SUFFIXES = {".mrc", ".mrcs", ".rec", ".map", ".st", ".gz", ".bz2"}


def installation() -> Facts:
    """Versions, devices and the names of all importers, strategies and networks."""
    import torch

    from halcmd.device import devices, why_no_gpu

    facts: Facts = {
        "version": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "devices": devices(),
        "importers": list(IMPORTERS),
        "strategies": list(STRATEGIES),
        "networks": list(NETWORKS),
    }
    reason = why_no_gpu()
    return facts | ({"why_no_gpu": reason} if reason else {})


def describe(path: Path) -> Facts:
    """What a file or job folder is and holds.

    Raises
    ------
    InputError, ModelError
        It cannot be read.
    """
    if path.is_dir():
        return _job(path)
    if path.suffix in _MRC_SUFFIXES:
        return _mrc(open_volume(path))
    if path.suffix == ".safetensors":
        return _model(path)
    return _table(path)


def _job(folder: Path) -> Facts:
    made = [name for name in OUTPUTS if (folder / name).exists()]
    if not made and not (folder / RUN_LOG).exists() and not (folder / SETTINGS).exists():
        raise InputError(
            "this folder is no halcmd job", where=str(folder), hint="a folder that --output named"
        )
    facts: Facts = {"file": str(folder), "type": "job", "producer": "halcmd", "outputs": made}
    markers = sorted(folder.glob("RELION_JOB_EXIT_*"))
    facts["state"] = markers[0].name.rsplit("_", 1)[-1].lower() if markers else "unfinished"
    if "particles.star" in made:
        facts["particles"] = _table(folder / "particles.star")
        history = read_star(folder / "particles.star").table("hal_history")
        if history is not None:
            facts["history"] = history.column("halCommand")
    if "model.safetensors" in made:
        facts["model"] = _model(folder / "model.safetensors")
    return facts


def _mrc(volume: Volume) -> Facts:
    return {
        "file": str(volume.path),
        "type": "mrc",
        "producer": None,
        "shape": list(volume.data.shape),
        "voxel_size": [round(edge, 5) for edge in volume.voxel_size],
        "mode": volume.mode,
        "kind": volume.kind,
        **_statistics(volume.data),
        "warnings": [] if is_set(volume.voxel_size[0]) else ["no pixel size in the header"],
    }


def _statistics(data: np.ndarray) -> Facts:
    """Extremes, mean and deviation of the finite values, section by section."""
    nan = count = 0
    total = squares = 0.0
    low, high = np.inf, -np.inf
    for section in data:
        values = section.astype(np.float64).ravel()
        nan += int(np.isnan(values).sum())
        values = values[np.isfinite(values)]
        if len(values):
            low, high = min(low, values.min()), max(high, values.max())
            count += len(values)
            total += values.sum()
            squares += values @ values
    if not count:
        return {"min": None, "max": None, "mean": None, "sd": None, "nan": nan}
    mean = total / count
    sd = max(squares / count - mean**2, 0.0) ** 0.5
    return {"min": float(low), "max": float(high), "mean": float(mean), "sd": float(sd), "nan": nan}


def _model(path: Path) -> Facts:
    from halcmd.formats.model import read_info

    model, parameters = read_info(path)
    return {
        "file": str(path),
        "type": "model",
        "producer": "halcmd",
        "network": model.network,
        "classes": list(model.classes),
        "box": model.box,
        "pixel_size": model.pixel_size,
        "contrast": model.contrast,
        "normalisation": model.normalisation,
        "parameters": parameters,
        "trained_on": model.provenance,
        "format_version": model.format_version,
        "warnings": [],
    }


def _table(path: Path) -> Facts:
    file = open_pick_file(path)
    tomograms = file.star.table("global") if file.star is not None else None
    if file.star is not None and tomograms is not None and "rlnTomoName" in tomograms:
        return _tomograms(file.star)
    try:
        key = recognise(file)
    except InputError:
        if file.star is None:
            raise
        return _particles(particles_of(file.star), None)
    picks: Picks = load(IMPORTERS, key, "format").read(file)
    return _particles(picks.particles, picks) | {"file": str(path)}


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
        "coordinates": _coordinates(picks),
        "images": images,
        "labels": dict(sorted(Counter(particles.labels).items())) if table.lines else {},
        "warnings": warnings,
    }
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


def _coordinates(picks: Picks | None) -> Facts | None:
    if picks is None:
        return None
    source = next(((n, v) for n, v in picks.pixel_sizes if is_set(v)), (None, None))
    return {
        "unit": picks.unit,
        "pixel_size": source[1],
        "pixel_size_from": source[0],
        "min": picks.coordinates.min(axis=0).tolist(),
        "max": picks.coordinates.max(axis=0).tolist(),
    }


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
    size_column = "halImagePixelSize" if particles.has("halImagePixelSize") else "rlnImagePixelSize"
    sizes = (
        particles.number(size_column)
        if particles.has(size_column)
        else optics_values(particles, size_column)
    )
    if sizes is None and particles.has("rlnPixelSize"):
        size_column, sizes = "rlnPixelSize", particles.number("rlnPixelSize")
    if sizes is not None:
        facts["pixel_size"], facts["pixel_size_from"] = float(sizes[0]), size_column
    if particles.has("halImageSize"):
        facts["box"] = int(particles.number("halImageSize")[0])
    elif (edges := optics_values(particles, "rlnImageSize")) is not None:
        facts["box"] = int(edges[0])
    path = Path(first.rsplit("@", 1)[-1])
    folders = (Path(), *(particles.path.absolute().parents if particles.path else ()))
    if not any((folder / path).exists() for folder in folders):
        warnings.append(f"{path} is not there; run halcmd in the project folder")
    return facts


def _dimension(particles: Particles) -> int | None:
    values = optics_values(particles, "rlnImageDimensionality")
    return int(values[0]) if values is not None else None


def _tomograms(star: Star) -> Facts:
    table = star.table("global")
    assert table is not None

    def numbers(label: str) -> list[float]:
        return [number_of(text) for text in table.column(label)] if label in table else []

    names = table.column("rlnTomoName") if "rlnTomoName" in table else []
    sizes = numbers("rlnTomoTiltSeriesPixelSize")
    binnings = numbers("rlnTomoTomogramBinning")
    voxels = [s * b for s, b in zip(sizes, binnings or [1.0] * len(sizes), strict=True)]
    return {
        "file": str(star.path),
        "type": "tomograms",
        "producer": "relion",
        "tomograms": dict.fromkeys(names, 1),
        "voxel_size": sorted({round(voxel, 4) for voxel in voxels}),
        "columns": table.labels,
        "warnings": [],
    }


def lines_of(facts: Facts, indent: int = 0) -> list[str]:
    """The facts as lines for a person."""
    lines = []
    for name, value in facts.items():
        label = " " * indent + name.replace("_", " ")
        if isinstance(value, dict):
            lines += [label, *lines_of(value, indent + 2)]
        elif isinstance(value, list):
            lines.append(f"{label:<18} {', '.join(map(str, value)) or 'none'}")
        elif isinstance(value, float):
            lines.append(f"{label:<18} {value:.6g}")
        else:
            lines.append(f"{label:<18} {value}")
    return lines
