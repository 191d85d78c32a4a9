"""Cut subtomograms out of tomograms at picked positions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from halcmd.console import log, planned
from halcmd.cropping import Geometry, Intensity, check_options
from halcmd.errors import OptionError
from halcmd.extraction.boxes import image_names, write_boxes
from halcmd.extraction.plan import (
    Plan,
    box_edge,
    check_sizes,
    contrast_of,
    count_reasons,
    select_rows,
)
from halcmd.formats.star import text_of
from halcmd.intake.read import join_picks
from halcmd.particles import Particles
from halcmd.picks.picks import Picks
from halcmd.picks.placement import warn_of_same_places
from halcmd.picks.positions import Placed, resolve_all
from halcmd.picks.tomograms import UNKNOWN_TILTS, find_tomograms
from halcmd.poses import euler_angles
from halcmd.relion_view import relion_particles, with_microscopes, with_optics
from halcmd.splitting import split_test
from halcmd.tables import write_particles


@dataclass(frozen=True)
class Split:
    """Which particles are held out.

    Attributes
    ----------
    fraction : float
        Share of test particles; 0 = as the input has it.
    by : str
        ``tomogram``, ``region`` or ``particle``.
    """

    fraction: float = 0.0
    by: str = "tomogram"


@dataclass(frozen=True)
class ExtractResult:
    """What was cut."""

    particles: Particles
    read: int
    dropped: int
    output: Path

    def summary(self) -> dict[str, object]:
        """What ``--json`` prints."""
        return {
            "read": self.read,
            "kept": len(self.particles),
            "dropped": self.dropped,
            "output": str(self.output),
        }


def extract(
    files: Sequence[Picks],
    tomogram_paths: Sequence[Path],
    folder: Path,
    *,
    geometry: Geometry,
    intensity: Intensity,
    split: Split,
    coords_pixel_size: float | None = None,
    tomogram_pixel_size: float | None = None,
    volumes: str = "auto",
    apply_origins: bool = True,
    apply_orientations: bool = False,
    label_by_file: bool = False,
    tilt_range: tuple[float, float] | None = None,
    layout: str = "stack",
    float16: bool = False,
    optics: Mapping[str, str] | None = None,
    threads: int = 1,
    seed: int = 0,
) -> ExtractResult:
    """Boxes around picks, as one stack per tomogram or one file per particle, with their table.

    Parameters
    ----------
    files : sequence of Picks
        The picks of each file.
    tomogram_paths : sequence of Path
        tomograms.star, folders, MRC files; empty where the picks name them (an optimisation set).
    folder : Path
        Job folder.
    coords_pixel_size, tomogram_pixel_size : float, optional
        Angstrom; beat what the files say.
    volumes : str
        Where tomograms.star names several: ``auto``, ``full``, ``denoised`` or ``halves``.
    apply_origins, apply_orientations : bool
        Add the shifts of the picks; turn each box by the orientation of its pick.
    layout : str
        ``stack`` or ``single``.
    optics : mapping of str to str, optional
        rlnVoltage (kV), rlnSphericalAberration (mm), ... where the input has none.
    threads : int
        How many cut boxes at the same time.

    Raises
    ------
    InputError, OptionError, DataError
        See the messages; all but DataError come before anything is written.
    """
    check_options(geometry, intensity)
    if not 0 <= split.fraction < 1:
        raise OptionError("--test-fraction must be at least 0 and below 1")
    names, tomograms = find_tomograms(
        np.concatenate([picks.tomograms for picks in files]),
        _tomogram_paths(files, tomogram_paths),
        where=", ".join(str(picks.path) for picks in files),
        stems=np.array([p.path.stem for p in files for _ in range(len(p.tomograms))], dtype=object),
        pixel_size=tomogram_pixel_size,
        kind=volumes,
    )
    placed = _as_written(
        resolve_all(
            files,
            names,
            tomograms,
            coords_pixel_size=coords_pixel_size,
            apply_origins=apply_origins,
        )
    )
    particles = with_optics(join_picks(files, names, label_by_file=label_by_file), optics or {})
    voxels = np.array([tomograms[name].pixel_size for name in names])
    warn_of_same_places(names, placed.positions, voxels)
    turned = _turned(placed, files) if apply_orientations else None
    plan = Plan(particles, placed.positions, turned, names, tomograms, geometry, intensity)
    kept, reasons = select_rows(plan)
    check_sizes(plan)
    contrast, sign = contrast_of(plan)
    table = _described(plan, kept, contrast, tilt_range, placed)
    table = split_test(table, fraction=split.fraction, by=split.by, seed=seed, gap=box_edge(plan))
    table = table.with_columns({"halImageName": image_names(plan, kept, folder, layout)})
    view = relion_particles(table) if layout == "single" else None
    planned(
        f"read {len(particles):,}  kept {len(kept):,}  dropped {len(reasons):,}"
        + (f" ({count_reasons(reasons)})" if reasons else "")
    )
    _write_dropped(folder, particles, reasons)
    images = table.text("halImageName")
    write_boxes(plan, kept, images, sign=sign, float16=float16, threads=threads)
    write_particles(folder / "particles.star", table)
    if view is not None:
        write_particles(folder / "relion.star", view)
    return ExtractResult(table, len(particles), len(reasons), folder / "particles.star")


def _tomogram_paths(files: Sequence[Picks], given: Sequence[Path]) -> list[Path]:
    """Where the tomograms are: as given, else as the files of picks name them."""
    named = [picks.tomograms_file for picks in files if picks.tomograms_file is not None]
    paths = list(dict.fromkeys(given or named))
    if not paths:
        raise OptionError(
            "where are the tomograms?",
            hint="--tomograms with RELION's tomograms.star, a folder of MRC files, or one MRC file",
        )
    return paths


def _write_dropped(folder: Path, particles: Particles, reasons: dict[int, str]) -> None:
    if reasons:
        log.warning(f"dropped {len(reasons):,} picks: {count_reasons(reasons)}; see dropped.star")
        rows = sorted(reasons)
        dropped = particles.take(rows).with_columns(
            {"halDropReason": [reasons[row] for row in rows]}
        )
        write_particles(folder / "dropped.star", dropped)


def _as_written(placed: Placed) -> Placed:
    """Positions with the decimals of the table, so that whoever reads it finds the same voxels."""
    written = [text_of(values, 3) for values in placed.positions.T]
    return replace(placed, positions=np.array(written, dtype=np.float64).T)


def _turned(placed: Placed, files: Sequence[Picks]) -> np.ndarray:
    """Rotations of the boxes; raises OptionError where the picks have no orientations."""
    if placed.rotations is None:
        raise OptionError(
            "these picks have no orientations to apply",
            where=", ".join(str(picks.path) for picks in files if picks.rotations is None),
            hint="leave out --apply-orientations, or give a file with angles (rlnAngleRot, ...)",
        )
    log.info(
        "boxes are turned by the orientations of their picks, with the missing wedge in them: "
        "halTiltMin and halTiltMax are not known of such boxes"
    )
    return placed.rotations


def _shifts(particles: Particles) -> np.ndarray | None:
    """Shifts that positions of a table of halcmd include, shape (n, 3), **xyz**, Angstrom."""
    if not particles.has("halShiftXAngst"):
        return None
    return np.stack([particles.number(f"halShift{axis}Angst") for axis in "XYZ"], axis=1)


def _described(
    plan: Plan,
    kept: np.ndarray,
    contrast: str,
    tilt_range: tuple[float, float] | None,
    placed: Placed,
) -> Particles:
    """The kept rows with all that is known of their boxes, but for the image names."""
    used = [plan.tomograms[name] for name in plan.names[kept]]
    tilts = [tilt_range or tomogram.tilt_range for tomogram in used]
    if plan.turned is not None:
        tilts = [UNKNOWN_TILTS] * len(used)
    padded = np.zeros(len(plan.particles))
    for name in dict.fromkeys(plan.names):
        rows = np.flatnonzero(plan.names == name)
        padded[rows] = plan.padded_fraction(rows, plan.tomograms[name])
    columns: dict[str, Sequence[str] | np.ndarray] = {
        "halTomogram": plan.names[kept],
        "halTomogramFile": [str(tomogram.volumes[0].path) for tomogram in used],
        "halTomogramPixelSize": text_of([tomogram.pixel_size for tomogram in used], 5),
        "halContrast": [contrast] * len(kept),
        "halTiltMin": text_of([low for low, _ in tilts], 2),
        "halTiltMax": text_of([high for _, high in tilts], 2),
        "halPaddedFraction": text_of(padded[kept], 4),
        "halImagePixelSize": text_of([plan.output_pixel_size(t) for t in used], 5),
        "halImageSize": [str(plan.geometry.box)] * len(kept),
    }
    for axis, values in zip("XYZ", placed.positions[kept].T, strict=True):
        columns[f"halPosition{axis}Angst"] = text_of(values, 3)
    shifts = _shifts(plan.particles) if placed.shifts is None else placed.shifts
    if shifts is not None:
        for axis, values in zip("XYZ", shifts[kept].T, strict=True):
            columns[f"halShift{axis}Angst"] = text_of(values, 3)
    if placed.rotations is not None:
        angles = euler_angles(placed.rotations[kept])
        for angle, values in zip(("Rot", "Tilt", "Psi"), angles.T, strict=True):
            columns[f"halAngle{angle}"] = text_of(values, 4)
    if plan.turned is not None:
        columns["halBoxAxes"] = ["particle"] * len(kept)
    table = plan.particles.take(kept).with_columns(columns, owner="extract")
    optics = {name: tomogram.optics for name, tomogram in plan.tomograms.items()}
    return with_microscopes(table, plan.names[kept], optics)
