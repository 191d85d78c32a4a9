from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from halcmd.imaging.shapes import SHAPES, aggregate, membrane, rasterised, shape
from halcmd.particles import valid_label

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_the_symmetry_it_states(name):
    made = shape(name)
    tree = cKDTree(made.positions)
    group = Rotation.create_group(made.symmetry) if made.symmetry != "C1" else []
    for turn in group:
        distance, partner = tree.query(turn.apply(made.positions))
        assert distance.max() < 1e-6
        assert np.allclose(made.heights, made.heights[partner])
        assert np.allclose(made.widths, made.widths[partner])


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_no_more_symmetry_than_it_states(name):
    made = shape(name)
    order = 1 if made.symmetry == "C1" else len(Rotation.create_group(made.symmetry))
    tree = cKDTree(made.positions)
    finer = ["C2", "C3", "C4", "C5", "C6", "C7", "C8", "C12", "D1", "D2", "O", "I"]
    for symmetry in finer:
        group = Rotation.create_group(symmetry)
        same = [tree.query(turn.apply(made.positions))[0].max() < 1.0 for turn in group]
        if all(same):
            assert len(group) <= order


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_centred_of_realistic_size_and_evenly_dense(name):
    made = shape(name)
    mass = made.heights * made.widths**3
    assert np.allclose(np.average(made.positions, axis=0, weights=mass), 0, atol=1e-6)
    assert 100 < 2 * np.linalg.norm(made.positions, axis=1).max() < 240
    assert 100 < made.mass_kda < 1500
    assert 0.7 < float(rasterised(made, 5.0, device=CPU).max()) < 1.4
    assert valid_label(name)
    assert name.isalpha()


def test_bigger_shapes_have_more_mass():
    assert shape("ribosome").mass_kda > shape("barrel").mass_kda > shape("antibody").mass_kda


def test_no_two_shapes_look_alike():
    # Mass and the radial profile do not change with rotation.
    profiles = {}
    for name in SHAPES:
        made = shape(name)
        radii = np.linalg.norm(made.positions, axis=1)
        mass = made.heights * made.widths**3
        profiles[name] = np.histogram(radii, bins=12, range=(0, 120), weights=mass)[0]
    for one, other in combinations(profiles.values(), 2):
        difference = np.abs(one - other).sum() / max(one.sum(), other.sum())
        assert difference > 0.25


def test_a_rasterised_shape_is_the_sum_of_its_blobs():
    made = shape("antibody")
    box, pixel_size = 24, 10.0
    volume = rasterised(made, pixel_size, device=CPU, box=box).numpy()
    axis = (np.arange(box) - box // 2) * pixel_size
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    expected = np.zeros((box, box, box))
    for (px, py, pz), width, height in zip(made.positions, made.widths, made.heights, strict=True):
        distance2 = (x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2
        expected += height * np.exp(-distance2 / (2 * width**2))
    assert np.allclose(volume, expected, atol=1e-5)


def test_mass_is_the_integral_of_the_density():
    made = shape("ring")
    volume = rasterised(made, 4.0, device=CPU)
    assert made.mass_kda == pytest.approx(float(volume.sum()) * 4.0**3 * 0.81e-3, rel=1e-3)


@pytest.mark.parametrize("make", [membrane, aggregate])
def test_junk_stays_within_its_radius_and_repeats_with_the_seed(make):
    for seed in range(20):
        made = make(np.random.default_rng(seed), 120.0)
        again = make(np.random.default_rng(seed), 120.0)
        assert np.array_equal(made.positions, again.positions)
        assert np.linalg.norm(made.positions, axis=1).max() < 160
