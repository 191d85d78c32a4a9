"""Statistics of learning curves, against results made by hand and scipy's."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from halcmd.benchmarking.learning_curves import (
    Efficiency,
    area,
    band,
    compared_points,
    difference,
    holm,
    in_words,
    label_efficiency,
    labels_to_reach,
    mean_and_sd,
    mean_ranks,
    penalties,
    reach_text,
)


def test_the_area_is_one_for_a_perfect_curve_and_weighs_the_axis() -> None:
    assert area([10, 20, 80], np.ones(3)) == pytest.approx(1.0)
    assert area([10, 20, 80], np.array([0.0, 1.0, 1.0])) == pytest.approx((5 + 60) / 70)
    by_log = (np.log(2) / 2 + np.log(4)) / np.log(8)
    assert area([10, 20, 80], np.array([0.0, 1.0, 1.0]), log=True) == pytest.approx(by_log)
    several = area([1, 2], np.array([[0.2, 0.4], [0.6, 0.8]]))
    np.testing.assert_allclose(several, [0.3, 0.7])
    assert area([5], np.array([0.7])) == pytest.approx(0.7)


def test_labels_to_reach_a_target() -> None:
    labels = [10, 20, 30, 40]
    assert labels_to_reach(labels, np.array([0.5, 0.7, 0.9, 0.95]), 0.8) == pytest.approx(25)
    assert labels_to_reach(labels, np.array([0.5, 0.7, 0.9, 0.95]), 0.5) == 10
    assert labels_to_reach(labels, np.array([0.5, 0.7, 0.9, 0.95]), 0.96) == np.inf
    # a lucky point is evened out: 0.8 and 0.6 become 0.7 each
    assert labels_to_reach(labels, np.array([0.5, 0.8, 0.6, 0.9]), 0.75) == pytest.approx(32.5)


def test_what_is_not_known_is_left_out() -> None:
    labels = [10, 20, 30, 40]
    assert labels_to_reach(labels, np.array([0.5, np.nan, 0.9, 0.95]), 0.7) == pytest.approx(20)
    assert labels_to_reach(labels, np.full(4, np.nan), 0.7) == np.inf
    values = np.array([[0.2, np.nan, 0.4], [0.4, np.nan, np.nan]])
    mean, sd, count = mean_and_sd(values)
    np.testing.assert_allclose(mean, [0.3, np.nan, 0.4])
    np.testing.assert_allclose(sd, [np.sqrt(0.02), np.nan, np.nan])
    assert count.tolist() == [2, 0, 1]
    np.testing.assert_allclose(band(values)[1], [stats.t.ppf(0.975, 1) * 0.1, 0.0, 0.0])


def test_differences_of_pairs_are_wilcoxons() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=10)
    ours = reference + rng.normal(0.5, 0.3, 10)
    found = difference(ours, reference)
    assert found.p == stats.wilcoxon(ours - reference).pvalue
    assert found.mean == pytest.approx((ours - reference).mean())
    theirs = stats.bootstrap(
        (ours - reference,), np.mean, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)
    assert in_words(found, found.p) == "better"
    assert in_words(difference(reference, ours), found.p) == "worse"
    assert in_words(found, 0.2) == "no significant difference"


def test_few_pairs_prove_nothing() -> None:
    found = difference(np.arange(5) + 1.0, np.zeros(5))
    assert np.isnan([found.p, found.low, found.high]).all()
    assert in_words(found, found.p) == "cannot be told from 5 seeds"
    assert difference(np.array([np.nan, 1.0]), np.zeros(2)).pairs == 1
    assert difference(np.full(2, np.nan), np.zeros(2)).pairs == 0


def test_where_all_pairs_are_equal_there_is_no_difference() -> None:
    found = difference(np.ones(8), np.ones(8))
    assert (found.mean, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)
    assert in_words(found, found.p) == "no significant difference"


def by_enumeration(differences: np.ndarray) -> float:
    """Wilcoxon's p from all ways to give signs to the ranks; zeros left out."""
    left = differences[differences != 0]
    ranks = stats.rankdata(np.abs(left))
    sums = np.array([ranks @ signs for signs in product((-1, 1), repeat=len(ranks))])
    return float((np.abs(sums) >= abs(ranks @ np.sign(left)) - 1e-9).mean())


@pytest.mark.parametrize(
    "differences",
    [
        [0.3, -0.1, 0.2, 0.5, 0.4, -0.6],
        [0.1, 0.1, 0.2, 0.2, -0.3, 0.3, 0.4],  # ties
        [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, *[0.0] * 10],  # and zeros: six pairs say something
        [0.1, 0.2, 0.3, 0.4, 0.5, *[0.0] * 11],  # five cannot reach p < 0.05
    ],
)
def test_wilcoxons_p_is_that_of_all_signs(differences: list[float]) -> None:
    values = np.array(differences)
    found = difference(values, np.zeros(len(values)))
    assert found.p == pytest.approx(by_enumeration(values))
    assert found.pairs == len(values)


def test_ten_seeds_that_all_agree_are_enough_for_a_claim() -> None:
    found = difference(np.arange(1.0, 11.0), np.zeros(10))
    assert found.p == pytest.approx(2 / 2**10)
    assert in_words(found, holm([found.p] * 20)[0]) == "better"


def test_holms_rule_is_the_closed_test_of_bonferroni() -> None:
    rng = np.random.default_rng(3)
    for count in (1, 2, 3, 5):
        values = rng.uniform(0, 0.2, count)
        groups = [set(g) for n in range(1, count + 1) for g in combinations(range(count), n)]
        closed = [
            max(min(1.0, len(g) * min(values[list(g)])) for g in groups if place in g)
            for place in range(count)
        ]
        assert holm(values.tolist()) == pytest.approx(closed)


def test_strategies_that_tie_everywhere_do_not_differ() -> None:
    means, p, gap = mean_ranks({name: [0.5, 0.5, 0.5] for name in "abc"})
    assert (means, p) == ({"a": 2.0, "b": 2.0, "c": 2.0}, 1.0)
    assert gap > 0


def test_labels_to_an_unknown_target_are_unknown() -> None:
    curve = np.array([0.5, 0.8])
    assert np.isnan(labels_to_reach([10, 20], curve, float("nan")))
    assert str(label_efficiency([10, 20], curve, curve, float("nan"))) == "\N{EN DASH}"


def test_label_efficiency_is_a_bound_where_one_never_gets_there() -> None:
    labels = [10, 20, 30, 40]
    fast, slow = np.array([0.5, 0.8, 0.9, 0.95]), np.array([0.5, 0.6, 0.7, 0.8])
    found = label_efficiency(labels, fast, slow, 0.8)
    assert (found.factor, found.bound, str(found)) == (pytest.approx(2.0), "exact", "2.0")
    found = label_efficiency(labels, fast, slow, 0.9)
    assert (found.factor, found.bound, str(found)) == (pytest.approx(40 / 30), "least", "> 1.3")
    assert str(Efficiency(1.49, "least")) == "> 1.4"
    assert str(Efficiency(0.41, "most")) == "< 0.5"
    found = label_efficiency(labels, slow, fast, 0.9)
    assert (found.factor, found.bound, str(found)) == (pytest.approx(0.75), "most", "< 0.8")
    found = label_efficiency(labels, fast, slow, 0.99)
    assert np.isnan(found.factor)
    assert (found.bound, str(found)) == ("unknown", "\N{EN DASH}")


@pytest.mark.parametrize("reference", [[0.95, 0.93, 0.94, 0.97], [0.95, 0.97, 0.98, 0.98]])
def test_label_efficiency_is_not_told_where_the_common_first_point_is_there(reference) -> None:
    labels, ours = [10, 20, 30, 40], np.array([0.95, 0.96, 0.97, 0.98])
    for found in (
        label_efficiency(labels, ours, np.array(reference), 0.95),
        label_efficiency(labels, np.array(reference), ours, 0.95),
    ):
        assert (found.bound, str(found)) == ("unknown", "\N{EN DASH}")


def test_labels_to_reach_in_words() -> None:
    labels = [32, 64, 1024]
    said = [reach_text(labels, each) for each in (32.0, 40.2, 1000.5, np.inf, np.nan)]
    assert said == ["\N{LESS-THAN OR EQUAL TO} 32", "41", "1,001", "> 1,024", ""]


def test_holms_rule_on_an_example_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert np.isnan(holm([0.01, np.nan])[1])
    assert holm([0.01, np.nan])[0] == 0.01


def test_penalties_say_how_often_a_row_beats_a_column() -> None:
    seeds = np.arange(5)[:, None] * 0.01
    low, high = 0.5 + seeds + np.zeros((5, 4)), 0.5 + seeds + np.zeros((5, 4))
    high[:, 2:] += 0.1 + 0.001 * np.arange(5)[:, None]
    found = penalties({"a": low, "b": high, "c": low.copy()}, [0, 1, 2, 3])
    np.testing.assert_array_equal(found, [[0, 0, 0], [0.5, 0, 0.5], [0, 0, 0]])


def test_fewer_than_five_repeats_tell_nothing() -> None:
    a = np.tile([0.5, 0.6], (4, 1))
    for repeats in (2, 4):
        curves = {"a": a[:repeats] + 0.1, "b": a[:repeats]}
        assert np.isnan(penalties(curves, [0, 1])[0, 1])
    assert penalties({"a": np.full((5, 2), 0.6), "b": np.full((5, 2), 0.5)}, [0, 1])[0, 1] == 1.0


def test_a_steady_gain_counts_and_noise_does_not() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 200))
    found = penalties({"a": a, "b": b}, range(200))
    assert found.max() < 0.08  # 2.5 % by chance
    assert penalties({"a": a + 1, "b": a}, range(200))[0, 1] == 1.0


def test_compared_points_double_until_random_is_at_its_end() -> None:
    labels = list(range(10, 110, 10))
    reference = np.array([0.1, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99, 1.0])
    assert compared_points(labels, reference, 1.0) == [0, 1, 2, 4, 8]
    assert compared_points(labels, reference, 0.6) == [0, 1, 2]
    assert compared_points([10], reference[:1], 1.0) == [0]


def test_ranks_are_friedmans_and_the_gap_nemenyis() -> None:
    values = {"a": [3.0, 3, 3, 3], "b": [2.0, 2, 2, 1], "c": [1.0, 1, 1, 2]}
    means, p, gap = mean_ranks(values)
    assert means == {"a": 1.0, "b": 2.25, "c": 2.75}
    assert p == stats.friedmanchisquare(*values.values()).pvalue
    assert gap == pytest.approx(2.343 * np.sqrt(3 * 4 / (6 * 4)), abs=1e-3)  # Demsar's table 5
    assert np.isnan(mean_ranks({"a": [1.0], "b": [2.0]})[1])
