"""The one resolver of positions: units, pixel sizes, shifts, and what it says about them."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.formats.mrc import Volume
from halcmd.intake.read import read_picks
from halcmd.particles import new_particles
from halcmd.picks.picks import TILT_SERIES, VOXELS, Picks, Reading
from halcmd.picks.placement import inside
from halcmd.picks.positions import resolve_positions
from halcmd.picks.tomograms import Tomogram


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    log.propagate = True
    caplog.set_level(logging.INFO, logger="halcmd")
    yield
    log.propagate = False


def tomogram(
    size_xyz: tuple[int, int, int] = (100, 120, 50), voxel: float = 10.0, **more: object
) -> Tomogram:
    data = np.broadcast_to(np.float32(0), size_xyz[::-1])
    volume = Volume(Path("T.mrc"), data, (voxel, voxel, voxel), "volume", 2)
    return Tomogram("T", (volume,), voxel, "MRC header", **more)  # type: ignore[arg-type]


def picks(rows: object, unit: str = "voxel", **more: object) -> Picks:
    coordinates = np.array(rows, dtype=float)
    return Picks(
        path=Path("p.star"),
        producer="relion31",
        particles=new_particles({"a": ["1"] * len(coordinates)}),
        tomograms=np.array(["T"] * len(coordinates), dtype=object),
        coordinates=coordinates,
        unit=unit,
        **more,  # type: ignore[arg-type]
    )


def size(value: float, rows: int = 1) -> Reading:
    return Reading("pixels of the tomogram", "rlnMicrographPixelSize", np.full(rows, value))


def images(value: float, rows: int = 1) -> Reading:
    return Reading("pixels of the particle images", "rlnImagePixelSize", np.full(rows, value))


def resolve(given: Picks, where: Tomogram | None = None, **options: object) -> list[list[float]]:
    found = resolve_positions(
        given,
        given.tomograms,
        {"T": where or tomogram()},
        **options,  # type: ignore[arg-type]
    ).positions
    return found.round(6).tolist()  # type: ignore[no-any-return]


def test_each_unit_becomes_angstrom_from_the_first_voxel():
    assert resolve(picks([[1, 2, 3]])) == [[10, 20, 30]]
    assert resolve(picks([[1, 2, 3]], "angstrom")) == [[1, 2, 3]]
    assert resolve(picks([[1, 2, 3]], "centred_angstrom")) == [[501, 602, 253]]
    assert resolve(picks([[0.5, 0.1, 1 / 50]], "normalised")) == [[500, 120, 10]]


def test_the_centre_is_half_of_the_tilt_series_size_where_that_is_known():
    known = tomogram(stated_extent=np.array([1002.0, 1204.0, 495.0]))
    assert resolve(picks([[1, 2, 3]], "centred_angstrom"), known) == [[502, 604, 250.5]]
    assert resolve(picks([[0.5, 0.5, 0.1]], "normalised"), known) == [[501, 602, 49.5]]


def test_shifts_in_angstrom_are_added_once():
    given = picks([[10, 20, 30]], shifts=np.array([[-1.0, 2.0, -3.5]]))
    assert resolve(given) == [[99.0, 202.0, 296.5]]
    assert resolve(given, apply_origins=False) == [[100, 200, 300]]
    assert resolve(given, coords_pixel_size=2.0) == [[19.0, 42.0, 56.5]]


def test_shifts_in_pixels_scale_with_the_coordinates():
    given = picks([[10, 20, 30]], shifts=np.array([[-1.0, 2.0, 0.5]]), shifts_in_pixels=True)
    assert resolve(given) == [[90, 220, 305]]
    assert resolve(given, coords_pixel_size=2.0) == [[18, 44, 61]]
    assert resolve(given, apply_origins=False) == [[100, 200, 300]]


def test_formats_that_count_from_elsewhere_say_where_the_first_voxel_is():
    assert resolve(picks([[10, 20, 30]], origin=np.ones(3))) == [[90, 190, 290]]
    rows = picks([[10, 20, 30], [10, 20, 30]], origin=np.array([[0.5, 0.5, 0.0], [-4, -4, 0]]))
    assert resolve(rows) == [[95, 195, 300], [140, 240, 300]]


def test_the_pixel_size_of_the_file_beats_the_tomogram_and_the_option_beats_both(caplog):
    given = picks([[10, 20, 30]], readings=(size(5.0),))
    assert resolve(given) == [[50, 100, 150]]
    assert "rlnMicrographPixelSize" in caplog.text
    assert resolve(given, coords_pixel_size=2.0) == [[20, 40, 60]]
    assert "--coords-angpix 2 A wins over rlnMicrographPixelSize = 5 A" in caplog.text


def test_each_row_has_its_own_pixel_size():
    own = Reading("pixels", "rlnPixelSize", np.array([5.0, 10.0]))
    assert resolve(picks([[10, 20, 30], [10, 20, 30]], readings=(own,))) == [
        [50, 100, 150],
        [100, 200, 300],
    ]


def test_pixels_of_the_tilt_series_need_a_tomograms_star():
    given = picks([[700, 800, 200]], readings=(TILT_SERIES, VOXELS))
    assert resolve(given, tomogram(tilt_series_pixel_size=1.25)) == [[875, 1000, 250]]
    small = picks([[70, 80, 20]], readings=(TILT_SERIES, VOXELS))
    assert resolve(small) == [[700, 800, 200]]
    with pytest.raises(InputError, match="several ways") as error:
        resolve(small, tomogram(tilt_series_pixel_size=1.25))
    assert "pixels of the tilt series (1.25 A) or voxels" in str(error.value.found)


@pytest.mark.parametrize(
    ("row", "image", "expected"),
    [
        ([80, 100, 40], 20.0, [800, 1000, 400]),  # 20 A: outside, so voxels
        ([180, 200, 80], 5.0, [900, 1000, 400]),  # voxels: outside, so image pixels
        ([80, 100, 40], 10.05, [804, 1005, 402]),  # the same but for rounding
    ],
)
def test_of_two_readings_the_one_inside_is_taken(row, image, expected):
    assert resolve(picks([row], readings=(images(image), VOXELS))) == [expected]


@pytest.mark.parametrize(
    ("row", "words"), [([40, 50, 20], "several fit"), ([900, 900, 900], "none fits")]
)
def test_two_readings_that_cannot_be_told_apart_stop(row, words):
    with pytest.raises(InputError, match="several ways") as error:
        resolve(picks([row], readings=(images(5.0), VOXELS)))
    assert words in str(error.value.found)
    assert "--coords-angpix 5 or --coords-angpix 10" in str(error.value.hint)
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


@pytest.mark.parametrize("voxel", [10.0, 7.84, 13.48])
def test_coordinates_in_angstrom_are_told_as_such(voxel, rng):
    rows = rng.uniform([5, 5, 5], [95, 115, 45], (50, 3)) * voxel
    with pytest.raises(InputError) as error:
        resolve(picks(rows), tomogram(voxel=voxel))
    assert str(error.value.hint).endswith("--coords angst")


def test_the_bin_factor_of_relion_5_is_named_exactly(rng):
    rows = rng.uniform([70, 80, 30], [95, 115, 45], (50, 3)) * 7.407407
    with pytest.raises(InputError) as error:
        resolve(picks(rows), tomogram(tilt_series_pixel_size=1.35))
    assert "--coords-angpix 1.35" in str(error.value.hint)


def test_a_part_outside_is_a_warning_with_the_factor(rng, caplog):
    rows = rng.uniform([1, 1, 1], [95, 115, 45], (200, 3)) * 4
    resolve(picks(rows))
    assert "lie outside" in caplog.text
    assert "--coords-angpix 2.5" in caplog.text


def test_all_picks_in_one_corner_are_a_warning(rng, caplog):
    rows = rng.uniform([1, 1, 1], [24, 29, 45], (50, 3))
    resolve(picks(rows))
    assert "one corner" in caplog.text
    assert "a factor of 4 (up to 4.19) would fit: --coords-angpix 40" in caplog.text
    caplog.clear()
    resolve(picks(np.zeros((50, 3))))
    resolve(picks(rng.uniform(0, 1, (50, 3))))
    assert "--coords normalised" in caplog.text


def test_what_was_taken_from_where_is_logged(caplog):
    resolve(picks([[10, 20, 30], [50, 60, 40]], shifts=np.full((2, 3), 0.5)))
    line = caplog.messages[0]
    for words in (
        *("T: 2 picks", "relion31", "voxels of the tomogram", "shifts applied (up to 0.5 A)"),
        *("tomogram 10 A (MRC header)", "x 10..50 of 100", "z 30..40 of 50", "inside 2"),
    ):
        assert words in line


def test_picks_of_other_tomograms_have_no_position():
    given = picks([[1, 2, 3], [1, 2, 3]])
    names = np.array(["T", "U"], dtype=object)
    found = resolve_positions(given, names, {"T": tomogram()}).positions
    assert found[0].tolist() == [10, 20, 30]
    assert np.isnan(found[1]).all()


def test_inside_means_the_nearest_voxel():
    places = np.array([[-4.9, 0, 0], [-5.1, 0, 0], [994.9, 1194.9, 494.9], [995.1, 0, 0]])
    assert inside(places, tomogram()).tolist() == [True, False, True, False]


def test_one_kind_of_row_goes_with_its_own_tomogram(tmp_path):
    (tmp_path / "p.csv").write_text("x,y,z,tomogram\n1,2,3,A\n1,2,3,B\n2,2,2,A\n")
    (given,) = read_picks([tmp_path / "p.csv"])
    known = {"A": tomogram(voxel=10.0), "B": tomogram(voxel=5.0)}
    found = resolve_positions(given, given.tomograms, known).positions
    assert found.tolist() == [[10, 20, 30], [5, 10, 15], [20, 20, 20]]


def test_a_third_outside_is_told_with_the_factor_that_would_fit(rng, caplog):
    rows = rng.uniform([2, 2, 2], [98, 118, 48], (200, 3)) * 2
    resolve(picks(np.concatenate([rows[(rows < [99, 119, 49]).all(axis=1)], rows[:40]])))
    assert "0.5 times as large: --coords-angpix 5" in caplog.text


@pytest.mark.parametrize(
    ("unit", "shift", "option"),
    [("centred_angstrom", 0.0, "angst"), ("angstrom", -0.5, "centered-angst")],
)
def test_angstrom_counted_from_the_other_place_is_told(rng, unit, shift, option):
    rows = rng.uniform([0.6, 0.6, 0.6], [0.95, 0.95, 0.95], (50, 3)) + shift
    if unit == "angstrom":
        rows = -rng.uniform(0.05, 0.45, (50, 3))
    with pytest.raises(InputError, match="all picks lie outside") as error:
        resolve(picks(rows * [1000, 1200, 500], unit=unit))
    assert f"--coords {option}" in str(error.value.hint)


def test_sources_of_one_pixel_size_must_agree():
    stated = replace(size(5.0), others=(images(7.0),))
    with pytest.raises(InputError, match="contradict each other") as error:
        resolve(picks([[10, 10, 10]], readings=(stated,)))
    assert error.value.found == "rlnMicrographPixelSize = 5 A, rlnImagePixelSize = 7 A"
    assert resolve(picks([[10, 10, 10]], readings=(stated,)), coords_pixel_size=7.0) == [[70.0] * 3]
    agreed = replace(size(5.0), others=(images(5.02),))
    assert resolve(picks([[10, 10, 10]], readings=(agreed,))) == [[50.0] * 3]
    bin_1 = Reading(TILT_SERIES.words, "rlnTomoTiltSeriesPixelSize", np.array([1.5]))
    with pytest.raises(InputError, match="contradict each other") as error:
        resolve(picks([[10, 10, 10]], readings=(bin_1,)), tomogram(tilt_series_pixel_size=1.25))
    assert "tomograms.star = 1.25 A" in str(error.value.found)


def test_where_a_format_begins_to_count_is_logged(caplog):
    resolve(picks([[10, 10, 10]], origin=np.array([0.5, 0.5, 0.0])))
    assert "first voxel is 0.5, 0.5, 0" in caplog.text
    caplog.clear()
    resolve(picks([[9, 9, 9], [9, 9, 9]], origin=np.array([[-2.0, -2, 0], [-3, -3, 0]])))
    assert "counted from the corner of each box" in caplog.text
