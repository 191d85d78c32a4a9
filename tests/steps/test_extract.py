"""extract: known voxels in known places, and every way that picks and tomograms can disagree."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from halcmd import console
from halcmd.cli.options import microscope
from halcmd.console import log
from halcmd.errors import DataError, DryRun, InputError, OptionError
from halcmd.formats.mrc import open_volume
from halcmd.formats.mrc_writing import write_volume
from halcmd.formats.star import Star, Table, read_star, write_star
from halcmd.intake.read import read_picks
from halcmd.particles import Particles
from halcmd.steps.extract import ExtractResult, Geometry, Intensity, Split, extract
from halcmd.subtomograms import open_boxes
from halcmd.tables import read_particles

SIZE_ZYX = (40, 48, 56)


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    log.propagate = True
    caplog.set_level(logging.INFO, logger="halcmd")
    yield
    log.propagate = False


@pytest.fixture
def noise(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=SIZE_ZYX).astype(np.float32)


def write_picks(
    path: Path, rows: list[tuple[float, ...]], *, more: str = "", optics: str = "", name: str = "T"
) -> Path:
    head = "".join(f"_rlnCoordinate{axis}\n" for axis in "XYZ")
    names = "".join(f"_{label}\n" for label in more.split())
    text = f"data_particles\nloop_\n_rlnMicrographName\n{head}{names}"
    text += "".join(f"{name} {' '.join(map(str, row))}\n" for row in rows)
    path.write_text((f"data_optics\nloop_\n{optics}\n\n" if optics else "") + text)
    return path


def run(
    tmp_path: Path,
    picks: Path | list[Path],
    tomograms: Path,
    *,
    box: int = 16,
    binning: float = 1.0,
    angpix: float | None = None,
    edge: str = "pad",
    split: Split | None = None,
    unit: str | None = None,
    intensity: Intensity | None = None,
    **options: object,
) -> ExtractResult:
    folder = tmp_path / "Extract"
    folder.mkdir(exist_ok=True)
    paths = picks if isinstance(picks, list) else [picks]
    return extract(
        read_picks(paths, unit=unit),
        [tomograms],
        folder,
        geometry=Geometry(box, binning, angpix, edge),
        intensity=intensity or Intensity(contrast="bright", normalise="none"),
        split=split or Split(),
        **options,  # type: ignore[arg-type]
    )


def boxes_of(result: ExtractResult) -> np.ndarray:
    """The boxes as written, without normalisation on reading."""
    boxes = []
    for name in result.particles.text("halImageName"):
        number, _, path = name.rpartition("@")
        data = np.asarray(open_volume(Path(path)).data)
        boxes.append(data[int(number) - 1] if number else data)
    return np.array(boxes)


def test_the_picked_voxel_lands_in_the_middle(tmp_path, noise):
    noise[20, 30, 40] = 99.0
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    picks = write_picks(tmp_path / "p.star", [(40, 30, 20), (40.4, 29.6, 20.2), (41, 30, 20)])
    result = run(tmp_path, picks, tmp_path / "T.mrc")
    boxes = boxes_of(result)
    assert boxes[0, 8, 8, 8] == boxes[1, 8, 8, 8] == boxes[2, 8, 8, 7] == 99.0
    np.testing.assert_array_equal(boxes[0], noise[12:28, 22:38, 32:48])
    assert result.summary() == {
        "read": 3,
        "kept": 3,
        "dropped": 0,
        "output": str(tmp_path / "Extract" / "particles.star"),
    }


def test_the_table_says_what_was_cut_from_where(tmp_path, noise):
    write_volume(tmp_path / "rec_T_10.00Apx.mrc", noise, 10.0)
    picks = write_picks(tmp_path / "p.star", [(40.4, 30, 20)], name="T.tomostar")
    table = run(tmp_path, picks, tmp_path, tilt_range=(-60.0, 57.5)).particles
    row = {label: table.text(label)[0] for label in table.table.labels}
    assert row["rlnMicrographName"] == "T.tomostar"
    assert row["halTomogram"] == "T"
    assert row["halParticleId"] == "T/000001"
    assert row["halTomogramFile"] == str(tmp_path / "rec_T_10.00Apx.mrc")
    assert row["halImageName"] == f"000001@{tmp_path}/Extract/Subtomograms/T.mrcs"
    numbers = {
        "halPositionXAngst": 404.0,
        "halPositionYAngst": 300.0,
        "halPositionZAngst": 200.0,
        "halTiltMin": -60.0,
        "halTiltMax": 57.5,
        "halImagePixelSize": 10.0,
        "halImageSize": 16,
        "halPaddedFraction": 0.0,
    }
    assert {name: float(row[name]) for name in numbers} == numbers


def test_a_box_beyond_the_edge_is_filled_with_the_mean_of_the_inside(tmp_path, noise):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    result = run(
        tmp_path, write_picks(tmp_path / "p.star", [(2, 30, 20), (54, 30, 34)]), tmp_path / "T.mrc"
    )
    first, second = boxes_of(result)
    inside = noise[12:28, 22:38, 0:10]
    np.testing.assert_array_equal(first[:, :, 6:], inside)
    np.testing.assert_allclose(first[:, :, :6], inside.mean(dtype=np.float64), rtol=1e-6)
    assert first.mean(dtype=np.float64) == pytest.approx(inside.mean(dtype=np.float64), abs=1e-6)
    np.testing.assert_array_equal(second[:14, :, :10], noise[26:40, 22:38, 46:56])
    padded = result.particles.number("halPaddedFraction")
    assert padded == pytest.approx([6 / 16, 1 - 14 * 10 / 256], abs=5e-5)


def test_half_maps_are_averaged(tmp_path, noise):
    other = np.roll(noise, 3, axis=1)
    write_volume(tmp_path / "h1.mrc", noise, 10.0)
    write_volume(tmp_path / "h2.mrc", other, 10.0)
    halves = {f"rlnTomoReconstructedTomogramHalf{half}": [f"h{half}.mrc"] for half in (1, 2)}
    columns = {"rlnTomoName": ["T"], "rlnTomoTiltSeriesPixelSize": ["10"]} | halves
    path = tmp_path / "tomograms.star"
    write_star(path, Star((Table.from_columns("global", columns),)))
    result = run(tmp_path, write_picks(tmp_path / "p.star", [(20, 21, 22)]), path)
    expected = (noise + other)[14:30, 13:29, 12:28] / 2
    np.testing.assert_allclose(boxes_of(result)[0], expected, atol=1e-6)


ANGLES = "rlnAngleRot rlnAngleTilt rlnAnglePsi"


def test_a_quarter_turn_of_the_pick_turns_the_box(tmp_path, noise):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    picks = write_picks(tmp_path / "p.star", [(20, 21, 22, 90, 0, 0)], more=ANGLES)
    result = run(tmp_path, picks, tmp_path / "T.mrc", apply_orientations=True)
    # RELION: rot = 90 turns the reference's x to -y, so the box's +x runs along -y.
    upright = noise[14:31, 13:30, 12:29]
    x_along_minus_y = np.array([[upright[:, 16 - x, y] for x in range(16)] for y in range(16)])
    expected = np.moveaxis(x_along_minus_y, 2, 0)[:16]
    np.testing.assert_allclose(boxes_of(result)[0], expected, atol=2e-5)
    table = result.particles
    assert table.text("halBoxAxes").tolist() == ["particle"]
    assert table.text("halAngleRot").tolist() == ["90.0000"]
    assert table.text("halTiltMin").tolist() == ["nan"]


def test_turned_boxes_stand_at_the_exact_position(tmp_path):
    z, y, x = np.indices(SIZE_ZYX)
    blob = np.exp(-((x - 20.25) ** 2 + (y - 21.5) ** 2 + (z - 22.75) ** 2) / 8)
    write_volume(tmp_path / "T.mrc", blob.astype(np.float32), 10.0)
    picks = write_picks(tmp_path / "p.star", [(20.25, 21.5, 22.75, 10, 20, 30)], more=ANGLES)
    result = run(tmp_path, picks, tmp_path / "T.mrc", apply_orientations=True)
    axis = np.arange(16) - 8
    radius = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    np.testing.assert_allclose(boxes_of(result)[0], np.exp(-radius / 8), atol=2e-3)


def test_picks_without_orientations_cannot_be_turned(tmp_path, noise):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    picks = write_picks(tmp_path / "p.star", [(20, 21, 22)])
    with pytest.raises(OptionError, match="no orientations") as error:
        run(tmp_path, picks, tmp_path / "T.mrc", apply_orientations=True)
    assert "leave out --apply-orientations" in str(error.value.hint)


def test_shifts_and_orientations_survive_a_second_extraction(tmp_path, noise):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    labels = f"rlnOriginXAngst rlnOriginYAngst rlnOriginZAngst {ANGLES}"
    picks = write_picks(tmp_path / "p.star", [(20, 21, 22, 12, -7, 3, 10, 20, 30)], more=labels)
    first = run(tmp_path, picks, tmp_path / "T.mrc").particles
    again = run(tmp_path, tmp_path / "Extract" / "particles.star", tmp_path / "T.mrc").particles
    names = ["halShiftXAngst", "halShiftYAngst", "halShiftZAngst", "halPositionXAngst"]
    names += ["halAngleRot", "halAngleTilt", "halAnglePsi"]
    expected = ["-12.000", "7.000", "-3.000", "188.000", "10.0000", "20.0000", "30.0000"]
    for table in (first, again):
        assert [table.text(name)[0] for name in names] == expected


def test_dropped_rows_are_counted_and_kept_with_their_reason(tmp_path, noise, caplog):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    rows = [(40, 30, 20, "a"), (60, 30, 20, "b"), (0, 0, 20, "c"), (20, 20, -1, "d")]
    picks = write_picks(tmp_path / "p.star", rows, more="rlnGroupName")
    result = run(tmp_path, picks, tmp_path / "T.mrc")
    assert (result.read, len(result.particles), result.dropped) == (4, 1, 3)
    dropped = read_particles([tmp_path / "Extract" / "dropped.star"])
    assert dropped.text("rlnGroupName").tolist() == ["b", "c", "d"]
    assert dropped.text("halDropReason").tolist() == [
        "centre-outside-tomogram",
        "more-than-half-outside",
        "centre-outside-tomogram",
    ]
    assert dropped.ids.tolist() == ["T/000002", "T/000003", "T/000004"]
    assert result.particles.ids.tolist() == ["T/000001"]
    assert "2 centre-outside-tomogram, 1 more-than-half-outside" in caplog.text


@pytest.mark.parametrize("position", [(2, 30, 20), (60, 30, 20)])
def test_edge_error_stops_and_edge_drop_drops(tmp_path, noise, position):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    picks = write_picks(tmp_path / "p.star", [(40, 30, 20), position])
    with pytest.raises(InputError, match="reaches out") as error:
        run(tmp_path, picks, tmp_path / "T.mrc", edge="error")
    assert "T/000002" in str(error.value.found)
    assert run(tmp_path, picks, tmp_path / "T.mrc", edge="drop").dropped == 1


def test_nothing_left_is_an_error(tmp_path, noise):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    picks = write_picks(tmp_path / "p.star", [(2, 30, 20)])
    with pytest.raises(InputError, match="no pick is left"):
        run(tmp_path, picks, tmp_path / "T.mrc", edge="drop")


def gaussian(size: int, centre: float, sigma: float) -> np.ndarray:
    axis = np.arange(size) - centre
    squared = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    return np.exp(-squared / (2 * sigma**2)).astype(np.float32)


@pytest.mark.parametrize(("layout", "voltage"), [("stack", None), ("single", 300.0)])
def test_binning_samples_a_smooth_blob_and_keeps_its_centre(tmp_path, layout, voltage):
    write_volume(tmp_path / "T.mrc", gaussian(64, 32, 4.0), 10.0)
    picks = write_picks(tmp_path / "p.star", [(32, 32, 32)])
    result = run(
        tmp_path,
        picks,
        tmp_path / "T.mrc",
        binning=2.5,
        layout=layout,
        optics=microscope(voltage, voltage and 2.7),
    )
    np.testing.assert_allclose(boxes_of(result)[0], gaussian(16, 8, 4.0 / 2.5), atol=2e-4)
    path = Path(result.particles.text("halImageName")[0].rsplit("@", 1)[-1])
    assert open_volume(path).pixel_size == pytest.approx(25.0)
    assert result.particles.number("halImagePixelSize")[0] == pytest.approx(25.0)
    assert open_boxes(result.particles).pixel_size == pytest.approx(25.0)


def test_the_pixel_size_is_that_of_the_even_source_box(tmp_path, noise):
    write_volume(tmp_path / "T.mrc", noise, 7.84)
    picks = write_picks(tmp_path / "p.star", [(28, 24, 20)])
    result = run(tmp_path, picks, tmp_path / "T.mrc", angpix=10.0)
    source = 20  # the even number nearest to 16 * 10 / 7.84
    assert result.particles.number("halImagePixelSize")[0] == pytest.approx(7.84 * source / 16)
    path = Path(result.particles.text("halImageName")[0].rsplit("@", 1)[-1])
    assert open_volume(path).pixel_size == pytest.approx(7.84 * source / 16, abs=1e-4)


def test_dark_protein_is_written_bright(tmp_path, noise, caplog):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    picks = write_picks(tmp_path / "p.star", [(40, 30, 20)])
    result = run(tmp_path, picks, tmp_path / "T.mrc", intensity=Intensity("dark", normalise="none"))
    np.testing.assert_array_equal(boxes_of(result)[0], -noise[12:28, 22:38, 32:48])
    assert result.particles.text("halContrast")[0] == "bright"
    assert not caplog.records or "contrast unknown" not in caplog.text


def test_unknown_contrast_is_written_as_it_is_with_a_warning(tmp_path, noise, caplog):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    picks = write_picks(tmp_path / "p.star", [(40, 30, 20)])
    result = run(tmp_path, picks, tmp_path / "T.mrc", intensity=Intensity(normalise="none"))
    np.testing.assert_array_equal(boxes_of(result)[0], noise[12:28, 22:38, 32:48])
    assert result.particles.text("halContrast")[0] == "unknown"
    assert "contrast unknown" in caplog.text


def test_the_background_outside_the_radius_becomes_0_and_1(tmp_path, noise):
    write_volume(tmp_path / "T.mrc", 3.0 * noise + gaussian(80, 40, 4)[:40, :48, :56] + 7, 10.0)
    picks = write_picks(tmp_path / "p.star", [(40, 30, 20)])
    result = run(
        tmp_path, picks, tmp_path / "T.mrc", intensity=Intensity("bright", background_radius=6)
    )
    axis = np.arange(16) - 8
    outside = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 > 36
    values = boxes_of(result)[0][outside].astype(np.float64)
    assert values.mean() == pytest.approx(0, abs=1e-6)
    assert values.std() == pytest.approx(1, abs=1e-6)


def test_lowpass_removes_a_fine_wave_and_keeps_a_coarse_one(tmp_path):
    x = np.arange(64)
    fine, coarse = np.cos(2 * np.pi * x / 4), np.cos(2 * np.pi * x / 16)
    volume = np.broadcast_to(fine + coarse, (64, 64, 64)).astype(np.float32)
    write_volume(tmp_path / "T.mrc", volume, 10.0)
    picks = write_picks(tmp_path / "p.star", [(32, 32, 32)])
    intensity = Intensity("bright", "none", lowpass=80.0)
    result = run(tmp_path, picks, tmp_path / "T.mrc", box=32, intensity=intensity)
    np.testing.assert_allclose(boxes_of(result)[0, 5, 5], coarse[16:48], atol=1e-5)


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "no numbers"), (np.inf, "no numbers"), (3.7, "constant")]
)
@pytest.mark.parametrize("binning", [1.0, 1.375])
def test_boxes_without_values_stop_and_name_the_particle(tmp_path, noise, value, message, binning):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    voxels = np.memmap(tmp_path / "T.mrc", np.float32, "r+", offset=1024, shape=SIZE_ZYX)
    voxels[:, 24:, :] = value
    voxels.flush()
    picks = write_picks(tmp_path / "p.star", [(28, 11, 20), (28, 37, 20)])
    for normalise in ("zscore", "none"):
        with pytest.raises(DataError, match=message) as error:
            run(
                tmp_path,
                picks,
                tmp_path / "T.mrc",
                binning=binning,
                intensity=Intensity("bright", normalise),
            )
        assert "T/000002" in str(error.value.found)
        assert "T/000001" not in str(error.value.found)
        assert not (tmp_path / "Extract" / "particles.star").exists()


@pytest.mark.parametrize("header", [0.0, 1.0])
def test_a_header_without_pixel_size_needs_the_option(tmp_path, noise, header, caplog):
    write_volume(tmp_path / "T.mrc", noise, header)
    picks = write_picks(tmp_path / "p.star", [(40, 30, 20)])
    with pytest.raises(InputError, match="no pixel size") as error:
        run(tmp_path, picks, tmp_path / "T.mrc")
    assert "--tomo-angpix" in str(error.value.hint)
    assert "not set" in caplog.text
    result = run(tmp_path, picks, tmp_path / "T.mrc", tomogram_pixel_size=8.0)
    assert result.particles.number("halPositionXAngst")[0] == 320.0


def tomograms_star(folder: Path, *, size: float, binning: float, more: str = "") -> Path:
    labels = "rlnTomoName rlnTomoTiltSeriesPixelSize rlnTomoTomogramBinning "
    labels += "rlnTomoReconstructedTomogram rlnVoltage rlnSphericalAberration"
    head = "".join(f"_{label}\n" for label in labels.split())
    text = f"data_global\nloop_\n{head}T {size} {binning} T.mrc 300.0 2.7{more}\n"
    (folder / "tomograms.star").write_text(text)
    return folder / "tomograms.star"


def test_tomograms_star_and_header_must_agree(tmp_path, noise, caplog):
    write_volume(tmp_path / "T.mrc", noise, 12.0)
    picks = write_picks(tmp_path / "p.star", [(40, 30, 20)])
    star = tomograms_star(tmp_path, size=1.35, binning=7.407407)
    with pytest.raises(InputError, match="contradict") as error:
        run(tmp_path, picks, star)
    assert "= 10 A" in str(error.value.found)
    assert "= 12 A" in str(error.value.found)
    result = run(tmp_path, picks, star, tomogram_pixel_size=12.0)
    assert result.particles.number("halPositionXAngst")[0] == 480.0
    assert "wins over tomograms.star = 10" in caplog.text


def test_tomograms_star_stands_in_for_a_header_of_1(tmp_path, noise, caplog):
    write_volume(tmp_path / "T.mrc", noise, 1.0)
    picks = write_picks(tmp_path / "p.star", [(40, 30, 20)])
    result = run(tmp_path, picks, tomograms_star(tmp_path, size=1.35, binning=7.407407))
    assert result.particles.number("halPositionXAngst")[0] == pytest.approx(400.0, abs=0.01)
    assert "not set" in caplog.text
    optics = result.particles.star.table("optics")
    assert optics is not None
    assert optics.column("rlnVoltage") == ["300.0"]


def test_a_wrong_bin_factor_is_named(tmp_path, noise, caplog):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    bin_1 = [(4.0 * x, 4.0 * y, 100) for x in range(30, 49) for y in range(26, 41)]
    picks = write_picks(tmp_path / "p.star", bin_1)
    with pytest.raises(InputError, match="all picks lie outside") as error:
        run(tmp_path, picks, tmp_path / "T.mrc")
    assert "0.25" in str(error.value.hint)
    assert "--coords-angpix 2.5" in str(error.value.hint)
    assert run(tmp_path, picks, tmp_path / "T.mrc", coords_pixel_size=2.5).dropped == 0
    corner = [(x / 3, y / 3, 20) for x in range(40, 54) for y in range(26, 46)]
    run(tmp_path, write_picks(tmp_path / "c.star", corner), tmp_path / "T.mrc")
    assert "one corner" in caplog.text
    assert "--coords-angpix 30" in caplog.text


OPTICS = "_rlnOpticsGroup\n_rlnImagePixelSize\n_rlnVoltage\n_rlnSphericalAberration\n1 {} 300.0 2.7"


def test_two_readings_that_both_fit_stop(tmp_path, noise):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    picks = write_picks(
        tmp_path / "p.star", [(40, 30, 20, 1)], more="rlnOpticsGroup", optics=OPTICS.format("5.0")
    )
    with pytest.raises(InputError, match="several ways") as error:
        run(tmp_path, picks, tmp_path / "T.mrc")
    assert "--coords-angpix 5 or --coords-angpix 10" in str(error.value.hint)
    result = run(tmp_path, picks, tmp_path / "T.mrc", coords_pixel_size=5.0)
    assert result.particles.number("halPositionXAngst")[0] == 200.0


def test_of_two_readings_the_one_that_fits_is_taken(tmp_path, noise):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    picks = write_picks(
        tmp_path / "p.star", [(80, 60, 40, 1)], more="rlnOpticsGroup", optics=OPTICS.format("5.0")
    )
    result = run(tmp_path, picks, tmp_path / "T.mrc")
    assert result.particles.number("halPositionXAngst")[0] == 400.0


def test_the_inputs_own_rows_and_digits_stay(tmp_path, noise):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    rows = [(40, 30, 20.10000, 1, "0.12345678901234567"), (30, 30, 20, 1, "[1,0,1]")]
    optics = OPTICS.format("10.00")
    picks = write_picks(tmp_path / "p.star", rows, more="rlnOpticsGroup wrpThing", optics=optics)
    before = read_star(picks)
    run(tmp_path, picks, tmp_path / "T.mrc")
    after = read_star(tmp_path / "Extract" / "particles.star")
    for old in before.tables:
        new = after.table(old.name)
        assert new is not None
        assert new.labels[: len(old.labels)] == old.labels
        for label in old.labels:
            assert new.column(label) == old.column(label)


def test_a_bare_block_stays_a_bare_block(tmp_path, noise):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    picks = write_picks(tmp_path / "p.star", [(40, 30, 20)])
    picks.write_text(picks.read_text().replace("data_particles", "data_"))
    run(tmp_path, picks, tomograms_star(tmp_path, size=10.0, binning=1))
    assert read_star(tmp_path / "Extract" / "particles.star").table("") is not None


def test_every_field_of_a_csv_file_is_kept(tmp_path, noise):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    (tmp_path / "p.csv").write_text("x,y,z,my score\n40,30,20,0.5\n41,30,20,0.6\n")
    result = run(tmp_path, tmp_path / "p.csv", tmp_path / "T.mrc")
    assert result.particles.text("halSourceMyScore").tolist() == ["0.5", "0.6"]
    assert result.particles.text("halSourceX").tolist() == ["40", "41"]
    assert result.particles.number("halPositionXAngst").tolist() == [400.0, 410.0]


@pytest.mark.parametrize(
    ("unit", "row"),
    [
        ("voxel", (40, 30, 20)),
        ("angstrom", (400, 300, 200)),
        ("centred_angstrom", (120, 60, 0)),
        ("normalised", (40 / 56, 30 / 48, 20 / 40)),
    ],
)
def test_every_unit_of_coordinates_reaches_the_same_voxel(tmp_path, noise, unit, row):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    result = run(tmp_path, write_picks(tmp_path / "p.star", [row]), tmp_path / "T.mrc", unit=unit)
    np.testing.assert_array_equal(boxes_of(result)[0], noise[12:28, 22:38, 32:48])


def test_extracted_particles_can_be_extracted_again(tmp_path, noise):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    picks = write_picks(
        tmp_path / "p.star", [(40, 30, 20, 4.0), (20, 20, 20, 0.0)], more="rlnOriginXAngst"
    )
    first = run(tmp_path, picks, tmp_path / "T.mrc").particles
    (tmp_path / "again").mkdir()
    particles = tmp_path / "Extract" / "particles.star"
    second = run(tmp_path / "again", particles, tmp_path / "T.mrc", box=8).particles
    assert second.ids.tolist() == first.ids.tolist()
    np.testing.assert_allclose(second.positions, first.positions)
    assert second.number("halImageSize").tolist() == [8, 8]
    assert second.number("halPositionXAngst").tolist() == [396.0, 200.0]


def test_without_origins_the_coordinates_are_taken_as_they_are(tmp_path, noise):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    picks = write_picks(tmp_path / "p.star", [(40, 30, 20, 40.0)], more="rlnOriginXAngst")
    result = run(tmp_path, picks, tmp_path / "T.mrc", apply_origins=False)
    assert result.particles.number("halPositionXAngst")[0] == 400.0


def test_origins_of_a_real_refinement_are_subtracted(tmp_path, shared):
    picks = shared / "star" / "r31_refined_hiv.star"
    volume = np.zeros((100, 250, 100), dtype=np.float32)
    volume[:] = np.random.default_rng(0).normal(size=volume.shape)
    write_volume(tmp_path / "TS_01.mrc", volume, 20.0)
    result = run(tmp_path, picks, tmp_path / "TS_01.mrc", box=8, coords_pixel_size=5.0)
    assert result.dropped == 0
    star = result.particles
    for axis in "XYZ":
        expected = 5.0 * star.number(f"rlnCoordinate{axis}") - star.number(f"rlnOrigin{axis}Angst")
        np.testing.assert_allclose(star.number(f"halPosition{axis}Angst"), expected, atol=6e-4)


def test_files_are_joined_and_their_names_can_be_the_labels(tmp_path, noise):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    a = write_picks(tmp_path / "ribosome.star", [(40, 30, 20)])
    b = write_picks(tmp_path / "junk.star", [(20, 20, 20), (30, 20, 20)])
    table = run(tmp_path, [a, b], tmp_path / "T.mrc", label_by_file=True).particles
    assert table.labels.tolist() == ["ribosome", "junk", "junk"]
    assert table.ids.tolist() == ["T/000001", "T/000002", "T/000003"]
    c = write_picks(tmp_path / "70S.star", [(40, 30, 20)])
    with pytest.raises(InputError, match="no class name"):
        run(tmp_path, [a, c], tmp_path / "T.mrc", label_by_file=True)


def test_files_of_another_kind_are_not_joined(tmp_path, noise):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    a = write_picks(tmp_path / "a.star", [(40, 30, 20)])
    (tmp_path / "b.csv").write_text("x,y,z\n1,2,3\n")
    with pytest.raises(OptionError, match="differ in format"):
        run(tmp_path, [a, tmp_path / "b.csv"], tmp_path / "T.mrc")


def test_picks_that_are_there_twice_are_warned_of(tmp_path, noise, caplog):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    once = write_picks(tmp_path / "a.star", [(40, 30, 20), (20, 20, 20)])
    near = write_picks(tmp_path / "b.star", [(40.6, 30, 20), (22, 20, 20)])
    run(tmp_path, once, tmp_path / "T.mrc")
    assert "within a voxel" not in caplog.text
    for path in sorted((tmp_path / "Extract").rglob("*.*")):
        path.unlink()
    run(tmp_path, [once, near], tmp_path / "T.mrc")
    assert "2 of 4 picks stand within a voxel of another one" in caplog.text


def test_few_picks_in_one_corner_of_each_tomogram_are_a_warning(tmp_path, noise, caplog):
    paths = []
    for number in range(3):
        write_volume(tmp_path / f"T{number}.mrc", noise, 10.0)
        rows = [(4.0 + place, 3.0 + place, 20 + number) for place in range(8)]
        paths.append(write_picks(tmp_path / f"{number}.star", rows, name=f"T{number}"))
    text = "".join(path.read_text().split("_rlnCoordinateZ\n")[1] for path in paths)
    head = paths[0].read_text().split("_rlnCoordinateZ\n")[0]
    (tmp_path / "all.star").write_text(f"{head}_rlnCoordinateZ\n{text}")
    run(tmp_path, tmp_path / "all.star", tmp_path)
    assert "the picks of all 3 tomograms with few of them lie in one corner" in caplog.text
    assert "--coords-angpix" in caplog.text


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_few_picks_all_over_or_in_shares_of_the_tomogram_are_in_no_corner(
    tmp_path, noise, caplog, scale
):
    rows = ""
    for number in range(3):
        write_volume(tmp_path / f"T{number}.mrc", noise, 10.0)
        rows += "".join(
            f"T{number} {scale * (6 + 6 * at):g} {scale * (44 - 5 * at):g} {scale * 20:g}\n"
            for at in range(8)
        )
    head = "data_particles\nloop_\n_rlnMicrographName\n"
    head += "".join(f"_rlnCoordinate{axis}\n" for axis in "XYZ")
    (tmp_path / "all.star").write_text(head + rows)
    if scale < 1:
        with pytest.raises(InputError, match="no pick is left"):
            run(tmp_path, tmp_path / "all.star", tmp_path)
    else:
        run(tmp_path, tmp_path / "all.star", tmp_path)
    assert "corner" not in caplog.text
    assert ("--coords normalised" in caplog.text) == (scale < 1)


def test_a_missing_tomogram_is_named(tmp_path, noise):
    write_volume(tmp_path / "TS_01.mrc", noise, 10.0)
    picks = write_picks(tmp_path / "p.star", [(40, 30, 20)], name="TS_02")
    with pytest.raises(InputError, match="no tomogram for TS_02") as error:
        run(tmp_path, picks, tmp_path / "TS_01.mrc")
    assert "there is only TS_01.mrc; --tomograms takes" in error.value.hint


def test_every_box_comes_from_its_own_tomogram(tmp_path, rng):
    volumes = {name: rng.normal(size=(20, 20, 20)).astype(np.float32) for name in ("a", "b", "c")}
    for name, volume in volumes.items():
        write_volume(tmp_path / f"{name}.mrc", volume, 10.0)
    order = ["b", "a", "c", "a", "b", "c", "c"]
    places = [(8 + n % 4, 10, 9) for n in range(len(order))]
    lines = [f"{n} {' '.join(map(str, p))}" for n, p in zip(order, places, strict=True)]
    head = "data_\nloop_\n_rlnTomoName\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n"
    (tmp_path / "p.star").write_text(head + "\n".join(lines) + "\n")
    result = run(tmp_path, tmp_path / "p.star", tmp_path, box=4)
    for name, (x, y, z), box in zip(order, places, boxes_of(result), strict=True):
        expected = volumes[name][z - 2 : z + 2, y - 2 : y + 2, x - 2 : x + 2]
        np.testing.assert_array_equal(box, expected)
    assert result.particles.text("rlnTomoName").tolist() == order


def test_singles_come_with_a_table_for_relion(tmp_path, noise):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    picks = write_picks(tmp_path / "p.star", [(40, 30, 20), (20, 20, 20)])
    result = run(
        tmp_path,
        picks,
        tmp_path / "T.mrc",
        binning=1.25,
        layout="single",
        optics=microscope(200.0, 1.4),
    )
    star = read_star(tmp_path / "Extract" / "relion.star")
    assert [table.name for table in star.tables][:2] == ["optics", "particles"]
    optics, particles = star.tables[:2]
    assert {label: float(optics.column(label)[0]) for label in optics.labels[2:]} == {
        "rlnVoltage": 200.0,
        "rlnSphericalAberration": 1.4,
        "rlnImagePixelSize": 12.5,
        "rlnImageSize": 16,
        "rlnImageDimensionality": 3,
    }
    names = particles.column("rlnImageName")
    assert names == result.particles.text("halImageName").tolist()
    assert names[0].endswith("Subtomograms/T_000001.mrc")
    for name in names:
        assert open_volume(Path(name)).pixel_size == pytest.approx(12.5)


def test_singles_that_would_go_into_one_file_are_refused_before_the_first_box(tmp_path, noise):
    for name in ("细胞", "样本"):
        write_volume(tmp_path / f"{name}.mrc", noise, 10.0)
    paths = [
        write_picks(tmp_path / f"{number}.star", [(40, 30, 20)], name=name)
        for number, name in enumerate(("细胞", "样本"))
    ]
    with pytest.raises(InputError, match="written to the same file") as error:
        run(tmp_path, paths, tmp_path, layout="single", optics=microscope(300.0, 2.7))
    assert "names of tomograms" in error.value.hint
    assert not list((tmp_path / "Extract").iterdir())


def test_singles_without_voltage_stop_before_the_first_box(tmp_path, noise):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    picks = write_picks(tmp_path / "p.star", [(40, 30, 20)])
    with pytest.raises(InputError, match="RELION needs rlnVoltage"):
        run(tmp_path, picks, tmp_path / "T.mrc", layout="single")
    assert not list((tmp_path / "Extract").iterdir())


def test_singles_of_nearly_the_same_pixel_size_go_into_one_table(tmp_path, noise):
    write_volume(tmp_path / "a.mrc", noise, 10.0)
    write_volume(tmp_path / "b.mrc", noise, 10.001)
    paths = [write_picks(tmp_path / f"{n}.star", [(40, 30, 20)], name=n) for n in "ab"]
    run(tmp_path, paths, tmp_path, layout="single", optics=microscope(300.0, 2.7))
    write_volume(tmp_path / "b.mrc", noise, 12.0)
    for path in sorted((tmp_path / "Extract").rglob("*.*")):
        path.unlink()
    with pytest.raises(InputError, match="one size and pixel size"):
        run(tmp_path, paths, tmp_path, layout="single", optics=microscope(300.0, 2.7))
    assert not list((tmp_path / "Extract").rglob("*.*"))


def test_half_precision_is_half_the_size(tmp_path, noise):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    picks = write_picks(tmp_path / "p.star", [(40, 30, 20)])
    result = run(tmp_path, picks, tmp_path / "T.mrc", float16=True)
    np.testing.assert_allclose(boxes_of(result)[0], noise[12:28, 22:38, 32:48], atol=2e-3)
    path = Path(result.particles.text("halImageName")[0].rsplit("@", 1)[-1])
    assert path.stat().st_size == 1024 + 2 * 16**3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"box": 15}, "even"),
        ({"box": 2}, "even"),
        ({"binning": 2.0, "angpix": 20.0}, "exclude each other"),
        ({"binning": 0.5}, "at least 1"),
        ({"angpix": 5.0}, "finer than the tomogram"),
        ({"intensity": Intensity("bright", background_radius=9)}, "--bg-radius"),
        ({"split": Split(1.0)}, "--test-fraction"),
    ],
)
def test_impossible_options_stop(tmp_path, noise, options, message):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    picks = write_picks(tmp_path / "p.star", [(40, 30, 20)])
    with pytest.raises(OptionError, match=message):
        run(tmp_path, picks, tmp_path / "T.mrc", **options)
    assert not list((tmp_path / "Extract").iterdir())


def test_a_dry_run_writes_nothing(tmp_path, noise):
    write_volume(tmp_path / "T.mrc", noise, 10.0)
    picks = write_picks(tmp_path / "p.star", [(40, 30, 20), (60, 30, 20)])
    console.configure(dry_run=True)
    with pytest.raises(DryRun, match="kept 1  dropped 1"):
        run(tmp_path, picks, tmp_path / "T.mrc")
    assert not list((tmp_path / "Extract").iterdir())


def microtubule(shared: Path, tmp_path: Path, **options: object) -> Particles:
    folder = shared / "real" / "microtubule"
    return run(
        tmp_path,
        folder / "picks.star",
        folder / "13pf_MT.mrc",
        intensity=Intensity("bright"),
        **options,  # type: ignore[arg-type]
    ).particles


def test_microtubule_boxes_show_more_density_than_the_background(tmp_path, shared):
    table = microtubule(shared, tmp_path, box=24, edge="pad")
    assert len(table) + len(read_star(shared / "real/microtubule/picks.star").tables[0]) > 60
    raw = np.asarray(open_volume(shared / "real/microtubule/13pf_MT.mrc").data, dtype=np.float32)
    x, y, z = np.rint(table.positions[5] / 10.52).astype(int)
    box = open_boxes(table).read(np.array([5]))[0]
    inside = raw[z - 12 : z + 12, y - 12 : y + 12, x - 12 : x + 12]
    if inside.shape == (24, 24, 24):
        np.testing.assert_allclose(box, (inside - inside.mean()) / inside.std(), atol=1e-4)
    names = table.text("rlnGroupName")
    boxes = open_boxes(table).read(np.arange(len(table)))
    # The wall of the microtubule, 12 voxels from its axis, makes its boxes differ from noise.
    spread = boxes.mean(axis=1).std(axis=(1, 2))
    assert spread[names == "microtubule"].mean() > 1.2 * spread[names == "background"].mean()


def test_a_test_region_is_one_end_of_the_tomogram(tmp_path, shared):
    table = microtubule(shared, tmp_path, box=16, split=Split(0.25, "region"))
    share = table.is_test.mean()
    assert 0.15 < share <= 0.3
    along = table.number("halPositionYAngst")
    test, pool = along[table.is_test], along[~table.is_test]
    assert test.min() > pool.max() or test.max() < pool.min()


def test_one_tomogram_cannot_be_split_by_tomogram(tmp_path, shared):
    with pytest.raises(InputError, match="one tomogram") as error:
        microtubule(shared, tmp_path, box=16, split=Split(0.25, "tomogram"))
    assert "--test-by region" in str(error.value.hint)


@pytest.mark.parametrize("voxel", [10.0, 5.4, 13.52, 11.8277, 7.3381])
def test_a_single_box_is_that_of_its_coordinate_in_relions_table(tmp_path, rng, voxel):
    volume = rng.normal(size=(60, 60, 60)).astype(np.float32)
    write_volume(tmp_path / "T.mrc", volume, voxel)
    rows = [tuple(place + 0.5) for place in rng.integers(10, 48, (40, 3)).astype(float)]
    optics = "_rlnOpticsGroup\n_rlnVoltage\n_rlnSphericalAberration\n_rlnMicrographPixelSize\n"
    picks = write_picks(tmp_path / "p.star", rows, optics=f"{optics}1 300 2.7 {voxel}")
    result = run(tmp_path, picks, tmp_path / "T.mrc", box=8, layout="single")
    view = read_particles([tmp_path / "Extract" / "relion.star"])
    assert result.read == len(view) == 40
    for row, name in enumerate(view.text("rlnImageName")):
        x, y, z = (view.number(f"rlnCoordinate{axis}")[row] for axis in "XYZ")
        assert (x % 1, y % 1, z % 1) == (0, 0, 0)
        place = tuple(slice(int(v) - 4, int(v) + 4) for v in (z, y, x))
        np.testing.assert_array_equal(open_volume(Path(name)).data, volume[place])


def test_tomograms_of_two_microscopes_make_two_optics_groups(tmp_path, noise):
    for name in ("A", "B"):
        write_volume(tmp_path / f"{name}.mrc", noise, 10.0)
    columns = {
        "rlnTomoName": ["A", "B"],
        "rlnTomoTiltSeriesPixelSize": ["10", "10"],
        "rlnTomoReconstructedTomogram": ["A.mrc", "B.mrc"],
        "rlnVoltage": ["300", "200.0"],
        "rlnSphericalAberration": ["2.7", "1.4"],
    }
    path = tmp_path / "tomograms.star"
    write_star(path, Star((Table.from_columns("global", columns),)))
    text = "data_\nloop_\n_rlnTomoName\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n"
    (tmp_path / "p.star").write_text(f"{text}A 20 20 20\nB 20 21 20\nA 21 20 20\n")
    run(tmp_path, tmp_path / "p.star", path, layout="single")
    view = read_star(tmp_path / "Extract" / "relion.star")
    optics, particles = view.table("optics"), view.table("particles")
    assert optics is not None
    assert particles is not None
    assert particles.column("rlnOpticsGroup") == ["1", "2", "1"]
    assert [float(text) for text in optics.column("rlnVoltage")] == [300, 200]
    assert [float(text) for text in optics.column("rlnSphericalAberration")] == [2.7, 1.4]
    assert (tmp_path / "Extract" / "relion.star").read_text().count("# version") >= 2
