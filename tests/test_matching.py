import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halcmd.labels.matching import (
    AMBIGUOUS,
    NO_MATCH,
    id_number,
    match_ids,
    match_names,
    match_positions,
)

IDS = st.lists(st.sampled_from("abcdef"), max_size=8)


@given(IDS, IDS)
def test_ids_match_where_they_are_the_same_and_unique(wanted, ids):
    rows = match_ids(wanted, ids).rows
    assert len(rows) == len(wanted)
    for name, row in zip(wanted, rows, strict=True):
        expected = {0: NO_MATCH, 1: ids.index(name) if name in ids else NO_MATCH}
        assert row == expected.get(ids.count(name), AMBIGUOUS)


def test_no_match_is_no_particle():
    match = match_ids(["a", "x", "b"], ["b", "a", "b"])
    assert match.matched.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("wanted", "row"),
    [
        ("Extract/a/T.mrc", 0),
        ("./Extract//a/T.mrc", 0),
        ("Extract\\b\\T.mrc", 1),
        ("T.mrc", AMBIGUOUS),
        ("elsewhere/U.mrc", 2),
        ("12@Extract/S.mrcs", 3),
        ("000012@/data/S.mrcs", 3),
        ("000013@Extract/S.mrcs", NO_MATCH),
        ("Extract/S.mrcs", NO_MATCH),
        ("V.mrc", NO_MATCH),
    ],
)
def test_images_match_by_path_else_by_a_unique_base_name(wanted, row):
    names = ["Extract/a/T.mrc", "Extract/b/T.mrc", "Extract/b/U.mrc", "000012@Extract/S.mrcs"]
    assert match_names([wanted], names).rows.tolist() == [row]


POINTS = st.lists(
    st.tuples(st.sampled_from("AB"), st.integers(0, 6), st.integers(0, 6)), max_size=7
)


@settings(max_examples=80, deadline=None)
@given(POINTS, POINTS, st.sampled_from([0.5, 1.0, 2.5]), st.sampled_from([0.0, 1.0]))
def test_positions_match_as_by_brute_force(wanted, points, distance, voxel):
    def split(rows):
        names = np.array([row[0] for row in rows], dtype=object)
        places = np.array([(row[1], row[2], 0) for row in rows], dtype=float).reshape(-1, 3)
        return names, places

    names, places = split(wanted)
    table_names, table_places = split(points)
    rows = match_positions(names, places, table_names, table_places, distance, voxel).rows
    for n, row in enumerate(rows):
        gaps = np.linalg.norm(table_places - places[n], axis=1)
        gaps = np.where(table_names == names[n], gaps, np.inf)
        order = np.argsort(gaps, kind="stable")
        near = len(order) > 0 and gaps[order[0]] <= distance
        rival = len(order) > 1 and (gaps[order[1]] < 3 * gaps[order[0]] or gaps[order[1]] <= voxel)
        others = np.linalg.norm(places - table_places[order[0]], axis=1) if near else np.zeros(1)
        others = np.where(names == names[n], others, np.inf) if near else others
        if rival and near:
            assert row in {AMBIGUOUS, NO_MATCH}
        elif near and others.min() >= gaps[order[0]]:
            assert row == order[0]
        else:
            assert row == NO_MATCH


@given(POINTS, st.sampled_from([0.5, 2.5]))
def test_no_two_rows_at_different_places_have_one_particle(points, distance):
    names = np.array([name for name, *_ in points], dtype=object)
    places = np.array([(x, y, 0) for _, x, y in points], dtype=float).reshape(-1, 3)
    table = np.unique(places[names == "A"] + 0.3, axis=0)
    table_names = np.full(len(table), "A", dtype=object)
    rows = match_positions(names, places, table_names, table, distance).rows
    for row in set(rows[rows >= 0]):
        assert len(np.unique(places[rows == row], axis=0)) == 1


@pytest.mark.parametrize(
    ("second", "voxel", "expected"), [(2.9, 0, AMBIGUOUS), (3.1, 0, 0), (3.1, 4, AMBIGUOUS)]
)
def test_a_second_particle_must_be_three_times_as_far(second, voxel, expected):
    table = np.array([[1.0, 0, 0], [-second, 0, 0]])
    names = np.array(["T", "T"], dtype=object)
    match = match_positions(names[:1], np.zeros((1, 3)), names, table, 10.0, voxel)
    assert match.rows.tolist() == [expected]


@pytest.mark.parametrize("blur", [0.2, 0.87])
def test_among_crowded_particles_a_rounded_place_never_takes_the_wrong_one(rng, blur):
    """Moved by up to 0.87 voxels, as by rounding, among neighbours half a voxel to two away."""
    table = rng.uniform(0, 25, (4000, 3))
    names = np.full(4000, "T", dtype=object)
    moves = rng.normal(size=table.shape)
    moves *= blur * rng.uniform(size=(4000, 1)) / np.linalg.norm(moves, axis=1, keepdims=True)
    order = rng.permutation(4000)[:3000]
    rows = match_positions(names[order], (table + moves)[order], names, table, 2.0, 1.0).rows
    found = rows >= 0
    assert (rows[found] == order[found]).all()
    assert found.sum() > 100


def test_a_place_that_is_unknown_has_no_particle():
    names = np.array(["T", "T"], dtype=object)
    wanted = np.array([[np.nan, 0, 0], [1, 1, 1]])
    table = np.array([[1.0, 1, 1], [np.nan] * 3])
    assert match_positions(names, wanted, names, table, 5.0).rows.tolist() == [NO_MATCH, 0]


def test_numbers_for_names_fit_a_float_and_differ():
    numbers = {id_number(f"TS_{n % 7}/{n:06d}") for n in range(20_000)}
    assert len(numbers) == 20_000
    assert all(int(float(number)) == number for number in numbers)


def test_two_particles_at_the_very_same_place_are_ambiguous():
    one = np.array(["T"], dtype=object)
    two = np.array(["T", "T"], dtype=object)
    assert match_positions(one, np.zeros((1, 3)), two, np.zeros((2, 3)), 5.0).rows[0] == AMBIGUOUS
