import logging
from collections.abc import Iterator
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from halcmd.console import log
from halcmd.errors import DataError, InputError
from halcmd.formats.mrc_writing import write_stack, write_volume
from halcmd.picks.tomograms import Tomogram, find_tomograms

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


def names(*texts: str) -> np.ndarray:
    return np.array(texts, dtype=object)


def one(path: Path, name: str = "", **options: object) -> Tomogram:
    """The tomogram that picks of this name are in."""
    _, found = find_tomograms(names(name), [path], where="p.star", **options)  # type: ignore[arg-type]
    (tomogram,) = found.values()
    return tomogram


def test_one_file_is_one_tomogram(tmp_path):
    write_volume(tmp_path / "rec_TS_01_10.00Apx.mrc", VOLUME, 10.0)
    tomogram = one(tmp_path / "rec_TS_01_10.00Apx.mrc")
    assert tomogram.name == "TS_01"
    assert (tomogram.pixel_size, tomogram.pixel_size_from) == (10.0, "MRC header")
    assert tomogram.size_xyz.tolist() == [8, 6, 4]
    assert tomogram.extent_xyz.tolist() == [80, 60, 40]
    assert np.isnan(tomogram.tilt_range).all()


def test_a_folder_offers_its_volumes_and_only_those_needed_are_opened(tmp_path):
    for name in ("b.mrc", "a.rec", "c.map"):
        write_volume(tmp_path / name, VOLUME, 10.0)
    (tmp_path / "broken.mrc").write_bytes(b"cut off")
    (tmp_path / "notes.txt").touch()
    picked, found = find_tomograms(names("c", "a", "c"), [tmp_path], where="p.star")
    assert picked.tolist() == ["c", "a", "c"]
    assert list(found) == ["c", "a"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no tomograms in this folder"):
        one(tmp_path / "empty")


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
        tomogram = one(path, "TS_01")
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
    assert one(star(tmp_path, {"rlnTomoName": "T", column: "a.mrc"}), "T").name == "T"


def test_our_own_columns_give_tilts_and_contrast(tmp_path):
    write_volume(tmp_path / "a.mrc", VOLUME, 10.0)
    columns = {"rlnTomoName": "T", "rlnTomoReconstructedTomogram": "a.mrc"}
    columns |= {"halTiltMin": "-60", "halTiltMax": "57", "halContrast": "dark"}
    tomogram = one(star(tmp_path, columns), "T")
    assert (tomogram.tilt_range, tomogram.contrast) == ((-60.0, 57.0), "dark")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"rlnTomoName": "T"}, "names no volume for"),
        ({"rlnTomoName": "T", "rlnTomoReconstructedTomogram": "b.mrc"}, "not where"),
        ({"rlnVoltage": "300"}, "no tomograms.star"),
    ],
)
def test_a_tomograms_star_without_volumes_stops(tmp_path, columns, message):
    with pytest.raises(InputError, match=message):
        one(star(tmp_path, columns), "T")


@pytest.mark.parametrize("size", [0.0, 1.0])
def test_a_header_that_says_nothing_is_told(tmp_path, size, caplog):
    write_volume(tmp_path / "T.mrc", VOLUME, size)
    with pytest.raises(InputError, match="no pixel size"):
        one(tmp_path)
    columns = {"rlnTomoName": "T", "rlnTomoReconstructedTomogram": "T.mrc"}
    columns["rlnTomoTiltSeriesPixelSize"] = "8.0"
    caplog.clear()
    assert one(star(tmp_path, columns), "T").pixel_size == 8.0
    assert "MRC header" in caplog.text
    assert "not set" in caplog.text


def test_voxels_that_are_no_cubes_stop_unless_the_option_says_so(tmp_path):
    with mrcfile.new(tmp_path / "T.mrc") as file:
        file.set_data(VOLUME)
        file.voxel_size = (10.0, 10.0, 12.0)
    with pytest.raises(DataError, match="not cubic"):
        one(tmp_path)
    assert one(tmp_path, pixel_size=10.0).pixel_size == 10.0


def test_a_stack_is_no_tomogram(tmp_path):
    write_stack(tmp_path / "T.mrcs", [np.ones((2, 4, 4, 4))], 2, 4, pixel_size=10.0)
    with pytest.raises(InputError, match="stack of volumes"):
        one(tmp_path / "T.mrcs")
    with pytest.raises(InputError, match="no such file"):
        one(tmp_path / "U.mrc")


def test_half_maps_are_two_volumes_of_one_tomogram(tmp_path, caplog):
    for half in (1, 2):
        write_volume(tmp_path / f"h{half}.mrc", VOLUME + half, 10.0)
    write_volume(tmp_path / "d.mrc", VOLUME, 10.0)
    halves = {f"rlnTomoReconstructedTomogramHalf{half}": f"h{half}.mrc" for half in (1, 2)}
    columns = {"rlnTomoName": "T", **halves}
    found = [volume.path.name for volume in one(star(tmp_path, columns), "T").volumes]
    assert found == ["h1.mrc", "h2.mrc"]
    assert "mean of those of both half-maps" in caplog.text
    path = star(tmp_path, columns | {"rlnTomoReconstructedTomogramDenoised": "d.mrc"})
    assert [volume.path.name for volume in one(path, "T").volumes] == ["d.mrc"]
    assert len(one(path, "T", kind="halves").volumes) == 2
    with pytest.raises(InputError, match="no volume of kind full"):
        one(path, "T", kind="full")


def test_a_tomograms_star_without_volumes_takes_those_of_a_folder(tmp_path):
    folder = tmp_path / "reconstruction"
    folder.mkdir()
    for name in ("TS_1_10.00Apx.mrc", "TS_11_10.00Apx.mrc"):
        write_volume(folder / name, VOLUME, 10.0)
    columns = {
        "rlnTomoName": "TS_11.tomostar TS_1.tomostar",
        "rlnTomoTiltSeriesPixelSize": "0.5 0.5",
        "rlnTomoSizeX": "160 160",
        "rlnTomoSizeY": "120 120",
        "rlnTomoSizeZ": "81 81",
        "rlnVoltage": "300 300",
    }
    path = star(tmp_path, columns)
    picked, found = find_tomograms(names("TS_1.tomostar"), [path, folder], where="p.star")
    assert picked.tolist() == ["TS_1"]
    tomogram = found["TS_1"]
    assert tomogram.volumes[0].path.name == "TS_1_10.00Apx.mrc"
    assert (tomogram.pixel_size, tomogram.pixel_size_from) == (10.0, "MRC header")
    assert tomogram.tilt_series_pixel_size == 0.5
    assert tomogram.extent_xyz.tolist() == [80, 60, 40.5]
    assert tomogram.optics == {"rlnVoltage": "300"}


def test_a_volume_of_another_size_than_stated_is_a_warning(tmp_path, caplog):
    write_volume(tmp_path / "a.mrc", np.zeros((40, 40, 80), np.float32), 10.0)
    columns = {
        "rlnTomoName": "T",
        "rlnTomoReconstructedTomogram": "a.mrc",
        "rlnTomoTiltSeriesPixelSize": "1.25",
        "rlnTomoTomogramBinning": "8",
        "rlnTomoSizeX": "640",
        "rlnTomoSizeY": "320",
        "rlnTomoSizeZ": "320",
    }
    one(star(tmp_path, columns), "T")
    assert "may be cropped" not in caplog.text
    one(star(tmp_path, columns | {"rlnTomoSizeZ": "400"}), "T")
    assert "800 x 400 x 500 A, the volume is 800 x 400 x 400 A" in caplog.text


def test_tilts_come_from_the_projections_of_warp(shared):
    from halcmd.picks.tomogram_names import entries
    from halcmd.picks.tomograms import _tilts

    (entry, *_) = entries([shared / "star" / "warp2_matching_tomograms.star"])
    assert entry.row is not None
    low, high = _tilts(entry.row)
    # 41 images in steps of 2 degrees, as rlnCtfScalefactor = cos(tilt) has them: 0.766 first.
    assert max(abs(low), abs(high)) == pytest.approx(40, abs=0.6)
    assert high - low == pytest.approx(80, abs=1)


def test_a_compressed_tomogram_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "T.mrc.gz").write_bytes(b"packed")
    write_volume(tmp_path / "U.mrc", VOLUME, 10.0)
    with pytest.raises(InputError, match="compressed MRC file cannot be mapped") as error:
        one(tmp_path, "T")
    assert "gunzip T.mrc.gz" in str(error.value.hint)
    write_volume(tmp_path / "rec_T.mrc", VOLUME, 10.0)
    assert one(tmp_path, "T").volumes[0].path.name == "rec_T.mrc"


def test_a_stack_of_one_volume_is_a_tomogram_and_one_of_images_is_not(tmp_path):
    write_stack(tmp_path / "T.mrc", [VOLUME[None, :4, :4, :4]], 1, 4, pixel_size=10.0)
    assert one(tmp_path / "T.mrc").size_xyz.tolist() == [4, 4, 4]
    write_volume(tmp_path / "U.mrcs", VOLUME, 10.0)
    with pytest.raises(InputError, match="a stack of images, not a tomogram"):
        one(tmp_path / "U.mrcs")


def test_a_name_that_no_file_can_have_is_not_there(tmp_path):
    columns = {"rlnTomoName": "T", "rlnTomoReconstructedTomogram": "x" * 4000}
    with pytest.raises(InputError, match="a tomogram is not where"):
        one(star(tmp_path, columns), "T")
