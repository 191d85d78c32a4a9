from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from halcmd.errors import DryRun, HalcmdError, OptionError
from halcmd.formats.star import read_star
from halcmd.imaging.microscope import Optics
from halcmd.imaging.shapes import rasterised, shape
from halcmd.imaging.simulated import Acquisition, Scene
from halcmd.steps.simulate import simulate
from halcmd.tables import read_particles

CPU = torch.device("cpu")
SMALL = Scene(classes=3, per_class=8, box=26, pixel_size=10.0)


def run(folder, scene=SMALL, *, seed=1, test_fraction=0.25, **acquisition):
    return simulate(
        folder,
        scene=scene,
        acquisition=Acquisition(**acquisition),
        test_fraction=test_fraction,
        seed=seed,
        device=CPU,
    )


def stack_of(folder):
    return mrcfile.read(folder / "Subtomograms" / "simulated.mrcs").astype(np.float64)


def variance(volumes):
    return volumes.reshape(len(volumes), -1).var(axis=1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The same data set with noise at SNR 0.1, and without."""
    root = tmp_path_factory.mktemp("pair")
    noisy = run(root / "noisy", replace(SMALL, junk=0.25), snr=0.1)
    clean = run(root / "clean", replace(SMALL, junk=0.25), snr=float("inf"))
    return noisy, clean, stack_of(root / "noisy"), stack_of(root / "clean")


def test_the_snr_of_the_output_is_the_one_asked_for(pair):
    noisy, _, with_noise, without = pair
    signal = np.sqrt(0.1) * without
    noise = with_noise - signal
    particles = noisy.truth.labels != "junk"
    ratio = variance(signal)[particles] / variance(noise)[particles].mean()
    assert ratio.mean() == pytest.approx(0.1, rel=0.01)
    assert noise.std() == pytest.approx(1, rel=0.01)
    for name, value in noisy.snr.items():
        assert ratio[noisy.truth.labels[particles] == name].mean() == pytest.approx(value, rel=0.02)


def test_the_noise_knows_nothing_of_the_signal(pair):
    _, _, with_noise, without = pair
    noise = with_noise - np.sqrt(0.1) * without
    assert abs(np.corrcoef(noise.ravel(), without.ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.05


def test_without_noise_the_mean_variance_is_one(pair):
    _, clean, _, without = pair
    assert variance(without)[clean.truth.labels != "junk"].mean() == pytest.approx(1, rel=1e-4)


def test_larger_particles_have_a_higher_snr(tmp_path):
    result = run(tmp_path, Scene(classes=5, per_class=4, box=26), snr=0.2)
    assert result.snr["ribosome"] > result.snr["barrel"] > result.snr["rod"]
    assert np.mean(list(result.snr.values())) == pytest.approx(0.2, rel=1e-6)


def test_the_particle_table_says_what_the_stack_is(pair):
    noisy, _, with_noise, _ = pair
    particles = read_particles([noisy.output])
    assert len(particles) == len(with_noise) == 30
    assert particles.ids[0] == "simulated/000001"
    number, path = particles.text("halImageName")[4].split("@")
    assert number == "000005"
    assert Path(path) == noisy.output.parent / "Subtomograms" / "simulated.mrcs"
    assert set(particles.number("halImageSize")) == {26}
    assert set(particles.number("halImagePixelSize")) == {10}
    assert set(particles.text("halContrast")) == {"bright"}
    assert (particles.number("halTiltMin")[0], particles.number("halTiltMax")[0]) == (-60, 60)
    assert not particles.has("halLabel")
    with mrcfile.open(noisy.output.parent / "Subtomograms" / "simulated.mrcs") as file:
        assert file.is_volume_stack()
        assert float(file.voxel_size.x) == pytest.approx(10)


def test_the_truth_has_the_same_rows_and_split_and_all_classes(pair):
    noisy, _, _, _ = pair
    truth = read_particles([noisy.output.parent / "truth.star"])
    particles = read_particles([noisy.output])
    assert np.array_equal(truth.ids, particles.ids)
    assert np.array_equal(truth.is_test, particles.is_test)
    labels, counts = np.unique(truth.labels.astype(str), return_counts=True)
    assert dict(zip(labels, counts, strict=True)) == {
        "barrel": 8,
        "junk": 6,
        "ribosome": 8,
        "shell": 8,
    }
    # A quarter of each class is test.
    assert [int(truth.is_test[truth.labels == name].sum()) for name in labels] == [2, 2, 2, 2]


def test_the_summary_counts_what_was_made(pair):
    summary = pair[0].summary()
    assert summary["particles"] == 30
    assert summary["classes"]["junk"] == 6
    assert pair[1].summary()["snr"] == dict.fromkeys(["barrel", "ribosome", "shell"])


def test_the_poses_in_the_truth_put_the_reference_onto_the_particles(tmp_path):
    from halcmd.imaging.densities import built_in, posed
    from halcmd.poses import euler_matrices

    result = run(
        tmp_path,
        Scene(classes=1, per_class=3, box=30),
        snr=float("inf"),
        tilt_range=(-90, 87),
        optics=Optics(ctf=False, mtf=False),
    )
    truth = read_particles([tmp_path / "truth.star"])
    angles = np.stack([truth.number(f"rlnAngle{n}") for n in ("Rot", "Tilt", "Psi")], axis=1)
    origins = np.stack([truth.number(f"rlnOrigin{n}Angst") for n in "XYZ"], axis=1)
    density = built_in(["ribosome"], target=10.0, device=CPU)["ribosome"]
    boxes = posed(density, euler_matrices(angles), -origins / 10, box=30, pixel_size=10.0)
    for volume, box in zip(stack_of(result.output.parent), boxes.numpy(), strict=True):
        assert np.corrcoef(volume.ravel(), box.ravel())[0, 1] > 0.98


def test_dark_contrast_is_the_negative(tmp_path, pair):
    run(tmp_path, replace(SMALL, junk=0.25), snr=0.1, contrast="dark")
    assert np.allclose(stack_of(tmp_path), -pair[2], atol=1e-5)


def test_the_same_seed_gives_the_same_data_and_another_seed_does_not(tmp_path, pair):
    run(tmp_path / "same", replace(SMALL, junk=0.25), snr=0.1)
    run(tmp_path / "other", replace(SMALL, junk=0.25), snr=0.1, seed=2)
    assert np.allclose(stack_of(tmp_path / "same"), pair[2], atol=1e-5)
    assert abs(np.corrcoef(stack_of(tmp_path / "other").ravel(), pair[2].ravel())[0, 1]) < 0.1


def test_tomograms_come_with_picks_at_the_true_centres(tmp_path):
    scene = Scene(classes=2, per_class=10, box=26, tomograms=2, junk=0.2)
    noisy = run(tmp_path / "noisy", scene, snr=0.5)
    clean = run(tmp_path / "clean", scene, snr=float("inf"), optics=Optics(ctf=False, mtf=False))
    picks = read_particles([noisy.output])
    assert noisy.output.name == "picks.star"
    assert list(np.unique(picks.text("rlnTomoName").astype(str))) == ["sim_01", "sim_02"]
    assert picks.ids[0] == "sim_01/000001"
    # Whole tomograms are held out.
    assert {str(n) for n in picks.text("rlnTomoName")[picks.is_test]} in ({"sim_01"}, {"sim_02"})
    # Picks sit on density, but for junk.
    centres = np.stack([picks.number(f"rlnCoordinate{n}") for n in "ZYX"], axis=1)
    assert np.any(centres % 1)
    names = picks.text("rlnTomoName")
    for name in ("sim_01", "sim_02"):
        volume = mrcfile.read(tmp_path / "clean" / "Tomograms" / f"{name}.mrc")
        rows = np.flatnonzero((names == name) & (clean.truth.labels == "ribosome"))
        z, y, x = np.rint(centres[rows]).astype(int).T
        assert volume[z, y, x].mean() > 3 * volume.std()


def test_the_snr_in_tomograms_is_measured_in_the_boxes(tmp_path):
    scene = Scene(classes=2, per_class=8, box=26, tomograms=1)
    noisy, clean = (run(tmp_path / str(snr), scene, snr=snr) for snr in (0.2, float("inf")))
    with_noise, without = (
        mrcfile.read(result.output.parent / "Tomograms" / "sim_01.mrc") for result in (noisy, clean)
    )
    noise = with_noise - np.sqrt(0.2) * without
    assert noise.std() == pytest.approx(1, rel=0.02)
    picks = noisy.truth
    centres = np.stack([picks.number(f"rlnCoordinate{n}") for n in "ZYX"], axis=1)
    corners = np.rint(centres).astype(int) - 13
    cut = [without[z : z + 26, y : y + 26, x : x + 26] for z, y, x in corners]
    ratio = 0.2 * variance(np.array(cut)) / noise.var()
    assert ratio.mean() == pytest.approx(0.2, rel=0.02)


def test_tomograms_star_names_every_volume(tmp_path):
    result = run(tmp_path, Scene(classes=2, per_class=4, box=26, tomograms=2))
    table = read_star(tmp_path / "tomograms.star").table("global")
    assert table.column("rlnTomoName") == ["sim_01", "sim_02"]
    for name, path in enumerate(table.column("rlnTomoReconstructedTomogram")):
        size = [int(table.column(f"rlnTomoSize{n}")[name]) for n in "ZYX"]
        assert list(mrcfile.read(path).shape) == size
    assert table.column("rlnTomoTiltSeriesPixelSize") == ["10", "10"]
    assert result.summary()["tomograms"] == 2


def test_the_last_tilt_recorded_is_the_one_that_the_step_reaches(tmp_path):
    result = run(tmp_path, replace(SMALL, per_class=1), tilt_range=(-60, 60), tilt_step=7)
    assert result.particles.text("halTiltMax")[0] == "59"


def test_maps_are_the_classes(tmp_path):
    for name in ("shell", "rod"):
        values = rasterised(shape(name), 8.0, device=CPU, box=32).numpy()
        with mrcfile.new(tmp_path / f"{name}.mrc", values) as file:
            file.voxel_size = 8.0
    result = run(tmp_path / "o", Scene(maps=[tmp_path], per_class=3, box=26))
    assert result.summary()["classes"] == {"rod": 3, "shell": 3}


@pytest.mark.parametrize(
    ("scene", "acquisition", "message"),
    [
        ({"box": 25}, {}, "--box"),
        ({"box": 6}, {}, "--box"),
        ({"box": 20}, {}, "does not fit"),
        ({"classes": 99}, {}, "--classes"),
        ({"classes": 0}, {}, "--classes"),
        ({"per_class": 0}, {}, "--per-class"),
        ({"balance": (1, 2)}, {}, "one weight per class"),
        ({"balance": (1, 1, 0)}, {}, "--balance"),
        ({"balance": (1, 1, 1e-6)}, {}, "without particles"),
        ({"junk": -1}, {}, "--junk"),
        ({"pixel_size": 0}, {}, "--angpix"),
        ({"tomograms": 100}, {}, "--tomograms"),
        ({}, {"snr": 0}, "--snr"),
        ({}, {"snr": float("nan")}, "--snr"),
        ({}, {"tilt_range": (60, -60)}, "--tilt-range"),
        ({}, {"tilt_range": (-100, 60)}, "--tilt-range"),
        ({}, {"tilt_step": 0}, "--tilt-step"),
        ({}, {"tilt_step": 500}, "--tilt-step"),
        ({}, {"contrast": "grey"}, "--contrast"),
        ({}, {"optics": Optics(voltage_kv=0)}, "--voltage"),
        ({}, {"optics": Optics(amplitude_contrast=1)}, "--amplitude-contrast"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    tmp_path, scene, acquisition, message
):
    with pytest.raises(OptionError) as caught:
        run(tmp_path / "o", replace(SMALL, **scene), **acquisition)
    assert message in caught.value.message
    assert not (tmp_path / "o").exists()


def test_a_box_that_is_too_small_is_refused_with_one_that_fits(tmp_path):
    with pytest.raises(OptionError) as caught:
        run(tmp_path, replace(SMALL, box=20))
    assert "--box 26" in caught.value.hint


def test_a_missing_map_is_an_error(tmp_path):
    with pytest.raises(HalcmdError, match="no such file"):
        run(tmp_path, replace(SMALL, maps=(tmp_path / "a.mrc",)))


def test_a_dry_run_writes_nothing(tmp_path):
    from halcmd import console

    console.configure(dry_run=True)
    with pytest.raises(DryRun, match="24 picks"):
        run(tmp_path / "o")
    assert not (tmp_path / "o").exists()
