import itertools

import mrcfile
import numpy as np
import pytest

from halcmd.errors import DataError, InputError
from halcmd.formats.mrc import open_volume
from halcmd.formats.mrc_writing import volume_stack, write_singles, write_stack, write_volume


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.float32, np.uint16, np.float16])
def test_every_mode_of_mrcfile_is_read_back(tmp_path, rng, dtype):
    data = (rng.random((4, 6, 8)) * 100).astype(dtype)
    with mrcfile.new(tmp_path / "v.mrc") as file:
        file.set_data(data)
        file.voxel_size = 5.5
    volume = open_volume(tmp_path / "v.mrc")
    np.testing.assert_array_equal(volume.data, data)
    assert volume.pixel_size == pytest.approx(5.5)


def test_big_endian_files_are_read(tmp_path, rng):
    data = rng.random((4, 6, 8)).astype(">f4")
    with mrcfile.new(tmp_path / "v.mrc") as file:
        file.set_data(data)
    np.testing.assert_array_equal(open_volume(tmp_path / "v.mrc").data, data)


def test_a_written_stack_is_valid_and_read_by_mrcfile(tmp_path, rng, capsys):
    boxes = rng.random((5, 8, 8, 8)).astype(np.float32)
    path = tmp_path / "s.mrcs"
    names = write_stack(path, [boxes[:2], boxes[2:]], 5, 8, pixel_size=10.5)
    assert names[4] == f"000005@{path}"
    assert mrcfile.validate(path)
    with mrcfile.open(path) as file:
        np.testing.assert_array_equal(file.data, boxes)
        assert float(file.voxel_size.x) == pytest.approx(10.5)
        assert float(file.voxel_size.z) == pytest.approx(10.5)
        assert file.is_volume_stack()
        assert float(file.header.dmax) == boxes.max()
    assert open_volume(path).kind == "volume_stack"


def test_single_boxes_are_valid_volumes_with_their_pixel_size(tmp_path, rng, capsys):
    boxes = rng.random((2, 8, 8, 8)).astype(np.float32)
    paths = [tmp_path / "a.mrc", tmp_path / "b.mrc"]
    write_singles(paths, [boxes], pixel_size=7.0, float16=False)
    for path, box in zip(paths, boxes, strict=True):
        assert mrcfile.validate(path)
        volume = open_volume(path)
        np.testing.assert_array_equal(volume.data, box)
        assert (volume.kind, volume.pixel_size, volume.mode) == ("volume", 7.0, 2)


def test_float16_is_written_as_mode_12(tmp_path, rng):
    write_singles([tmp_path / "a.mrc"], [rng.random((1, 4, 4, 4))], pixel_size=7.0, float16=True)
    assert open_volume(tmp_path / "a.mrc").mode == 12


def test_the_disk_space_of_a_stack_is_taken_before_it_is_filled(tmp_path):
    with volume_stack(tmp_path / "s.mrcs", 20, 16, pixel_size=10.0, by_map=True) as stack:
        (unfinished,) = tmp_path.iterdir()
        assert unfinished.stat().st_blocks * 512 >= 4 * 20 * 16**3
        stack.fill(np.arange(20), np.zeros((20, 16, 16, 16)))


def test_an_interrupted_stack_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), volume_stack(tmp_path / "s.mrcs", 2, 4, pixel_size=1.5):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0.0, 1.0])
def test_a_header_of_0_or_1_counts_as_not_set(tmp_path, size):
    write_volume(tmp_path / "v.mrc", np.ones((4, 4, 4)), size)
    assert open_volume(tmp_path / "v.mrc").pixel_size is None


def test_voxels_that_are_not_cubic_are_refused(tmp_path):
    with mrcfile.new(tmp_path / "v.mrc") as file:
        file.set_data(np.ones((4, 4, 4), dtype=np.float32))
        file.voxel_size = (10.0, 10.0, 11.0)
    with pytest.raises(DataError, match="not cubic"):
        _ = open_volume(tmp_path / "v.mrc").pixel_size


def test_a_file_that_is_cut_off_says_by_how_much(tmp_path, shared):
    write_volume(tmp_path / "v.mrc", np.ones((8, 8, 8)), 10.0)
    whole = (tmp_path / "v.mrc").read_bytes()
    (tmp_path / "v.mrc").write_bytes(whole[:-100])
    with pytest.raises(InputError, match="cut off") as error:
        open_volume(tmp_path / "v.mrc")
    assert "2,972 bytes of the 3,072" in str(error.value.found)
    with pytest.raises(InputError, match="cut off"):
        open_volume(shared / "star" / "mrc" / "neg_header_only.mrc")


def test_other_files_are_refused(tmp_path, shared):
    (tmp_path / "v.mrc").write_text("hello " * 500)
    with pytest.raises(InputError, match="no MRC file"):
        open_volume(tmp_path / "v.mrc")
    (tmp_path / "short.mrc").write_text("hello")
    with pytest.raises(InputError, match="no MRC file"):
        open_volume(tmp_path / "short.mrc")
    with pytest.raises(InputError, match="no such file"):
        open_volume(tmp_path / "w.mrc")
    with mrcfile.new(tmp_path / "axes.mrc", np.zeros((2, 3, 4), np.float32)) as file:
        file.header.mapc = 2
    with pytest.raises(InputError, match="not x, y, z in any order"):
        open_volume(tmp_path / "axes.mrc")
    (tmp_path / "v.mrc.gz").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be mapped") as error:
        open_volume(tmp_path / "v.mrc.gz")
    assert error.value.hint == "gunzip v.mrc.gz, then name the unpacked file"


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))))
def test_axes_stored_in_any_order_are_read_as_x_y_z(tmp_path, rng, order):
    volume = rng.normal(size=(3, 4, 5)).astype(np.float32)  # z, y, x
    axis = {1: 2, 2: 1, 3: 0}
    stored = volume.transpose([axis[number] for number in order[::-1]])
    with mrcfile.new(tmp_path / "v.mrc", stored) as file:
        file.header.mapc, file.header.mapr, file.header.maps = order
        file.header.mx, file.header.my, file.header.mz = 5, 4, 3
        file.header.cella = (50, 40, 30)
    read = open_volume(tmp_path / "v.mrc")
    np.testing.assert_array_equal(read.data, volume)
    assert read.voxel_size == (10, 10, 10)


def test_a_real_map_of_swapped_axes_is_turned(shared):
    volume = open_volume(shared / "star" / "mrc" / "EMD-3001.map")
    assert volume.data.shape == (73, 25, 43)  # stored as columns z, rows x, sections y
    assert volume.voxel_size == pytest.approx((0.4483, 0.3925, 0.4587), abs=1e-4)
    raw = mrcfile.read(shared / "star" / "mrc" / "EMD-3001.map")
    assert volume.data[7, 11, 40] == raw[11, 40, 7]
    assert float(volume.data.std()) == pytest.approx(0.157057, abs=1e-5)


@pytest.mark.parametrize("float16", [False, True])
def test_the_header_of_a_stack_holds_the_statistics_of_its_voxels(tmp_path, rng, float16):
    boxes = rng.normal(3.0, 2.0, (5, 8, 8, 8)).astype(np.float32)
    path = tmp_path / "s.mrcs"
    with volume_stack(path, 5, 8, pixel_size=2.0, float16=float16) as stack:
        stack.fill(np.array([4, 0, 2]), boxes[[4, 0, 2]])
        stack.fill(np.array([1, 3]), boxes[[1, 3]])
    with mrcfile.open(path) as file:
        np.testing.assert_allclose(file.data, boxes, rtol=1e-3 if float16 else 0)
        found = [float(file.header[name]) for name in ("dmin", "dmax", "dmean", "rms")]
    wanted = [boxes.min(), boxes.max(), boxes.mean(), boxes.std()]
    assert found == pytest.approx(wanted, rel=1e-5)


def test_real_headers_are_read_as_their_index_says(shared):
    folder = shared / "star" / "mrc"
    volume = open_volume(folder / "EMD-3197.map")
    assert volume.data.shape == (20, 20, 20)
    assert volume.pixel_size == pytest.approx(11.4)
    assert float(np.mean(volume.data)) == pytest.approx(0.783612, abs=1e-5)
    stack = open_volume(folder / "warp2_2dstack.mrcs")
    assert (stack.kind, stack.mode, stack.data.shape) == ("image_stack", 12, (37, 32, 32))
