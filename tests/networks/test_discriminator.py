"""The discriminator's layers: those of paper and code, for maps of any size."""

import numpy as np
import pytest
import torch

from halcmd.networks.discriminator import RECIPES, Discriminator, MaxPool, standardise


@pytest.mark.parametrize(("size", "left_out"), [(1, 2), (2, 1), (3, 0), (5, 0)])
def test_maps_too_small_for_the_pools_do_without(size: int, left_out: int) -> None:
    shape = (4, size, size, size)
    made = Discriminator(shape, RECIPES["code"], "conv", generator=torch.Generator())
    assert made.pools_left_out == left_out
    assert made(torch.zeros(2, *shape)).shape == (2,)


def test_the_layers_are_those_of_paper_and_code() -> None:
    for preset, dense in (("paper", 2), ("code", 4)):
        made = Discriminator((8, 5, 5, 5), RECIPES[preset], "conv", generator=torch.Generator())
        kinds = [type(layer).__name__ for layer in made.layers]
        assert (kinds.count("Conv3d"), kinds.count("Linear")) == (2, dense)
        assert kinds.count("MaxPool") == 2
    mlp = Discriminator((8, 5, 5, 5), RECIPES["code"], "mlp", generator=torch.Generator())
    widths = [layer.out_features for layer in mlp.layers if isinstance(layer, torch.nn.Linear)]
    assert widths == [256, 256, 256, 1]


def test_making_a_discriminator_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    Discriminator((3, 3, 3, 3), RECIPES["default"], "conv", generator=torch.Generator())
    assert torch.equal(before, torch.get_rng_state())


def test_channels_are_standardised_and_dead_ones_silenced() -> None:
    maps = np.random.default_rng(0).normal(3.0, 5.0, (200, 3, 2, 2, 2)).astype(np.float16)
    maps[:, 2] = 7.0
    made = Discriminator((3, 2, 2, 2), RECIPES["default"], "conv", generator=torch.Generator())
    standardise(made, maps)
    scaled = (torch.from_numpy(maps).float() - made.mean) * made.scale
    assert scaled[:, :2].std().item() == pytest.approx(1.0, abs=0.01)
    assert scaled.mean().item() == pytest.approx(0.0, abs=0.01)
    assert scaled[:, 2].abs().max() == 0.0


def test_the_pool_is_a_max_pool_of_stride_one() -> None:
    maps = torch.randn(2, 3, 4, 5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(MaxPool()(maps), torch.nn.MaxPool3d(2, stride=1)(maps))
