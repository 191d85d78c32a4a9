"""Pretraining: what it learns without labels, that it repeats and resumes."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier

from halcmd.formats.model import hash_of
from halcmd.training import loop, pretraining
from halcmd.training.loop import Checkpoint
from halcmd.training.pretraining import Task, alike, contrast, pretrain, projector
from halcmd.training.recipes import pretraining_recipe
from halcmd.training.run import Compute
from tests.training.test_loop import BOX, TILTS, blobs

COMPUTE = Compute(seed=2)
SHORT = replace(pretraining_recipe(40, batch=16), steps=6)
BOXES, CLASSES = blobs(20, seed=3)


def pretrained(how=SHORT, boxes=BOXES, compute=COMPUTE, **settings):
    rows = np.arange(len(boxes))
    return pretrain(
        boxes.__getitem__,
        rows,
        box=BOX,
        recipe=how,
        compute=compute,
        tilt_range=TILTS,
        **settings,
    )


def name_of(result):
    return hash_of(result.network.state_dict())


def test_contrast_is_the_cross_entropy_of_finding_the_other_view():
    """Against the formula of the paper, term by term."""
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(5, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    views = [F.normalize(view, dim=0) for view in [*one, *other]]
    terms = []
    for place, view in enumerate(views):
        likeness = [float(view @ another) / 0.2 for another in views]
        partner = (place + 5) % 10
        others = sum(np.exp(value) for at, value in enumerate(likeness) if at != place)
        terms.append(-np.log(np.exp(likeness[partner]) / others))
    assert float(contrast(one, other)) == pytest.approx(np.mean(terms))


def test_the_model_has_no_head_and_the_loss_falls():
    how = replace(SHORT, steps=60, evaluate_every=20)
    result = pretrained(how)
    assert not [name for name in result.network.state_dict() if name.startswith("head.")]
    assert result.history["train_loss"][-1] < result.history["train_loss"][0]
    assert result.history["step"] == [20, 40, 60]


def test_it_tells_classes_apart_without_labels():
    """Better than the fresh network, by a vote of neighbours among embeddings."""
    boxes, classes = blobs(60, noise=0.5, seed=5)
    shares = []
    for steps in (1, 80):
        network = pretrained(replace(SHORT, steps=steps), boxes).network
        with torch.inference_mode():
            vectors = F.normalize(network.embedding(torch.from_numpy(boxes)[:, None]), dim=1)
        held = np.arange(len(classes)) % 3 == 0
        vote = KNeighborsClassifier(5).fit(vectors[~held], classes[~held])
        shares.append(vote.score(vectors[held], classes[held]))
    assert shares[1] > 0.8
    assert shares[1] >= shares[0]


def test_the_same_seed_gives_the_same_weights_and_another_others():
    assert name_of(pretrained()) == name_of(pretrained())
    assert name_of(pretrained(compute=Compute(seed=3))) != name_of(pretrained())


def test_views_of_a_particle_are_paired(monkeypatch):
    """Without noise in the views, both projections of a particle are the same vector."""
    seen = []

    def watch(one, other):
        seen.append((one.detach(), other.detach()))
        return contrast(one, other)

    monkeypatch.setattr(pretraining, "augmentation", lambda *_, **__: lambda v, g: [v])
    task = Task(projector, partial(alike, agreement=watch))
    pretrained(replace(SHORT, steps=1), task=task)
    [(one, other)] = seen
    torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(one[0], one[1], atol=1e-2)


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", 0.0)
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", {})
    torch_generator = pretraining.torch_generator

    def stop(*keys):
        if keys[-1] == 4:
            raise KeyboardInterrupt
        return torch_generator(*keys)

    monkeypatch.setattr(pretraining, "torch_generator", stop)
    with pytest.raises(KeyboardInterrupt):
        pretrained(checkpoint=checkpoint)
    monkeypatch.setattr(pretraining, "torch_generator", torch_generator)
    resumed = pretrained(checkpoint=replace(checkpoint, resume=True))
    assert name_of(resumed) == name_of(pretrained())


@pytest.mark.parametrize(
    ("count", "epochs", "steps"), [(1400, None, 800), (10**6, None, 4000), (1400, 3, 3 * 22)]
)
def test_steps_of_pretraining(count, epochs, steps):
    assert pretraining_recipe(count, epochs=epochs).steps == steps
