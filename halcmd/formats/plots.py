"""Plots of numbers as PNG: arrays in, a picture file out.

matplotlib is loaded when a plot is drawn, never by the import of this file. Figures are made
without pyplot, so no window system and no global state are involved.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from halcmd.formats.files import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 120

_MOST_CELLS_WITH_NUMBERS = 30
_MOST_NAMED_CLASSES = 60
_TRAIN, _VALIDATION = "#4878a8", "#c8553d"


def plot_training(path: Path, history: Mapping[str, Sequence[float]]) -> None:
    """Learning curves as a PNG: loss on the left, validation accuracy on the right.

    Parameters
    ----------
    path : Path
        The PNG file to write.
    history : mapping of str to sequence of float
        Lists of one length: ``step``, ``train_loss``, and where there was a validation set
        ``validation_loss`` and ``validation_accuracy``. NaN (or None) = not measured at this step.
    """
    figure = new_figure(9.0, 3.6)
    steps = _numbers(history["step"])
    loss, accuracy = figure.subplots(1, 2)
    _curve(loss, steps, history.get("train_loss"), "training", _TRAIN)
    _curve(loss, steps, history.get("validation_loss"), "validation", _VALIDATION)
    loss.set(xlabel="optimiser step", ylabel="loss (cross entropy, nats)")
    _curve(accuracy, steps, history.get("validation_accuracy"), "validation", _VALIDATION)
    accuracy.set(xlabel="optimiser step", ylabel="validation accuracy", ylim=(0.0, 1.02))
    for axes in (loss, accuracy):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.lines:
            axes.legend(frameon=False)
        else:
            axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes)
    save_figure(figure, path)


def plot_confusion(path: Path, matrix: ArrayLike, classes: Sequence[str]) -> None:
    """Confusion matrix as a PNG: one row per true class, one column per predicted class.

    The colour is the share of the true class, the number in a cell is the count; numbers are left
    out above 30 classes, names above 60. Rows of classes that do not occur stay grey.

    Parameters
    ----------
    path : Path
        The PNG file to write.
    matrix : array_like, shape (n_classes, n_classes)
        Counts: true class by predicted class.
    classes : sequence of str
        Names in the order of the rows and columns.

    Raises
    ------
    ValueError
        The matrix is not square or does not fit the names.
    """
    counts = np.asarray(matrix)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(f"a matrix of shape {counts.shape} for {len(classes)} classes")
    totals = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    side = float(np.clip(0.42 * len(classes), 2.4, 14.0))
    names = 0.09 * max(map(len, classes), default=0)  # inches at 9 points
    figure = new_figure(side + names + 1.6, side + names + 0.6)
    axes = figure.add_subplot()
    axes.set_facecolor("#d8d8d8")
    image = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.046, pad=0.03)
    axes.set(xlabel="predicted class", ylabel="true class")
    _name_ticks(axes, classes)
    if len(classes) <= _MOST_CELLS_WITH_NUMBERS:
        _write_counts(axes, counts, share)
    save_figure(figure, path)


def plot_calibration(
    path: Path, curves: Mapping[str, Mapping[str, ArrayLike]], *, note: str
) -> None:
    """Reliability diagram as a PNG: accuracy against confidence, particles per bin beneath.

    Parameters
    ----------
    path : Path
        The PNG file to write.
    curves : mapping of str to mapping
        Name for the legend -> columns of ``halcmd.calibration.reliability``. The last one is the
        one that counts: it has intervals and the bars beneath. May be empty.
    note : str
        What to know before reading it, such as the number of particles; the whole message where
        there is no curve.
    """
    figure = new_figure(5.2, 6.8)
    diagram, bars = figure.subplots(2, 1, sharex=True, height_ratios=(3.6, 1.0))
    diagram.plot([0, 1], [0, 1], color="0.55", ls="--", lw=1, label="perfect calibration")
    for name, columns in curves.items():
        _reliability(diagram, bars, name, columns, is_last=name == list(curves)[-1])
    diagram.set(ylabel="accuracy", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    bars.set(xlabel="confidence (probability of the predicted class)", ylabel="particles")
    bars.locator_params(axis="y", integer=True, nbins=4)
    for axes in (diagram, bars):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    if curves:
        diagram.set_title(note, fontsize=10)
        figure.legend(loc="outside upper center", frameon=False, fontsize=9)
    else:
        box = {"facecolor": "white", "edgecolor": "0.7", "boxstyle": "round,pad=0.6"}
        diagram.text(0.5, 0.5, note, ha="center", va="center", bbox=box)
        bars.set_yticks([])
    save_figure(figure, path)


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of so many inches, in no window system."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as a PNG, at once, the same bytes each time."""
    with atomic(path) as temporary, warnings.catch_warnings():
        # A tomogram may be named in a script that the font lacks; its letters are boxes then.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(
            temporary, format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": None}
        )


def _reliability(
    diagram: "Axes", bars: "Axes", name: str, columns: Mapping[str, ArrayLike], *, is_last: bool
) -> None:
    """One curve; empty bins are left out."""
    count, confidence, accuracy, low, high = (
        np.asarray(columns[key], dtype=np.float64)
        for key in ("count", "confidence", "accuracy", "low", "high")
    )
    known = count > 0
    if not is_last:
        diagram.plot(
            *(confidence[known], accuracy[known]),
            label=name,
            color="0.55",
            marker="o",
            mfc="white",
            lw=1,
            ms=4,
        )
        return
    # The interval holds the value but for rounding at 0 and 1.
    spans = np.maximum([accuracy - low, high - accuracy], 0.0)[:, known]
    diagram.errorbar(
        *(confidence[known], accuracy[known]),
        yerr=spans,
        label=name,
        color=_TRAIN,
        fmt="o-",
        lw=1.5,
        ms=5,
        elinewidth=1,
        capsize=2,
    )
    bars.stairs(count, np.linspace(0, 1, len(count) + 1), fill=True, color=_TRAIN, alpha=0.7)


def _numbers(values: Sequence[float]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _curve(
    axes: "Axes",
    steps: NDArray[np.float64],
    values: Sequence[float] | None,
    label: str,
    colour: str,
) -> None:
    if values is None:
        return
    numbers = _numbers(values)
    known = np.isfinite(numbers)
    if not known.any():
        return
    few = known.sum() <= 25  # points show where a sparse curve was measured
    axes.plot(
        steps[known],
        numbers[known],
        color=colour,
        label=label,
        marker="o" if few else "",
        ms=3,
    )


def _name_ticks(axes: "Axes", classes: Sequence[str]) -> None:
    if len(classes) > _MOST_NAMED_CLASSES:
        return
    ticks = np.arange(len(classes))
    size = 9 if len(classes) <= 20 else 7
    # A name is no formula, whatever signs it holds.
    axes.set_xticks(ticks, classes, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(ticks, classes, fontsize=size, parse_math=False)


def _write_counts(axes: "Axes", counts: NDArray[np.int64], share: NDArray[np.float64]) -> None:
    size = 8 if len(counts) <= 20 else 6
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if share[row, column] > 0.55 else "black"
            axes.text(
                column,
                row,
                f"{count:,}",
                ha="center",
                va="center",
                color=colour,
                fontsize=size,
            )
