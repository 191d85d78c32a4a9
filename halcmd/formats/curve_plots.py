"""Pictures of a benchmark: learning curves with bands, and who beats whom."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halcmd.formats.plots import new_figure, save_figure

Floats = NDArray[np.float64]

_TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "rare_recall": "recall of the rarest third",
}
_COLOURS = ("#555555", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_DASHES = ("-", "--", "-.", ":")


def plot_curves(
    path: Path,
    labels: Sequence[int],
    curves: Mapping[str, Mapping[str, tuple[Floats, Floats]]],
    ceiling: Mapping[str, float],
) -> None:
    """Learning curves as a PNG, a panel for each measure.

    Parameters
    ----------
    path : Path
        The PNG file to write.
    labels : sequence of int
        At each point.
    curves : mapping of str to mapping of str to (ndarray, ndarray), each of shape (n_points,)
        Measure -> strategy -> mean, and half the width of the band around it.
    ceiling : mapping of str to float
        Measure -> full supervision.
    """
    figure = new_figure(9.6, 7.6)
    grid = figure.subplots(2, 2, sharex=True)
    for axes, (measure, of_strategies) in zip(grid.flat, curves.items(), strict=False):
        for place, (name, (mean, half)) in enumerate(of_strategies.items()):
            colour = _COLOURS[place % len(_COLOURS)]
            dash = _DASHES[place // len(_COLOURS) % len(_DASHES)]
            axes.plot(labels, mean, dash, color=colour, label=name, marker="o", markersize=3)
            axes.fill_between(labels, mean - half, mean + half, color=colour, alpha=0.15, lw=0)
        if np.isfinite(ceiling[measure]):
            axes.axhline(ceiling[measure], color="black", lw=0.8, ls="--")
        axes.set(title=_TITLES[measure])
        axes.grid(alpha=0.3)
    for axes in grid[1]:
        axes.set_xlabel("labels")
    grid[0, 0].legend(fontsize=8)
    save_figure(figure, path)


def plot_penalties(path: Path, beaten: Floats, names: Sequence[str]) -> None:
    """The penalty matrix as a PNG: how often the row's strategy beats the column's.

    Parameters
    ----------
    path : Path
        The PNG file to write.
    beaten : ndarray, shape (n, n)
        Shares, 0 to 1.
    names : sequence of str
    """
    side = max(0.55 * len(names), 2.4)
    figure = new_figure(side + 2.4, side + 1.2)
    axes = figure.add_subplot()
    image = axes.imshow(beaten, cmap="Blues", vmin=0.0, vmax=1.0)
    figure.colorbar(image, ax=axes, label="share of the points", fraction=0.046, pad=0.03)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="is beaten", ylabel="beats")
    for row, column in np.ndindex(*beaten.shape):
        value = beaten[row, column]
        colour = "white" if value > 0.6 else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour)
    save_figure(figure, path)
