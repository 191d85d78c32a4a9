import numpy as np
import pytest

from halcmd.errors import InputError
from halcmd.particles import Particles, new_particles
from halcmd.splitting import split_test


def table(tomograms: str, **more: object) -> Particles:
    ids = [f"{name}/{n:06d}" for n, name in enumerate(tomograms)]
    return new_particles({"halParticleId": ids, "halTomogram": list(tomograms), **more})  # type: ignore[dict-item]


def along_x(positions: np.ndarray, tomograms: str | None = None) -> Particles:
    count = len(positions)
    columns = {f"halPosition{axis}Angst": ["5.0"] * count for axis in "YZ"}
    columns["halPositionXAngst"] = [f"{x:.3f}" for x in positions]
    return table(tomograms or "T" * count, **columns)


def test_without_a_fraction_nothing_changes():
    particles = table("AB", halSplit=["test", "pool"])
    assert split_test(particles, fraction=0.0, by="tomogram", seed=0) is particles


def test_whole_tomograms_are_held_out_near_the_share_wanted():
    particles = table("A" * 10 + "B" * 10 + "C" * 10 + "D" * 10)
    for seed in range(5):
        split = split_test(particles, fraction=0.25, by="tomogram", seed=seed)
        names = set(split.tomograms[split.is_test])
        assert len(names) == 1
        assert not names & set(split.tomograms[~split.is_test])
    chosen = {
        split_test(particles, fraction=0.5, by="tomogram", seed=s).is_test.sum() for s in (1, 2)
    }
    assert chosen == {20}


def test_at_least_one_tomogram_stays_on_each_side():
    particles = table("A" * 99 + "B")
    for fraction in (0.01, 0.5, 0.99):
        split = split_test(particles, fraction=fraction, by="tomogram", seed=0)
        assert 0 < split.is_test.sum() < 100


def test_one_tomogram_cannot_be_split_by_tomogram():
    with pytest.raises(InputError, match="one tomogram") as error:
        split_test(table("AAA"), fraction=0.3, by="tomogram", seed=0)
    assert "--test-by" in str(error.value.hint)


@pytest.mark.parametrize("by", ["tomogram", "particle", "region"])
def test_the_choice_does_not_depend_on_the_order_of_rows(rng, by):
    names = "".join(rng.choice(list("ABCD"), 60))
    particles = along_x(rng.permutation(60) * 7.0, names)
    order = rng.permutation(60)
    one = split_test(particles, fraction=0.3, by=by, seed=3)
    two = split_test(particles.take(order), fraction=0.3, by=by, seed=3)
    assert set(one.ids[one.is_test]) == set(two.ids[two.is_test])


def test_a_region_is_one_end_of_each_tomogram(rng):
    x = np.concatenate([rng.permutation(40) * 10.0, rng.permutation(40) * 10.0 + 5000])
    particles = along_x(x, "A" * 40 + "B" * 40)
    split = split_test(particles, fraction=0.25, by="region", seed=1, gap=50.0)
    for name in "AB":
        rows = split.tomograms == name
        test, pool = x[rows & split.is_test], x[rows & ~split.is_test]
        assert len(test) == 10
        assert test.min() > pool.max() or test.max() < pool.min()


def test_a_region_needs_positions():
    with pytest.raises(InputError, match="positions are unknown"):
        split_test(table("AAA"), fraction=0.3, by="region", seed=0)


def test_single_particles_are_held_out_within_each_label():
    particles = table("A" * 60, halLabel=["apo"] * 40 + ["holo"] * 20)
    split = split_test(particles, fraction=0.25, by="particle", seed=0)
    assert split.is_test[:40].sum() == 10
    assert split.is_test[40:].sum() == 5
    other = split_test(particles, fraction=0.25, by="particle", seed=1)
    assert (other.is_test != split.is_test).any()
