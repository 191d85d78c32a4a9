from pathlib import Path

import numpy as np
import pytest

from halcmd.errors import InputError
from halcmd.formats.files import write_text
from halcmd.intake.labels import LabelFile, read_ids, read_labels, read_renames
from halcmd.particles import new_particles
from halcmd.tables import write_particles


def read(tmp_path, text: str, **options: object) -> LabelFile:
    write_text(tmp_path / "labels.csv", text)
    return read_labels(tmp_path / "labels.csv", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("ribosome", "ribosome"),
        (" ribosome ", "ribosome"),
        ("3", "class_3"),
        ("3.0", "class_3"),
        ("0", "unlabelled"),
        ("-1", "unlabelled"),
        ("", "unlabelled"),
        ("NaN", "unlabelled"),
        ("None", "unlabelled"),
        ("NA", "unlabelled"),
        ("<NA>", "unlabelled"),
        ("unlabelled", "unlabelled"),
        ("skip", "skip"),
        ("junk", "junk"),
        ("Junk", "junk"),
        ("UNKNOWN", "unknown"),
        ("Skip", "skip"),
        ("Unlabeled", "unlabelled"),
    ],
)
def test_answers_are_read_as_classes(tmp_path, text, label):
    assert read(tmp_path, f"id,label\nT/1,{text}\n").labels.tolist() == [label]


@pytest.mark.parametrize("column", ["halLabel", "label", "Label", "CLASS", "rlnClassNumber"])
def test_the_column_of_the_labels_is_found(tmp_path, column):
    assert read(tmp_path, f"id,{column},other\nT/1,2,x\n").labels.tolist() == ["class_2"]


def test_the_first_known_column_wins_and_any_can_be_named(tmp_path):
    text = "id,rlnClassNumber,label,mine\nT/1,2,apo,holo\n"
    assert read(tmp_path, text).labels.tolist() == ["apo"]
    assert read(tmp_path, text, column="mine").labels.tolist() == ["holo"]
    assert read(tmp_path, text, one_label="all").labels.tolist() == ["all"]
    with pytest.raises(InputError) as error:
        read(tmp_path, text, column="mines")
    assert error.value.hint == "did you mean mine?"


def test_what_identifies_a_row_is_read(tmp_path):
    file = read(tmp_path, "Particle_ID,Image,x,y,z,tomo,label\nT/1,a.mrc,1,2,3,T,apo\n")
    assert file.ids is not None
    assert file.ids.tolist() == ["T/1"]
    assert file.images is not None
    assert file.images.tolist() == ["a.mrc"]
    assert file.picks is not None
    np.testing.assert_array_equal(file.picks.coordinates, [[1, 2, 3]])
    bare = read(tmp_path, "name,label\nfoo,apo\n")
    assert (bare.ids, bare.images, bare.picks) == (None, None, None)


def test_labels_stand_in_star_files_too(tmp_path):
    table = new_particles({"halParticleId": ["T/1"], "rlnClassNumber": ["2"]})
    write_particles(tmp_path / "p.star", table)
    file = read_labels(tmp_path / "p.star", renames={"2": "apo"})
    assert file.labels.tolist() == ["apo"]


@pytest.mark.parametrize("text", ["old,new\n1,apo\n2,holo\n", "1,apo\n2,holo\n", "1;apo\n2;holo\n"])
def test_renames_with_and_without_a_header(tmp_path, text):
    write_text(tmp_path / "r.csv", text)
    assert read_renames(tmp_path / "r.csv") == {"1": "apo", "2": "holo"}


def test_numbers_are_renamed_however_they_are_written(tmp_path):
    text = "id,label\nT/1,1\nT/2,1.0\nT/3,1.000\nT/4,v1.0\nT/5,1.5a\n"
    labels = read(tmp_path, text.replace("1.5a", "a1.5"), renames={"1": "apo", "v1": "holo"}).labels
    assert labels.tolist() == ["apo", "apo", "apo", "v1.0", "a1.5"]


def test_a_single_rename_is_enough(tmp_path):
    write_text(tmp_path / "r.csv", "70S,ribosome\n")
    assert read_renames(tmp_path / "r.csv") == {"70S": "ribosome"}


@pytest.mark.parametrize(
    ("text", "message"),
    [("a,b,c\n", "two values"), ("a,b\na,c\n", "stands twice"), ("\n", "no rows")],
)
def test_renames_that_make_no_sense_stop(tmp_path, text, message):
    write_text(tmp_path / "r.csv", text)
    with pytest.raises(InputError, match=message):
        read_renames(tmp_path / "r.csv")


def test_ids_are_read_from_star_and_csv(tmp_path):
    write_particles(tmp_path / "p.star", new_particles({"halParticleId": ["T/1", "T/2"]}))
    write_text(tmp_path / "p.csv", "id\nT/1\nT/2\n")
    assert read_ids(tmp_path / "p.star") == read_ids(tmp_path / "p.csv") == {"T/1", "T/2"}
    write_text(tmp_path / "q.csv", "name\nT/1\n")
    with pytest.raises(InputError, match="no column halParticleId"):
        read_ids(tmp_path / "q.csv")


def test_a_list_of_ids_may_be_one_line_of_text_only(tmp_path):
    write_text(tmp_path / "q.csv", "halParticleId\n")
    with pytest.raises(InputError, match="no rows"):
        read_ids(tmp_path / "q.csv")


@pytest.mark.parametrize(
    ("name", "text", "label"),
    [
        ("a.tbl", "0 " * 19 + "24 0 3 0 1 2 3\n", "class_3"),
        (
            "motl.star",
            "data_stopgap_motivelist\nloop_\n_tomo_num\n_orig_x\n_orig_y\n_orig_z\n_x_shift\n"
            "_y_shift\n_z_shift\n_class\n1 1 2 3 0 0 0 3.000\n",
            "class_3",
        ),
        (
            "a.json",
            '{"pickable_object_name": "apo", "points": [{"location": {"x": 1, "y": 2, "z": 3}}]}',
            "apo",
        ),
        ("p.txt", "2 1 1.5 2.5 3\n", "object_2"),
    ],
)
def test_formats_with_a_class_give_labels(tmp_path, name, text, label):
    write_text(tmp_path / name, text)
    assert read_labels(tmp_path / name).labels.tolist() == [label]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.coords", "1 2 3\n4 5 6\n"),
        (
            "a.cbox",
            "data_cryolo\nloop_\n_CoordinateX\n_CoordinateY\n_CoordinateZ\n_Width\n_Height\n"
            "1 2 3 4 4\n4 5 6 4 4\n",
        ),
    ],
)
def test_where_presence_is_all_the_class_must_be_given(tmp_path, name, text):
    write_text(tmp_path / name, text)
    with pytest.raises(InputError, match="no column with labels") as error:
        read_labels(tmp_path / name)
    assert "--label CLASS" in str(error.value.hint)
    file = read_labels(tmp_path / name, one_label="apo")
    assert file.labels.tolist() == ["apo", "apo"]
    assert file.picks is not None


def test_the_page_itself_is_no_label_file(tmp_path):
    write_text(tmp_path / "labels.html", "<!doctype html>\n<head>\n")
    with pytest.raises(InputError, match="page to label on") as error:
        read_labels(tmp_path / "labels.html")
    assert "key w" in error.value.hint


def test_what_may_not_be_looked_at_is_an_error_too(tmp_path, monkeypatch):
    def forbidden(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    write_text(tmp_path / "labels.csv", "halParticleId,halLabel\n")
    for name in ("open", "read_bytes", "stat", "is_dir", "exists"):
        monkeypatch.setattr(Path, name, forbidden)
    with pytest.raises(InputError, match="cannot read this file") as error:
        read_labels(tmp_path / "labels.csv")
    assert error.value.found == "Permission denied"


def test_a_folder_is_no_file_and_its_tables_are_named(tmp_path):
    job = tmp_path / "Query1"
    job.mkdir()
    write_text(job / "query.csv", "halParticleId,halLabel\n")
    with pytest.raises(InputError, match="a folder, not a file") as error:
        read_labels(job)
    assert str(job / "query.csv") in error.value.hint


@pytest.mark.parametrize(
    ("bad", "better"), [("70S", "class_70S"), ("ribo some", "ribo_some"), ("3j9i", "class_3j9i")]
)
def test_a_name_that_no_class_may_have_comes_with_one_that_it_may(tmp_path, bad, better):
    with pytest.raises(InputError, match="may not be called so") as error:
        read(tmp_path, f"id,label\nT/1,{bad}\n")
    assert error.value.hint.endswith(f"such as {bad},{better}")
