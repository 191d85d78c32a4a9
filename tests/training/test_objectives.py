"""The loss on unlabelled particles, worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from halcmd.networks.classifier import Classifier
from halcmd.training.objectives import consistent, labelled, together
from halcmd.training.recipes import Changes, Consistency, recipe
from halcmd.training.run import Compute, Run

BOX, N = 4, 12


class Pick(nn.Module):
    """Logits are the first three voxels of each box."""

    def forward(self, particles):
        return particles.flatten(1)[:, :3]


def run_of(**changes):
    how = recipe("default", N, changes=Changes(batch=2, steps=100))
    network = Classifier(Pick(), neck=nn.Identity(), head=nn.Linear(3, 3), widths=(1,), dropout=0.0)
    with torch.no_grad():
        network.head.weight.copy_(torch.eye(3))
        network.head.bias.zero_()
    run = Run(network, replace(how, **changes), Compute(seed=1))
    run.network.train()
    run.step = 50
    return run


def as_it_is(volumes, generator):
    return [volumes]


def boxes(logits):
    """Boxes that answer with these logits."""
    volumes = torch.zeros(len(logits), BOX, BOX, BOX)
    volumes[:, 0, 0, :3] = torch.tensor(logits)
    return volumes


def loss_of(run, logits, how, strong=as_it_is):
    volumes = boxes(logits)
    parts = {"weak": as_it_is, "strong": strong, "how": how}
    return consistent(lambda places: volumes[places], len(volumes), **parts)(run)


def number(loss):
    return float(loss.detach())


# Each step shows all four particles: two per labelled one, batch of two.
ALL = Consistency(weight=1.0, per_labelled=2, start=0.0, earliest=0)
EVEN, SURE = [0.0, 0.0, 0.0], [5.0, 0.0, 0.0]


def test_unsure_answers_are_left_out_and_sure_ones_are_labels():
    """One sure of class 0, three unsure: the level is theirs, so only answers above it count."""
    run = run_of()
    run.memory = {"shares": torch.full((3,), 1 / 3), "confidence": torch.tensor(0.9)}
    loss = loss_of(run, [SURE, EVEN, EVEN, EVEN], ALL)
    answer = torch.tensor(SURE).softmax(0)
    assert number(loss) == pytest.approx(float(-answer[0].log()) / 4, rel=1e-5)


def test_a_class_that_is_seldom_answered_needs_less_to_be_believed():
    fair = [0.0, 1.2, 0.0]  # probability 0.62
    believed = []
    for share in (1 / 3, 0.05):
        run = run_of()
        others = (1 - share) / 2
        run.memory = {
            "shares": torch.tensor([others, share, others]),
            "confidence": torch.tensor(0.9),
        }
        believed.append(number(loss_of(run, [fair] * 4, ALL)) > 0)
    assert believed == [False, True]


def test_shares_and_confidence_follow_the_answers():
    run = run_of()
    loss_of(run, [SURE] * 4, ALL)
    answer = torch.tensor(SURE).softmax(0)
    torch.testing.assert_close(run.memory["shares"], 0.99 / 3 + 0.01 * answer)
    torch.testing.assert_close(run.memory["confidence"], 0.99 / 3 + 0.01 * answer.max())


def test_the_average_answers_and_the_network_learns():
    """The average says class 1 whatever comes; the network is to say so, too."""
    run = run_of()
    with torch.no_grad():
        run.average.head.bias.copy_(torch.tensor([0.0, 20.0, 0.0]))
    loss = loss_of(run, [SURE] * 4, ALL)
    expected = F.cross_entropy(torch.tensor([SURE]), torch.tensor([1]))
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert run.network.head.bias.grad is not None
    assert run.average.head.bias.grad is None


def test_the_strongly_changed_particle_is_what_is_learnt_from():
    run = run_of()
    loss = loss_of(run, [SURE] * 4, ALL, strong=lambda volumes, _: [0 * volumes])
    assert number(loss) == pytest.approx(np.log(3), rel=1e-5)


def test_weight_and_start():
    run = run_of()
    once = number(loss_of(run, [SURE] * 4, ALL))
    thrice = number(loss_of(run_of(), [SURE] * 4, replace(ALL, weight=3.0)))
    assert thrice == pytest.approx(3 * once, rel=1e-5)
    run.step = 9
    assert number(loss_of(run, [SURE] * 4, replace(ALL, start=0.1))) == 0.0
    run.step = 10
    assert number(loss_of(run, [SURE] * 4, replace(ALL, start=0.1))) > 0
    assert number(loss_of(run, [SURE] * 4, replace(ALL, earliest=11))) == 0.0


def test_losses_are_added_and_labels_are_smoothed():
    volumes, classes = boxes([SURE, EVEN]), np.array([0, 1])
    one = labelled(lambda places: volumes[places], classes, as_it_is, balanced=False)
    run = run_of(label_smoothing=0.1)
    logits, wanted = torch.tensor([SURE, EVEN]), torch.tensor([0, 1])
    expected = F.cross_entropy(logits, wanted, label_smoothing=0.1)
    torch.testing.assert_close(one(run), expected)
    torch.testing.assert_close(together([one, one])(run), 2 * expected)
