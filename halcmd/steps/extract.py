"""Cut subtomograms out of tomograms at picked positions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from halcmd.console import Advance, log, planned, progress
from halcmd.cropping import Geometry, Intensity, check_options, cut_boxes, padded_fraction
from halcmd.errors import InputError, OptionError, first_few
from halcmd.formats.mrc import single_path, stack_names, write_singles, write_stack
from halcmd.formats.star import text_of
from halcmd.importers.picks import Picks, join_picks
from halcmd.importers.positions import inside, resolve_all
from halcmd.importers.tomograms import Tomogram, find_tomograms, tomograms_of
from halcmd.particles import Particles
from halcmd.relion_view import relion_particles, with_optics
from halcmd.splitting import split_test
from halcmd.tables import write_particles

_BATCH_VOXELS = 2**24
_MOST_PADDING = 0.5


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


@dataclass(frozen=True)
class _Plan:
    """Everything that is known before the first voxel is read."""

    particles: Particles
    positions_xyz: np.ndarray
    names: np.ndarray
    tomograms: dict[str, Tomogram]
    geometry: Geometry
    intensity: Intensity

    def source_box(self, tomogram: Tomogram) -> int:
        """Edge of the box in voxels of the tomogram, even."""
        binning = self.geometry.binning
        if self.geometry.pixel_size is not None:
            binning = self.geometry.pixel_size / tomogram.pixel_size
        return 2 * round(self.geometry.box * binning / 2)

    def output_pixel_size(self, tomogram: Tomogram) -> float:
        """Pixel size of the written box: the even source box over the written one."""
        return tomogram.pixel_size * self.source_box(tomogram) / self.geometry.box

    def centres_xyz(self, rows: np.ndarray, tomogram: Tomogram) -> np.ndarray:
        """Centre voxels of the boxes, shape (n, 3), int."""
        return np.asarray(np.rint(self.positions_xyz[rows] / tomogram.pixel_size).astype(int))

    def padded_fraction(self, rows: np.ndarray, tomogram: Tomogram) -> np.ndarray:
        """Share of each box that lies outside, shape (n,), float64."""
        centres = self.centres_xyz(rows, tomogram)
        return padded_fraction(centres, self.source_box(tomogram), tomogram.size_xyz)


def extract(
    files: Sequence[Picks],
    tomograms_path: Path,
    folder: Path,
    *,
    geometry: Geometry,
    intensity: Intensity,
    split: Split,
    coords_pixel_size: float | None = None,
    tomogram_pixel_size: float | None = None,
    apply_origins: bool = True,
    label_by_file: bool = False,
    tilt_range: tuple[float, float] | None = None,
    layout: str = "stack",
    float16: bool = False,
    optics: Mapping[str, str] | None = None,
    seed: int = 0,
) -> ExtractResult:
    """Boxes around picks, as one stack per tomogram or one file per particle, with their table.

    Parameters
    ----------
    files : sequence of Picks
        The picks of each file.
    tomograms_path : Path
        tomograms.star, a folder, or one MRC file.
    folder : Path
        Job folder.
    coords_pixel_size, tomogram_pixel_size : float, optional
        Angstrom; beat what the files say.
    layout : str
        ``stack`` or ``single``.
    optics : mapping of str to str, optional
        rlnVoltage (kV), rlnSphericalAberration (mm), ... where the input has none.

    Raises
    ------
    InputError, OptionError, DataError
        See the messages; all but DataError come before anything is written.
    """
    check_options(geometry, intensity)
    if not 0 <= split.fraction < 1:
        raise OptionError("--test-fraction must be at least 0 and below 1")
    tomograms = find_tomograms(tomograms_path, pixel_size=tomogram_pixel_size)
    names = np.concatenate([_names(picks, tomograms, tomograms_path) for picks in files])
    positions = resolve_all(
        files,
        names,
        tomograms,
        coords_pixel_size=coords_pixel_size,
        apply_origins=apply_origins,
    )
    particles = with_optics(join_picks(files, names, label_by_file=label_by_file), optics or {})
    plan = _Plan(particles, positions, names, tomograms, geometry, intensity)
    kept, reasons = _select(plan)
    _check_sizes(plan)
    contrast, sign = _contrast(plan)
    table = _described(plan, kept, contrast, tilt_range)
    table = split_test(table, fraction=split.fraction, by=split.by, seed=seed, gap=_gap(plan))
    table = table.with_columns({"halImageName": _image_names(plan, kept, folder, layout)})
    view = relion_particles(table) if layout == "single" else None
    planned(
        f"read {len(particles):,}  kept {len(kept):,}  dropped {len(reasons):,}"
        + (f" ({_count_reasons(reasons)})" if reasons else "")
    )
    _write_dropped(folder, particles, reasons)
    _write_boxes(plan, kept, table.text("halImageName"), sign=sign, float16=float16)
    write_particles(folder / "particles.star", table)
    if view is not None:
        write_particles(folder / "relion.star", view)
    return ExtractResult(table, len(particles), len(reasons), folder / "particles.star")


def _names(picks: Picks, tomograms: dict[str, Tomogram], path: Path) -> np.ndarray:
    where = str(picks.particles.path)
    return tomograms_of(picks.tomograms, tomograms, where=where, tomograms_path=path)


def _select(plan: _Plan) -> tuple[np.ndarray, dict[int, str]]:
    """Rows to keep, and why the others are dropped."""
    reasons: dict[int, str] = {}
    edge = plan.geometry.edge
    for name in dict.fromkeys(plan.names):
        tomogram = plan.tomograms[name]
        rows = np.flatnonzero(plan.names == name)
        within = inside(plan.positions_xyz[rows], tomogram)
        reasons |= dict.fromkeys(rows[~within].tolist(), "centre-outside-tomogram")
        padded = plan.padded_fraction(rows, tomogram)
        if edge == "error" and np.any(padded > 0):
            raise InputError(
                "a box reaches out of its tomogram",
                where=f"tomogram {name}",
                found=first_few(plan.particles.ids[rows[padded > 0]]),
                hint="--edge pad or --edge drop, or a smaller --box",
            )
        limit = _MOST_PADDING if edge == "pad" else 0.0
        out = rows[within & (padded > limit)]
        word = "more-than-half-outside" if edge == "pad" else "box-reaches-out"
        reasons |= dict.fromkeys(out.tolist(), word)
    kept = np.array([row for row in range(len(plan.particles)) if row not in reasons], dtype=int)
    if not len(kept):
        raise InputError(
            "no pick is left to extract",
            where=str(plan.particles.path),
            found=_count_reasons(reasons),
            hint="check the coordinates, or a smaller --box",
        )
    return kept, reasons


def _check_sizes(plan: _Plan) -> None:
    sizes = {}
    for name in dict.fromkeys(plan.names):
        tomogram = plan.tomograms[name]
        if plan.source_box(tomogram) < plan.geometry.box:
            raise OptionError(
                "--angpix is finer than the tomogram",
                where=f"tomogram {name}",
                found=f"{tomogram.pixel_size:g} A in the tomogram",
                hint=f"--angpix {tomogram.pixel_size:g} or more",
            )
        sizes[name] = plan.output_pixel_size(tomogram)
    log.info(
        f"boxes of {plan.geometry.box} px at "
        f"{', '.join(sorted({f'{size:.4g}' for size in sizes.values()}))} A"
    )


def _count_reasons(reasons: dict[int, str]) -> str:
    words = list(reasons.values())
    return ", ".join(f"{words.count(word):,} {word}" for word in dict.fromkeys(words))


def _contrast(plan: _Plan) -> tuple[str, float]:
    """Value of halContrast for the written boxes, and the factor that makes protein bright."""
    wanted = plan.intensity.contrast
    used = [plan.tomograms[name] for name in dict.fromkeys(plan.names)]
    stated = {tomogram.contrast for tomogram in used}
    if wanted == "auto" and len(stated) > 1:
        raise InputError(
            "the tomograms differ in contrast",
            found=", ".join(f"{t.name} {t.contrast}" for t in used[:3]),
            hint="extract the dark and the bright ones apart, with --contrast",
        )
    found = stated.pop() if wanted == "auto" else wanted
    if found == "unknown":
        log.warning(
            "contrast unknown: boxes are written as they are. --contrast dark inverts tomograms "
            "with dark protein (IMOD, AreTomo, RELION), --contrast bright says there is no need"
        )
        return "unknown", 1.0
    log.info(f"tomograms are {found}; boxes are written bright")
    return "bright", -1.0 if found == "dark" else 1.0


def _write_dropped(folder: Path, particles: Particles, reasons: dict[int, str]) -> None:
    if reasons:
        log.warning(f"dropped {len(reasons):,} picks: {_count_reasons(reasons)}; see dropped.star")
        rows = sorted(reasons)
        dropped = particles.take(rows).with_columns(
            {"halDropReason": [reasons[row] for row in rows]}
        )
        write_particles(folder / "dropped.star", dropped)


def _described(
    plan: _Plan, kept: np.ndarray, contrast: str, tilt_range: tuple[float, float] | None
) -> Particles:
    """The kept rows with all that is known of their boxes, but for the image names."""
    used = [plan.tomograms[name] for name in plan.names[kept]]
    tilts = [tilt_range or tomogram.tilt_range for tomogram in used]
    padded = np.zeros(len(plan.particles))
    for name in dict.fromkeys(plan.names):
        rows = np.flatnonzero(plan.names == name)
        padded[rows] = plan.padded_fraction(rows, plan.tomograms[name])
    columns: dict[str, Sequence[str] | np.ndarray] = {
        "halTomogram": plan.names[kept],
        "halTomogramFile": [str(tomogram.volume.path) for tomogram in used],
        "halTomogramPixelSize": text_of([tomogram.pixel_size for tomogram in used], 5),
        "halContrast": [contrast] * len(kept),
        "halTiltMin": text_of([low for low, _ in tilts], 2),
        "halTiltMax": text_of([high for _, high in tilts], 2),
        "halPaddedFraction": text_of(padded[kept], 4),
        "halImagePixelSize": text_of([plan.output_pixel_size(t) for t in used], 5),
        "halImageSize": [str(plan.geometry.box)] * len(kept),
    }
    for axis, values in zip("XYZ", plan.positions_xyz[kept].T, strict=True):
        columns[f"halPosition{axis}Angst"] = text_of(values, 3)
    table = plan.particles.take(kept).with_columns(columns, owner="extract")
    microscopes = {tuple(tomogram.optics.items()) for tomogram in used}
    return with_optics(table, used[0].optics) if len(microscopes) == 1 else table


def _gap(plan: _Plan) -> float:
    """Width of a box in Angstrom: what regions of test and pool are kept apart by."""
    tomogram = plan.tomograms[plan.names[0]]
    return float(plan.source_box(tomogram) * tomogram.pixel_size)


def _image_names(plan: _Plan, kept: np.ndarray, folder: Path, layout: str) -> np.ndarray:
    """Image name of each box to be written, shape (n,), object."""
    target = folder / "Subtomograms"
    if layout == "single":
        return np.array([str(single_path(target, plan.particles.ids[row])) for row in kept])
    names = np.empty(len(kept), dtype=object)
    for name in dict.fromkeys(plan.names[kept]):
        places = np.flatnonzero(plan.names[kept] == name)
        names[places] = stack_names(target / f"{name}.mrcs", len(places))
    return names


def _write_boxes(
    plan: _Plan, kept: np.ndarray, images: np.ndarray, *, sign: float, float16: bool
) -> None:
    """Write the boxes of the kept rows to where their image names say."""
    edge = plan.geometry.box
    with progress("extracting", len(kept)) as advance:
        for name in dict.fromkeys(plan.names[kept]):
            places = np.flatnonzero(plan.names[kept] == name)
            tomogram = plan.tomograms[name]
            size = plan.output_pixel_size(tomogram)
            boxes = _boxes(plan, kept[places], tomogram, sign, advance)
            _, is_stack, path = images[places[0]].rpartition("@")
            if is_stack:
                write_stack(Path(path), boxes, len(places), edge, pixel_size=size, float16=float16)
            else:
                paths = [Path(image) for image in images[places]]
                write_singles(paths, boxes, pixel_size=size, float16=float16)


def _boxes(
    plan: _Plan, rows: np.ndarray, tomogram: Tomogram, sign: float, advance: Advance
) -> Iterator[np.ndarray]:
    """Finished boxes of one tomogram, in batches of shape (n, box, box, box)."""
    edge = plan.source_box(tomogram)
    size = max(1, _BATCH_VOXELS // edge**3)
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        yield cut_boxes(
            tomogram.volume.data,
            plan.centres_xyz(batch, tomogram)[:, ::-1],
            source_box=edge,
            pixel_size=plan.output_pixel_size(tomogram),
            sign=sign,
            geometry=plan.geometry,
            intensity=plan.intensity,
            names=[str(plan.particles.ids[row]) for row in batch],
        )
        advance(len(batch))
