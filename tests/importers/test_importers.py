"""Every importer: known by its own files alone, positions known."""

import struct
from pathlib import Path

import numpy as np
import pytest

from halcmd.errors import InputError, OptionError
from halcmd.formats.pick_file import open_pick_file
from halcmd.importers import IMPORTERS
from halcmd.intake.read import read_picks
from halcmd.intake.recognise import recognise
from halcmd.picks.picks import UNITS

COORDINATES = "_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n"
POSITIONS = "_halPositionXAngst\n_halPositionYAngst\n_halPositionZAngst\n"
EXPECTED = [[1.5, 2.0, 3.0], [4.0, 5.0, 6.25]]

OPTICS = "data_optics\nloop_\n_rlnOpticsGroup\n"
TILT_SERIES = "data_optics\nloop_\n_rlnTomoTiltSeriesPixelSize\n_rlnImagePixelSize\n"
CENTRED = "".join(f"_rlnCenteredCoordinate{axis}Angst\n" for axis in "XYZ")


def _motive_list() -> bytes:
    rows = np.zeros((2, 20), "<f4")
    rows[:, 4], rows[:, 7:10] = (24, 7), EXPECTED
    return struct.pack("<4b3i496x", 6, 0, 0, 5, 20, 2, 1) + rows.tobytes()


def _imod_model() -> bytes:
    points = np.array(EXPECTED, ">f4").tobytes()
    head = b"IMODV1.2" + bytes(232) + b"OBJT" + bytes(176)
    return head + b"CONT" + struct.pack(">4i", 2, 0, 0, 0) + points + b"IEOF"


# One small file per importer: its text, the unit, and the tomogram names as they stand in it.
FILES: dict[str, tuple[str | bytes, str, list[str]]] = {
    "halcmd": (
        f"data_\nloop_\n_halTomogram\n{POSITIONS}{COORDINATES}"
        "T 1.5 2.0 3.0 9 9 9\nU 4.0 5.0 6.25 9 9 9\n",
        "angstrom",
        ["T", "U"],
    ),
    "m": (
        "data_\nloop_\n_wrpCoordinateX1\n_wrpCoordinateY1\n_wrpCoordinateZ1\n_wrpSourceName\n"
        "1.5 2.0 3.0 T.tomostar\n4.0 5.0 6.25 U.tomostar\n",
        "angstrom",
        ["T.tomostar", "U.tomostar"],
    ),
    "pytom": (
        f"data_\nloop_\n{COORDINATES}_rlnLCCmax\n_rlnDetectorPixelSize\n_rlnMicrographName\n"
        "1.5 2.0 3.0 0.4 10.0 T\n4.0 5.0 6.25 0.3 10.0 U\n",
        "voxel",
        ["T", "U"],
    ),
    "warp_matching": (
        f"data_particles\nloop_\n{COORDINATES}_rlnMicrographName\n_rlnAutopickFigureOfMerit\n"
        "0.15 0.20 0.30 T.tomostar 5\n0.40 0.50 0.625 U.tomostar 4\n",
        "normalised",
        ["T.tomostar", "U.tomostar"],
    ),
    "relion5": (
        f"data_particles\nloop_\n_rlnTomoName\n{CENTRED}T 1.5 2.0 3.0\nU 4.0 5.0 6.25\n",
        "centred_angstrom",
        ["T", "U"],
    ),
    "relion5_annotations": (
        f"data_\nloop_\n_rlnTomoName\n{COORDINATES}T 1.5 2.0 3.0\nU 4.0 5.0 6.25\n",
        "voxel",
        ["T", "U"],
    ),
    "warp_2d": (
        f"{TILT_SERIES}0.79 4.0\n\ndata_particles\nloop_\n{COORDINATES}_rlnTomoName\n"
        "1.5 2.0 3.0 T.tomostar\n4.0 5.0 6.25 U.tomostar\n",
        "voxel",
        ["T.tomostar", "U.tomostar"],
    ),
    "relion4": (
        f"{TILT_SERIES}1.35 2.7\n\ndata_particles\nloop_\n_rlnTomoName\n{COORDINATES}"
        "T 1.5 2.0 3.0\nU 4.0 5.0 6.25\n",
        "voxel",
        ["T", "U"],
    ),
    "warp": (
        f"data_\nloop_\n{COORDINATES}_rlnMicrographName\n_rlnImageName\n"
        "1.5 2.0 3.0 T_10.73Apx.mrc a/T/T_0000000_5.36A.mrc\n"
        "4.0 5.0 6.25 U_10.73Apx.mrc a/U/U_0000001_5.36A.mrc\n",
        "voxel",
        ["T_10.73Apx.mrc", "U_10.73Apx.mrc"],
    ),
    "relion31": (
        f"{OPTICS}1\n\ndata_particles\nloop_\n{COORDINATES}_rlnMicrographName\n_rlnOpticsGroup\n"
        "1.5 2.0 3.0 x/T.tomostar 1\n4.0 5.0 6.25 U 1\n",
        "voxel",
        ["x/T.tomostar", "U"],
    ),
    "relion30": (
        f"data_particles\nloop_\n{COORDINATES}_rlnMicrographName\n"
        "1.5 2.0 3.0 x/T.tomostar\n4.0 5.0 6.25 U\n",
        "voxel",
        ["x/T.tomostar", "U"],
    ),
    "stopgap": (
        "data_stopgap_motivelist\nloop_\n_tomo_num\n_orig_x\n_orig_y\n_orig_z\n_x_shift\n_y_shift\n"
        "_z_shift\n24.0 1.5 2.0 3.0 0 0 0\n7.0 4.0 5.0 6.25 0 0 0\n",
        "voxel",
        ["24", "7"],
    ),
    "cbox": (
        "data_cryolo\nloop_\n_CoordinateX\n_CoordinateY\n_CoordinateZ\n_Width\n_Height\n"
        "1.5 2.0 3.0 8 8\n4.0 5.0 6.25 8 8\n",
        "voxel",
        ["", ""],
    ),
    "em": (_motive_list(), "voxel", ["24", "7"]),
    "imod": (_imod_model(), "voxel", ["", ""]),
    "copick": (
        '{"pickable_object_name": "a", "run_name": "T", "points": ['
        '{"location": {"x": 1.5, "y": 2.0, "z": 3}}, {"location": {"x": 4, "y": 5, "z": 6.25}}]}',
        "angstrom",
        ["T", "T"],
    ),
    "ndjson": (
        '{"location": {"x": 1.5, "y": 2.0, "z": 3}}\n{"location": {"x": 4, "y": 5, "z": 6.25}}\n',
        "voxel",
        ["", ""],
    ),
    "dynamo": (
        f"{'1 ' * 19}24 0 1 0 1.5 2 3\n{'1 ' * 19}7 0 1 0 4 5 6.25\n",
        "voxel",
        ["24", "7"],
    ),
    "imod_text": ("1 1.5 2 3\n2 4 5 6.25\n", "voxel", ["", ""]),
    "coords": ("1.5 2 3\n4 5 6.25\n", "voxel", ["", ""]),
    "csv": ("x,y,z,tomogram\n1.5,2,3,T\n4,5,6.25,U\n", "voxel", ["T", "U"]),
}
SCALE = {"warp_matching": 10.0}
STAR = [key for key, (text, _, _) in FILES.items() if isinstance(text, str) and "data_" in text]


def written(folder: Path, key: str) -> Path:
    path = folder / "picks.txt"
    text = FILES[key][0]
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_every_importer_has_a_file_here():
    assert set(FILES) == set(IMPORTERS)


@pytest.mark.parametrize("key", IMPORTERS)
def test_its_own_importer_recognises_a_file(tmp_path, key):
    assert recognise(open_pick_file(written(tmp_path, key))) == key


@pytest.mark.parametrize("key", IMPORTERS)
def test_positions_units_and_tomograms_are_read(tmp_path, key):
    _, unit, tomograms = FILES[key]
    path = written(tmp_path, key)
    (picks,) = read_picks([path])
    np.testing.assert_allclose(picks.coordinates * SCALE.get(key, 1.0), EXPECTED, rtol=1e-12)
    assert picks.coordinates.dtype == np.float64
    assert picks.unit == unit
    assert picks.unit in UNITS
    assert picks.tomograms.tolist() == tomograms
    assert len(picks.particles) == 2
    assert picks.producer == key
    assert picks.path == picks.particles.path == path
    (other,) = read_picks([path], unit="normalised", name=key)
    assert other.unit == "normalised"


@pytest.mark.parametrize("key", STAR)
@pytest.mark.parametrize("value", ["nan", "<NA>", "inf", "x"])
def test_a_coordinate_that_is_none_names_its_row(tmp_path, key, value):
    path = written(tmp_path, key)
    path.write_text(path.read_text().replace("6.25", value).replace("0.625", value))
    with pytest.raises(InputError) as error:
        read_picks([path], name=key)
    assert "row 2" in str(error.value.where)


PIPELINE = "data_pipeline_general\n\n_rlnPipeLineJobCounter 3\n"
OPTIMISER = "data_optimiser_general\n\n_rlnExperimentalDataStarFile run_it025_data.star\n"
FLAT = f"{OPTICS}_rlnImageDimensionality\n1 2\n\ndata_particles\nloop_\n_rlnImageName\na.mrc\n"
SERIES = "data_T\nloop_\n_rlnMicrographName\n_rlnTomoNominalStageTiltAngle\na.mrc 3.0\n"


@pytest.mark.parametrize(
    ("text", "reason", "remedy"),
    [
        (f"data_\nloop_\n{COORDINATES[:32]}1 2\n", "in two dimensions", "picks in tomograms"),
        ("data_\nloop_\n_rlnImageName\na.mrc\n", "no coordinates", "the next step"),
        ("data_\nloop_\n_rlnImageName\n1@a.mrcs\n", "of micrographs", "in tomograms"),
        ("data_\nloop_\n_rlnMicrographName\na.mrc\n", "but no coordinates", "rlnCoordinateX"),
        ("data_global\nloop_\n_rlnTomoName\n_rlnTomoSizeX\nT 9\n", "tomograms", "--tomograms"),
        ("data_global\nloop_\n_rlnTomoTomogramBinning\n8\n", "tomograms", "--tomograms"),
        (
            "data_\nloop_\n_rlnTomoName\n_rlnTomoTiltSeriesStarFile\nT T.star\n",
            "tilt",
            "of the rec",
        ),
        (SERIES, "a tilt series", "tomograms.star of the reconstruction"),
        ("data_\nloop_\n_wrpMovieName\na.mrc\n", "series of Warp", "tomograms.star of the rec"),
        ("data_stopgap_wedgelist\nloop_\n_tilt_angle\n3\n", "a wedge list", "motive list"),
        ("data_\n\n_rlnTomoTomogramsFile t.star\n", "names no particles", "as --tomograms"),
        (PIPELINE, "list of jobs", "particles.star"),
        ("data_\nloop_\n_rlnPipeLineNodeName\na.star\n", "RELION job wrote", "particles.star"),
        ("data_job\n\n_rlnJobIsContinue 0\n", "settings of a RELION job", "particles.star"),
        (OPTIMISER, "an optimiser file", "run_itNNN_data.star"),
        ("data_\n\n_rlnIs3DSampling 1\n", "a sampling file", "run_itNNN_data.star"),
        ("data_\n\n_rlnFinalResolution 9\n", "a postprocessing file", "particles.star"),
        ("data_fsc\nloop_\n_rlnSpectralIndex\n0\n", "a resolution curve", "particles.star"),
        ("data_\nloop_\n_rlnResolutionSquared\n0\n", "a Guinier plot", "particles.star"),
        ("data_\n\n_rlnMaskName mask.mrc\n", "names a mask", "rlnCoordinateX"),
        ("data_\n\n_rlnParticleNumber 1\n", "trajectories", "particles.star"),
        ("data_\nloop_\n_rlnTomoManifoldParams\n[1]\n", "manifolds", "picked on them"),
        ("data_\nloop_\n_rlnMicrographCoordinates\na.star\n", "files of micrographs", "tomograms"),
        ("data_\nloop_\n_rlnTomoParticleName\nT/1\n", "have no coordinates", "rlnCoordinateX"),
        ("data_\nloop_\n_halParticleId\nT/1\n", "have no coordinates", "the next step"),
        (f"data_\nloop_\n{CENTRED[:29]}1\n", "there is no rlnCenteredCoordinateYAngst", "Y"),
        (FLAT, "images in two dimensions", "in tomograms"),
        ("data_\n", "has no columns", "rlnCoordinateX"),
        ("data_\nloop_\n_rlnSelected\n1\n", "selected classes", "particles.star"),
        ("loop_\n_rlnCoordinateX\n1\n", "no line data_", "data_particles"),
        ("tag x y\n1 2 3\n", "not recognised", "CSV"),
        (b"\x00\xff\xfe\x80", "neither text nor", "CSV"),
    ],
)
def test_what_no_importer_can_place_is_refused_with_its_reason(tmp_path, text, reason, remedy):
    path = tmp_path / "picks.star"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=reason) as error:
        read_picks([path])
    assert "picks.star" in str(error.value.where)
    assert remedy in str(error.value.hint)


@pytest.mark.parametrize(
    ("name", "text", "reason", "remedy"),
    [
        ("tomograms.doc", "1 a/TS_01.mrc\n2 a/TS_02.mrc\n", "Dynamo's list", ".tbl"),
        ("tomograms.vll", "a/TS_01.mrc\n", "Dynamo's list", ".tbl"),
        ("T.mdoc", "PixelSpacing = 1\n\n[ZValue = 0]\n", "a tilt series", "--tomograms"),
        ("T.tlt", "-60.0\n-57.0\n", "a tilt series", "--tomograms"),
        ("p.csv", "x,y,z\n1,two,3\n", "y must be a number", "None"),
    ],
)
def test_text_that_is_no_picks_is_refused_with_its_reason(tmp_path, name, text, reason, remedy):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=reason) as error:
        read_picks([tmp_path / name])
    assert name in str(error.value.where)
    assert remedy in str(error.value.hint)


@pytest.mark.parametrize("name", IMPORTERS)
@pytest.mark.parametrize("key", IMPORTERS)
def test_no_format_that_is_forced_ends_in_a_traceback(tmp_path, name, key):
    path = written(tmp_path, key)
    try:
        read_picks([path], name=name)
    except InputError as error:
        assert str(path) in str(error.where)  # noqa: PT017


@pytest.mark.parametrize(
    ("name", "key", "kinds"),
    [
        ("relion5", "csv", "reads a STAR file, and this is plain text"),
        ("stopgap", "em", "reads a STAR file, and this is a binary file"),
        ("imod", "relion5", "reads a binary file, and this is a STAR file"),
        ("em", "coords", "reads a binary file, and this is plain text"),
        ("dynamo", "relion30", "reads plain text, and this is a STAR file"),
        ("copick", "imod", "reads plain text, and this is a binary file"),
    ],
)
def test_a_forced_format_of_another_kind_names_the_right_one(tmp_path, name, key, kinds):
    path = written(tmp_path, key)
    with pytest.raises(InputError, match=f"--format {name} {kinds}") as error:
        read_picks([path], name=name)
    assert error.value.where == str(path)
    assert error.value.found
    assert error.value.hint == f"--format {key}, or no --format"


def test_a_forced_format_on_something_else_says_what_that_is(tmp_path):
    (tmp_path / "job.star").write_text("data_job\n\n_rlnJobIsContinue 0\n")
    with pytest.raises(InputError, match="--format coords reads plain text") as error:
        read_picks([tmp_path / "job.star"], name="coords")
    assert error.value.hint == "its particles.star"


def test_an_unknown_format_suggests_the_near_one(tmp_path):
    (tmp_path / "p.csv").write_text("x,y,z\n1,2,3\n")
    with pytest.raises(OptionError) as error:
        read_picks([tmp_path / "p.csv"], name="relion3")
    assert error.value.hint == "did you mean relion31?"


def test_an_empty_or_missing_file_is_refused(tmp_path):
    path = tmp_path / "p.star"
    with pytest.raises(InputError, match="no such file"):
        open_pick_file(path)
    path.write_text("\n")
    with pytest.raises(InputError, match="empty"):
        open_pick_file(path)


@pytest.mark.parametrize("second", ["csv", "relion5", "relion30"])
def test_files_of_unlike_kinds_are_not_joined(tmp_path, second):
    (tmp_path / "b").mkdir()
    first = written(tmp_path, "relion4")
    with pytest.raises(OptionError, match="differ in format") as error:
        read_picks([first, written(tmp_path / "b", second)])
    assert "write both as CSV tables" in str(error.value.hint)
