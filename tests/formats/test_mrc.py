import mrcfile
import numpy as np
import pytest

from halcmd.errors import DataError, InputError
from halcmd.formats.mrc import open_volume, volume_stack, write_singles, write_stack, write_volume


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
    with pytest.raises(InputError, match="another order"):
        open_volume(shared / "star" / "mrc" / "EMD-3001.map")


def test_real_headers_are_read_as_their_index_says(shared):
    folder = shared / "star" / "mrc"
    volume = open_volume(folder / "EMD-3197.map")
    assert volume.data.shape == (20, 20, 20)
    assert volume.pixel_size == pytest.approx(11.4)
    assert float(np.mean(volume.data)) == pytest.approx(0.783612, abs=1e-5)
    stack = open_volume(folder / "warp2_2dstack.mrcs")
    assert (stack.kind, stack.mode, stack.data.shape) == ("image_stack", 12, (37, 32, 32))
