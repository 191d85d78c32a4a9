"""What is cut from where: everything about the boxes that is known before a voxel is read."""

from dataclasses import dataclass

import numpy as np

from halcmd.console import log
from halcmd.cropping import Geometry, Intensity, padded_fraction, turned_padded_fraction
from halcmd.errors import InputError, OptionError, first_few
from halcmd.particles import Particles
from halcmd.picks.placement import inside
from halcmd.picks.tomograms import Tomogram

_MOST_PADDING = 0.5


@dataclass(frozen=True)
class Plan:
    """The boxes to cut.

    Attributes
    ----------
    particles : Particles
        All picks.
    positions_xyz : ndarray, shape (n, 3), **xyz**, Angstrom
        From the centre of the first voxel.
    turned : ndarray, shape (n, 3, 3), or None
        With them, boxes are turned and cut at the exact position: from the axes of the box to those
        of the tomogram, for **xyz** columns.
    names : ndarray, shape (n,), object of str
        Normalised tomogram of each pick.
    tomograms : dict of str to Tomogram
        By that name.
    geometry, intensity : Geometry, Intensity
        How the boxes are to be.
    """

    particles: Particles
    positions_xyz: np.ndarray
    turned: np.ndarray | None
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

    def exact_centres_zyx(self, rows: np.ndarray, tomogram: Tomogram) -> np.ndarray:
        """Positions in voxels, shape (n, 3), float64: centres of boxes that are turned."""
        return np.asarray(self.positions_xyz[rows, ::-1] / tomogram.pixel_size)

    def padded_fraction(self, rows: np.ndarray, tomogram: Tomogram) -> np.ndarray:
        """Share of each box that lies outside, shape (n,), float64."""
        box, size = self.source_box(tomogram), tomogram.size_xyz
        if self.turned is None:
            return padded_fraction(self.centres_xyz(rows, tomogram), box, size)
        centres = self.exact_centres_zyx(rows, tomogram)
        return turned_padded_fraction(centres, box, self.turned[rows], size[::-1])


def select_rows(plan: Plan) -> tuple[np.ndarray, dict[int, str]]:
    """Rows to keep, shape (n,), int, and why the others are dropped.

    Raises
    ------
    InputError
        A box reaches out and the edge is ``error``, or no row is left.
    """
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
            found=count_reasons(reasons),
            hint="check the coordinates, or a smaller --box",
        )
    return kept, reasons


def count_reasons(reasons: dict[int, str]) -> str:
    """Words such as ``3 centre-outside-tomogram, 1 box-reaches-out``."""
    words = list(reasons.values())
    return ", ".join(f"{words.count(word):,} {word}" for word in dict.fromkeys(words))


def check_sizes(plan: Plan) -> None:
    """Raise OptionError where boxes would be finer than their tomogram; log their sizes."""
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


def contrast_of(plan: Plan) -> tuple[str, float]:
    """Value of halContrast for the written boxes, and the factor that makes protein bright.

    Raises
    ------
    InputError
        The tomograms differ in contrast.
    """
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


def box_edge(plan: Plan) -> float:
    """Width of a box in Angstrom: what regions of test and pool are kept apart by."""
    tomogram = plan.tomograms[plan.names[0]]
    return float(plan.source_box(tomogram) * tomogram.pixel_size)
