"""Which self-supervised task prepares the classifier best: contrast, VICReg, BYOL, denoising.

python examples/benchmark_pretraining.py --maps MAPS --folder DIR [--results FILE] [--seeds N]

The particles are those of benchmark_learner.py (SNR 0.05; made if need be). Each task pretrains the
same network with the same augmentation for the same number of steps on the pool. Then: the share of
test particles whose ten nearest pool particles (cosine of the embeddings) vote for the right class,
and the test accuracy after training on 4 % of the labels. Each result is a line of FILE (default:
DIR/pretraining.jsonl); cells that are there are not run again. --table prints what is there.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from benchmark_learner import Cell, do_all, simulate, spread, write_labels
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

from halcmd.compute.device import torch_generator, use
from halcmd.formats.star import read_star
from halcmd.networks.classifier import Classifier, as_input, in_parts
from halcmd.subtomograms import Boxes, open_boxes
from halcmd.tables import read_particles
from halcmd.training.batches import Source, dealt
from halcmd.training.cross_validation import NOTHING
from halcmd.training.initial import initial_network
from halcmd.training.loop import Examples, fit
from halcmd.training.objectives import Objective
from halcmd.training.pretraining import CONTRAST, Task, alike, pretrain, projector
from halcmd.training.recipes import pretraining_recipe, recipe
from halcmd.training.run import Compute, Run
from halcmd.transforms import Transform

POOL, SHARE = "snr_0.05", 0.04


def vicreg(one: Tensor, other: Tensor) -> Tensor:
    """Invariance, variance and covariance (Bardes et al. 2021, 2105.04906), weights 25, 25, 1."""
    count, width = one.shape
    loss = 25 * F.mse_loss(one, other)
    for view in (one, other):
        centred = view - view.mean(dim=0)
        spreads = (centred.square().sum(dim=0) / (count - 1) + 1e-4).sqrt()
        covariance = centred.T @ centred / (count - 1)
        crossed = covariance.square().sum() - covariance.diagonal().square().sum()
        loss = loss + 12.5 * F.relu(1 - spreads).mean() + crossed / width
    return loss


def bootstrap(source: Source, count: int, transform: Transform) -> Objective:
    """BYOL (Grill et al. 2020, 2006.07733): predict what the running average projects."""
    both: list[tuple[Tensor, Tensor]] = []

    def meet(one: Tensor, other: Tensor) -> Tensor:
        both[:] = [(one, other)]
        return one.sum() * 0

    views = alike(source, count, transform, meet)

    def loss(run: Run) -> Tensor:
        views(run)
        [(one, other)] = both
        online, run.network = run.network, run.average
        whole, run.average.head = run.average.head, run.average.head[0]
        run.average.train()
        with torch.no_grad():
            views(run)
        run.average.head, run.network = whole, online
        run.average.eval()
        [(aim_of_other, aim_of_one)] = both
        return 4 - 2 * (
            F.cosine_similarity(one, aim_of_one).mean()
            + F.cosine_similarity(other, aim_of_other).mean()
        )

    return loss


def denoising(source: Source, count: int, transform: Transform) -> Objective:
    """Draw the smoothed particle from one with holes and twice the noise."""
    deal = dealt(source, np.zeros(count, dtype=np.intp), balanced=False)

    def loss(run: Run) -> Tensor:
        _, volumes = deal(run.step, 2 * run.recipe.batch, run.compute.seed)
        draws = torch_generator(run.compute.device, run.compute.seed, "augment", run.step)
        parts = transform(volumes.to(run.compute.device), draws)
        aims = F.avg_pool3d(torch.cat(parts)[:, None], 3, stride=1, padding=1)
        spoilt = [spoil(part, draws) for part in parts]
        return F.mse_loss(in_parts(run.network, spoilt), aims)

    return loss


def spoil(volumes: Tensor, draws: torch.Generator) -> Tensor:
    """Particles with a quarter of their 4^3 blocks zero and white noise of deviation 1 added."""
    blocks = volumes.shape[-1] // 4
    device = volumes.device
    kept = torch.rand(len(volumes), 1, blocks, blocks, blocks, generator=draws, device=device)
    holes = F.interpolate((kept > 0.25).float(), scale_factor=4)[:, 0]
    return volumes * holes + torch.randn(volumes.shape, generator=draws, device=device)


def decoder(width: int) -> nn.Module:
    """From an embedding to a box of 24, the only one that this task is made for."""
    return nn.Sequential(
        nn.Linear(width, 64 * 27),
        nn.Unflatten(1, (64, 3, 3, 3)),
        nn.ReLU(),
        nn.ConvTranspose3d(64, 32, 2, stride=2),
        nn.ReLU(),
        nn.ConvTranspose3d(32, 16, 2, stride=2),
        nn.ReLU(),
        nn.ConvTranspose3d(16, 8, 2, stride=2),
        nn.ReLU(),
        nn.Conv3d(8, 1, 3, padding=1),
    )


def predictor(width: int) -> nn.Module:
    """BYOL's projection, and the prediction of another one from it."""
    return nn.Sequential(
        projector(width),
        nn.Sequential(nn.Linear(256, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 256)),
    )


TASKS = {
    "none": None,
    "contrast": CONTRAST,
    "vicreg": Task(projector, partial(alike, agreement=vicreg)),
    "byol": Task(predictor, bootstrap),
    "denoising": Task(decoder, denoising),
}


def main() -> None:
    """Run the cells that are not there yet; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--results", type=Path, help="default: pretraining.jsonl in the folder")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--gpu", default="auto", help="as for halcmd")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=[*TASKS])
    parser.add_argument("--steps", type=int, help="of pretraining and training; default: halcmd's")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--small", action="store_true", help="few particles of 16^3")
    given = parser.parse_args()
    results = given.results or given.folder / "pretraining.jsonl"
    if not given.table:
        simulate(given.folder, POOL, given=given)
        done = {(line["task"], line["seed"]) for line in read_lines(results)}
        every = [(task, seed) for seed in range(given.seeds) for task in given.tasks]
        wanted = [cell for cell in every if cell not in done]
        work = partial(run, given.folder, steps=given.steps, gpu=given.gpu)
        do_all(work, wanted, given.workers, results)
    print_table(read_lines(results))


def read_lines(path: Path) -> list[dict[str, float | str]]:
    """The results that are there."""
    texts = path.read_text().splitlines() if path.exists() else []
    return [json.loads(text) for text in texts]


def run(
    folder: Path, cell: tuple[str, int], *, steps: int | None, gpu: str
) -> dict[str, float | str]:
    """Pretrain, vote, train."""
    name, seed = cell
    data, labels = folder / POOL, folder / f"labelled_{name}_{seed}.star"
    write_labels(data, labels, Cell("pretraining", POOL, SHARE, seed))
    particles = read_particles([labels])
    boxes = open_boxes(particles)
    truth = read_star(data / "truth.star").table("particles")
    label_of = dict(zip(truth.column("halParticleId"), truth.column("halLabel"), strict=True))
    names, classes = np.unique([label_of[key] for key in particles.ids], return_inverse=True)
    pool, test = np.flatnonzero(~particles.is_test), np.flatnonzero(particles.is_test)
    compute = Compute(use(gpu, 0), seed=seed)
    how = pretraining_recipe(len(pool))
    how = replace(how, steps=steps or how.steps, average=0.99 if name == "byol" else 0.0)
    started = time.monotonic()
    task = TASKS[name]
    rows = np.flatnonzero(particles.is_trainable & ~particles.is_test)
    fitting = replace(recipe("default", len(rows)), best_by="last", consistency=None)
    fitting = replace(fitting, steps=steps or fitting.steps)
    network = initial_network(fitting, box=boxes.box, n_classes=len(names), compute=compute)
    if task:
        done = pretrain(
            boxes.read,
            pool,
            box=boxes.box,
            recipe=how,
            compute=compute,
            tilt_range=(-60, 60),
            task=task,
        )
        network.load_state_dict(done.network.state_dict(), strict=False)
    seconds = time.monotonic() - started
    vectors = embeddings(network, boxes, len(particles))
    vote = KNeighborsClassifier(10).fit(vectors[pool], classes[pool])
    votes = vote.score(vectors[test], classes[test])
    done = fit(
        network,
        boxes.read,
        training=Examples(rows, classes[rows]),
        validation=NOTHING,
        recipe=fitting,
        compute=compute,
        tilt_range=(-60, 60),
    )
    right = logits(done.network, boxes, len(particles)).argmax(axis=1)[test] == classes[test]
    return {
        "task": name,
        "seed": seed,
        "vote": round(float(votes), 4),
        "accuracy": round(float(right.mean()), 4),
        "seconds": round(seconds),
    }


def embeddings(network: Classifier, boxes: Boxes, count: int) -> NDArray[np.float32]:
    """Embeddings of all particles, each of unit length."""
    vectors = apply(network.embedding, network, boxes, count)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def logits(network: Classifier, boxes: Boxes, count: int) -> NDArray[np.float32]:
    """Logits of all particles."""
    return apply(network, network, boxes, count)


def apply(
    function: Callable[[Tensor], Tensor], network: Classifier, boxes: Boxes, count: int
) -> NDArray[np.float32]:
    """A function of the network for all particles."""
    network.eval()
    device = next(network.parameters()).device
    parts = []
    with torch.inference_mode():
        for start in range(0, count, 64):
            rows = np.arange(start, min(start + 64, count))
            volumes = torch.from_numpy(boxes.read(rows)).to(device)
            parts.append(function(as_input(volumes)).float().cpu().numpy())
    return np.concatenate(parts)


def print_table(lines: list[dict[str, float | str]]) -> None:
    """Mean and standard deviation over the seeds, in percent: Markdown."""
    print("\n| pretraining | vote of 10 neighbours | accuracy with 4 % of the labels | seconds |")
    print("|---|---|---|---|")
    for task in TASKS:
        of_task = [line for line in lines if line["task"] == task]
        if of_task:
            votes, accuracies = ([line[key] for line in of_task] for key in ("vote", "accuracy"))
            seconds = np.mean([line["seconds"] for line in of_task])
            print(f"| {task} | {spread(votes)} | {spread(accuracies)} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
