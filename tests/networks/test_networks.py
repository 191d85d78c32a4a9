"""One contract for every network of the registry."""

import pytest
import torch

from halcmd.errors import ModelError, OptionError
from halcmd.networks import NETWORKS
from halcmd.networks.classifier import as_input, check_box, in_parts, new_network

BOXES = {"compact": (16, 24, 28), "hal2021": (24, 28)}
REFUSED = {"compact": (14, 25, 66), "hal2021": (22, 25)}

each_network = pytest.mark.parametrize("name", NETWORKS)
each_box = pytest.mark.parametrize(
    ("name", "box"), [(name, box) for name in NETWORKS for box in BOXES[name]]
)


def made(name, *, box=24, n_classes=3, seed=0, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return new_network(name, box=box, n_classes=n_classes, **settings)


def particles(n=2, box=24, seed=1):
    return as_input(torch.randn(n, box, box, box, generator=torch.Generator().manual_seed(seed)))


@each_box
def test_maps_embedding_and_logits_have_their_shapes(name, box):
    network = made(name, box=box, n_classes=5).eval()
    inputs = particles(2, box)
    maps, vectors = network.features(inputs), network.embedding(inputs)
    assert (maps.ndim, len(maps), vectors.ndim, len(vectors)) == (5, 2, 2, 2)
    assert network(inputs).shape == (2, 5)


@each_network
def test_logits_are_the_head_of_the_neck_of_the_trunk(name):
    network, inputs = made(name).eval(), particles()
    maps = network.features(inputs)
    assert torch.equal(network.neck(maps), network.embedding(inputs))
    assert torch.equal(network.head(network.neck(maps)), network(inputs))


@each_network
def test_without_classes_there_is_no_head(name):
    network, inputs = made(name, n_classes=0).eval(), particles()
    assert torch.equal(network(inputs), network.embedding(inputs))
    assert not [key for key in network.state_dict() if key.startswith("head.")]
    keys = {key.split(".")[0] for key in made(name).state_dict()}
    assert {"trunk", "head"} <= keys <= {"trunk", "neck", "head"}


@each_network
def test_weights_depend_on_the_seed_alone(name):
    one, two, other = made(name), made(name), made(name, seed=1)
    assert all(map(torch.equal, one.state_dict().values(), two.state_dict().values()))
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


@each_network
def test_every_weight_learns(name):
    network = made(name, dropout=0.0)
    network(particles(4)).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in network.parameters())


@each_network
def test_one_particle_is_enough_for_a_step(name):
    made(name).train()(particles(1)).sum().backward()


@each_network
def test_answers_do_not_depend_on_the_rest_of_the_batch(name):
    network, inputs = made(name).eval(), particles(4)
    torch.testing.assert_close(network(inputs)[:1], network(inputs[:1]), atol=1e-5, rtol=1e-5)


@each_network
def test_dropout_and_widths_can_be_set(name):
    default = made(name)
    widths = [16] * len(default.widths)
    network = made(name, widths=widths, dropout=0.5)
    assert (network.widths, network.dropout) == (tuple(widths), 0.5)
    rates = [layer.p for layer in network.modules() if isinstance(layer, torch.nn.Dropout)]
    assert rates
    assert set(rates) == {0.5}


@pytest.mark.parametrize(
    ("name", "box"), [(name, box) for name in NETWORKS for box in REFUSED[name]]
)
def test_a_box_it_cannot_take_is_refused_with_those_it_can(name, box):
    with pytest.raises(ModelError, match=f"{name} cannot take boxes of {box}") as error:
        check_box(name, box)
    assert "even boxes from" in error.value.found


def test_an_unknown_network_gets_a_suggestion():
    with pytest.raises(OptionError) as error:
        new_network("compakt", box=24, n_classes=2)
    assert "compact" in error.value.hint


def test_hal2021_has_the_maps_and_dense_layers_of_the_paper():
    network = made("hal2021", box=28).eval()
    assert network.features(particles(1, 28)).shape == (1, 128, 3, 3, 3)
    assert network.embedding(particles(1, 28)).shape == (1, 256)
    convolutions = [(1, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
    dense = [(16_000, 1024), (1024, 256), (256, 3)]
    weights = sum(27 * a * b + b for a, b in convolutions) + sum(a * b + b for a, b in dense)
    assert sum(w.numel() for w in made("hal2021", box=40).parameters()) == weights


def test_later_parts_of_a_batch_do_not_move_the_running_statistics():
    one, two = made("compact").train(), made("compact").train()
    first, second = particles(4, seed=1), particles(4, seed=2)
    in_parts(one, [first[:, 0]])
    logits = in_parts(two, [first[:, 0], second[:, 0]])
    assert logits.shape == (8, 3)
    after = two.state_dict()
    for key, before in one.state_dict().items():
        assert "running" not in key or torch.equal(before, after[key]), key
    momenta = {m.momentum for m in two.modules() if isinstance(m, torch.nn.BatchNorm3d)}
    assert momenta == {0.1}
