import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from halcmd.chance import derive, generator, keyed_uniform


@given(st.lists(st.text(max_size=8), unique=True, max_size=20), st.integers(), st.randoms())
def test_the_number_of_a_particle_does_not_depend_on_the_order(ids, seed, random):
    numbers = dict(zip(ids, keyed_uniform(seed, "x", ids), strict=True))
    random.shuffle(ids)
    assert numbers == dict(zip(ids, keyed_uniform(seed, "x", ids), strict=True))


def test_numbers_are_uniform_and_differ_by_seed_and_purpose():
    ids = [f"TS_01/{n:06d}" for n in range(20_000)]
    numbers = keyed_uniform(1, "x", ids)
    assert len(set(numbers)) == len(ids)
    assert ((numbers >= 0) & (numbers < 1)).all()
    counts, _ = np.histogram(numbers, 20, (0, 1))
    assert abs(counts - 1000).max() < 150
    for other in (keyed_uniform(2, "x", ids), keyed_uniform(1, "y", ids)):
        assert abs(np.corrcoef(numbers, other)[0, 1]) < 0.03


def test_generators_repeat_by_seed_and_key():
    assert derive(1, "a", 2) == derive(1, "a", 2) != derive(1, "a", 3)
    assert 0 <= derive(-5, "a") < 2**63
    assert generator(1, "a").random() == generator(1, "a").random() != generator(2, "a").random()
