from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.formats.mrc import open_volume
from halcmd.formats.mrc_writing import write_volume
from halcmd.particles import new_particles
from halcmd.pixel_size import (
    Source,
    differ,
    header_size,
    is_set,
    optics_values,
    resolve_pixel_size,
)


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    log.propagate = True
    yield
    log.propagate = False


def resolve(*sources: Source, option: float | None = None) -> tuple[float, str]:
    return resolve_pixel_size(
        "the tomogram", sources, option=option, option_name="--tomo-angpix", where="t.mrc"
    )


def test_the_most_trusted_source_is_taken():
    assert resolve(("STAR", 10.0), ("MRC header", 10.05)) == (10.0, "STAR")
    assert resolve(("STAR", None), ("MRC header", 10.05)) == (10.05, "MRC header")


@pytest.mark.parametrize("value", [0.0, -3.0, float("nan"), float("inf")])
def test_a_size_that_says_nothing_is_passed_over_with_a_warning(value, caplog):
    assert resolve(("STAR", value), ("MRC header", 7.0)) == (7.0, "MRC header")
    assert "taken as not set" in caplog.text


def test_1_angstrom_in_a_table_is_a_pixel_size():
    assert resolve(("STAR", 1.0), ("MRC header", 1.005)) == (1.0, "STAR")


@pytest.mark.parametrize("size", [0.0, 1.0])
def test_a_header_of_0_or_1_is_not_set(tmp_path, size, caplog):
    write_volume(tmp_path / "v.mrc", np.zeros((4, 4, 4), np.float32), size)
    assert header_size(open_volume(tmp_path / "v.mrc")) is None
    assert f"MRC header = {size:g} A is taken as not set" in caplog.text


def test_sources_that_contradict_stop_and_both_are_shown():
    with pytest.raises(InputError, match="contradict") as error:
        resolve(("STAR", 10.0), ("MRC header", 12.0))
    assert error.value.found == "STAR = 10 A, MRC header = 12 A"
    assert "--tomo-angpix" in str(error.value.hint)


def test_the_option_wins_over_all_with_a_warning(caplog):
    assert resolve(("STAR", 10.0), ("MRC header", 12.0), option=5.0) == (5.0, "--tomo-angpix")
    assert "5 A wins over STAR = 10 A" in caplog.text
    assert "5 A wins over MRC header = 12 A" in caplog.text
    caplog.clear()
    assert resolve(("STAR", 10.0), option=1.0)[0] == 1.0
    caplog.clear()
    resolve(("STAR", 10.0), option=10.05)
    assert not caplog.text


def test_no_source_stops_with_the_option_to_give():
    with pytest.raises(InputError, match="no pixel size for the tomogram") as error:
        resolve(("MRC header", None))
    assert str(error.value.hint).startswith("--tomo-angpix")


SIZE = st.floats(0.1, 100.0)


@given(SIZE, st.floats(0.9, 1.1))
def test_one_percent_is_the_limit_both_ways(size, factor):
    other = size * factor
    assert differ(size, other) == differ(other, size)
    if abs(factor - 1) < 0.0098:
        assert not differ(size, other)
    if abs(factor - 1) > 0.0102:
        assert differ(size, other)


@given(st.lists(st.one_of(st.none(), SIZE), max_size=4))
def test_any_set_sources_give_the_first_or_stop(values):
    sources = [(f"source {n}", value) for n, value in enumerate(values)]
    known = [value for value in values if is_set(value)]
    if not known or any(differ(known[0], value) for value in known):
        with pytest.raises(InputError):
            resolve(*sources)
    else:
        assert resolve(*sources)[0] == known[0]


def test_optics_go_by_group():
    table = new_particles(
        {"rlnOpticsGroup": ["7", "2", "7"]},
        optics={"rlnOpticsGroup": ["2", "7"], "rlnImagePixelSize": ["1.5", "<NA>"]},
    )
    values = optics_values(table, "rlnImagePixelSize")
    np.testing.assert_array_equal(values, [np.nan, 1.5, np.nan])
    assert optics_values(table, "rlnVoltage") is None


def test_optics_without_groups_hold_for_all():
    table = new_particles({"a": ["1", "2"]}, optics={"rlnImagePixelSize": ["1.5"]})
    np.testing.assert_array_equal(optics_values(table, "rlnImagePixelSize"), [1.5, 1.5])


def test_groups_are_numbers_however_they_are_written():
    table = new_particles(
        {"rlnOpticsGroup": ["1.0", "2"]}, optics={"rlnOpticsGroup": ["1", "2.000"], "x": [5, 6]}
    )
    np.testing.assert_array_equal(optics_values(table, "x"), [5, 6])


def test_the_only_optics_group_serves_particles_that_are_all_of_another(caplog):
    table = new_particles(
        {"rlnOpticsGroup": ["0.0", "0.0"]}, optics={"rlnOpticsGroup": ["1"], "x": [5]}
    )
    np.testing.assert_array_equal(optics_values(table, "x"), [5, 5])
    assert (
        "optics group 0 is not in the optics table; 1, the only one there, is taken" in caplog.text
    )


def test_a_particle_of_an_unknown_group_stops():
    table = new_particles(
        {"rlnOpticsGroup": ["1", "3"]}, optics={"rlnOpticsGroup": ["1"], "x": [1]}
    )
    with pytest.raises(InputError, match="optics group 3"):
        optics_values(table, "x")
