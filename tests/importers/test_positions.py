"""The one resolver of positions: units, pixel sizes, shifts, and what it says about them."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.formats.mrc import Volume
from halcmd.importers.picks import Picks, read_picks
from halcmd.importers.positions import inside, resolve_positions
from halcmd.importers.tomograms import Tomogram
from halcmd.particles import new_particles


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    log.propagate = True
    caplog.set_level(logging.INFO, logger="halcmd")
    yield
    log.propagate = False


def tomogram(size_xyz: tuple[int, int, int] = (100, 120, 50), voxel: float = 10.0) -> Tomogram:
    data = np.broadcast_to(np.float32(0), size_xyz[::-1])
    volume = Volume(Path("T.mrc"), data, (voxel, voxel, voxel), "volume", 2)
    return Tomogram("T", volume, voxel, "MRC header", (np.nan, np.nan), "unknown", {})


def picks(rows: object, unit: str = "voxel", **more: object) -> Picks:
    coordinates = np.array(rows, dtype=float)
    return Picks(
        path=Path("p.star"),
        particles=new_particles({"a": ["1"] * len(coordinates)}),
        tomograms=np.array(["T"] * len(coordinates), dtype=object),
        coordinates=coordinates,
        unit=unit,
        shifts_angst=more.get("shifts"),  # type: ignore[arg-type]
        pixel_sizes=more.get("sizes", ()),  # type: ignore[arg-type]
        image_pixel_size=more.get("image"),  # type: ignore[arg-type]
        producer="relion31",
    )


def resolve(given: Picks, where: Tomogram | None = None, **options: object) -> list[list[float]]:
    found = resolve_positions(given, given.tomograms, {"T": where or tomogram()}, **options)  # type: ignore[arg-type]
    return found.round(6).tolist()  # type: ignore[no-any-return]


def test_each_unit_becomes_angstrom_from_the_first_voxel():
    assert resolve(picks([[1, 2, 3]])) == [[10, 20, 30]]
    assert resolve(picks([[1, 2, 3]], "angstrom")) == [[1, 2, 3]]
    assert resolve(picks([[1, 2, 3]], "centred_angstrom")) == [[501, 602, 253]]
    assert resolve(picks([[0.5, 0.1, 1 / 50]], "normalised")) == [[500, 120, 10]]


def test_shifts_are_subtracted_in_angstrom_once():
    given = picks([[10, 20, 30]], shifts=np.array([[1.0, -2.0, 3.5]]))
    assert resolve(given) == [[99.0, 202.0, 296.5]]
    assert resolve(given, apply_origins=False) == [[100, 200, 300]]
    assert resolve(given, coords_pixel_size=2.0) == [[19.0, 42.0, 56.5]]


def test_the_pixel_size_of_the_file_beats_the_tomogram_and_the_option_beats_both(caplog):
    given = picks([[10, 20, 30]], sizes=(("rlnMicrographPixelSize", 5.0),))
    assert resolve(given) == [[50, 100, 150]]
    assert "rlnMicrographPixelSize" in caplog.text
    assert resolve(given, coords_pixel_size=2.0) == [[20, 40, 60]]
    assert "--coords-angpix 2 A wins over rlnMicrographPixelSize = 5 A" in caplog.text
    unset = picks([[10, 20, 30]], sizes=(("rlnMicrographPixelSize", 1.0),))
    assert resolve(unset) == [[100, 200, 300]]


@pytest.mark.parametrize(
    ("row", "image", "expected"),
    [
        ([80, 100, 40], 20.0, [800, 1000, 400]),  # 20 A: outside, so voxels
        ([180, 200, 80], 5.0, [900, 1000, 400]),  # voxels: outside, so image pixels
        ([80, 100, 40], 10.05, [800, 1000, 400]),  # the same but for rounding
        ([80, 100, 40], 1.0, [800, 1000, 400]),  # never set
    ],
)
def test_of_two_readings_the_one_inside_is_taken(row, image, expected):
    assert resolve(picks([row], image=image)) == [expected]


@pytest.mark.parametrize(("row", "words"), [([40, 50, 20], "both"), ([900, 900, 900], "neither")])
def test_two_readings_that_cannot_be_told_apart_stop(row, words):
    with pytest.raises(InputError, match="two ways") as error:
        resolve(picks([row], image=5.0))
    assert f"{words} fit" in str(error.value.found)
    assert "--coords-angpix 10 (RELION extraction) or 5 (Warp export)" in str(error.value.hint)
    assert error.value.where == "p.star, tomogram T"


@pytest.mark.parametrize(
    ("factor", "advice"), [(4, "0.25"), (2, "0.5"), (3, "0.333"), (8, "0.125")]
)
def test_coordinates_of_another_binning_name_the_factor(factor, advice, rng):
    rows = rng.uniform([70, 80, 30], [95, 115, 45], (50, 3)) * factor
    with pytest.raises(InputError, match="all picks lie outside") as error:
        resolve(picks(rows))
    assert f"{advice} times as large: --coords-angpix {10 / factor:.4g}" in str(error.value.hint)
    assert resolve(picks(rows), coords_pixel_size=10 / factor)


def test_a_part_outside_is_a_warning_with_the_factor(rng, caplog):
    rows = rng.uniform([1, 1, 1], [95, 115, 45], (200, 3)) * 4
    resolve(picks(rows))
    assert "lie outside" in caplog.text
    assert "--coords-angpix 2.5" in caplog.text


def test_all_picks_in_one_corner_are_a_warning(rng, caplog):
    rows = rng.uniform([1, 1, 1], [24, 29, 45], (50, 3))
    resolve(picks(rows))
    assert "one corner" in caplog.text
    assert "such as 40" in caplog.text
    caplog.clear()
    resolve(picks(np.zeros((50, 3))))
    resolve(picks(rng.uniform(0, 1, (50, 3))))
    assert "--coords normalised" in caplog.text


def test_what_was_taken_from_where_is_logged(caplog):
    resolve(picks([[10, 20, 30], [50, 60, 40]], shifts=np.zeros((2, 3))))
    line = caplog.messages[0]
    for words in (
        *("T: 2 picks", "relion31", "voxels of the tomogram", "shifts applied"),
        *("tomogram 10 A (MRC header)", "x 10..50 of 100", "z 30..40 of 50", "inside 2"),
    ):
        assert words in line


def test_picks_of_other_tomograms_have_no_position():
    given = picks([[1, 2, 3], [1, 2, 3]])
    names = np.array(["T", "U"], dtype=object)
    found = resolve_positions(given, names, {"T": tomogram()})
    assert found[0].tolist() == [10, 20, 30]
    assert np.isnan(found[1]).all()


def test_inside_means_the_nearest_voxel():
    places = np.array([[-4.9, 0, 0], [-5.1, 0, 0], [994.9, 1194.9, 494.9], [995.1, 0, 0]])
    assert inside(places, tomogram()).tolist() == [True, False, True, False]


def test_one_kind_of_row_goes_with_its_own_tomogram(tmp_path):
    (tmp_path / "p.csv").write_text("x,y,z,tomogram\n1,2,3,A\n1,2,3,B\n2,2,2,A\n")
    (given,) = read_picks([tmp_path / "p.csv"])
    known = {"A": tomogram(voxel=10.0), "B": tomogram(voxel=5.0)}
    found = resolve_positions(given, given.tomograms, known)
    assert found.tolist() == [[10, 20, 30], [5, 10, 15], [20, 20, 20]]
