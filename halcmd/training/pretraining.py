"""Self-supervised warm start: a network that tells particles apart whatever their pose.

Two changed copies of each particle of a batch are to be more alike than copies of different ones
(SimCLR). docs/benchmarks.md compares it with other objectives.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halcmd.chance import derive
from halcmd.compute.device import sent, torch_generator
from halcmd.console import log
from halcmd.networks.classifier import Classifier, in_parts
from halcmd.training.batches import Source, dealt
from halcmd.training.initial import initial_network
from halcmd.training.loop import Checkpoint, Read, drive, source_of
from halcmd.training.objectives import Objective
from halcmd.training.recipes import Recipe
from halcmd.training.run import Compute, Rows, Run, seeded
from halcmd.transforms import Transform, augmentation

_PROJECTED = 256
_TEMPERATURE = 0.2
# Two views of a particle share its noise, by which they would be found without a look at the
# particle; more noise hides it. docs/benchmarks.md has the figures.
_NOISE = 0.3


@dataclass(frozen=True)
class Task:
    """What is learnt without labels.

    Attributes
    ----------
    head : function of the embedding's length -> Module
        Between embedding and loss; thrown away afterwards.
    objective : function of (source, number of particles, transform) -> Objective
        What each step minimises.
    """

    head: Callable[[int], nn.Module]
    objective: Callable[[Source, int, Transform], Objective]


@dataclass(frozen=True)
class Pretrained:
    """What pretraining has come to.

    Attributes
    ----------
    network : Classifier
        Without a head, in evaluation mode.
    steps : int
        Steps done.
    history : dict of str to list of float
        ``step``, ``train_loss``.
    """

    network: Classifier
    steps: int
    history: dict[str, list[float]]


def pretrain(
    read: Read,
    rows: Rows,
    *,
    box: int,
    recipe: Recipe,
    compute: Compute,
    tilt_range: tuple[float, float] | None,
    checkpoint: Checkpoint | None = None,
    task: Task | None = None,
) -> Pretrained:
    """A network pretrained on particles without labels.

    Parameters
    ----------
    read : function of rows -> ndarray, shape (n, z, y, x), float32
        Particles with zero mean and unit standard deviation.
    rows : ndarray of int
        Particles, in an order that does not depend on the file.
    box : int
        Edge in voxels.
    recipe : Recipe
        From ``pretraining_recipe``.
    compute : Compute
        Device, precision, seed.
    tilt_range : (float, float) or None
        Degrees; without it no particle is rotated freely.
    checkpoint : Checkpoint, optional
        Keep the state of the run on disk. The file stays when the function ends.
    task : Task, optional
        What is learnt. Default: ``CONTRAST``.

    Raises
    ------
    ModelError
        The network cannot take such a box.
    DataError
        The loss is not finite.
    """
    task = task or CONTRAST
    network = initial_network(recipe, box=box, n_classes=0, compute=compute).eval()
    with torch.inference_mode():
        width = network.embedding(torch.zeros(1, 1, box, box, box)).shape[1]
    with seeded(compute, "initial head"):
        network.head = task.head(width)
    run = Run(network, recipe, compute)
    transform = augmentation(
        recipe.augment, box=box, tilt_range=tilt_range, device=compute.device, noise=_NOISE
    )
    objective = task.objective(source_of(read, rows), len(rows), transform)
    nothing = np.empty((0, 0), dtype=np.float32), np.empty(0, dtype=np.intp)

    def look() -> None:
        run.look(*nothing)
        log.debug(f"step {run.step:,}: loss {run.history['train_loss'][-1]:.4f}")

    drive(run, objective, look, checkpoint=checkpoint, what="pretrain")
    kept = run.take_best()
    kept.head = nn.Identity()
    history = {name: run.history[name] for name in ("step", "train_loss")}
    return Pretrained(kept, run.step, history)


def alike(
    source: Source,
    count: int,
    transform: Transform,
    agreement: Callable[[Tensor, Tensor], Tensor],
) -> Objective:
    """The loss of two changed copies of each particle of a batch.

    Parameters
    ----------
    source : function of positions -> Tensor, shape (n, z, y, x)
        The particles.
    count : int
        How many there are.
    transform : Transform
        Augmentation.
    agreement : function of (n, d), (n, d) -> scalar Tensor
        Of the projections.
    """
    deal = dealt(source, np.zeros(count, dtype=np.intp), balanced=False)

    def view(run: Run, volumes: Tensor, number: int) -> Tensor:
        """Projections of a copy of each, in the order of the particles."""
        seed = derive(run.compute.seed, "view", number)
        draws = torch_generator(run.compute.device, seed, "augment", run.step)
        # The transform rotates the last ones: which, changes from view to view.
        order = torch.randperm(len(volumes), generator=draws, device=volumes.device)
        parts = transform(volumes[order], draws)
        projected = in_parts(run.network, parts, group=run.compute.group)
        return projected[torch.argsort(order)].float()

    def loss(run: Run) -> Tensor:
        size = min(run.recipe.batch, count)
        _, volumes = deal(run.step, size, run.compute.seed)
        volumes = sent(volumes, run.compute.device)
        return agreement(view(run, volumes, 0), view(run, volumes, 1))

    return loss


def contrast(one: Tensor, other: Tensor) -> Tensor:
    """Cross entropy of finding each particle's other view among all views of the batch.

    Parameters
    ----------
    one, other : Tensor, shape (n, d)
        Projections of two views of the same particles.

    References
    ----------
    Chen et al. 2020 (2002.05709, SimCLR): NT-Xent; temperature 0.2 as in 2003.04297 (MoCo v2).
    """
    count = len(one)
    views = F.normalize(torch.cat([one, other]), dim=1)
    likeness = views @ views.T / _TEMPERATURE
    itself = torch.eye(2 * count, dtype=torch.bool, device=views.device)
    partner = torch.arange(2 * count, device=views.device).roll(count)
    return F.cross_entropy(likeness.masked_fill(itself, -torch.inf), partner)


def projector(width: int) -> nn.Module:
    """Three dense layers between embedding and loss, thrown away afterwards."""
    layers: list[nn.Module] = []
    for before in (width, _PROJECTED):
        layers += [nn.Linear(before, _PROJECTED), nn.BatchNorm1d(_PROJECTED), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(_PROJECTED, _PROJECTED))


CONTRAST = Task(projector, partial(alike, agreement=contrast))
"""Find each particle's other view among those of a batch."""
