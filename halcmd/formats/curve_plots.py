"""Pictures of a benchmark: learning curves with bands, and who beats whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from halcmd.formats.plots import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

_COLOURS = ("#555555", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_DASHES = ("-", "--", "-.", ":")
_MOST_TICKS = 8


@dataclass(frozen=True)
class Panel:
    """Learning curves that share axes.

    Attributes
    ----------
    title : str
    labels : sequence of int
        At each point.
    curves : mapping of str to (ndarray, ndarray), each of shape (n_points,)
        Strategy -> mean, and half the width of the band around it; between 0 and 1.
    ceiling : float
        Full supervision; NaN = not known.
    """

    title: str
    labels: Sequence[int]
    curves: Mapping[str, tuple[Floats, Floats]]
    ceiling: float


def plot_curves(path: Path, panels: Sequence[Panel]) -> None:
    """Learning curves as a PNG, the names of all strategies beneath.

    Parameters
    ----------
    path : Path
        The PNG file to write.
    panels : sequence of Panel
        In the order of reading, two in a row. A strategy has the same colour in all of them.
    """
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    names = list(dict.fromkeys(name for panel in panels for name in panel.curves))
    in_a_row = min(len(names) + 1, 3 * columns)
    names_height = 0.25 * -(-(len(names) + 1) // in_a_row)
    figure = new_figure(4.8 * columns, 3.4 * rows + names_height + 0.2)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw(axes, panel, names)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    lines = {line.get_label(): line for axes in grid.flat for line in axes.get_lines()}
    figure.legend(
        lines.values(), lines.keys(), loc="outside lower center", ncols=in_a_row, frameon=False
    )
    save_figure(figure, path)


def _draw(axes: "Axes", panel: Panel, names: Sequence[str]) -> None:
    lowest = 1.0
    for name, (mean, half) in panel.curves.items():
        place = names.index(name)
        colour = _COLOURS[place % len(_COLOURS)]
        dash = _DASHES[place // len(_COLOURS) % len(_DASHES)]
        low, high = np.clip([mean - half, mean + half], 0.0, 1.0)
        axes.plot(panel.labels, mean, dash, color=colour, label=name, marker="o", markersize=3)
        axes.fill_between(panel.labels, low, high, color=colour, alpha=0.12, lw=0)
        lowest = min(lowest, np.min(low, initial=1.0, where=np.isfinite(low)))
    if np.isfinite(panel.ceiling):
        axes.axhline(panel.ceiling, color="black", lw=0.9, ls=(0, (6, 3)), label="full supervision")
        lowest = min(lowest, panel.ceiling)
    axes.set(title=panel.title, xlabel="labels", ylim=(max(lowest - 0.03, -0.03), 1.03))
    if len(panel.labels) <= _MOST_TICKS:
        axes.set_xticks(panel.labels, [f"{n:,}" for n in panel.labels])
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def plot_penalties(path: Path, beats: Floats, names: Sequence[str]) -> None:
    """The penalty matrix as a PNG: how often the row's strategy beats the column's.

    Parameters
    ----------
    path : Path
        The PNG file to write.
    beats : ndarray, shape (n, n)
        Shares, 0 to 1; NaN = cannot be told.
    names : sequence of str
    """
    side = max(0.55 * len(names), 2.4)
    figure = new_figure(side + 2.4, side + 1.2)
    axes = figure.add_subplot()
    image = axes.imshow(beats, cmap="Blues", vmin=0.0, vmax=1.0)
    figure.colorbar(image, ax=axes, label="share of the points", fraction=0.046, pad=0.03)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="is beaten", ylabel="beats")
    for row, column in np.ndindex(*beats.shape):
        value = beats[row, column]
        colour = "white" if value > 0.6 else "black"
        said = "\N{EN DASH}" if np.isnan(value) else f"{value:.2f}"
        axes.text(column, row, said, ha="center", va="center", fontsize=8, color=colour)
    save_figure(figure, path)
