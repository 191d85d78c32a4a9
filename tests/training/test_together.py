"""Two processes that share a batch take the steps that one takes with all of it.

In double precision, where rounding cannot hide an error: AdamW makes steps of full size of
gradients that are nothing but rounding. This file is also the program that the processes run.
"""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from halcmd.compute.device import use_together
from halcmd.networks.classifier import Classifier, in_parts, new_network
from halcmd.training.initial import initial_network
from halcmd.training.loop import Checkpoint, Examples, fit
from halcmd.training.pretraining import alike, contrast
from halcmd.training.recipes import Consistency, recipe
from halcmd.training.run import Compute, Run, seeded
from halcmd.transforms import augmentation

BOX, TILTS = 16, (-60.0, 60.0)
CLASSES = np.arange(20) % 2
FROM_THE_FIRST = Consistency(start=0.0, earliest=0)
SMALL = replace(recipe("default", 12), steps=4, batch=5, evaluate_every=2)  # 5: shares differ


def boxes(edge: int = BOX):
    """Round and long blobs by turns, in noise, standardised, float64."""
    z, y, x = np.indices((edge,) * 3) - edge // 2
    widths = [np.roll([3, 3, 9 if kind else 3], row) for row, kind in enumerate(CLASSES)]
    blobs = [np.exp(-((z / a) ** 2 + (y / b) ** 2 + (x / c) ** 2)) for a, b, c in widths]
    noisy = 3 * np.array(blobs) + np.random.default_rng(0).normal(size=(20, *(edge,) * 3))
    noisy -= noisy.mean(axis=(1, 2, 3), keepdims=True)
    return noisy / noisy.std(axis=(1, 2, 3), keepdims=True)


def network_for(how, compute, n_classes=2):
    return initial_network(how, box=BOX, n_classes=n_classes, compute=compute).double()


def trained(compute: Compute, how=SMALL, **settings) -> dict[str, torch.Tensor]:
    rows = np.arange(20)
    result = fit(
        network_for(how, compute),
        boxes().__getitem__,
        training=Examples(rows[:12], CLASSES[:12]),
        validation=Examples(rows[12:15], CLASSES[12:15]),
        recipe=how,
        compute=compute,
        tilt_range=TILTS,
        unlabelled=rows[12:],
        **settings,
    )
    losses = torch.tensor(result.history["train_loss"] + result.history["validation_loss"])
    return result.network.state_dict() | {"losses": losses}


def pretrained(compute: Compute) -> dict[str, torch.Tensor]:
    how = replace(SMALL, average=0.0)
    network = network_for(how, compute, n_classes=0)
    network.head = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.BatchNorm1d(8)).double()
    with torch.no_grad():
        for weight in network.head.parameters():
            weight.copy_(torch.linspace(-1, 1, weight.numel()).view_as(weight))
    run = Run(network, how, compute)
    transform = augmentation("full", box=BOX, tilt_range=TILTS, device=compute.device)
    source = torch.from_numpy(boxes())
    objective = alike(lambda rows: source[rows], 20, transform, contrast)
    for _ in range(2):
        run.take_step(objective)
    return run.network.state_dict()


def gradients(compute: Compute, network: Classifier, edge: int, sizes: list[int]):
    """Of a batch in parts of these sizes."""
    particles = torch.from_numpy(boxes(edge)[: sum(sizes)])
    with seeded(compute, "dropout"):
        logits = in_parts(network.train(), particles.split(sizes), group=compute.group)
    logits.square().sum().backward()
    compute.group.average_gradients(network)
    return {name: weight.grad for name, weight in network.named_parameters()}


def of_hal2021(compute: Compute) -> dict[str, torch.Tensor]:
    """Units drop out between its trunk and its head too."""
    with seeded(compute, "weights"):
        network = new_network("hal2021", box=24, n_classes=2, widths=(4, 4, 4, 32, 16))
    return gradients(compute, network.double(), 24, [3, 2])


def everything(compute: Compute) -> dict[str, dict[str, torch.Tensor]]:
    return {
        "labelled": trained(compute),
        "semi-supervised": trained(
            compute, replace(SMALL, consistency=Consistency(start=0.0, earliest=0))
        ),
        "pretraining": pretrained(compute),
        "hal2021": of_hal2021(compute),
        # One process has a particle of the second part, the other none.
        "one particle": gradients(compute, network_for(SMALL, compute), BOX, [3, 1]),
    }


@pytest.mark.slow
def test_two_processes_do_what_one_does(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    alone, half_way = Compute(seed=4), tmp_path / "checkpoint.pt"
    expected = everything(alone)
    trained(alone, replace(SMALL, steps=2), checkpoint=Checkpoint(half_way, {}))
    shutil.copy(half_way, tmp_path / "again.pt")
    again = Checkpoint(tmp_path / "again.pt", {}, resume=True)
    expected["resumed"] = trained(alone, checkpoint=again)
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", __file__]
    subprocess.run([*words, str(tmp_path)], check=True, timeout=300)
    found = torch.load(tmp_path / "found.pt")
    assert found.pop("processes") == 2
    assert found.keys() == expected.keys()
    for name, tensors in expected.items():
        for tensor, value in tensors.items():
            difference = (found[name][tensor] - value).abs().max()
            assert difference <= 1e-6 * value.abs().max() + 1e-9, (name, tensor, difference)


def main(folder: Path) -> None:
    device, group = use_together("cpu", 1)
    compute = Compute(device, seed=4, group=group)
    found = everything(compute)
    checkpoint = Checkpoint(folder / "checkpoint.pt", {}, resume=True)
    found["resumed"] = trained(compute, checkpoint=checkpoint)
    if group.is_first:
        torch.save(found | {"processes": group.count}, folder / "found.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
