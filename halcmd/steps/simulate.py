"""Subtomograms or tomograms of known truth: the physics of ``halcmd.imaging`` in files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from halcmd.compute.device import torch_generator
from halcmd.console import log, planned, progress
from halcmd.errors import OptionError
from halcmd.formats.mrc_writing import volume_stack, write_volume
from halcmd.formats.star import write_star
from halcmd.imaging.densities import Density, built_in, from_files
from halcmd.imaging.microscope import Instrument, instrument_for
from halcmd.imaging.scene import PICK_ERROR, Cast, around, boxes, cast, counts_per_class, stage
from halcmd.imaging.shapes import SHAPES
from halcmd.imaging.simulated import (
    CONTRASTS,
    Acquisition,
    Scene,
    picks_tables,
    subtomogram_tables,
    tomogram_paths,
    tomogram_table,
)
from halcmd.particles import JUNK, Particles
from halcmd.splitting import split_test
from halcmd.tables import write_particles

# Voxels imaged at a time: 65 boxes of 40^3. Fixed, so that results do not depend on the machine.
_BATCH_VOXELS = 2**22

_LEAST_BOX = 8


@dataclass(frozen=True)
class SimulateResult:
    """What was simulated; ``snr`` is the measured mean SNR of each class."""

    particles: Particles
    truth: Particles
    tomograms: int
    snr: Mapping[str, float]
    output: Path

    def summary(self) -> dict[str, object]:
        """What ``--json`` prints."""
        return {
            "particles": len(self.particles),
            "classes": dict(sorted(Counter(self.truth.labels).items())),
            "tomograms": self.tomograms,
            "snr": {name: _json_number(value) for name, value in self.snr.items()},
            "output": str(self.output),
        }


def simulate(
    folder: Path,
    *,
    scene: Scene,
    acquisition: Acquisition,
    test_fraction: float = 0.25,
    seed: int = 0,
    device: torch.device,
) -> SimulateResult:
    """Particles and their truth: subtomograms in one stack, or tomograms with picks.

    Parameters
    ----------
    folder : Path
        Job folder.
    scene : Scene
        Which particles.
    acquisition : Acquisition
        Tilt series, microscope, noise.
    test_fraction : float
        Share of the particles with halSplit = test; by tomogram where there are several.
    device : torch.device
        Where to compute; random numbers are drawn on the CPU whatever it is.

    Raises
    ------
    OptionError, InputError, DataError
        An option or a map cannot be used; before anything is written.
    """
    _check(scene, acquisition, test_fraction)
    if scene.maps:
        densities = from_files(scene.maps, target=scene.pixel_size, device=device)
    else:
        names = list(SHAPES)[: scene.classes]
        densities = built_in(names, target=scene.pixel_size, device=device)
    counts = _counts(scene, list(densities))
    _check_fit(densities, scene)
    n_junk = round(scene.junk * int(counts.sum()))
    _announce(scene, acquisition, densities, counts, n_junk)
    shift = 0.5 if scene.tomograms else PICK_ERROR
    things = cast(
        densities,
        counts,
        junk=n_junk,
        shift=shift,
        box=scene.box,
        pixel_size=scene.pixel_size,
        seed=seed,
    )
    if scene.tomograms:
        name = "picks.star"
        groups = np.array_split(np.arange(len(things)), scene.tomograms)
        paths = tomogram_paths(folder, scene.tomograms)
        variances, positions, sizes = _fill_tomograms(paths, groups, things, acquisition, device)
        write_star(folder / "tomograms.star", tomogram_table(paths, sizes, scene, acquisition))
        owners = np.repeat([path.stem for path in paths], [len(rows) for rows in groups])
        table, truth = picks_tables(owners.tolist(), positions, things, acquisition)
    else:
        name = "particles.star"
        stack = folder / "Subtomograms" / "simulated.mrcs"
        variances = _fill_stack(stack, things, acquisition, device)
        table, truth = subtomogram_tables(stack, things, acquisition)
    table, truth = _split(table, truth, test_fraction, scene.tomograms, seed)
    snr = _measured(things.labels, variances, acquisition.snr)
    log.info("SNR " + ", ".join(f"{name} {value:.3g}" for name, value in snr.items()))
    write_particles(folder / "truth.star", truth)
    write_particles(folder / name, table)
    return SimulateResult(table, truth, scene.tomograms, snr, folder / name)


def _check(scene: Scene, acquisition: Acquisition, test_fraction: float) -> None:
    low, high = acquisition.tilt_range
    wrong = [
        (scene.box < _LEAST_BOX or scene.box % 2 != 0, f"--box must be even, from {_LEAST_BOX} up"),
        (scene.pixel_size <= 0, "--angpix must be positive"),
        (scene.per_class < 1, "--per-class must be at least 1"),
        (scene.junk < 0, "--junk must not be negative"),
        (scene.tomograms < 0, "--tomograms must not be negative"),
        (
            not scene.maps and not 1 <= scene.classes <= len(SHAPES),
            f"--classes must be 1 to {len(SHAPES)}, the number of built-in shapes",
        ),
        (any(weight <= 0 for weight in scene.balance), "--balance takes positive numbers"),
        (not acquisition.snr > 0, "--snr must be positive, or inf for no noise"),
        (not -90 <= low < high <= 90, "--tilt-range must rise, within -90,90"),
        (
            not 0 < acquisition.tilt_step <= high - low,
            "--tilt-step must be positive and no more than the tilt range",
        ),
        (acquisition.optics.voltage_kv <= 0, "--voltage must be positive"),
        (acquisition.optics.defocus_um < 0, "--defocus must not be negative (underfocus)"),
        (acquisition.optics.cs_mm < 0, "--cs must not be negative"),
        (
            not 0 <= acquisition.optics.amplitude_contrast < 1,
            "--amplitude-contrast must be at least 0 and below 1",
        ),
        (acquisition.contrast not in CONTRASTS, "--contrast must be bright or dark"),
        (not 0 <= test_fraction < 1, "--test-fraction must be at least 0 and below 1"),
    ]
    for is_wrong, message in wrong:
        if is_wrong:
            raise OptionError(message)


def _counts(scene: Scene, names: list[str]) -> np.ndarray:
    if scene.balance and len(scene.balance) != len(names):
        raise OptionError(
            "--balance needs one weight per class",
            found=f"{len(scene.balance)} weights for {len(names)} classes ({', '.join(names)})",
        )
    counts = counts_per_class(len(names), scene.per_class, scene.balance)
    if counts.min() < 1:
        raise OptionError(
            "--balance leaves a class without particles",
            found=f"{names[int(counts.argmin())]} has none",
            hint=f"--per-class {2 * scene.per_class}, or a larger weight",
        )
    if scene.tomograms > counts.sum():
        raise OptionError(
            "--tomograms is larger than the number of particles", found=f"{counts.sum()} particles"
        )
    return counts


def _check_fit(densities: Mapping[str, Density], scene: Scene) -> None:
    name, largest = max(
        ((name, density.diameter()) for name, density in densities.items()), key=lambda p: p[1]
    )
    if largest > scene.box * scene.pixel_size:
        fits = 2 * int(np.ceil(largest / scene.pixel_size / 2))
        raise OptionError(
            f"{name} does not fit into the box",
            found=f"{largest:.0f} A across, {scene.box} px of {scene.pixel_size:g} A",
            hint=f"--box {fits}, or --angpix {largest / scene.box:.3g}",
        )


def _announce(
    scene: Scene,
    acquisition: Acquisition,
    densities: Mapping[str, Density],
    counts: np.ndarray,
    n_junk: int,
) -> None:
    """Say what will be done; the end of a --dry-run."""
    for name, density in densities.items():
        log.debug(f"{name}: {density.diameter():.0f} A across")
    total = int(counts.sum()) + n_junk
    where = f"in {scene.tomograms} tomograms" if scene.tomograms else "as subtomograms"
    size = 4 * total * scene.box**3 / 1e9
    classes = ", ".join(f"{name} {n}" for name, n in zip(densities, counts, strict=True))
    low, high = acquisition.recorded_range
    planned(
        f"{total:,} picks {where}, box {scene.box} px of {scene.pixel_size:g} A"
        + ("" if scene.tomograms else f", {size:.2g} GB")
        + f": {classes}"
        + (f", {JUNK} {n_junk}" if n_junk else "")
        + f"; tilts {low:g} to {high:g} by {acquisition.tilt_step:g} deg, SNR {acquisition.snr:g}"
    )


def _fill_stack(
    path: Path, things: Cast, acquisition: Acquisition, device: torch.device
) -> np.ndarray:
    """Write a stack of subtomograms; the variance of each one's signal, shape (n,).

    The signal goes into the stack first; when its mean variance is known, it is scaled and noise
    added.
    """
    count, box = len(things), things.box
    instrument = _instrument((box, box, box), things, acquisition, device)
    size = max(_BATCH_VOXELS // box**3, 1)
    batches = [slice(start, min(start + size, count)) for start in range(0, count, size)]
    variances = np.zeros(count)
    with volume_stack(path, count, box, pixel_size=things.pixel_size, by_map=True) as stack:
        with progress("imaging", count) as advance:
            for rows in batches:
                signal = instrument.signal(boxes(things, range(rows.start, rows.stop)))
                variances[rows] = _variances(signal)
                stack.boxes[rows] = signal.cpu().numpy()
                advance(rows.stop - rows.start)
        scale = _scale(things.labels, variances, acquisition.snr)
        with progress("noise", count) as advance:
            for rows in batches:
                keys = range(rows.start, rows.stop)
                signals = stack.boxes[rows]
                exposed = _exposed(signals, instrument, scale, acquisition, things, keys)
                stack.fill(np.asarray(keys), exposed)
                advance(rows.stop - rows.start)
    return variances


def _fill_tomograms(
    paths: Sequence[Path],
    groups: Sequence[np.ndarray],
    things: Cast,
    acquisition: Acquisition,
    device: torch.device,
) -> tuple[np.ndarray, np.ndarray, list[tuple[int, ...]]]:
    """Write tomograms: signal variance (n,), positions (n, 3) in voxels xyz, sizes xyz.

    All signals are held in memory until their mean variance is known.
    """
    variances = np.zeros(len(things))
    positions = np.zeros((len(things), 3))
    signals: list[np.ndarray] = []
    with progress("imaging", len(paths), "tomograms") as advance:
        for path, rows in zip(paths, groups, strict=True):
            scenery = stage(things, rows.tolist(), name=path.stem)
            z, y, x = scenery.density.shape
            instrument = _instrument((z, y, x), things, acquisition, device)
            signal = instrument.signal(scenery.density[None])[0]
            cut = [signal[around(centre, things.box)] for centre in scenery.centres]
            variances[rows] = _variances(torch.stack(cut))
            positions[rows] = scenery.centres[:, ::-1] + things.shifts[rows]
            signals.append(signal.cpu().numpy())
            advance(1)
    scale = _scale(things.labels, variances, acquisition.snr)
    with progress("noise", len(paths), "tomograms") as advance:
        for path, clean in zip(paths, signals, strict=True):
            z, y, x = clean.shape
            instrument = _instrument((z, y, x), things, acquisition, device)
            volume = _exposed(clean[None], instrument, scale, acquisition, things, [path.stem])
            write_volume(path, volume[0], things.pixel_size)
            advance(1)
    return variances, positions, [clean.shape[::-1] for clean in signals]


def _instrument(
    shape: tuple[int, int, int], things: Cast, acquisition: Acquisition, device: torch.device
) -> Instrument:
    return instrument_for(
        shape,
        acquisition.optics,
        tilt_range=acquisition.tilt_range,
        tilt_step=acquisition.tilt_step,
        pixel_size=things.pixel_size,
        device=device,
    )


def _exposed(
    signal: np.ndarray,
    instrument: Instrument,
    scale: float,
    acquisition: Acquisition,
    things: Cast,
    keys: Sequence[object],
) -> np.ndarray:
    """Signal (n, z, y, x) at its scale, with noise, in the contrast wanted."""
    volumes = scale * signal
    if np.isfinite(acquisition.snr):
        cpu = torch.device("cpu")
        generators = [torch_generator(cpu, things.seed, "noise", key) for key in keys]
        volumes += instrument.noise(generators).cpu().numpy()
    return volumes if acquisition.contrast == "bright" else -volumes


def _scale(labels: np.ndarray, variances: np.ndarray, snr: float) -> float:
    """What the signal is multiplied by, so that noise of unit variance gives the SNR.

    Without noise the mean variance of the particles' signal becomes 1.
    """
    mean = float(variances[labels != JUNK].mean())
    return float(((snr if np.isfinite(snr) else 1.0) / mean) ** 0.5)


def _measured(labels: np.ndarray, variances: np.ndarray, snr: float) -> dict[str, float]:
    """Mean SNR of each class."""
    names = sorted(set(labels) - {JUNK})
    share = variances / variances[labels != JUNK].mean()
    return {name: float(snr * share[labels == name].mean()) for name in names}


def _variances(volumes: torch.Tensor) -> np.ndarray:
    return np.asarray(volumes.flatten(1).double().var(dim=1, correction=0).cpu())


def _json_number(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _split(
    table: Particles, truth: Particles, fraction: float, tomograms: int, seed: int
) -> tuple[Particles, Particles]:
    """Both tables with halSplit: by tomogram where there are several, else within each class."""
    by = "tomogram" if tomograms > 1 else "particle"
    truth = truth.with_columns({"halSplit": ["pool"] * len(truth)})
    truth = split_test(truth, fraction=fraction, by=by, seed=seed)
    return table.with_columns({"halSplit": truth.text("halSplit")}), truth
