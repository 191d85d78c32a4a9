import numpy as np
import pytest

from halcmd.errors import InputError
from halcmd.formats.features import feature_file, open_features


def test_features_come_back_memory_mapped(tmp_path, rng):
    values = rng.normal(size=(7, 3, 2, 2, 2)).astype(np.float16)
    with feature_file(tmp_path / "features.npy", values.shape) as array:
        array[:4], array[4:] = values[:4], values[4:]
    back = open_features(tmp_path / "features.npy")
    assert isinstance(back, np.memmap)
    assert np.array_equal(back, values)


def test_the_disk_space_is_taken_before_the_array_is_filled(tmp_path):
    with feature_file(tmp_path / "features.npy", (1_000, 64)):
        (unfinished,) = tmp_path.iterdir()
        assert unfinished.stat().st_blocks * 512 >= 2 * 1_000 * 64


def test_half_written_features_are_never_seen(tmp_path):
    def interrupted() -> None:
        with feature_file(tmp_path / "features.npy", (7, 3)) as array:
            array[:2] = 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_what_is_no_array_of_features_is_refused(tmp_path):
    with feature_file(tmp_path / "cut.npy", (7, 3)) as array:
        array[:] = 1
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-9])
    (tmp_path / "text.npy").write_text("data_particles\n")
    np.save(tmp_path / "doubles.npy", np.zeros((3, 2)))
    np.save(tmp_path / "code.npy", np.array([{}], dtype=object), allow_pickle=True)
    for name in ("cut", "text", "doubles", "code"):
        with pytest.raises(InputError, match="no array of features"):
            open_features(tmp_path / f"{name}.npy")
    with pytest.raises(InputError, match="no such file"):
        open_features(tmp_path / "absent.npy")
