"""Which tomogram a pick means, and what is said where that is not clear."""

from pathlib import Path

import numpy as np
import pytest

from halcmd.errors import InputError
from halcmd.picks.tomogram_names import Entry, entries_of


def meant(name: str, *files: str) -> str:
    offered = [Entry(file, Path(file)) for file in files]
    found = entries_of(np.array([name], dtype=object), offered, where="p.star", tomograms="Tomo")
    return found[name].name


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("TS_01", "TS_01.mrc"),
        ("TS_01", "rec_TS_01.mrc"),
        ("TS_01", "TS_01_10.00Apx.mrc"),
        ("TS_01.tomostar", "TS_01_10.00Apx.mrc"),
        ("TS_01.mrc.tomostar", "TS_01.mrc"),
        ("TS_01_10.00Apx", "rec_TS_01.mrc"),
        ("a/b/TS_01_10.73Apx.mrc", "TS_01_5.00Apx.mrc"),
        (r"F:\frames\TS_01.mrc", "TS_01.rec"),
        ("TS_01", "TS_01_Vol.mrc"),
        ("TS_01.st:mrc", "TS_01.mrc"),
        ("TS_01", "TS_01_rec.mrc"),
        ("tomo_ts01.mrc_15.00Apx.mrc", "tomo_ts01.rec"),
    ],
)
def test_what_programs_add_to_a_name_does_not_count(name, file):
    assert meant(name, "TS_10.mrc", "TS_011.mrc", file, "TS_1.mrc", "XTS_01.mrc") == file


@pytest.mark.parametrize(
    ("name", "file"), [("24", "TS_024.mrc"), ("001", "tomo1_10.00Apx.mrc"), ("7", "rec_7.mrc")]
)
def test_a_bare_number_means_the_tomogram_with_that_number(name, file):
    assert meant(name, "TS_240.mrc", file, "TS_124.mrc") == file


def test_a_number_with_one_tomogram_means_that():
    assert meant("3", "lamella.mrc") == "lamella.mrc"


def test_an_exact_name_beats_a_normalised_one():
    files = ("TS_01_10.00Apx.mrc", "TS_01_5.00Apx.mrc", "TS_01.mrc")
    for name in ("TS_01_5.00Apx", "TS_01_5.00Apx.mrc", "x/TS_01_5.00Apx.mrc"):
        assert meant(name, *files) == "TS_01_5.00Apx.mrc"
    assert meant("TS_01", *files) == "TS_01.mrc"


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("TS_01", ("TS_01_10.00Apx.mrc", "TS_01_5.00Apx.mrc")),
        ("2", ("grid2_TS1.mrc", "grid1_TS2.mrc")),
    ],
)
def test_several_that_fit_are_listed(name, files):
    with pytest.raises(InputError, match=f"several tomograms may be {name}") as error:
        meant(name, *files)
    assert error.value.found == ", ".join(files)
    assert error.value.where == "p.star"


def test_picks_without_a_name_are_of_the_only_tomogram():
    assert meant("", "A.mrc") == "A.mrc"
    with pytest.raises(InputError, match="name no tomogram") as error:
        meant("", "A.mrc", "B.mrc")
    assert "rlnTomoName" in str(error.value.hint)


def test_a_missing_tomogram_names_its_likes():
    files = ("rec_TS_01_half1.mrc", "rec_TS_01_half2.mrc", "TS_02.mrc")
    with pytest.raises(InputError, match="no tomogram for TS_01") as error:
        meant("TS_01", *files)
    assert error.value.hint == "did you mean rec_TS_01_half1.mrc or rec_TS_01_half2.mrc?"
    assert "1 (TS_01)" in str(error.value.found)
    with pytest.raises(InputError) as error:
        meant("lamella", "a.mrc", "b.mrc")
    assert error.value.hint == "there are 2 (a.mrc, b.mrc)"


def test_two_volumes_of_one_name_cannot_be_mixed():
    offered = [Entry(name, Path(name)) for name in ("T_10.00Apx.mrc", "T_5.00Apx.mrc")]
    names = np.array(["T_10.00Apx", "T_5.00Apx"], dtype=object)
    with pytest.raises(InputError, match="two tomograms with the same name"):
        entries_of(names, offered, where="p.star", tomograms="Tomo")
