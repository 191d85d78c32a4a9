import numpy as np
import pytest
import torch

from halcmd.imaging.densities import built_in
from halcmd.imaging.scene import boxes, cast, counts_per_class, stage
from halcmd.imaging.shapes import JUNK_KINDS
from halcmd.particles import JUNK

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def densities():
    return built_in(["barrel", "rod"], target=10.0, device=CPU)


def things(densities, counts=(12, 8), junk=6, shift=0.5, seed=3):
    return cast(densities, counts, junk=junk, shift=shift, box=24, pixel_size=10.0, seed=seed)


def test_balance_shares_out_the_particles():
    assert counts_per_class(3, 100, ()).tolist() == [100, 100, 100]
    assert counts_per_class(3, 100, (2, 1, 1)).tolist() == [150, 75, 75]
    assert counts_per_class(3, 10, (1, 1, 5)).sum() == 30


def test_a_cast_has_the_counts_asked_for_in_random_order(densities):
    made = things(densities)
    labels = list(made.labels)
    assert [labels.count(name) for name in ("barrel", "rod", JUNK)] == [12, 8, 6]
    assert labels != sorted(labels)
    assert np.abs(made.shifts).max() <= 0.5


def test_a_cast_repeats_with_the_seed_and_changes_with_it(densities):
    one, same, other = (things(densities, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(one.angles, same.angles)
    assert torch.equal(boxes(one, range(26)), boxes(same, range(26)))
    assert not np.array_equal(one.angles, other.angles)


def test_a_box_does_not_depend_on_the_rows_made_with_it(densities):
    made = things(densities)
    together = boxes(made, range(26))
    for row in (0, 7, 25):
        assert torch.allclose(boxes(made, [row])[0], together[row], atol=1e-6)


def test_junk_is_of_all_kinds_and_empty_only_for_ice(densities):
    made = things(densities, counts=(1, 1), junk=60)
    rows = np.flatnonzero(made.labels == JUNK)
    kinds = [made.junk_kind(int(row)) for row in rows]
    assert set(kinds) == set(JUNK_KINDS)
    particle = float(boxes(made, np.flatnonzero(made.labels != JUNK)).sum(dim=(1, 2, 3)).mean())
    for kind, volume in zip(kinds, boxes(made, rows), strict=True):
        assert bool(volume.any()) == (kind != "ice")
        assert float(volume.sum()) < 5 * particle


def test_particles_of_a_tomogram_are_crowded_and_do_not_overlap(densities):
    made = things(densities, counts=(20, 20), junk=8)
    scenery = stage(made, range(48), name="sim_01")
    shape = np.array(scenery.density.shape)
    assert (scenery.centres >= 12).all()
    assert (scenery.centres + 12 <= shape).all()
    taken = np.zeros(shape, dtype=int)
    for centre, volume in zip(scenery.centres, boxes(made, range(48)), strict=True):
        z, y, x = (slice(c - 12, c + 12) for c in centre)
        taken[z, y, x] += (volume > 0.1 * volume.max()).numpy() if volume.any() else 0
    assert taken.max() == 1
    assert taken.mean() > 0.03


def test_the_density_of_a_tomogram_is_the_sum_of_its_boxes(densities):
    made = things(densities)
    scenery = stage(made, [3, 4, 5], name="sim_01")
    total = boxes(made, [3, 4, 5]).sum()
    assert float(scenery.density.sum()) == pytest.approx(float(total), rel=1e-4)


def test_each_tomogram_is_laid_out_differently_and_repeatably(densities):
    made = things(densities)
    one, same, other = (stage(made, range(26), name=name) for name in ("a", "a", "b"))
    assert np.array_equal(one.centres, same.centres)
    assert not np.array_equal(one.centres, other.centres)
