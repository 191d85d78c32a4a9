import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halcmd.cropping import (
    crop,
    crop_turned,
    fourier_crop,
    lowpass,
    outside_radius,
    padded_fraction,
    turned_padded_fraction,
)
from halcmd.poses import euler_matrices

CENTRE = st.tuples(st.integers(-12, 20), st.integers(-12, 22), st.integers(-12, 24))


@settings(max_examples=60, deadline=None)
@given(CENTRE, st.sampled_from([2, 4, 6, 10, 30]))
def test_crop_is_the_box_of_a_padded_tomogram(centre, box):
    tomogram = np.random.default_rng(1).normal(size=(9, 11, 13)).astype(np.float32)
    cut, padded = crop(tomogram, np.array(centre), box)
    margin = 40
    inside = np.pad(np.ones(tomogram.shape, dtype=bool), margin)
    wide = np.pad(tomogram, margin)
    place = tuple(slice(c - box // 2 + margin, c + box // 2 + margin) for c in centre)
    mask = inside[place]
    assert padded == pytest.approx(1 - mask.mean())
    assert padded == pytest.approx(
        padded_fraction(np.array([centre]), box, np.array(tomogram.shape))[0]
    )
    np.testing.assert_array_equal(cut[mask], wide[place][mask])
    if mask.any():
        np.testing.assert_allclose(cut[~mask], wide[place][mask].mean(), atol=1e-6)


def test_crop_does_not_share_memory_that_a_change_would_reach():
    tomogram = np.zeros((8, 8, 8), dtype=np.float32)
    box, _ = crop(tomogram, np.array([4, 4, 4]), 4)
    stacked = np.stack([box])
    stacked += 1
    assert not tomogram.any()


def waves(size: int, spacing: float, centre: int) -> np.ndarray:
    """A band-limited periodic pattern, sampled every ``spacing`` from index ``centre``."""
    axis = (np.arange(size) - centre) * spacing
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    k = 2 * np.pi / (24 * 1.0)
    pattern = 2.0 + np.cos(k * x + 0.3) + 0.5 * np.sin(2 * k * y - k * z) + np.cos(3 * k * z)
    return np.asarray(pattern[None], dtype=np.float32)


@pytest.mark.parametrize("box", [8, 10, 12, 16, 24])
def test_fourier_cropping_of_a_band_limited_pattern_is_direct_sampling(box):
    small = fourier_crop(waves(24, 1.0, 12), box)
    assert small.dtype == np.float32
    np.testing.assert_allclose(small, waves(box, 24 / box, box // 2), atol=2e-5)


def test_fourier_cropping_keeps_the_mean(rng):
    volumes = rng.normal(3.0, 1.0, size=(2, 20, 20, 20)).astype(np.float32)
    small = fourier_crop(volumes, 12)
    np.testing.assert_allclose(small.mean(axis=(1, 2, 3)), volumes.mean(axis=(1, 2, 3)), rtol=1e-5)


def test_nothing_changes_without_binning(rng):
    volumes = rng.normal(size=(1, 8, 8, 8)).astype(np.float32)
    assert fourier_crop(volumes, 8) is volumes


def test_lowpass_is_one_below_its_edge_and_zero_above():
    x = np.arange(32)
    for period, kept in ((16, 1.0), (8, 1.0), (4, 0.0), (2, 0.0)):
        wave = np.cos(2 * np.pi * x / period)
        volumes = np.broadcast_to(wave, (1, 32, 32, 32)).astype(np.float32)
        out = lowpass(volumes, pixel_size=5.0, resolution=30.0)
        np.testing.assert_allclose(out, kept * volumes, atol=1e-5)


def test_lowpass_is_the_same_along_every_axis(rng):
    volumes = rng.normal(size=(1, 12, 12, 12)).astype(np.float32)
    out = lowpass(volumes, pixel_size=5.0, resolution=22.0)
    for axes in ((0, 2, 1, 3), (0, 3, 2, 1)):
        turned = lowpass(volumes.transpose(axes).copy(), pixel_size=5.0, resolution=22.0)
        np.testing.assert_allclose(turned, out.transpose(axes), atol=1e-5)


def test_the_background_is_what_lies_beyond_the_radius():
    mask = outside_radius(8, 2)
    assert not mask[4, 4, 4]
    assert not mask[4, 4, 6]
    assert mask[4, 4, 7]
    assert mask[4, 5, 6]
    assert (~mask).sum() == 33


def test_an_upright_box_at_a_whole_voxel_needs_no_interpolation(rng):
    tomogram = rng.normal(size=(20, 24, 28)).astype(np.float32)
    for centre in ((10, 12, 14), (3, 12, 26)):
        box, padded = crop(tomogram, np.array(centre), 8)
        turned = crop_turned(tomogram, np.array(centre, dtype=float), 8, np.eye(3))
        np.testing.assert_allclose(turned, box, atol=2e-5)
        share = turned_padded_fraction(
            np.array([centre], dtype=float), 8, np.eye(3)[None], np.array(tomogram.shape)
        )
        assert share == pytest.approx([padded])


def gaussians(points_xyz: np.ndarray) -> np.ndarray:
    """A smooth density without any symmetry, at points (..., 3), **xyz** from its centre."""
    centres = np.array([[0, 0, 0], [5, 0, 0], [0, 3.5, 0], [0, 0, -4.5], [2.5, 3, 2]])
    distances = np.linalg.norm(points_xyz[..., None, :] - centres, axis=-1)
    return np.asarray((np.exp(-((distances / 3.0) ** 2)) * [1, 2, 3, 1.5, -1]).sum(axis=-1))


def grid(size_zyx: tuple[int, ...]) -> np.ndarray:
    """Voxel positions, shape (z, y, x, 3), **xyz**."""
    return np.stack(np.meshgrid(*map(np.arange, size_zyx), indexing="ij"), axis=-1)[..., ::-1]


@pytest.mark.parametrize("angles", [(0, 0, 0), (90, 0, 0), (20, 70, -130), (-100, 160, 45)])
def test_a_turned_box_shows_the_particle_as_its_reference(angles):
    rotation = euler_matrices(np.array([angles], dtype=float))[0]
    centre_xyz = np.array([19.3, 22.6, 17.45])
    # A reference point r sits at centre + A r, so the voxel at p shows the reference at A' (p - c).
    tomogram = gaussians((grid((36, 44, 40)) - centre_xyz) @ rotation).astype(np.float32)
    box = crop_turned(tomogram, centre_xyz[::-1], 20, rotation)
    np.testing.assert_allclose(box, gaussians(grid((20, 20, 20)) - 10), atol=0.01)
    # With the matrix the wrong way round it would not.
    if angles != (0, 0, 0):
        wrong = crop_turned(tomogram, centre_xyz[::-1], 20, rotation.T)
        assert np.abs(wrong - gaussians(grid((20, 20, 20)) - 10)).max() > 0.5


def test_a_turned_box_beyond_the_edge_is_filled_with_the_mean_of_the_rest(rng):
    tomogram = rng.normal(5.0, 1.0, (30, 30, 30)).astype(np.float32)
    turn = euler_matrices(np.array([[30.0, 40.0, 50.0]]))
    centre = np.array([[2.0, 15.0, 15.0]])
    share = turned_padded_fraction(centre, 12, turn, np.array(tomogram.shape))[0]
    box = crop_turned(tomogram, centre[0], 12, turn[0])
    value, count = np.unique(box, return_counts=True)
    assert count.max() / box.size == pytest.approx(share)
    assert 0.2 < share < 0.5
    rest = box[box != value[count.argmax()]]
    assert value[count.argmax()] == pytest.approx(rest.mean(), abs=1e-4)
    far = crop_turned(tomogram, np.array([-30.0, 0.0, 0.0]), 12, turn[0])
    assert not far.any()
