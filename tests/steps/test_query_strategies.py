"""query: every strategy with real files, a real model and few labels or none."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from halcmd.compute.device import torch_generator
from halcmd.errors import InputError, ModelError, OptionError
from halcmd.formats.features import feature_file, open_features
from halcmd.formats.model import ModelInfo, write_model
from halcmd.formats.mrc_writing import write_stack
from halcmd.networks.classifier import as_input, load_model, new_network
from halcmd.networks.dropout import dropping
from halcmd.particles import Particles
from halcmd.registry import load
from halcmd.steps.query import QueryResult, query
from halcmd.strategies import STRATEGIES, sources
from halcmd.strategies.options import described, parse
from halcmd.strategies.pool import Pool
from halcmd.strategies.sources import Sources, opened
from halcmd.subtomograms import open_boxes
from tests.steps.test_query import CLASSES, ROWS, bare, scored
from tests.strategies.conftest import quick

CPU = torch.device("cpu")
WITHOUT_LABELS = {
    "random",
    "entropy",
    "margin",
    "least-confidence",
    "power-margin",
    "coreset",
    "badge",
    "bald",
    "typiclust",
    "tcm",
    "cluster-margin",
    "dropquery",
}
"""These look at no labels; what they need of a classifier, they say themselves."""
WITHOUT_A_CLASSIFIER = {"random", "typiclust", "tcm", "coreset"}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def write_net(folder: Path, network: str, box: int, classes: tuple[str, ...], **info: Any) -> Path:
    torch.manual_seed(0)
    made = new_network(network, box=box, n_classes=len(classes), dropout=info.get("dropout"))
    facts = ModelInfo(
        network=network,
        widths=made.widths,
        dropout=made.dropout,
        classes={name: i for i, name in enumerate(classes, 1)},
        box=box,
        pixel_size=10.0,
        contrast="bright",
        tilt_range=None,
        temperature=1.5,
    )
    write_model(folder / "model.safetensors", made.state_dict(), facts)
    return folder / "model.safetensors"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A score job of 60 particles of 24^3: boxes and embeddings."""
    folder = tmp_path / "Score"
    folder.mkdir()
    boxes = np.random.default_rng(4).normal(size=(ROWS, 24, 24, 24)).astype(np.float32)
    write_stack(folder / "boxes.mrcs", iter([boxes]), ROWS, 24, pixel_size=10.0)
    with feature_file(folder / "embedding.npy", (ROWS, 64)) as vectors:
        vectors[:] = np.random.default_rng(5).normal(size=(ROWS, 64))
    return folder


def with_boxes(particles: Particles, job: Path) -> Particles:
    names = [f"{row + 1:06d}@{job / 'boxes.mrcs'}" for row in range(ROWS)]
    columns = {"halImageName": names, "halContrast": ["bright"] * ROWS}
    return particles.with_columns(columns)


def ask(table: Particles, job: Path, strategy: str, **options: Any) -> QueryResult:
    settings = quick(load(STRATEGIES, strategy, "strategy"))
    return query(
        table,
        job.parent / "Query",
        strategy=strategy,
        **{"n": 6, "settings": settings, "scored": job} | options,
    )


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_every_strategy_asks_and_explains(job: Path, strategy: str) -> None:
    model = write_net(job, "compact", 24, CLASSES)
    name = load_model(model, device=CPU).hash
    not_these = scored(name).ids[30:40]
    lines = ["halParticleId", *not_these]
    (job / "exclude.csv").write_text("\n".join(lines) + "\n")
    particles = with_boxes(scored(name), job)
    result = ask(particles, job, strategy, model=model, exclude=job / "exclude.csv")
    asked = result.particles.take(result.asked)
    assert len(set(result.asked)) == 6
    assert set(result.asked) <= set(range(40, ROWS))
    assert asked.text("halQueryRank").tolist() == [str(rank) for rank in range(1, 7)]
    assert np.isfinite(asked.number("halScore")).all()
    if strategy in {"hal", "dal"}:
        assert asked.number("halQuerySubset").tolist() == [1, 1, 2, 2, 3, 3]
        assert result.particles.number("halQuerySubset").max() == 3
    assert not [*(job.parent / "Query").glob("*.npy")]


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_without_any_label_each_works_or_says_what_does(job: Path, strategy: str) -> None:
    model = write_net(job, "compact", 24, CLASSES)
    particles = with_boxes(scored(load_model(model, device=CPU).hash), job)
    particles = particles.with_columns({"halLabel": ["unlabelled"] * ROWS})
    if strategy in WITHOUT_LABELS:
        assert len(ask(particles, job, strategy, model=model).asked) == 6
    else:
        with pytest.raises(InputError, match="needs labelled particles") as error:
            ask(particles, job, strategy, model=model)
        assert "typiclust" in error.value.hint


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_without_a_classifier_each_works_or_says_what_does(job: Path, strategy: str) -> None:
    """What a pretrained network leaves: embeddings, and no predictions."""
    particles = with_boxes(bare(), job).with_columns(
        {"halFeature": [str(row + 1) for row in range(ROWS)]}
    )
    particles = particles.with_columns({"halLabel": ["unlabelled"] * ROWS})
    if strategy in WITHOUT_A_CLASSIFIER:
        assert len(ask(particles, job, strategy).asked) == 6
    else:
        with pytest.raises((InputError, ModelError)) as error:
            ask(particles, job, strategy)
        assert (
            "score" in error.value.hint
            or "typiclust" in error.value.hint
            or ("--model" in error.value.hint)
        )


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_labels_of_one_class_are_enough(job: Path, strategy: str) -> None:
    model = write_net(job, "compact", 24, CLASSES[:1])
    labels = ["apo" if row < 20 else "unlabelled" for row in range(ROWS)]
    columns = {
        "halLabel": labels,
        "halPredictedClass": ["apo"] * ROWS,
        "halProbability_apo": ["1.0"] * ROWS,
        "halFeature": [str(row + 1) for row in range(ROWS)],
        "halModel": [load_model(model, device=CPU).hash] * ROWS,
    }
    particles = with_boxes(bare(), job).with_columns(columns)
    assert len(ask(particles, job, strategy, model=model).asked) == 6


def test_embeddings_are_computed_where_score_kept_none(job: Path) -> None:
    model = write_net(job, "compact", 24, CLASSES)
    loaded = load_model(model, device=CPU)
    particles = with_boxes(scored(loaded.hash), job)
    with torch.inference_mode():
        boxes = torch.from_numpy(open_boxes(particles).read(np.arange(ROWS)))
        vectors = loaded.network.embedding(as_input(boxes)).numpy()
    expected = open_features(job / "embedding.npy")
    with feature_file(job / "embedding.npy", expected.shape) as kept:
        kept[::-1] = vectors  # halFeature counts backwards here
    stored = ask(particles, job, "coreset")
    (job / "embedding.npy").unlink()
    computed = ask(particles, job, "coreset", model=model)
    assert stored.asked.tolist() == computed.asked.tolist()
    with pytest.raises(InputError, match="embeddings") as error:
        ask(particles, job, "coreset")
    assert "--model" in error.value.hint


@pytest.mark.parametrize("network", ["compact", "hal2021"])
def test_passes_are_those_of_the_whole_network(
    job: Path, network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_net(job, network, 24, CLASSES)
    loaded = load_model(model, device=CPU)
    particles = with_boxes(scored(loaded.hash), job)
    rows = np.arange(ROWS)
    where = Sources(particles, rows, job.parent, model=model, seed=7)
    with opened(where, frozenset({"passes"})) as filled:
        passes = filled(Pool(particles.ids, rows, rows[:0])).passes
        assert passes is not None
        found = [*passes(rows[::3], 3, None)]
    boxes = as_input(torch.from_numpy(open_boxes(particles).read(rows[::3])))
    for sample, probabilities in enumerate(found):
        draws = torch_generator(torch.device("cpu"), 7, "query pass", sample)
        with torch.inference_mode(), dropping(loaded.network, draws):
            logits = loaded.network(boxes)
        expected = (logits / 1.5).softmax(dim=1).numpy()
        np.testing.assert_allclose(probabilities, expected, atol=2e-3)  # maps are kept as float16
    assert np.abs(found[0] - found[1]).max() > 1e-4
    monkeypatch.setattr(sources, "_MEMORY_BYTES", 0)
    with opened(where, frozenset({"passes", "embeddings", "features"})) as filled:
        assert not [*job.parent.glob("*scratch*")], "a --dry-run ends here"
        pool = filled(Pool(particles.ids, rows, rows[:0]))
        np.testing.assert_array_equal([*pool.passes(rows[::3], 3, None)], found)
        assert any("scratch_features" in path.name for path in job.parent.iterdir())
    assert not [*job.parent.glob("*.npy")]


def test_a_network_without_dropout_is_refused(job: Path) -> None:
    model = write_net(job, "compact", 24, CLASSES, dropout=0.0)
    with pytest.raises(ModelError, match="classifier with dropout") as error:
        ask(with_boxes(scored(), job), job, "bald", model=model)
    assert "--dropout" in error.value.hint


def test_a_pretrained_network_has_no_passes(job: Path) -> None:
    model = write_net(job, "compact", 24, ())
    with pytest.raises(ModelError, match="classifier with dropout"):
        ask(with_boxes(scored(), job), job, "bald", model=model)


def test_chance_is_refused_where_there_is_no_score(job: Path) -> None:
    with pytest.raises(OptionError, match="--stochastic") as error:
        ask(scored(), job, "typiclust", stochastic=1.0)
    assert "power-margin" in error.value.hint


def test_parameters_of_a_strategy_are_read_and_checked() -> None:
    bald = load(STRATEGIES, "bald", "strategy")
    assert parse(bald, "bald", ["samples = 7", "acquisition=meanstd"]) == bald.Options(
        acquisition="meanstd", samples=7
    )
    assert parse(bald, "bald", []) == bald.Options()
    vaal = load(STRATEGIES, "vaal", "strategy")
    assert parse(vaal, "vaal", ["beta=0.5"]).beta == 0.5
    for strategy, text, told in (
        ("bald", "sample=7", "samples"),
        ("bald", "samples", "samples"),
        ("bald", "samples=many", "whole number"),
        ("bald", "samples=1", "from 2"),
        ("bald", "acquisition=bld", "bald"),
        ("dropquery", "dropout=1", "0.99"),
        ("random", "x=1", "none"),
    ):
        with pytest.raises(OptionError) as error:
            parse(load(STRATEGIES, strategy, "strategy"), strategy, [text])
        assert told in f"{error.value} {error.value.hint}"


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_every_parameter_has_a_meaning_and_a_good_default(strategy: str) -> None:
    module = load(STRATEGIES, strategy, "strategy")
    for name, (default, what) in described(module).items():
        assert what.meaning
        assert parse(module, strategy, [f"{name}={default}"]) == module.Options()


def test_bgal_draws_nothing_from_torchs_own_generator(job: Path) -> None:
    """Two runs ask for the same, whatever torch's own generator did in between."""
    model = write_net(job, "compact", 24, CLASSES)
    particles = with_boxes(scored(load_model(model, device=CPU).hash), job)
    first = ask(particles, job, "bgal").asked
    torch.rand(5)
    assert ask(particles, job, "bgal").asked.tolist() == first.tolist()
