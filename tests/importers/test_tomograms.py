import logging
from collections.abc import Iterator
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from halcmd.console import log
from halcmd.errors import DataError, InputError
from halcmd.formats.mrc import write_stack, write_volume
from halcmd.importers.tomograms import find_tomograms, tomograms_of

VOLUME = np.zeros((4, 6, 8), dtype=np.float32)


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    log.propagate = True
    caplog.set_level(logging.INFO, logger="halcmd")
    yield
    log.propagate = False


def star(folder: Path, columns: dict[str, str], name: str = "tomograms.star") -> Path:
    labels = "".join(f"_{label}\n" for label in columns)
    rows = zip(*(value.split() for value in columns.values()), strict=True)
    text = "\n".join(" ".join(row) for row in rows)
    (folder / name).write_text(f"data_global\nloop_\n{labels}{text}\n")
    return folder / name


def test_one_file_is_one_tomogram(tmp_path):
    write_volume(tmp_path / "rec_TS_01_10.00Apx.mrc", VOLUME, 10.0)
    found = find_tomograms(tmp_path / "rec_TS_01_10.00Apx.mrc")
    assert list(found) == ["TS_01"]
    tomogram = found["TS_01"]
    assert (tomogram.pixel_size, tomogram.pixel_size_from) == (10.0, "MRC header")
    assert tomogram.size_xyz.tolist() == [8, 6, 4]
    assert np.isnan(tomogram.tilt_range).all()


def test_a_folder_is_its_volumes(tmp_path):
    for name in ("b.mrc", "a.rec", "c.map"):
        write_volume(tmp_path / name, VOLUME, 10.0)
    (tmp_path / "notes.txt").touch()
    assert list(find_tomograms(tmp_path)) == ["a", "b", "c"]
    write_volume(tmp_path / "a_5.00Apx.mrc", VOLUME, 10.0)
    with pytest.raises(InputError, match="same name"):
        find_tomograms(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no tomograms in this folder"):
        find_tomograms(tmp_path / "empty")


def test_tomograms_star_of_relion_5_is_read(tmp_path, monkeypatch):
    job = tmp_path / "Tomograms" / "job001"
    job.mkdir(parents=True)
    write_volume(job / "rec_TS_01.mrc", VOLUME, 10.0)
    series = "data_TS_01\nloop_\n_rlnTomoNominalStageTiltAngle\n-57.0\n0\n60.0\n"
    (tmp_path / "TS_01.star").write_text(series)
    columns = {
        "rlnTomoName": "TS_01",
        "rlnVoltage": "300.0",
        "rlnTomoTiltSeriesPixelSize": "1.35",
        "rlnTomoTomogramBinning": "7.407407",
        "rlnTomoReconstructedTomogram": "Tomograms/job001/rec_TS_01.mrc",
        "rlnTomoTiltSeriesStarFile": "TS_01.star",
    }
    path = star(job, columns)
    for folder in (tmp_path, job, tmp_path.parent):  # found from the project and from elsewhere
        monkeypatch.chdir(folder)
        tomogram = find_tomograms(path)["TS_01"]
        assert tomogram.pixel_size == pytest.approx(10.0, abs=1e-4)
        assert tomogram.pixel_size_from == "tomograms.star"
        assert tomogram.tilt_range == (-57.0, 60.0)
        assert tomogram.optics == {"rlnVoltage": "300.0"}


@pytest.mark.parametrize(
    "column",
    [
        "rlnTomoReconstructedTomogramDenoised",
        "rlnTomoDenoisedTomogram",
        "rlnTomoReconstructedTomogramHalf1",
    ],
)
def test_other_columns_of_volumes_serve_where_the_first_is_missing(tmp_path, column):
    write_volume(tmp_path / "a.mrc", VOLUME, 10.0)
    assert "T" in find_tomograms(star(tmp_path, {"rlnTomoName": "T", column: "a.mrc"}))


def test_our_own_columns_give_tilts_and_contrast(tmp_path):
    write_volume(tmp_path / "a.mrc", VOLUME, 10.0)
    columns = {"rlnTomoName": "T", "rlnTomoReconstructedTomogram": "a.mrc"}
    columns |= {"halTiltMin": "-60", "halTiltMax": "57", "halContrast": "dark"}
    tomogram = find_tomograms(star(tmp_path, columns))["T"]
    assert (tomogram.tilt_range, tomogram.contrast) == ((-60.0, 57.0), "dark")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"rlnTomoName": "T"}, "names no volumes"),
        ({"rlnTomoName": "T", "rlnTomoReconstructedTomogram": "b.mrc"}, "not where"),
        ({"rlnVoltage": "300"}, "no tomograms.star"),
    ],
)
def test_a_tomograms_star_without_volumes_stops(tmp_path, columns, message):
    with pytest.raises(InputError, match=message):
        find_tomograms(star(tmp_path, columns))


@pytest.mark.parametrize("size", [0.0, 1.0])
def test_a_header_that_says_nothing_is_told(tmp_path, size, caplog):
    write_volume(tmp_path / "T.mrc", VOLUME, size)
    with pytest.raises(InputError, match="no pixel size"):
        find_tomograms(tmp_path)
    columns = {"rlnTomoName": "T", "rlnTomoReconstructedTomogram": "T.mrc"}
    columns["rlnTomoTiltSeriesPixelSize"] = "8.0"
    caplog.clear()
    assert find_tomograms(star(tmp_path, columns))["T"].pixel_size == 8.0
    assert "MRC header" in caplog.text
    assert "not set" in caplog.text


def test_voxels_that_are_no_cubes_stop_unless_the_option_says_so(tmp_path):
    with mrcfile.new(tmp_path / "T.mrc") as file:
        file.set_data(VOLUME)
        file.voxel_size = (10.0, 10.0, 12.0)
    with pytest.raises(DataError, match="not cubic"):
        find_tomograms(tmp_path)
    assert find_tomograms(tmp_path, pixel_size=10.0)["T"].pixel_size == 10.0


def test_a_stack_is_no_tomogram(tmp_path):
    write_stack(tmp_path / "T.mrcs", [np.ones((2, 4, 4, 4))], 2, 4, pixel_size=10.0)
    with pytest.raises(InputError, match="stack of volumes"):
        find_tomograms(tmp_path / "T.mrcs")
    with pytest.raises(InputError, match="no such file"):
        find_tomograms(tmp_path / "U.mrc")


def names_of(tmp_path: Path, picks: list[str], tomograms: str) -> list[str]:
    for name in tomograms:
        write_volume(tmp_path / f"{name}.mrc", VOLUME, 10.0)
    found = find_tomograms(tmp_path)
    names = np.array(picks, dtype=object)
    return tomograms_of(names, found, where="p.star", tomograms_path=tmp_path).tolist()


def test_names_of_picks_are_normalised(tmp_path):
    assert names_of(tmp_path, ["A.tomostar", "x/rec_B_10.00Apx.mrc"], "AB") == ["A", "B"]


def test_picks_without_a_name_are_of_the_only_tomogram(tmp_path):
    assert names_of(tmp_path, ["", ""], "A") == ["A", "A"]
    with pytest.raises(InputError, match="name no tomogram"):
        names_of(tmp_path, [""], "AB")


def test_a_name_without_a_tomogram_is_an_error_even_beside_a_single_one(tmp_path):
    with pytest.raises(InputError, match="no tomogram for B"):
        names_of(tmp_path, ["A", "B"], "A")
