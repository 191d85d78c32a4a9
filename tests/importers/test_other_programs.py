"""Picks of programs that write no RELION STAR files, against hand-made files and other readers."""

import json
import logging
import struct
from collections.abc import Iterator
from pathlib import Path

import dynamotable
import emfile
import imodmodel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from halcmd.errors import HalcmdError, InputError
from halcmd.formats.mrc import Volume
from halcmd.intake.read import read_picks
from halcmd.picks.picks import Picks
from halcmd.picks.positions import resolve_positions
from halcmd.picks.tomograms import Tomogram


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Let pytest see what halcmd logs."""
    caplog.set_level(logging.INFO, logger="halcmd")
    logging.getLogger("halcmd").addHandler(caplog.handler)
    yield
    logging.getLogger("halcmd").removeHandler(caplog.handler)


def warnings(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING)


def read(path: Path, content: str | bytes, **options: object) -> Picks:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (picks,) = read_picks([path], **options)  # type: ignore[arg-type]
    return picks


def voxels(picks: Picks, size: int = 2000, voxel: float = 10.0, **options: object) -> np.ndarray:
    """Positions in a tomogram large enough for all."""
    data = np.broadcast_to(np.float32(0), (size,) * 3)
    where = Tomogram(
        "T", (Volume(Path("T.mrc"), data, (voxel,) * 3, "volume", 2),), voxel, "header"
    )
    names = np.array(["T"] * len(picks.coordinates), dtype=object)
    return resolve_positions(picks, names, {"T": where}, **options).positions / voxel  # type: ignore[arg-type]


def assert_pose(rotation: np.ndarray, reference: object, particle: object) -> None:
    """The rotation turns this axis of the reference into that direction in the tomogram."""
    np.testing.assert_allclose(rotation @ np.array(reference, float), particle, atol=1e-6)


# Dynamo


def dynamo_row(**values: float) -> str:
    row = ["0"] * 36
    places = {"dx": 4, "dy": 5, "dz": 6, "tdrot": 7, "tilt": 8, "narot": 9, "cc": 10, "tomo": 20}
    places |= {"klass": 22, "x": 24, "y": 25, "z": 26, "apix": 36}
    for name, value in values.items():
        row[places[name] - 1] = str(value)
    return " ".join(row)


def test_dynamo_adds_its_shifts_and_needs_no_map(tmp_path):
    text = dynamo_row(x=100.5, y=50, z=25, dx=-1.5, dy=2, dz=0.25, tomo=3, klass=2) + "\n"
    picks = read(tmp_path / "t.tbl", text)
    np.testing.assert_allclose(voxels(picks), [[99, 52, 25.25]], atol=1e-9)
    np.testing.assert_allclose(voxels(picks, apply_origins=False), [[100.5, 50, 25]], atol=1e-9)
    assert (picks.tomograms.tolist(), picks.classes.tolist()) == (["3"], ["2"])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.doc", "1 /data/TS_01.mrc\n3 /data/TS 03.mrc\n"),
        ("t.vll", "/data/TS_01.mrc\n/data/TS_02.mrc\n/data/TS 03.mrc\n"),
    ],
)
def test_dynamo_maps_of_the_same_stem_name_the_tomogram(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    (tmp_path / "other.doc").write_text("3 wrong.mrc\n")
    picks = read(tmp_path / "t.tbl", dynamo_row(tomo=3, x=1, y=1, z=1))
    assert picks.tomograms.tolist() == ["/data/TS 03.mrc"]


VOLUMES = """# all of the grid
a.mrc
> a_to_crop.mrc
* index = 7
* apix = 1.2

b.mrc
! b_model.omd
# mixed
c.mrc
*index=12
d.mrc
"""


def test_a_volume_list_of_dynamo_holds_volumes_in_its_bare_lines_only(tmp_path, caplog):
    """Dynamo wiki, Volume_list_file: a number is the place in the list, or what index says."""
    (tmp_path / "t.vll").write_text(VOLUMES)
    rows = [dynamo_row(tomo=n, x=1, y=1, z=1) for n in (7, 2, 12, 4)]
    picks = read(tmp_path / "t.tbl", "\n".join(rows))
    assert picks.tomograms.tolist() == ["a.mrc", "b.mrc", "c.mrc", "d.mrc"]
    assert "t.vll" in caplog.text
    assert not warnings(caplog)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a.mrc\n* index = 2\nb.mrc\n", "two tomograms have the number 2"),
        ("a.mrc\n* index = x\n", "index must be a whole number"),
    ],
)
def test_a_volume_list_of_dynamo_with_a_fault_is_refused(tmp_path, text, reason):
    (tmp_path / "t.vll").write_text(text)
    with pytest.raises(InputError, match=reason) as error:
        read(tmp_path / "t.tbl", dynamo_row(tomo=2, x=1, y=1, z=1))
    assert "t.vll" in str(error.value.where)


@pytest.mark.parametrize(
    ("maps", "taken"),
    [
        ({"some.doc": "3 c.mrc\n"}, "some.doc"),
        ({"some.vll": "a.mrc\nb.mrc\nc.mrc\n"}, "some.vll"),
        ({"indices_column20.doc": "3 c.mrc\n", "some.doc": "3 d.mrc\n"}, "indices_column20.doc"),
        ({"some.doc": "3 c.mrc\n", "u.doc": "3 d.mrc\n", "u.tbl": ""}, "some.doc"),
    ],
)
def test_dynamo_takes_the_one_map_of_another_name_and_says_so(tmp_path, caplog, maps, taken):
    for name, text in maps.items():
        (tmp_path / name).write_text(text)
    picks = read(tmp_path / "t.tbl", dynamo_row(tomo=3, x=1, y=1, z=1))
    assert picks.tomograms.tolist() == ["c.mrc"]
    assert taken in caplog.text
    assert not warnings(caplog)


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        ({"a.doc": "3 c.mrc\n", "b.vll": "c.mrc\n"}, ["a.doc, b.vll", "none is taken", "t.doc"]),
        ({"a.doc": "4 d.mrc\n"}, ["a.doc", "no tomogram 3"]),
        ({"a.doc": "Dear all, 3 tomograms\n"}, ["a.doc", "left out"]),
        ({"u.doc": "3 c.mrc\n", "u.tbl": ""}, []),
        ({}, []),
    ],
)
def test_dynamo_guesses_no_map(tmp_path, caplog, maps, words):
    for name, text in maps.items():
        (tmp_path / name).write_text(text)
    picks = read(tmp_path / "t.tbl", dynamo_row(tomo=3, x=1, y=1, z=1))
    assert picks.tomograms.tolist() == ["3"]
    assert all(word in warnings(caplog) for word in words)
    assert bool(warnings(caplog)) == bool(words)


def test_dynamo_refuses_only_for_what_a_pick_needs(tmp_path, caplog):
    """MATLAB's NaN means not set."""
    nan = float("nan")
    good = dynamo_row(x=10, y=20, z=30, dx=1, tomo=3, apix=nan, klass=nan, cc=nan)
    picks = read(tmp_path / "t.tbl", good)
    np.testing.assert_allclose(voxels(picks), [[11, 20, 30]])
    assert picks.readings[0].sizes is None
    assert picks.classes is not None
    assert picks.classes.tolist() == ["unlabelled"]
    assert picks.rotations is not None
    assert not warnings(caplog)
    turned = dynamo_row(x=1, y=2, z=3, tomo=3, tdrot=nan)
    unturned = read(tmp_path / "u.tbl", f"{good}\n{turned}\n")
    assert unturned.rotations is None
    assert len(unturned.coordinates) == 2
    assert "first: row 2" in warnings(caplog)
    nameless = read(tmp_path / "v.tbl", dynamo_row(x=10, y=20, z=30, tomo=nan))
    assert nameless.tomograms.tolist() == [""]


@pytest.mark.parametrize("name", ["x", "dz", "tomo"])
def test_dynamo_names_the_row_without_a_position(tmp_path, name):
    rows = [dynamo_row(x=1, y=2, z=3, tomo=1), dynamo_row(**{"y": 2, name: float("nan")})]
    with pytest.raises(InputError, match=f"{name} must be a number") as error:
        read(tmp_path / "t.tbl", "\n".join(rows))
    assert "row 2" in str(error.value.where)


def test_a_pixel_size_of_dynamo_counts_where_it_is_set(tmp_path):
    picks = read(tmp_path / "t.tbl", dynamo_row(x=10, y=20, z=30, tomo=1, apix=5.0))
    np.testing.assert_allclose(voxels(picks), [[5, 10, 15]])


def test_dynamo_turns_the_reference_into_the_particle(tmp_path):
    """With narot alone, the particle is the reference turned backwards about z."""
    picks = read(tmp_path / "t.tbl", dynamo_row(narot=90, x=1, y=1, z=1))
    assert picks.rotations is not None
    assert_pose(picks.rotations[0], (1, 0, 0), (0, -1, 0))
    # The axis of the particle does not depend on tdrot's being first: tilt 90, then narot 90.
    turned = read(tmp_path / "u.tbl", dynamo_row(tdrot=30, tilt=90, narot=90, x=1, y=1, z=1))
    assert turned.rotations is not None
    np.testing.assert_allclose(turned.rotations[0] @ turned.rotations[0].T, np.eye(3), atol=1e-9)
    assert_pose(turned.rotations[0].T, turned.rotations[0] @ [0, 0, 1], (0, 0, 1))


def test_dynamo_fields_may_be_complex_and_digits_stay(tmp_path):
    row = dynamo_row(x=10, y=20, z=30).split()
    row[9], row[26] = "0.1+2e-09i", "1.2074000000000001e-06"
    picks = read(tmp_path / "t.tbl", " ".join(row))
    assert picks.particles.text("halSourceCc")[0] == "0.1+2e-09i"
    assert picks.particles.text("halSourceDshift")[0] == "1.2074000000000001e-06"


@pytest.mark.parametrize("name", ["dynamo_hiv.tbl", "dynamo_26col.tbl"])
def test_real_dynamo_tables_are_those_of_dynamotable(shared, name):
    (picks,) = read_picks([shared / "star" / name])
    frame = dynamotable.read(shared / "star" / name)
    assert len(picks.particles) == len(frame)
    expected = frame[["x", "y", "z"]].to_numpy() + frame[["dx", "dy", "dz"]].to_numpy()
    np.testing.assert_allclose(voxels(picks), expected, atol=1e-6)
    assert len(set(picks.tomograms)) == len(set(frame["tomo"]))
    if name == "dynamo_hiv.tbl":  # its .doc stands beside it
        assert all(text.endswith("_15.00Apx.mrc") for text in picks.tomograms)


# Motive lists


def motive_list(path: Path, rows: np.ndarray) -> None:
    emfile.write(path, rows[None].astype(np.float32), overwrite=True)


def motive(**values: float) -> np.ndarray:
    row = np.zeros(20)
    places = {"x": 8, "y": 9, "z": 10, "dx": 11, "dy": 12, "dz": 13, "tomo": 5, "klass": 20}
    places |= {"score": 1, "phi": 17, "psi": 18, "theta": 19}
    for name, value in values.items():
        row[places[name] - 1] = value
    return row


def test_motive_lists_count_from_one_and_add_their_shifts(tmp_path):
    path = tmp_path / "motl.em"
    motive_list(path, np.array([motive(x=101, y=51, z=26, dx=-1.5, dz=0.25, tomo=24, klass=3)]))
    (picks,) = read_picks([path])
    assert picks.producer == "em"
    np.testing.assert_allclose(voxels(picks), [[98.5, 50, 25.25]], atol=1e-6)
    assert (picks.tomograms.tolist(), picks.classes.tolist()) == (["24"], ["3"])  # type: ignore[union-attr]
    assert picks.particles.text("halSourceTomogram").tolist() == ["24"]


def test_motive_lists_turn_by_phi_theta_psi(tmp_path):
    """phi about z first: with theta = 90 about x, z of the particle points along -y, then psi."""
    path = tmp_path / "motl.em"
    motive_list(path, np.array([motive(phi=30, theta=90, psi=90, x=1, y=1, z=1)]))
    (picks,) = read_picks([path])
    assert picks.rotations is not None
    assert_pose(picks.rotations[0], (0, 0, 1), (1, 0, 0))


def test_motive_lists_of_both_byte_orders_and_no_others(tmp_path, rng):
    path = tmp_path / "motl.em"
    rows = np.stack([motive(x=x, y=2, z=3, tomo=1) for x in rng.integers(1, 99, 7)])
    motive_list(path, rows)
    little = path.read_bytes()
    (expected,) = read_picks([path])
    swapped = bytes([5, *little[1:4]]) + np.frombuffer(little, "<i4", offset=4).byteswap().tobytes()
    np.testing.assert_array_equal(
        read(tmp_path / "b.em", swapped).coordinates, expected.coordinates
    )
    for cut in (3, 20, 511, 600, len(little) - 1):
        with pytest.raises(InputError) as error:
            read(tmp_path / "c.em", little[:cut])
        assert "c.em" in str(error.value.where)
    emfile.write(tmp_path / "v.em", np.zeros((8, 8, 8), np.float32))
    with pytest.raises(InputError, match="neither text nor"):
        read_picks([tmp_path / "v.em"])


def test_motive_lists_refuse_only_for_what_a_pick_needs(tmp_path, caplog):
    nan = float("nan")
    path = tmp_path / "motl.em"
    rows = [motive(x=2, y=3, z=4, tomo=1, klass=2), motive(x=2, y=3, z=4, tomo=1, klass=nan)]
    rows[1][:3], rows[1][6], rows[1][16] = nan, nan, nan
    motive_list(path, np.array(rows))
    (picks,) = read_picks([path])
    assert picks.classes is not None
    assert picks.classes.tolist() == ["2", "unlabelled"]
    assert picks.rotations is None
    assert "first: row 2" in warnings(caplog)
    for name in ("x", "dy", "tomo"):
        motive_list(path, np.array([rows[0], motive(**{"y": 3, name: nan})]))
        with pytest.raises(InputError) as error:
            read_picks([path])
        assert "row 2" in str(error.value.where)


STOPGAP = """data_stopgap_motivelist

loop_
_motl_idx
_tomo_num
_orig_x
_orig_y
_orig_z
_score
_x_shift
_y_shift
_z_shift
_phi
_psi
_the
_class

1.000000\t24.000000\t101\t51\t26\t0.5\t-1.5\t0\t0.25\t30\t90\t90\t3
"""


def test_stopgap_counts_from_one_and_adds_its_shifts(tmp_path):
    picks = read(tmp_path / "motl.star", STOPGAP)
    np.testing.assert_allclose(voxels(picks), [[98.5, 50, 25.25]], atol=1e-9)
    assert (picks.tomograms.tolist(), picks.classes.tolist()) == (["24"], ["3"])  # type: ignore[union-attr]
    assert picks.rotations is not None
    assert_pose(picks.rotations[0], (0, 0, 1), (1, 0, 0))


def test_stopgap_refuses_only_for_what_a_pick_needs(tmp_path, caplog):
    head, row = STOPGAP.split("\n\n")[1:]
    text = f"data_stopgap_motivelist\n\n{head}\n_halfset\n\n"
    values = row.split()
    bare = values.copy()
    bare[5], bare[9], bare[12] = "NaN", "NaN", "NaN"
    rows = [[*values, "A"], [*bare, "B"]]
    picks = read(tmp_path / "motl.star", text + "\n".join(" ".join(row) for row in rows) + "\n")
    np.testing.assert_allclose(voxels(picks), [[98.5, 50, 25.25]] * 2, atol=1e-9)
    assert picks.classes is not None
    assert picks.classes.tolist() == ["3", "unlabelled"]
    assert picks.rotations is None
    assert "first: row 2" in warnings(caplog)
    assert picks.particles.text("halfset").tolist() == ["A", "B"]
    for column in (1, 3, 7):
        lacking = [*values, "A"]
        lacking[column] = "NaN"
        wrong = "\n".join(" ".join(row) for row in (rows[0], lacking))
        with pytest.raises(InputError) as error:
            read(tmp_path / "wrong.star", f"{text}{wrong}\n")
        assert "row 2" in str(error.value.where)


def test_real_stopgap_motive_list(shared):
    (picks,) = read_picks([shared / "star" / "stopgap_motl.star"])
    assert len(picks.particles) == 729
    assert len(set(picks.tomograms)) == 34
    np.testing.assert_allclose(voxels(picks)[0], [823.2121, 753.6012, 677.4676], atol=1e-4)
    assert picks.classes is not None
    assert {name: int((picks.classes == name).sum()) for name in "123"} == {
        "1": 240,
        "2": 238,
        "3": 251,
    }


# Boxes and plain coordinates


def test_real_boxes_stand_for_their_corner_in_x_and_y(shared):
    (picks,) = read_picks([shared / "star" / "boxmanager_3d.cbox"])
    np.testing.assert_allclose(
        voxels(picks)[0], [12.257084 + 12.5, 27.721405 + 12.5, 50], atol=1e-6
    )
    assert picks.particles.text("EstWidth").tolist() == ["<NA>"] * 3


@pytest.mark.parametrize("depth", ["", "_CoordinateZ\n"])
def test_boxes_of_micrographs_are_refused(tmp_path, depth):
    text = f"data_cryolo\nloop_\n_CoordinateX\n_CoordinateY\n_Width\n_Height\n{depth}"
    with pytest.raises(InputError, match="two dimensions"):
        read(tmp_path / "m.cbox", text + f"1 2 10 10 {'<NA>' if depth else ''}\n")


CORNERS = "data_cryolo\nloop_\n_CoordinateX\n_CoordinateY\n_CoordinateZ\n"


def test_boxes_all_in_slice_0_are_those_of_a_micrograph(tmp_path):
    with pytest.raises(InputError, match="two dimensions"):
        read(tmp_path / "m.cbox", f"{CORNERS}_Width\n_Height\n1 2 0 10 10\n")


def test_a_missing_box_size_is_that_of_the_others(tmp_path, caplog):
    head = f"{CORNERS}_Width\n_Height\n_Confidence\n"
    picks = read(tmp_path / "m.cbox", f"{head}1 2 3 10 20 0.5\n1 2 3 <NA> <NA> <NA>\n")
    np.testing.assert_allclose(voxels(picks), [[6, 12, 3]] * 2)
    assert "10 x 20" in warnings(caplog)
    with pytest.raises(InputError, match="without Width and Height") as error:
        read(tmp_path / "n.cbox", f"{head}1 2 3 10 20 0\n1 2 3 8 8 0\n1 2 3 <NA> 8 0\n")
    assert "row 3" in str(error.value.where)


def test_boxes_without_sizes_say_so(tmp_path):
    with pytest.raises(InputError, match="without Width and Height"):
        read(tmp_path / "m.cbox", f"{CORNERS}1 2 3\n")


def test_plain_coordinates_are_voxels(tmp_path):
    picks = read(tmp_path / "TS_01.coords", "10.5 20 30\n\n1 2 3\n")
    assert picks.producer == "coords"
    np.testing.assert_allclose(voxels(picks), [[10.5, 20, 30], [1, 2, 3]])
    turned = read(tmp_path / "a.txt", "1 2 3 90 0 0\n")
    assert turned.rotations is not None
    assert_pose(turned.rotations[0], (1, 0, 0), (0, -1, 0))
    with pytest.raises(InputError, match="a row has 2 values") as error:
        read(tmp_path / "b.coords", "1 2 3\n4 5\n")
    assert "row 2" in str(error.value.where)


def test_a_fourth_number_is_a_score(tmp_path, caplog):
    picks = read(tmp_path / "a.coords", "100 200 300 0.75\n10 20 30 1\n")
    assert picks.producer == "coords"
    np.testing.assert_allclose(voxels(picks), [[100, 200, 300], [10, 20, 30]])
    assert picks.particles.text("halSourceScore").tolist() == ["0.75", "1"]
    assert "x y z score" in caplog.text
    tabs = read(tmp_path / "b.txt", "10.0\t20.0\t30.0\t0.9\n")
    assert (tabs.producer, voxels(tabs).tolist()) == ("coords", [[10, 20, 30]])


def test_angles_that_are_missing_leave_the_positions(tmp_path, caplog):
    picks = read(tmp_path / "a.coords", "1 2 3 90 0 0\n4 5 6 nan nan nan\n")
    np.testing.assert_allclose(voxels(picks), [[1, 2, 3], [4, 5, 6]])
    assert picks.rotations is None
    assert "first: row 2" in warnings(caplog)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.box", "24 40 0 0\n36 62 0 0\n"),
        ("m.box", "14 35 20 10\n1 57 20 10\n"),
        ("m.box", "24.3 40.7 0 0\n36.2 62.1 0 0\n"),
        ("m.box", "24 40 64 64 -1\n36 62 64 64 -2\n"),
        ("m.BOX", "24 40 64 64\n36 62\n"),
        ("m.txt", "24 40 64 64\n36 62 64 64\n"),
        ("m.txt", "24.5 40.5 64 64\n"),
    ],
)
def test_text_boxes_of_micrographs_are_refused(tmp_path, name, text):
    with pytest.raises(InputError, match="boxes in two dimensions") as error:
        read(tmp_path / name, text)
    assert name in str(error.value.where)


@pytest.mark.parametrize(
    "text",
    [
        "1 100 200 30\n1 110 210 31\n2 120 220 32\n",
        "100 200 300 1\n110 210 310 2\n",
        "24.5 40.5 20 10\n36.2 62.1 20 10\n",
        "1 100.5 200.5 0.75\n2 110.5 210.5 0.5\n",
    ],
)
def test_four_columns_that_may_be_two_things_are_refused(tmp_path, text):
    with pytest.raises(InputError, match="may mean several things") as error:
        read(tmp_path / "p.txt", text)
    assert "--format imod_text" in str(error.value.hint)
    assert "--format coords" in str(error.value.hint)
    first = [float(word) for word in text.split("\n")[0].split()]
    contours = read(tmp_path / "p.txt", text, name="imod_text")
    assert contours.coordinates[0].tolist() == first[1:]
    scores = read(tmp_path / "p.txt", text, name="coords")
    assert scores.coordinates[0].tolist() == first[:3]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("TS_01.xf", "0.0871557 -0.9961947 0.9961947 0.0871557 -12.3 44.12\n" * 2),
        ("a.txt", "0.0871557 -0.9961947 0.9961947 0.0871557 -12.3 44.12\n1.01 0 0 0.99 500 3\n"),
        ("b.XF", "2.0 0 0 2.0 0 0\n"),
    ],
)
def test_transforms_of_images_are_no_coordinates(tmp_path, name, text):
    with pytest.raises(InputError, match="transforms of images") as error:
        read(tmp_path / name, text)
    assert name in str(error.value.where)


# IMOD


def imod_model(
    objects: list[tuple[str, list[np.ndarray]]], *, size: float = 1.0, units: int = 0
) -> bytes:
    """A model by IMOD's file format, with a chunk of extra data after each contour."""
    head = struct.pack(">8s128s", b"IMODV1.2", b"model") + struct.pack(">3i", 99, 99, 99)
    head += struct.pack(">i2I2i2i", len(objects), 0, 1, 0, 0, 0, 0)[:28]
    head += bytes(216 - len(head)) + struct.pack(">fi", size, units)
    data = head + bytes(240 - len(head))
    for name, contours in objects:
        data += b"OBJT" + struct.pack(">64s", name.encode()) + bytes(112)
        for points in contours:
            data += b"CONT" + struct.pack(">4i", len(points), 0, 0, 0)
            data += points.astype(">f4").tobytes()
            data += b"SIZE" + struct.pack(">i", 4 * len(points)) + bytes(4 * len(points))
        data += b"IMAT" + struct.pack(">i", 16) + bytes(16)
    return data + b"IEOF"


def test_imod_points_count_from_half_a_voxel(tmp_path):
    contours = [np.array([[10.5, 20.5, 5.0], [1, 2, 3]]), np.array([[7.5, 8.5, 9.0]])]
    model = imod_model([("big ribosome", contours), ("", [np.array([[1.5, 1.5, 1.0]])])])
    picks = read(tmp_path / "m.mod", model)
    expected = [[10, 20, 5], [0.5, 1.5, 3], [7, 8, 9], [1, 1, 1]]
    np.testing.assert_allclose(voxels(picks), expected, atol=1e-6)
    assert picks.classes is not None
    assert picks.classes.tolist() == ["big_ribosome"] * 3 + ["object_2"]
    assert picks.particles.text("halSourceContour").tolist() == ["1", "1", "2", "1"]


def test_imod_objects_of_one_name_stay_two_classes(tmp_path, caplog):
    point = [np.array([[1.5, 1.5, 1.0]])]
    names = ["chemo-array", "", "chemo-array", "", "a", "a", "a_6", "b", "b"]
    objects = [(name, [] if n == 8 else point) for n, name in enumerate(names, 1)]
    picks = read(tmp_path / "m.mod", imod_model(objects))
    assert picks.classes is not None
    expected = ["chemo-array", "object_2", "chemo-array_3", "object_4", "a", "a_6_6", "a_6", "b"]
    assert picks.classes.tolist() == expected
    assert "object 3 is a second chemo-array" in caplog.text
    assert picks.particles.text("halSourceObject").tolist() == ["1", "2", "3", "4", *"5679"]


@pytest.mark.parametrize(("units", "size", "angstrom"), [(-9, 0.5, 5.0), (-10, 5.0, 5.0)])
def test_imod_pixel_size_counts_where_its_unit_is_known(tmp_path, units, size, angstrom):
    model = imod_model([("", [np.array([[20.5, 20.5, 10]])])], size=size, units=units)
    picks = read(tmp_path / "m.mod", model)
    assert picks.readings[0].sizes is not None
    assert picks.readings[0].sizes[0] == pytest.approx(angstrom)
    np.testing.assert_allclose(voxels(picks), [[10, 10, 5]], atol=1e-6)
    pixel = imod_model([("", [np.array([[20.5, 20.5, 10]])])], size=0.5, units=0)
    assert read(tmp_path / "p.mod", pixel).readings[0].sizes is None


def test_real_imod_model_is_that_of_imodmodel(shared):
    path = shared / "star" / "imod_correct189.mod"
    (picks,) = read_picks([path])
    frame = imodmodel.read(path)
    np.testing.assert_allclose(picks.coordinates, frame[["x", "y", "z"]].to_numpy(), atol=1e-4)
    assert len(set(picks.particles.text("halSourceContour"))) == 74
    assert picks.coordinates.min(axis=0).tolist() == [14.5, 40.5, 112.0]


@pytest.mark.parametrize(
    ("text", "voxel", "classes"),
    [
        ("1 10.5 20.5 5\n2 1 2 3\n", [10, 20, 5], None),
        ("    1     1   10.50  20.50   5.00\n 2 1 1 2 3\n", [10, 20, 5], ["object_1", "object_2"]),
        (
            "0 0 10.5 20.5 5\n0 1 1 2 3\n2 0 1 1 1\n",
            [10, 20, 5],
            ["object_0", "object_0", "object_2"],
        ),
        ("0 10.5 20.5 5\n0 1 2 3\n3 1 2 3\n", [10, 20, 5], None),
    ],
)
def test_text_of_model2point_counts_from_half_a_voxel(tmp_path, text, voxel, classes):
    picks = read(tmp_path / "p.txt", text)
    assert picks.producer == "imod_text"
    np.testing.assert_allclose(voxels(picks)[0], voxel)
    assert (None if picks.classes is None else picks.classes.tolist()) == classes
    bare = read(tmp_path / "q.txt", "10.5 20.5 5\n", name="imod_text")
    np.testing.assert_allclose(voxels(bare)[0], [10, 20, 5])


# copick and the data portal


def copick(**more: object) -> dict[str, object]:
    point = {"location": {"x": 100.0, "y": 50, "z": 25.5}, "instance_id": 0, "score": 0.75}
    return {
        "pickable_object_name": "ribosome",
        "user_id": "eva",
        "session_id": "1",
        "run_name": "TS_001",
        "voxel_spacing": None,
        "unit": "angstrom",
        "points": [point | more],
    }


def test_copick_is_angstrom_and_adds_its_translation(tmp_path):
    picks = read(tmp_path / "p.json", json.dumps(copick()))
    np.testing.assert_allclose(voxels(picks), [[10, 5, 2.55]])
    assert (picks.tomograms.tolist(), picks.classes.tolist()) == (["TS_001"], ["ribosome"])  # type: ignore[union-attr]
    assert picks.particles.text("halSourceScore").tolist() == ["0.75"]
    pose = [[0, -1, 0, 20], [1, 0, 0, 0], [0, 0, 1, -5], [0, 0, 0, 1]]
    moved = read(tmp_path / "q.json", json.dumps(copick(transformation_=pose), indent=2))
    np.testing.assert_allclose(voxels(moved), [[12, 5, 2.05]])
    assert moved.rotations is not None
    assert_pose(moved.rotations[0], (1, 0, 0), (0, 1, 0))


def test_copick_adds_no_translation_that_repeats_the_location(tmp_path, caplog):
    """Twice the position otherwise; the rotation counts."""
    pose = [[0, -1, 0, 100.0004], [1, 0, 0, 50], [0, 0, 1, 25.5], [0, 0, 0, 1]]
    picks = read(tmp_path / "p.json", json.dumps(copick(transformation_=pose)))
    np.testing.assert_allclose(voxels(picks), [[10, 5, 2.55]])
    assert picks.rotations is not None
    assert_pose(picks.rotations[0], (1, 0, 0), (0, 1, 0))
    assert "repeat the locations" in warnings(caplog)
    both = copick(transformation_=pose)
    both["points"] = [*both["points"], *copick()["points"]]  # type: ignore[misc]
    np.testing.assert_allclose(
        voxels(read(tmp_path / "q.json", json.dumps(both))), [[20.00004, 10, 5.1], [10, 5, 2.55]]
    )


def test_copick_has_orientations_where_they_are_stated_and_trusted(tmp_path):
    pose = [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]
    text = json.dumps(copick(transformation_=pose) | {"trust_orientation": False})
    picks = read(tmp_path / "p.json", text)
    assert picks.rotations is None
    np.testing.assert_allclose(voxels(picks), [[10.1, 5.2, 2.85]])
    bare = read(tmp_path / "q.json", json.dumps(copick(transformation_=None) | {"run_name": None}))
    assert bare.rotations is None
    assert bare.tomograms.tolist() == [""]


def test_the_data_portal_needs_neither_all_rotations_nor_sound_metadata(tmp_path, caplog):
    line = {"location": {"x": 1, "y": 2, "z": 3}}
    turned = line | {"xyz_rotation_matrix": np.eye(3).tolist()}
    (tmp_path / "a.json").write_text("{")
    text = f"{json.dumps(turned)}\n{json.dumps(line)}\n"
    picks = read(tmp_path / "a.ndjson", text)
    assert (len(picks.coordinates), picks.rotations, picks.classes) == (2, None, None)
    assert "no orientations" in warnings(caplog)
    assert "a.json" in warnings(caplog)


def test_the_data_portal_counts_voxels_and_names_the_object_beside(tmp_path):
    lines = [
        {"type": "orientedPoint", "location": {"x": 10.5, "y": 20, "z": 30}},
        {"type": "orientedPoint", "location": {"x": 1, "y": 2, "z": 3}},
    ]
    for line in lines:
        line["xyz_rotation_matrix"] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]  # type: ignore[assignment]
    text = "\n".join(json.dumps(line) for line in lines) + "\n"
    picks = read(tmp_path / "a.ndjson", text)
    np.testing.assert_allclose(voxels(picks), [[10.5, 20, 30], [1, 2, 3]])
    assert picks.classes is None
    assert picks.rotations is not None
    assert_pose(picks.rotations[1], (1, 0, 0), (0, 1, 0))
    (tmp_path / "a.json").write_text('{"annotation_object": {"name": "cytosolic ribosome"}}')
    named = read(tmp_path / "a.ndjson", text).classes
    assert named is not None
    assert named.tolist() == ["cytosolic_ribosome"] * 2


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.ndjson", '{"location": {"x": 1, "y": 2}}\n', "location z must be a number"),
        ("a.ndjson", '{"location": {"x": 1, "y": 2, "z": 3}}\n{"loc', "no valid JSON"),
        ("a.ndjson", '{"location": {"x": 1, "y": true, "z": 3}}', "location y must be a number"),
        ("a.json", json.dumps(copick() | {"points": []}), "no points"),
        ("a.json", json.dumps(copick() | {"unit": "pixel"}), "must be in Angstrom"),
        ("a.json", json.dumps(copick(transformation_=[[1, 2]])), "matrix of 4 x 4"),
        ("a.json", '{"a": 1}', "not recognised"),
    ],
)
def test_json_with_a_fault_says_which(tmp_path, name, text, reason):
    with pytest.raises(InputError, match=reason) as error:
        read(tmp_path / name, text)
    assert name in str(error.value.where)


# Anything, damaged

SOUND = {
    "em": b"",
    "mod": imod_model([("a", [np.arange(30.0).reshape(10, 3)]), ("b", [np.ones((2, 3))])]),
    "tbl": "".join(dynamo_row(x=n, y=n, z=n, tomo=1) + "\n" for n in range(5)).encode(),
    "json": json.dumps(copick(), indent=1).encode(),
    "ndjson": b'{"location": {"x": 1, "y": 2, "z": 3}}\n' * 4,
    "coords": b"1 2 3\n" * 5,
    "txt": b"1 1.5 2.5 3\n" * 5,
    "star": STOPGAP.encode(),
}


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(sorted(SOUND)), st.data())
def test_damaged_files_never_end_in_a_traceback(tmp_path_factory, suffix, data):
    folder = tmp_path_factory.getbasetemp()
    if suffix == "em":
        motive_list(folder / "sound.em", np.stack([motive(x=n, y=1, z=1) for n in range(4)]))
        sound = (folder / "sound.em").read_bytes()
    else:
        sound = SOUND[suffix]
    damaged = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(len(damaged) - 1, 0)))
        kind = data.draw(st.sampled_from(["flip", "cut", "put"]))
        if kind == "flip" and damaged:
            damaged[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del damaged[at:]
        else:
            damaged[at:at] = data.draw(st.binary(max_size=9))
    path = folder / f"damaged.{suffix}"
    path.write_bytes(bytes(damaged))
    try:
        (picks,) = read_picks([path])
    except HalcmdError as error:
        assert error.where is not None  # noqa: PT017
        return
    assert len(picks.particles) == len(picks.coordinates) == len(picks.tomograms)
    assert np.isfinite(picks.coordinates).all()
