"""Picks of programs that write no RELION STAR files, against hand-made files and other readers."""

import json
import struct
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
from halcmd.importers.picks import Picks, read_picks
from halcmd.importers.positions import resolve_positions
from halcmd.importers.tomograms import Tomogram


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
    row = ["0"] * 35
    places = {"dx": 4, "dy": 5, "dz": 6, "tdrot": 7, "tilt": 8, "narot": 9, "tomo": 20}
    places |= {"klass": 22, "x": 24, "y": 25, "z": 26}
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
        ("t.vll", "/data/TS_01.mrc\n/data/TS_02.mrc\n> /data/TS 03.mrc\n"),
    ],
)
def test_dynamo_maps_of_the_same_stem_name_the_tomogram(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    (tmp_path / "other.doc").write_text("3 wrong.mrc\n")
    picks = read(tmp_path / "t.tbl", dynamo_row(tomo=3, x=1, y=1, z=1))
    assert picks.tomograms.tolist() == ["/data/TS 03.mrc"]


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
