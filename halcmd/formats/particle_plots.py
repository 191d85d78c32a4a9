"""Plots of particles as PNG: all of them on a map, some of them as slices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from halcmd.formats.plots import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection

# Far apart for the colour-blind too; after ten classes the marker changes.
_COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc4ba3", "#d9a400"),
    *("#56b4e9", "#7a3e9d", "#8c510a", "#000000", "#7fbf3f"),
)
_MARKERS = "o^sDvP*X"
_REST = "#c9c9c9"
_MOST_NAMED_CLASSES = 60
_NAMES_IN_A_COLUMN = 22
_IN_A_ROW = 3
_LONGEST_NAME = 30
_GAP = 1 / 12  # between two slices, in box edges
_WIDTH, _ROW, _HEADING = 9.2, 1.42, 0.3  # inches
_MARKS = "#ffd54a"

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Slices:
    """Some particles to look at.

    Attributes
    ----------
    title : str
        What they have in common.
    planes : ndarray, shape (n, 3, edge, edge)
        The central planes of each: y x, z x, z y, the first axis of a plane upwards.
    captions : sequence of (str, str)
        Name of each, and a line about it.
    """

    title: str
    planes: Floats
    captions: Sequence[tuple[str, str]]


def plot_map(
    path: Path,
    points: Floats,
    panels: Mapping[str, NDArray[np.integer]],
    *,
    names: Sequence[str],
    rest: str,
    axis: str,
) -> None:
    """Points on a plane as a PNG, one panel for each way to colour them.

    Parameters
    ----------
    path : Path
        The PNG file to write.
    points : ndarray, shape (n, 2)
        Where they lie.
    panels : mapping of str to ndarray, shape (n,), int
        Title -> for each point the place of its name among ``names``; -1 = none of them.
    names : sequence of str
        In the order of the legend.
    rest : str
        What to call points of no name; they are grey.
    axis : str
        What the two axes are; their numbers are appended.
    """
    figure = new_figure(4.6 * len(panels) + 1.8, 4.8)
    size = float(np.clip(9000 / max(len(points), 1), 12, 32))
    drawn = dict.fromkeys([-1, *range(len(names))])
    for axes, (title, place) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        axes.set_title(title, fontsize=11)
        for number in drawn:
            chosen = points[place == number]
            if len(chosen):
                drawn[number] = _scatter(axes, chosen, number, size)
        axes.set(xlabel=f"{axis} 1", ylabel=f"{axis} 2", xticks=[], yticks=[])
        axes.margins(0.06)
    labels = [rest if number < 0 else names[number] for number in drawn]
    shown = [
        (handle, label) for handle, label in zip(drawn.values(), labels, strict=True) if handle
    ]
    if len(shown) <= _MOST_NAMED_CLASSES:
        figure.legend(
            *zip(*shown, strict=True),
            loc="outside right upper",
            frameon=False,
            fontsize=9,
            markerscale=max(1.0, (24 / size) ** 0.5),
            ncols=-(-len(shown) // _NAMES_IN_A_COLUMN),
        )
    save_figure(figure, path)


def _scatter(axes: "Axes", points: Floats, number: int, size: float) -> "PathCollection":
    """The points of one name; what the legend shows of them."""
    x, y = points.T
    if number < 0:
        return axes.scatter(x, y, s=size * 0.6, color=_REST, linewidths=0)
    return axes.scatter(
        x,
        y,
        s=size,
        color=_COLOURS[number % len(_COLOURS)],
        marker=_MARKERS[number // len(_COLOURS) % len(_MARKERS)],
        alpha=0.85,
        linewidths=0,
    )


def plot_slices(path: Path, groups: Sequence[Slices], *, pixel_size: float) -> None:
    """Central slices of particles as a PNG, group beneath group, grey by robust percentiles.

    Parameters
    ----------
    path : Path
        The PNG file to write.
    groups : sequence of Slices
        Those without particles are left out.
    pixel_size : float
        Angstrom, for the scale bars.
    """
    groups = [group for group in groups if len(group.planes)]
    rows = [-(-len(group.planes) // _IN_A_ROW) for group in groups]
    heights = [_ROW * count + _HEADING for count in rows]
    figure = new_figure(_WIDTH, sum(heights))
    parts = figure.subfigures(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, group, count in zip(parts, groups, rows, strict=True):
        part.suptitle(
            group.title,
            fontsize=11,
            ha="left",
            x=0.005,
            weight="bold",
            parse_math=False,  # a name is no formula, whatever signs it holds
        )
        grid = part.subplots(count, _IN_A_ROW, squeeze=False).ravel()
        part.get_layout_engine().set(wspace=0.05)
        for axes in grid:
            axes.set_axis_off()
        for axes, planes, caption in zip(grid, group.planes, group.captions, strict=False):
            _draw(axes, planes, caption, pixel_size)
    save_figure(figure, path)


def _draw(axes: "Axes", planes: Floats, caption: tuple[str, str], pixel_size: float) -> None:
    """The three planes of one particle side by side, with a scale bar and two lines of text."""
    edge = planes.shape[-1]
    low, high = np.percentile(planes, (1.0, 99.0))
    step = edge * (1 + _GAP)
    for place, (plane, name) in enumerate(zip(planes, ("xy", "xz", "yz"), strict=True)):
        where = (place * step, place * step + edge, 0.0, float(edge))
        axes.imshow(plane, cmap="gray", vmin=low, vmax=high, origin="lower", extent=where)
        _write(axes, place * step + 0.05 * edge, 0.9 * edge, name)
    length = bar_length(edge * pixel_size / 10)
    start, height = 0.05 * edge, 0.06 * edge
    end = start + length * 10 / pixel_size
    for width, colour in ((4, "black"), (2, _MARKS)):
        axes.plot([start, end], [height] * 2, color=colour, lw=width, solid_capstyle="butt")
    _write(axes, start, height + 0.09 * edge, f"{length:g} nm")
    axes.set(xlim=(0, 2 * step + edge), ylim=(0, edge))
    axes.text(
        *(0.5, -0.04, f"{_shortened(caption[0])}\n{caption[1]}"),
        transform=axes.transAxes,
        ha="center",
        va="top",
        fontsize=9,
        parse_math=False,  # a name is no formula, whatever signs it holds
    )


def _write(axes: "Axes", x: float, y: float, text: str) -> None:
    """A word that can be read on light and dark."""
    from matplotlib.patheffects import withStroke

    around = withStroke(linewidth=2, foreground="black")
    place = axes.text(x, y, text, ha="left", va="center", fontsize=7, color=_MARKS)
    place.set_path_effects([around])


def bar_length(edge: float) -> float:
    """The largest of 1, 2, 5, 10, ... (nm) that is at most 0.4 of an edge."""
    power = 10.0 ** np.floor(np.log10(0.4 * edge))
    return float(max(times * power for times in (1, 2, 5) if times * power <= 0.4 * edge))


def _shortened(name: str) -> str:
    """A name that fits beneath its slices; of a long one, the end tells particles apart."""
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"
