import mrcfile
import numpy as np
import pytest
import torch

from halcmd import console
from halcmd.errors import DataError, InputError
from halcmd.imaging.densities import (
    band_limited,
    built_in,
    class_name,
    from_files,
    posed,
    random_angles,
)
from halcmd.imaging.shapes import Shape, rasterised, shape
from halcmd.poses import euler_matrices

CPU = torch.device("cpu")


def correlation(one, other):
    return float(np.corrcoef(np.ravel(one), np.ravel(other))[0, 1])


def turned(made: Shape, matrix, shift_angst) -> Shape:
    positions = made.positions @ matrix.T + shift_angst
    return Shape(made.name, "C1", positions, made.widths, made.heights)


def test_random_rotations_are_uniform_in_so3(rng):
    matrices = euler_matrices(random_angles(20_000, rng))
    # Haar measure: each column is uniform on the sphere, and the angle has density 1 - cos.
    assert np.allclose(matrices.mean(axis=0), 0, atol=0.02)
    assert np.allclose((matrices**2).mean(axis=0), 1 / 3, atol=0.02)
    angle = np.arccos(np.clip((np.trace(matrices, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert np.mean(angle) == pytest.approx(np.pi / 2 + 2 / np.pi, abs=0.02)


@pytest.mark.parametrize("name", ["horseshoe", "ribosome", "ring"])
def test_posing_a_map_equals_drawing_the_turned_blobs(name, rng):
    made = shape(name)
    density = built_in([name], target=10.0, device=CPU)[name]
    matrices = euler_matrices(random_angles(4, rng))
    shifts = rng.uniform(-1, 1, (4, 3))
    boxes = posed(density, matrices, shifts, box=32, pixel_size=10.0).numpy()
    for volume, matrix, shift in zip(boxes, matrices, shifts, strict=True):
        exact = rasterised(turned(made, matrix, shift * 10), 10.0, device=CPU, box=32)
        assert correlation(volume, exact) > 0.998
        assert volume.sum() == pytest.approx(float(exact.sum()), rel=0.01)


def test_interpolation_keeps_most_of_the_amplitude_up_to_the_low_pass(rng):
    # One narrow blob: its spectrum is flat, so the ratio of spectra is the transfer of the pose.
    blob = Shape("blob", "C1", np.zeros((1, 3)), np.array([7.0]), np.ones(1))
    density = band_limited(rasterised(blob, 5.0, device=CPU), 5.0, target=10.0)
    shifts = rng.uniform(-0.5, 0.5, (64, 3))
    matrices = euler_matrices(random_angles(64, rng))
    boxes = posed(density, matrices, shifts, box=32, pixel_size=10.0).numpy()
    exact = np.stack(
        [
            rasterised(turned(blob, np.eye(3), shift * 10), 10.0, device=CPU, box=32).numpy()
            for shift in shifts
        ]
    )
    got, wanted = (np.fft.fftn(volumes, axes=(1, 2, 3)) for volumes in (boxes, exact))
    transfer = (got * wanted.conj()).sum(axis=0).real / (np.abs(wanted) ** 2).sum(axis=0)
    frequency = np.sqrt(sum(np.square(np.meshgrid(*[np.fft.fftfreq(32)] * 3))))
    assert transfer[frequency < 0.25].min() > 0.93
    assert transfer[frequency < 0.42].mean() > 0.88


@pytest.mark.parametrize(("size", "pixel_size"), [(40, 5.0), (33, 7.0), (16, 13.0)])
def test_resampling_keeps_centre_and_amplitude(size, pixel_size):
    blob = Shape("blob", "C1", np.array([[11.0, -7.0, 4.0]]), np.array([20.0]), np.ones(1))
    density = band_limited(
        rasterised(blob, pixel_size, device=CPU, box=size), pixel_size, target=10.0
    )
    assert density.pixel_size == pytest.approx(5.0, rel=0.05)
    volume = posed(density, np.eye(3)[None], np.zeros((1, 3)), box=20, pixel_size=10.0)[0]
    exact = rasterised(blob, 10.0, device=CPU, box=20)
    assert float((volume - exact).abs().max()) < 0.03


def test_nothing_is_left_beyond_the_nyquist_frequency_of_the_boxes(rng):
    noise = torch.from_numpy(rng.normal(size=(64, 64, 64)))
    density = band_limited(noise, 2.5, target=10.0)
    frequency = np.sqrt(sum(np.square(np.meshgrid(*[np.fft.fftfreq(32, 5.0)] * 3))))
    power = np.abs(np.fft.fftn(density.values.numpy())) ** 2
    assert power[frequency > 0.05].max() < 1e-6 * power[frequency < 0.04].mean()


def test_the_diameter_is_what_fits_in_any_rotation():
    density = built_in(["rod"], target=10.0, device=CPU)["rod"]
    assert 190 < density.diameter() < 220


def write_map(path, values, pixel_size):
    with mrcfile.new(path, values.astype(np.float32)) as file:
        file.voxel_size = pixel_size


def a_map(box=24):
    return rasterised(shape("shell"), 8.0, device=CPU, box=box).numpy()


def test_maps_of_a_folder_become_classes_named_after_the_files(tmp_path):
    write_map(tmp_path / "1bxn.mrc", a_map(), 8.0)
    write_map(tmp_path / "ribosome 70S.mrc", a_map() + 5, 8.0)
    densities = from_files([tmp_path], target=10.0, device=CPU)
    assert list(densities) == ["class_1bxn", "ribosome_70S"]
    # The background counts as 0 whatever the file says.
    assert torch.allclose(*[d.values for d in densities.values()], atol=1e-4)


def test_a_map_without_pixel_size_is_taken_at_the_target_with_a_warning(tmp_path):
    write_map(tmp_path / "a.mrc", a_map(), 1.0)
    density = from_files([tmp_path / "a.mrc"], target=10.0, device=CPU)["a"]
    assert density.pixel_size == pytest.approx(5.0)
    assert "no pixel size" in console.warnings()[0]


def test_an_inverted_map_is_pointed_out(tmp_path):
    write_map(tmp_path / "a.mrc", -a_map(), 8.0)
    from_files([tmp_path], target=10.0, device=CPU)
    assert "inverted" in console.warnings()[0]


def test_bad_maps_are_refused_with_the_reason(tmp_path):
    with pytest.raises(InputError, match="no density maps"):
        from_files([tmp_path], target=10.0, device=CPU)
    write_map(tmp_path / "flat.mrc", np.zeros((20, 20, 20)), 8.0)
    with pytest.raises(DataError, match="varying"):
        from_files([tmp_path], target=10.0, device=CPU)
    (tmp_path / "flat.mrc").unlink()
    write_map(tmp_path / "slab.mrc", a_map()[:20], 8.0)
    with pytest.raises(DataError, match="cubic") as caught:
        from_files([tmp_path], target=10.0, device=CPU)
    assert caught.value.found == "24 x 24 x 20"


@pytest.mark.parametrize("names", [("junk",), ("a b", "a_b")])
def test_reserved_and_repeated_class_names_are_refused(tmp_path, names):
    for name in names:
        write_map(tmp_path / f"{name}.mrc", a_map(), 8.0)
    with pytest.raises(InputError, match="class name"):
        from_files([tmp_path], target=10.0, device=CPU)


def test_a_class_name_begins_with_a_letter():
    assert class_name("3j9i") == "class_3j9i"
    assert class_name("emd-3420 80S") == "emd-3420_80S"
