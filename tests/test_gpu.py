"""What a real GPU must give: the same run twice, a run resumed, the answers of the CPU."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from halcmd.cli.app import app
from halcmd.compute.device import use
from halcmd.formats.model import read_model
from halcmd.networks.classifier import as_input, new_network
from halcmd.steps.query import query
from halcmd.strategies.pool import QuerySettings
from halcmd.tables import read_particles, write_particles
from halcmd.training import run
from halcmd.training.objectives import labelled
from halcmd.training.recipes import Changes, recipe
from halcmd.transforms import augmentation

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here"),
    # Max pooling has no reproducible gradient on GPUs; hal2021 uses it.
    pytest.mark.filterwarnings("ignore:.*does not have a deterministic implementation"),
]


def halcmd(*words: object) -> str:
    """What a command prints; it must succeed."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 labelled particles of three classes and 48 test particles."""
    folder = tmp_path_factory.mktemp("gpu") / "Sim"
    scene = ["--classes", 3, "--per-class", 48, "--box", 24, "--angpix", 10.5, "--snr", 0.5]
    halcmd("simulate", *scene, "--test-fraction", 0.333, "--o", folder)
    rows = read_particles([folder / "particles.star"])
    truth = read_particles([folder / "truth.star"])
    label_of = dict(zip(truth.ids, truth.labels, strict=True))
    labels = np.array([label_of[name] for name in rows.ids], dtype=object)
    labels[rows.is_test] = "unlabelled"
    write_particles(folder / "labelled.star", rows.with_columns({"halLabel": labels}))
    return folder


def train(simulated: Path, out: Path, *words: object) -> Path:
    """A model trained for 60 steps."""
    few = ["--steps", 60, "--validation", 0, "--no-report", "--overwrite"]
    halcmd("train", "--i", simulated / "labelled.star", "--o", out, *few, *words)
    return out / "model.safetensors"


def accuracy(simulated: Path, model: Path, out: Path, *words: object) -> float:
    """On the test particles."""
    table = ["--i", simulated / "labelled.star", "--o", out, "--overwrite", "--no-report"]
    halcmd("score", *table, "--model", model, *words)
    truth = ["--truth", simulated / "truth.star", "--bootstrap", 0, "--json"]
    said = halcmd("evaluate", "--i", out / "particles.star", "--o", out / "E", *truth)
    return json.loads(said)["accuracy"]["value"]


@pytest.mark.parametrize("words", [[], ["--precision", "32"], ["--semi-supervised"]])
def test_the_same_training_twice_gives_the_same_weights(simulated, tmp_path, words):
    one, other = (train(simulated, tmp_path / name, "--gpu", 0, *words) for name in "ab")
    first, again = read_model(one).tensors, read_model(other).tensors
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("network", ["compact", "hal2021"])
def test_a_network_says_on_the_gpu_what_it_says_on_the_cpu(network):
    made = new_network(network, box=28, n_classes=5).eval()
    volumes = torch.randn(8, 28, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        here = made(as_input(volumes))
        there = made.to(use("0", 1))(as_input(volumes.to("cuda"))).cpu()
    assert torch.allclose(here, there, atol=2e-3 * float(here.abs().max()))


@pytest.mark.parametrize("network", ["compact", "hal2021"])
def test_a_model_of_the_gpu_scores_alike_on_both(simulated, tmp_path, network):
    model = train(simulated, tmp_path / "Train", "--gpu", 0, "--network", network)
    for name, words in {
        "cpu": ["--gpu", "cpu"],
        "32": ["--gpu", 0, "--precision", "32"],
        "bf16": ["--gpu", 0],
    }.items():
        accuracy(simulated, model, tmp_path / name, *words)
    tables = [read_particles([tmp_path / name / "particles.star"]) for name in ("cpu", "32")]
    for name in sorted({*tables[0].labels} - {"unlabelled"}):
        column = f"halProbability_{name}"
        np.testing.assert_allclose(*(table.number(column) for table in tables), atol=5e-3)
    half = read_particles([tmp_path / "bf16" / "particles.star"])
    same = tables[0].text("halPredictedClass") == half.text("halPredictedClass")
    assert same.mean() > 0.95


def test_training_on_the_gpu_learns_as_on_the_cpu(simulated, tmp_path):
    found = {}
    for name in ("cpu", "0"):
        steps = ["--steps", 200, "--gpu", name]
        model = train(simulated, tmp_path / f"Train_{name}", *steps)
        found[name] = accuracy(simulated, model, tmp_path / f"Score_{name}", "--gpu", name)
    assert min(found.values()) > 0.8
    assert abs(found["cpu"] - found["0"]) < 0.15


@pytest.mark.parametrize("network", ["compact", "hal2021"])
@pytest.mark.parametrize("precision", ["32", "auto"])
def test_recorded_steps_are_those_of_single_kernels(network, precision, monkeypatch):
    classes = np.arange(64) % 4
    particles = torch.randn(64, 24, 24, 24, generator=torch.Generator().manual_seed(0))
    device = use("0", 1)
    change = augmentation("full", box=24, tilt_range=(-60, 60), device=device)
    made = recipe("default", 64, changes=Changes(network=network, semi_supervised=False))
    found = []
    for is_recorded in (True, False):
        if not is_recorded:
            monkeypatch.setattr(run, "recorded", lambda module, inputs: module)
        torch.manual_seed(0)
        fresh = new_network(network, box=24, n_classes=4)
        training = run.Run(fresh, made, run.Compute(device, precision, seed=1))
        objective = labelled(lambda rows: particles[rows], classes, change, balanced=True)
        for _ in range(6):
            training.take_step(objective)
        training.read_loss()
        found.append(({**training.network.state_dict()}, training.losses[0]))
    (weights, loss), (plain, plain_loss) = found
    assert loss == pytest.approx(plain_loss, rel=1e-5 if precision == "32" else 1e-2)
    if precision == "32":
        for name, tensor in plain.items():
            atol = 1e-3 * float(tensor.float().abs().max()) + 1e-6
            assert torch.allclose(weights[name].float(), tensor.float(), atol=atol), name


def test_a_run_that_is_resumed_ends_in_the_same_weights(simulated, tmp_path, monkeypatch):
    whole = read_model(train(simulated, tmp_path / "whole", "--gpu", 0)).tensors
    import halcmd.training.loop as loop

    real, taken = loop.Run.take_step, []

    def stopping(self, objective):
        if len(taken) == 40:
            raise KeyboardInterrupt
        taken.append(self.step)
        real(self, objective)

    monkeypatch.setattr(loop.Run, "take_step", stopping)
    few = ["--steps", 60, "--validation", 0, "--no-report", "--gpu", 0]
    table = ["--i", simulated / "labelled.star", "--o", tmp_path / "cut"]
    done = CliRunner().invoke(app, [str(word) for word in ("train", *table, *few)])
    assert done.exit_code == 130
    monkeypatch.setattr(loop.Run, "take_step", real)
    halcmd("train", *table, *few, "--resume")
    resumed = read_model(tmp_path / "cut" / "model.safetensors").tensors
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_too_little_memory_halves_the_batch_and_then_is_an_error(simulated, tmp_path):
    model = train(simulated, tmp_path / "Train", "--gpu", 0)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(max(48e6 / total, 1e-5))
    table = ["--i", simulated / "particles.star", "--model", model, "--o", tmp_path / "Score"]
    words = ["score", *table, "--gpu", 0, "--batch-size", 144, "--no-report"]
    try:
        done = CliRunner().invoke(app, [str(word) for word in words])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    said = done.output + str(done.exception or "")
    assert "memory is too small" in said, said
    assert done.exit_code in (0, 1)


def test_pretraining_on_the_gpu_gives_a_start(simulated, tmp_path):
    few = ["--epochs", 3, "--no-report", "--gpu", 0]
    halcmd("pretrain", "--i", simulated / "particles.star", "--o", tmp_path / "Pre", *few)
    start = ["--init-model", tmp_path / "Pre" / "model.safetensors", "--gpu", 0]
    assert train(simulated, tmp_path / "Train", *start).exists()


@pytest.mark.parametrize("strategy", ["hal", "bald", "badge", "vaal", "bgal", "coreset"])
def test_a_strategy_asks_on_the_gpu(simulated, tmp_path, strategy):
    rows = read_particles([simulated / "labelled.star"])
    labels = rows.labels
    labels[np.flatnonzero(~rows.is_test)[12:]] = "unlabelled"
    write_particles(tmp_path / "few.star", rows.with_columns({"halLabel": labels}))
    few = ["--steps", 20, "--validation", 0, "--no-report", "--gpu", 0]
    halcmd("train", "--i", tmp_path / "few.star", "--o", tmp_path / "Train", *few)
    model = tmp_path / "Train" / "model.safetensors"
    scored = tmp_path / "Score"
    table = ["--i", tmp_path / "few.star", "--model", model, "--o", scored, "--no-report"]
    halcmd("score", *table, "--gpu", 0, *(["--maps"] if strategy == "hal" else []))
    asked = query(
        read_particles([scored / "particles.star"]),
        scored,
        strategy=strategy,
        n=8,
        settings=QuerySettings(device=use("0", 1)),
        model=model,
        scored=scored,
        hand_off=(),
        montage=False,
        seed=0,
    ).asked
    assert len({*asked.tolist()}) == 8


def test_a_benchmark_runs_its_cells_on_the_gpu(simulated, tmp_path):
    how = ["--strategies", "margin", "--rounds", 1, "--seeds", 1, "--steps", 20, "--workers", 2]
    table = ["--i", simulated / "particles.star", "--truth", simulated / "truth.star"]
    halcmd("benchmark", *table, "--o", tmp_path / "B", "--gpu", 0, *how)
    lines = (tmp_path / "B" / "results.jsonl").read_text().splitlines()
    assert len(lines) == 4
