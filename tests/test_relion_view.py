from collections.abc import Iterator

import pytest

from halcmd.cli.options import microscope
from halcmd.console import log
from halcmd.errors import InputError
from halcmd.formats.star import Star, Table
from halcmd.particles import Particles, new_particles
from halcmd.relion_view import class_of, relion_particles, with_optics

OPTICS = {
    "rlnOpticsGroup": ["1"],
    "rlnOpticsGroupName": ["mine"],
    "rlnImagePixelSize": ["5.000"],
    "rlnVoltage": ["200.0"],
    "rlnSphericalAberration": ["1.4"],
}


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    log.propagate = True
    yield
    log.propagate = False


def optics_of(particles: Particles) -> dict[str, list[str]]:
    table = particles.star.table("optics")
    assert table is not None
    return {label: table.column(label) for label in table.labels}


def single(**more: object) -> dict[str, object]:
    return {
        "halParticleId": ["T/1", "T/2"],
        "rlnImageName": ["old1.mrc", "old2.mrc"],
        "rlnCtfImage": ["ctf1.mrc", "ctf2.mrc"],
        "rlnOpticsGroup": ["1", "1"],
        "halImageName": ["S/1.mrc", "S/2.mrc"],
        "halImagePixelSize": ["10.00000", "10.00000"],
        "halImageSize": ["32", "32"],
        **more,
    }


def test_own_boxes_replace_images_optics_and_ctf():
    view = relion_particles(new_particles(single(), optics=OPTICS))  # type: ignore[arg-type]
    assert view.text("rlnImageName").tolist() == ["S/1.mrc", "S/2.mrc"]
    assert not view.has("rlnCtfImage")
    assert optics_of(view) == {
        **{label: values for label, values in OPTICS.items() if label != "rlnImagePixelSize"},
        "rlnImagePixelSize": ["10.000000"],
        "rlnImageSize": ["32"],
        "rlnImageDimensionality": ["3"],
    }


def test_the_inputs_images_stay_where_boxes_are_stacks():
    names = ["000001@S.mrcs", "000002@S.mrcs"]
    view = relion_particles(new_particles(single(halImageName=names), optics=OPTICS))  # type: ignore[arg-type]
    assert view.text("rlnImageName").tolist() == ["old1.mrc", "old2.mrc"]
    assert view.has("rlnCtfImage")
    assert optics_of(view) == OPTICS


def test_boxes_of_unlike_size_are_refused():
    for more in ({"halImagePixelSize": ["10.0", "10.2"]}, {"halImageSize": ["32", "34"]}):
        with pytest.raises(InputError, match="one size and pixel size"):
            relion_particles(new_particles(single(**more), optics=OPTICS))  # type: ignore[arg-type]
    more = {"halImagePixelSize": ["10.00000", "10.00001"]}
    relion_particles(new_particles(single(**more), optics=OPTICS))  # type: ignore[arg-type]


def test_optics_without_groups_are_kept_and_get_one():
    given = {label: values for label, values in OPTICS.items() if label != "rlnOpticsGroup"}
    view = relion_particles(new_particles({"halParticleId": ["T/1"]}, optics=given))
    assert view.text("rlnOpticsGroup").tolist() == ["1"]
    assert optics_of(view) == given | {"rlnOpticsGroup": ["1"]}


def test_groups_without_optics_get_a_row_each():
    columns = {"halParticleId": ["T/1", "T/2", "T/3"], "rlnOpticsGroup": ["2", "1", "2"]}
    view = with_optics(new_particles(columns), microscope(300.0, 2.7))
    assert view.text("rlnOpticsGroup").tolist() == ["2", "1", "2"]
    assert optics_of(view)["rlnOpticsGroup"] == ["1", "2"]
    assert optics_of(view)["rlnVoltage"] == ["300.0", "300.0"]


def test_given_optics_do_not_replace_those_of_the_input():
    table = new_particles({"halParticleId": ["T/1"], "rlnOpticsGroup": ["1"]}, optics=OPTICS)
    assert optics_of(with_optics(table, microscope(300.0, 2.7))) == OPTICS


def test_unknown_voltage_stops_or_is_assumed_with_a_warning(caplog):
    table = new_particles({"halParticleId": ["T/1"]})
    with pytest.raises(InputError, match="RELION needs rlnVoltage and rlnSphericalAberration"):
        relion_particles(table)
    optics = optics_of(relion_particles(table, assume_optics=True))
    assert optics["rlnVoltage"] == ["300.000000"]
    assert "300 kV and 2.7 mm are written" in caplog.text


def test_the_blocks_are_named_as_relion_wants_and_others_stay():
    bare = Table.from_columns("", {"halParticleId": ["T/1"]})
    general = Table.from_columns("general", {"x": ["1"]})
    particles = Particles(Star((bare, general)), "")
    view = relion_particles(particles, assume_optics=True)
    assert [table.name for table in view.star.tables] == ["optics", "particles", "general"]
    assert particles.star.table("") is not None


def test_labels_count_before_predictions():
    columns = {
        "halParticleId": ["a", "b", "c", "d"],
        "halPredictedClass": ["apo", "apo", "none", "junk"],
        "halLabel": ["unlabelled", "holo", "unlabelled", "skip"],
    }
    table = new_particles(columns).with_class_numbers({"junk": 1, "apo": 4})
    assert class_of(table).tolist() == ["apo", "holo", "none", "skip"]
    view = relion_particles(table, assume_optics=True)
    assert view.text("rlnClassNumber").tolist() == ["4", "5", "0", "0"]
    assert view.class_numbers() == {"junk": 1, "apo": 4, "holo": 5}


def cut(**more: object) -> Particles:
    """Two boxes that extract has cut out of a tomogram of 10 A, shifted by 14 A along x."""
    columns = {
        "halTomogramPixelSize": ["10.0", "10.0"],
        "halTomogramFile": ["T.mrc", "T.mrc"],
        "halPositionXAngst": ["204.000", "304.000"],
        "halPositionYAngst": ["96.000", "100.000"],
        "halPositionZAngst": ["50.000", "53.000"],
        **{f"halShift{axis}Angst": [value] * 2 for axis, value in zip("XYZ", SHIFT, strict=True)},
        **more,
    }
    return new_particles(single(**columns), optics=OPTICS)  # type: ignore[arg-type]


SHIFT = ("14.000", "0.000", "0.000")
ORIGINS = [f"rlnOrigin{axis}Angst" for axis in "XYZ"]
COORDINATES = [f"rlnCoordinate{axis}" for axis in "XYZ"]
CENTRED = [f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]


def rows(view: Particles, labels: list[str]) -> list[list[float]]:
    return [[float(view.number(label)[row]) for label in labels] for row in range(len(view))]


def test_coordinates_and_origins_are_those_of_the_boxes():
    # Pixels of 2 A: 95 is 190 A, from which the shift leads to 204 A; the box stands at 200 A.
    coordinates = {
        "rlnCoordinateX": ["95", "145"],
        "rlnCoordinateY": ["48", "50"],
        "rlnCoordinateZ": ["25", "26.5"],
        "rlnOriginX": ["-7", "-7"],
    }
    view = relion_particles(cut(**coordinates))
    assert rows(view, COORDINATES) == [[100, 50, 25], [150, 50, 25]]
    assert rows(view, ORIGINS) == [[-4, 4, 0], [-4, 0, -3]]
    assert not view.has("rlnOriginX")
    # RELION subtracts the origin: both ways lead to the same position.
    places = zip(rows(view, COORDINATES), rows(view, ORIGINS), strict=True)
    for row, (where, origin) in enumerate(places):
        found = [2 * c - o for c, o in zip(where, origin, strict=True)]
        assert found == cut().positions[row].tolist()


def test_centred_coordinates_move_along_and_angles_are_of_the_tomogram():
    columns = {
        **{label: ["0.0", "1.0"] for label in CENTRED},
        **{f"rlnTomoSubtomogram{angle}": ["5", "5"] for angle in ("Rot", "Tilt", "Psi")},
        **{f"rlnAngle{angle}": ["7", "7"] for angle in ("Rot", "Tilt", "Psi")},
        "rlnAngleTiltPrior": ["90", "90"],
        **{f"halAngle{angle}": ["11.0", "12.0"] for angle in ("Rot", "Tilt", "Psi")},
    }
    view = relion_particles(cut(**columns))
    assert rows(view, CENTRED) == [[10, 4, 0], [11, 1, -2]]
    assert rows(view, ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]) == [[11] * 3, [12] * 3]
    assert not any(view.has(name) for name in ("rlnTomoSubtomogramRot", "rlnAngleTiltPrior"))


def test_turned_boxes_have_neither_origin_nor_angle():
    angles = {f"halAngle{angle}": ["11.0", "12.0"] for angle in ("Rot", "Tilt", "Psi")}
    view = relion_particles(cut(halBoxAxes=["particle"] * 2, **angles))
    assert rows(view, ORIGINS) == [[0, 0, 0]] * 2
    assert rows(view, ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]) == [[0, 0, 0]] * 2
    # Where the input has no RELION coordinates, those of RELION 3.1 are given: voxels.
    assert rows(view, COORDINATES) == [[20.4, 9.6, 5], [30.4, 10, 5.3]]
    assert view.text("rlnMicrographName").tolist() == ["T.mrc", "T.mrc"]


def test_groups_of_other_pixels_in_one_tomogram_keep_their_own():
    optics = {label: values * 2 for label, values in OPTICS.items()}
    optics |= {"rlnOpticsGroup": ["1", "2"], "rlnMicrographPixelSize": ["2.0", "5.0"]}
    shifts = {f"halShift{axis}Angst": ["0.000"] * 2 for axis in "XYZ"}
    coordinates = {
        "rlnCoordinateX": ["102", "60.8"],
        "rlnCoordinateY": ["48", "20"],
        "rlnCoordinateZ": ["25", "10.6"],
    }
    particles = cut(**coordinates, **shifts, rlnOpticsGroup=["1", "2"])
    star = particles.star.with_table(Table.from_columns("optics", optics))
    view = relion_particles(Particles(star, particles.block))
    assert rows(view, COORDINATES) == [[100, 50, 25], [60, 20, 10]]
    assert rows(view, ORIGINS) == [[-4, 4, 0], [-4, 0, -3]]


def test_what_the_table_says_of_other_images_goes():
    given = cut(rlnTomoVisibleFrames=["[1]", "[1]"])
    optics = Table.from_columns(
        "optics",
        OPTICS | {"rlnCtfDataAreCtfPremultiplied": ["1"], "rlnTomoSubtomogramBinning": ["2"]},
    )
    general = Table.from_columns("general", {"rlnTomoSubTomosAre2DStacks": ["1"]})
    star = given.star.with_table(optics).with_table(general)
    view = relion_particles(Particles(star, given.block))
    assert optics_of(view)["rlnCtfDataAreCtfPremultiplied"] == ["0"]
    assert "rlnTomoSubtomogramBinning" not in optics_of(view)
    after = view.star.table("general")
    assert after is not None
    assert after.column("rlnTomoSubTomosAre2DStacks") == ["0"]
    assert not view.has("rlnTomoVisibleFrames")
