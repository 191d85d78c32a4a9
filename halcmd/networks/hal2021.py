"""The classifier of Du et al. 2021, as the authors' program has it.

Three blocks of two 3^3 convolutions and a 2^3 max pool (32, 64, 128 channels), dense layers of
1024 and 256 units, ReLU, dropout 0.7 after each dense layer, no normalisation layers. The caption
of the text's figure 3 explains its notation ("64x3x3x3-1-same", "FC layer (1024)", "Dropout (0.7)")
with examples that all occur in this network, and states no other layout; so the presets ``paper``
and ``code`` share it and differ in how it is trained.

References
----------
Du et al. 2021 (btab123); xulabs/aitom, aitom/classify/deep/supervised/cnn/active/hal.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from halcmd.errors import ModelError
from halcmd.networks.classifier import Classifier

WIDTHS = (32, 64, 128, 1024, 256)
DROPOUT = 0.7
_SMALLEST_BOX = 24


def check_box(box: int) -> None:
    """Raise ModelError for a box under 24 or of odd size."""
    if box < _SMALLEST_BOX or box % 2:
        raise ModelError(
            f"network hal2021 cannot take boxes of {box} px",
            found="it takes even boxes from 24 px",
            hint="--network compact, or extract with another --box",
        )


def build(
    *,
    box: int,
    n_classes: int,
    widths: Sequence[int] | None = None,
    dropout: float | None = None,
) -> Classifier:
    """The network for one size of box.

    Parameters
    ----------
    box : int
        Edge in voxels.
    n_classes : int
        0 = no head.
    widths : sequence of 5 int, optional
        Channels of the three blocks, units of the two dense layers.
    dropout : float, optional
        Share of units dropped after each dense layer.
    """
    *channels, wide, narrow = widths or WIDTHS
    rate = DROPOUT if dropout is None else dropout
    blocks: list[nn.Module] = []
    for before, after in pairwise([1, *channels]):
        blocks += [
            nn.Conv3d(before, after, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv3d(after, after, 3, padding=1),
            nn.MaxPool3d(2),  # before the ReLU: the same numbers, and an eighth of them to look at
            nn.ReLU(inplace=True),
        ]
    edge = box // 2 ** len(channels)
    neck = nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels[-1] * edge**3, wide),
        nn.ReLU(inplace=True),
        nn.Dropout(rate),
        nn.Linear(wide, narrow),
        nn.ReLU(inplace=True),
    )
    head = (
        nn.Sequential(nn.Dropout(rate), nn.Linear(narrow, n_classes))
        if n_classes
        else nn.Identity()
    )
    trunk = nn.Sequential(*blocks)
    for module in [*trunk.modules(), *neck.modules(), *head.modules()]:
        _initialise(module)
    return Classifier(trunk, neck=neck, head=head, widths=widths or WIDTHS, dropout=rate)


def _initialise(module: nn.Module) -> None:
    """Keras' he_uniform and truncated normal (sd 0.05), as in the authors' program; biases zero."""
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.05, a=-0.1, b=0.1)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
