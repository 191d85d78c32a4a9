"""Settings and STAR tables of simulated data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from halcmd.formats.star import Star, Table, text_of
from halcmd.imaging.microscope import Optics, tilt_series
from halcmd.imaging.scene import Cast
from halcmd.particles import Particles, new_ids, new_particles

CONTRASTS = ("bright", "dark")


@dataclass(frozen=True)
class Scene:
    """What is to be seen.

    Attributes
    ----------
    maps : sequence of Path
        Folders or MRC files, one class each; empty = built-in shapes.
    classes : int
        Number of built-in shapes.
    per_class : int
        Particles per class in the whole data set; the mean where ``balance`` is given.
    balance : sequence of float
        Weight of each class; empty = equal.
    junk : float
        Picks that are no particle, as a fraction of the particles.
    tomograms : int
        0 = subtomograms only.
    box : int
        Voxels.
    pixel_size : float
        Angstrom.
    """

    maps: Sequence[Path] = ()
    classes: int = 6
    per_class: int = 100
    balance: Sequence[float] = ()
    junk: float = 0.0
    tomograms: int = 0
    box: int = 32
    pixel_size: float = 10.0


@dataclass(frozen=True)
class Acquisition:
    """How it is to be recorded.

    Attributes
    ----------
    snr : float
        Mean over the particles of signal variance over noise variance in the box; inf = no noise.
    tilt_range, tilt_step : (float, float), float
        Degrees.
    optics : Optics
        Microscope and detector.
    contrast : str
        ``bright`` or ``dark`` particles.
    """

    snr: float = 0.1
    tilt_range: tuple[float, float] = (-60.0, 60.0)
    tilt_step: float = 3.0
    optics: Optics = field(default_factory=Optics)
    contrast: str = "bright"

    @property
    def recorded_range(self) -> tuple[float, float]:
        """First and last tilt that the step leads to, in degrees."""
        tilts = tilt_series((1, 1, 1), tilt_range=self.tilt_range, tilt_step=self.tilt_step).tilts
        return tilts[0], tilts[-1]


def subtomogram_tables(
    stack: Path, things: Cast, acquisition: Acquisition
) -> tuple[Particles, Particles]:
    """``particles.star`` of a stack, without labels; and ``truth.star``."""
    count = len(things)
    ids = new_ids([stack.stem] * count)
    columns = {
        "halParticleId": ids,
        "halImageName": [f"{number:06d}@{stack}" for number in range(1, count + 1)],
        "halImagePixelSize": [f"{things.pixel_size:g}"] * count,
        "halImageSize": [str(things.box)] * count,
        **_recorded(acquisition, count),
        "rlnOpticsGroup": ["1"] * count,
    }
    optics = _optics(acquisition, things.pixel_size, "rlnImagePixelSize")
    optics |= {"rlnImageSize": [str(things.box)], "rlnImageDimensionality": ["3"]}
    # RELION subtracts origins: the true centre is the box's centre minus the origin.
    origins = -things.shifts * things.pixel_size
    places = {f"rlnOrigin{x}Angst": text_of(origins[:, n], 4) for n, x in enumerate("XYZ")}
    truth = new_particles(_truth(things, ids, places), optics=optics)
    return new_particles(columns, optics=optics), truth


def picks_tables(
    tomograms: Sequence[str], positions_xyz: np.ndarray, things: Cast, acquisition: Acquisition
) -> tuple[Particles, Particles]:
    """``picks.star`` without labels, and ``truth.star``; coordinates in voxels from 0."""
    ids = new_ids(tomograms)
    places = {"rlnTomoName": list(tomograms)} | {
        f"rlnCoordinate{x}": text_of(positions_xyz[:, n], 4) for n, x in enumerate("XYZ")
    }
    optics = _optics(acquisition, things.pixel_size, "rlnMicrographPixelSize")
    columns = places | {"rlnOpticsGroup": ["1"] * len(ids), "halParticleId": ids}
    truth = new_particles(_truth(things, ids, places), optics=optics)
    return new_particles(columns, optics=optics), truth


def tomogram_paths(folder: Path, count: int) -> list[Path]:
    """``Tomograms/sim_01.mrc`` and so on."""
    digits = max(2, len(str(count)))
    return [folder / "Tomograms" / f"sim_{number:0{digits}d}.mrc" for number in range(1, count + 1)]


def tomogram_table(
    paths: Sequence[Path],
    sizes_xyz: Sequence[tuple[int, ...]],
    scene: Scene,
    acquisition: Acquisition,
) -> Star:
    """``tomograms.star`` as RELION 5 has it, at bin 1."""
    count = len(paths)
    optics = _optics(acquisition, scene.pixel_size, "rlnTomoTiltSeriesPixelSize")
    del optics["rlnOpticsGroup"]
    columns: dict[str, Sequence[object]] = {
        "rlnTomoName": [path.stem for path in paths],
        **{name: values * count for name, values in optics.items()},
        "rlnMicrographOriginalPixelSize": [f"{scene.pixel_size:g}"] * count,
        "rlnTomoHand": [-1] * count,
        "rlnTomoTomogramBinning": [1] * count,
        **{f"rlnTomoSize{x}": [size[n] for size in sizes_xyz] for n, x in enumerate("XYZ")},
        "rlnTomoReconstructedTomogram": paths,
        **_recorded(acquisition, count),
    }
    return Star((Table.from_columns("global", columns),))


def _truth(
    things: Cast, ids: Sequence[str], places: Mapping[str, Sequence[str]]
) -> dict[str, Sequence[object]]:
    """Labels and poses in columns that RELION reads."""
    angles = zip(("Rot", "Tilt", "Psi"), things.angles.T, strict=True)
    return {
        "halParticleId": ids,
        "halLabel": list(things.labels),
        **places,
        **{f"rlnAngle{name}": text_of(values, 4) for name, values in angles},
        "rlnOpticsGroup": ["1"] * len(ids),
    }


def _optics(acquisition: Acquisition, pixel_size: float, column: str) -> dict[str, list[str]]:
    """One optics group, with the pixel size in the column named."""
    optics = acquisition.optics
    return {
        "rlnOpticsGroup": ["1"],
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnVoltage": [f"{optics.voltage_kv:g}"],
        "rlnSphericalAberration": [f"{optics.cs_mm:g}"],
        "rlnAmplitudeContrast": [f"{optics.amplitude_contrast:g}"],
        column: [f"{pixel_size:g}"],
    }


def _recorded(acquisition: Acquisition, count: int) -> dict[str, list[str]]:
    low, high = acquisition.recorded_range
    return {
        "halContrast": [acquisition.contrast] * count,
        "halTiltMin": [f"{low:g}"] * count,
        "halTiltMax": [f"{high:g}"] * count,
    }
