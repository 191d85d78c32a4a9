"""What of a network follows its dropout, and passes through it with other units dropped each."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from halcmd.networks.classifier import Classifier


def after_maps(network: Classifier) -> tuple[nn.Sequential, nn.Sequential]:
    """Neck and head of a network, cut before the first layer of dropout.

    The first part needs to be computed once for any number of passes.
    """
    layers = [*_layers(network.neck), *_layers(network.head)]
    is_dropout = [isinstance(layer, nn.Dropout) for layer in layers]
    cut = is_dropout.index(True) if any(is_dropout) else len(layers)
    return nn.Sequential(*layers[:cut]), nn.Sequential(*layers[cut:])


def is_in_head_only(network: Classifier) -> bool:
    """Whether the embedding is all that passes with dropout need."""
    return not any(isinstance(layer, nn.Dropout) for layer in network.neck.modules())


@contextmanager
def dropping(
    module: nn.Module,
    generator: torch.Generator,
    *,
    rate: float | None = None,
) -> Iterator[None]:
    """Within it, a network in evaluation mode drops units all the same.

    The units are the same for all particles (as in Baal's consistent dropout), so that a particle's
    result does not depend on its neighbours in the table.

    Parameters
    ----------
    module : Module
        Its layers of dropout drop.
    generator : torch.Generator
        Of the module's device; draws the units.
    rate : float, optional
        Share dropped. Default: each layer's own.
    """

    def drop(layer: nn.Dropout, _: object, units: Tensor) -> Tensor:
        share = layer.p if rate is None else rate
        draws = torch.rand(units.shape[1:], generator=generator, device=units.device)
        return units * (draws >= share) / (1.0 - share)

    layers = [layer for layer in module.modules() if isinstance(layer, nn.Dropout)]
    hooks = [layer.register_forward_hook(drop) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _layers(module: nn.Module) -> list[nn.Module]:
    return [*module] if isinstance(module, nn.Sequential) else [module]
