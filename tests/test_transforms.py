import math

import pytest
import torch

from halcmd import transforms

CPU = torch.device("cpu")


def volumes(n=3, box=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return transforms.standardise(torch.randn(n, box, box, box, generator=generator))


def point(z, y, x, box=16):
    volume = torch.zeros(1, box, box, box)
    volume[0, box // 2 + z, box // 2 + y, box // 2 + x] = 1
    return volume


def place(volume):
    box = volume.shape[-1]
    return [int(i) - box // 2 for i in torch.nonzero(volume[0] == volume.max())[0]]


def held(mask, z, y, x):
    return bool(mask[z, y, x])


@pytest.mark.parametrize(
    ("turn", "expected"), [(0, [3, 2, 1]), (1, [-3, -2, 1]), (2, [-3, 2, -1]), (3, [3, -2, -1])]
)
def test_a_half_turn_moves_a_point_to_where_it_belongs(turn, expected):
    assert place(transforms.half_turn(point(3, 2, 1), turn)) == expected


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_two_half_turns_are_none(turn):
    before = volumes()
    after = transforms.half_turn(transforms.half_turn(before, turn), turn)
    assert torch.equal(before, after)


def test_a_shift_is_a_roll():
    before = volumes(1)
    turned = transforms.turned_and_shifted(
        before, turns=torch.tensor([0]), shifts=torch.tensor([[1, -2, 3]])
    )
    assert torch.equal(turned, before.roll((1, -2, 3), dims=(1, 2, 3)))


def test_half_turns_and_shifts_keep_a_symmetric_wedge():
    mask = transforms.wedge_mask(16, (-60.0, 60.0))
    before = transforms.impose_wedge(volumes(8), mask)
    after = transforms.turn_and_shift(
        before, torch.Generator().manual_seed(1), reach=2, turns=(0, 1, 2, 3)
    )
    lost = torch.fft.rfftn(after, dim=(1, 2, 3)).abs()[:, ~mask]
    assert not torch.equal(before, after)
    assert lost.max() < 1e-3


@pytest.mark.parametrize("tilts", [(-60.0, 60.0), (-59.0, 61.0), (-70.0, 50.0), (-40.0, 10.0)])
@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_the_half_turns_named_are_those_that_keep_the_wedge(tilts, turn):
    """By brute force, on a range rounded to whether it is symmetric or not."""
    symmetric = abs(sum(tilts)) <= 3
    exact = (-60.0, 60.0) if symmetric else tilts
    mask = transforms.wedge_mask(16, exact)
    before = transforms.impose_wedge(volumes(4), mask)
    lost = torch.fft.rfftn(transforms.half_turn(before, turn), dim=(1, 2, 3)).abs()[:, ~mask]
    assert (turn in transforms.half_turns(tilts)) == bool(lost.max() < 1e-3)


def test_an_unknown_range_is_not_taken_for_symmetric():
    assert transforms.half_turns(None) == (0, 2)


@pytest.mark.parametrize("mode", ["flips", "full"])
def test_augmentation_of_an_asymmetric_range_keeps_its_wedge(mode):
    tilts = (-70.0, 40.0)
    mask = transforms.wedge_mask(16, tilts)
    change = transforms.augmentation(mode, box=16, tilt_range=tilts, device=CPU)
    before = transforms.standardise(transforms.impose_wedge(volumes(32), mask))
    after = torch.cat(change(before, torch.Generator().manual_seed(2)))
    assert torch.fft.rfftn(after, dim=(1, 2, 3)).abs()[:, ~mask].max() < 1e-2


def test_a_shift_after_rotation_moves_density_by_that_much():
    axis = torch.arange(24.0) - 12
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    blob = torch.exp(-((z - 2) ** 2 + y**2 + (x + 1) ** 2) / 8)[None]
    rotation = transforms.random_rotations(1, torch.Generator().manual_seed(3))
    shift = torch.tensor([[0.5, -0.25, 1.5]])
    moved = transforms.rotate(blob, rotation, shifts=shift)[0]
    centre = torch.stack([(moved * part).sum() / moved.sum() for part in (z, y, x)])
    expected = rotation[0] @ torch.tensor([2.0, 0.0, -1.0]) + shift[0]
    torch.testing.assert_close(centre, expected, atol=0.02, rtol=0)


def test_random_rotations_are_proper_and_spread_over_all_directions():
    rotations = transforms.random_rotations(2000, torch.Generator().manual_seed(0))
    identity = rotations @ rotations.transpose(1, 2)
    torch.testing.assert_close(identity, torch.eye(3).expand_as(identity), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(2000), atol=1e-5, rtol=0)
    assert rotations.mean(dim=0).abs().max() < 0.06


def test_rotation_moves_density_at_r_to_rotated_r():
    quarter = torch.tensor([[[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]])  # about z: (y, x) -> (-x, y)
    assert place(transforms.rotate(point(2, 3, 1), quarter).round()) == [2, -1, 3]


def test_rotation_there_and_back_keeps_a_smooth_particle():
    axis = torch.arange(24.0) - 12
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    blob = torch.exp(-((z - 2) ** 2 + (y / 2) ** 2 + (x + 1) ** 2) / 8)[None]
    rotation = transforms.random_rotations(1, torch.Generator().manual_seed(3))
    back = transforms.rotate(transforms.rotate(blob, rotation), rotation.transpose(1, 2))
    assert torch.corrcoef(torch.stack([blob.flatten(), back.flatten()]))[0, 1] > 0.98


def test_the_wedge_is_missing_along_the_beam_and_held_across_it():
    mask = transforms.wedge_mask(16, (-60.0, 60.0))
    assert held(mask, 0, 0, 0)  # the mean
    assert all(held(mask, 0, 0, x) for x in range(9))
    assert all(held(mask, 0, y, 0) for y in range(16))
    assert not any(held(mask, z, 0, 0) for z in range(1, 16))
    assert not held(mask, 2, 5, 1)  # atan(2) = 63 degrees, whatever ky is
    assert held(mask, 3, 5, 2)  # atan(1.5) = 56 degrees
    assert held(mask, -3, 5, 2)


def test_an_asymmetric_range_holds_the_side_of_its_tilts():
    mask = transforms.wedge_mask(16, (-10.0, 60.0))
    assert held(mask, 3, 0, 3)  # kz = kx tan(45)
    assert not held(mask, -3, 0, 3)


def test_no_tilt_holds_the_plane_across_the_beam_alone():
    mask = transforms.wedge_mask(16, (0.0, 0.0))
    assert mask[0].all()
    assert not mask[1:, :, 1:].any()


def test_all_tilts_hold_everything():
    assert transforms.wedge_mask(16, (-90.0, 90.0)).all()


def test_the_held_share_is_that_of_the_tilts():
    mask = transforms.wedge_mask(48, (-50.0, 50.0))
    frequency = torch.fft.fftfreq(48)
    radius = torch.hypot(frequency[:, None], torch.fft.rfftfreq(48)[None, :])
    disc = (radius < 0.45) & (radius > 0.05)
    share = mask[:, 0][disc].double().mean()
    assert math.isclose(share, 100 / 180, abs_tol=0.02)


@pytest.mark.parametrize("tilts", [(-60.0, 60.0), (-42.0, 55.0)])
def test_cutting_the_wedge_twice_is_cutting_it_once(tilts):
    mask = transforms.wedge_mask(16, tilts)
    once = transforms.impose_wedge(volumes(), mask)
    torch.testing.assert_close(transforms.impose_wedge(once, mask), once, atol=1e-5, rtol=0)


def test_a_constant_particle_standardises_to_zero():
    assert torch.equal(transforms.standardise(torch.ones(1, 4, 4, 4)), torch.zeros(1, 4, 4, 4))


@pytest.mark.parametrize("mode", transforms.MODES)
def test_augmentation_depends_on_its_generator_alone(mode):
    change = transforms.augmentation(mode, box=16, tilt_range=(-60.0, 60.0), device=CPU)
    before = volumes(6)
    one, two = (torch.cat(change(before, torch.Generator().manual_seed(5))) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == before.shape
    assert (mode == "none") == torch.equal(one, before)


def test_noise_is_added_where_there_is_signal_alone_and_up_to_its_most():
    mask = transforms.wedge_mask(16, (-60.0, 60.0))
    before = transforms.standardise(transforms.impose_wedge(volumes(400), mask))
    after = transforms.add_noise(before, torch.Generator().manual_seed(0), 0.5, mask)
    assert torch.fft.rfftn(after, dim=(1, 2, 3)).abs()[:, ~mask].max() < 1e-2
    torch.testing.assert_close(after.std(dim=(1, 2, 3)), torch.ones(400), atol=1e-3, rtol=0)
    likeness = (before * after).mean(dim=(1, 2, 3))
    # Noise of deviation a leaves 1 / sqrt(1 + a^2 * share held); a is uniform from 0 to 0.5.
    held = mask.double().mean()
    assert likeness.max() > 0.999
    assert likeness.min() == pytest.approx(1 / math.sqrt(1 + 0.25 * held), abs=0.01)
    assert likeness.median() == pytest.approx(1 / math.sqrt(1 + 0.0625 * held), abs=0.01)


def test_no_noise_draws_nothing():
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    before = volumes()
    assert torch.equal(transforms.add_noise(before, generator, 0.0), before)
    assert torch.equal(generator.get_state(), state)


@pytest.mark.parametrize("tilts", [(-60.0, 60.0), None])
def test_full_with_noise_changes_every_particle_and_none_without(tilts):
    made = [
        torch.cat(
            transforms.augmentation("full", box=16, tilt_range=tilts, device=CPU, noise=noise)(
                volumes(6), torch.Generator().manual_seed(5)
            )
        )
        for noise in (0.0, 0.3)
    ]
    assert made[0].shape == made[1].shape
    assert ((made[0] - made[1]).abs().amax(dim=(1, 2, 3)) > 1e-3).all()


def test_full_rotates_half_and_cuts_their_wedge():
    tilts = (-60.0, 60.0)
    change = transforms.augmentation("full", box=16, tilt_range=tilts, device=CPU)
    as_is, rotated = change(volumes(7), torch.Generator().manual_seed(5))
    assert (len(as_is), len(rotated)) == (4, 3)
    lost = torch.fft.rfftn(rotated, dim=(1, 2, 3)).abs()[:, ~transforms.wedge_mask(16, tilts)]
    assert lost.max() < 1e-2
    torch.testing.assert_close(rotated.std(dim=(1, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


def test_full_rotates_none_where_the_tilts_are_unknown():
    change = transforms.augmentation("full", box=16, tilt_range=None, device=CPU)
    assert len(change(volumes(6), torch.Generator().manual_seed(5))) == 1


def test_full_takes_a_single_particle():
    change = transforms.augmentation("full", box=16, tilt_range=(-60.0, 60.0), device=CPU)
    assert len(change(volumes(1), torch.Generator().manual_seed(5))[0]) == 1
