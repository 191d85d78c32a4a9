"""What a step of training minimises: the loss on labelled particles, and that on unlabelled ones.

An objective is a function of the run; all that it draws is a pure function of the seed and the step
of the run, and what it must remember stands in ``run.memory``.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from halcmd.chance import derive
from halcmd.compute.device import sent, torch_generator
from halcmd.networks.classifier import as_input, in_parts
from halcmd.training.batches import Source, dealt
from halcmd.training.recipes import Consistency
from halcmd.training.run import Rows, Run
from halcmd.transforms import Transform

Objective = Callable[[Run], Tensor]

# Share of the old estimate that stays at each step, of the classes' shares and the confidence.
_MEMORY = 0.99


def labelled(source: Source, classes: Rows, transform: Transform, *, balanced: bool) -> Objective:
    """Cross entropy of labelled particles, changed by the transform.

    Parameters
    ----------
    source : function of positions -> Tensor, shape (n, z, y, x)
        The labelled particles.
    classes : ndarray, shape (n,), int
        Place of each one's class among the logits.
    transform : Transform
        Augmentation.
    balanced : bool
        As many of each class in a batch.
    """
    deal = dealt(source, classes, balanced=balanced)

    def loss(run: Run) -> Tensor:
        recipe, compute = run.recipe, run.compute
        positions, volumes = deal(run.step, recipe.batch, compute.seed)
        draws = torch_generator(compute.device, compute.seed, "augment", run.step)
        parts = transform(sent(volumes, compute.device), draws)
        logits = run.logits(parts).float()
        wanted = sent(torch.from_numpy(classes[positions]), compute.device)
        return F.cross_entropy(logits, wanted, label_smoothing=recipe.label_smoothing)

    return loss


def consistent(
    source: Source, count: int, *, weak: Transform, strong: Transform, how: Consistency
) -> Objective:
    """Cross entropy of strongly changed unlabelled particles with what they were taken for.

    The running average of the network looks at each particle, weakly changed; where it is sure
    enough, its answer is the label of the same particle strongly changed. How sure is enough goes
    by class: the mean confidence of late, times the share of the class of late over that of the
    most frequent one. So rare classes and hard ones are not left out, and no share of the classes
    among the unlabelled particles is presumed.

    Parameters
    ----------
    source : function of positions -> Tensor, shape (n, z, y, x)
        The unlabelled particles.
    count : int
        How many there are.
    weak, strong : Transform
        Augmentations.
    how : Consistency
        Weight, batch, first step.

    References
    ----------
    Sohn et al. 2020 (2001.07685, FixMatch); Wang et al. 2023 (2205.07246, FreeMatch: thresholds);
    Tarvainen & Valpola 2017 (1703.01780, the average as teacher).
    """
    deal = dealt(source, np.zeros(count, dtype=np.intp), balanced=False)

    def loss(run: Run) -> Tensor:
        compute = run.compute
        if run.step < how.first_step(run.recipe.steps):
            return torch.zeros((), device=compute.device)
        size = how.per_labelled * run.recipe.batch
        seed = derive(compute.seed, "unlabelled")
        _, volumes = deal(run.step, size, seed)
        draws = torch_generator(compute.device, seed, "augment", run.step)
        volumes = sent(volumes, compute.device)
        with torch.no_grad():
            changed = torch.cat(weak(volumes, draws))
            answers = compute.group.shared(lambda own: run.average(as_input(own)), changed)
            answers = answers.float().softmax(dim=1)
        sure, wanted = _sure(run, answers)
        if not sure.any():
            return torch.zeros((), device=compute.device)
        parts = strong(volumes[sure], draws)
        logits = in_parts(run.network, parts, counted=0, group=compute.group).float()
        total = F.cross_entropy(logits, wanted[sure], reduction="sum")
        return how.weight * total / size

    return loss


def together(objectives: list[Objective]) -> Objective:
    """The sum of objectives."""
    return lambda run: torch.stack([objective(run) for objective in objectives]).sum()


def _sure(run: Run, answers: Tensor) -> tuple[Tensor, Tensor]:
    """Which answers (probabilities, shape (n, n_classes)) are sure enough, and their classes."""
    n_classes = answers.shape[1]
    even = answers.new_full((n_classes,), 1 / n_classes)
    confidence, classes = answers.max(dim=1)
    shares = run.memory.get("shares", even).lerp(answers.mean(dim=0), 1 - _MEMORY)
    level = run.memory.get("confidence", even[0]).lerp(confidence.mean(), 1 - _MEMORY)
    run.memory = run.memory | {"shares": shares, "confidence": level}
    return confidence >= (level * shares / shares.max())[classes], classes
