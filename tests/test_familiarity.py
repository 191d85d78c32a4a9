"""halUnfamiliar: distances in parts are those of all at once, and planted strangers are far."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from halcmd.labels import familiarity
from halcmd.labels.familiarity import known_places, unfamiliarity
from halcmd.particles import new_particles


def test_the_distances_are_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(familiarity, "_DISTANCES", 4 * 7)
    rng = np.random.default_rng(0)
    vectors = rng.normal(1.0, 1.0, (50, 8)).astype(np.float16)
    known = np.array([3, 4, 20, 49])
    wide = vectors.astype(float)
    neighbours = NearestNeighbors(n_neighbors=2).fit(wide[known])
    distances, _ = neighbours.kneighbors(wide)
    nearest = np.where(np.isin(np.arange(50), known), distances[:, 1], distances[:, 0])
    expected = nearest / np.linalg.norm(wide, axis=1)
    assert unfamiliarity(vectors, known) == pytest.approx(expected, abs=1e-3)


def test_strangers_are_told_from_new_particles_of_known_classes() -> None:
    rng = np.random.default_rng(1)
    centres = 4 * np.eye(5)
    vectors = np.concatenate([centre + rng.normal(0, 0.5, (40, 5)) for centre in centres])
    is_stranger = np.repeat(np.arange(5), 40) == 4
    known = np.flatnonzero(~is_stranger & (np.arange(200) % 4 == 0))
    rest = np.setdiff1d(np.arange(200), known)
    found = unfamiliarity(vectors, known)
    assert roc_auc_score(is_stranger[rest], found[rest]) > 0.99


def test_of_very_many_labelled_particles_some_are_taken_in_any_order(monkeypatch) -> None:
    monkeypatch.setattr(familiarity, "_MOST_KNOWN", 5)
    ids = np.array([f"T/{n}" for n in range(40)], dtype=object)
    columns = {"halParticleId": ids, "halLabel": ["apo"] * 30 + ["unlabelled"] * 10}
    particles, order = new_particles(columns), np.random.default_rng(2).permutation(40)
    taken = known_places(particles, np.arange(40))
    assert len(taken) == 5
    assert taken.max() < 30
    again = order[known_places(particles.take(order), np.arange(40))]
    assert sorted(again) == taken.tolist()


def test_one_known_particle_has_nothing_to_compare_itself_with() -> None:
    found = unfamiliarity(np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([1]))
    assert found[0] == pytest.approx(np.sqrt(5))
    assert np.isnan(found[1])
    assert np.isnan(unfamiliarity(np.ones((2, 2)), np.array([], dtype=int))).all()


def test_known_are_labelled_rows_of_the_pool() -> None:
    particles = new_particles(
        {
            "halParticleId": [f"T/{n}" for n in range(6)],
            "halLabel": ["apo", "unknown", "skip", "junk", "apo", "unlabelled"],
            "halSplit": ["pool", "pool", "pool", "pool", "test", "pool"],
        }
    )
    assert known_places(particles, np.array([5, 4, 3, 2, 1, 0])).tolist() == [2, 5]
