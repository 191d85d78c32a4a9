"""Every importer: known by its own files alone, positions known."""

from pathlib import Path

import numpy as np
import pytest

from halcmd.errors import InputError, OptionError
from halcmd.importers import IMPORTERS
from halcmd.importers.picks import UNITS, open_pick_file, read_picks, recognise
from halcmd.registry import load

COORDINATES = "_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n"
POSITIONS = "_halPositionXAngst\n_halPositionYAngst\n_halPositionZAngst\n"
EXPECTED = [[1.5, 2.0, 3.0], [4.0, 5.0, 6.25]]

# One small file per importer: its text, the unit, and the tomogram names as they stand in it.
FILES = {
    "halcmd": (
        f"data_\nloop_\n_halTomogram\n{POSITIONS}{COORDINATES}"
        "T 1.5 2.0 3.0 9 9 9\nU 4.0 5.0 6.25 9 9 9\n",
        "angstrom",
        ["T", "U"],
    ),
    "relion31": (
        f"data_particles\nloop_\n{COORDINATES}_rlnMicrographName\n"
        "1.5 2.0 3.0 x/T.tomostar\n4.0 5.0 6.25 U\n",
        "voxel",
        ["x/T.tomostar", "U"],
    ),
    "csv": ("x,y,z,tomogram\n1.5,2,3,T\n4,5,6.25,U\n", "voxel", ["T", "U"]),
}


def test_every_importer_has_a_file_here():
    assert set(FILES) == set(IMPORTERS)


@pytest.mark.parametrize("key", IMPORTERS)
def test_only_the_files_own_importer_recognises_it(tmp_path, key):
    path = tmp_path / "picks.txt"
    path.write_text(FILES[key][0])
    file = open_pick_file(path)
    assert recognise(file) == key
    others = [k for k in IMPORTERS if load(IMPORTERS, k, "format").recognises(file)]
    # halcmd's tables keep the columns of their input; the first importer of the list wins.
    assert others == [key] or (key == "halcmd" and others[0] == key)


@pytest.mark.parametrize("key", IMPORTERS)
def test_positions_units_and_tomograms_are_read(tmp_path, key):
    text, unit, tomograms = FILES[key]
    (tmp_path / "picks.txt").write_text(text)
    (picks,) = read_picks([tmp_path / "picks.txt"])
    np.testing.assert_array_equal(picks.coordinates, EXPECTED)
    assert picks.coordinates.dtype == np.float64
    assert picks.unit == unit
    assert picks.unit in UNITS
    assert picks.tomograms.tolist() == tomograms
    assert len(picks.particles) == 2
    assert picks.producer == key
    assert picks.path == picks.particles.path == tmp_path / "picks.txt"
    (other,) = read_picks([tmp_path / "picks.txt"], unit="normalised", name=key)
    assert other.unit == "normalised"


@pytest.mark.parametrize("key", ["halcmd", "relion31"])
@pytest.mark.parametrize("value", ["nan", "<NA>", "inf", "x"])
def test_a_coordinate_that_is_none_names_its_row(tmp_path, key, value):
    text = FILES[key][0].replace("6.25", value)
    (tmp_path / "picks.txt").write_text(text)
    with pytest.raises(InputError) as error:
        read_picks([tmp_path / "picks.txt"])
    assert "row 2" in str(error.value.where)


@pytest.mark.parametrize(
    "text",
    [
        "data_optics\nloop_\n_rlnTomoTiltSeriesPixelSize\n1.35\n\n"
        f"data_particles\nloop_\n{COORDINATES}1 2 3\n",
        f"data_\nloop_\n{COORDINATES}_rlnOriginX\n1 2 3 4\n",
        "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n1 2\n",
        "tag x y\n1 2 3\n",
    ],
)
def test_what_no_importer_can_place_is_refused(tmp_path, text):
    (tmp_path / "picks.star").write_text(text)
    with pytest.raises(InputError, match="not recognised") as error:
        read_picks([tmp_path / "picks.star"])
    assert "picks.star" in str(error.value.where)
    assert all(key in str(error.value.hint) for key in IMPORTERS)


def test_an_unknown_format_suggests_the_near_one(tmp_path):
    (tmp_path / "p.csv").write_text("x,y,z\n1,2,3\n")
    with pytest.raises(OptionError) as error:
        read_picks([tmp_path / "p.csv"], name="relion3")
    assert error.value.hint == "did you mean relion31?"


def test_an_empty_or_binary_file_is_refused(tmp_path):
    path = tmp_path / "p.star"
    path.write_text("\n")
    with pytest.raises(InputError, match="empty"):
        open_pick_file(path)
    path.write_bytes(b"\x00\xff\xfe\x80")
    with pytest.raises(InputError, match="no text file"):
        open_pick_file(Path(path))


def test_the_pixel_sizes_of_relion_tables_are_found(tmp_path):
    optics = "data_optics\nloop_\n_rlnOpticsGroup\n_rlnMicrographPixelSize\n_rlnImagePixelSize\n"
    rows = f"data_particles\nloop_\n{COORDINATES}_rlnOpticsGroup\n1 2 3 1\n"
    (tmp_path / "p.star").write_text(f"{optics}1 2.5 10.0\n\n{rows}")
    (picks,) = read_picks([tmp_path / "p.star"])
    assert picks.pixel_sizes == (("rlnMicrographPixelSize", 2.5),)
    assert picks.image_pixel_size == 10.0
    (tmp_path / "q.star").write_text(f"data_\nloop_\n{COORDINATES}_rlnPixelSize\n1 2 3 5.364\n")
    (picks,) = read_picks([tmp_path / "q.star"])
    assert picks.image_pixel_size == 5.364
