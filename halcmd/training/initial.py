"""The weights that a fit starts from: fresh ones, a pretrained model's or an earlier round's."""

from collections.abc import Sequence
from pathlib import Path

import torch

from halcmd.console import log
from halcmd.errors import ModelError
from halcmd.formats.model import StoredModel, check_fits, read_model
from halcmd.networks.classifier import Classifier, new_network
from halcmd.subtomograms import Boxes
from halcmd.training.recipes import Recipe
from halcmd.training.run import Compute, seeded

# Of an earlier round's weights, and of fresh ones that are added. Going on from weights that were
# fitted to fewer labels generalises worse than starting anew; this mends it (Ash & Adams 2020,
# 1910.08475: 0.4 to 0.6 of the old, a little noise).
_SHRINK, _PERTURB = 0.5, 0.1


def initial_network(recipe: Recipe, *, box: int, n_classes: int, compute: Compute) -> Classifier:
    """A network with weights that depend on the seed alone.

    Raises
    ------
    ModelError
        It cannot take such a box.
    """
    with seeded(compute, "initial weights"):
        return new_network(recipe.network, box=box, n_classes=n_classes, dropout=recipe.dropout)


def read_start(path: Path, boxes: Boxes, network: str) -> StoredModel:
    """The model to start from, if it fits boxes and network.

    Raises
    ------
    ModelError
        It does not.
    """
    stored = read_model(path)
    check_fits(
        stored.info, box=boxes.box, pixel_size=boxes.pixel_size, contrast=boxes.contrast, where=path
    )
    if stored.info.network != network:
        raise ModelError(
            "the initial model is another network",
            where=str(path),
            found=f"{stored.info.network} there, {network} here",
            hint=f"--network {stored.info.network}",
        )
    return stored


def start_from(network: Classifier, start: StoredModel, *, classes: Sequence[str]) -> None:
    """Change fresh weights to those of another model.

    A pretrained model gives all that it has. A classifier's weights are halved and a tenth of the
    fresh ones is added; its head is taken only where the classes are the same.

    Parameters
    ----------
    network : Classifier
        With fresh weights.
    start : StoredModel
        Of the same architecture.
    classes : sequence of str
        The network's, in the order of the logits.
    """
    was_trained = bool(start.info.classes)
    same = list(start.info.classes) == list(classes)
    fresh = network.state_dict()
    for name, tensor in start.tensors.items():
        if name.startswith("head.") and not same:
            continue
        learnt = torch.is_floating_point(tensor) and "running_" not in name
        shrinks = was_trained and learnt
        fresh[name] = _SHRINK * tensor + _PERTURB * fresh[name] if shrinks else tensor
    network.load_state_dict(fresh)
    parts = "trunk and neck" + (" and head" if same else "")
    changed = ", shrunk and perturbed" if was_trained else ""
    log.info(f"started from {start.hash}: {parts}{changed}")
