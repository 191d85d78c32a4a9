"""Agreement of annotators: the worked example of Fleiss 1971, scikit-learn, and by hand."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from halcmd.assessment.agreement import agreement, fleiss_kappa

# Fleiss 1971, table 1: six diagnoses of each of thirty patients, of five kinds.
FLEISS = """
00060 03003 01401 00006 03030 20400 00402 20310 20040 00006
10050 11040 03300 10050 02031 00501 30012 51000 02040 10203
00006 01050 02013 20040 10041 05010 40002 02040 10500 00006
"""


def test_fleiss_kappa_is_that_of_fleiss() -> None:
    counts = np.array([[int(digit) for digit in row] for row in FLEISS.split()])
    assert set(counts.sum(axis=1)) == {6}
    assert np.round(counts.sum(axis=0) / 180, 3).tolist() == [0.144, 0.144, 0.167, 0.306, 0.239]
    assert fleiss_kappa(counts) == pytest.approx(0.430, abs=5e-4)


def test_fleiss_kappa_at_its_ends() -> None:
    assert fleiss_kappa(np.array([[3, 0], [0, 3]])) == pytest.approx(1.0)
    assert np.isnan(fleiss_kappa(np.array([[3, 0], [3, 0]])))


def test_two_annotators_have_cohens_kappa() -> None:
    rng = np.random.default_rng(0)
    first = rng.choice(["apo", "holo", "junk"], 50)
    second = np.where(rng.random(50) < 0.7, first, rng.choice(["apo", "holo", "junk"], 50))
    answers = {
        str(n): {"anna": a, "ben": b} for n, (a, b) in enumerate(zip(first, second, strict=True))
    }
    answers["alone"] = {"anna": "apo"}
    found = agreement(answers)
    assert found is not None
    [pair] = found.pairs
    assert (pair.first, pair.second, pair.particles) == ("anna", "ben", 50)
    assert pair.agreement == pytest.approx((first == second).mean())
    assert pair.kappa == pytest.approx(cohen_kappa_score(first, second))
    # By hand: observed beyond chance.
    shares = [((first == c).mean() * (second == c).mean()) for c in ("apo", "holo", "junk")]
    by_hand = (pair.agreement - sum(shares)) / (1 - sum(shares))
    assert pair.kappa == pytest.approx(by_hand)
    assert found.fleiss is None
    assert len(found.disputed) == int((first != second).sum())


def test_all_of_one_class_has_no_kappa_but_an_agreement() -> None:
    found = agreement({"1": {"anna": "apo", "ben": "apo"}, "2": {"anna": "apo", "ben": "apo"}})
    assert found is not None
    assert found.pairs[0].agreement == 1.0
    assert np.isnan(found.pairs[0].kappa)
    assert found.summary()["pairs"][0]["kappa"] is None  # type: ignore[index]


def test_three_annotators_count_where_all_have_answered() -> None:
    answers = {
        "1": {"anna": "apo", "ben": "apo", "cleo": "holo"},
        "2": {"anna": "holo", "ben": "holo", "cleo": "holo"},
        "3": {"anna": "apo", "ben": "holo"},
        "4": {"dora": "apo"},
    }
    found = agreement(answers)
    assert found is not None
    assert [(p.first, p.second, p.particles) for p in found.pairs] == [
        ("anna", "ben", 3),
        ("anna", "cleo", 2),
        ("ben", "cleo", 2),
    ]
    assert found.annotators == ("anna", "ben", "cleo")
    assert found.particles == 2
    assert found.fleiss == pytest.approx(fleiss_kappa(np.array([[2, 1], [0, 3]])))
    assert found.disputed == ("1", "3")


def test_annotators_with_nothing_in_common_have_no_agreement() -> None:
    assert agreement({"1": {"anna": "apo"}, "2": {"ben": "apo"}}) is None
