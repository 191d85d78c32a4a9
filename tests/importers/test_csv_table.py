import pytest
from hypothesis import given
from hypothesis import strategies as st

from halcmd.errors import InputError
from halcmd.formats.files import read_text
from halcmd.importers.csv_table import read_rows
from halcmd.intake.read import read_picks
from halcmd.picks.picks import Picks


def read(tmp_path, text: str, encoding: str = "utf-8") -> Picks:
    path = tmp_path / "picks.csv"
    path.write_bytes(text.encode(encoding))
    return read_picks([path])[0]


@pytest.mark.parametrize(
    "text",
    [
        "x,y,z\n1.5,2,3\n4,5,6\n",
        "1.5,2,3\n4,5,6\n",
        "x;y;z\n1,5;2;3\n4;5;6\n",
        "1,5;2,0;3,0\n4,0;5,0;6,0\n",
        "1.5\t2\t3\n4\t5\t6\n",
        "1.5 2 3\n 4   5 6\n",
        "# a comment\nX,Y,Z\n\n1.5, 2 ,3\n4,5,6\n",
        '"x","y","z"\r\n"1.5","2","3"\r\n4,5,6\r\n',
        "z,score,x,y\n3,0.1,1.5,2\n6,0.2,4,5\n",
        "x;y;z\n1,5;2;3\n4;5;6\n;;\n",
        "x|y|z\n1.5|2|3\n4|5|6\n",
        "x | y | z\n1,5 | 2 | 3\n4 | 5 | 6\n",
    ],
)
def test_the_spellings_of_a_spreadsheet_are_read(tmp_path, text):
    picks = read(tmp_path, text)
    assert picks.coordinates.tolist() == [[1.5, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert picks.tomograms.tolist() == ["", ""]


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path):
    assert read(tmp_path, "x,y,z\n1,2,3\n", "utf-8-sig").coordinates.tolist() == [[1, 2, 3]]


def test_the_tomogram_stands_in_a_fourth_column_or_by_name(tmp_path):
    assert read(tmp_path, "1,2,3,TS_01\n").tomograms.tolist() == ["TS_01"]
    assert read(tmp_path, "Tomo;x;y;z\n001;1;2;3\n").tomograms.tolist() == ["001"]


def test_every_field_is_kept_as_it_stood(tmp_path):
    particles = read(tmp_path, "x,y,z,my score,Klasse 1\n1,2,3,0.10,a b\n").particles
    names = ["halSourceX", "halSourceY", "halSourceZ", "halSourceMyScore", "halSourceKlasse1"]
    assert particles.table.labels == names
    assert [particles.text(name)[0] for name in names] == ["1", "2", "3", "0.10", "a b"]


def test_halcmds_own_positions_are_in_angstrom(tmp_path):
    head = "halParticleId,halTomogram," + ",".join(f"halPosition{a}Angst" for a in "XYZ")
    picks = read(tmp_path, f"{head},halLabel\nT/1,T,10.5,20,30,\n")
    assert (picks.unit, picks.coordinates.tolist()) == ("angstrom", [[10.5, 20.0, 30.0]])
    assert picks.tomograms.tolist() == ["T"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n1,2\n", "no column z"),
        ("x,y,z\n", "no rows"),
        ("x,y,z\n1,2\n", "2 values for 3 columns"),
        ("x,y,z\n1,2,three\n", "z must be a number"),
        ("x,y,z\n1,2,nan\n", "z must be a number"),
        ("x,x,z\n1,2,3\n", "stands twice"),
        ("1,2,3,4,5\n", "without a header line"),
        ("TS_01,1,2,3\nTS_02,1,2,3\n", "no column x"),
    ],
)
def test_a_table_that_cannot_be_read_says_why(tmp_path, text, message):
    (tmp_path / "picks.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_picks([tmp_path / "picks.csv"], name="csv")


CELL = st.text(
    st.characters(codec="ascii", categories=["L", "N"], include_characters=" .-"), max_size=8
)


@given(st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=1, max_size=6))
def test_cells_come_back_from_any_delimiter(rows):
    rows = [[cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)]
    if not rows:
        return
    for delimiter in ",;\t":
        lines = [delimiter.join(row) for row in [["a", "b", "c"], *rows]]
        assert read_rows("\n".join(lines), "t") == (["a", "b", "c"], rows)


@pytest.mark.parametrize(
    ("header", "unit"),
    [
        ("X,Y,Z", "voxel"),
        ("pos_x,pos_y,pos_z", "voxel"),
        ("x [px],y [px],z [px]", "voxel"),
        ("CoordinateX,CoordinateY,CoordinateZ", "voxel"),
        ("rlnCoordinateX,rlnCoordinateY,rlnCoordinateZ", "voxel"),
        (",".join(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"), "centred_angstrom"),
        ("position_x_angst,position_y_angst,position_z_angst", "angstrom"),
        ("x_coord,y_coord,z_coord", "voxel"),
        ("x_angst,y_angst,z_angst", "angstrom"),
        ("x (A),y (A),z (A)", "angstrom"),
        ("halPositionXAngst,halPositionYAngst,halPositionZAngst", "angstrom"),
    ],
)
def test_coordinates_go_by_many_names(tmp_path, header, unit):
    (tmp_path / "p.csv").write_text(f"{header},score\n1.5,2,3,0.1\n")
    (picks,) = read_picks([tmp_path / "p.csv"])
    assert (picks.coordinates.tolist(), picks.unit) == ([[1.5, 2, 3]], unit)


def test_napari_writes_the_slowest_axis_first(tmp_path):
    (tmp_path / "p.csv").write_text("index,axis-0,axis-1,axis-2\n0.0,3.0,2.0,1.5\n")
    (picks,) = read_picks([tmp_path / "p.csv"])
    assert picks.coordinates.tolist() == [[1.5, 2, 3]]


@pytest.mark.parametrize(
    ("rows", "tomograms"),
    [
        ("1,2,3,0.5\n", [""]),
        ("5,2,3,7\n", ["7"]),
        ("1,2,3,T\n", ["T"]),
        ("1,2,3,T\n2,5,6,7\n", ["T", "7"]),
        ("1,2,3,0.5\n2,5,6,1\n", ["", ""]),
        ("1.0,2.0,3.0,1\n2.0,3.0,4.0,2\n", ["1", "2"]),
    ],
)
def test_a_fourth_column_is_a_score_or_a_tomogram(tmp_path, rows, tomograms):
    (tmp_path / "p.csv").write_text(rows)
    (picks,) = read_picks([tmp_path / "p.csv"])
    assert picks.tomograms.tolist() == tomograms


@pytest.mark.parametrize(
    "rows",
    [
        "1,100.0,200.0,300.0\n2,101.0,201.0,301.0\n",
        "0;100;200;300\n1;101;201;301\n",
        "1,100,200,300\n",
    ],
)
def test_a_running_number_is_not_taken_for_x(tmp_path, rows):
    (tmp_path / "p.csv").write_text(rows)
    for name in ("auto", "csv"):
        with pytest.raises(InputError, match="running number") as error:
            read_picks([tmp_path / "p.csv"], name=name)
        assert "index,x,y,z" in str(error.value.hint)


@pytest.mark.parametrize("names", ["x [nm],y [nm],z [nm]", "x_nm,y_nm,z_nm", "Xnm,Ynm,Znm"])
def test_nanometres_become_angstrom_and_stay_as_they_stood(tmp_path, names):
    picks = read(tmp_path, f"{names}\n1.5,2,3\n")
    assert (picks.unit, picks.coordinates.tolist()) == ("angstrom", [[15.0, 20.0, 30.0]])
    assert picks.particles.table.column(picks.particles.table.labels[0]) == ["1.5"]


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("x,y,z\n0,2,3\n5,6\n", "2 values for 3 columns", "row 3"),
        ("x,y,z\n1,2,3\n1,two,3\n", "y must be a number", "row 2"),
        ("1,2,3\n1,two,3\n", "y must be a number", "row 2"),
        ("x,y\n1,2\n", "no column z", "picks.txt"),
        ("pos_x,pos_y,score\n1,2,3\n", "no column z", "picks.txt"),
        ("x,y,z\n", "no rows", "picks.txt"),
        ("1,2,3,4,5\n", "without a header line", "picks.txt"),
    ],
)
def test_the_reason_is_given_without_a_format_too(tmp_path, text, message, place):
    (tmp_path / "picks.txt").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_picks([tmp_path / "picks.txt"])
    assert place in str(error.value.where)


@pytest.mark.parametrize("text", ["Dear all,\nhere are picks\n", "3 dogs, 2 cats\n", "a,b\n1,2\n"])
def test_other_text_is_not_taken_for_a_table(tmp_path, text):
    (tmp_path / "p.txt").write_text(text)
    with pytest.raises(InputError, match="not recognised"):
        read_picks([tmp_path / "p.txt"])


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_spreadsheet_is_read_as_it_was_encoded(tmp_path, codec):
    picks = read(tmp_path, "x (\u00c5),y (\u00c5),z (\u00c5),tomogram\r\n1,2,3,M\u00fc1\r\n", codec)
    assert (picks.unit, picks.coordinates.tolist()) == ("angstrom", [[1, 2, 3]])
    assert picks.tomograms.tolist() == ["M\u00fc1"]


@pytest.mark.parametrize("suffix", ["star", "txt"])
@pytest.mark.parametrize("codec", ["utf-16", "latin-1"])
def test_a_star_file_must_be_utf_8(tmp_path, suffix, codec):
    path = tmp_path / f"p.{suffix}"
    path.write_bytes("data_\nloop_\n_rlnTomoName\nM\u00fc1\n".encode(codec))
    with pytest.raises(InputError, match="must be encoded as UTF-8") as error:
        read_text(path)
    assert "UTF-8" in str(error.value.hint)
    with pytest.raises(InputError):
        read_picks([path])


@pytest.mark.parametrize(
    ("header", "tomogram", "kind"),
    [
        ("id,experiment,particle_type,x,y,z", "TS_5_4", "apo-ferritin"),
        ("id,run,object,x,y,z", "TS_5_4", "apo-ferritin"),
        ("id,run_name,type,x,y,z", "TS_5_4", "apo-ferritin"),
        ("id,tomo_id,Particle Type,x,y,z", "TS_5_4", "apo-ferritin"),
    ],
)
def test_tomogram_and_class_go_by_many_names(tmp_path, header, tomogram, kind):
    picks = read(tmp_path, f"{header}\n0,{tomogram},{kind},2983.596,3154.13,764.124\n")
    assert picks.tomograms.tolist() == [tomogram]
    assert picks.classes is not None
    assert picks.classes.tolist() == [kind]
    assert picks.coordinates.tolist() == [[2983.596, 3154.13, 764.124]]


@pytest.mark.parametrize("text", ['x,y,z\n1,2,3\n"\n', "x;y;z\n1.234,5;2;3\n"])
def test_what_could_be_misread_is_refused(tmp_path, text):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(InputError) as error:
        read_picks([tmp_path / "p.csv"], name="csv")
    assert "p.csv" in str(error.value.where)


def test_a_column_of_objects_is_the_class(tmp_path):
    (tmp_path / "p.csv").write_text("x,y,z,object\n1,2,3,apo\n")
    (picks,) = read_picks([tmp_path / "p.csv"])
    assert picks.classes is not None
    assert picks.classes.tolist() == ["apo"]
