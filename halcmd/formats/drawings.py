"""Plots as SVG for a page: their colours are the page's, light or dark, and their text is text.

Numbers in, the text of an SVG element out. Names are escaped. Every shape has a class, which
``report.css`` colours; a shape's ``title`` shows its numbers under the pointer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_LETTER = 8.4
"""Width of a letter in px, on average and rounded up."""
_LONGEST_NAME = 26
_MOST_CELLS_WITH_NUMBERS = 30
_ROW, _GROUP_GAP = 15.0, 9.0


@dataclass(frozen=True)
class Series:
    """Numbers with intervals, one for each place; NaN = nothing is drawn there.

    Attributes
    ----------
    name : str
        For the legend.
    value, low, high : array_like, shape (n,)
    """

    name: str
    value: ArrayLike
    low: ArrayLike
    high: ArrayLike

    def points(self) -> list[tuple[int, float, float, float]]:
        """Place, value, low and high of what is known; an unknown end is the value."""
        columns = (np.atleast_1d(np.asarray(c, float)) for c in (self.value, self.low, self.high))
        known = []
        for place, (value, low, high) in enumerate(zip(*columns, strict=True)):
            if np.isfinite(value):
                ends = (value if np.isnan(low) else low, value if np.isnan(high) else high)
                known.append((place, float(value), float(ends[0]), float(ends[1])))
        return known


def draw_confusion(matrix: ArrayLike, classes: Sequence[str]) -> str:
    """Confusion matrix: true class by row, predicted class by column, shade = share of the row.

    Parameters
    ----------
    matrix : array_like, shape (n_classes, n_classes)
        Counts.
    classes : sequence of str
    """
    counts = np.asarray(matrix)
    side = 44.0 if len(classes) <= 12 else max(560.0 / len(classes), 12.0)
    left = top = 30 + _LETTER * max((len(_short(name)) for name in classes), default=0)
    size = side * len(classes)
    parts = [
        _text("predicted class", left + size / 2, 12, "middle", "quiet"),
        _turned("true class", 12, top + size / 2, "middle", "quiet"),
    ]
    for place, name in enumerate(classes):
        middle = (place + 0.5) * side
        parts.append(_text(_short(name), left - 6, top + middle + 4, "end"))
        parts.append(_turned(_short(name), left + middle + 4, top - 6, "start"))
    for (row, column), count in np.ndenumerate(counts):
        total = int(counts[row].sum())
        share = count / total if total else 0.0
        x, y = left + column * side, top + row * side
        said = f"{classes[row]} taken for {classes[column]}: {count:,} of {total:,}"
        said = f"{classes[row]} found: {count:,} of {total:,}" if row == column else said
        box = {"x": x, "y": y, "width": side, "height": side}
        parts.append(_shape("rect", "cell", said, **box, **{"fill-opacity": share}))
        if count and len(classes) <= _MOST_CELLS_WITH_NUMBERS:
            shade = "on" if share > 0.55 else ""
            parts.append(_text(f"{count:,}", x + side / 2, y + side / 2 + 4, "middle", shade))
    return _svg(left + size + 10, top + size + 6, parts, "confusion matrix")


def draw_intervals(names: Sequence[str], series: Sequence[Series], axis: str) -> str:
    """Shares, 0 to 1, with intervals: a group of lines for each name, one for each series."""
    left = 14 + _LETTER * max((len(_short(name)) for name in names), default=0)
    width, top = 460.0, 34.0
    group = _ROW * len(series) + _GROUP_GAP
    height = group * len(names)
    parts = _legend([one.name for one in series], left, 12)
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1):
        x = left + tick * width
        parts.append(_line(x, top, x, top + height, "grid"))
        parts.append(_text(f"{tick:g}", x, top + height + 16, "middle", "quiet"))
    for place, name in enumerate(names):
        y = top + group * place
        parts.append(_text(_short(name), left - 8, y + group / 2 + 4, "end"))
        parts.append(_line(left, y, left + width, y, "grid"))
    for number, one in enumerate(series):
        for place, value, low, high in one.points():
            y = top + group * place + _GROUP_GAP / 2 + _ROW * (number + 0.5)
            said = f"{names[place]}, {one.name}: {_with_ends(value, low, high)}"
            parts.append(
                _line(left + low * width, y, left + high * width, y, f"span c{number % 4}")
            )
            parts.append(_dot(left + value * width, y, f"c{number % 4}", said))
    parts.append(_text(axis, left + width / 2, top + height + 34, "middle", "quiet"))
    return _svg(left + width + 16, top + height + 42, parts, axis)


def draw_calibration(columns: Mapping[str, ArrayLike]) -> str:
    """Reliability diagram: accuracy against confidence by bin, and particles in each beneath.

    Parameters
    ----------
    columns : mapping of str to array_like, shape (n_bins,)
        As ``halcmd.calibration.reliability`` gives them.
    """
    left, top, side, bars = 84.0, 12.0, 340.0, 70.0
    count = np.asarray(columns["count"], dtype=float)
    parts = _frame(left, top, side, side, (0, 1), (0, 1))
    parts.append(_line(left, top + side, left + side, top, "reference"))
    series = Series("", columns["accuracy"], columns["low"], columns["high"])
    confidence = np.asarray(columns["confidence"], dtype=float)
    path = []
    for place, value, low, high in series.points():
        x, ends = left + confidence[place] * side, [top + side * (1 - v) for v in (low, high)]
        said = f"{int(count[place]):,} particles at {confidence[place]:.2f}: "
        path.append((x, top + side * (1 - value)))
        parts.append(_line(x, ends[0], x, ends[1], "span c0"))
        parts.append(_dot(*path[-1], "c0", f"{said}accuracy {_with_ends(value, low, high)}"))
    parts.append(_path(path, "c0"))
    base, most, step = top + side + 40 + bars, max(count.max(), 1.0), side / len(count)
    for place, number in enumerate(count):
        high = bars * number / most
        box = {"x": left + place * step + 1, "y": base - high, "width": step - 2, "height": high}
        parts.append(_shape("rect", "bar", f"{int(number):,} particles", **box))
    parts.append(_line(left, base, left + side, base, "axis"))
    parts.append(_text(f"{int(most):,}", left - 8, base - bars + 8, "end", "quiet"))
    parts.append(_text("particles", left - 8, base, "end", "quiet"))
    parts.append(_turned("accuracy", 12, top + side / 2, "middle", "quiet"))
    label = "confidence (probability of the predicted class)"
    parts.append(_text(label, left + side / 2, base + 20, "middle", "quiet"))
    return _svg(left + side + 16, base + 30, parts, "calibration")


def draw_curve(
    labels: Sequence[float], series: Sequence[Series], axis: str, *, reference: float | None = None
) -> str:
    """Numbers against the number of labels, with intervals; a dashed line at the reference."""
    left, top, width, height = 62.0, 34.0, 440.0, 230.0
    ends = [v for one in series for point in one.points() for v in point[1:]]
    ends += [] if reference is None else [reference]
    low, high = _room(ends)
    across = _room(labels)
    parts = _legend([one.name for one in series], left, 12)
    parts += _frame(left, top, width, height, across, (low, high))

    def place_of(x: float, y: float) -> tuple[float, float]:
        return (
            left + width * (x - across[0]) / (across[1] - across[0]),
            top + height * (high - y) / (high - low),
        )

    if reference is not None:
        start, end = place_of(across[0], reference), place_of(across[1], reference)
        parts.append(_line(*start, *end, "reference"))
    for number, one in enumerate(series):
        path = []
        for place, value, least, most in one.points():
            x, y = place_of(labels[place], value)
            path.append((x, y))
            spans = place_of(labels[place], least)[1], place_of(labels[place], most)[1]
            said = f"{labels[place]:,.0f} labels, {one.name}: {_with_ends(value, least, most)}"
            parts.append(_line(x, spans[0], x, spans[1], f"span c{number % 4}"))
            parts.append(_dot(x, y, f"c{number % 4}", said))
        parts.append(_path(path, f"c{number % 4}"))
    parts.append(_text("labels", left + width / 2, top + height + 36, "middle", "quiet"))
    parts.append(_turned(axis, 12, top + height / 2, "middle", "quiet"))
    return _svg(left + width + 20, top + height + 44, parts, axis)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between two, at most so many: multiples of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10((high - low) / most))
    step = next(power * n for n in (1, 2, 5, 10) if (high - low) / (power * n) <= most)
    first = int(np.ceil(low / step - 1e-9))
    last = int(np.floor(high / step + 1e-9))
    return [float(round(step * n, 10)) for n in range(first, last + 1)]


def _room(values: Sequence[float]) -> tuple[float, float]:
    """An axis that holds the values, with a little room."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = 0.06 * (high - low) or max(0.05 * abs(high), 0.05)
    return low - room, high + room


def _frame(
    left: float,
    top: float,
    width: float,
    height: float,
    across: tuple[float, float],
    up: tuple[float, float],
) -> list[str]:
    """Lines and numbers of both axes."""
    parts = []
    for tick in ticks(*across):
        x = left + width * (tick - across[0]) / (across[1] - across[0])
        parts.append(_line(x, top, x, top + height, "grid"))
        parts.append(_text(f"{tick:,g}", x, top + height + 18, "middle", "quiet"))
    for tick in ticks(*up):
        y = top + height * (up[1] - tick) / (up[1] - up[0])
        parts.append(_line(left, y, left + width, y, "grid"))
        parts.append(_text(f"{tick:g}", left - 8, y + 4, "end", "quiet"))
    parts.append(_line(left, top + height, left + width, top + height, "axis"))
    return [*parts, _line(left, top, left, top + height, "axis")]


def _legend(names: Sequence[str], left: float, y: float) -> list[str]:
    parts, x = list[str](), left
    for number, name in enumerate(names):
        parts += [_dot(x + 5, y - 4, f"c{number % 4}", name), _text(name, x + 16, y, "start")]
        x += 34 + _LETTER * len(name)
    return parts


def _svg(width: float, height: float, parts: Sequence[str], label: str) -> str:
    box = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    return f'<svg {box} role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def _shape(name: str, kind: str, title: str, **attributes: float | str) -> str:
    values = "".join(
        f' {key}="{escape(value) if isinstance(value, str) else format(round(value, 3), "g")}"'
        for key, value in attributes.items()
    )
    inside = f"<title>{escape(title)}</title>" if title else ""
    return f'<{name} class="{kind}"{values}>{inside}</{name}>'


def _text(text: str, x: float, y: float, anchor: str, kind: str = "") -> str:
    at = f'class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f"<text {at}>{escape(text)}</text>"


def _turned(text: str, x: float, y: float, anchor: str, kind: str = "") -> str:
    turn = f'transform="translate({x:.1f} {y:.1f}) rotate(-90)"'
    return f'<text class="{kind}" {turn} text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return _shape("line", kind, "", x1=x1, y1=y1, x2=x2, y2=y2)


def _dot(x: float, y: float, kind: str, title: str) -> str:
    return _shape("circle", kind, title, cx=x, cy=y, r=4)


def _path(points: Sequence[tuple[float, float]], kind: str) -> str:
    if len(points) < 2:
        return ""
    text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return _shape("polyline", f"curve {kind}", "", points=text)


def _with_ends(value: float, low: float, high: float) -> str:
    return f"{value:.3f}" if low == high else f"{value:.3f} ({low:.3f} to {high:.3f})"


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
