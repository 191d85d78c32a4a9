"""score: columns, files, ensembles, refusals; results do not depend on batches or order."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from halcmd.console import log
from halcmd.errors import DataError, DeviceError, InputError, ModelError, OptionError
from halcmd.formats.features import open_features
from halcmd.formats.model import ModelInfo, hash_of_hashes, write_model
from halcmd.formats.mrc_writing import write_stack
from halcmd.inference import Passes
from halcmd.networks.classifier import Classifier, load_model, new_network
from halcmd.particles import Particles, new_particles
from halcmd.steps.score import score
from halcmd.subtomograms import open_boxes
from halcmd.tables import read_particles
from halcmd.training.run import Compute

BOX, PIXEL, N = 16, 12.0, 11
INFO = ModelInfo(
    network="compact",
    widths=(16, 16, 16, 16),
    dropout=0.5,
    classes={"rod": 2, "ball": 3, "junk": 7},
    box=BOX,
    pixel_size=PIXEL,
    contrast="bright",
    tilt_range=(-60.0, 60.0),
    temperature=0.8,
)
PREDICTIONS = [
    "halPredictedClass",
    "halClassNumber",
    "halProbability",
    "halProbability_rod",
    "halProbability_ball",
    "halProbability_junk",
    "halEntropy",
    "halMargin",
    "rlnClassNumber",
    "halUnfamiliar",
    "halModel",
    "halFeature",
]


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    log.propagate = True
    caplog.set_level(logging.INFO, logger="halcmd")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    log.propagate = False


@pytest.fixture
def table(tmp_path: Path, rng: np.random.Generator) -> Particles:
    """11 rows, the last three labelled."""
    boxes = rng.normal(size=(N, BOX, BOX, BOX)).astype(np.float32)
    names = write_stack(tmp_path / "stack.mrcs", [boxes], N, BOX, pixel_size=PIXEL)
    columns: dict[str, list[object]] = {
        "halParticleId": [f"TS_1/{row:06d}" for row in range(N)],
        "halImageName": list(names),
        "halContrast": ["bright"] * N,
        "halLabel": [*["unlabelled"] * 8, "rod", "skip", "junk"],
    }
    return new_particles(columns)


def model(path: Path, *, seed: int = 0, **changes: object) -> Path:
    info = replace(INFO, **changes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = new_network("compact", box=16, n_classes=len(info.classes), widths=info.widths)
        for tensor in network.head.parameters():
            tensor.data *= 20  # far from even probabilities
    write_model(path, network.state_dict(), info)
    return path


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return model(tmp_path / "one.safetensors")


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return model(tmp_path / "two.safetensors", seed=1)


def scored(table: Particles, folder: Path, *models: Path, **settings: object) -> Particles:
    folder.mkdir(exist_ok=True)
    settings = {"compute": Compute(seed=1), "report": False} | settings
    score(table, folder, models=models, **settings)
    return read_particles([folder / "particles.star"])


def probabilities(table: Particles) -> np.ndarray:
    return np.stack([table.number(f"halProbability_{name}") for name in INFO.classes], axis=1)


def logits(table: Particles, path: Path) -> np.ndarray:
    boxes = open_boxes(table).read(np.arange(len(table)))
    with torch.inference_mode():
        network = load_model(path, device=torch.device("cpu")).network
        return network(torch.from_numpy(boxes)[:, None]).double().numpy()


def softmax(values: np.ndarray) -> np.ndarray:
    shares = np.exp(values - values.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def test_the_columns_are_what_the_model_says(table, tmp_path, one):
    after = scored(table, tmp_path / "job", one)
    expected = softmax(logits(table, one) / INFO.temperature)
    names = np.array(list(INFO.classes))
    assert after.table.labels == [*table.table.labels, *PREDICTIONS]
    np.testing.assert_allclose(probabilities(after), expected, atol=2e-6)
    assert list(after.text("halPredictedClass")) == list(names[expected.argmax(axis=1)])
    numbers = np.array(list(INFO.classes.values()))[expected.argmax(axis=1)]
    assert list(after.number("halClassNumber")) == list(numbers)
    assert list(after.number("rlnClassNumber")) == list(numbers)
    ordered = np.sort(expected, axis=1)
    np.testing.assert_allclose(after.number("halProbability"), ordered[:, -1], atol=2e-6)
    margin = ordered[:, -1] - ordered[:, -2]
    np.testing.assert_allclose(after.number("halMargin"), margin, atol=2e-6)
    entropy = -(expected * np.log(expected)).sum(axis=1)
    np.testing.assert_allclose(after.number("halEntropy"), entropy, atol=2e-6)
    assert list(after.number("halFeature")) == list(range(1, N + 1))
    assert after.class_numbers() == INFO.classes


def test_the_report_and_its_plots_are_written_on_demand(table, tmp_path, one, two):
    scored(table, tmp_path / "a", one, only="unlabelled")
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"embedding.npy", "particles.star"}
    scored(table, tmp_path / "b", one, two, only="unlabelled", report=True)
    names = {path.name for path in (tmp_path / "b").iterdir()}
    assert names - {"embedding.npy", "particles.star"} == {
        "report.html",
        "embedding.png",
        "particles.png",
    }
    text = (tmp_path / "b" / "report.html").read_text()
    assert "8 of 11 scored, 0 of them labelled" in text
    for path in (one, two):
        assert f"{path} ({load_model(path, device=torch.device('cpu')).hash})" in text


def test_embedding_and_maps_belong_to_the_rows(table, tmp_path, one):
    scored(table, tmp_path / "job", one, maps=True, batch=4)
    network = load_model(one, device=torch.device("cpu")).network
    boxes = torch.from_numpy(open_boxes(table).read(np.arange(N)))[:, None]
    with torch.inference_mode():
        maps, vectors = network.features(boxes).numpy(), network.embedding(boxes).numpy()
    assert open_features(tmp_path / "job" / "embedding.npy").shape == (N, 16)
    np.testing.assert_allclose(open_features(tmp_path / "job/embedding.npy"), vectors, rtol=2e-3)
    np.testing.assert_allclose(open_features(tmp_path / "job/features.npy"), maps, atol=1e-2)


def test_maps_are_written_only_when_asked_for(table, tmp_path, one):
    scored(table, tmp_path / "job", one)
    assert not (tmp_path / "job" / "features.npy").exists()


def test_two_runs_write_the_same_bytes(table, tmp_path, one):
    for name in "ab":
        scored(table, tmp_path / name, one, maps=True)
    for file in ("particles.star", "embedding.npy", "features.npy"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("passes", [Passes(), Passes(4, 0), Passes(1, 3)])
def test_results_do_not_depend_on_batches_or_the_order_of_rows(table, tmp_path, one, passes, rng):
    order = rng.permutation(N)
    together = scored(table, tmp_path / "a", one, passes=passes)
    apart = scored(table.take(order), tmp_path / "b", one, passes=passes, batch=3)
    np.testing.assert_allclose(probabilities(together)[order], probabilities(apart), atol=2e-6)


def test_turns_are_averaged(table, tmp_path, one):
    turned = []
    boxes = open_boxes(table).read(np.arange(N))
    stacks = {0: boxes}
    for turn, axes in {1: (1, 2), 2: (1, 3), 3: (2, 3)}.items():
        stacks[turn] = np.roll(np.flip(boxes, axes), 1, axes)
    for turn, stack in stacks.items():
        folder = tmp_path / f"turn{turn}"
        names = write_stack(folder / "stack.mrcs", [stack], N, BOX, pixel_size=PIXEL)
        of_turn = table.with_columns({"halImageName": names})
        turned.append(softmax(logits(of_turn, one) / INFO.temperature))
    after = scored(table, tmp_path / "job", one, passes=Passes(augmentations=4))
    np.testing.assert_allclose(probabilities(after), np.mean(turned, axis=0), atol=5e-6)


@pytest.mark.parametrize("tilts", [(-70, 40), (np.nan, np.nan)])
def test_an_asymmetric_or_unknown_tilt_range_has_two_turns(table, tmp_path, tilts):
    columns = {"halTiltMin": [tilts[0]] * N, "halTiltMax": [tilts[1]] * N}
    slanted = table.with_columns(columns)
    first = model(tmp_path / "first", tilt_range=None)
    after = scored(slanted, tmp_path / "a", first, passes=Passes(augmentations=2))
    assert probabilities(after).shape == (N, 3)
    with pytest.raises(OptionError, match="from 1 to 2") as error:
        scored(slanted, tmp_path / "b", first, passes=Passes(augmentations=3))
    assert ("unknown" in error.value.found) == bool(np.isnan(tilts[0]))


def test_dropout_samples_differ_from_none_and_repeat(table, tmp_path, one):
    passes = Passes(dropout_samples=5)
    plain = probabilities(scored(table, tmp_path / "a", one))
    first = probabilities(scored(table, tmp_path / "b", one, passes=passes))
    again = probabilities(scored(table, tmp_path / "c", one, passes=passes))
    assert np.abs(first - plain).max() > 1e-3
    assert np.array_equal(first, again)
    np.testing.assert_allclose(first.sum(axis=1), 1.0, atol=3e-6)


def test_an_ensemble_is_the_mean_of_its_models(table, tmp_path, one, two):
    expected = [softmax(logits(table, path) / INFO.temperature) for path in (one, two)]
    after = scored(table, tmp_path / "job", one, two)
    np.testing.assert_allclose(probabilities(after), np.mean(expected, axis=0), atol=2e-6)
    hashes = [
        scored(table, tmp_path / name, path).text("halModel")[0]
        for name, path in (("a", one), ("b", two))
    ]
    assert set(after.text("halModel")) == {hash_of_hashes(hashes)}
    first = open_features(tmp_path / "a" / "embedding.npy")
    assert np.array_equal(open_features(tmp_path / "job" / "embedding.npy"), first)


def test_models_with_their_classes_in_another_order_are_put_in_order(table, tmp_path, one):
    swapped = model(tmp_path / "swapped", classes={"ball": 1, "junk": 2, "rod": 3})
    swapped_logits = logits(table, swapped)[:, [2, 0, 1]]
    expected = [
        softmax(values / INFO.temperature) for values in (logits(table, one), swapped_logits)
    ]
    after = scored(table, tmp_path / "job", one, swapped)
    np.testing.assert_allclose(probabilities(after), np.mean(expected, axis=0), atol=2e-6)


def test_models_of_other_classes_are_refused(table, tmp_path, one):
    other = model(tmp_path / "other", classes={"rod": 2, "wheel": 3})
    with pytest.raises(ModelError, match="differ in their classes"):
        scored(table, tmp_path / "job", one, other)


def test_only_unlabelled_leaves_the_others_empty(table, tmp_path, one):
    after = scored(table, tmp_path / "job", one, only="unlabelled")
    assert list(after.number("halFeature")) == [*range(1, 9), 0, 0, 0]
    assert set(after.text("halPredictedClass")[8:]) == {"none"}
    assert np.isnan(after.number("halEntropy")[8:]).all()
    assert len(open_features(tmp_path / "job" / "embedding.npy")) == 8


def test_nothing_to_score_is_an_error(table, tmp_path, one):
    with pytest.raises(InputError, match="no particle to score"):
        scored(table.take([8, 9, 10]), tmp_path / "job", one, only="unlabelled")


def test_earlier_predictions_go_and_foreign_class_numbers_stay(table, tmp_path, one):
    first = scored(table, tmp_path / "a", one)
    other = model(tmp_path / "other", classes={"rod": 2, "wheel": 9}, seed=3)
    second = scored(first, tmp_path / "b", other)
    assert not second.has("halProbability_ball")
    assert list(second.text("rlnClassNumber")) == list(second.text("halClassNumber"))
    assert second.class_numbers() == {"rod": 2, "ball": 3, "junk": 7, "wheel": 9}
    foreign = table.with_columns({"rlnClassNumber": ["41"] * N})
    assert set(scored(foreign, tmp_path / "c", one).text("rlnClassNumber")) == {"41"}


def test_numbers_of_the_table_win_over_the_models(table, tmp_path, one):
    numbered = table.with_class_numbers({"wheel": 7, "rod": 1})
    after = scored(numbered, tmp_path / "job", one)
    assert after.class_numbers() == {"wheel": 7, "rod": 1, "ball": 3, "junk": 8}


def test_a_pretrained_model_gives_embeddings_only(table, tmp_path):
    bare = model(tmp_path / "bare", classes={})
    after = scored(table, tmp_path / "job", bare)
    assert after.table.labels == [
        *table.table.labels,
        "halUnfamiliar",
        "halModel",
        "halFeature",
    ]
    assert open_features(tmp_path / "job" / "embedding.npy").shape == (N, 16)


def test_probabilities_that_are_not_calibrated_are_told(table, tmp_path, one, caplog):
    scored(table, tmp_path / "job", one)
    assert "not calibrated" not in caplog.text
    raw = model(tmp_path / "raw.safetensors", provenance={"validation": 0})
    scored(table, tmp_path / "job", raw)
    assert "raw.safetensors was trained with nothing held out" in caplog.text


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"box": 18}, "boxes of 18 px"),
        ({"pixel_size": 13.0}, "13 A per pixel"),
        ({"contrast": "dark"}, "contrast dark"),
    ],
)
def test_a_model_of_other_boxes_is_refused(table, tmp_path, changes, found):
    with pytest.raises(ModelError, match="other boxes") as error:
        scored(table, tmp_path / "job", model(tmp_path / "other", **changes))
    assert found in error.value.found


def test_an_answer_that_is_not_finite_is_an_error(table, tmp_path, one, monkeypatch):
    forward = Classifier.features
    monkeypatch.setattr(
        Classifier, "features", lambda network, boxes: forward(network, boxes) * float("nan")
    )
    with pytest.raises(DataError, match="not a finite number") as error:
        scored(table, tmp_path / "job", one)
    assert "TS_1/000000" in error.value.found
    assert not list((tmp_path / "job").iterdir())


def test_wrong_numbers_of_passes_are_refused(table, tmp_path, one):
    with pytest.raises(OptionError, match="from 1 to 4"):
        scored(table, tmp_path / "job", one, passes=Passes(augmentations=5))
    dry = model(tmp_path / "dry", dropout=0.0)
    with pytest.raises(OptionError, match="trained with dropout"):
        scored(table, tmp_path / "job", dry, passes=Passes(dropout_samples=2))


def test_too_little_device_memory_halves_the_batch_once(table, tmp_path, one, monkeypatch, caplog):
    plain = scored(table, tmp_path / "a", one)
    features, limit = Classifier.features, 4

    def short_of_memory(network: Classifier, boxes: torch.Tensor) -> torch.Tensor:
        if len(boxes) > limit:
            raise torch.OutOfMemoryError
        return features(network, boxes)

    monkeypatch.setattr(Classifier, "features", short_of_memory)
    after = scored(table, tmp_path / "b", one, batch=8)
    np.testing.assert_allclose(probabilities(after), probabilities(plain), atol=2e-6)
    assert caplog.text.count("batches of 4 from here on") == 1
    limit = 3
    with pytest.raises(DeviceError) as error:
        scored(table, tmp_path / "c", one, batch=8)
    assert "--batch-size 2" in error.value.hint


def test_boxes_are_taken_in_the_order_of_the_files(table, tmp_path, one, rng):
    order = rng.permutation(N)
    together = scored(table, tmp_path / "a", one, batch=4)
    apart = scored(table.take(order), tmp_path / "b", one, batch=4)
    assert np.array_equal(probabilities(together)[order], probabilities(apart))
    first, second = (open_features(tmp_path / name / "embedding.npy") for name in "ab")
    assert np.array_equal(first[order], second)


@pytest.mark.parametrize(("maps", "needed"), [(False, N * 16 * 2), (True, N * 16 * (1 + 8) * 2)])
def test_a_disk_that_is_too_small_is_an_error_before_anything_is_done(
    table, tmp_path, one, monkeypatch, caplog, maps, needed
):
    monkeypatch.setattr("halcmd.formats.features.free_bytes", lambda folder: needed)
    scored(table, tmp_path / "a", one, maps=maps)
    assert "will write embedding.npy" in caplog.text
    monkeypatch.setattr("halcmd.formats.features.free_bytes", lambda folder: needed - 1)
    with pytest.raises(InputError, match="the disk is too small") as error:
        scored(table, tmp_path / "b", one, maps=maps)
    assert ("features.npy" in error.value.found) == maps
    assert ("--maps" in error.value.hint) == maps
    assert not list((tmp_path / "b").iterdir())


def test_unfamiliar_is_the_distance_to_the_labelled_particles(table, tmp_path, one):
    labels = table.labels.copy()
    labels[0] = "rod"
    test = ["pool"] * N
    test[0] = "test"
    after = scored(
        table.with_columns({"halLabel": labels, "halSplit": test}), tmp_path / "job", one
    )
    vectors = open_features(tmp_path / "job" / "embedding.npy").astype(np.float64)
    known = [8, 10]  # rod and junk; skip is no class, and test rows are not looked at
    for row, value in enumerate(after.number("halUnfamiliar")):
        others = [np.linalg.norm(vectors[row] - vectors[k]) for k in known if k != row]
        assert value == pytest.approx(min(others) / np.linalg.norm(vectors[row]), abs=2e-3)


def test_without_labelled_particles_nothing_is_unfamiliar(table, tmp_path, one, caplog):
    assert not scored(table, tmp_path / "1", one, only="unlabelled").has("halUnfamiliar")
    assert "halUnfamiliar is left out" in caplog.text
    before = scored(table, tmp_path / "2", one)
    bare = before.with_columns({"halLabel": ["unlabelled"] * N})
    assert not scored(bare, tmp_path / "3", one).has("halUnfamiliar"), "that of another run is gone"
