from collections.abc import Sequence
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from halcmd.cropping import outside_radius
from halcmd.errors import DataError, InputError
from halcmd.formats.mrc_writing import write_singles, write_stack, write_volume
from halcmd.particles import Particles, new_particles
from halcmd.subtomograms import open_boxes, standardise
from halcmd.tables import read_particles


def table(names: Sequence[str], **more: Sequence[object]) -> Particles:
    ids = [f"T/{n}" for n in range(1, len(names) + 1)]
    return new_particles({"halParticleId": ids, "halImageName": list(names), **more})


def stack(folder: Path, boxes: np.ndarray, name: str = "T.mrcs", size: float = 10.0) -> list[str]:
    return write_stack(folder / name, [boxes], len(boxes), boxes.shape[-1], pixel_size=size)


@pytest.fixture
def noise(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(5.0, 3.0, size=(6, 8, 8, 8)).astype(np.float32)


def test_rows_are_read_in_any_order_each_with_mean_0_and_sd_1(tmp_path, noise):
    boxes = open_boxes(table(stack(tmp_path, noise)))
    rows = np.array([4, 0, 4])
    read = boxes.read(rows)
    assert read.dtype == np.float32
    assert read.shape == (3, 8, 8, 8)
    for box, row in zip(read, rows, strict=True):
        expected = (noise[row] - noise[row].mean()) / noise[row].std()
        np.testing.assert_allclose(box, expected, atol=1e-5)
    assert (boxes.box, boxes.pixel_size, boxes.contrast, boxes.tilt_range) == (
        8,
        10.0,
        "unknown",
        None,
    )


def test_stacks_and_singles_give_the_same_boxes(tmp_path, noise):
    paths = [tmp_path / f"{n}.mrc" for n in range(6)]
    singles = table(write_singles(paths, [noise], pixel_size=10.0))
    rows = np.arange(6)
    first, second = open_boxes(singles).read(rows), open_boxes(table(stack(tmp_path, noise)))
    np.testing.assert_array_equal(first, second.read(rows))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float16])
def test_every_number_format_is_standardised(tmp_path, rng, dtype):
    data = rng.integers(0, 100, size=(8, 8, 8)).astype(dtype)
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(data)
        file.voxel_size = 7.0
    box = open_boxes(table([str(tmp_path / "a.mrc")])).read(np.array([0]))[0]
    expected = (data.astype(float) - data.mean(dtype=float)) / data.astype(float).std()
    np.testing.assert_allclose(box, expected, atol=1e-5)


@pytest.mark.parametrize(("folder", "count", "box"), [("mixed28", 89, 28), ("ribosome70s", 20, 32)])
def test_real_subtomograms_are_read(shared, folder, count, box, in_tmp):
    particles = read_particles([shared / "real" / folder / "particles.star"])
    boxes = open_boxes(particles)
    assert (boxes.box, boxes.pixel_size) == (box, 12.0)
    read = boxes.read(np.arange(count))
    assert read.shape == (count, box, box, box)
    np.testing.assert_allclose(read.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(read.std(axis=(1, 2, 3)), 1, atol=1e-5)
    with mrcfile.open(shared / "real" / folder / particles.text("rlnImageName")[-1]) as file:
        assert np.corrcoef(file.data.ravel(), read[-1].ravel())[0, 1] > 0.99999


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "no numbers"), (np.inf, "no numbers"), (2.5, "constant")]
)
def test_a_box_without_values_is_named(tmp_path, noise, value, message):
    names = stack(tmp_path, noise)
    voxels = np.memmap(tmp_path / "T.mrcs", np.float32, "r+", offset=1024, shape=noise.shape)
    if value == 2.5:
        voxels[3] = value
    else:
        voxels[3, 0, 0, 0] = value
    voxels.flush()
    boxes = open_boxes(table(names))
    with pytest.raises(DataError, match=message) as error:
        boxes.read(np.arange(6))
    assert error.value.found == "1 (T/4)"
    assert len(boxes.read(np.array([0, 1, 2, 4, 5]))) == 5


def test_a_faint_signal_on_a_large_offset_is_not_constant(rng):
    signal = rng.normal(size=(1, 8, 8, 8))
    box = standardise((30000 + signal).astype(np.float32), names=["a"])
    assert np.corrcoef(box.ravel(), signal.ravel())[0, 1] > 0.999


def test_the_background_alone_sets_mean_and_deviation(rng):
    volumes = rng.normal(size=(2, 8, 8, 8)).astype(np.float32)
    background = np.zeros((8, 8, 8), dtype=bool)
    background[:3] = True
    volumes[:, 3:] += 50
    out = standardise(volumes, names=["a", "b"], background=background)
    np.testing.assert_allclose(out[:, :3].mean(axis=(1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(out[:, :3].std(axis=(1, 2, 3)), 1, atol=1e-6)


def test_what_the_table_knows_is_passed_on(tmp_path, noise):
    particles = table(
        stack(tmp_path, noise),
        halContrast=["bright"] * 6,
        halTiltMin=["-60", "-58.5", "nan", "-60", "-60", "-60"],
        halTiltMax=["60"] * 2 + ["nan"] + ["57"] * 3,
    )
    boxes = open_boxes(particles)
    assert (boxes.contrast, boxes.tilt_range) == ("bright", (-60.0, 60.0))


def test_the_pixel_size_of_the_table_and_of_the_header_must_agree(tmp_path, noise):
    names = stack(tmp_path, noise)
    with pytest.raises(InputError, match="contradict"):
        open_boxes(table(names, halImagePixelSize=["12.0"] * 6))
    particles = table(names, halImagePixelSize=["12.0"] * 6)
    assert open_boxes(particles, pixel_size=11.0).pixel_size == 11.0
    unset = stack(tmp_path, noise, "U.mrcs", size=1.0)
    assert open_boxes(table(unset, halImagePixelSize=["12.0"] * 6)).pixel_size == 12.0
    with pytest.raises(InputError, match="no pixel size"):
        open_boxes(table(unset))


def test_halcmds_pixel_size_wins_over_the_optics_of_the_input(tmp_path, noise):
    names = stack(tmp_path, noise)
    columns = {"halParticleId": ["a"], "halImageName": names[:1], "halImagePixelSize": ["10.0"]}
    particles = new_particles(columns, optics={"rlnImagePixelSize": ["2.5"]})
    assert open_boxes(particles).pixel_size == 10.0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"halImagePixelSize": ["10.0"] * 5 + ["11.0"]}, "differ in pixel size"),
        ({"halContrast": ["bright"] * 5 + ["unknown"]}, "differ in contrast"),
    ],
)
def test_unlike_particles_are_not_mixed(tmp_path, noise, columns, message):
    with pytest.raises(InputError, match=message):
        open_boxes(table(stack(tmp_path, noise), **columns))


def test_boxes_of_two_sizes_are_not_mixed(tmp_path, noise):
    names = [*stack(tmp_path, noise), *stack(tmp_path, noise[:, :6, :6, :6], "S.mrcs")]
    with pytest.raises(InputError, match="differ in size") as error:
        open_boxes(table(names))
    assert "S.mrcs" in str(error.value.where)


@pytest.mark.parametrize("shape", [(8, 8, 6), (7, 7, 7)])
def test_boxes_must_be_even_cubes(tmp_path, shape):
    write_volume(tmp_path / "a.mrc", np.ones(shape, dtype=np.float32), 10.0)
    with pytest.raises(InputError, match="even edge"):
        open_boxes(table([str(tmp_path / "a.mrc")]))


def test_image_names_must_fit_their_files(tmp_path, noise):
    stack(tmp_path, noise)
    write_volume(tmp_path / "a.mrc", noise[0], 10.0)
    for name in ("000007@{}/T.mrcs", "000001@{}/a.mrc", "{}/T.mrcs"):
        with pytest.raises(InputError, match="does not fit its file"):
            open_boxes(table([name.format(tmp_path)]))
    for name in ("x@{}/T.mrcs", "000000@{}/T.mrcs"):
        with pytest.raises(InputError, match="cannot be understood"):
            open_boxes(table([name.format(tmp_path)]))


def test_2d_stacks_are_refused(shared):
    path = shared / "star" / "mrc" / "warp2_2dstack.mrcs"
    with pytest.raises(InputError, match="stack of 2D images"):
        open_boxes(table([str(path)]))


def test_missing_images_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file") as error:
        open_boxes(table([str(tmp_path / "a.mrc")]))
    assert "a.mrc" in str(error.value.where)
    with pytest.raises(InputError, match="names no subtomograms"):
        open_boxes(new_particles({"halParticleId": ["a"]}))


def test_more_files_than_can_stay_open(tmp_path, rng, monkeypatch):
    monkeypatch.setattr("halcmd.subtomograms._MAX_OPEN_FILES", 2)
    data = rng.normal(size=(7, 4, 4, 4)).astype(np.float32)
    names = write_singles([tmp_path / f"{n}.mrc" for n in range(7)], [data], pixel_size=10.0)
    read = open_boxes(table(names)).read(np.array([6, 0, 3, 6]))
    np.testing.assert_array_equal(read[0], read[3])
    assert np.corrcoef(read[2].ravel(), data[3].ravel())[0, 1] > 0.9999


@pytest.mark.parametrize(("mean", "spread"), [(1000.0, 1.0), (5000.0, 0.3), (-100.0, 0.1)])
@pytest.mark.parametrize("ring", [False, True])
def test_a_mean_far_above_the_deviation_costs_no_digits(rng, mean, spread, ring):
    boxes = rng.normal(mean, spread, (2, 12, 12, 12)).astype(np.float32)
    background = outside_radius(12, 4) if ring else np.ones((12, 12, 12), dtype=bool)
    exact = boxes.astype(np.float64)
    for box in exact:
        box -= box[background].mean()
        box /= box[background].std()
    found = standardise(boxes, names=["a", "b"], background=background if ring else None)
    np.testing.assert_allclose(found, exact, atol=1e-6)


def test_boxes_of_several_files_come_in_the_order_asked_for(tmp_path, noise):
    first, second = noise[:3], noise[3:]
    names = stack(tmp_path, first, "A.mrcs") + stack(tmp_path, second, "B.mrcs")
    boxes = open_boxes(table(names))
    rows = np.array([5, 0, 1, 2, 4, 3, 1])
    np.testing.assert_array_equal(boxes.read(rows), boxes.read(np.arange(6))[rows])
    assert list(rows[boxes.in_file_order(rows)]) == [0, 1, 1, 2, 3, 4, 5]
