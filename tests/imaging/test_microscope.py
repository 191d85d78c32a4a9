import numpy as np
import pytest
import torch

from halcmd.imaging.densities import built_in, posed, random_angles
from halcmd.imaging.microscope import (
    Optics,
    ctf,
    instrument_for,
    noise,
    noise_variance,
    project,
    ramp,
    reach_of,
    reconstruct,
    tilt_series,
    transfer,
    transmit,
    wavelength,
)
from halcmd.poses import euler_matrices
from halcmd.transforms import wedge_mask

CPU = torch.device("cpu")
PLAIN = Optics(ctf=False, mtf=False)


def correlation(one, other):
    return float(np.corrcoef(np.ravel(one), np.ravel(other))[0, 1])


def particles(name, count, box, seed=0):
    rng = np.random.default_rng(seed)
    density = built_in([name], target=10.0, device=CPU)[name]
    matrices = euler_matrices(random_angles(count, rng))
    return posed(density, matrices, rng.uniform(-1, 1, (count, 3)), box=box, pixel_size=10.0)


def test_tilts_start_at_the_first_and_keep_to_the_step():
    geometry = tilt_series((8, 8, 8), tilt_range=(-60, 60), tilt_step=3)
    assert len(geometry.tilts) == 41
    assert geometry.tilts[0] == -60
    assert geometry.tilts[-1] == 60
    assert tilt_series((8, 8, 8), tilt_range=(-50, 40), tilt_step=7).tilts[-1] == 34


def test_projection_is_the_sum_over_the_volume_it_claims_to_be(rng):
    shape = (3, 2, 5)
    geometry = tilt_series(shape, tilt_range=(-50, 70), tilt_step=40, reach=2)
    volume = rng.normal(size=shape)
    expected = np.zeros((len(geometry.tilts), geometry.n_waves, shape[1]), dtype=complex)
    for t, theta in enumerate(np.deg2rad(geometry.tilts)):
        for k in range(geometry.n_waves):
            for z in range(shape[0]):
                for x in range(shape[2]):
                    u = (x - 2) * np.cos(theta) - (z - 1) * np.sin(theta)
                    wave = np.exp(-2j * np.pi * k * u / geometry.detector)
                    expected[t, k] += volume[z, :, x] * wave
    got = project(torch.from_numpy(volume).float()[None], geometry)
    assert np.allclose(got[:, :, 0].numpy(), expected, atol=1e-4)


def test_the_untilted_image_is_the_sum_along_the_beam(rng):
    volume = torch.from_numpy(rng.normal(size=(6, 7, 8))).float()
    geometry = tilt_series((6, 7, 8), tilt_range=(0, 1), tilt_step=2)
    spectrum = project(volume[None], geometry)[0, :, 0]  # (k, y)
    image = torch.fft.irfft(spectrum, n=geometry.detector, dim=0).roll(4, dims=0)[:8]
    assert torch.allclose(image.T, volume.sum(dim=0), atol=1e-4)


@pytest.mark.parametrize("shape", [(6, 5, 6), (4, 3, 9), (7, 8, 4)])
def test_reconstruction_is_the_adjoint_of_projection_behind_the_ramp(shape, rng):
    geometry = tilt_series(shape, tilt_range=(-60, 54), tilt_step=6, reach=3)
    volume = torch.from_numpy(rng.normal(size=(2, *shape))).float()
    images = project(torch.from_numpy(rng.normal(size=(2, *shape))).float(), geometry)
    weights = ramp(geometry, device=CPU)[:, None, None]
    left = (volume * reconstruct(images, geometry)).sum()
    right = (weights * (project(volume, geometry).conj() * images).real).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-4)


def test_every_volume_of_a_batch_is_imaged_by_itself(rng):
    volumes = torch.from_numpy(rng.normal(size=(5, 8, 6, 8))).float()
    geometry = tilt_series((8, 6, 8), tilt_range=(-60, 60), tilt_step=10)
    together = reconstruct(project(volumes, geometry), geometry)
    for volume, result in zip(volumes, together, strict=True):
        alone = reconstruct(project(volume[None], geometry), geometry)[0]
        assert torch.allclose(alone, result, atol=1e-6)


def test_blocks_of_tilts_give_what_all_tilts_at_once_give(rng, monkeypatch):
    volume = torch.from_numpy(rng.normal(size=(1, 8, 6, 8))).float()
    geometry = tilt_series((8, 6, 8), tilt_range=(-60, 60), tilt_step=10)
    whole = reconstruct(project(volume, geometry), geometry)
    monkeypatch.setattr("halcmd.imaging.microscope._BLOCK_ELEMENTS", 3000)
    assert torch.allclose(reconstruct(project(volume, geometry), geometry), whole, atol=1e-6)


def test_a_full_tilt_range_gives_the_density_back():
    volumes = particles("ribosome", 3, 32)
    geometry = tilt_series((32, 32, 32), tilt_range=(-90, 87), tilt_step=3)
    back = reconstruct(project(volumes, geometry), geometry)
    for volume, result in zip(volumes, back, strict=True):
        assert correlation(volume, result) > 0.99
        assert float((result * volume).sum() / (volume**2).sum()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", ["ribosome", "horseshoe", "rod"])
def test_a_tilt_series_gives_the_density_within_the_measured_region(name):
    volumes = particles(name, 4, 32)
    geometry = tilt_series((32, 32, 32), tilt_range=(-60, 60), tilt_step=3)
    back = reconstruct(project(volumes, geometry), geometry)
    mask = wedge_mask(32, (-61.5, 61.5), device=CPU)
    measured = torch.fft.irfftn(
        torch.fft.rfftn(volumes, dim=(1, 2, 3)) * mask, s=(32, 32, 32), dim=(1, 2, 3)
    )
    for volume, result in zip(measured, back, strict=True):
        assert correlation(volume, result) > 0.95


def test_the_missing_wedge_is_empty():
    volumes = particles("ribosome", 4, 32)
    geometry = tilt_series((32, 32, 32), tilt_range=(-60, 60), tilt_step=3)
    power = [
        (torch.fft.fftn(v, dim=(1, 2, 3)).abs() ** 2).mean(dim=0).numpy()
        for v in (volumes, reconstruct(project(volumes, geometry), geometry))
    ]
    k = np.fft.fftfreq(32) * 32
    z, _, x = np.meshgrid(k, k, k, indexing="ij")
    # Two frequencies clear of the edge, which the particle's finite size blurs.
    missing = (np.abs(z) > np.tan(np.deg2rad(60)) * np.abs(x) + 4) & (np.abs(z) < 14)
    before, after = (p[missing].sum() / p.sum() for p in power)
    assert after < 0.02 * before


def test_the_wavelength_is_the_textbooks():
    assert wavelength(300) == pytest.approx(0.019687, abs=1e-6)
    assert wavelength(200) == pytest.approx(0.025079, abs=1e-6)


def test_the_ctf_starts_at_the_amplitude_contrast_and_has_its_zeros_where_it_should():
    optics = Optics(defocus_um=5, voltage_kv=300, cs_mm=0.0, amplitude_contrast=0.07)
    assert float(ctf(torch.zeros(1), optics)) == pytest.approx(0.07)
    # Without Cs the first zero is where pi lambda df g^2 + asin(Q) = pi.
    g2 = (np.pi - np.arcsin(0.07)) / (np.pi * wavelength(300) * 5e4)
    values = ctf(torch.tensor([0.99 * g2, g2, 1.01 * g2], dtype=torch.float64), optics)
    assert values[0] > 0 > values[2]
    assert float(values[1]) == pytest.approx(0, abs=1e-9)


def test_the_ctf_moves_signal_no_further_than_its_reach():
    optics = Optics(defocus_um=5, mtf=False)
    reach = reach_of(optics, 10.0)
    geometry = tilt_series((1, 96, 1), tilt_range=(0, 1), tilt_step=2, reach=reach)
    point = torch.zeros(1, 1, 96, 1)
    point[0, 0, 48] = 1
    spectra = transmit(project(point, geometry), transfer(geometry, optics, 10.0, device=CPU))
    energy = (spectra.abs() ** 2).sum(dim=(0, 1, 2))
    assert float(energy[48 - reach : 49 + reach].sum() / energy.sum()) > 0.99
    assert reach_of(PLAIN, 10.0) < reach


def test_the_detector_is_an_ideal_pixel():
    geometry = tilt_series((8, 32, 8), tilt_range=(0, 1), tilt_step=2, reach=0)
    values = transfer(geometry, Optics(ctf=False), 10.0, device=CPU)
    assert float(values[0, 0]) == 1
    assert float(values[0, 16]) == pytest.approx(2 / np.pi, abs=1e-3)  # sinc at Nyquist


def test_noise_has_the_variance_stated_everywhere_in_the_box():
    geometry = tilt_series((24, 20, 24), tilt_range=(-60, 60), tilt_step=3, reach=8)
    generators = [torch.Generator().manual_seed(n) for n in range(48)]
    volumes = reconstruct(noise(geometry, generators), geometry) / noise_variance(geometry) ** 0.5
    assert float(volumes.var()) == pytest.approx(1, rel=0.02)
    by_place = (volumes**2).mean(dim=(0, 2))  # (z, x)
    corner = by_place[[0, 0, -1, -1], [0, -1, 0, -1]].mean()
    assert float(by_place.max()) < 1.4
    assert float(by_place.min()) > 0.7
    assert float(corner) == pytest.approx(1, abs=0.15)


def test_noise_has_the_colour_of_the_reconstruction():
    instrument = instrument_for(
        (32, 32, 32), Optics(), tilt_range=(-60, 60), tilt_step=3, pixel_size=10.0, device=CPU
    )
    volumes = instrument.noise([torch.Generator().manual_seed(n) for n in range(16)])
    # The window keeps the edges of the box, which do not match, from leaking into the wedge.
    window = torch.hann_window(32)
    volumes = volumes * window[:, None, None] * window[:, None] * window
    power = (torch.fft.fftn(volumes, dim=(1, 2, 3)).abs() ** 2).mean(dim=0).numpy()
    k = np.fft.fftfreq(32) * 32
    z, y, x = np.meshgrid(k, k, k, indexing="ij")
    radius = np.hypot(x, z)
    seen = np.abs(z) < np.tan(np.deg2rad(55)) * np.abs(x)
    low = power[seen & (radius > 2) & (radius < 4)].mean()
    high = power[seen & (radius > 10) & (radius < 12)].mean()
    assert high / low == pytest.approx(11 / 3, rel=0.2)  # the ramp
    missing = (np.abs(z) > np.tan(np.deg2rad(60)) * np.abs(x) + 4) & (np.abs(z) < 14)
    assert power[missing].mean() < 0.002 * power[seen].mean()
    # Along the tilt axis the noise stays white.
    along = [power[seen & (np.abs(y) == n)].mean() for n in (1, 8, 15)]
    assert np.ptp(along) < 0.1 * np.mean(along)


def test_noise_of_one_volume_does_not_depend_on_the_batch():
    geometry = tilt_series((8, 8, 8), tilt_range=(-60, 60), tilt_step=6)
    together = noise(geometry, [torch.Generator().manual_seed(n) for n in (1, 2, 3)])
    alone = noise(geometry, [torch.Generator().manual_seed(2)])
    assert torch.equal(together[:, :, 1], alone[:, :, 0])


def test_a_shape_that_does_not_fit_the_geometry_is_refused():
    geometry = tilt_series((8, 8, 8), tilt_range=(-60, 60), tilt_step=6)
    with pytest.raises(ValueError, match="geometry"):
        project(torch.zeros(1, 8, 8, 9), geometry)
