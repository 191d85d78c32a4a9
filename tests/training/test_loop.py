import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from halcmd.errors import DataError, InputError
from halcmd.formats.model import hash_of, read_checkpoint
from halcmd.training import loop, objectives
from halcmd.training import run as training_run
from halcmd.training.initial import initial_network
from halcmd.training.loop import Checkpoint, Examples, fit
from halcmd.training.recipes import Changes, Consistency, recipe
from halcmd.training.run import Compute

BOX = 16
COMPUTE = Compute(seed=4)
TILTS = (-60.0, 60.0)


def blobs(n_per_class=8, noise=1.0, seed=0):
    """Two classes of noisy blobs, long along a random axis or round; shape (n, z, y, x)."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices((BOX, BOX, BOX)) - BOX // 2
    boxes = []
    for kind in range(2):
        for _ in range(n_per_class):
            widths = np.full(3, 3.0)
            widths[rng.integers(3)] = 9.0 if kind else 3.0
            blob = np.exp(-((z / widths[0]) ** 2 + (y / widths[1]) ** 2 + (x / widths[2]) ** 2))
            boxes.append(blob * 3 + rng.normal(size=blob.shape) * noise)
    boxes = np.array(boxes, dtype=np.float32)
    boxes -= boxes.mean(axis=(1, 2, 3), keepdims=True)
    return boxes / boxes.std(axis=(1, 2, 3), keepdims=True), np.repeat([0, 1], n_per_class)


BOXES, CLASSES = blobs()
HELD = np.arange(len(CLASSES)) % 4 == 0
TRAINING = Examples(np.flatnonzero(~HELD), CLASSES[~HELD])
VALIDATION = Examples(np.flatnonzero(HELD), CLASSES[HELD])
NOTHING = Examples(np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp))
SMALL = replace(
    recipe("default", 12, changes=Changes(semi_supervised=False)),
    steps=12,
    batch=6,
    evaluate_every=4,
)


def fitted(
    how=SMALL, *, validation=VALIDATION, read=BOXES.__getitem__, compute=COMPUTE, **settings
):
    network = initial_network(how, box=BOX, n_classes=2, compute=compute)
    settings = {"training": TRAINING, "tilt_range": TILTS} | settings
    return fit(network, read, validation=validation, recipe=how, compute=compute, **settings)


@pytest.fixture(scope="module")
def undisturbed():
    return fitted()


UNLABELLED = np.arange(len(CLASSES))
BOTH = replace(SMALL, consistency=Consistency(earliest=0))


@pytest.fixture(scope="module")
def undisturbed_on_both():
    return fitted(BOTH, unlabelled=UNLABELLED)


def name_of(result):
    return hash_of(result.network.state_dict())


def test_blobs_are_learnt():
    boxes, classes = blobs(40, seed=1)
    result = fitted(replace(SMALL, steps=60, batch=16, evaluate_every=20))
    with torch.inference_mode():
        logits = result.network(torch.from_numpy(boxes)[:, None]).numpy()
    assert (logits.argmax(axis=1) == classes).mean() > 0.8
    assert result.history["train_loss"][-1] < result.history["train_loss"][0]


def test_the_same_seed_gives_the_same_weights(undisturbed):
    again = fitted()
    assert name_of(again) == name_of(undisturbed)
    assert again.history == undisturbed.history
    assert again.temperature == undisturbed.temperature


def test_another_seed_gives_other_weights(undisturbed):
    assert name_of(fitted(compute=replace(COMPUTE, seed=5))) != name_of(undisturbed)


def test_training_leaves_the_global_generators_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    fitted(replace(SMALL, steps=2))
    assert torch.equal(before, torch.get_rng_state())


def test_particles_read_step_by_step_give_the_same_weights(undisturbed, monkeypatch):
    monkeypatch.setattr(loop, "_CACHE_BYTES", 0)
    assert name_of(fitted()) == name_of(undisturbed)


@pytest.mark.parametrize("stop_at", [1, 5, 8, 11])
@pytest.mark.parametrize("seconds", [10.0, 0.0])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    tmp_path, monkeypatch, undisturbed, stop_at, seconds
):
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", seconds)
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", {"labels": "abc"})
    torch_generator = objectives.torch_generator

    def stop(*keys):
        if keys[-1] == stop_at:
            raise KeyboardInterrupt
        return torch_generator(*keys)

    monkeypatch.setattr(objectives, "torch_generator", stop)
    with pytest.raises(KeyboardInterrupt):
        fitted(checkpoint=checkpoint)
    assert checkpoint.path.exists() == (stop_at > 4 or seconds == 0.0)
    monkeypatch.setattr(objectives, "torch_generator", torch_generator)
    resumed = fitted(checkpoint=replace(checkpoint, resume=True))
    assert name_of(resumed) == name_of(undisturbed)
    assert resumed.history == undisturbed.history
    assert (resumed.best_step, resumed.steps) == (undisturbed.best_step, undisturbed.steps)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_amid_a_step_leaves_a_checkpoint_of_its_end(
    tmp_path, monkeypatch, undisturbed, number
):
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", {})
    torch_generator = objectives.torch_generator

    def disturb(*keys):
        if keys[-1] == 6:
            signal.raise_signal(number)
        return torch_generator(*keys)

    def terminate(*_):
        raise SystemExit(143)

    monkeypatch.setattr(objectives, "torch_generator", disturb)
    before = signal.signal(number, terminate)
    try:
        with pytest.raises(SystemExit):
            fitted(checkpoint=checkpoint)
        assert signal.getsignal(number) is terminate
    finally:
        signal.signal(number, before)
    assert read_checkpoint(checkpoint.path)["step"] == 7
    monkeypatch.setattr(objectives, "torch_generator", torch_generator)
    resumed = fitted(checkpoint=replace(checkpoint, resume=True))
    assert name_of(resumed) == name_of(undisturbed)
    assert resumed.history == undisturbed.history


def test_a_semi_supervised_run_that_was_stopped_ends_as_if_it_had_not_been(
    tmp_path, monkeypatch, undisturbed_on_both
):
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", 0.0)
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", {})
    torch_generator = objectives.torch_generator

    def stop(*keys):
        if keys[-1] == 7:
            raise KeyboardInterrupt
        return torch_generator(*keys)

    monkeypatch.setattr(objectives, "torch_generator", stop)
    with pytest.raises(KeyboardInterrupt):
        fitted(BOTH, unlabelled=UNLABELLED, checkpoint=checkpoint)
    monkeypatch.setattr(objectives, "torch_generator", torch_generator)
    resumed = fitted(BOTH, unlabelled=UNLABELLED, checkpoint=replace(checkpoint, resume=True))
    assert name_of(resumed) == name_of(undisturbed_on_both)
    assert resumed.history == undisturbed_on_both.history


def test_unlabelled_particles_change_the_weights_only_where_the_recipe_says_so(
    undisturbed, undisturbed_on_both
):
    assert name_of(undisturbed_on_both) != name_of(undisturbed)
    assert name_of(fitted(unlabelled=UNLABELLED)) == name_of(undisturbed)
    assert name_of(fitted(BOTH)) == name_of(undisturbed)


def test_the_average_is_what_is_kept():
    """One step from known weights: the average is the old weights and the new ones, mixed."""
    how = replace(SMALL, steps=1)
    before = initial_network(how, box=BOX, n_classes=2, compute=COMPUTE).state_dict()
    after = fitted(replace(how, average=0.0), validation=NOTHING).network.state_dict()
    average = fitted(replace(how, average=0.99), validation=NOTHING).network.state_dict()
    decay = 2 / 11  # of the ramp at step 1
    for name, value in average.items():
        if value.is_floating_point():
            expected = decay * before[name] + (1 - decay) * after[name]
            torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-5)


def test_a_finished_run_resumes_to_its_own_end(tmp_path, undisturbed):
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", {})
    fitted(checkpoint=checkpoint)
    again = fitted(checkpoint=replace(checkpoint, resume=True))
    assert name_of(again) == name_of(undisturbed)


def test_resuming_with_other_settings_says_what_differs(tmp_path):
    path = tmp_path / "checkpoint.pt"
    fitted(replace(SMALL, steps=1), checkpoint=Checkpoint(path, {"labels": "abc", "seed": "0"}))
    with pytest.raises(InputError, match="other settings or labels") as error:
        fitted(checkpoint=Checkpoint(path, {"labels": "abd", "seed": "0"}, resume=True))
    assert error.value.found == "labels was abc, is abd"


def test_without_validation_all_steps_are_done_and_the_last_weights_kept():
    result = fitted(replace(SMALL, patience=1), validation=NOTHING)
    assert (result.steps, result.best_step, result.temperature) == (12, 12, 1.0)
    assert result.history["step"] == [4, 8, 12]
    assert np.isnan(result.history["validation_loss"]).all()


def test_training_stops_when_patience_ends(monkeypatch):
    losses = iter([1.0, 0.9, 0.8, 0.7, 0.5, 0.6, 0.7, 0.4])
    monkeypatch.setattr(training_run, "negative_log_likelihood", lambda *_: next(losses))
    result = fitted(replace(SMALL, steps=40, patience=2))
    assert (result.steps, result.best_step) == (28, 20)


def test_training_does_not_stop_in_its_first_half(monkeypatch):
    losses = iter([1.0, 1.1, 1.2, 1.3, 1.4, 1.5])
    monkeypatch.setattr(training_run, "negative_log_likelihood", lambda *_: next(losses))
    result = fitted(replace(SMALL, steps=40, patience=2))
    assert (result.steps, result.best_step) == (20, 4)


def test_of_equally_good_weights_the_later_are_kept(monkeypatch):
    losses = iter([1.0, 0.5, 0.5])
    monkeypatch.setattr(training_run, "negative_log_likelihood", lambda *_: next(losses))
    assert fitted().best_step == 12


def test_weights_before_best_after_are_not_kept(monkeypatch):
    losses = iter([0.1, 0.5, 0.6])
    monkeypatch.setattr(training_run, "negative_log_likelihood", lambda *_: next(losses))
    assert fitted(replace(SMALL, best_after=4)).best_step == 8


def test_the_weights_kept_are_those_of_the_best_step(monkeypatch):
    short = fitted(replace(SMALL, one_cycle=False, steps=4))
    losses = iter([0.1, 0.5, 0.6])
    monkeypatch.setattr(training_run, "negative_log_likelihood", lambda *_: next(losses))
    long = fitted(replace(SMALL, one_cycle=False))
    assert name_of(long) == name_of(short)
    assert long.best_step == 4


def test_a_loss_that_is_not_finite_is_an_error():
    with pytest.raises(DataError, match="training came apart") as error:
        fitted(replace(SMALL, learning_rate=1e30, one_cycle=False))
    assert "--lr" in error.value.hint


def test_hal2021_trains_as_the_authors_program_does():
    boxes = np.pad(BOXES, ((0, 0), (4, 4), (4, 4), (4, 4)))
    how = recipe("code", len(TRAINING), changes=Changes(steps=2))
    network = initial_network(how, box=24, n_classes=2, compute=COMPUTE)
    result = fit(
        network,
        boxes.__getitem__,
        training=TRAINING,
        validation=VALIDATION,
        recipe=how,
        compute=COMPUTE,
    )
    assert result.best_step == 2
    assert result.history["step"] == [1, 2]
