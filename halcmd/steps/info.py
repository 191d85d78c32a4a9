"""What a file is: STAR, MRC, model, job folder; and what this installation can do."""

import logging
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from halcmd import __version__
from halcmd.console import log
from halcmd.errors import HalcmdError, InputError
from halcmd.formats.mrc import Volume, open_volume
from halcmd.formats.relion_job import OUTPUTS, RUN_LOG, SETTINGS
from halcmd.formats.star import read_star
from halcmd.importers import IMPORTERS
from halcmd.intake.facts import table_facts
from halcmd.networks import NETWORKS
from halcmd.pixel_size import header_size
from halcmd.registry import load
from halcmd.strategies import STRATEGIES
from halcmd.strategies.options import described

Facts = dict[str, Any]

_MRC_SUFFIXES = {".mrc", ".mrcs", ".rec", ".map", ".st", ".gz", ".bz2"}


def installation() -> Facts:
    """Versions, devices and the names of all importers, strategies and networks."""
    import torch

    from halcmd.compute.device import devices, why_no_gpu

    facts: Facts = {
        "version": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "devices": devices(),
        "importers": list(IMPORTERS),
        "strategies": list(STRATEGIES),
        "strategy_options": _strategy_options(),
        "networks": list(NETWORKS),
    }
    reason = why_no_gpu()
    return facts | ({"why_no_gpu": reason} if reason else {})


def _strategy_options() -> dict[str, dict[str, Any]]:
    """Parameters of strategies that have some, for ``query --option``, and their defaults."""
    found = {
        name: {key: default for key, (default, _) in described(load(STRATEGIES, name, "")).items()}
        for name in STRATEGIES
    }
    return {name: options for name, options in found.items() if options}


def describe(
    path: Path, tomograms: Sequence[Path] = (), *, pixel_size: float | None = None
) -> Facts:
    """What a file or job folder is and holds.

    Parameters
    ----------
    path : Path
        The file or folder.
    tomograms : sequence of Path
        As for extract; picks are then placed in them.
    pixel_size : float, optional
        Of the tomograms, Angstrom.

    Raises
    ------
    InputError, ModelError
        It cannot be read.
    """
    if path.is_dir():
        facts = _job(path)
    elif path.suffix in _MRC_SUFFIXES:
        facts = _mrc(open_volume(path))
    elif path.suffix == ".safetensors":
        facts = _model(path)
    else:
        with _held_back() as logged:
            facts = table_facts(path, tomograms, pixel_size=pixel_size)
        facts["warnings"] = list(dict.fromkeys([*facts["warnings"], *logged]))
    plain: Facts = _without_nan(facts)
    return plain


@contextmanager
def _held_back() -> Iterator[list[str]]:
    """The texts of warnings that are logged meanwhile; nothing is printed, the facts have all."""
    texts: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        if record.levelno == logging.WARNING:
            texts.append(record.getMessage())
        return record.levelno > logging.WARNING

    log.addFilter(keep)
    try:
        yield texts
    except HalcmdError:
        log.removeFilter(keep)
        for text in texts:
            log.warning(text)
        raise
    finally:
        log.removeFilter(keep)


def _without_nan(value: Any) -> Any:
    """The same with None for every number that is not finite, which JSON does not know."""
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


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
        facts["particles"] = table_facts(folder / "particles.star")
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
        "warnings": [] if header_size(volume, unequal=True) else ["no pixel size in the header"],
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


def lines_of(facts: Facts, indent: int = 0) -> list[str]:
    """The facts as lines for a person."""
    lines = []
    for name, value in facts.items():
        # Below the first level stand names of tomograms and classes.
        label = " " * indent + name if indent else name.replace("_", " ")
        if isinstance(value, dict):
            lines += [label, *lines_of(value, indent + 2)]
        elif isinstance(value, list) and value and name == "warnings":
            lines += [f"{label if n == 0 else '':<18} {text}" for n, text in enumerate(value)]
        elif isinstance(value, list):
            lines.append(f"{label:<18} {', '.join(map(str, value)) or 'none'}")
        elif isinstance(value, float):
            lines.append(f"{label:<18} {value:.6g}")
        else:
            lines.append(f"{label:<18} {value}")
    return lines
