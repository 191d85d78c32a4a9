"""The simulator against relion_project and relion_reconstruct of RELION 3.1: same poses, tilts."""

import shutil
import subprocess

import mrcfile
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from halcmd.formats.star import Star, Table, read_star, write_star
from halcmd.imaging.densities import built_in, posed
from halcmd.imaging.microscope import Optics, instrument_for, project, transmit
from halcmd.imaging.simulated import Acquisition, Scene
from halcmd.poses import euler_matrices
from halcmd.steps.simulate import simulate
from halcmd.tables import read_particles
from halcmd.transforms import wedge_mask

PROGRAMS = ("relion_project", "relion_reconstruct", "relion_star_handler")
pytestmark = pytest.mark.skipif(
    not all(shutil.which(program) for program in PROGRAMS),
    reason="RELION 3.1 is not installed (relion_project, relion_reconstruct)",
)

CPU = torch.device("cpu")
BOX, PIXEL_SIZE = 40, 10.0
TILTS = np.arange(-60.0, 61.0, 3.0)
ANGLES = np.array([[35.0, 72.0, -130.0]])
SHIFT = np.array([1.3, -0.6, 0.8])  # xyz in voxels


def relion(folder, *arguments):
    done = subprocess.run(
        [str(word) for word in arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def correlation(one, other):
    return float(np.corrcoef(np.ravel(one), np.ravel(other))[0, 1])


def read(path):
    with mrcfile.open(path, permissive=True) as file:
        return np.array(file.data, dtype=np.float32)


def write_images_star(path, angles, shifts_xy, stack, dimension=2):
    """A STAR of 2D images in RELION's signs: origins are subtracted."""
    count = len(angles)
    optics = Table.from_columns(
        "optics",
        {
            "rlnOpticsGroup": [1],
            "rlnOpticsGroupName": ["opticsGroup1"],
            "rlnVoltage": [300],
            "rlnSphericalAberration": [2.7],
            "rlnAmplitudeContrast": [0.07],
            "rlnImagePixelSize": [PIXEL_SIZE],
            "rlnImageSize": [BOX],
            "rlnImageDimensionality": [dimension],
        },
    )
    columns = {
        "rlnImageName": [f"{number:06d}@{stack}" for number in range(1, count + 1)],
        "rlnOpticsGroup": [1] * count,
        "rlnDefocusU": [50000.0] * count,
        "rlnDefocusV": [50000.0] * count,
        "rlnDefocusAngle": [0.0] * count,
        "rlnOriginXAngst": -shifts_xy[:, 0] * PIXEL_SIZE,
        "rlnOriginYAngst": -shifts_xy[:, 1] * PIXEL_SIZE,
    }
    for name, values in zip(("Rot", "Tilt", "Psi"), np.transpose(angles), strict=True):
        columns[f"rlnAngle{name}"] = values
    write_star(path, Star((optics, Table.from_columns("particles", columns))))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """RELION's images (with and without CTF) and volume of one posed particle."""
    folder = tmp_path_factory.mktemp("relion")
    density = built_in(["horseshoe"], target=PIXEL_SIZE, device=CPU)["horseshoe"]
    reference = posed(density, np.eye(3)[None], np.zeros((1, 3)), box=BOX, pixel_size=PIXEL_SIZE)
    with mrcfile.new(folder / "reference.mrc", reference[0].numpy()) as file:
        file.voxel_size = PIXEL_SIZE
    tilted = euler_matrices(np.stack([0 * TILTS, TILTS, 0 * TILTS], axis=1))
    pose = euler_matrices(ANGLES)[0]
    combined = Rotation.from_matrix(np.swapaxes(tilted @ pose, 1, 2)).as_euler("ZYZ", degrees=True)
    write_images_star(folder / "images.star", combined, (tilted @ SHIFT)[:, :2], "none.mrcs")
    call = ["relion_project", "--i", "reference.mrc", "--ang", "images.star", "--angpix", 10]
    relion(folder, *call, "--o", "plain")
    relion(folder, *call, "--o", "ctf", "--ctf")
    in_tomogram = np.stack([0 * TILTS, TILTS, 0 * TILTS], axis=1)
    for name in ("plain", "ctf"):
        write_images_star(
            folder / f"{name}_in.star", in_tomogram, np.zeros((len(TILTS), 2)), f"{name}.mrcs"
        )
        # Without --ctf: RELION must not correct what the simulator leaves in.
        relion(
            folder, "relion_reconstruct", "--i", f"{name}_in.star", "--o", f"{name}_volume.mrc",
            "--angpix", 10,
        )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def particle():
    density = built_in(["horseshoe"], target=PIXEL_SIZE, device=CPU)["horseshoe"]
    return posed(density, euler_matrices(ANGLES), SHIFT[None], box=BOX, pixel_size=PIXEL_SIZE)


def instrument(*, ctf):
    return instrument_for(
        (BOX, BOX, BOX),
        Optics(defocus_um=5.0, ctf=ctf, mtf=False),
        tilt_range=(-60, 60),
        tilt_step=3,
        pixel_size=PIXEL_SIZE,
        device=CPU,
    )


def images_of(particle, *, ctf):
    """Our tilt series as images of the size of the box, (tilts, y, x)."""
    ours = instrument(ctf=ctf)
    spectra = transmit(project(particle, ours.geometry), ours.transfer)[:, :, 0]
    width = ours.geometry.detector
    lines = torch.fft.irfft(spectra, n=width, dim=1).roll(BOX // 2, dims=1)[:, :BOX]
    return lines.transpose(1, 2).numpy()


def measured(volume):
    """A volume with the missing wedge cut out."""
    mask = wedge_mask(BOX, (-61.5, 61.5), device=CPU)
    spectrum = torch.fft.rfftn(torch.as_tensor(volume)) * mask
    return torch.fft.irfftn(spectrum, s=(BOX,) * 3).numpy()


def wedge_share(volume):
    """Power inside the missing wedge, clear of its edge, over power outside."""
    power = np.abs(np.fft.fftn(volume)) ** 2
    k = np.fft.fftfreq(BOX) * BOX
    z, y, x = np.meshgrid(k, k, k, indexing="ij")
    missing = np.abs(z) > np.tan(np.deg2rad(60)) * np.abs(x) + 3
    inside = x**2 + y**2 + z**2 < (0.45 * BOX) ** 2
    return power[missing & inside].sum() / power[~missing & inside].sum()


@pytest.mark.parametrize("ctf", [False, True])
def test_our_images_are_relions_with_the_same_sign_of_the_ctf(theirs, particle, ctf):
    expected = read(theirs / f"{'ctf' if ctf else 'plain'}.mrcs")
    for image, other in zip(images_of(particle, ctf=ctf), expected, strict=True):
        assert correlation(image, other) > 0.995
        assert image.std() == pytest.approx(other.std(), rel=0.1)


def test_our_volume_is_the_rotated_template_where_it_is_measured(particle):
    ours = instrument(ctf=False).signal(particle)[0].numpy()
    assert correlation(ours, measured(particle[0])) > 0.97


@pytest.mark.parametrize("ctf", [False, True])
def test_our_volume_is_relions(theirs, particle, ctf):
    expected = read(theirs / f"{'ctf' if ctf else 'plain'}_volume.mrc")
    ours = instrument(ctf=ctf).signal(particle)[0].numpy()
    assert correlation(ours, expected) > 0.93
    assert correlation(measured(ours), measured(expected)) > 0.95


def test_the_missing_wedge_is_as_empty_as_relions(theirs, particle):
    template = wedge_share(particle[0].numpy())
    ours = wedge_share(instrument(ctf=False).signal(particle)[0].numpy())
    expected = wedge_share(read(theirs / "plain_volume.mrc"))
    assert expected < 0.1 * template
    assert ours < 0.1 * template
    assert ours < 1.5 * expected


def test_poses_of_the_truth_turn_the_reference_in_relion(theirs, tmp_path):
    result = simulate(
        tmp_path,
        scene=Scene(classes=1, per_class=3, box=BOX),
        acquisition=Acquisition(
            snr=float("inf"), tilt_range=(-90, 87), optics=Optics(ctf=False, mtf=False)
        ),
        seed=5,
        device=CPU,
    )
    density = built_in(["ribosome"], target=PIXEL_SIZE, device=CPU)["ribosome"]
    reference = posed(density, np.eye(3)[None], np.zeros((1, 3)), box=BOX, pixel_size=PIXEL_SIZE)
    with mrcfile.new(tmp_path / "reference.mrc", reference[0].numpy()) as file:
        file.voxel_size = PIXEL_SIZE
    relion(
        tmp_path, "relion_project", "--i", "reference.mrc", "--o", "turned", "--ang",
        "truth.star", "--3d_rot", "--angpix", 10,
    )  # fmt: skip
    boxes = mrcfile.read(result.output.parent / "Subtomograms" / "simulated.mrcs")
    for number, box in enumerate(boxes, 1):
        assert correlation(box, read(tmp_path / f"turned{number:06d}.mrc")) > 0.98


@pytest.mark.parametrize("tomograms", [0, 1])
def test_relion_reads_the_tables_as_they_are(tmp_path, tomograms):
    result = simulate(
        tmp_path,
        scene=Scene(classes=2, per_class=2, box=26, tomograms=tomograms),
        acquisition=Acquisition(),
        device=CPU,
    )
    for name in (result.output.name, "truth.star"):
        relion(tmp_path, "relion_star_handler", "--i", name, "--o", "copy.star")
        copy, table = (read_star(tmp_path / path) for path in ("copy.star", name))
        assert len(copy.table("particles")) == len(read_particles([tmp_path / name])) == 4
        ours, theirs = table.table("particles"), copy.table("particles")
        assert set(theirs.labels) == set(ours.labels)
