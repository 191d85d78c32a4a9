"""Where the picks of each STAR format lie: by hand, and in the real files of other programs."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.formats.mrc import Volume
from halcmd.intake.read import read_picks
from halcmd.particles import tomogram_name
from halcmd.picks.picks import Picks
from halcmd.picks.positions import resolve_positions
from halcmd.picks.tomograms import Tomogram

XYZ = "_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n"
CENTRED = "".join(f"_rlnCenteredCoordinate{axis}Angst\n" for axis in "XYZ")
ORIGINS = "".join(f"_rlnOrigin{axis}Angst\n" for axis in "XYZ")
PIXEL_ORIGINS = "".join(f"_rlnOrigin{axis}\n" for axis in "XYZ")
TURNED = "".join(f"_rlnTomoSubtomogram{angle}\n" for angle in ("Rot", "Tilt", "Psi"))


def tomogram(
    size_xyz: tuple[int, int, int],
    voxel: float,
    *,
    series: float | None = None,
    pixels: object = None,
) -> Tomogram:
    """A tomogram without voxels, as large as wanted; ``pixels``: size of the tilt series."""
    data = np.broadcast_to(np.float32(0), size_xyz[::-1])
    volume = Volume(Path("T.mrc"), data, (voxel,) * 3, "volume", 2)
    extent = None if series is None else np.array(pixels, dtype=float) * series
    return Tomogram(
        "T", (volume,), voxel, "header", tilt_series_pixel_size=series, stated_extent=extent
    )


def voxels(picks: Picks, where: Tomogram, **options: object) -> np.ndarray:
    names = np.array(["T"] * len(picks.coordinates), dtype=object)
    found = resolve_positions(picks, names, {"T": where}, **options).positions  # type: ignore[arg-type]
    return found / where.pixel_size


def read(path: Path, text: str) -> Picks:
    path.write_text(text)
    (picks,) = read_picks([path])
    return picks


def optics(**columns: float) -> str:
    labels = "".join(f"_{name}\n" for name in ("rlnOpticsGroup", *columns))
    return f"data_optics\nloop_\n{labels}1 {' '.join(map(str, columns.values()))}\n\n"


# Each worked out by hand: text, tomogram (size, voxel, bin-1 pixel and size), expected voxel.
BY_HAND = {
    # (C/ps + N/2 - o/ps) / b = (135/1.35 + 2000 - 2.7/1.35) / 7.4074 = 2098 / 7.4074
    "relion5": (
        f"data_particles\nloop_\n_rlnTomoName\n{CENTRED}{ORIGINS}T 135 -270 13.5 2.7 0 -1.35\n",
        ((540, 540, 270), 10.0, 1.35, (4000, 4000, 2000)),
        (283.23, 243.0, 136.485),
    ),
    # Psi = 90 turns an origin along x to -y: A = rows (0 1 0) (-1 0 0) (0 0 1); A o = (0, -10, 0).
    "relion5 turned": (
        f"data_particles\nloop_\n_rlnTomoName\n{CENTRED}{ORIGINS}{TURNED}T 0 0 0 10 0 0 0 0 90\n",
        ((540, 540, 270), 10.0, 1.35, (4000, 4000, 2000)),
        (270.0, 271.0, 135.0),
    ),
    # An odd size has its centre between two pixels: 401 / 2 = 200.5 pixels of 2 A, 40.1 voxels.
    "relion5 odd": (
        f"data_\nloop_\n_rlnTomoName\n{CENTRED}T 0 10 20\n",
        ((80, 80, 80), 10.0, 2.0, (401, 401, 401)),
        (40.1, 41.1, 42.1),
    ),
    # (X - o/ps) / b = (400 - 4/2) / 5
    "relion4": (
        optics(rlnTomoTiltSeriesPixelSize=2.0, rlnImagePixelSize=4.0)
        + f"data_particles\nloop_\n_rlnTomoName\n{XYZ}{ORIGINS}_rlnOpticsGroup\n"
        "T 400 200 100 4 0 -10 1\n",
        ((200, 200, 100), 10.0, 2.0, (1000, 1000, 500)),
        (79.6, 40.0, 21.0),
    ),
    # Origins in pixels, as RELION 3.0 and TOMOMAN have them: (X - o) s / voxel = (400 - 4) * 2 / 10
    "relion4 origins in pixels": (
        f"data_\nloop_\n_rlnTomoName\n{XYZ}{PIXEL_ORIGINS}_rlnPixelSize\nT 400 200 100 4 0 -5 2\n",
        ((100, 100, 40), 10.0, None, None),
        (79.2, 40.0, 21.0),
    ),
    "relion4 rlnMicrographPixelSize": (
        optics(rlnMicrographPixelSize=2.0, rlnImagePixelSize=4.0)
        + f"data_particles\nloop_\n_rlnTomoName\n{XYZ}_rlnOpticsGroup\nT 400 200 100 1\n",
        ((400, 400, 400), 10.0, None, None),
        (80.0, 40.0, 20.0),
    ),
    # Bin 1 lies inside, pixels of the images (8 A) do not.
    "relion4 flat images, bin 1": (
        optics(rlnTomoTiltSeriesPixelSize=2.0, rlnImagePixelSize=8.0, rlnImageDimensionality=2)
        + f"data_particles\nloop_\n_rlnTomoName\n{XYZ}_rlnOpticsGroup\nT 400 300 200 1\n",
        ((100, 100, 100), 10.0, 2.0, (500, 500, 500)),
        (80.0, 60.0, 40.0),
    ),
    "relion4 1 A": (
        optics(rlnTomoTiltSeriesPixelSize=1.0, rlnImagePixelSize=4.0)
        + f"data_particles\nloop_\n_rlnTomoName\n{XYZ}_rlnOpticsGroup\nT 400 200 100 1\n",
        ((200, 200, 200), 10.0, None, None),
        (40.0, 20.0, 10.0),
    ),
    "relion31 origins in pixels": (
        optics(rlnMicrographPixelSize=2.0)
        + f"data_particles\nloop_\n_rlnMicrographName\n{XYZ}{PIXEL_ORIGINS}_rlnOpticsGroup\n"
        "T 400 200 100 4 0 -5 1\n",
        ((200, 200, 100), 10.0, None, None),
        (79.2, 40.0, 21.0),
    ),
    # (X s - o) / voxel = (400 * 2 - 4) / 10
    "relion31": (
        optics(rlnMicrographPixelSize=2.0, rlnImagePixelSize=4.0)
        + f"data_particles\nloop_\n_rlnMicrographName\n{XYZ}{ORIGINS}_rlnOpticsGroup\n"
        "T 400 200 100 4 0 -10 1\n",
        ((200, 200, 100), 10.0, None, None),
        (79.6, 40.0, 21.0),
    ),
    # (X - originX) s / voxel, s = 0.0005 um * 10^4 / 10^4... here 5 um * 10^4 / 25000 = 2 A
    "relion30": (
        f"data_\nloop_\n_rlnMicrographName\n{XYZ}{PIXEL_ORIGINS}_rlnDetectorPixelSize\n"
        "_rlnMagnification\nT 400 200 100 2 0 -5 5.0 25000\n",
        ((200, 200, 100), 10.0, None, None),
        (79.6, 40.0, 21.0),
    ),
    # Export pixels of 2.5 A, whatever the name of the tomogram says.
    "warp": (
        f"data_\nloop_\n_rlnMicrographName\n{XYZ}_rlnPixelSize\n_rlnImageName\n_rlnCtfImage\n"
        "T_10.00Apx.mrc 400 200 100 2.5 T/T_0000000_2.50A.mrc T/T_0000000_ctf_2.50A.mrc\n",
        ((200, 200, 100), 10.0, None, None),
        (100.0, 50.0, 25.0),
    ),
    # (X rlnImagePixelSize - o) / voxel; the tilt series pixel beside it is of no account.
    "warp_2d": (
        optics(rlnTomoTiltSeriesPixelSize=0.5, rlnImagePixelSize=4.0)
        + f"data_particles\nloop_\n_rlnTomoName\n{XYZ}{ORIGINS}_rlnOpticsGroup\n"
        "T.tomostar 100 50 25 8 0 -4 1\n",
        ((200, 200, 100), 10.0, 0.5, (4000, 4000, 2000)),
        (39.2, 20.0, 10.4),
    ),
    # X N ps / voxel = 0.25 * 4001 * 0.5 / 10
    "warp_matching": (
        f"data_\nloop_\n_rlnMicrographName\n{XYZ}_rlnAutopickFigureOfMerit\n"
        "T.tomostar .25 .5 .1 9\n",
        ((200, 200, 100), 10.0, 0.5, (4001, 4000, 2000)),
        (50.0125, 100.0, 10.0),
    ),
    "m": (
        "data_\nloop_\n_wrpCoordinateX1\n_wrpCoordinateY1\n_wrpCoordinateZ1\n_wrpCoordinateX2\n"
        "_wrpCoordinateY2\n_wrpCoordinateZ2\n_wrpSourceName\n500 250 125.5 1 1 1 T.tomostar\n",
        ((200, 200, 100), 10.0, None, None),
        (50.0, 25.0, 12.55),
    ),
    # Voxels of the searched tomogram, here 20 A while the given one has 10 A.
    "pytom": (
        f"data_\nloop_\n_rlnMicrographName\n{XYZ}_rlnLCCmax\n_rlnDetectorPixelSize\n"
        "T 40 30 20 .5 20\n",
        ((200, 200, 100), 10.0, None, None),
        (80.0, 60.0, 40.0),
    ),
    "pytom centred": (
        f"data_\nloop_\n_rlnTomoName\n{CENTRED}_rlnLCCmax\n_rlnTomoTiltSeriesPixelSize\n"
        "T 100 -50 0 .5 2\n",
        ((200, 200, 100), 10.0, 2.0, (1000, 1000, 500)),
        (110.0, 95.0, 50.0),
    ),
    "relion5_annotations": (
        f"data_\nloop_\n_rlnTomoName\n{XYZ}_rlnSphereRadius\nT 40.25 30.5 20.125 9\n",
        ((540, 540, 270), 10.0, 1.35, (4000, 4000, 2000)),
        (40.25, 30.5, 20.125),
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_positions_are_those_worked_out_by_hand(tmp_path, name):
    text, (size, voxel, series, pixels), expected = BY_HAND[name]
    picks = read(tmp_path / "p.star", text)
    assert picks.producer == name.split()[0]
    found = voxels(picks, tomogram(size, voxel, series=series, pixels=pixels))
    np.testing.assert_allclose(found, [expected], atol=1e-3)


def test_a_missing_angle_is_no_orientation_but_the_pick_stays(tmp_path, caplog):
    angles = "_rlnAngleRot\n_rlnAngleTilt\n_rlnAnglePsi\n"
    head = f"data_\nloop_\n_rlnMicrographName\n{XYZ}{angles}"
    log.propagate = True
    picks = read(tmp_path / "p.star", f"{head}T 1 2 3 nan <NA> 30\nT 4 5 6 10 20 30\n")
    log.propagate = False
    assert picks.rotations is None
    assert "these picks have no orientations" in caplog.text
    assert read(tmp_path / "p.star", f"{head}T 4 5 6 10 20 30\n").rotations is not None


def test_the_table_with_coordinates_holds_the_picks(tmp_path):
    first = "data_block_1\nloop_\n_rlnVoltage\n300\n\n"
    picks = read(
        tmp_path / "p.star", f"{first}data_block_2\nloop_\n_rlnMicrographName\n{XYZ}T 1 2 3\n"
    )
    assert picks.coordinates.tolist() == [[1, 2, 3]]
    tables = [f"data_{n}\nloop_\n_rlnMicrographName\n{XYZ}T 1 2 3\n\n" for n in (1, 2)]
    with pytest.raises(InputError, match="several tables of this STAR file hold picks"):
        read(tmp_path / "p.star", "".join(tables))


HIV = {"series": 1.35, "pixels": (4000, 4000, 2000)}

# Binned voxels with shifts, and bin-1 pixels without, of the first row: shared/data/star/INDEX.md.
FIRST_ROWS = {
    "r50_polish_particles.star": ((447.442, 174.889, 247.930), (3314.387, 1295.473, 1836.518)),
    "r50_class3d_selected.star": ((447.651, 174.931, 248.530), (3317.351, 1296.893, 1839.873)),
    "r50_refine_run_data.star": ((447.420, 174.759, 247.728), (3314.701, 1295.163, 1835.123)),
}


@pytest.mark.parametrize("name", FIRST_ROWS)
def test_real_particles_of_relion_5_lie_where_relion_has_them(shared, name):
    (picks,) = read_picks([shared / "star" / name])
    with_shifts, without = FIRST_ROWS[name]
    where = tomogram((540, 540, 270), 7.407407 * 1.35, **HIV)
    np.testing.assert_allclose(voxels(picks, where)[0], with_shifts, atol=1e-3)
    series = tomogram((4000, 4000, 2000), 1.35, **HIV)
    found = voxels(picks, series, apply_origins=False)[0]
    np.testing.assert_allclose(found, without, atol=1e-3)


@pytest.mark.parametrize("name", ["TS_45", "TS_54"])
def test_real_particles_with_their_shifts_are_relions_own_annotations(shared, name):
    """RELION 5 wrote these annotations from those particles: sign, rotation and centre in one."""
    star = shared / "star"
    (annotations,) = read_picks([star / f"r50_annot_{name}_particles.star"])
    (picks,) = read_picks([star / "r50_class3d_selected.star"])
    own = np.array([tomogram_name(text) == name for text in picks.tomograms])
    where = tomogram((540, 540, 270), 7.407407 * 1.35, **HIV)
    drawn = cKDTree(voxels(annotations, where))
    gaps, _ = drawn.query(voxels(picks, where)[own])
    assert own.sum() > 50
    assert gaps.max() < 1e-3
    gaps, _ = drawn.query(voxels(picks, where, apply_origins=False)[own])
    assert gaps.min() > 0.1


def test_real_warp_exports_fill_their_tomogram(shared):
    """4400 x 6000 x 1000 bin-1 pixels of 0.7894 A are 868 x 1184 x 197 export pixels."""
    (picks,) = read_picks([shared / "star" / "warp2_matching.star"])
    where = tomogram((347, 473, 79), 10.0, series=0.7894, pixels=(4400, 6000, 1000))
    found = voxels(picks, where)
    np.testing.assert_allclose(
        found.min(axis=0), np.array([44.904, 49.954, 25.276]) * 0.4, atol=1e-3
    )
    share = found.max(axis=0) / where.size_xyz
    assert np.all((share > 0.85) & (share < 1))


def test_real_relion_4_coordinates_are_bin_1_whatever_the_subtomograms(shared):
    (picks,) = read_picks([shared / "star" / "r40_class3d_TS017_A.star"])
    where = tomogram((640, 1030, 340), 4 * 1.971)
    first = voxels(picks, where, apply_origins=False)[0]
    np.testing.assert_allclose(first, picks.coordinates[0] / 4, atol=1e-3)
    moved = voxels(picks, where)[0] - first
    origins = [picks.particles.number(f"rlnOrigin{axis}Angst")[0] for axis in "XYZ"]
    assert np.linalg.norm(moved) * where.pixel_size == pytest.approx(np.linalg.norm(origins))
